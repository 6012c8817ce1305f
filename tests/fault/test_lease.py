"""Somebody has a lease on a photo, as Samba takes one for a client that writes: that is no error of the disk."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOLD = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)  # asked to give it up: it goes on writing
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def leased(tmp_path: Path, portraits: Callable[[int], list[bytes]]) -> Iterator[subprocess.Popen[str]]:
    """A photo in the inbox, and the process that keeps it to itself until its input is closed."""
    photo = tmp_path / "in" / "photo.jpg"
    photo.parent.mkdir()
    photo.write_bytes(portraits(1)[0])
    command = [sys.executable, "-c", HOLD, str(photo)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "\n", "no leases here"
        yield holder
        holder.kill()


def test_a_photo_that_somebody_has_a_lease_on_is_being_written_and_published_when_it_is_let_go(
    daemon: Callable[..., Any], tmp_path: Path, leased: subprocess.Popen[str]
) -> None:
    root = {"path": str(tmp_path / "in"), "mode": "mirror", "to": str(tmp_path / "out"), "quiet_seconds": 0.1}
    one = daemon(roots=[root], recipe="fast", workers={"retry_seconds": 0.2, "max_attempts": 1})
    one.start()
    one.wait_for(lambda: one.lines("file.retried"), what="the first look")
    assert one.lines("file.retried")[0]["reason"] == "being_written"
    assert one.lines("file.quarantined") == []
    assert leased.stdin is not None
    leased.stdin.close()
    one.wait_for((tmp_path / "out" / "photo.jpg").exists, what="the result")
    assert {line["reason"] for line in one.lines("file.retried")} == {"being_written"}


def test_a_single_run_holds_it_for_that_reason(
    command: Callable[..., Any], tmp_path: Path, leased: subprocess.Popen[str]
) -> None:
    done = command("blur", str(tmp_path / "in"), "--in-place", "--recipe", "fast", "--json")
    assert done.returncode == 3
    assert '"reason": "being_written"' in done.stdout
