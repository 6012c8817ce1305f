"""The files that are on their way: which settle, which wait for another try, which are queued. No I/O."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from typing import TYPE_CHECKING

from faceblurd.model import Source, State
from faceblurd.pipeline.files import File
from faceblurd.rules import settle

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from faceblurd.model import Fingerprint
    from faceblurd.pipeline.files import RootPlan

STILL_OPEN_SECONDS = 1.0


class Waiting:
    """Every file between its first sighting and its outcome, with timers and two queues: fresh before backfill."""

    def __init__(self) -> None:
        """Start empty."""
        self._files: dict[tuple[str, str], File] = {}
        self._timers: list[tuple[float, int, tuple[str, str]]] = []
        self._tick = itertools.count()
        self._fresh: deque[tuple[str, str]] = deque()
        self._backfill: deque[tuple[str, str]] = deque()

    def __len__(self) -> int:
        """How many files are on their way."""
        return len(self._files)

    def __iter__(self) -> Iterator[File]:
        """Go through all of them."""
        return iter(self._files.values())

    def get(self, root: str, path: str) -> File | None:
        """Find a file that is on its way."""
        return self._files.get((root, path))

    @property
    def queued(self) -> int:
        """How many wait for a worker."""
        return len(self._fresh) + len(self._backfill)

    def add(
        self, plan: RootPlan, path: str, fingerprint: Fingerprint, source: Source, *, now: float, pause_seconds: float
    ) -> File:
        """Take a file on: it settles first. `pause_seconds` is what it waits at least (a retry's back-off)."""
        wait = settle.begin(fingerprint, now=now, quiet_seconds=max(plan.quiet_seconds, pause_seconds))
        file = File(plan, path, source, wait.settling, wait.until, attempts=0)
        self._files[file.key] = file
        self.wake_at(file, wait.until)
        return file

    def remove(self, file: File) -> None:
        """Forget a file: it has its outcome, or is gone."""
        self._files.pop(file.key, None)

    def wake_at(self, file: File, due: float) -> None:
        """Set the file's only timer."""
        file.due = due
        heapq.heappush(self._timers, (due, next(self._tick), file.key))

    def next_due(self) -> float | None:
        """When the next timer runs out."""
        return self._timers[0][0] if self._timers else None

    def due(self, now: float) -> Iterator[File]:
        """Take out the files whose timer has run out; outdated timers are passed over."""
        while self._timers and self._timers[0][0] <= now:
            due, _, key = heapq.heappop(self._timers)
            file = self._files.get(key)
            if file is not None and file.due == due and file.state in {State.SETTLING, State.RETRY}:
                yield file

    def judge(self, file: File, fingerprint: Fingerprint, *, now: float) -> None:
        """Let a settling file wait on, or queue it."""
        if file.state is State.RETRY:
            file.move(State.SETTLING)
        if fingerprint != file.settling.fingerprint:
            file.attempts = 0  # other bytes, a new start
        verdict = settle.look(file.settling, fingerprint, now=now, quiet_seconds=file.plan.quiet_seconds)
        file.settling = verdict.settling
        if isinstance(verdict, settle.Wait):
            self.wake_at(file, verdict.until)
            return
        file.move(State.QUEUED)
        (self._fresh if file.source is Source.EVENT else self._backfill).append(file.key)

    def hinted(self, file: File, fingerprint: Fingerprint, source: Source, *, now: float) -> None:
        """Note one more hint about a file that is on its way; one in hand is compared again when it is done."""
        if source is Source.EVENT:
            file.source = Source.EVENT
        if file.state in {State.SETTLING, State.RETRY} and fingerprint != file.settling.fingerprint:
            self.judge(file, fingerprint, now=now)

    def count_of(self, root: str) -> int:
        """How many files of a root are on their way."""
        return sum(key[0] == root for key in self._files)

    def pop(self, *, but: Collection[str] = ()) -> File | None:
        """Take the next file to work on, of other roots than those in `but`."""
        for queue in (self._fresh, self._backfill):
            for key in list(queue):
                if key[0] not in but:
                    queue.remove(key)
                    file = self._files.get(key)
                    if file is not None and file.state is State.QUEUED:
                        return file
        return None

    def settle_again(self, file: File, *, now: float) -> None:
        """Send a file that changed, or is still open, back to settling."""
        file.move(State.SETTLING)
        self.wake_at(file, now + max(STILL_OPEN_SECONDS, file.plan.quiet_seconds))

    def retry_at(self, file: File, due: float) -> None:
        """Let a file wait for its next attempt."""
        file.move(State.RETRY)
        self.wake_at(file, due)
