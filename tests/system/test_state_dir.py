"""What lies in the state directory, and who else looks into it: its lock, its ledger; and workers that do not start."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from faceblurd.state_files import is_running, lock_state

if TYPE_CHECKING:
    from pathlib import Path


def test_a_look_whether_it_runs_is_never_in_the_way_of_a_start(tmp_path: Path) -> None:
    """`status` took the lock for a moment, in which a start failed."""
    stop = threading.Event()
    looks = [threading.Thread(target=_look_until, args=(stop, tmp_path)) for _ in range(3)]
    for look in looks:
        look.start()
    try:
        for _ in range(300):
            lock = lock_state(tmp_path)
            assert is_running(tmp_path)
            os.close(lock)
    finally:
        stop.set()
        for look in looks:
            look.join()
    assert not is_running(tmp_path)


def _look_until(stop: threading.Event, state_dir: Path) -> None:
    while not stop.is_set():
        is_running(state_dir)


def test_a_newer_ledger_is_named_by_the_doctor_and_ends_run_and_scan_for_good(home: Any, command: Any) -> None:
    root = home.root("in", to="out")
    assert home.scan(root) == 0
    ledger = sqlite3.connect(home.folder / "state" / "ledger.sqlite3")
    with closing(ledger):
        ledger.execute("PRAGMA user_version=9999")
    config = str(home.write(root))
    for name in ("run", "scan"):
        done = command(name, "--config", config)
        assert done.returncode == 78
        assert "written by a newer faceblurd" in done.stderr
    done = command("doctor", "--config", config)
    assert done.returncode == 1
    assert "written by a newer faceblurd" in done.stdout


def test_a_ledger_that_was_cut_is_named_by_the_doctor_as_by_every_command(home: Any, command: Any) -> None:
    root = home.root("in", to="out")
    assert home.scan(root) == 0
    path, config = home.folder / "state" / "ledger.sqlite3", str(home.write(root))
    assert "the ledger, version" in command("doctor", "--config", config).stdout
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for name in ("doctor", "scan", "status"):
        done = command(name, "--config", config)
        said = done.stdout + done.stderr
        assert done.returncode == 1, name
        assert (str(path) in said, "Move it away" in said, "file://" in said) == (True, True, False), said
    path.unlink()
    assert home.scan(root) == 0  # as the remedy says


@pytest.mark.slow
def test_another_programs_lock_on_the_ledger_pauses_the_daemon_for_as_long_as_it_lasts(
    daemon: Any, cheapest: Any, tmp_path: Path, portraits: Any
) -> None:
    (tmp_path / "in").mkdir()
    root = {"path": str(tmp_path / "in"), "mode": "mirror", "to": str(tmp_path / "out"), "quiet_seconds": 0.1}
    one = daemon(**cheapest, workers={"count": 1}, roots=[root])
    one.start()
    backup = sqlite3.connect(one.state_dir / "ledger.sqlite3", isolation_level=None)
    with closing(backup):
        backup.execute("BEGIN IMMEDIATE")
        (tmp_path / "in" / "a.jpg").write_bytes(portraits(1)[0])
        (paused,) = one.wait_for(lambda: one.lines("daemon.paused"), what="the pause")
        assert "another program has it locked" in paused["detail"]
        assert one.process.poll() is None
        backup.execute("ROLLBACK")
    one.wait_for(lambda: one.lines("file.published"), what="the photo")
    assert one.stop() == 0


@pytest.mark.parametrize("name", ["blur", "scan"])
def test_where_no_worker_starts_a_command_ends_with_the_workers_own_error(
    home: Any, command: Any, tmp_path: Path, name: str
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "cv2.py").write_text("raise ImportError('libGL.so.1: no such file')")
    root = home.root("in", to="out")
    (tmp_path / "in" / "a.jpg").write_bytes(b"a photo")
    arguments = [str(tmp_path / "in"), "--to", str(tmp_path / "out")]
    arguments = arguments if name == "blur" else ["--config", str(home.write(root, detection={}))]
    done = command(name, *arguments, env={**os.environ, "PYTHONPATH": str(tmp_path / "broken")})
    assert done.returncode == 78
    assert "a worker does not start: libGL.so.1: no such file" in done.stderr
