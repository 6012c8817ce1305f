"""A root of the engine on a virtual clock: real files and real events; of its photos nothing becomes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stand_in_pool import StandInPool, services

from faceblurd.engine.health import CHECK_SECONDS
from faceblurd.engine.model import Log, Pace, RootPlan
from faceblurd.engine.root import Root
from faceblurd.engine.thread import Inline
from faceblurd.ledger.ledger import Ledger
from faceblurd.model import BlurSpec, DetectionSpec, Mode, Recipe
from faceblurd.watch.scan import Selection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from faceblurd.engine.thread import T, Thread

RESCAN_SECONDS = 4000.0
QUIET_SECONDS = 1e12  # photos settle for ever: what was found is on its way
PATIENCE_SECONDS = 240.0  # of real time, for what inotify's threads bring


class SlowThread:
    """A share that answers when the test says so; the calls are real."""

    def __init__(self) -> None:
        self.slow = False
        self.waiting: list[asyncio.Future[None]] = []
        self._later: list[Callable[[], object]] = []

    async def run(self, call: Callable[[], T]) -> T:
        if self.slow:
            turn = asyncio.get_running_loop().create_future()
            self.waiting.append(turn)
            await turn
        return call()

    def later(self, call: Callable[[], object]) -> None:
        if self.slow:
            self._later.append(call)
        else:
            call()

    def answer(self, most: int) -> None:
        """Answer some of what waits."""
        for turn in self.waiting[:most]:
            if not turn.done():
                turn.set_result(None)
        del self.waiting[:most]

    def recover(self) -> None:
        """Answer everything, from now on."""
        self.slow = False
        self.answer(len(self.waiting))
        while self._later:
            self._later.pop(0)()

    def close(self) -> None: ...


class Desk:
    """A root that is looked after, and what scans and events brought. Made inside a running loop."""

    def __init__(
        self, path: Path, to: Path, pace: Pace | None = None, threads: Callable[[str], Thread] = lambda _: Inline(),
        **settings: Any,
    ) -> None:  # fmt: skip
        self.told: list[str] = []
        self.details: list[str] = []
        self.found: set[str] = set()
        self.scans: list[float] = []  # when they ended
        self.failures: list[BaseException] = []
        self.ledger, self.pool = Ledger(None), StandInPool()
        plan = RootPlan(
            str(path), Mode.MIRROR, str(to), Recipe("test", DetectionSpec((), None), BlurSpec()),
            Selection(("*.jpg",), ()), quiet_seconds=QUIET_SECONDS, settle_max_seconds=60.0, hard_links_ok=False,
            keep_mtime=False, replace_others=False, take_away_held=False,
        )  # fmt: skip
        plan = replace(plan, **settings)
        log = Log(lambda _report: None, self._hear)
        made = services(self.ledger, self.pool, path.parent, [plan], log=log)
        self.root = Root(plan, replace(made, fail=self.failures.append), pace or Pace(RESCAN_SECONDS), threads)
        self._life = asyncio.ensure_future(self.root.look_after())

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def _hear(self, event: str, detail: Any = "", **_: Any) -> None:
        if event == "root.scanned":
            self.scans.append(self.now)
        else:
            self.told.append(event)
            self.details.append(str(detail))

    async def pause(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)
        await self.at_once()

    async def at_once(self) -> None:
        """Let happen what happens without the clock."""
        for _ in range(50):
            await asyncio.sleep(0)
        self.found |= self.root.photos.keys()
        assert self.failures == []
        if self._life.done():
            self._life.result()

    async def turn(self) -> None:
        """Let the time of one look pass."""
        await self.pause(CHECK_SECONDS)

    async def until(self, condition: Callable[[], Any], what: str = "the condition", *, turns: bool = True) -> None:
        """Wait in real time for what threads bring, look by look; without `turns` the clock stands still."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        await self.at_once()
        while not condition():
            assert time.monotonic() < deadline, (what, self.root.state, self.told, self.found)
            _leave_room()
            await (self.turn() if turns else self.at_once())

    async def close(self) -> None:
        """Stop, with nothing left over."""
        self._life.cancel()
        self.root.close()
        await asyncio.wait({self._life, *self.root.tasks()})
        await asyncio.sleep(0)
        self.ledger.close()


def _leave_room() -> None:
    time.sleep(0.01)
