"""One root over time: watched, scanned, suspended while it is away, watched again when it is back.

A root that vanished, shows another file system, does not answer, or has no room for results is suspended: it is never
read as 'all files deleted', and nothing is written below an empty mount point. Owns the watcher of one root;
every call that may hang is made by the root's own thread. Scans are in `scans`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from faceblurd.engine.deletions import Deletions
from faceblurd.engine.health import CHECK_SECONDS, RootHealth
from faceblurd.engine.intake import Intake
from faceblurd.engine.model import Pace, RootState
from faceblurd.engine.scans import Scans
from faceblurd.model import Reason, Watch
from faceblurd.watch.events import Hints, Watcher
from faceblurd.watch.filesystem import (
    Look,
    Places,
    look,
    tells_of_changes,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from faceblurd.engine.model import RootPlan, Services
    from faceblurd.engine.thread import T, Thread
    from faceblurd.watch.filesystem import RootIdentity
    from faceblurd.watch.scan import Finished

STALLED_SECONDS = 20.0  # a disk that sleeps is there after 10
WATCH_SECONDS = 600.0  # to start watching 200,000 directories on a cold disk
DEGRADED_RESCAN_SECONDS = 30.0
SCANNED_RESCAN_SECONDS = 60.0
MIN_ROOM_BYTES = 1 << 16
HINTS_AT_ONCE = 200


class Root(Intake):
    """Keeps one root watched and scanned, and its photos on their way. `run` does the work."""

    def __init__(self, plan: RootPlan, services: Services, pace: Pace, threads: Callable[[str], Thread]) -> None:
        """Prepare. While the mirror's top (`plan.to`) is away, the root is suspended too."""
        super().__init__(plan, services, threads(f"files of {plan.path}"))
        names = None if plan.named is None else (plan.named.path, plan.named.to)
        self._places_of = Places(plan.path, plan.to, names)
        self.state = RootState.STARTING
        self.problems: tuple[str, ...] = ()
        self.stalled = False
        self.deletions = None if plan.in_place else Deletions(self, services)
        self.scans = Scans(self, services, threads)
        self._pace = pace
        mounts = {one: services.ledger.mounted_at(one) for one in {plan.path, plan.to}}
        self._health = RootHealth(plan.path, plan.to, mounts)
        self._hints = Hints(asyncio.get_running_loop())
        self._watcher: Watcher | None = None
        self._failures = 0
        self._is_short = self._is_settling_in = False
        self._wake = asyncio.Event()
        self._jobs: list[asyncio.Task[None]] = []

    # --- what others ask

    @property
    def available(self) -> bool:
        """Whether files of this root may be read and written."""
        return self.state in {RootState.WATCHING, RootState.SCANNED, RootState.DEGRADED}

    @property
    def is_away(self) -> bool:
        """Whether it may not be used for now: away, silent, or without room for results."""
        return self.state in {RootState.SUSPENDED, RootState.FULL}

    @property
    def is_busy(self) -> bool:
        """Whether anything is on its way, looked for, or due later. A root that is away has nothing to wait for."""
        if self.is_away:
            return bool(self.tasks_in_hand()) and not self.stalled
        deleting = self.deletions is not None and not self.deletions.idle
        return super().is_busy or self.scans.running or deleting or bool(len(self._hints)) or not self.scans.last

    @property
    def alive(self) -> bool:
        """Whether the root is watched, is about to be, or rightly is not: for the service's watchdog."""
        is_watched = self._watcher is not None and self._watcher.healthy
        return self.state is not RootState.WATCHING or self._is_settling_in or is_watched

    @property
    def to_device(self) -> int | None:
        """The file system that results go to."""
        to = self._health.to_identity
        return None if to is None else to.device

    def check_soon(self) -> None:
        """Look at the root now: something below it failed."""
        self._wake.set()

    def scan_soon(self) -> None:
        """Scan as soon as it may be: hints were dropped, or somebody asks for it."""
        self.scans.soon()
        self.check_soon()

    def forget_mounts(self) -> None:
        """Take the folders as they are: a person says that no disk is missing."""
        self._health.mounted_at.clear()

    def trouble(self, reason: Reason, size: int) -> None:
        """Look at the root before more of its photos fail, or wait for room."""
        super().trouble(reason, size)
        if reason is Reason.NO_SPACE:
            self._health.lacks_room(max(MIN_ROOM_BYTES, 2 * size), _now())
            self._suspend(self._health.no_room, state=RootState.FULL)
        elif reason in {Reason.UNREACHABLE, Reason.IO_ERROR}:
            self.check_soon()

    # --- its life

    async def look_after(self) -> None:
        """Watch and scan the root, and look at it again and again, until cancelled."""
        self._jobs.append(self.spawn(self._take_hints()))
        if self.deletions is not None:
            self._jobs.append(self.spawn(self.deletions.run()))
        while True:
            self._wake.clear()
            await self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._health.check_seconds):
                    await self._wake.wait()

    async def _take_hints(self) -> None:
        while True:
            paths = await self._hints.take(HINTS_AT_ONCE)
            if self._hints.dropped:
                self._hints.dropped = False
                self.services.log.event("root.hints_lost", root=self.path, detail="too many at once: scanned instead")
                self.scan_soon()
            if self.available and self.deletions is not None:
                self.deletions.hinted(paths)
            await self.hinted(paths)

    async def _ask(self, question: Awaitable[T], *, seconds: float) -> T:
        """Await what the root's thread does; if that takes longer, the root does not answer, and is suspended."""
        asked = asyncio.ensure_future(question)
        try:
            if not (await asyncio.wait({asked}, timeout=seconds))[0]:
                self.stalled = True
                self._suspend(f"{self.path} does not answer")
                self.cancel(in_hand=True)
            return await asked
        finally:
            asked.cancel()
            self.stalled = False

    async def _look(self) -> None:
        try:
            seen = await self._ask(self.run(partial(look, self._places_of)), seconds=STALLED_SECONDS)
        except OSError as error:  # of a symlink on the way to it
            seen = Look(error, error, "", 0)
        if why_not := self._health.check(seen, _now()):
            full = self._health.is_full and why_not == self._health.no_room
            self._suspend(why_not, state=RootState.FULL if full else RootState.SUSPENDED)
        else:
            assert not isinstance(seen.root, OSError)  # noqa: S101 - it would have been a reason not to
            await self._is_here(seen.root, seen)

    async def _is_here(self, identity: RootIdentity, seen: Look) -> None:
        is_known = identity == self._health.identity
        if not (is_known and self._is_seen_to):
            self._is_settling_in = True
            try:
                await self._settle_in(identity, seen.kind)
            finally:
                self._is_settling_in = False
        if self._is_seen_to or self._is_unwatched:
            await self._see_to_scans()

    @property
    def _is_seen_to(self) -> bool:
        return self.state is RootState.SCANNED or (self._watcher is not None and self._watcher.healthy)

    @property
    def _is_unwatched(self) -> bool:
        """Whether it could not be watched at the last try: scans are all there is until it can."""
        return self.state is RootState.DEGRADED and self._watcher is None

    # --- watching

    async def _settle_in(self, identity: RootIdentity, kind: str) -> None:
        """Finish what a crash left, then watch the root, or go by scans alone."""
        await self._arrived(identity)
        if self._pace.watch is Watch.INOTIFY or (self._pace.watch is Watch.AUTO and tells_of_changes(kind)):
            await self._watch(identity)
        else:
            why = f"{kind} does not tell of every change" if self._pace.watch is Watch.AUTO else "as configured"
            self._go_by_scans(identity, why)

    async def _arrived(self, identity: RootIdentity) -> None:
        """Note which folders the root and its mirror are now, and finish or undo what a crash left there."""
        to = self._health.to_identity or identity
        ledger = self.services.ledger
        ledger.enter(self.path, identity.mark)
        ledger.note_mounts({self.path: identity.mount_point, self.plan.to: to.mount_point})
        if self.deletions is not None:
            self.deletions.entered(identity)
        await self._ask(self.recovery.run(), seconds=STALLED_SECONDS)

    def _go_by_scans(self, identity: RootIdentity, why: str) -> None:
        self._stop_watching()
        if not self._pace.once:
            self._tell("root.scanned_only", f"{why}: scanned every {self._scan_seconds:.0f} s")
        self.state, self.problems = RootState.SCANNED, ()
        self._health.identity = identity
        self.scans.soon()

    @property
    def _scan_seconds(self) -> float:
        seconds = self._pace.rescan_seconds
        return seconds if self._pace.once else min(SCANNED_RESCAN_SECONDS, seconds)

    async def _watch(self, identity: RootIdentity) -> None:
        """Start the new watcher *before* the old one stops, then scan: nothing falls between."""
        watcher, error = Watcher(self.path, self.plan.selection, self._hints.put), None
        try:
            await self._ask(self.run(watcher.start), seconds=WATCH_SECONDS)
        except OSError as failure:
            error = failure
        except asyncio.CancelledError:
            self.thread.later(watcher.stop)
            raise
        old, was = self._watcher, self.state
        self._watcher, self._failures = None if error else watcher, 0
        if error is not None:
            self._degrade(f"cannot be watched: {error.strerror or error}")
        else:
            self.state, self.problems = RootState.WATCHING, ()
        if old is not None:
            self.thread.later(old.stop)
            self._tell("root.rewatched", "events were lost or the root was replaced")
        elif was in {RootState.SUSPENDED, RootState.FULL}:
            self._tell("root.resumed", "")
        elif was is RootState.DEGRADED and error is None:
            self._tell("root.recovered", "")
        if identity != self._health.identity or was is not self.state or old is not None:
            self.scans.soon()
        self._health.identity = identity

    def _degrade(self, why: str) -> None:
        if self.state is not RootState.DEGRADED or why not in self.problems:
            self._tell("root.degraded", why)
        self.state = RootState.DEGRADED
        self.problems = (why,)

    def _stop_watching(self) -> None:
        """Stop to watch and to scan. A watcher is stopped by the root's thread: it may hang in a walk."""
        self.scans.stop()
        if self._watcher is not None:
            self.thread.later(self._watcher.stop)
            self._watcher = None

    # --- scanning

    async def _see_to_scans(self) -> None:
        watcher = self._watcher
        if watcher is not None and watcher.failures > self._failures:
            self._failures = watcher.failures
            self._tell("root.hints_lost", f"{self._failures} events could not be handled: scanned instead")
            self.scans.soon()
        if self.state is RootState.WATCHING and watcher is not None and watcher.problem and not self.scans.running:
            self.scans.soon()  # a directory came that cannot be watched: the scan's end says how many there are
        if not self.scans.due or not self.available:
            return
        if watcher is not None and (watcher.problem or self.state is RootState.DEGRADED):
            await self._ask(
                self.run(watcher.watch_missing), seconds=WATCH_SECONDS
            )  # a limit was raised, a permission given
        if self.available:
            self.scans.begin()

    # --- what a scan says of the watches

    def seconds_after(self, finished: Finished) -> float:
        """Say how well the root is seen; give the seconds to the next scan."""
        if self.state is RootState.SCANNED:
            self.problems = tuple(f"cannot be read: {error}" for error in finished.errors[:1])
            return self._scan_seconds
        if self._watcher is not None:  # else it cannot be watched at all, which is said already
            self._judge_watches(self._watcher, finished)
        if self.state is RootState.DEGRADED:
            return min(DEGRADED_RESCAN_SECONDS, self._pace.rescan_seconds)
        # Directories come and go during a walk: look again before it is said that some are not watched.
        return CHECK_SECONDS if self._is_short else self._pace.rescan_seconds

    def _judge_watches(self, watcher: Watcher, finished: Finished) -> None:
        watched, problem = watcher.watched_directories, watcher.problem
        was_short, self._is_short = self._is_short, watched < finished.directories
        if finished.errors:
            self._degrade(f"{len(finished.errors)} places cannot be read, first {finished.errors[0]}")
        elif problem or (self._is_short and (was_short or self.state is RootState.DEGRADED)):
            why = problem or "raise the watch limit"
            self._degrade(f"only {watched} of {finished.directories} directories are watched: {why}")
        elif self.state is RootState.DEGRADED:
            self.state, self.problems = RootState.WATCHING, ()
            self._tell("root.recovered", "")

    # --- leaving

    def _suspend(self, why: str, *, state: RootState = RootState.SUSPENDED) -> None:
        """Use the root no more; what workers have may end."""
        self.problems = (why,)
        if self.state is state:
            return
        self.state = state
        self._tell(f"root.{state.value}", why)
        self._stop_watching()
        self.scans.soon()
        self.cancel(in_hand=False)
        if self.deletions is not None:
            self.deletions.forget()

    def _tell(self, event: str, detail: str) -> None:
        self.services.log.event(event, root=self.path, detail=detail)

    def close(self) -> None:
        """Stop watching and scanning for good, and give up what is on its way."""
        self._stop_watching()
        for job in self._jobs:
            job.cancel()
        super().close()

    def tasks(self) -> set[asyncio.Task[None]]:
        """Give what is under way."""
        return {*super().tasks(), *self._jobs}


def _now() -> float:
    return asyncio.get_running_loop().time()
