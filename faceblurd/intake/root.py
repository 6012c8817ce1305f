"""One root over time: watched, scanned, suspended while it is away, watched again when it is back.

A root that vanished, shows another file system, does not answer, or has no room for results is suspended: it is never
read as 'all files deleted', and nothing is written below an empty mount point. Owns the watcher and the scan of one
root; runs in the pipeline's thread, and makes every call that may hang in the root's own (`Errands`). Longer than other
modules, since it is one state machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from faceblurd.intake.filesystem import Places, look, tells_of_changes
from faceblurd.intake.heads import Heads
from faceblurd.intake.presence import CHECK_SECONDS, Presence
from faceblurd.intake.scanner import Finished, Scan, Selection
from faceblurd.intake.watcher import Watcher
from faceblurd.model import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceblurd.intake.errands import Errands
    from faceblurd.intake.filesystem import Look, RootIdentity
    from faceblurd.intake.inbox import Inbox

T = TypeVar("T")
STALLED_SECONDS = 20.0  # a disk that sleeps is there after 10
WATCH_SECONDS = 600.0  # to start watching 200,000 directories on a cold disk
DEGRADED_RESCAN_SECONDS = 30.0
SCANNED_RESCAN_SECONDS = 60.0


class RootState(StrEnum):
    """How well a root is seen."""

    STARTING = "starting"
    WATCHING = "watching"
    SCANNED = "scanned"  # by scans alone: its file system does not tell of changes, or the config wants it so
    DEGRADED = "degraded"  # not every directory is watched: rescans find the rest
    SUSPENDED = "suspended"
    FULL = "full"  # no room for results


@dataclass(frozen=True, slots=True)
class Pace:
    """How new photos are noticed, and the seconds between full scans."""

    rescan_seconds: float
    watch: Watch = Watch.AUTO
    remembers: bool = False  # which files a scan saw: for what follows deletions
    once: bool = False  # one whole scan, and nothing after it


@dataclass(frozen=True, slots=True)
class Outside:
    """What a root needs of others. `tell` gets (event name, detail); `arrived` is told what a root and its mirror are.

    `mounted_at`: where the disks of folders were mounted when they were last there.
    """

    inbox: Inbox
    errands: Errands
    tell: Callable[[str, str], None]
    arrived: Callable[[RootIdentity, RootIdentity], None] = lambda _root, _to: None
    mounted_at: Callable[[str], str] = lambda _path: ""


class RootWatch:
    """Keeps one root watched and scanned. `tick` and `scan_finished` are called by the pipeline."""

    def __init__(
        self, path: str, selection: Selection, *, to: str, pace: Pace, outside: Outside,
        names: tuple[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Prepare. `to` is the mirror's top (the root itself in place): while it is away, the root is suspended too.

        `names`: what the config calls both.
        """
        self.path, self._places = path, Places(path, to, names)
        self.state = RootState.STARTING
        self.problems: tuple[str, ...] = ()
        self._selection, self._outside = selection, outside
        self._way, self._rescan_seconds, self._remembers = pace.watch, pace.rescan_seconds, pace.remembers
        self._once, self._heads = pace.once, Heads()
        self._presence = Presence(path, to, {one: outside.mounted_at(one) for one in {path, to}})
        self._watcher: Watcher | None = None
        self._starting: Watcher | None = None
        self._scan: Scan | None = None
        self._now = self._next_check = self._next_scan = 0.0
        self._waits_until: float | None = None  # for an answer; later than that, the root does not answer
        self._failures = self._scan_number = 0
        self.stalled = self._stopped = self._is_short = self.was_scanned = False

    @property
    def available(self) -> bool:
        """Whether files of this root may be read and written."""
        return self.state in {RootState.WATCHING, RootState.SCANNED, RootState.DEGRADED}

    @property
    def is_away(self) -> bool:
        """Whether it may not be used for now: away, silent, or without room for results."""
        return self.state in {RootState.SUSPENDED, RootState.FULL}

    @property
    def scanning(self) -> bool:
        """Whether a walk is under way."""
        return self._scan is not None

    @property
    def alive(self) -> bool:
        """Whether the root is watched, is about to be, or rightly is not: for the service's watchdog."""
        if self.state is not RootState.WATCHING or self._starting is not None:
            return True
        return self._watcher is not None and self._watcher.healthy

    @property
    def to_device(self) -> int | None:
        """The file system that results go to: nothing is written where another one shows."""
        to = self._presence.to_identity
        return None if to is None else to.device

    def next_due(self) -> float:
        """When `tick` must be called next."""
        return self._next_check

    def check_soon(self) -> None:
        """Look at the root at the next tick: something below it failed."""
        self._next_check = min(self._next_check, self._now)

    def scan_soon(self) -> None:
        """Scan at the next tick: hints were dropped, or somebody asks for it."""
        self._next_scan = 0.0
        self.check_soon()

    def forget_mounts(self) -> None:
        """Take the folders as they are: a person says that no disk is missing."""
        self._presence.mounted_at.clear()

    # --- looking

    def tick(self, now: float) -> None:
        """Look after the root, if it is time."""
        self._now = now
        if now < self._next_check:
            return
        self._next_check = now + CHECK_SECONDS
        if self._waits_until is None:
            self._ask(partial(look, self._places), self._looked, seconds=STALLED_SECONDS)
        elif now >= self._waits_until:
            self.stalled = True
            self._suspend(f"{self.path} does not answer")

    def _ask(self, call: Callable[[], T], then: Callable[[T | OSError], None], *, seconds: float) -> None:
        """Have a call made; one that takes longer than `seconds` means that the root does not answer."""
        self._waits_until = self._now + seconds

        def answered(answer: T | OSError) -> None:
            self._waits_until, self.stalled = None, False
            if not self._stopped:
                then(answer)

        self._outside.errands.send(self.path, call, answered)

    def _looked(self, seen: Look | OSError) -> None:
        why_not = self._presence.why_not(seen, self._now)
        self._next_check = self._now + self._presence.check_seconds
        if why_not:
            full = self._presence.is_full and why_not == self._presence.no_room
            self._suspend(why_not, state=RootState.FULL if full else RootState.SUSPENDED)
        else:
            assert not isinstance(seen, OSError)  # noqa: S101 - it would have been a reason not to
            assert not isinstance(seen.root, OSError)  # noqa: S101 - same
            self._is_here(seen.root, seen.kind)

    def lacks_room(self, needed_bytes: int) -> None:
        """Pause until there is room again for a result: others would only fail like the one that just did."""
        self._presence.lacks_room(needed_bytes, self._now)
        self._suspend(self._presence.no_room, state=RootState.FULL)

    def _is_here(self, identity: RootIdentity, kind: str) -> None:
        known = identity == self._presence.identity
        if not known or not self._is_looked_after:
            self._look_after(identity, kind)
        if known and (self._is_looked_after or self._is_unwatched):
            self._see_to_scans()

    def _see_to_scans(self) -> None:
        if self._watcher is not None and self._watcher.failures > self._failures:
            self._failures = self._watcher.failures
            self._outside.tell("root.hints_lost", f"{self._failures} events could not be handled: scanned instead")
            self._next_scan = 0.0
        news = self.state is RootState.WATCHING and self._watcher is not None and self._watcher.problem
        if news and self._scan is None:
            self._next_scan = 0.0  # a directory came that cannot be watched: the scan's end says how many there are
        if self._now >= self._next_scan and self._scan is None and self.available:
            self._start_scan()

    @property
    def _is_looked_after(self) -> bool:
        return self.state is RootState.SCANNED or (self._watcher is not None and self._watcher.healthy)

    @property
    def _is_unwatched(self) -> bool:
        """Whether it could not be watched at the last try: scans are all there is until it can."""
        return self.state is RootState.DEGRADED and self._watcher is None

    # --- watching

    def _look_after(self, identity: RootIdentity, kind: str) -> None:
        """Watch the root, or go by scans alone. What a crash left is finished before: answers come in order."""
        to = self._presence.to_identity
        self._outside.arrived(identity, identity if to is None else to)
        if self._way is Watch.INOTIFY or (self._way is Watch.AUTO and tells_of_changes(kind)):
            self._starting = Watcher(self.path, self._selection, self._outside.inbox.put_event)
            self._ask(self._starting.start, partial(self._started, identity), seconds=WATCH_SECONDS)
            return
        why = f"{kind} does not tell of every change" if self._way is Watch.AUTO else "as configured"
        self._ask(lambda: None, lambda _: self._go_by_scans(identity, why), seconds=STALLED_SECONDS)

    def _go_by_scans(self, identity: RootIdentity, why: str) -> None:
        self._put_down()
        if not self._once:
            self._outside.tell("root.scanned_only", f"{why}: scanned every {self._scan_seconds:.0f} s")
        self.state, self.problems = RootState.SCANNED, ()
        self._presence.identity, self._next_scan = identity, 0.0
        self.check_soon()

    @property
    def _scan_seconds(self) -> float:
        return self._rescan_seconds if self._once else min(SCANNED_RESCAN_SECONDS, self._rescan_seconds)

    def _started(self, identity: RootIdentity, error: OSError | None) -> None:
        """Take the new watcher *before* the old one stops, then scan: nothing falls between."""
        old, was = self._watcher, self.state
        self._watcher, self._starting, self._failures = self._starting, None, 0
        if error is not None:
            self._watcher = None
            self._degrade(f"cannot be watched: {error.strerror or error}")
        else:
            self.state, self.problems = RootState.WATCHING, ()
        if old is not None:
            self._outside.errands.send(self.path, old.stop, _nothing)
            self._outside.tell("root.rewatched", "events were lost or the root was replaced")
        elif was in {RootState.SUSPENDED, RootState.FULL}:
            self._outside.tell("root.resumed", "")
        elif was is RootState.DEGRADED and error is None:
            self._outside.tell("root.recovered", "")
        if identity != self._presence.identity or was is not self.state or old is not None:
            self._next_scan = 0.0
        self._presence.identity = identity
        if error is None:
            self.check_soon()  # for the scan

    def _degrade(self, why: str) -> None:
        if self.state is not RootState.DEGRADED or why not in self.problems:
            self._outside.tell("root.degraded", why)
        self.state = RootState.DEGRADED
        self.problems = (why,)

    # --- scanning

    def _start_scan(self) -> None:
        """Scan; where directories are not watched, try those again first: a limit was raised, a permission given."""
        self._next_scan = float("inf")
        watcher = self._watcher
        if watcher is not None and (watcher.problem or self.state is RootState.DEGRADED):
            self._ask(watcher.watch_missing, lambda _: self._walk(), seconds=WATCH_SECONDS)
        else:
            self._walk()

    def _walk(self) -> None:
        if not self.available or self._scan is not None:
            return
        self._scan_number += 1
        self._scan = Scan(
            self.path, self._selection, self._outside.inbox.put_scan, number=self._scan_number,
            remembers=self._remembers, heads=self._heads,
        )  # fmt: skip
        self._scan.start()

    def scan_finished(self, finished: Finished, now: float) -> bool:
        """Take note of a finished walk: plan the next, and see whether every directory is watched.

        False: it is not the one that is under way, and nothing follows from it.
        """
        if self._scan is None or finished.number != self._scan_number or not self.available:
            return False
        self._scan, asked = None, self._next_scan  # never, unless another one was asked for meanwhile
        self.was_scanned = True
        self._judge_scan(finished, now)
        self._next_scan = min(asked, self._next_scan)
        return True

    def _judge_scan(self, finished: Finished, now: float) -> None:
        if self.state is RootState.SCANNED:
            self.problems = tuple(f"cannot be read: {error}" for error in finished.errors[:1])
            self._next_scan = now + self._scan_seconds
            return
        self._judge(finished)
        seconds = self._rescan_seconds
        if self.state is RootState.DEGRADED:
            seconds = min(DEGRADED_RESCAN_SECONDS, seconds)
        elif self._is_short:  # directories come and go during a walk: look again before it is said
            seconds = CHECK_SECONDS
        self._next_scan = now + seconds

    def _judge(self, finished: Finished) -> None:
        """See whether every directory is read and watched."""
        if self._watcher is None:
            return  # it cannot be watched at all, which is said already
        watched, problem = self._watcher.watched_directories, self._watcher.problem
        was_short, self._is_short = self._is_short, watched < finished.directories
        if finished.errors:
            self._degrade(f"{len(finished.errors)} places cannot be read, first {finished.errors[0]}")
        elif problem or (self._is_short and (was_short or self.state is RootState.DEGRADED)):
            why = problem or "raise the watch limit"
            self._degrade(f"only {watched} of {finished.directories} directories are watched: {why}")
        elif self.state is RootState.DEGRADED:
            self.state, self.problems = RootState.WATCHING, ()
            self._outside.tell("root.recovered", "")

    # --- leaving

    def _suspend(self, why: str, *, state: RootState = RootState.SUSPENDED) -> None:
        self.problems = (why,)
        if self.state is state:
            return
        self.state = state
        self._outside.tell(f"root.{state.value}", why)
        self._put_down()
        self._next_scan = 0.0

    def _put_down(self) -> None:
        """Stop to watch and to scan. A watcher is stopped by the root's thread: it may hang in a walk."""
        if self._scan is not None:
            self._scan.stop()
            self._scan = None
        if self._watcher is not None:
            self._outside.errands.send(self.path, self._watcher.stop, _nothing)
            self._watcher = None

    def stop(self) -> None:
        """Stop watching and scanning for good."""
        self._stopped = True
        self._put_down()
        if self._starting is not None:
            self._outside.errands.send(self.path, self._starting.stop, _nothing)
            self._starting = None


def _nothing(_answer: object) -> None:
    """Do nothing with an answer."""
