"""The pool: supervised worker processes, at most one job each, one pipe each.

Owns starting, feeding, timing, killing, recycling. A worker that crashes, hangs or is killed costs its own job and
nothing else; `ProcessPoolExecutor` loses every task then, and pebble broke under random kills. No threads and no
locks: the pipeline asks `waitables`, waits, and hands what is ready to `collect`. Never looks at pixels or paths.
"""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass
from multiprocessing.reduction import send_handle
from typing import TYPE_CHECKING

from faceblurd.model import Hashed, Job, Reason, Refused
from faceblurd.workers import messages
from faceblurd.workers.job import Setup, main

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from faceblurd.model import JobResult

START_SECONDS = 60.0
_BACK_OFF_SECONDS = (0.0, 0.5, 2.0, 10.0, 30.0)
_READ_BYTES, _MOST_READS = 1 << 16, 64  # at a time, of one worker: one that never ends must not have all the time
_SPENT = frozenset({Reason.OUT_OF_MEMORY, Reason.INTERNAL_ERROR})


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker ended with a job in hand (`detail` says how); nothing of the job is left."""

    job: int
    reason: Reason
    detail: str


Event = Hashed | Lost | messages.SetupFailed | messages.Ready
"""What `collect` gives, beside a `JobResult`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many workers, and how long each may live or take."""

    count: int
    deadline_seconds: float
    recycle_after_files: int
    idle_seconds: float


class _Worker:
    """One process, and what it is at."""

    def __init__(self, setup: Setup, now: float) -> None:
        context = multiprocessing.get_context("spawn")  # fork would copy watchdog's threads and their locks
        self.conn, theirs = context.Pipe(duplex=True)
        os.set_blocking(self.conn.fileno(), False)  # a worker that was stopped must stop nobody else
        self.frames = messages.Frames()
        self.process: SpawnProcess = context.Process(
            target=main, args=(theirs, setup), name="faceblurd-worker", daemon=True
        )
        self.process.start()
        theirs.close()
        self.ready = False
        self.job: Job | None = None
        self.due: float | None = now + START_SECONDS
        self.idle_since = now
        self.files = 0

    @property
    def idle(self) -> bool:
        return self.ready and self.job is None

    def kill(self) -> None:
        """End it at once. One that hangs in the kernel on a dead share is not waited for."""
        self.process.kill()
        self.conn.close()
        self.process.join(0.05)


class Pool:
    """Up to `limits.count` workers, started when there is work and retired when there is none."""

    def __init__(self, setup: Setup, limits: Limits, *, clock: Callable[[], float]) -> None:
        """Prepare; no process runs before `warm`."""
        self._setup, self._limits, self._clock = setup, limits, clock
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._closed = False
        self._start_not_before = 0.0
        self.restarts = 0
        self.sandbox = ""  # as the last worker said
        self.why_not_started = ""

    # --- feeding

    def warm(self, wanted: int) -> None:
        """See that `wanted` workers (at most the configured count) are there or starting; none after `close`."""
        if self._closed:
            return
        self._workers = [worker for worker in self._workers if not worker.conn.closed]
        while len(self._workers) < min(wanted, self._limits.count) and self._clock() >= self._start_not_before:
            try:
                self._workers.append(_Worker(self._setup, self._clock()))
            except OSError as error:  # no more processes, or no memory for one
                self._not_started(error.strerror or str(error))

    @property
    def cannot_start(self) -> bool:
        """Whether one worker after the other ended before it was ready."""
        return self._failed_starts == len(_BACK_OFF_SECONDS) - 1

    def _not_started(self, why: str) -> None:
        self.why_not_started = why
        self._failed_starts = min(self._failed_starts + 1, len(_BACK_OFF_SECONDS) - 1)
        self._start_not_before = self._clock() + _BACK_OFF_SECONDS[self._failed_starts]

    @property
    def idle(self) -> int:
        """How many jobs can be submitted now."""
        return sum(worker.idle for worker in self._workers)

    @property
    def busy(self) -> int:
        """How many jobs are in hand."""
        return sum(worker.job is not None for worker in self._workers)

    def submit(self, job: Job, *, source_fd: int, staging_fd: int) -> bool:
        """Hand a job and its two open files to an idle worker; False when none takes it."""
        for worker in self._workers:
            if worker.idle:
                worker.job, worker.due = job, self._clock() + self._limits.deadline_seconds
                return self._send(worker, job, (source_fd, staging_fd))
        return False

    def _send(self, worker: _Worker, job: Job, descriptors: tuple[int, ...]) -> bool:
        try:
            worker.conn.send(messages.Order.of(job, self._setup.recipes))
            for fd in descriptors:
                send_handle(worker.conn, fd, worker.process.pid)
        except BlockingIOError:  # it takes nothing any more
            self._remove(worker)
            return False
        except OSError:
            worker.job = None  # it died idle; `collect` buries it
            worker.ready = False
            return False
        return True

    def answer(self, job: int, *, proceed: bool) -> None:
        """Answer a `Hashed`: go on, or abandon the job."""
        for worker in self._workers:
            if worker.job is not None and worker.job.id == job:
                try:
                    worker.conn.send(proceed)
                except OSError:
                    return  # it has just died: its sentinel says so

    def cancel(self, job: int) -> None:
        """End the worker that has a job, and say nothing more of it."""
        for worker in list(self._workers):
            if worker.job is not None and worker.job.id == job:
                self._remove(worker)

    # --- collecting

    def waitables(self) -> list[Connection | int]:
        """Give what becomes readable when a worker speaks or dies."""
        return [item for worker in self._workers for item in (worker.conn, worker.process.sentinel)]

    def collect(self, ready: Collection[object]) -> list[Event | JobResult]:
        """Turn what is ready into events."""
        events: list[Event | JobResult] = []
        for worker in list(self._workers):
            if worker.conn in ready or worker.process.sentinel in ready:
                events.extend(self._hear(worker))
        return events

    def _hear(self, worker: _Worker) -> list[Event | JobResult]:
        events: list[Event | JobResult] = []
        try:
            for _ in range(_MOST_READS):
                for message in worker.frames.feed(os.read(worker.conn.fileno(), _READ_BYTES) or _end()):
                    events.extend(self._note(worker, messages.decode(message)))
                    if worker not in self._workers:
                        return events
        except BlockingIOError:  # that was all, for now
            if not worker.process.is_alive():  # pragma: no cover - ended between both looks
                events.extend(self._bury(worker, Reason.WORKER_CRASHED))
        except (EOFError, OSError, ValueError):
            events.extend(self._bury(worker, Reason.WORKER_CRASHED))
        return events

    def _note(self, worker: _Worker, message: messages.Message) -> list[Event | JobResult]:
        match message:
            case messages.Ready() | messages.SetupFailed() if worker.ready:
                raise ValueError("a worker may speak of its start only once")  # it would lose its deadline, or its job
            case messages.Ready():
                worker.ready, worker.due, worker.idle_since = True, None, self._clock()
                self.sandbox = message.sandbox
                self._failed_starts = 0
            case messages.SetupFailed():
                self._remove(worker)
            case Hashed():
                self._expect(worker, message.job)
            case _:
                self._expect(worker, message.job)
                self._finish_job(worker, spent=isinstance(message, Refused) and message.reason in _SPENT)
        return [message]

    @staticmethod
    def _expect(worker: _Worker, job: int) -> None:
        if worker.job is None or worker.job.id != job:
            raise ValueError("a worker may speak of its own job only")

    def _finish_job(self, worker: _Worker, *, spent: bool) -> None:
        worker.job, worker.due = None, None
        worker.files += 1
        worker.idle_since = self._clock()
        if spent or worker.files >= self._limits.recycle_after_files:
            self._remove(worker)

    def _bury(self, worker: _Worker, reason: Reason) -> list[Event | JobResult]:
        """Remove a dead or condemned worker and say what became of its job."""
        job, started = worker.job, worker.ready
        detail = "took longer than workers.deadline_seconds"
        if reason is Reason.WORKER_CRASHED:
            worker.process.join(0.2)
            detail = _how(worker.process.exitcode)
        self._remove(worker)
        self.restarts += 1
        if not started:
            self._not_started(detail)
        return [] if job is None else [Lost(job.id, reason, detail)]

    def _remove(self, worker: _Worker) -> None:
        worker.kill()
        self._workers.remove(worker)

    # --- time

    def next_due(self) -> float | None:
        """When `expire` must be called next (monotonic seconds)."""
        dues = [worker.due for worker in self._workers if worker.due is not None]
        dues += [worker.idle_since + self._limits.idle_seconds for worker in self._workers if worker.idle]
        if len(self._workers) < self._limits.count and self._start_not_before > self._clock():
            dues.append(self._start_not_before)
        return min(dues, default=None)

    def expire(self) -> list[Event | JobResult]:
        """Kill what is over its deadline, retire what has been idle for long."""
        now = self._clock()
        events: list[Event | JobResult] = []
        for worker in list(self._workers):
            if worker.due is not None and now >= worker.due:
                events.extend(self._bury(worker, Reason.DEADLINE))
            elif worker.idle and now >= worker.idle_since + self._limits.idle_seconds:
                self._remove(worker)
        return events

    def close(self) -> None:
        """Kill all workers, for good; jobs in hand leave nothing behind."""
        self._closed = True
        for worker in list(self._workers):
            self._remove(worker)


def _end() -> bytes:
    raise EOFError


def _how(exitcode: int | None) -> str:
    if exitcode is None:
        return "the worker did not answer any more"
    if exitcode < 0:
        return f"the worker was ended by signal {-exitcode}"
    return f"the worker exited with code {exitcode}"
