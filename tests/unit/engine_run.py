"""One run of the real engine on a virtual clock, from its start to a stop or a crash, with workers that are stand-ins.

A crash closes the descriptors; nothing else of the run happens then, and what is left of its coroutines is taken apart.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import warnings
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine_disk import Crash, fstat
from engine_world import SIZE, padded, text_of
from stand_in_pool import StandInPool, services
from virtual_time import VirtualLoop

from faceblurd.engine.intake import Intake
from faceblurd.engine.model import Log, RetryPolicy
from faceblurd.ledger.ledger import Ledger
from faceblurd.model import Abandoned, Fingerprint, Hashed, Mode, Reason, Refused, Region, Staged, State, Untouched
from faceblurd.publish import contents
from faceblurd.workers.job import write_whole
from faceblurd.workers.pool import Limits
from faceblurd.workers.worker import Lost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from engine_world import World

    from faceblurd.engine.model import RootPlan
    from faceblurd.model import Job

POLICY = RetryPolicy(max_attempts=3, backoff_seconds=5.0, max_bytes=1 << 20)


class Hand:
    """A photo in a worker's hands; each question waits until somebody lets the worker go on."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.job: Job | None = None
        self.digest = ""
        self.content, self.proceed, self.has_begun = "", False, False
        self.answer: asyncio.Future[Any] | None = None

    async def begin(self, job: Job, *, source_fd: int, staging_fd: int, within_seconds: float) -> Any:
        del within_seconds
        self.job, self.fds = job, (source_fd, staging_fd)
        if self._is_as_seen():
            still = self._run.now - self._run.world.disk.changed_at[fstat(source_fd).st_ino]
            self._run.expect(still >= self._run.plan.quiet_seconds, f"taken {still} s after it changed")
        return await self._answered()

    async def go_on(self, *, proceed: bool) -> Any:
        self.proceed = proceed
        self._run.goes_on(self.job, self.digest, proceed=proceed)
        return await self._answered()

    async def _answered(self) -> Any:
        self.answer = asyncio.get_running_loop().create_future()
        return await self.answer

    def _is_as_seen(self) -> bool:
        assert self.job is not None
        return Fingerprint.from_stat(os.fstat(self.fds[0])) == self.job.fingerprint

    def die(self) -> None:
        assert self.job is not None
        self._say(Lost(self.job.id, Reason.WORKER_CRASHED, "signal 9"))

    def _say(self, answer: Any) -> None:
        future, self.answer = self.answer, None
        if future is not None and not future.done():
            future.set_result(answer)

    def next(self) -> None:
        """Do the next step as a worker does: read and hash all at once, begin the result, end it."""
        if self.answer is None or self.job is None:
            return
        if not self.content:
            self._read(self.job)
        elif not self.proceed:
            self._say(Abandoned(self.job.id))
        elif self.content.startswith("bad"):
            self._say(Refused(self.job.id, Reason.DAMAGED, "bad", retryable=False, milliseconds=1))
        elif self.content.startswith("clean") and self.job.mode is Mode.IN_PLACE:
            self._say(Untouched(self.job.id, 1))
        elif not self.has_begun:
            self.has_begun = True
            os.pwrite(self.fds[1], b"partial", 0)
        else:
            self._make(self.job)

    def _read(self, job: Job) -> None:
        if not self._is_as_seen():
            self._say(Refused(job.id, Reason.CHANGED_MEANWHILE, "changed", retryable=True, milliseconds=1))
            return
        self.content = text_of(os.pread(self.fds[0], SIZE, 0))
        self.digest = contents.digest_of(self.fds[0])
        self._say(Hashed(job.id, self.digest))

    def _make(self, job: Job) -> None:
        name = job.recipe.name
        is_clean = self.content.startswith("clean")
        result = padded(self.content if is_clean else f"{name}({self.content})")
        with self._run.world.disk.acting():
            digest = write_whole(self.fds[1], result, mtime_ns=job.output_mtime_ns)
        regions = () if is_clean else (Region(1, 1, 2, 2, 1.0, "x"),)
        self._run.worked += 1
        self._say(Staged(job.id, regions, digest, SIZE, lossless=True, note="", milliseconds=1))


class Workers(StandInPool):
    """Two of them, which answer in any order."""

    limits = Limits(2, 60.0, 100, 60.0)

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run, self.idle = run, 2
        self.hands: list[Hand] = []
        self._free = asyncio.Semaphore(2)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Hand]:  # type: ignore[override]  # another stand-in
        async with self._free:
            hand = Hand(self._run)
            self.hands.append(hand)
            self.idle -= 1
            try:
                yield hand
            finally:
                self.hands.remove(hand)
                self.idle += 1
                self.changed()


class MortalThread:
    """Makes calls where they are awaited, until the process ends: then none is made any more."""

    def __init__(self, at_point: Callable[[], None]) -> None:
        self.is_dead = False
        self._at_point = at_point

    async def run(self, call: Callable[[], Any]) -> Any:
        if self.is_dead:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        result = call()
        self._at_point()  # the call was made, and nobody has heard yet of what it gave
        return result

    def later(self, call: Callable[[], object]) -> None:
        if not self.is_dead:
            with suppress(OSError):
                call()

    def close(self) -> None: ...


class Run:
    """The engine's parts for one root."""

    def __init__(self, world: World, plan: RootPlan, *, since: float) -> None:
        """`since`: the time at the start, so that it goes on from run to run."""
        self.world, self.plan = world, plan
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(self._heard)
        self._start = since - self.loop.time()
        self.worked = 0
        self.wrong: list[str] = []  # what the engine's isolation would hide
        self.crash: asyncio.Future[None] = self.loop.create_future()
        self.thread = MortalThread(world.disk.at_point)
        world.disk.now = lambda: self.now
        with world.disk.acting():
            self.ledger = Ledger(world.folder / "state" / "ledger")
            self.ledger._db.execute("PRAGMA synchronous=OFF")  # only the process dies here, never the disk
        self.root = self.loop.run_until_complete(self._make())

    async def _make(self) -> Intake:
        self.pool = Workers(self)
        log = Log(lambda _report: None, self._told)
        made = services(self.ledger, self.pool, self.world.folder, [self.plan], policy=POLICY, log=log)
        return Intake(self.plan, replace(made, fail=self._failed), self.thread)

    @property
    def now(self) -> float:
        return self._start + self.loop.time()

    def expect(self, is_so: bool, what: str) -> None:
        if not is_so and not self.thread.is_dead:
            self.wrong.append(what)

    def _told(self, event: str, **fields: Any) -> None:
        is_disk = fields.get("detail") == os.strerror(28)
        self.expect(event != "root.trouble" or is_disk, f"{event} {fields}")

    def _heard(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.expect(isinstance(error, Crash), f"{context['message']}: {error!r}")

    def _failed(self, error: BaseException) -> None:
        self.expect(False, f"the engine failed: {error!r}")

    def goes_on(self, job: Job | None, digest: str, *, proceed: bool) -> None:
        """Ask whether the engine's judgement of a photo's bytes may be true."""
        assert job is not None
        path = os.path.basename(job.name)
        is_own = self.ledger.is_own_result(digest, job.recipe.digest)
        if proceed:
            self.expect(not is_own, f"{path} is our own result, and is redacted again under the same recipe")
        elif not self.plan.in_place and not is_own:  # our own is copied, without the worker
            is_there = (self.world.mirror / path).exists() or path in self.world.deleted
            self.expect(is_there, f"{path} is skipped, and nothing is in the mirror")

    async def recovered(self) -> None:
        """Begin as `engine.Engine` does."""
        await self.root.recovery.run()
        self.root.point_at([entry.path for entry in self.ledger.in_state(State.RETRY)])

    def until(self, coroutine: Coroutine[Any, Any, None]) -> bool:
        """Run until it ends; False when the process does."""
        task = self.loop.create_task(coroutine)
        self.loop.run_until_complete(asyncio.wait({task, self.crash}, timeout=10_000, return_when="FIRST_COMPLETED"))
        if not self.crash.done():
            task.result()
        assert not self.wrong, self.wrong
        return not self.crash.done()

    def end_here(self) -> None:
        """End the process at this very call."""
        if not self.crash.done():
            self.crash.set_result(None)
        self.thread.is_dead = True
        raise Crash

    def stop(self) -> bool:
        """End in order; False when a crash was faster."""

        async def ended() -> None:
            self.root.close()
            if tasks := self.root.tasks():
                await asyncio.wait(tasks)

        return self.until(ended())

    def close_files(self) -> None:
        """Close what the kernel would close."""
        self.ledger.close()
        others = {writer.fd for writer in self.world.writers}
        for fd in self.world.disk.open_files():
            if fd not in others:
                os.close(fd)

    def take_apart(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined] # it was meant to be left pending
            _take_apart(task.get_coro())
        self.loop.close()
        del self.root, self.pool


def bury(runs: list[Run]) -> None:
    """Take apart what is left, here: a collector would do it in the midst of anything, even of the parser."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what a photo would put down it cannot any more
        for run in runs:
            run.take_apart()
        runs.clear()
        gc.collect()


def _take_apart(coroutine: Any) -> None:
    """Close a coroutine; one that has not begun would leave those that it was given."""
    if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        for inner in filter(inspect.iscoroutine, list(coroutine.cr_frame.f_locals.values())):
            _take_apart(inner)
    with suppress(BaseException):
        coroutine.close()
