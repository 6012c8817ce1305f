"""A pool whose workers answer when and what a test wants; everything else of the engine is real."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from faceblurd.engine.model import Log, RetryPolicy, RootPlan, Services
from faceblurd.engine.turns import Turns
from faceblurd.plugins.host import PluginHost
from faceblurd.publish.quarantine import Quarantine
from faceblurd.workers.pool import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from faceblurd.engine.hooks import Hooks
    from faceblurd.engine.intake import Intake
    from faceblurd.ledger.ledger import Ledger
    from faceblurd.model import Hashed, Job, JobResult, Refused
    from faceblurd.workers.worker import Lost


class StandInWorker:
    """What a photo is given by the pool. Each question waits for the test's answer."""

    def __init__(self, pool: StandInPool) -> None:
        self._pool = pool

    async def begin(
        self, job: Job, *, source_fd: int, staging_fd: int, within_seconds: float
    ) -> Hashed | Refused | Lost:
        self._pool.jobs.append(job)
        self._pool.descriptors.append((source_fd, staging_fd))
        return await self._pool.answered(job)  # type: ignore[no-any-return]

    async def go_on(self, *, proceed: bool) -> JobResult | Lost:
        self._pool.proceeded.append(proceed)
        return await self._pool.answered(proceed)  # type: ignore[no-any-return]


class StandInPool:
    """One worker."""

    limits = Limits(1, 60.0, 100, 60.0)
    restarts, sandbox, failure = 0, "", None

    def __init__(self, answer: Callable[[Any], Any] | None = None) -> None:
        self.idle, self.busy = 1, 0
        self.changed: Callable[[], None] = lambda: None
        self.jobs: list[Job] = []
        self.descriptors: list[tuple[int, int]] = []
        self.proceeded: list[bool] = []
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        self.question: Any = None  # what waits for an answer: a job, or whether to go on with it
        self._answer = answer

    async def answered(self, question: Any) -> Any:
        if self._answer is not None:
            return self._answer(question)
        self.question = question
        try:
            return await self.answers.get()
        finally:
            self.question = None

    def ensure(self, wanted: int) -> None: ...

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[StandInWorker]:
        while not self.idle:
            await asyncio.sleep(0.001)
        self.idle, self.busy = 0, 1
        try:
            yield StandInWorker(self)
        finally:
            self.idle, self.busy = 1, 0
            self.changed()

    async def close(self) -> None: ...


def services(
    ledger: Ledger, pool: StandInPool, folder: Path, plans: list[RootPlan], *, hooks: Hooks | None = None,
    policy: RetryPolicy | None = None, log: Log | None = None,
) -> Services:  # fmt: skip
    """Give the services of an engine with a stand-in pool; `log` hears what is told."""
    turns = Turns(pool)
    pool.changed = turns.admit

    def fail(error: BaseException) -> None:
        raise error

    return Services(
        ledger, pool, turns, Quarantine(ledger, folder / "quarantine"),  # type: ignore[arg-type]  # a stand-in
        PluginHost.load((), on_error=lambda *_: None), hooks, policy or RetryPolicy(4, 0.1, 1 << 20),
        log or Log(lambda _report: None, lambda *_, **__: None), frozenset(plan.path for plan in plans), fail,
    )  # fmt: skip


async def at_rest(intake: Intake) -> None:
    """Wait until nothing of a root is on its way."""
    while intake.is_busy:
        await asyncio.sleep(0.05)
