"""The scans of one root: when the next one is due, the walk with its window of photos, and what it came to.

A scan is the truth: at its end it is known which files are there, which results have lost their photo, and which held
files are gone. It walks in a thread of its own and waits where there is no room for its photos.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from faceblurd.engine import deletions
from faceblurd.engine.upkeep import Upkeep
from faceblurd.watch.scan import BATCH, Finished, Heads, Walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceblurd.engine.model import Services
    from faceblurd.engine.root import Root
    from faceblurd.engine.thread import Thread


class Scans:
    """Those of one root."""

    def __init__(self, root: Root, services: Services, threads: Callable[[str], Thread]) -> None:
        """Be due at once. `threads`: makes a thread for a walk."""
        self._root, self._s, self._threads = root, services, threads
        self._heads, self._upkeep = Heads(), Upkeep(root, services)
        self._task: asyncio.Task[None] | None = None
        self._next = 0.0
        self.last: Finished | None = None
        self.leftovers: deletions.Leftovers | None = None

    @property
    def running(self) -> bool:
        """Whether a walk is under way."""
        return self._task is not None

    @property
    def due(self) -> bool:
        """Whether one may begin now."""
        return self._task is None and asyncio.get_running_loop().time() >= self._next

    def soon(self) -> None:
        """Have one as soon as it may be; during one, another after it."""
        self._next = 0.0

    def begin(self) -> None:
        """Begin to walk."""
        self._next = inf  # unless another one is asked for meanwhile
        self._task = self._root.spawn(self._walk())

    def stop(self) -> None:
        """Give up the walk that is under way."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _walk(self) -> None:
        """Walk the whole root, as there is room for its photos."""
        root = self._root
        stopped, thread = False, self._threads(f"scan of {root.path}")
        remembers, seen, day = root.deletions is not None, set[int](), self._upkeep.day_to_note()
        try:
            make = partial(Walk, root.path, root.plan.selection, lambda: stopped, self._heads)
            try:
                walk = await thread.run(make)
            except OSError as error:
                self._end(Finished(root.path, 0, 0, (f".: {error.strerror}",)))
                return
            while found := await thread.run(partial(walk.take, BATCH)):
                self._upkeep.note(found, day)
                for one in found:
                    if remembers:
                        seen.add(hash(one.path))
                    await root.found(one)
            finished = walk.finished(seen=frozenset(seen) if remembers else None)
        finally:
            stopped = True
            thread.close()
        if root.deletions is not None and finished.seen is not None:
            root.deletions.scanned(finished.seen)
        await root.do(self._see_to_the_rest(day, is_whole=not finished.errors))
        self._end(finished)

    async def _see_to_the_rest(self, day: int | None, *, is_whole: bool) -> None:
        """Look after held files and leftovers. If the root goes meanwhile, the scan has ended all the same."""
        await self._upkeep.scanned(day, is_whole=is_whole)
        if self._root.deletions is not None and self.leftovers is None:
            self.leftovers = await deletions.search(self._root, self._s)

    def _end(self, finished: Finished) -> None:
        """Tell of a finished walk, and plan the next."""
        self._task, asked = None, self._next
        before, self.last = self.last, replace(finished, seen=None)
        self._s.log.event(
            "root.scanned", root=self._root.path, directories=finished.directories, files=finished.files,
            errors=list(finished.errors[:5]), left_alone={left.why.value: left.count for left in finished.left},
        )  # fmt: skip
        if finished.unmatched and (before is None or before.unmatched != finished.unmatched):
            self._s.log.event("root.exclude_unmatched", root=self._root.path, detail=list(finished.unmatched))
        self._next = min(asked, asyncio.get_running_loop().time() + self._root.seconds_after(finished))
