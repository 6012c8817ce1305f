"""The files that are on their way: which settle, which wait for another try, which are queued. No I/O.

Fresh files go before the backfill, and in both the roots take turns, so that a full root holds up no other.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from math import inf
from typing import TYPE_CHECKING

from faceblurd.model import Source, State
from faceblurd.pipeline.files import File
from faceblurd.rules import settle

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from faceblurd.model import Fingerprint
    from faceblurd.pipeline.files import RootPlan

STILL_OPEN_SECONDS = 1.0
MOST_FRESH_IN_A_ROW = 8
"""Then one of the backfill: a camera that uploads for ever costs an old folder speed, not its photos."""
SPARE_TIMERS = 64
"""Outdated timers that are kept at least, so that a handful of files is not tidied up at each hint."""
_NO_TIMER = inf


class Waiting:
    """Every file between its first sighting and its outcome, with timers and two queues: fresh before backfill."""

    def __init__(self) -> None:
        """Start empty."""
        self._files: dict[str, dict[str, File]] = {}  # by root: a tuple as the key would cost 150 bytes a file
        self._timers = _Timers()
        self._fresh, self._backfill = _Lines(), _Lines()
        self._fresh_in_a_row = 0

    def __len__(self) -> int:
        """How many files are on their way."""
        return sum(len(files) for files in self._files.values())

    def __iter__(self) -> Iterator[File]:
        """Go through all of them."""
        return itertools.chain.from_iterable(files.values() for files in self._files.values())

    def get(self, root: str, path: str) -> File | None:
        """Find a file that is on its way."""
        files = self._files.get(root)
        return None if files is None else files.get(path)

    def count_of(self, root: str) -> int:
        """How many files of a root are on their way."""
        return len(self._files.get(root, ()))

    @property
    def queued(self) -> int:
        """How many wait for a worker."""
        return len(self._fresh) + len(self._backfill)

    def queued_of(self, root: str) -> int:
        """How many files of a root wait for a worker."""
        return self._fresh.count_of(root) + self._backfill.count_of(root)

    def add(
        self, plan: RootPlan, path: str, fingerprint: Fingerprint, source: Source, *, now: float, pause_seconds: float
    ) -> File:
        """Take a file on: it settles first. `pause_seconds` is what it waits at least (a retry's back-off)."""
        before = self.get(plan.path, path)
        if before is not None:
            self.remove(before)
        wait = settle.begin(fingerprint, now=now, quiet_seconds=max(plan.quiet_seconds, pause_seconds))
        file = File(plan, path, source, wait.settling, _NO_TIMER, attempts=0)
        self._files.setdefault(plan.path, {})[path] = file
        self.wake_at(file, wait.until)
        return file

    def remove(self, file: File) -> None:
        """Forget a file: it has its outcome, or is gone. One that another took the place of is gone already."""
        root = file.plan.path
        if self.get(root, file.path) is not file:
            return
        self._rest(file)
        del self._files[root][file.path]
        if not self._files[root]:
            del self._files[root]

    def _rest(self, file: File) -> None:
        """Take a file out of the queues and off the clock."""
        self._timers.cancel(file)
        self._fresh.discard(file)
        self._backfill.discard(file)

    # --- timers

    def wake_at(self, file: File, due: float) -> None:
        """Set the file's only timer."""
        self._timers.set(file, due)

    def next_due(self) -> float | None:
        """When the next timer runs out."""
        return self._timers.next_due()

    def due(self, now: float) -> Iterator[File]:
        """Take out the files whose timer has run out; outdated timers are passed over."""
        return self._timers.due(now)

    # --- settling -> queued

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
        self._timers.cancel(file)
        (self._fresh if file.source is Source.EVENT else self._backfill).append(file)

    def hinted(self, file: File, fingerprint: Fingerprint, source: Source, *, now: float) -> None:
        """Note one more hint about a file that is on its way; one in hand is compared again when it is done."""
        if source is Source.EVENT:
            file.source = Source.EVENT
            if self._backfill.discard(file):
                self._fresh.append(file)
        if file.state in {State.SETTLING, State.RETRY} and fingerprint != file.settling.fingerprint:
            self.judge(file, fingerprint, now=now)

    def pop(self, *, but: Collection[str] = ()) -> File | None:
        """Take the next file to work on, of other roots than those in `but`."""
        first = self._backfill if self._fresh_in_a_row >= MOST_FRESH_IN_A_ROW else self._fresh
        for lines in (first, self._fresh, self._backfill):
            file = lines.pop(but)
            if file is not None:
                self._fresh_in_a_row = 0 if lines is self._backfill else self._fresh_in_a_row + 1
                return file
        return None

    def settle_again(self, file: File, *, now: float) -> None:
        """Send a file that changed, or is still open, back to settling."""
        file.move(State.SETTLING)
        self._rest(file)
        self.wake_at(file, now + max(STILL_OPEN_SECONDS, file.plan.quiet_seconds))

    def retry_at(self, file: File, due: float) -> None:
        """Let a file wait for its next attempt."""
        file.move(State.RETRY)
        self._rest(file)
        self.wake_at(file, due)


class _Timers:
    """One timer for each file: `File.due` says which of those in the heap it is."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, File]] = []
        self._tick = itertools.count()  # the first of two that are due at once goes first
        self._running = 0

    def set(self, file: File, due: float) -> None:
        self._running += file.due == _NO_TIMER
        file.due = due
        heapq.heappush(self._heap, (due, next(self._tick), file))
        self._tidy()

    def cancel(self, file: File) -> None:
        self._running -= file.due != _NO_TIMER
        file.due = _NO_TIMER
        self._tidy()

    def _tidy(self) -> None:
        """Once half of them are outdated (left by files that keep growing, or are gone), drop those."""
        if len(self._heap) <= SPARE_TIMERS + 2 * self._running:
            return
        self._heap = list({id(timer[2]): timer for timer in self._heap if timer[0] == timer[2].due}.values())
        heapq.heapify(self._heap)

    def next_due(self) -> float | None:
        while self._heap and self._heap[0][0] != self._heap[0][2].due:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[File]:
        while (due := self.next_due()) is not None and due <= now:
            file = heapq.heappop(self._heap)[2]
            self.cancel(file)
            yield file


class _Lines:
    """Queued files, a line for each root; the roots that have one take turns. Everything in constant time."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, OrderedDict[str, File]] = OrderedDict()  # the root whose turn it is first
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def count_of(self, root: str) -> int:
        return len(self._lines.get(root, ()))

    def append(self, file: File) -> None:
        self._lines.setdefault(file.plan.path, OrderedDict())[file.path] = file
        self._count += 1

    def discard(self, file: File) -> bool:
        """Take a file out of its line; False when it is in none."""
        root = file.plan.path
        line = self._lines.get(root)
        if line is None or line.get(file.path) is not file:
            return False
        del line[file.path]
        self._count -= 1
        if not line:
            del self._lines[root]
        return True

    def pop(self, but: Collection[str]) -> File | None:
        """Take the first file of the root whose turn it is; roots in `but` miss theirs."""
        root = next((root for root in self._lines if root not in but), None)
        if root is None:
            return None
        line = self._lines[root]
        _, file = line.popitem(last=False)
        self._count -= 1
        if line:
            self._lines.move_to_end(root)
        else:
            del self._lines[root]
        return file
