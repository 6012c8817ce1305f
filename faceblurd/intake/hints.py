"""The one door from a watcher's thread into asyncio's: paths of one root that are worth a look.

Bounded: a watcher cannot wait. Beyond the bound hints are dropped, which is remembered, since a scan finds what they
were about.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faceblurd.model import Sighting

MAX_HINTS = 50_000  # some 10 MB


class Hints:
    """Put in by any thread, taken out by the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hints wake tasks of this loop."""
        self._loop = loop
        self._paths: deque[str] = deque()
        self._news = asyncio.Event()
        self._is_told = False  # the loop is about to look
        self.dropped = False

    def put(self, sighting: Sighting) -> None:
        """Add a hint; never blocks."""
        if len(self._paths) >= MAX_HINTS:
            self.dropped = True
        else:
            self._paths.append(sighting.path)
        if not self._is_told:
            self._is_told = True
            with suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._is_told = False
        self._news.set()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._paths)

    async def take(self, most: int) -> list[str]:
        """Wait for hints; give at most `most` of them, oldest first, each path once. None where some were dropped."""
        while not self._paths and not self.dropped:
            self._news.clear()
            await self._news.wait()
        taken = [self._paths.popleft() for _ in range(min(most, len(self._paths)))]
        return list(dict.fromkeys(taken))
