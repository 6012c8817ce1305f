"""The window that keeps photos from filling memory: those that wait for room come in, each once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import virtual_time
from root_desk import Desk

from faceblurd.engine import intake
from faceblurd.model import Fingerprint
from faceblurd.watch.scan import Found

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def photo(name: str) -> Found:
    return Found(name, Fingerprint(1, 2, 3, 4, 5))


def test_photos_that_wait_for_room_come_in_one_by_one_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan, and a retry that is due: two at a time wait for the backfill's room."""
    monkeypatch.setattr(intake, "MAX_BACKFILL", 1)
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()

    async def main() -> None:
        desk = Desk(tmp_path / "in", tmp_path / "out")
        root = desk.root
        await desk.until(lambda: root.available)
        waiting = [asyncio.ensure_future(root.found(photo(f"{number}.jpg"))) for number in range(4)]
        for number in range(4):
            await desk.at_once()
            assert list(root.photos) == [f"{number}.jpg"]
            assert [one.done() for one in waiting] == [at <= number for at in range(4)]
            root.cancel(in_hand=True)  # it has its outcome
        await desk.at_once()
        assert root.photos == {}
        await desk.close()

    virtual_time.run(main())


def test_one_that_came_while_it_waited_for_room_takes_no_second_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MAX_BACKFILL", 1)
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()

    async def main() -> None:
        desk = Desk(tmp_path / "in", tmp_path / "out")
        root = desk.root
        await desk.until(lambda: root.available)
        await root.found(photo("first.jpg"))
        waiting = asyncio.ensure_future(root.found(photo("twice.jpg")))
        await desk.at_once()
        await root.consider("twice.jpg", photo("twice.jpg").fingerprint, fresh=True)
        first, twice = (root._tasks[name] for name in ("first.jpg", "twice.jpg"))
        first.cancel()
        await desk.at_once()
        assert (list(root.photos), waiting.done()) == (["twice.jpg"], True)
        assert root._tasks["twice.jpg"] is twice
        async with asyncio.timeout(60):  # else a place was lost
            await root.found(photo("last.jpg"))
        assert set(root.photos) == {"twice.jpg", "last.jpg"}
        await desk.close()

    virtual_time.run(main())


def test_a_scan_waits_for_room_goes_on_when_there_is_some_and_ends_with_its_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MAX_BACKFILL", 2)
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(b"x")

    async def main() -> None:
        desk = Desk(tmp_path / "in", tmp_path / "out")
        root = desk.root
        await desk.until(lambda: root.photos)
        await desk.pause(600)
        assert set(root.photos) == {"0.jpg", "1.jpg"}
        assert root.scans.running
        root.cancel(in_hand=True)  # they have their outcomes
        await desk.pause(600)
        assert set(root.photos) == {"2.jpg", "3.jpg"}
        assert root.scans.running
        assert desk.scans == []
        (tmp_path / "out").rmdir()
        await desk.until(lambda: root.is_away)
        assert not root.scans.running
        assert root.photos == {}
        assert desk.scans == [], "it did not see the end"
        await desk.close()

    virtual_time.run(main())


def test_fresh_photos_have_room_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_BACKFILL", 1)
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(b"x")

    async def main() -> None:
        desk = Desk(tmp_path / "in", tmp_path / "out")
        await desk.until(lambda: desk.root.photos)
        (tmp_path / "in" / "new.jpg").write_bytes(b"x")
        await desk.until(lambda: "new.jpg" in desk.root.photos)
        assert set(desk.root.photos) == {"0.jpg", "new.jpg"}
        await desk.close()

    virtual_time.run(main())
