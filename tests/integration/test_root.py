"""A root over time: deleted, made again, unmounted, mounted late; its mirror too. The clock is virtual."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import virtual_time
from root_desk import RESCAN_SECONDS, Desk, SlowThread
from watchdog.observers import inotify_c

from faceblurd.engine import root as root_module
from faceblurd.engine.health import CHECK_SECONDS
from faceblurd.engine.model import Named, Pace, RootState
from faceblurd.engine.thread import Inline, RootThread
from faceblurd.model import Entry, Fingerprint, Intent, Mode, Reason, State, Watch
from faceblurd.watch import events
from faceblurd.watch.events import Watcher
from faceblurd.watch.scan import Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    At = Callable[..., None]


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
            desk = Desk(*folders, **options)
            try:
                await story(desk)
            finally:
                await desk.close()

        virtual_time.run(main())

    return run


def test_a_root_is_watched_and_what_was_there_is_found(at: At, folders: tuple[Path, Path]) -> None:
    (folders[0] / "old.jpg").write_bytes(b"x")

    async def story(desk: Desk) -> None:
        assert not desk.root.available
        await desk.until(lambda: "old.jpg" in desk.found)
        assert desk.root.state is RootState.WATCHING
        assert desk.root.alive
        (folders[0] / "new.jpg").write_bytes(b"x")
        await desk.until(lambda: "new.jpg" in desk.found)
        assert len(desk.scans) == 1, "an event brought it"
        assert desk.told == []

    at(story)


def test_a_deleted_root_is_suspended_and_found_again_when_it_is_back(at: At, folders: tuple[Path, Path]) -> None:
    async def story(desk: Desk) -> None:
        await desk.until(lambda: desk.root.available)
        shutil.rmtree(folders[0])
        await desk.until(lambda: desk.root.state is RootState.SUSPENDED)
        assert not desk.root.available
        assert desk.root.alive  # the service is well: it is the root that is away
        folders[0].mkdir()
        (folders[0] / "back.jpg").write_bytes(b"x")
        await desk.until(lambda: "back.jpg" in desk.found)
        (folders[0] / "live.jpg").write_bytes(b"x")
        await desk.until(lambda: "live.jpg" in desk.found)
        assert desk.told == ["root.suspended", "root.resumed"]

    at(story)


def test_photos_of_a_root_that_is_away_are_no_longer_on_their_way(at: At, folders: tuple[Path, Path]) -> None:
    (folders[0] / "old.jpg").write_bytes(b"x")

    async def story(desk: Desk) -> None:
        await desk.until(lambda: "old.jpg" in desk.root.photos)
        folders[0].rename(folders[0].with_name("elsewhere"))
        await desk.until(lambda: desk.root.state is RootState.SUSPENDED)
        assert desk.root.photos == {}
        assert not desk.root.is_busy, "nothing to wait for: a single scan ends"
        folders[0].with_name("elsewhere").rename(folders[0])
        await desk.until(lambda: "old.jpg" in desk.root.photos, "the scan after its return")

    at(story)


def test_a_root_that_was_replaced_between_two_looks_is_watched_and_scanned_again(
    at: At, folders: tuple[Path, Path]
) -> None:
    async def story(desk: Desk) -> None:
        await desk.until(lambda: desk.root.available and not desk.root.scans.running)
        shutil.rmtree(folders[0])
        folders[0].mkdir()
        (folders[0] / "a.jpg").write_bytes(b"x")
        await desk.until(lambda: "a.jpg" in desk.found)
        (folders[0] / "live.jpg").write_bytes(b"x")
        await desk.until(lambda: "live.jpg" in desk.found)
        assert desk.told == ["root.rewatched"]

    at(story)


def test_a_renamed_root_is_suspended(at: At, folders: tuple[Path, Path]) -> None:
    async def story(desk: Desk) -> None:
        await desk.until(lambda: desk.root.available)
        folders[0].rename(folders[0].with_name("elsewhere"))
        await desk.until(lambda: desk.root.state is RootState.SUSPENDED)
        folders[0].with_name("elsewhere").rename(folders[0])
        await desk.until(lambda: desk.root.available)

    at(story)


def test_a_root_whose_mirror_is_away_is_suspended(at: At, folders: tuple[Path, Path]) -> None:
    async def story(desk: Desk) -> None:
        await desk.until(lambda: desk.root.available)
        folders[1].rmdir()
        await desk.until(lambda: desk.root.state is RootState.SUSPENDED)
        folders[1].mkdir()
        await desk.until(lambda: desk.root.available)

    at(story)


def test_lost_events_bring_a_new_watcher_and_a_scan(at: At, folders: tuple[Path, Path]) -> None:
    async def story(desk: Desk) -> None:
        await desk.until(lambda: desk.root.available and not desk.root.scans.running)
        assert desk.root._watcher is not None
        assert desk.root._watcher._listener is not None
        desk.root._watcher._listener.on_queue_overflow()  # as watchdog calls it
        await desk.turn()
        assert desk.told == ["root.rewatched"]
        assert len(desk.scans) == 2
        (folders[0] / "a.jpg").write_bytes(b"x")
        await desk.until(lambda: "a.jpg" in desk.found and not desk.root.scans.running)
        assert desk.root.alive

    at(story)


def _inotify_descriptors() -> int:
    links = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/self/fd/{name}"))
    return links.count("anon_inode:inotify")


def test_a_watcher_that_is_not_needed_any_more_is_stopped(at: At, folders: tuple[Path, Path]) -> None:
    """A user has 128 of the kernel's instances."""
    before = _inotify_descriptors()

    async def story(desk: Desk) -> None:
        await desk.until(lambda: desk.root.available)
        assert _inotify_descriptors() == before + 1
        for _ in range(3):
            desk.root._watcher._listener.on_queue_overflow()  # type: ignore[union-attr]
            await desk.turn()
        assert desk.told == ["root.rewatched"] * 3
        assert _inotify_descriptors() == before + 1
        folders[0].rename(folders[0].with_name("away"))
        await desk.until(lambda: desk.root.is_away)
        assert _inotify_descriptors() == before

    at(story)


def test_a_directory_that_is_not_watched_means_degraded_and_soon_another_scan(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watcher, "watched_directories", property(lambda _: 0))

    async def story(desk: Desk) -> None:
        await desk.until(lambda: desk.root.state is RootState.DEGRADED)
        assert desk.root.available
        assert "watch limit" in desk.root.problems[0]
        monkeypatch.undo()
        await desk.pause(root_module.DEGRADED_RESCAN_SECONDS)
        await desk.until(lambda: desk.root.state is RootState.WATCHING)
        assert desk.told == ["root.degraded", "root.recovered"]

    at(story)


def test_directories_that_come_and_go_during_a_scan_are_no_reason_to_be_degraded(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = [0]  # as if the scan had walked one that is gone again
    monkeypatch.setattr(Watcher, "watched_directories", property(lambda _: watched[0]))

    async def story(desk: Desk) -> None:
        await desk.until(lambda: desk.scans)
        assert desk.root.state is RootState.WATCHING
        watched[0] = 1
        await desk.pause(10 * CHECK_SECONDS)
        assert desk.scans == [desk.scans[0], desk.scans[0] + CHECK_SECONDS], "the next one tells, and then it is good"
        assert desk.root.state is RootState.WATCHING
        watched[0] = 0
        desk.root.scan_soon()
        await desk.pause(2 * CHECK_SECONDS)
        assert desk.root.state is RootState.DEGRADED
        assert desk.told == ["root.degraded"]

    at(story)


def test_a_root_is_scanned_again_after_the_rescan_time_and_not_before(at: At, folders: tuple[Path, Path]) -> None:
    (folders[0] / "old.jpg").write_bytes(b"x")

    async def story(desk: Desk) -> None:
        await desk.until(lambda: "old.jpg" in desk.found and not desk.root.scans.running)  # the first scan is over
        await desk.pause(RESCAN_SECONDS - 2 * CHECK_SECONDS)
        assert len(desk.scans) == 1
        await desk.pause(3 * CHECK_SECONDS)
        assert len(desk.scans) == 2

    at(story)


def test_a_root_by_scans_alone_finds_new_photos_at_each_scan_and_watches_nothing(
    at: At, folders: tuple[Path, Path]
) -> None:
    (folders[0] / "first.jpg").write_bytes(b"x")

    async def story(desk: Desk) -> None:
        await desk.until(lambda: "first.jpg" in desk.found and not desk.root.scans.running)
        assert desk.root.state is RootState.SCANNED
        assert (desk.root.available, desk.root.alive) == (True, True)
        assert desk.told == ["root.scanned_only"]
        (folders[0] / "second.jpg").write_bytes(b"x")
        await desk.turn()
        assert len(desk.scans) == 1  # not yet
        assert desk.root._watcher is None
        await desk.pause(root_module.SCANNED_RESCAN_SECONDS)
        await desk.until(lambda: "second.jpg" in desk.found)
        assert len(desk.scans) == 2
        folders[0].rename(folders[0].with_name("away"))
        await desk.until(lambda: desk.root.state is RootState.SUSPENDED)
        folders[0].mkdir()
        (folders[0] / "third.jpg").write_bytes(b"x")
        await desk.until(lambda: "third.jpg" in desk.found)
        assert desk.root.state is RootState.SCANNED

    at(story, pace=Pace(RESCAN_SECONDS, Watch.SCAN))


@pytest.fixture
def scanned(at: At, folders: tuple[Path, Path]) -> At:
    """Run a test's coroutine with a root that is watched, and whose first scan is over."""
    (folders[0] / "first.jpg").write_bytes(b"x")  # there before the watcher: the scan alone finds it

    def run(story: Callable[[Desk], Coroutine[Any, Any, None]], **options: Any) -> None:
        async def when_scanned(desk: Desk) -> None:
            await desk.until(lambda: "first.jpg" in desk.found and not desk.root.scans.running, "the first scan")
            assert desk.root.state is RootState.WATCHING
            await story(desk)

        at(when_scanned, **options)

    return run


@pytest.fixture
def slow(scanned: At) -> At:
    """Run a test's coroutine with a root that is watched, and then does not answer until it is told to."""

    def run(story: Callable[[Desk, SlowThread], Coroutine[Any, Any, None]]) -> None:
        share = SlowThread()

        async def when_slow(desk: Desk) -> None:
            share.slow = True
            try:
                await story(desk, share)
            finally:
                share.recover()

        scanned(when_slow, threads=lambda name: share if name.startswith("files of") else Inline())

    return run


def test_a_root_that_does_not_answer_is_asked_once_then_suspended_and_goes_on_by_itself(slow: At) -> None:
    async def story(desk: Desk, share: SlowThread) -> None:
        asked_at = desk.now + CHECK_SECONDS
        while desk.now + CHECK_SECONDS < asked_at + root_module.STALLED_SECONDS:
            await desk.turn()
            assert desk.root.state is RootState.WATCHING, "a disk that wakes up is no dead share"
            assert len(share.waiting) == 1, "calls would pile up behind the one that hangs"
        await desk.turn()
        assert (desk.root.state, desk.root.stalled) == (RootState.SUSPENDED, True)
        assert desk.root.problems == (f"{desk.root.path} does not answer",)
        await desk.turn()
        assert desk.told.count("root.suspended") == 1
        share.recover()
        await desk.at_once()
        assert (desk.root.state, desk.root.stalled) == (RootState.WATCHING, False)
        assert desk.told[-1] == "root.resumed"

    slow(story)


@pytest.mark.parametrize("began", [True, False])
def test_the_watcher_of_a_root_that_was_stopped_meanwhile_is_stopped_too(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any], began: bool
) -> None:
    starts, may_go_on, start = threading.Event(), threading.Event(), Watcher.start

    def slow_start(watcher: Watcher) -> None:
        if began:
            start(watcher)
        starts.set()
        assert may_go_on.wait(300)
        if not began:
            start(watcher)

    monkeypatch.setattr(Watcher, "start", slow_start)

    async def main() -> None:
        desk = Desk(*folders, threads=RootThread)
        before = len(os.listdir("/proc/self/fd"))
        await desk.until(starts.is_set, turns=False)  # it was looked at; its watcher starts, and that takes its time
        await desk.close()
        may_go_on.set()
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, what="an end of the watcher's descriptors")
        desk.root.thread.close()
        assert desk.root.state is RootState.STARTING, "a late answer is nobody's"
        assert desk.told == []

    virtual_time.run(main())


def test_a_full_root_pauses_until_there_is_room(at: At, folders: tuple[Path, Path]) -> None:
    async def story(desk: Desk) -> None:
        await desk.until(lambda: desk.root.available, "the watching")
        desk.root.trouble(Reason.NO_SPACE, 1 << 62)
        desk.root.trouble(Reason.NO_SPACE, 1)  # two results at once; the larger one decides
        for _ in range(20):
            await desk.turn()
        assert (desk.root.state, desk.root.available) == (RootState.FULL, False)
        assert desk.root.problems == (f"no room for results in {folders[1]}",)
        assert desk.told.count("root.full") == 1

    at(story)


def test_a_root_with_room_again_goes_on_and_is_scanned(scanned: At, folders: tuple[Path, Path]) -> None:
    async def story(desk: Desk) -> None:
        desk.root.trouble(Reason.NO_SPACE, 1)
        (folders[0] / "meanwhile.jpg").write_bytes(b"x")
        await desk.until(lambda: "meanwhile.jpg" in desk.found, "the scan")
        assert desk.root.state is RootState.WATCHING
        assert desk.told[-2:] == ["root.full", "root.resumed"]

    scanned(story)


@pytest.mark.parametrize("reason", [Reason.IO_ERROR, Reason.UNREACHABLE])
def test_a_failure_below_a_root_lets_it_be_looked_at_at_once(
    scanned: At, folders: tuple[Path, Path], reason: Reason
) -> None:
    async def story(desk: Desk) -> None:
        shutil.rmtree(folders[0])
        await desk.pause(CHECK_SECONDS / 2)
        assert desk.root.available, "it is not time yet"
        now = desk.now
        desk.root.trouble(reason, 1)
        await desk.at_once()
        assert desk.root.state is RootState.SUSPENDED
        assert desk.now == now

    scanned(story)


def test_dropped_hints_bring_a_scan(scanned: At, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(desk: Desk) -> None:
        monkeypatch.setattr(events, "MAX_HINTS", 0)
        (folders[0] / "dropped.jpg").write_bytes(b"x")
        await desk.until(lambda: "dropped.jpg" in desk.found, "the scan")
        assert "root.hints_lost" in desk.told

    scanned(story)


def test_hints_that_could_not_be_handled_bring_a_scan(
    scanned: At, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_sighting: object) -> None:
        raise RuntimeError("a bug of ours")

    async def story(desk: Desk) -> None:
        monkeypatch.setattr(desk.root._watcher._listener, "_enqueue", fail)  # type: ignore[union-attr]
        (folders[0] / "lost.jpg").write_bytes(b"x")
        await desk.until(lambda: "lost.jpg" in desk.found, "the scan")
        assert "root.hints_lost" in desk.told
        await desk.until(lambda: not desk.root.scans.running, "the scan's end")
        assert desk.root.state is RootState.WATCHING
        said = [detail for detail in desk.details if "could not" in detail]
        assert desk.told.count("root.hints_lost") == len(set(said))

    scanned(story)


def _lock(patch: pytest.MonkeyPatch) -> None:
    """Answer as the kernel answers others than root."""
    scandir = os.scandir

    def locked(path: Any) -> Any:
        if os.fsencode(path).rstrip(b"/").endswith(b"/locked"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    patch.setattr(os, "scandir", locked)


def test_a_place_that_cannot_be_read_means_degraded_until_it_can(
    at: At, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders[0] / "locked").mkdir()

    async def story(desk: Desk) -> None:
        with monkeypatch.context() as patch:
            _lock(patch)
            await desk.until(lambda: desk.root.state is RootState.DEGRADED, "the bad news")
            await desk.until(lambda: not desk.root.scans.running, "the scan's end")
            before = len(desk.scans)
            desk.root.scan_soon()
            await desk.until(lambda: len(desk.scans) > before and not desk.root.scans.running, "another scan")
            assert "locked" in desk.root.problems[0]
            assert desk.told.count("root.degraded") == 1, "the same news twice is no news"
        await desk.until(lambda: desk.root.state is RootState.WATCHING, "the good news")
        assert desk.told[-1] == "root.recovered"

    at(story)


def test_no_scan_starts_in_a_root_that_went_while_its_directories_were_tried_again(
    slow: At, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(desk: Desk, share: SlowThread) -> None:
        share.slow = False
        _lock(monkeypatch)
        (folders[0] / "locked").mkdir()
        await desk.until(lambda: desk.root.state is RootState.DEGRADED)
        scans, share.slow = len(desk.scans), True
        desk.root.scan_soon()
        await desk.at_once()
        share.answer(1)  # it is here; its directories are tried again, which takes its time
        await desk.at_once()
        assert len(share.waiting) == 1
        desk.root.trouble(Reason.NO_SPACE, 1)
        share.answer(1)
        await desk.at_once()
        assert not desk.root.scans.running
        assert len(desk.scans) == scans
        assert desk.root.state is RootState.FULL

    slow(story)


def test_a_root_that_cannot_be_watched_is_degraded_and_scanned_until_it_can(
    at: At, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel answers when this user has all of its inotify instances, which are not this test's alone."""
    (folders[0] / "photo.jpg").write_bytes(b"x")

    async def story(desk: Desk) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(inotify_c, "inotify_init", lambda: (ctypes.set_errno(errno.EMFILE), -1)[1])
            await desk.until(lambda: "photo.jpg" in desk.found, "the scan")
            assert desk.root.state is RootState.DEGRADED
            assert "cannot be watched" in desk.root.problems[0]
            assert (desk.root.available, desk.root.alive) == (True, True)
        await desk.until(lambda: desk.root.state is RootState.WATCHING, "the watching")
        assert desk.told == ["root.degraded", "root.recovered"]

    at(story)


def test_a_scan_that_is_asked_for_during_a_scan_follows_it(
    scanned: At, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hints that were dropped then may be about what the scan had passed already."""
    walker = SlowThread()

    async def story(desk: Desk) -> None:
        walker.slow = True
        desk.root.scan_soon()
        await desk.at_once()
        for _ in range(2):  # to begin, and to read all there is
            walker.answer(1)
            await desk.at_once()
        assert desk.root.scans.running
        assert len(walker.waiting) == 1
        with monkeypatch.context() as patch:
            patch.setattr(events, "MAX_HINTS", 0)
            (folders[0] / "passed.jpg").write_bytes(b"x")
            await desk.until(lambda: "root.hints_lost" in desk.told, turns=False)
        assert desk.root.scans.running
        walker.recover()
        await desk.until(lambda: "passed.jpg" in desk.found, "the scan")
        assert desk.now < RESCAN_SECONDS / 2

    scanned(story, threads=lambda name: walker if name.startswith("scan of") else Inline())


def test_a_root_that_is_being_watched_anew_is_no_reason_to_end_the_service(slow: At) -> None:
    """To start watching 200,000 directories takes longer than systemd's watchdog waits."""

    async def story(desk: Desk, share: SlowThread) -> None:
        assert desk.root._watcher is not None
        desk.root._watcher._listener.on_queue_overflow()  # type: ignore[union-attr]
        await desk.turn()
        assert not desk.root.alive, "nobody has seen to it yet"
        share.answer(1)  # it is looked at; its new watcher starts, and that takes its time
        await desk.at_once()
        assert desk.root.alive
        await desk.pause(root_module.WATCH_SECONDS - 1)
        assert (desk.root.state, desk.root.alive) == (RootState.WATCHING, True)

    slow(story)


def test_a_root_that_does_not_answer_while_it_is_recovered_is_suspended(folders: tuple[Path, Path]) -> None:
    share = SlowThread()
    share.slow = True

    async def main() -> None:
        desk = Desk(*folders, threads=lambda name: share if name.startswith("files of") else Inline())
        nowhere = Fingerprint(1, 2, 3, 4, 5)
        desk.ledger.begin(Intent("t", str(folders[0]), "a.jpg", f"{folders[1]}/a.jpg", None, nowhere, "R", 1))
        await desk.at_once()
        share.answer(1)  # it is there, and what a crash left is looked at
        await desk.pause(root_module.STALLED_SECONDS - 1)
        assert (desk.root.state, desk.root.stalled) == (RootState.STARTING, False)
        await desk.pause(1)
        assert (desk.root.state, desk.root.stalled) == (RootState.SUSPENDED, True)
        share.recover()
        await desk.at_once()
        assert (desk.root.state, desk.root.stalled) == (RootState.WATCHING, False)
        assert desk.told == ["root.suspended", "file.recovered", "root.resumed"]
        await desk.close()

    virtual_time.run(main())


def test_what_a_crash_left_is_recovered_once_however_many_ask_for_it(slow: At, folders: tuple[Path, Path]) -> None:
    """A disk that failed and a root that came back, at the same time: the hook must not be called twice."""

    async def story(desk: Desk, share: SlowThread) -> None:
        nowhere = Fingerprint(1, 2, 3, 4, 5)
        desk.ledger.begin(Intent("t", str(folders[0]), "a.jpg", f"{folders[1]}/a.jpg", None, nowhere, "R", 1))
        both = [asyncio.ensure_future(desk.root.recovery.run()) for _ in range(2)]
        await desk.at_once()
        share.recover()
        await asyncio.wait(both)
        assert desk.told == ["file.recovered"]
        assert desk.ledger.intents() == []

    slow(story)


def test_a_name_that_cannot_be_followed_suspends_the_root_until_it_can(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link of the config, on a share that answers with errors."""
    link = folders[0].with_name("link")
    link.symlink_to(folders[0])

    def stale(path: Any, **_: Any) -> str:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)

    async def main() -> None:
        desk = Desk(*folders, named=Named(str(link), str(folders[1])))
        await desk.until(lambda: desk.root.state is RootState.WATCHING)
        with monkeypatch.context() as patch:
            patch.setattr(os, "readlink", stale)
            await desk.until(lambda: desk.root.state is RootState.SUSPENDED)
            assert desk.root.problems == (f"{link} cannot be reached: {os.strerror(errno.ESTALE)}",)
        await desk.until(lambda: desk.root.state is RootState.WATCHING)
        await desk.close()

    virtual_time.run(main())


def test_a_scan_ends_although_the_root_went_when_its_held_files_were_looked_at(
    slow: At, folders: tuple[Path, Path]
) -> None:
    """Else it would be under way for ever, and none would follow."""

    async def story(desk: Desk, share: SlowThread) -> None:
        desk.ledger.put(Entry(desk.root.path, "held.jpg", State.QUARANTINED, "R", Fingerprint(1, 2, 3, 4, 5)))
        desk.root.scan_soon()
        await desk.at_once()
        share.answer(1)  # it is there, and scanned
        await desk.at_once()
        assert desk.root.scans.running
        folders[0].rename(folders[0].with_name("elsewhere"))
        share.answer(1)
        await desk.at_once()
        folders[0].with_name("elsewhere").rename(folders[0])
        assert (desk.root.scans.running, len(desk.scans)) == (False, 2)
        assert desk.ledger.entry(desk.root.path, "held.jpg") is not None, "nothing was seen of it"
        share.slow = False
        desk.root.scan_soon()
        await desk.until(lambda: len(desk.scans) == 3)
        assert desk.ledger.entry(desk.root.path, "held.jpg") is None

    slow(story)


def test_the_walk_of_a_root_that_went_away_ends_at_the_next_folder(
    at: At, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a thread of its own, which would read a huge tree to its end for nothing."""
    for name in "abc":
        (folders[0] / name).mkdir()
    read: list[str] = []
    is_in_a, may_go_on, entries = threading.Event(), threading.Event(), Walk._entries

    def slow_entries(walk: Walk, directory: str) -> list[os.DirEntry[str]]:
        read.append(directory)
        if directory == "a":
            is_in_a.set()
            assert may_go_on.wait(300)
        return entries(walk, directory)

    monkeypatch.setattr(Walk, "_entries", slow_entries)

    async def story(desk: Desk) -> None:
        name = f"scan of {folders[0]}"
        await desk.until(is_in_a.is_set)
        assert desk.root.scans.running
        folders[1].rmdir()
        await desk.until(lambda: desk.root.is_away)
        may_go_on.set()
        await desk.until(lambda: name not in {thread.name for thread in threading.enumerate()}, "the thread's end")
        assert read == ["", "a"]
        assert desk.scans == []

    at(story, threads=lambda name: RootThread(name) if name.startswith("scan of") else Inline())


def test_a_scan_of_a_root_that_has_just_gone_says_so_and_nothing_follows_from_what_it_did_not_see(
    scanned: At, folders: tuple[Path, Path]
) -> None:
    walker = SlowThread()

    async def story(desk: Desk) -> None:
        walker.slow = True
        desk.root.scan_soon()
        await desk.at_once()
        folders[0].rename(folders[0].with_name("elsewhere"))
        walker.recover()
        await desk.at_once()
        assert len(desk.scans) == 2
        assert desk.root.scans.last is not None
        assert "No such file" in desk.root.scans.last.errors[0]
        assert desk.root.deletions is not None
        assert desk.root.deletions.idle

    scanned(story, threads=lambda name: walker if name.startswith("scan of") else Inline())


def test_a_scan_finds_that_a_photo_is_gone_where_the_root_has_a_mirror(at: At, folders: tuple[Path, Path]) -> None:
    async def story(desk: Desk) -> None:
        await desk.until(lambda: desk.scans)
        for name in ("there.jpg", "gone.jpg"):
            for folder in folders:
                (folder / name).write_bytes(b"x")
            source, target = (Fingerprint.from_stat((folder / name).lstat()) for folder in folders)
            to, recipe = str(folders[1]), desk.root.plan.recipe.digest
            desk.ledger.put(Entry(desk.root.path, name, State.PUBLISHED, recipe, source, "in", "out", target, to=to))
        (folders[0] / "gone.jpg").unlink()
        desk.root.scan_soon()
        await desk.pause(root_module.SCANNED_RESCAN_SECONDS / 2)
        assert len(desk.scans) == 2
        assert os.listdir(folders[1]) == ["there.jpg"]
        assert "file.withdrawn" in desk.told

    at(story, pace=Pace(RESCAN_SECONDS, Watch.SCAN), follow_deletions=True, quiet_seconds=1.0)


def test_in_place_there_is_nothing_to_withdraw(folders: tuple[Path, Path]) -> None:
    async def main() -> None:
        desk = Desk(folders[0], folders[0], mode=Mode.IN_PLACE)
        await desk.until(lambda: desk.scans)
        assert desk.root.deletions is None
        await desk.close()

    virtual_time.run(main())


MOUNTS = """
import subprocess, sys
from pathlib import Path

import virtual_time
from faceblurd.engine.model import RootState
from root_desk import Desk

def mount():
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mounted], check=True)

def umount():
    subprocess.run(["umount", "-l", mounted], check=True)

async def story():
    desk = Desk(watched, to)
    await desk.until(lambda: desk.root.available)
    if first == "bare":
        mount()
        await desk.turn()
        await desk.until(lambda: desk.root.available)
    (watched / "one.jpg").write_bytes(b"x")
    await desk.until(lambda: "one.jpg" in desk.found)
    umount()
    await desk.until(lambda: desk.root.state is RootState.SUSPENDED)
    (watched / "below.jpg").write_bytes(b"x")
    mount()
    await desk.until(lambda: desk.root.available)
    (watched / "two.jpg").write_bytes(b"x")
    await desk.until(lambda: "two.jpg" in desk.found)
    assert which == "to" or "below.jpg" not in desk.found, desk.found
    await desk.close()

mounted, which, first = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
other = mounted.with_name("other")
mounted.mkdir()
other.mkdir()
if first == "mounted":
    mount()
watched, to = (mounted, other) if which == "root" else (other, mounted)
virtual_time.run(story())
print("good")
"""


@pytest.mark.parametrize("which", ["root", "to"])
@pytest.mark.parametrize("first", ["mounted", "bare"])
def test_an_unmounted_root_or_mirror_is_suspended_until_it_is_back(tmp_path: Path, which: str, first: str) -> None:
    """In a mount namespace of its own. `bare`: the disk came after the daemon."""
    possible = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", tmp_path], capture_output=True, text=True, check=False
    )
    if possible.returncode != 0:
        pytest.skip(f"no private mounts here: {possible.stderr.strip()}")
    command = ["unshare", "-m", sys.executable, "-c", MOUNTS, tmp_path / "mounted", which, first]
    helpers = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, env=helpers)
    assert done.stdout == "good\n", done.stderr
