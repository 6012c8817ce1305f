"""The one door into the pipeline's thread: watchers, scans and signal handlers put things in and ring the bell.

Both are bounded. A walk of a huge tree waits for the pipeline instead of filling memory, each root's in a queue of its
own, so that a small root is not behind a large one. Events cannot wait: beyond the bound they are dropped, and their
root is remembered, since a scan finds what they were about.
"""

from __future__ import annotations

import os
import queue
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceblurd.intake.scanner import Batch, Finished
    from faceblurd.model import Sighting

SCAN_BATCHES = 2  # of 500 files, for each root
MOST_EVENTS = 50_000  # some 10 MB
LOOK_SECONDS = 1.0  # how soon a scan that waits notices that nobody takes its batches any more


class Inbox:
    """Sightings and scan batches from other threads; `fd` is readable when there are any."""

    def __init__(self) -> None:
        """Open the bell."""
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        # Closed with the last reference only: a scan that outlives us would ring into whatever got the number next.
        weakref.finalize(self, os.close, self.fd)
        self._closed = False
        self._events: deque[Sighting] = deque()
        self._scans: dict[str, queue.Queue[Batch | Finished]] = {}
        self._dropped: set[str] = set()

    def ring(self) -> None:
        """Wake the pipeline (also from a signal handler)."""
        os.eventfd_write(self.fd, 1)

    def put_event(self, sighting: Sighting) -> None:
        """Add a sighting; never blocks."""
        if len(self._events) >= MOST_EVENTS:
            self._dropped.add(sighting.root)
            return  # the bell has rung for those before it
        self._events.append(sighting)
        self.ring()

    def put_scan(self, item: Batch | Finished) -> None:
        """Add a part of a scan; waits while the pipeline is behind. After `close` the part is dropped."""
        scans = self._scans.setdefault(item.root, queue.Queue(SCAN_BATCHES))
        while not self._closed:
            with suppress(queue.Full):
                scans.put(item, timeout=LOOK_SECONDS)
                self.ring()
                return

    def clear_bell(self) -> None:
        """Silence the bell, before taking things out."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return

    def events(self, most: int) -> list[Sighting]:
        """Take out at most `most` sightings, oldest first."""
        taken = [self._events.popleft() for _ in range(min(most, len(self._events)))]
        if self._events:
            self.ring()
        return taken

    def dropped(self) -> set[str]:
        """Take out the roots of which sightings were dropped."""
        dropped, self._dropped = self._dropped, set()
        return dropped

    def scans(self, ready: Callable[[str], bool]) -> list[Batch | Finished]:
        """Take out one part of each scan whose root is `ready` for it."""
        taken: list[Batch | Finished] = []
        for root, scans in list(self._scans.items()):
            if not scans.empty() and ready(root):
                taken.append(scans.get_nowait())
        if taken:
            self.ring()  # look again: there may be more
        return taken

    def __len__(self) -> int:
        """How many sightings wait."""
        return len(self._events)

    def close(self) -> None:
        """Take nothing more; a scan that waits to put something in ends."""
        self._closed = True
