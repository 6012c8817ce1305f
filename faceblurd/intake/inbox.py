"""The one door into the pipeline's thread: watchers, scans and signal handlers put things in and ring the bell.

Events are never refused (a refused hint is a photo that waits for the next rescan); scan batches are bounded, so that a
walk of a huge tree waits for the pipeline instead of filling memory.
"""

from __future__ import annotations

import os
import queue
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faceblurd.intake.scanner import Batch, Finished
    from faceblurd.model import Sighting

SCAN_BATCHES = 4
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
        self._scans: queue.Queue[Batch | Finished] = queue.Queue(SCAN_BATCHES)

    def ring(self) -> None:
        """Wake the pipeline (also from a signal handler)."""
        os.eventfd_write(self.fd, 1)

    def put_event(self, sighting: Sighting) -> None:
        """Add a sighting; never blocks."""
        self._events.append(sighting)
        self.ring()

    def put_scan(self, item: Batch | Finished) -> None:
        """Add a part of a scan; waits while the pipeline is behind. After `close` the part is dropped."""
        while not self._closed:
            with suppress(queue.Full):
                self._scans.put(item, timeout=LOOK_SECONDS)
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

    def scan(self) -> Batch | Finished | None:
        """Take out one part of a scan, if there is one."""
        try:
            item = self._scans.get_nowait()
        except queue.Empty:
            return None
        self.ring()  # look again: there may be more
        return item

    def __len__(self) -> int:
        """How many sightings wait."""
        return len(self._events)

    def close(self) -> None:
        """Take nothing more; a scan that waits to put something in ends."""
        self._closed = True
