"""The disk of the state directory is full: the daemon pauses, says so, and goes on by itself when there is room."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND = str(Path(sys.executable).with_name("faceblurd"))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Skip where nothing can be mounted."""
    (tmp_path / "state").mkdir()
    done = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", tmp_path / "state"], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("no mounts here")
    return tmp_path / "state"


@pytest.fixture
def daemon(tmp_path: Path, state: Path, cheapest: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon whose state directory is a disk of 2 MB that only it sees."""
    root = {"path": str(tmp_path / "in"), "mode": "mirror", "to": str(tmp_path / "out"), "quiet_seconds": 0.1}
    config = {"state_dir": str(state), **cheapest, "roots": [root], "workers": {"count": 1}}
    (tmp_path / "in").mkdir()
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    script = 'mount -t tmpfs -o size=2m none "$1" && exec "$2" run --config "$3"'
    with (tmp_path / "log").open("wb") as log:
        arguments = ["unshare", "-m", "sh", "-c", script, "sh", state, COMMAND, tmp_path / "config.yaml"]
        process = subprocess.Popen(arguments, stderr=log)
    yield process
    process.kill()
    process.wait()


def _fill(path: str) -> None:
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


def test_a_full_state_disk_pauses_the_daemon_and_room_lets_it_go_on(
    daemon: subprocess.Popen[bytes], state: Path, tmp_path: Path, astronaut_jpeg: bytes, wait_until: Callable[..., Any]
) -> None:
    def said(event: str) -> bool:
        return f'"{event}"' in (tmp_path / "log").read_text()

    seen = f"/proc/{daemon.pid}/root{state}"  # as the daemon sees it
    wait_until(lambda: said("daemon.started") and os.path.exists(f"{seen}/status.json"), what="the daemon")
    _fill(f"{seen}/filler")

    def published_or_paused(number: int) -> bool:
        return said("daemon.paused") or len(list((tmp_path / "out").iterdir())) >= number

    number = 0
    while not said("daemon.paused"):  # what SQLite has reserved holds some photos more
        number += 1
        assert number < 400
        (tmp_path / "in" / f"p{number}.jpg").write_bytes(astronaut_jpeg)
        wait_until(partial(published_or_paused, number), what="an outcome")

    def status() -> dict[str, Any]:
        with open(f"{seen}/status.json", encoding="utf-8") as file, suppress(ValueError):
            return dict(json.load(file))
        return {}

    wait_until(lambda: "no room" in status().get("paused", ""), what="the status")
    assert daemon.poll() is None
    (tmp_path / "in" / "meanwhile.jpg").write_bytes(astronaut_jpeg)
    os.unlink(f"{seen}/filler")
    wait_until((tmp_path / "out" / "meanwhile.jpg").exists, what="the work after the pause")
    wait_until(lambda: len(list((tmp_path / "out").iterdir())) == number + 1, what="all results")
    wait_until(lambda: status().get("paused") == "", what="the status")
    assert said("daemon.resumed")
    assert all(path.read_bytes() != astronaut_jpeg for path in (tmp_path / "out").iterdir())
    assert not list(tmp_path.rglob(".faceblurd-*"))
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(300) == 0


def test_a_paused_daemon_stops_when_it_is_told_to(
    daemon: subprocess.Popen[bytes], state: Path, tmp_path: Path, astronaut_jpeg: bytes, wait_until: Callable[..., Any]
) -> None:
    log = tmp_path / "log"
    wait_until(lambda: '"daemon.started"' in log.read_text(), what="the daemon")
    _fill(f"/proc/{daemon.pid}/root{state}/filler")
    for number in range(60):
        (tmp_path / "in" / f"p{number}.jpg").write_bytes(astronaut_jpeg)
    wait_until(lambda: '"daemon.paused"' in log.read_text(), what="the pause")
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(300) == 0
    assert '"daemon.stopped"' in log.read_text()
    assert not list(tmp_path.rglob(".faceblurd-*"))
