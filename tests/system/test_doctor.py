"""`faceblurd doctor`: what is wrong is found, with a remedy, and nothing is created."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def findings(command: Callable[..., Any], tmp_path: Path) -> Callable[..., tuple[int, list[dict[str, str]]]]:
    """Ask the doctor about a config."""

    def ask(**config: Any) -> tuple[int, list[dict[str, str]]]:
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps({"state_dir": str(tmp_path / "state"), **config}))
        done = command("doctor", "--config", str(path), "--json")
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    return ask


def test_a_good_machine_is_good_and_stays_as_it_is(findings: Any, tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    code, found = findings(roots=[{"path": str(tmp_path / "in"), "mode": "mirror", "to": str(tmp_path / "out")}])
    assert code == 0
    assert {one["level"] for one in found} <= {"ok", "warn"}  # a small disk is worth a warning
    texts = [one["text"] for one in found]
    assert any("2 directories are watched" in text for text in texts)
    assert any(text.startswith("starts, with detectors") and "landlock" in text for text in texts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "in"]


def test_each_fault_is_found_with_its_remedy(findings: Any, tmp_path: Path) -> None:
    roots = [
        {"path": str(tmp_path / "gone"), "mode": "in_place"},
        {"path": "/proc/sys", "mode": "mirror", "to": "/proc/version/out", "watch": "scan"},
    ]
    code, found = findings(roots=roots, workers={"sandbox": "off"}, state_dir="/proc/nowhere")
    assert code == 1
    wrong = {one["text"]: one for one in found if one["level"] != "ok"}
    assert all(one["remedy"] for one in wrong.values())
    assert wrong["is not there"]["level"] == "bad"
    assert wrong["is not there"]["about"] == str(tmp_path / "gone")
    assert wrong["starts; not locked up: workers.sandbox is off"]["level"] == "warn"


def test_a_plugin_that_is_missing_is_found(findings: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    root = {"path": str(tmp_path / "in"), "mode": "in_place"}
    code, found = findings(roots=[root], hooks={"plugins": ["missing"]})
    assert code == 1
    (worker,) = [one for one in found if one["about"] == "worker"]
    assert (worker["level"], bool(worker["remedy"])) == ("bad", True)
    assert len(found) > 4  # it goes on with the rest


def test_people_read_marks_and_remedies(command: Callable[..., Any], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    root = {"path": "/nowhere/at/all", "mode": "in_place"}
    config.write_text(json.dumps({"state_dir": str(tmp_path), "roots": [root]}))
    done = command("doctor", "--config", str(config))
    assert done.returncode == 1
    assert " BAD  /nowhere/at/all: is not there\n      -> Create or mount it" in done.stdout


def test_a_sandbox_with_a_gap_is_a_warning(tmp_path: Path) -> None:
    from faceblurd import doctor
    from faceblurd.config import load_config
    from faceblurd.doctor import machine

    (tmp_path / "c.yaml").write_text(json.dumps({"state_dir": "s", "roots": [{"path": "in", "mode": "in_place"}]}))
    config = load_config(tmp_path / "c.yaml", environ={})
    part = machine._worker(config, lambda _: "limits (no landlock: the kernel has no landlock; no seccomp: refused)")
    assert (part.level, bool(part.remedy)) == (doctor.Level.WARN, True)
    assert machine._worker(config, lambda _: "landlock 7, seccomp, limits").level is doctor.Level.OK
