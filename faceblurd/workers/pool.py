"""The pool: supervised worker processes, each owned by whoever leased it.

Owns starting, leasing, recycling and reaping. A worker that crashes, hangs or is killed costs its own job and nothing
else; `ProcessPoolExecutor` loses every task then, and pebble broke under random kills. Used in asyncio's thread alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceblurd.errors import FaceblurdError, SetupError
from faceblurd.workers import messages
from faceblurd.workers.worker import REAP_SECONDS, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from faceblurd.workers.job import Setup

_BACK_OFF_SECONDS = (0.0, 0.5, 2.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many workers, and how long each may live or take."""

    count: int
    deadline_seconds: float
    recycle_after_files: int
    idle_seconds: float


class Pool:
    """Up to `limits.count` workers, started when there is work and retired when there is none."""

    def __init__(self, setup: Setup, limits: Limits) -> None:
        """Prepare; no process runs before `ensure`."""
        self.limits = limits
        self.changed: Callable[[], None] = lambda: None  # called when a worker is idle, or may be started (again)
        self.restarts = 0
        self.sandbox = ""  # as the last worker said
        self.why_not_started = ""
        self.failure: SetupError | None = None  # a detector, an engine or a plugin no longer loads
        self._setup = setup
        self._idle: dict[Worker, asyncio.TimerHandle] = {}
        self._leased: set[Worker] = set()
        self._waiting: deque[asyncio.Future[Worker]] = deque()
        self._alive: set[Worker] = set()  # all whose process is not known to be gone
        self._tasks: set[asyncio.Task[None]] = set()  # starts and ends of workers
        self._news = asyncio.Event()
        self._starting = self._failed_starts = 0
        self._start_not_before = 0.0
        self._closed = False

    @property
    def idle(self) -> int:
        """How many workers wait for a job."""
        return len(self._idle)

    @property
    def busy(self) -> int:
        """How many workers have been leased."""
        return len(self._leased)

    @property
    def cannot_start(self) -> bool:
        """Whether one worker after the other ended before it was ready."""
        return self._failed_starts == len(_BACK_OFF_SECONDS) - 1

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
        self.changed()

    # --- leasing

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """Wait for an idle worker, and own it. One whose job did not end is killed on the way out.

        Raises SetupError when detectors, engines or plugins do not load any more.
        """
        worker = await self._lease()
        try:
            yield worker
        finally:
            self._give_back(worker)

    async def _lease(self) -> Worker:
        if self.failure is not None:
            raise self.failure
        for worker in list(self._idle):
            if worker.is_quiet():
                self._leased.add(self._take(worker))
                return worker
            self._died_idle(worker)
        waiting: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self.ensure(0)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self._give_back(waiting.result())
            raise
        finally:
            with suppress(ValueError):
                self._waiting.remove(waiting)

    def _take(self, worker: Worker) -> Worker:
        self._idle.pop(worker).cancel()
        asyncio.get_running_loop().remove_reader(worker.fileno())
        return worker

    def _give_back(self, worker: Worker) -> None:
        self._leased.discard(worker)
        if self._closed or worker.is_spent or worker.files >= self.limits.recycle_after_files:
            self.restarts += worker.is_lost and not self._closed
            self._end(worker)
            self.ensure(0)  # others may wait for one
            self._tell()
        else:
            self._hand_on(worker)

    def _hand_on(self, worker: Worker) -> None:
        """Give a worker to whoever waits for one, or let it be idle."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                self._leased.add(worker)  # at once: it counts, or another one would be started in its place
                waiting.set_result(worker)
                return
        loop = asyncio.get_running_loop()
        self._idle[worker] = loop.call_later(self.limits.idle_seconds, self._retire, worker)
        loop.add_reader(worker.fileno(), self._died_idle, worker)
        self._tell()

    def _retire(self, worker: Worker) -> None:
        self._end(self._take(worker))

    def _died_idle(self, worker: Worker) -> None:
        """End a worker that speaks although it has no job: it has died, or speaks out of turn."""
        self.restarts += 1
        self._retire(worker)
        self._tell()

    def _end(self, worker: Worker) -> None:
        worker.kill()
        worker.close()
        self._spawn(self._reap(worker))

    async def _reap(self, worker: Worker) -> None:
        await worker.reaped(None)
        self._alive.discard(worker)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- starting

    def ensure(self, wanted: int) -> None:
        """See that `wanted` workers (at most the configured count) are there or starting, beside those at work."""
        if self._closed or self.failure is not None:
            return
        if asyncio.get_running_loop().time() < self._start_not_before:
            return  # `changed` is called then
        wanted = min(wanted + len(self._waiting) + len(self._leased), self.limits.count)
        while len(self._idle) + len(self._leased) + self._starting < wanted:
            self._starting += 1
            try:
                worker = Worker(self._setup)
            except OSError as error:  # no more processes, or no memory for one
                self._starting -= 1
                self._not_started(error.strerror or str(error))
                return
            self._alive.add(worker)
            self._spawn(self._start(worker))

    async def _start(self, worker: Worker) -> None:
        try:
            answer = await worker.started()
        finally:
            self._starting -= 1
        match answer:
            case messages.Ready() if not self._closed:
                self.sandbox, self._failed_starts = answer.sandbox, 0
                self._hand_on(worker)
                return
            case messages.SetupFailed():
                self._fail(SetupError(answer.message, remedy=answer.remedy))
            case str() if not self._closed:
                self.restarts += 1
                self._not_started(answer)
        self._end(worker)

    def _not_started(self, why: str) -> None:
        self.why_not_started = why
        self._failed_starts = min(self._failed_starts + 1, len(_BACK_OFF_SECONDS) - 1)
        seconds, loop = _BACK_OFF_SECONDS[self._failed_starts], asyncio.get_running_loop()
        self._start_not_before = loop.time() + seconds
        loop.call_later(seconds, self._again)
        self._tell()

    def _again(self) -> None:
        self.ensure(0)
        self._tell()

    def _fail(self, failure: SetupError) -> None:
        self.failure = failure
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(failure)
        self._tell()

    async def ready(self) -> None:
        """Start a worker and wait for it: detectors, engines and plugins load there.

        Raises SetupError when one does not, FaceblurdError when the worker does not start.
        """
        self.ensure(1)
        while not (self._idle or self._leased):
            if self.failure is not None:
                raise self.failure
            if not self._starting:
                raise self.no_worker()
            await self._news.wait()

    async def given_up(self) -> None:
        """Wait until one worker after the other ended before it was ready."""
        while not self.cannot_start:
            await self._news.wait()

    def no_worker(self) -> FaceblurdError:
        """Say that no worker starts, and why."""
        return FaceblurdError(
            f"a worker process does not start: {self.why_not_started}",
            remedy="See what it wrote on stderr (of a service: journalctl -u faceblurd)",
        )

    # --- the end

    async def close(self) -> None:
        """Kill all workers, for good; jobs in hand leave nothing behind. One that hangs in the kernel is left to it."""
        self._closed = True
        for worker in list(self._idle):
            self._end(self._take(worker))
        alive, tasks = list(self._alive), list(self._tasks)
        for worker in alive:
            worker.kill()
        await asyncio.gather(*(worker.reaped(REAP_SECONDS) for worker in alive))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for worker in set(alive) - self._leased:
            worker.close()
