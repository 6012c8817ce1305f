"""A root over time: deleted, made again, unmounted, mounted late; its mirror too."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from faceblurd.intake.errands import AtOnce
from faceblurd.intake.inbox import Inbox
from faceblurd.intake.presence import CHECK_SECONDS
from faceblurd.intake.root import Outside, Pace, RootState, RootWatch
from watchdog.observers import inotify_c

from faceblurd.intake import root as root_module
from faceblurd.intake.scanner import Batch, Finished, Selection
from faceblurd.model import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from faceblurd.intake.errands import Errands

RESCAN_SECONDS = 1000.0


class Desk:
    """A watched root, a clock that the test turns, and what the scans and events brought."""

    def __init__(self, path: Path, to: Path, pace: Pace | None = None, errands: Errands | None = None) -> None:
        self.now = 100.0
        self.details: list[str] = []
        self.told: list[str] = []
        self.found: set[str] = set()
        self.inbox = Inbox()
        self.root = RootWatch(
            str(path), Selection(("*.jpg",), ()), to=str(to), pace=pace or Pace(RESCAN_SECONDS),
            outside=Outside(self.inbox, errands or AtOnce(), self._tell),
        )  # fmt: skip

    def _tell(self, event: str, detail: str) -> None:
        self.told.append(event)
        self.details.append(detail)

    def turn(self) -> None:
        """Let the time of one check pass, and do what the pipeline would."""
        self.now += CHECK_SECONDS
        self.root.tick(self.now)
        self.found |= {sighting.path for sighting in self.inbox.events(1000)}
        while items := self.inbox.scans(lambda _root: True):
            for item in items:
                if isinstance(item, Batch):
                    self.found |= {found.path for found in item.found}
                else:
                    self.root.scan_finished(item, self.now)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    return tmp_path / "in", tmp_path / "out"


@pytest.fixture
def desk(folders: tuple[Path, Path]) -> Iterator[Desk]:
    one = Desk(*folders)
    yield one
    one.root.stop()
    one.inbox.close()


@pytest.fixture
def turn_until(desk: Desk, wait_until: Callable[..., Any]) -> Callable[..., None]:
    def until(condition: Callable[[], Any], what: str = "the condition") -> None:
        wait_until(lambda: (desk.turn(), condition())[1], what=what)

    return until


def test_a_root_is_watched_and_what_was_there_is_found(
    desk: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None]
) -> None:
    (folders[0] / "old.jpg").write_bytes(b"x")
    assert not desk.root.available
    turn_until(lambda: "old.jpg" in desk.found)
    assert desk.root.state is RootState.WATCHING
    assert desk.root.alive
    (folders[0] / "new.jpg").write_bytes(b"x")
    turn_until(lambda: "new.jpg" in desk.found)
    assert desk.told == []


def test_a_deleted_root_is_suspended_and_found_again_when_it_is_back(
    desk: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None]
) -> None:
    turn_until(lambda: desk.root.available)
    shutil.rmtree(folders[0])
    turn_until(lambda: desk.root.state is RootState.SUSPENDED)
    assert not desk.root.available
    assert desk.root.alive  # the service is well: it is the root that is away
    folders[0].mkdir()
    (folders[0] / "back.jpg").write_bytes(b"x")
    turn_until(lambda: "back.jpg" in desk.found)
    (folders[0] / "live.jpg").write_bytes(b"x")
    turn_until(lambda: "live.jpg" in desk.found)
    assert desk.told == ["root.suspended", "root.resumed"]


def test_a_root_that_was_replaced_between_two_looks_is_watched_and_scanned_again(
    desk: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None]
) -> None:
    turn_until(lambda: desk.root.available and not desk.root.scanning)
    shutil.rmtree(folders[0])
    folders[0].mkdir()
    (folders[0] / "a.jpg").write_bytes(b"x")
    turn_until(lambda: "a.jpg" in desk.found)
    (folders[0] / "live.jpg").write_bytes(b"x")
    turn_until(lambda: "live.jpg" in desk.found)


def test_a_renamed_root_is_suspended(desk: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None]) -> None:
    turn_until(lambda: desk.root.available)
    folders[0].rename(folders[0].with_name("elsewhere"))
    turn_until(lambda: desk.root.state is RootState.SUSPENDED)
    folders[0].with_name("elsewhere").rename(folders[0])
    turn_until(lambda: desk.root.available)


def test_a_root_whose_mirror_is_away_is_suspended(
    desk: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None]
) -> None:
    turn_until(lambda: desk.root.available)
    folders[1].rmdir()
    turn_until(lambda: desk.root.state is RootState.SUSPENDED)
    folders[1].mkdir()
    turn_until(lambda: desk.root.available)


def test_lost_events_bring_a_new_watcher_and_a_scan(
    desk: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None]
) -> None:
    turn_until(lambda: desk.root.available and not desk.root.scanning)
    assert desk.root._watcher is not None
    assert desk.root._watcher._listener is not None
    desk.root._watcher._listener.on_queue_overflow()  # as watchdog calls it
    desk.turn()
    assert desk.told == ["root.rewatched"]
    (folders[0] / "a.jpg").write_bytes(b"x")
    turn_until(lambda: "a.jpg" in desk.found and not desk.root.scanning)
    assert desk.root.alive


def test_a_directory_that_is_not_watched_means_degraded_and_soon_another_scan(
    desk: Desk, turn_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceblurd.intake.watcher.Watcher.watched_directories", property(lambda _: 0))
    turn_until(lambda: desk.root.state is RootState.DEGRADED)
    assert desk.root.available
    assert "watch limit" in desk.root.problems[0]
    monkeypatch.undo()
    desk.now += root_module.DEGRADED_RESCAN_SECONDS
    turn_until(lambda: desk.root.state is RootState.WATCHING)
    assert desk.told == ["root.degraded", "root.recovered"]


def test_directories_that_come_and_go_during_a_scan_are_no_reason_to_be_degraded(
    desk: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None]
) -> None:
    (folders[0] / "a.jpg").write_bytes(b"x")
    turn_until(lambda: "a.jpg" in desk.found and not desk.root.scanning)
    full, short = Finished(str(folders[0]), 1, 1, ()), Finished(str(folders[0]), 3, 1, ())
    desk.root._judge_scan(short, desk.now)  # it walked three, of which two are gone again
    assert desk.root.state is RootState.WATCHING
    assert desk.root._next_scan == desk.now + CHECK_SECONDS  # the next one tells
    desk.root._judge_scan(full, desk.now)
    assert desk.root._next_scan == desk.now + RESCAN_SECONDS
    for _ in range(2):
        desk.root._judge_scan(short, desk.now)
    assert desk.root.state is RootState.DEGRADED
    assert desk.told == ["root.degraded"]


def test_a_root_is_scanned_again_after_the_rescan_time_and_not_before(
    desk: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None]
) -> None:
    (folders[0] / "old.jpg").write_bytes(b"x")
    turn_until(lambda: "old.jpg" in desk.found and not desk.root.scanning)  # the first scan is over
    desk.turn()
    assert not desk.root.scanning
    desk.now += RESCAN_SECONDS
    desk.root.tick(desk.now)
    assert desk.root.scanning


def test_a_root_by_scans_alone_finds_new_photos_at_each_scan_and_watches_nothing(
    folders: tuple[Path, Path], wait_until: Callable[..., Any]
) -> None:
    desk = Desk(*folders, pace=Pace(RESCAN_SECONDS, Watch.SCAN))
    (folders[0] / "first.jpg").write_bytes(b"x")
    try:
        wait_until(lambda: (desk.turn(), "first.jpg" in desk.found and not desk.root.scanning)[1])
        assert desk.root.state is RootState.SCANNED
        assert (desk.root.available, desk.root.alive) == (True, True)
        assert desk.told == ["root.scanned_only"]
        (folders[0] / "second.jpg").write_bytes(b"x")
        desk.turn()
        assert not desk.root.scanning  # not yet
        desk.now += root_module.SCANNED_RESCAN_SECONDS
        wait_until(lambda: (desk.turn(), "second.jpg" in desk.found)[1])
        folders[0].rename(folders[0].with_name("away"))
        wait_until(lambda: (desk.turn(), desk.root.state is RootState.SUSPENDED)[1])
        folders[0].mkdir()
        (folders[0] / "third.jpg").write_bytes(b"x")
        wait_until(lambda: (desk.turn(), "third.jpg" in desk.found)[1])
        assert desk.root.state is RootState.SCANNED
    finally:
        desk.root.stop()
        desk.inbox.close()


@pytest.fixture
def scanned(desk: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None]) -> Desk:
    """A root that is watched, and whose first scan is over."""
    (folders[0] / "first.jpg").write_bytes(b"x")  # there before the watcher: the scan alone finds it
    turn_until(lambda: "first.jpg" in desk.found and not desk.root.scanning, "the first scan")
    assert desk.root.state is RootState.WATCHING
    return desk


class SlowErrands:
    """A share that answers when the test says so; the calls are real."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []

    def send(self, root: str, call: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self.waiting.append((call, then))

    def answer(self) -> None:
        """Answer everything that waits, and what is sent upon that."""
        while self.waiting:
            AtOnce().send("", *self.waiting.pop(0))


@pytest.fixture
def slow(folders: tuple[Path, Path]) -> Iterator[tuple[Desk, SlowErrands]]:
    """A root that is watched, and then does not answer until it is told to."""
    errands = SlowErrands()
    one = Desk(*folders, errands=errands)  # type: ignore[arg-type]  # what a root needs of it
    one.turn()
    errands.answer()
    assert one.root.state is RootState.WATCHING
    yield one, errands
    one.root.stop()
    errands.answer()
    one.inbox.close()


def test_a_root_that_does_not_answer_is_asked_once_then_suspended_and_goes_on_by_itself(
    slow: tuple[Desk, SlowErrands],
) -> None:
    desk, errands = slow
    asked_at = desk.now + CHECK_SECONDS
    while desk.now + CHECK_SECONDS < asked_at + root_module.STALLED_SECONDS:
        desk.turn()
        assert desk.root.state is RootState.WATCHING, "a disk that wakes up is no dead share"
        assert len(errands.waiting) == 1, "calls would pile up behind the one that hangs"
    desk.turn()
    assert (desk.root.state, desk.root.stalled) == (RootState.SUSPENDED, True)
    assert desk.root.problems == (f"{desk.root.path} does not answer",)
    desk.turn()
    assert desk.told.count("root.suspended") == 1
    errands.answer()
    assert (desk.root.state, desk.root.stalled) == (RootState.WATCHING, False)
    assert desk.told[-1] == "root.resumed"


def test_the_watcher_of_a_root_that_was_stopped_meanwhile_is_stopped_too(
    folders: tuple[Path, Path], wait_until: Callable[..., Any]
) -> None:
    errands = SlowErrands()
    desk = Desk(*folders, errands=errands)  # type: ignore[arg-type]  # what a root needs of it
    before = len(os.listdir("/proc/self/fd"))
    desk.turn()
    AtOnce().send("", *errands.waiting.pop(0))  # it was looked at; its watcher starts, and that takes its time
    desk.root.stop()
    errands.answer()
    assert desk.root.state is RootState.STARTING, "a late answer is nobody's"
    assert desk.told == []
    desk.inbox.close()
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, what="an end of the watcher's descriptors")


def test_a_full_root_pauses_until_there_is_room(
    desk: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None]
) -> None:
    turn_until(lambda: desk.root.available, "the watching")
    desk.root.lacks_room(1 << 62)
    desk.root.lacks_room(1)  # two results at once; the larger one decides
    for _ in range(20):
        desk.turn()
    assert (desk.root.state, desk.root.available) == (RootState.FULL, False)
    assert desk.root.problems == (f"no room for results in {folders[1]}",)
    assert desk.told.count("root.full") == 1


def test_a_root_with_room_again_goes_on_and_is_scanned(
    scanned: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None]
) -> None:
    desk = scanned
    desk.root.lacks_room(1)
    (folders[0] / "meanwhile.jpg").write_bytes(b"x")
    turn_until(lambda: "meanwhile.jpg" in desk.found, "the scan")
    assert desk.root.state is RootState.WATCHING
    assert desk.told[-2:] == ["root.full", "root.resumed"]


def test_a_failure_below_a_root_lets_it_be_looked_at_at_once(desk: Desk, folders: tuple[Path, Path]) -> None:
    desk.turn()
    desk.turn()
    shutil.rmtree(folders[0])
    desk.root.tick(desk.now + CHECK_SECONDS / 2)
    assert desk.root.available, "it is not time yet"
    desk.root.check_soon()
    desk.root.tick(desk.now + CHECK_SECONDS / 2)
    assert desk.root.state is RootState.SUSPENDED


def test_dropped_hints_bring_a_scan(scanned: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None]) -> None:
    desk = scanned
    (folders[0] / "dropped.jpg").write_bytes(b"x")
    while desk.inbox.events(1000):
        pass  # dropped
    desk.root.scan_soon()
    turn_until(lambda: "dropped.jpg" in desk.found, "the scan")


def test_hints_that_could_not_be_handled_bring_a_scan(
    scanned: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = scanned

    def fail(_sighting: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(desk.root._watcher._listener, "_enqueue", fail)  # type: ignore[union-attr]
    (folders[0] / "lost.jpg").write_bytes(b"x")
    turn_until(lambda: "lost.jpg" in desk.found, "the scan")
    assert "root.hints_lost" in desk.told
    turn_until(lambda: not desk.root.scanning, "the scan's end")
    assert desk.root.state is RootState.WATCHING
    assert desk.told.count("root.hints_lost") == len({detail for detail in desk.details if "could not" in detail})


def test_a_place_that_cannot_be_read_means_degraded_until_it_can(
    desk: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders[0] / "locked").mkdir()
    scandir = os.scandir

    def locked(path: str) -> Any:  # as the kernel answers others than root
        if os.fsencode(path).rstrip(b"/").endswith(b"/locked"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", locked)
        turn_until(lambda: desk.root.state is RootState.DEGRADED, "the bad news")
        turn_until(lambda: not desk.root.scanning, "the scan's end")
        desk.root.scan_soon()
        desk.turn()
        turn_until(lambda: not desk.root.scanning, "another scan")
        assert "locked" in desk.root.problems[0]
        assert desk.told.count("root.degraded") == 1, "the same news twice is no news"
    turn_until(lambda: desk.root.state is RootState.WATCHING, "the good news")
    assert desk.told[-1] == "root.recovered"


def test_no_scan_starts_in_a_root_that_went_while_its_directories_were_tried_again(
    slow: tuple[Desk, SlowErrands],
) -> None:
    desk, errands = slow
    desk.turn()
    errands.answer()  # the first scan
    finished = Finished(desk.root.path, 1, 0, ("x: cannot be read",), number=desk.root._scan_number)
    assert desk.root.scan_finished(finished, desk.now)
    assert desk.root.state is RootState.DEGRADED
    desk.root.scan_soon()
    desk.turn()
    AtOnce().send("", *errands.waiting.pop(0))  # it is here; its directories are tried again, which takes its time
    assert len(errands.waiting) == 1
    desk.root.lacks_room(1)
    errands.answer()
    assert not desk.root.scanning
    assert desk.root.state is RootState.FULL


def test_a_root_that_cannot_be_watched_is_degraded_and_scanned_until_it_can(
    desk: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel answers when this user has all of its inotify instances, which are not this test's alone."""
    with monkeypatch.context() as patch:
        patch.setattr(inotify_c, "inotify_init", lambda: (ctypes.set_errno(errno.EMFILE), -1)[1])
        (folders[0] / "photo.jpg").write_bytes(b"x")
        turn_until(lambda: "photo.jpg" in desk.found, "the scan")
        assert desk.root.state is RootState.DEGRADED
        assert "cannot be watched" in desk.root.problems[0]
        assert (desk.root.available, desk.root.alive) == (True, True)
    turn_until(lambda: desk.root.state is RootState.WATCHING, "the watching")
    assert desk.told == ["root.degraded", "root.recovered"]


def test_a_scan_that_is_asked_for_during_a_scan_follows_it(
    scanned: Desk, folders: tuple[Path, Path], turn_until: Callable[..., None], wait_until: Callable[..., Any]
) -> None:
    """Hints that were dropped then may be about what the scan had passed already."""
    desk, path = scanned, str(folders[0])
    desk.root.scan_soon()
    desk.now += CHECK_SECONDS
    desk.root.tick(desk.now)
    assert desk.root.scanning
    wait_until(lambda: desk.inbox._scans[path].qsize() == 2, what="an end of the walk, which nobody has taken yet")
    (folders[0] / "passed.jpg").write_bytes(b"x")
    while desk.inbox.events(1000):
        pass  # dropped
    desk.root.scan_soon()
    turn_until(lambda: "passed.jpg" in desk.found, "the scan")
    assert desk.now < RESCAN_SECONDS / 2


MOUNTS = """
import os, subprocess, sys, time
from pathlib import Path
from faceblurd.intake.errands import AtOnce
from faceblurd.intake.inbox import Inbox
from faceblurd.intake.root import Outside, Pace, RootState, RootWatch
from faceblurd.intake.scanner import Batch, Finished, Selection

def mount():
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mounted], check=True)

def umount():
    subprocess.run(["umount", "-l", mounted], check=True)

def turn_until(condition):
    global now
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        now += 2
        root.tick(now)
        found.update(sighting.path for sighting in inbox.events(1000))
        while items := inbox.scans(lambda _root: True):
            for item in items:
                if isinstance(item, Batch):
                    found.update(one.path for one in item.found)
                else:
                    root.scan_finished(item, now)
        if condition():
            return
        time.sleep(0.02)
    raise SystemExit(f"never came true; state {root.state}, told {told}, found {found}")

mounted, which, first, now, found, told = sys.argv[1], sys.argv[2], sys.argv[3], 0.0, set(), []
os.mkdir(mounted)
other = mounted + "-other"
os.mkdir(other)
inbox = Inbox()
if first == "mounted":
    mount()
watched, to = (mounted, other) if which == "root" else (other, mounted)
root = RootWatch(watched, Selection(("*.jpg",), ()), to=to, pace=Pace(1000),
                 outside=Outside(inbox, AtOnce(), lambda event, _: told.append(event)))
turn_until(lambda: root.available)
if first == "bare":
    mount()
    turn_until(lambda: root.available)
Path(watched, "one.jpg").write_bytes(b"x")
turn_until(lambda: "one.jpg" in found)
umount()
turn_until(lambda: root.state is RootState.SUSPENDED)
Path(watched, "below.jpg").write_bytes(b"x")
mount()
turn_until(lambda: root.available)
Path(watched, "two.jpg").write_bytes(b"x")
turn_until(lambda: "two.jpg" in found)
assert which == "to" or "below.jpg" not in found, found
root.stop()
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
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.stdout == "good\n", done.stderr
