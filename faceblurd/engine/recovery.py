"""What was left half done below one root: finished or undone when the root comes, and after its disk failed."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from faceblurd.publish import recovery
from faceblurd.rules import decide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faceblurd.engine.intake import Intake
    from faceblurd.engine.model import Services


class Recovery:
    """That of one root."""

    def __init__(self, root: Intake, services: Services) -> None:
        """Look at nothing yet."""
        self._root, self._s = root, services
        self._in_hand: set[str] = set()  # tokens of intents that are being carried out
        self._postponed: set[str] = set()  # tokens of intents of which that was said
        self._running = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def kept_from(self, token: str) -> Iterator[None]:
        """Keep recovery from an intent while it is being carried out."""
        self._in_hand.add(token)
        try:
            yield
        finally:
            self._in_hand.discard(token)

    def soon(self, seconds: float) -> None:
        """Look after some seconds at what was left half done."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, lambda: self._root.errand(self._run_if_there()))

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    async def _run_if_there(self) -> None:
        self._timer = None
        if self._root.available:  # else its return is the time for it
            await self.run()

    async def run(self) -> None:
        """Finish or undo what a crash left below this root, but not what is in hand now."""
        async with self._running:
            for job in recovery.unfinished(self._s.ledger):
                if job.intent.root == self._root.path and job.intent.token not in self._in_hand:
                    self._write_down(await self._root.run(partial(recovery.clear_up, job)))

    def _write_down(self, cleared: recovery.ClearedUp) -> None:
        intent = cleared.job.intent
        what = recovery.record(self._s.ledger, cleared)
        again = what == recovery.POSTPONED and intent.token in self._postponed  # as it said 30 s ago
        if intent.target and not again:  # else nothing but a staging file was left
            self._s.log.event("file.recovered", path=f"{intent.root}/{intent.path}", detail=what)
        if what == recovery.POSTPONED:
            self._postponed.add(intent.token)
            self.soon(decide.DISK_SECONDS)
        elif what != recovery.SWEPT:
            self._root.point_at([intent.path])
