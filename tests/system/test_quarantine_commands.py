"""`faceblurd quarantine list|retry|release|drop`, beside a running daemon and without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = str(Path(sys.executable).with_name("faceblurd"))
NO_PHOTO = b"hello world, this is not a photo"
NAME = "caf\udce9.jpg"  # no UTF-8


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def daemon(daemon: Callable[..., Any], cheapest: dict[str, Any]) -> Callable[..., Any]:
    """Make daemons with the detector that costs least: hardly a file here is a photo."""
    return lambda **config: daemon(**{**cheapest, **config})


@pytest.fixture
def one(daemon: Callable[..., Any], inbox: Path) -> Any:
    """A daemon with a file that was moved away."""
    made = daemon(
        roots=[
            {
                "path": str(inbox), "mode": "in_place", "quiet_seconds": 0.1, "on_failure": "hold",
                "rescan_seconds": 1,
            }
        ]
    )  # fmt: skip
    (inbox / NAME).write_bytes(NO_PHOTO)
    made.start()
    made.wait_for(lambda: made.lines("file.quarantined") and not (inbox / NAME).exists(), what="the quarantine")
    made.wait_for(lambda: str(made.state_dir) in str(_held(made)[0]["lies"]), what="the end of the move")
    return made


def _held(one: Any, *more: str) -> list[dict[str, Any]]:
    done = one.run("quarantine", "list", "--config", str(one.config_path), "--json", *more)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _scans(one: Any) -> int:
    return len(one.lines("root.scanned"))


def _wait_for_scans(one: Any) -> None:
    """Two: the first may have been under way already."""
    before = _scans(one)
    one.wait_for(lambda: _scans(one) >= before + 2, what="a rescan")


@pytest.mark.slow
def test_the_list_says_where_a_moved_file_lies(one: Any, inbox: Path) -> None:
    (held,) = _held(one)
    assert held["path"] == f"{inbox}/caf\\xe9.jpg"
    assert Path(held["lies"]).read_bytes() == NO_PHOTO
    status = json.loads(one.run("status", "--config", str(one.config_path), "--json").stdout)
    assert [file["lies"] for file in status["held"]] == [held["lies"]]


@pytest.mark.slow
def test_a_released_file_stays_through_events_scans_touches_restarts_and_recipes(one: Any, inbox: Path) -> None:
    released = one.run("quarantine", "release", "--config", str(one.config_path), str(inbox / NAME))
    assert released.returncode == 0, released.stderr
    assert (inbox / NAME).read_bytes() == NO_PHOTO
    _wait_for_scans(one)
    os.utime(inbox / NAME)
    one.wait_for(lambda: [line["detail"] for line in one.lines("file.skipped")] == ["released"], what="the touch")
    one.stop()
    config = json.loads(one.config_path.read_text())
    one.write_config({**config, "recipe": "balanced"})
    one.start()
    _wait_for_scans(one)
    assert len(one.lines("file.quarantined")) == 1
    assert (inbox / NAME).read_bytes() == NO_PHOTO
    assert _held(one) == []
    assert [file["path"] for file in _held(one, "--released")] == [f"{inbox}/caf\\xe9.jpg"]
    (inbox / NAME).write_bytes(b"other bytes, and still no photo")
    one.wait_for(lambda: len(one.lines("file.quarantined")) == 2, what="the changed file")
    one.wait_for(lambda: not (inbox / NAME).exists(), what="the quarantine")


def test_a_file_is_released_without_a_daemon_and_tried_again_when_a_person_says_so(one: Any, inbox: Path) -> None:
    one.stop()
    place = _held(one)[0]["lies"]
    assert one.run("quarantine", "release", "--config", str(one.config_path), place).returncode == 0
    one.start()
    _wait_for_scans(one)
    assert len(one.lines("file.quarantined")) == 1
    assert one.run("quarantine", "retry", "--config", str(one.config_path), str(inbox / NAME)).returncode == 0
    one.wait_for(lambda: len(one.lines("file.quarantined")) == 2, what="another look")


@pytest.mark.slow
def test_an_original_is_deleted_only_when_somebody_says_yes(one: Any, inbox: Path) -> None:
    drop = ["quarantine", "drop", "--config", str(one.config_path), "--all"]
    refused = one.run(*drop)
    assert refused.returncode == 1
    assert "--yes" in refused.stderr
    for answer, gone in ((b"n\n", False), (b"y\n", True)):
        _type(answer, COMMAND, *drop)
        assert (_held(one) == []) is gone
    assert list((one.state_dir / "quarantine").iterdir()) == []
    (inbox / "b.jpg").write_bytes(NO_PHOTO)
    one.wait_for(lambda: len(one.lines("file.quarantined")) == 2 and not (inbox / "b.jpg").exists())
    assert one.run(*drop, "--yes").returncode == 0
    assert _held(one) == []


def _type(answer: bytes, *command: str) -> None:
    """Answer a command that asks on its terminal."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(theirs)
    os.write(ours, answer)
    process.communicate(timeout=300)
    os.close(ours)


@pytest.mark.slow
def test_one_file_that_cannot_go_back_keeps_no_other_from_it(one: Any, inbox: Path) -> None:
    (inbox / "b.jpg").write_bytes(NO_PHOTO)
    one.wait_for(lambda: len(one.lines("file.quarantined")) == 2 and not (inbox / "b.jpg").exists())
    one.stop()
    (inbox / NAME).write_bytes(b"a newer upload")
    done = one.run("quarantine", "release", "--config", str(one.config_path), "--all")
    assert done.returncode == 1
    assert "exists again" in done.stderr
    assert (inbox / "b.jpg").read_bytes() == NO_PHOTO
    assert (inbox / NAME).read_bytes() == b"a newer upload"
    assert len(_held(one)) == 1


def test_a_held_file_that_a_crash_left_in_its_root_is_moved_by_the_next_scan(
    daemon: Callable[..., Any], cheapest: dict[str, Any], inbox: Path
) -> None:
    """Also a file that was held while the root said `leave`."""
    root = {"path": str(inbox), "mode": "in_place", "quiet_seconds": 0.1}
    made = daemon(roots=[root])
    (inbox / "b.jpg").write_bytes(NO_PHOTO)
    made.start()
    made.wait_for(lambda: made.lines("file.quarantined"), what="the quarantine")
    made.stop()
    assert (inbox / "b.jpg").exists()
    made.write_config({**cheapest, "roots": [{**root, "on_failure": "hold"}]})
    made.start()
    made.wait_for(lambda: not (inbox / "b.jpg").exists(), what="the move")
    assert Path(_held(made)[0]["lies"]).read_bytes() == NO_PHOTO
    assert len(made.lines("file.quarantined")) == 1


def test_release_publishes_nothing_into_a_mirror(daemon: Callable[..., Any], inbox: Path, tmp_path: Path) -> None:
    root = {
        "path": str(inbox), "mode": "mirror", "to": str(tmp_path / "out"), "quiet_seconds": 0.1, "rescan_seconds": 1,
    }  # fmt: skip
    made = daemon(roots=[root])
    (inbox / "b.jpg").write_bytes(NO_PHOTO)
    made.start()
    made.wait_for(lambda: made.lines("file.quarantined"), what="the quarantine")
    assert made.run("quarantine", "release", "--config", str(made.config_path), "--all").returncode == 0
    _wait_for_scans(made)
    assert list((tmp_path / "out").iterdir()) == []
    assert _held(made) == []
    assert len(made.lines("file.quarantined")) == 1


def test_a_released_file_that_is_held_without_being_read_is_not_held_again(one: Any, inbox: Path) -> None:
    """Of a second hard link nobody reads the content, so its digest cannot say that it is released."""
    outside = inbox.parent / "outside.jpg"
    outside.write_bytes(NO_PHOTO)
    os.link(outside, inbox / "linked.jpg")
    one.wait_for(lambda: len(one.lines("file.quarantined")) == 2 and not (inbox / "linked.jpg").exists())
    assert {held["reason"] for held in _held(one)} == {"unsupported", "hard_link"}
    one.run("quarantine", "release", "--config", str(one.config_path), str(inbox / "linked.jpg"))
    _wait_for_scans(one)
    _wait_for_scans(one)
    assert (inbox / "linked.jpg").stat().st_ino == outside.stat().st_ino
    assert len(one.lines("file.quarantined")) == 2
