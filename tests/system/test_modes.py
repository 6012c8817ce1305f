"""Other users of the machine learn nothing from the state directory, whatever umask the daemon was started with."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def _open_to_others(folder: Path) -> Iterator[str]:
    """Walk a folder as somebody else would: not into what is closed."""
    for path in folder.iterdir():
        st = path.lstat()
        if st.st_mode & 0o077:
            yield f"{path.name} {stat.filemode(st.st_mode)}"
        if stat.S_ISDIR(st.st_mode) and st.st_mode & 0o077:
            yield from _open_to_others(path)


def test_nothing_in_the_state_directory_is_open_to_others(
    daemon: Callable[..., Any], cheapest: Any, tmp_path: Path, portraits: Any, open_umask: None
) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    one = daemon(
        roots=[{"path": str(inbox), "mode": "in_place", "quiet_seconds": 0.1, "on_failure": "hold"}], **cheapest
    )
    one.state_dir.mkdir(mode=0o755)  # somebody made it beforehand, and left it open
    for name in ("ledger.sqlite3", "ledger.sqlite3-wal"):
        (one.state_dir / name).touch(mode=0o644)  # of an older version
    one.start()
    (inbox / "a.jpg").write_bytes(portraits(1)[0])
    (inbox / "no-photo.jpg").write_bytes(b"hello world, this is not a photo")
    one.wait_for(lambda: one.lines("file.published") and not (inbox / "no-photo.jpg").exists())
    one.wait_for((one.state_dir / "status.json").exists)
    there = {path.name for path in one.state_dir.iterdir()}
    assert there >= {"ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-shm", "quarantine", "lock", "status.json"}
    assert list(_open_to_others(one.state_dir)) == []


def test_a_state_directory_that_is_made_is_closed(
    daemon: Callable[..., Any], cheapest: Any, tmp_path: Path, open_umask: None
) -> None:
    (tmp_path / "in").mkdir()
    one = daemon(roots=[{"path": str(tmp_path / "in"), "mode": "in_place"}], **cheapest)
    one.start()
    assert stat.S_IMODE(one.state_dir.stat().st_mode) == 0o700
