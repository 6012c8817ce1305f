"""A name that is used again, as cameras do: the result of the photo that is gone is somebody's only copy, maybe."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Desk:
    """A mirror that keeps the results of photos that are gone."""

    def __init__(self, daemon: Callable[..., Any], folder: Path, **root: Any) -> None:
        self.photo, self.result = folder / "in" / "x.jpg", folder / "out" / "x.jpg"
        self.photo.parent.mkdir()
        root |= {"path": str(folder / "in"), "mode": "mirror", "to": str(folder / "out"), "quiet_seconds": 0.2}
        self.daemon = daemon(roots=[root], recipe="fast", workers={"count": 1})

    def publish(self, photo: bytes, *, times: int = 1) -> bytes:
        """Upload a photo and give its result."""
        self.photo.write_bytes(photo)
        self.daemon.wait_for(lambda: len(self.daemon.lines("file.published")) == times, what="the result")
        return self.result.read_bytes()

    def delete(self) -> None:
        """Delete the photo, and wait until that was noticed."""
        self.photo.unlink()
        self.daemon.wait_for(lambda: self.reason() == "vanished", what="the photo's end")

    def reason(self) -> str:
        path = self.daemon.state_dir / "ledger.sqlite3"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as ledger:
            return str(ledger.execute("SELECT reason FROM files").fetchone()[0])


@pytest.fixture
def desk(daemon: Callable[..., Any], tmp_path: Path) -> Desk:
    return Desk(daemon, tmp_path)


def test_another_photo_by_the_name_of_one_that_is_gone_is_held_until_its_result_is_moved_away(
    desk: Desk, portraits: Any
) -> None:
    first, second = portraits(2)
    desk.daemon.start()
    result = desk.publish(first)
    desk.delete()
    desk.photo.write_bytes(second)
    desk.daemon.wait_for(lambda: desk.daemon.lines("file.quarantined"), what="the second photo")
    held = desk.daemon.lines("file.quarantined")[0]
    assert held["reason"] == "target_exists"
    assert "an earlier photo by this name. Move it away, or set existing: replace" in held["detail"]
    desk.daemon.run("quarantine", "retry", "--all", "--config", str(desk.daemon.config_path))
    desk.daemon.wait_for(lambda: len(desk.daemon.lines("file.quarantined")) == 2, what="another no")
    assert desk.result.read_bytes() == result
    desk.result.rename(desk.result.with_name("first.jpg"))
    desk.daemon.run("quarantine", "retry", "--all", "--config", str(desk.daemon.config_path))
    desk.daemon.wait_for(lambda: len(desk.daemon.lines("file.published")) == 2, what="the second result")
    assert desk.result.read_bytes() != result


def test_where_the_config_says_so_it_is_replaced(daemon: Callable[..., Any], tmp_path: Path, portraits: Any) -> None:
    desk, (first, second) = Desk(daemon, tmp_path, existing="replace"), portraits(2)
    desk.daemon.start()
    result = desk.publish(first)
    desk.delete()
    assert desk.publish(second, times=2) != result


def test_a_photo_that_was_away_and_is_back_is_the_one_it_was(desk: Desk, portraits: Any) -> None:
    first, second = portraits(2)
    desk.daemon.start()
    result = desk.publish(first)
    desk.photo.rename(desk.photo.with_name("away"))
    desk.daemon.wait_for(lambda: desk.reason() == "vanished", what="the photo's end")
    desk.photo.with_name("away").rename(desk.photo)
    desk.daemon.wait_for(lambda: desk.reason() == "None", what="its return")
    assert desk.result.read_bytes() == result
    assert desk.publish(second, times=2) != result  # an edit


def test_scans_notice_it_as_well(desk: Desk, portraits: Any) -> None:
    first, second = portraits(2)

    def scan() -> int:
        return int(desk.daemon.run("scan", "--config", str(desk.daemon.config_path)).returncode)

    desk.photo.write_bytes(first)
    assert scan() == 0
    result = desk.result.read_bytes()
    desk.photo.unlink()
    assert scan() == 0
    desk.photo.write_bytes(second)
    assert scan() == 3
    assert desk.result.read_bytes() == result
