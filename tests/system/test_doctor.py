"""`faceblurd doctor`: what is wrong is found, with a remedy, and nothing is created."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from faceblurd.imaging.detect import weights
from faceblurd.ledger.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = str(Path(sys.executable).with_name("faceblurd"))


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
    (tmp_path / "in" / "@eaDir").mkdir()  # ignored: no watch
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
    assert wrong["starts; its sandbox is off: workers.sandbox says so"]["level"] == "warn"


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
    from faceblurd.config.loading import load_config
    from faceblurd.doctor import machine

    (tmp_path / "c.yaml").write_text(json.dumps({"state_dir": "s", "roots": [{"path": "in", "mode": "in_place"}]}))
    config = load_config(tmp_path / "c.yaml", environ={})
    part = machine._worker(config, lambda _: "limits (no landlock: the kernel has no landlock; no seccomp: refused)")
    assert (part.level, bool(part.remedy)) == (doctor.Level.WARN, True)
    assert machine._worker(config, lambda _: "landlock 7, seccomp, limits").level is doctor.Level.OK


# --- faults that are really there


DEAD_SHARE = r"""
import ctypes, os, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)  # nobody ever answers what is asked through it
options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
if libc.mount(b"dead", os.fsencode(sys.argv[1]), b"fuse", 0, options) != 0:
    sys.exit("no mount")
sys.exit(subprocess.run(sys.argv[2:], check=False).returncode)
"""


@pytest.fixture
def beside_a_dead_share(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run commands where `tmp_path/dead` is a FUSE mount whose server hangs; skips where FUSE cannot be mounted."""
    (tmp_path / "dead").mkdir()
    (tmp_path / "good").mkdir()
    if not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.geteuid() != 0:
        pytest.skip("no FUSE here")
    roots = [
        {"path": str(tmp_path / "dead"), "mode": "in_place"},
        {"path": str(tmp_path / "good"), "mode": "in_place"},
    ]
    (tmp_path / "c.yaml").write_text(json.dumps({"state_dir": str(tmp_path / "state"), "roots": roots}))
    (tmp_path / "state").mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        within = ["unshare", "-m", sys.executable, "-c", DEAD_SHARE, str(tmp_path / "dead"), COMMAND, *arguments]
        return subprocess.run(within, capture_output=True, text=True, timeout=300, check=False)

    return run


def test_a_share_that_does_not_answer_is_said_and_the_others_are_looked_at(
    beside_a_dead_share: Any, tmp_path: Path
) -> None:
    done = beside_a_dead_share("doctor", "--config", str(tmp_path / "c.yaml"), "--json")
    assert done.returncode == 1, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    (dead,) = [one for one in found if one["about"] == str(tmp_path / "dead")]
    assert (dead["level"], "does not answer" in dead["text"], "umount" in dead["remedy"]) == ("bad", True, True)
    assert any("results go there" in one["text"] for one in found if one["about"] == str(tmp_path / "good"))
    assert any(one["about"] == "worker" and one["level"] == "ok" for one in found)


def test_status_and_the_quarantines_list_touch_no_root(beside_a_dead_share: Any, tmp_path: Path) -> None:
    Ledger(tmp_path / "state" / "ledger.sqlite3").close()
    for command in (("status",), ("quarantine", "list")):
        done = beside_a_dead_share(*command, "--config", str(tmp_path / "c.yaml"))
        assert done.returncode == 0, done.stderr


@pytest.fixture
def as_service(tmp_path: Path) -> Callable[..., list[dict[str, str]]]:
    """Ask the doctor about an in-place root with none of root's capabilities, as a service has it."""
    if os.geteuid() != 0:
        pytest.skip("files of other users can only be made by root")

    def ask(root: Path) -> list[dict[str, str]]:
        config = {"state_dir": str(tmp_path / "state"), "roots": [{"path": str(root), "mode": "in_place"}]}
        (tmp_path / "c.yaml").write_text(json.dumps(config))
        without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
        command = [*without, COMMAND, "doctor", "--config", str(tmp_path / "c.yaml"), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return [found for found in map(json.loads, done.stdout.splitlines()) if found["about"] == str(root)]

    return ask


def _somebody_elses(path: Path, mode: int) -> None:
    path.write_bytes(b"x")
    path.chmod(mode)
    os.chown(path, 12345, 12345)


@pytest.mark.slow
def test_files_of_others_in_an_in_place_root(as_service: Any, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    (root / "mine.jpg").write_bytes(b"x")
    assert {one["level"] for one in as_service(root)} <= {"ok", "warn"}
    assert not any("belong" in one["text"] for one in as_service(root))
    _somebody_elses(root / "theirs.jpg", 0o644)
    _somebody_elses(root / "secret.jpg", 0o600)
    found = {one["text"]: one for one in as_service(root)}
    owners = found["2 of 3 files at its top belong to others: the results will belong to this user"]
    assert (owners["level"], "CAP_CHOWN" in owners["remedy"]) == ("warn", True)
    closed = found["1 of 3 files at its top are not readable for this user: they will be held"]
    assert (closed["level"], bool(closed["remedy"])) == ("warn", True)


@pytest.mark.slow
def test_a_sticky_root_of_somebody_else(as_service: Any, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    _somebody_elses(root / "theirs.jpg", 0o644)
    os.chown(root, 12345, 12345)
    root.chmod(0o1777)
    (sticky,) = [one for one in as_service(root) if "is sticky" in one["text"]]
    assert (sticky["level"], "CAP_FOWNER" in sticky["remedy"]) == ("bad", True)
    root.chmod(0o777)
    assert not [one for one in as_service(root) if "is sticky" in one["text"]]


def _doctor_after(mount: str, config: dict[str, Any], tmp_path: Path) -> list[dict[str, str]]:
    """Mount something that only the doctor sees, and ask it."""
    (tmp_path / "c.yaml").write_text(json.dumps({"state_dir": str(tmp_path / "state"), **config}))
    script = f'{mount} || exit 77; exec "$0" doctor --config "$1" --json'
    arguments = ["unshare", "-m", "sh", "-c", script, COMMAND, str(tmp_path / "c.yaml")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("no mounts here")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_small_disk_with_few_inodes(tmp_path: Path) -> None:
    small = tmp_path / "in"
    small.mkdir()
    mount = f"mount -t tmpfs -o size=2m,nr_inodes=300 none {small}"
    found = _doctor_after(mount, {"roots": [{"path": str(small), "mode": "in_place"}]}, tmp_path)
    bad = {one["text"]: one["remedy"] for one in found if one["about"] == str(small) and one["level"] == "bad"}
    assert bad.pop("0.0 GB are free").startswith("Make room")
    ((text, remedy),) = bad.items()
    assert "more files can be made" in text
    assert remedy


def test_a_root_that_is_mounted_read_only(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    mount = f"mount --bind {root} {root} && mount -o remount,ro,bind {root}"
    found = _doctor_after(mount, {"roots": [{"path": str(root), "mode": "in_place"}]}, tmp_path)
    (bad,) = [one for one in found if one["about"] == str(root) and one["level"] == "bad"]
    assert bad["text"] == "is mounted read-only"
    assert "read-write" in bad["remedy"]


@pytest.mark.slow
def test_a_file_from_the_future_tells_of_a_wrong_clock(findings: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").touch()
    root = {"path": str(tmp_path / "in"), "mode": "in_place"}
    assert not [one for one in findings(roots=[root])[1] if "future" in one["text"]]
    os.utime(tmp_path / "in" / "a.jpg", (time.time() + 3600, time.time() + 3600))
    (ahead,) = [one for one in findings(roots=[root])[1] if "future" in one["text"]]
    assert (ahead["level"], "time server" in ahead["remedy"]) == ("warn", True)


def test_the_networks_weights_are_named_and_checked(findings: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    found = [
        one
        for one in findings(roots=[{"path": str(tmp_path / "in"), "mode": "in_place"}])[1]
        if one["about"] == "networks"
    ]
    assert {one["level"] for one in found} == {"ok"}
    texts = [one["text"] for one in found]
    assert texts[:-1] == [f"{one.name}: {weights.FOLDER / one.file}, the tested file" for one in weights.ALL]
    assert texts[-1].startswith("run on ONNX Runtime ")
