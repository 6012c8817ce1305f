"""One root over time: watched, scanned, suspended while it is away, watched again when it is back.

A root that vanished or shows another file system is suspended: it is never read as 'all files deleted', and nothing is
written below an empty mount point. Owns the watcher and the scan of one root; runs in the pipeline's thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from faceblurd.intake.filesystem import kind_under, tells_of_changes
from faceblurd.intake.scanner import Finished, RootIdentity, Scan, Selection
from faceblurd.intake.watcher import Watcher
from faceblurd.model import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceblurd.intake.inbox import Inbox

CHECK_SECONDS = 2.0
DEGRADED_RESCAN_SECONDS = 30.0
SCANNED_RESCAN_SECONDS = 60.0


class RootState(StrEnum):
    """How well a root is seen."""

    STARTING = "starting"
    WATCHING = "watching"
    SCANNED = "scanned"  # by scans alone: its file system does not tell of changes, or the config wants it so
    DEGRADED = "degraded"  # not every directory is watched: rescans find the rest
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Pace:
    """How new photos are noticed, and the seconds between full scans."""

    rescan_seconds: float
    watch: Watch = Watch.AUTO


class RootWatch:
    """Keeps one root watched and scanned. `tick` and `scan_finished` are called by the pipeline."""

    def __init__(
        self,
        path: str,
        selection: Selection,
        *,
        to: str,
        pace: Pace,
        inbox: Inbox,
        tell: Callable[[str, str], None],
    ) -> None:
        """Prepare. `to` is the mirror's top (the root itself in place): while it is away, the root is suspended too.

        `tell` gets (event name, detail) for the log whenever the state changes.
        """
        self.path = path
        self._to = to
        self._to_identity = RootIdentity.of(to)
        self.state = RootState.STARTING
        self.problems: tuple[str, ...] = ()
        self._selection, self._inbox, self._tell = selection, inbox, tell
        self._way, self._rescan_seconds = pace.watch, pace.rescan_seconds
        self._identity: RootIdentity | None = None
        self._watcher: Watcher | None = None
        self._scan: Scan | None = None
        self._next_check = 0.0
        self._next_scan = 0.0

    @property
    def available(self) -> bool:
        """Whether files of this root may be read and written."""
        return self.state in {RootState.WATCHING, RootState.SCANNED, RootState.DEGRADED}

    @property
    def scanning(self) -> bool:
        """Whether a walk is under way."""
        return self._scan is not None

    @property
    def alive(self) -> bool:
        """Whether the root is watched, or rightly not (suspended): for the service's watchdog."""
        return self.state is not RootState.WATCHING or (self._watcher is not None and self._watcher.healthy)

    def next_due(self) -> float:
        """When `tick` must be called next."""
        return self._next_check

    def check_soon(self) -> None:
        """Look at the root at the next tick: something below it failed."""
        self._next_check = 0.0

    def tick(self, now: float) -> None:
        """Look after the root, if it is time."""
        if now < self._next_check:
            return
        self._next_check = now + CHECK_SECONDS
        identity = RootIdentity.of(self.path)
        to_identity = RootIdentity.of(self._to)
        away = _away(self.path, identity, self._identity) or _away(self._to, to_identity, self._to_identity)
        if identity is None or away:
            self._suspend(away)
            return
        self._to_identity = to_identity
        if identity != self._identity or not self._is_looked_after:
            self._look_after(identity)
        if now >= self._next_scan and self._scan is None and self.available:
            self._start_scan()

    @property
    def _is_looked_after(self) -> bool:
        return self.state is RootState.SCANNED or (self._watcher is not None and self._watcher.healthy)

    def _look_after(self, identity: RootIdentity) -> None:
        """Watch the root, or go by scans alone."""
        kind = kind_under(self.path)
        if self._way is Watch.INOTIFY or (self._way is Watch.AUTO and tells_of_changes(kind)):
            self._watch(identity)
            return
        self.stop()
        why = f"{kind} does not tell of every change" if self._way is Watch.AUTO else "as configured"
        self._tell("root.scanned_only", f"{why}: scanned every {self._scan_seconds:.0f} s")
        self.state, self.problems = RootState.SCANNED, ()
        self._identity, self._next_scan = identity, 0.0

    @property
    def _scan_seconds(self) -> float:
        return min(SCANNED_RESCAN_SECONDS, self._rescan_seconds)

    def _watch(self, identity: RootIdentity) -> None:
        """Start a new watcher *before* the old one stops, then scan: nothing falls between."""
        old, was = self._watcher, self.state
        self._watcher = Watcher(self.path, self._selection, self._inbox.put_event)
        try:
            self._watcher.start()
        except OSError as error:
            self._watcher = None
            self._degrade(f"cannot be watched: {error.strerror or error}")
        else:
            self.state = RootState.WATCHING
        if old is not None:
            old.stop()
            self._tell("root.rewatched", "events were lost or the root was replaced")
        elif was is RootState.SUSPENDED:
            self._tell("root.resumed", "")
        if identity != self._identity or old is not None:
            self._next_scan = 0.0
        self._identity = identity

    def _degrade(self, why: str) -> None:
        if self.state is not RootState.DEGRADED or why not in self.problems:
            self._tell("root.degraded", why)
        self.state = RootState.DEGRADED
        self.problems = (why,)

    def _start_scan(self) -> None:
        self._next_scan = float("inf")
        self._scan = Scan(self.path, self._selection, self._inbox.put_scan)
        self._scan.start()

    def scan_finished(self, finished: Finished, now: float) -> None:
        """Take note of a finished walk: plan the next, and see whether every directory is watched."""
        self._scan = None
        if not self.available:
            return
        if self.state is RootState.SCANNED:
            self.problems = tuple(f"cannot be read: {error}" for error in finished.errors[:1])
            self._next_scan = now + self._scan_seconds
            return
        watched = 0 if self._watcher is None else self._watcher.watched_directories
        if finished.errors:
            self._degrade(f"{len(finished.errors)} places cannot be read, first {finished.errors[0]}")
        elif watched < finished.directories:
            self._degrade(f"only {watched} of {finished.directories} directories are watched: raise the watch limit")
        elif self.state is RootState.DEGRADED:
            self.state, self.problems = RootState.WATCHING, ()
            self._tell("root.recovered", "")
        degraded = self.state is RootState.DEGRADED
        self._next_scan = now + (
            min(DEGRADED_RESCAN_SECONDS, self._rescan_seconds) if degraded else self._rescan_seconds
        )

    def _suspend(self, why: str) -> None:
        if self.state is RootState.SUSPENDED:
            return
        self.state, self.problems = RootState.SUSPENDED, (why,)
        self._tell("root.suspended", why)
        self.stop()
        self._next_scan = 0.0

    def stop(self) -> None:
        """Stop watching and scanning."""
        if self._scan is not None:
            self._scan.stop()
            self._scan = None
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None


def _away(path: str, now: RootIdentity | None, before: RootIdentity | None) -> str:
    """Say why a folder must not be used now; empty when it may."""
    if now is None:
        return f"{path} is not there"
    if before is not None and not before.is_same_place(now):
        return f"{path} is not mounted"
    return ""
