"""To the second: when a root is looked at, scanned, suspended, and goes on, by a clock that jumps."""

from __future__ import annotations

import asyncio
import errno
import os
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import virtual_time
from root_desk import Desk, SlowThread

from faceblurd.engine import root as root_module
from faceblurd.engine.health import CHECK_SECONDS, MOST_CHECK_SECONDS, ROOM_SECONDS
from faceblurd.engine.model import Pace, RootState
from faceblurd.engine.root import (
    DEGRADED_RESCAN_SECONDS,
    SCANNED_RESCAN_SECONDS,
    STALLED_SECONDS,
    WATCH_SECONDS,
)
from faceblurd.engine.thread import Inline
from faceblurd.model import Reason, Sighting, Source, State, Watch
from faceblurd.watch import events, filesystem
from faceblurd.watch.events import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    At = Callable[..., None]

RESCAN_SECONDS = 300.0


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    return tmp_path / "in", tmp_path / "out"


@pytest.fixture
def at(folders: tuple[Path, Path]) -> At:
    """Run a test's coroutine with a root."""

    def run(story: Callable[[Desk], Coroutine[Any, Any, None]], **options: Any) -> None:
        async def main() -> None:
            desk = Desk(*folders, **{"pace": Pace(RESCAN_SECONDS), **options})
            try:
                await story(desk)
            finally:
                await desk.close()

        virtual_time.run(main())

    return run


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the root was looked at."""
    times: list[float] = []

    def look(places: filesystem.Places) -> filesystem.Look:
        times.append(asyncio.get_running_loop().time())
        return filesystem.look(places)

    monkeypatch.setattr(root_module, "look", look)
    return times


def pauses(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


# --- looks


def test_a_root_that_is_there_is_looked_at_every_two_seconds(at: At, looks: list[float]) -> None:
    async def story(desk: Desk) -> None:
        began = desk.now
        await desk.pause(60.5)
        assert looks[0] == began
        assert pauses(looks) == [CHECK_SECONDS] * 30

    at(story)


def test_a_share_that_fails_is_looked_at_after_4_8_16_then_every_30_seconds_until_it_answers(
    at: At, looks: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(path: str) -> OSError:
        return OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)

    async def story(desk: Desk) -> None:
        await desk.pause(CHECK_SECONDS / 2)
        with monkeypatch.context() as patch:
            patch.setattr(filesystem, "_identity", stale)
            await desk.pause(120)
            assert desk.root.state is RootState.SUSPENDED
        await desk.pause(MOST_CHECK_SECONDS)
        assert desk.root.state is RootState.WATCHING
        await desk.pause(CHECK_SECONDS)
        assert MOST_CHECK_SECONDS == 30
        assert pauses(looks) == [2, 4, 8, 16, 30, 30, 30, 30, 2]

    at(story)


def test_a_root_that_is_gone_is_looked_for_every_two_seconds(
    at: At, looks: list[float], folders: tuple[Path, Path]
) -> None:
    async def story(desk: Desk) -> None:
        await desk.pause(CHECK_SECONDS / 2)
        folders[0].rename(folders[0].with_name("away"))
        await desk.pause(60)
        assert desk.root.state is RootState.SUSPENDED
        assert set(pauses(looks)) == {CHECK_SECONDS}
        folders[0].with_name("away").rename(folders[0])
        await desk.pause(CHECK_SECONDS)
        assert desk.root.state is RootState.WATCHING

    at(story)


def test_a_look_that_is_asked_for_comes_at_once_and_the_next_one_two_seconds_later(at: At, looks: list[float]) -> None:
    async def story(desk: Desk) -> None:
        await desk.pause(CHECK_SECONDS + 0.5)
        desk.root.check_soon()
        await desk.pause(5)
        assert pauses(looks) == [2, 0.5, 2, 2]

    at(story)


def test_a_full_disk_is_tried_again_after_ten_seconds_however_much_room_it_says_it_has(at: At) -> None:
    async def story(desk: Desk) -> None:
        await desk.pause(CHECK_SECONDS * 2.5)  # its next look is one second away, and then every other second
        desk.root.trouble(Reason.NO_SPACE, 1)
        assert desk.root.state is RootState.FULL
        await desk.pause(ROOM_SECONDS)
        assert desk.root.state is RootState.FULL
        await desk.pause(1 - 0.001)
        assert desk.root.state is RootState.FULL
        await desk.pause(0.001)
        assert desk.root.state is RootState.WATCHING

    at(story)


# --- scans


def test_a_watched_root_is_scanned_as_often_as_its_config_says(at: At) -> None:
    async def story(desk: Desk) -> None:
        began = desk.now
        await desk.pause(RESCAN_SECONDS * 3 + 1)
        assert desk.scans == [began + RESCAN_SECONDS * number for number in range(4)]

    at(story)


@pytest.mark.parametrize(("rescan_seconds", "seconds"), [(300.0, SCANNED_RESCAN_SECONDS), (10.0, 10.0)])
def test_a_root_by_scans_alone_is_scanned_every_minute_at_least(at: At, rescan_seconds: float, seconds: float) -> None:
    async def story(desk: Desk) -> None:
        began = desk.now
        await desk.pause(seconds * 3 + 1)
        assert SCANNED_RESCAN_SECONDS == 60
        assert desk.scans == [began + seconds * number for number in range(4)]

    at(story, pace=Pace(rescan_seconds, Watch.SCAN))


def test_a_single_run_scans_once(at: At) -> None:
    async def story(desk: Desk) -> None:
        began = desk.now
        assert desk.root.is_busy, "nothing was looked at yet"
        await desk.pause(1000)
        assert desk.scans == [began]
        assert not desk.root.is_busy
        assert desk.told == []

    at(story, pace=Pace(float("inf"), Watch.SCAN, once=True))


@pytest.mark.parametrize(("rescan_seconds", "seconds"), [(300.0, DEGRADED_RESCAN_SECONDS), (10.0, 10.0)])
def test_a_degraded_root_is_scanned_every_half_minute_at_least(
    at: At, monkeypatch: pytest.MonkeyPatch, rescan_seconds: float, seconds: float
) -> None:
    monkeypatch.setattr(Watcher, "watched_directories", property(lambda _: 0))

    async def story(desk: Desk) -> None:
        began = desk.now
        await desk.pause(CHECK_SECONDS + seconds * 2 + 1)
        assert desk.root.state is RootState.DEGRADED
        assert DEGRADED_RESCAN_SECONDS == 30
        second = began + CHECK_SECONDS  # which says whether directories only came and went during the first
        assert desk.scans == [began, second, second + seconds, second + 2 * seconds]

    at(story, pace=Pace(rescan_seconds))


def test_a_scan_that_is_asked_for_puts_the_next_one_off(at: At) -> None:
    async def story(desk: Desk) -> None:
        began = desk.now
        await desk.pause(101)
        desk.root.scan_soon()
        await desk.pause(RESCAN_SECONDS + 1)
        assert desk.scans == [began, began + 101, began + 101 + RESCAN_SECONDS]

    at(story)


def test_hints_beyond_the_bound_lead_to_one_scan_at_once(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_HINTS", 3)

    async def story(desk: Desk) -> None:
        began = desk.now
        await desk.pause(101)
        for number in range(3):
            desk.root._hints.put(Sighting(desk.root.path, f"{number}.jpg", Source.EVENT))
        await desk.pause(0)
        assert desk.scans == [began]
        for number in range(10):
            desk.root._hints.put(Sighting(desk.root.path, f"{number}.jpg", Source.EVENT))
        await desk.pause(0)
        assert desk.scans == [began, began + 101]
        assert desk.told == ["root.hints_lost"]
        await desk.pause(100)
        assert desk.scans == [began, began + 101]

    at(story)


# --- a root that does not answer


@pytest.fixture
def stalled(folders: tuple[Path, Path], at: At) -> At:
    """Run a test's coroutine with a watched root that stops to answer just before its next look."""

    def run(story: Callable[[Desk, SlowThread], Coroutine[Any, Any, None]], **options: Any) -> None:
        share = SlowThread()

        async def when_watched(desk: Desk) -> None:
            await desk.pause(CHECK_SECONDS * 2.5)
            assert desk.root.available
            share.slow = True
            await desk.pause(CHECK_SECONDS / 2)
            assert len(share.waiting) == 1
            try:
                await story(desk, share)
            finally:
                share.recover()

        at(when_watched, threads=lambda name: share if name.startswith("files of") else Inline(), **options)

    return run


def test_a_root_is_suspended_when_it_has_not_answered_for_20_seconds(stalled: At) -> None:
    async def story(desk: Desk, share: SlowThread) -> None:
        assert STALLED_SECONDS == 20
        await desk.pause(STALLED_SECONDS - 0.001)
        assert (desk.root.state, desk.root.stalled) == (RootState.WATCHING, False)
        await desk.pause(0.001)
        assert (desk.root.state, desk.root.stalled) == (RootState.SUSPENDED, True)
        await desk.pause(86_400)
        assert len(share.waiting) == 1, "calls would pile up behind the one that hangs"
        assert desk.root.stalled
        assert not desk.root.is_busy, "it keeps no single scan from its end"

    stalled(story)


@pytest.mark.parametrize("hangs_for", [0.5, STALLED_SECONDS - 0.001])
def test_a_root_that_answers_in_time_is_not_suspended(stalled: At, hangs_for: float) -> None:
    async def story(desk: Desk, share: SlowThread) -> None:
        await desk.pause(hangs_for)
        share.recover()
        await desk.pause(60)
        assert desk.root.state is RootState.WATCHING
        assert desk.told == []

    stalled(story)


def test_a_root_goes_on_in_the_moment_in_which_it_answers_and_is_scanned(stalled: At) -> None:
    async def story(desk: Desk, share: SlowThread) -> None:
        await desk.pause(3600)
        assert desk.root.stalled
        scans = len(desk.scans)
        now = desk.now
        share.recover()
        await desk.at_once()
        assert (desk.root.state, desk.root.stalled) == (RootState.WATCHING, False)
        assert desk.told == ["root.suspended", "root.resumed"]
        assert desk.scans[scans:] == [now]

    stalled(story)


@pytest.mark.parametrize("watch", [Watch.INOTIFY, Watch.SCAN])
def test_photos_of_a_root_that_does_not_answer_are_given_up_also_those_that_workers_have(
    stalled: At, folders: tuple[Path, Path], watch: Watch
) -> None:
    """What settles is cancelled; a worker that has one is asked no more, and is free for other roots."""
    for name in ("1.jpg", "2.jpg"):
        (folders[0] / name).write_bytes(b"x")

    async def story(desk: Desk, share: SlowThread) -> None:
        assert {photo.state for photo in desk.root.photos.values()} == {State.WORKING, State.QUEUED}
        assert len(desk.pool.jobs) == 1
        await desk.pause(STALLED_SECONDS - 0.001)
        assert len(desk.root.photos) == 2
        assert desk.pool.busy == 1
        await desk.pause(0.001)
        assert desk.root.stalled
        assert desk.pool.busy == 0
        assert desk.root.tasks_in_hand()
        assert not desk.root.is_busy, "they keep no single scan from its end"
        assert all(task.cancelling() for task in desk.root._tasks.values()), "they end as soon as it answers"
        share.answer(1)  # it is there again; what was given up is put down one by one, while it is scanned
        await desk.at_once()
        share.recover()
        await desk.pause(CHECK_SECONDS)
        assert set(desk.root.photos) == {"1.jpg", "2.jpg"}, "both were found again"
        assert not any(task.cancelling() for task in desk.root._tasks.values())
        assert {intent.token for intent in desk.ledger.intents()} == desk.root.recovery._in_hand, (
            "nothing is left of the first"
        )
        assert len(desk.pool.jobs) == 2
        assert os.listdir(folders[1]) == []

    stalled(story, quiet_seconds=0.0, pace=Pace(RESCAN_SECONDS, watch))


def test_a_new_watcher_may_take_ten_minutes_before_its_root_counts_as_silent(stalled: At) -> None:
    async def story(desk: Desk, share: SlowThread) -> None:
        assert desk.root._watcher is not None
        desk.root._watcher._listener.on_queue_overflow()  # type: ignore[union-attr]
        share.answer(1)  # it is there: its new watcher starts
        await desk.pause(WATCH_SECONDS - 0.001)
        assert (desk.root.state, desk.root.stalled) == (RootState.WATCHING, False)
        await desk.pause(0.001)
        assert (desk.root.state, desk.root.stalled) == (RootState.SUSPENDED, True)
        share.recover()
        await desk.at_once()
        assert desk.root.state is RootState.WATCHING

    stalled(story)
