"""A root with the engine's real parts around it on a virtual clock, and a worker that answers what a test puts in."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import virtual_time
from stand_in_pool import StandInPool, services

from faceblurd.engine.intake import Intake
from faceblurd.engine.model import Log, RetryPolicy, RootPlan
from faceblurd.engine.thread import Inline
from faceblurd.ledger.ledger import Ledger
from faceblurd.model import BlurSpec, DetectionSpec, Job, Mode, Recipe, Report
from faceblurd.watch.scan import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from faceblurd.engine.thread import Thread

    At = Callable[..., None]

OLD = b"the bytes that the worker read"
POLICY = RetryPolicy(4, 0.1, 1 << 20)


def plan_of(folder: Path, **changes: Any) -> RootPlan:
    """Give the plan of an in-place root `root` in a folder; with `mode=Mode.MIRROR`, its mirror is `mirror`."""
    mode = changes.get("mode", Mode.IN_PLACE)
    plan = RootPlan(
        str(folder / "root"), mode, str(folder / ("root" if mode is Mode.IN_PLACE else "mirror")),
        Recipe("test", DetectionSpec((), None), BlurSpec()), Selection(("*.jpg",), ()), quiet_seconds=0.0,
        settle_max_seconds=60.0, hard_links_ok=False, keep_mtime=False, replace_others=False, take_away_held=True,
    )  # fmt: skip
    return replace(plan, **changes)


class Desk:
    """One photo, `photo.jpg`, and whatever else the test puts beside it."""

    def __init__(
        self, folder: Path, plan: RootPlan, policy: RetryPolicy, thread: Thread, answer: Callable[[Any], Any] | None
    ) -> None:
        self.folder, self.plan = folder, plan
        self.photo = folder / "root" / "photo.jpg"
        for one in {plan.path, plan.to}:
            (folder / one).mkdir(exist_ok=True)
        self.photo.write_bytes(OLD)
        self.ledger, self.pool = Ledger(None), StandInPool(answer)
        self.reports: list[Report] = []
        self.told: list[str] = []
        self.details: list[dict[str, Any]] = []
        self.failures: list[BaseException] = []
        log = Log(self.reports.append, self._tell)
        made = services(self.ledger, self.pool, folder, [plan], policy=policy, log=log)
        self.root = Intake(plan, replace(made, fail=self.failures.append), thread)

    def _tell(self, event: str, **fields: Any) -> None:
        self.told.append(event)
        self.details.append(fields)

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def take_in_hand(self) -> Job:
        """Let the photo be handed to a worker."""
        await self.root.hinted(["photo.jpg"])
        return await self.next_job(len(self.pool.jobs))

    async def next_job(self, before: int) -> Job:
        """Wait for a worker to get one more job than it had."""
        while len(self.pool.jobs) <= before:
            await asyncio.sleep(0.01)
        return self.pool.jobs[before]

    async def answer(self, *answers: Any) -> None:
        """Let the worker answer, and the photo come as far as it does without the clock."""
        for one in answers:
            self.pool.answers.put_nowait(one)
        for _ in range(100):
            await asyncio.sleep(0)

    async def close(self) -> None:
        self.root.close()
        if tasks := self.root.tasks():
            await asyncio.wait(tasks)


def run(
    story: Callable[[Desk], Coroutine[Any, Any, None]], folder: Path, *, policy: RetryPolicy = POLICY,
    thread: Callable[[], Thread] = Inline, answer: Callable[[Any], Any] | None = None, **changes: Any,
) -> Desk:  # fmt: skip
    """Run a test's coroutine with a desk; `changes` are of the plan."""

    async def main() -> Desk:
        (folder / "root").mkdir(exist_ok=True)
        one = Desk(folder, plan_of(folder, **changes), policy, thread(), answer)
        with closing(one.ledger):
            await story(one)
            await one.close()
        return one

    return virtual_time.run(main())
