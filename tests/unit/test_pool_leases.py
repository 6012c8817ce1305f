"""Which worker is started, leased, handed on and retired when: the pool with stand-ins for processes.

On a virtual clock, so that times are exact.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import virtual_time
from hypothesis import given
from hypothesis import strategies as st

from faceblurd.errors import FaceblurdError, SetupError
from faceblurd.model import BlurSpec, DetectionSpec, Recipe
from faceblurd.workers import pool as pools
from faceblurd.workers.job import Setup
from faceblurd.workers.messages import Ready, SetupFailed
from faceblurd.workers.pool import Limits, Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    Run = Callable[..., None]

SETUP = Setup((Recipe("test", DetectionSpec((), None), BlurSpec()),), (), 1 << 20, os.getpid())
LIMITS = Limits(count=2, deadline_seconds=3600.0, recycle_after_files=500, idle_seconds=60.0)
START_SECONDS = 1.0
LATER = 100.0  # when all is settled


class Process:
    """What the pool has of a worker; it is ready after a second, or says what the test wants."""

    made: list[Process]
    start: Callable[[], Any]

    def __init__(self, _setup: Setup) -> None:
        if isinstance(error := type(self).start(), OSError):
            raise error
        self._says = error
        self.ours, self.theirs = socket.socketpair()
        self.pid, self.files, self.is_spent, self.is_lost = len(self.made), 0, False, False
        self.ended: list[str] = []
        self._killed = asyncio.Event()
        self.made.append(self)

    def fileno(self) -> int:
        return self.ours.fileno()

    def is_quiet(self) -> bool:
        return True

    async def started(self) -> Any:
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._killed.wait()
        except TimeoutError:
            return self._says
        return "the worker was ended by signal 9"

    def kill(self) -> None:
        self.ended.append("killed")
        self._killed.set()
        self.theirs.close()

    def close(self) -> None:
        self.ended.append("closed")
        self.ours.close()

    async def reaped(self, _seconds: float | None) -> bool:
        await asyncio.sleep(0)
        return True

    @classmethod
    def alive(cls) -> int:
        return sum(not one.ended for one in cls.made)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a story with a pool on a virtual clock; then every process has been ended, and its socket closed."""
    Process.made = []
    Process.start = lambda: Ready("locked up")
    monkeypatch.setattr(pools, "Worker", Process)

    def run(story: Callable[[Pool], Coroutine[Any, Any, None]], **limits: Any) -> None:
        async def main() -> None:
            pool = Pool(SETUP, replace(LIMITS, **limits))
            await story(pool)
            await pool.close()
            await asyncio.sleep(0)
            assert [one.ended[-1:] for one in Process.made] == [["closed"]] * len(Process.made)

        virtual_time.run(main())

    yield run
    for one in Process.made:
        one.ours.close()
        one.theirs.close()


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _work(pool: Pool, seconds: float = 1.0, *, spent: bool = False, lost: bool = False) -> int:
    async with pool.worker() as one:
        one.files += 1
        await asyncio.sleep(seconds)
        one.is_spent, one.is_lost = spent or lost, lost
        return one.pid


def test_a_worker_is_idle_for_as_long_as_it_may_and_then_retires(run: Run) -> None:
    async def story(pool: Pool) -> None:
        began = _now()
        await _work(pool)
        await asyncio.sleep(59.9)
        assert (pool.idle, Process.alive()) == (1, 1)
        await _work(pool)  # it is idle anew from here on
        assert _now() == pytest.approx(began + START_SECONDS + 61.9)
        await asyncio.sleep(59.9)
        assert pool.idle == 1
        await asyncio.sleep(0.2)
        assert (pool.idle, Process.alive(), len(Process.made)) == (0, 0, 1)

    run(story)


def test_no_worker_is_started_before_there_is_work_and_no_more_than_is_wanted_or_allowed(run: Run) -> None:
    async def story(pool: Pool) -> None:
        await asyncio.sleep(LATER)
        assert Process.made == []
        pool.ensure(1)
        pool.ensure(1)
        assert len(Process.made) == 1
        pool.ensure(7)
        assert len(Process.made) == 2
        await asyncio.sleep(START_SECONDS + 0.1)
        assert (pool.idle, pool.sandbox) == (2, "locked up")

    run(story)


def test_workers_are_wanted_beside_those_that_are_at_work(run: Run) -> None:
    async def story(pool: Pool) -> None:
        async with pool.worker():
            assert (len(Process.made), pool.busy) == (1, 1)
            pool.ensure(1)
            assert len(Process.made) == 2

    run(story)


@pytest.mark.parametrize("how", ["recycle", "spent", "lost"])
def test_who_waits_gets_a_new_worker_when_the_one_before_was_ended_though_nobody_else_asks(run: Run, how: str) -> None:
    """The last photos of a folder would wait for ever."""

    async def story(pool: Pool) -> None:
        async with asyncio.timeout(LATER):
            options = {} if how == "recycle" else {how: True}
            pids = await asyncio.gather(*(_work(pool, **options) for _ in range(3)))
        assert pids == [0, 1, 2]
        assert pool.restarts == (3 if how == "lost" else 0), "only what went wrong counts"

    run(story, count=1, recycle_after_files=1 if how == "recycle" else 500)


def test_a_worker_that_is_handed_on_counts_and_is_not_replaced(run: Run) -> None:
    """Whoever looks between its handing over and its taking would start one more than allowed."""

    async def story(pool: Pool) -> None:
        pool.changed = lambda: pool.ensure(9)

        async def and_look() -> None:
            await _work(pool)
            pool.ensure(9)  # in the step in which it was handed on

        await asyncio.gather(*(and_look() for _ in range(4)))
        assert len(Process.made) == 1

    run(story, count=1)


def test_waiting_photos_get_workers_in_the_order_in_which_they_came(run: Run) -> None:
    async def story(pool: Pool) -> None:
        order: list[int] = []

        async def one(number: int) -> None:
            async with pool.worker():
                order.append(number)

        await asyncio.gather(*(one(number) for number in range(6)))
        assert order == list(range(6))

    run(story, count=1)


@pytest.mark.parametrize("loops", range(4))
def test_a_wait_that_is_cancelled_at_any_time_keeps_no_worker_and_no_place(run: Run, loops: int) -> None:
    async def story(pool: Pool) -> None:
        first = asyncio.ensure_future(_work(pool, 5.0))
        await asyncio.sleep(0)
        second, third = (asyncio.ensure_future(_work(pool)) for _ in range(2))
        await asyncio.sleep(4.0 + START_SECONDS)
        first.cancel()
        for _ in range(loops):
            await asyncio.sleep(0)
        second.cancel()  # before, as and after it is handed the worker
        await asyncio.wait({first, second})
        async with asyncio.timeout(LATER):
            await third
            await _work(pool)
        assert (pool.idle, pool.busy) == (1, 0)
        assert Process.alive() == 1

    run(story, count=1)


def test_a_wait_for_a_worker_that_is_still_starting_can_be_cancelled(run: Run) -> None:
    async def story(pool: Pool) -> None:
        waits = asyncio.ensure_future(_work(pool))
        await asyncio.sleep(0.5)
        waits.cancel()
        await asyncio.wait({waits})
        await asyncio.sleep(0.5)
        assert (pool.idle, pool.busy, len(Process.made)) == (1, 0, 1)

    run(story)


def test_a_wait_that_was_cancelled_wants_no_worker_any_more(run: Run) -> None:
    async def story(pool: Pool) -> None:
        async with pool.worker():
            pool.ensure(1)
            await asyncio.sleep(START_SECONDS)
            waits = [asyncio.ensure_future(_work(pool, LATER)) for _ in range(3)]
            await asyncio.sleep(0.1)
            assert (pool.busy, len(Process.made)) == (2, 2)
            for one in waits[1:]:
                one.cancel()
            await asyncio.wait(waits[1:])
            pool.limits = replace(pool.limits, count=9)
            pool.ensure(0)
            assert len(Process.made) == 2
            await waits[0]

    run(story)


def test_a_job_that_was_not_begun_costs_no_worker(run: Run) -> None:
    async def story(pool: Pool) -> None:
        with pytest.raises(ZeroDivisionError):
            async with pool.worker():
                raise ZeroDivisionError
        assert (pool.idle, pool.restarts) == (1, 0)

    run(story)


def test_it_is_told_when_a_worker_is_idle_and_when_one_may_be_started(run: Run) -> None:
    async def story(pool: Pool) -> None:
        told: list[tuple[float, int]] = []
        began = _now()
        pool.changed = lambda: told.append((_now() - began, pool.idle))
        pool.ensure(1)
        await asyncio.sleep(2.0)
        await _work(pool, 3.0)
        await _work(pool, 1.0, spent=True)
        assert told == [(1.0, 1), (5.0, 1), (6.0, 0)]

    run(story)


NO_PROCESS = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


@pytest.mark.parametrize(("failure", "takes"), [(NO_PROCESS, 0.0), ("the worker exited with code 3", START_SECONDS)])
def test_starts_that_fail_are_tried_again_later_and_later(run: Run, failure: Any, takes: float) -> None:
    """The same whether there is no process to be had, or each dies before it is ready."""
    starts: list[float] = []

    def start() -> Any:
        starts.append(_now())
        return failure

    async def story(pool: Pool) -> None:
        Process.start = start
        gives_up = asyncio.ensure_future(pool.given_up())
        waits = asyncio.ensure_future(_work(pool))
        for _ in range(1000):
            await asyncio.sleep(0.0973)  # never at the same time as anything else
            pool.ensure(9)  # photos keep coming
            failed = sum(began + takes < _now() for began in starts)
            assert pool.cannot_start == (failed >= 4)
        assert gives_up.done()
        pauses = [later - before - takes for before, later in pairwise(starts)]
        assert pauses[:5] == pytest.approx([0.5, 2.0, 10.0, 30.0, 30.0])
        assert pool.why_not_started == (NO_PROCESS.strerror if failure is NO_PROCESS else failure)
        assert not waits.done()
        assert pool.restarts == (len(starts) if takes else 0)
        Process.start = Ready
        await asyncio.wait({waits}, timeout=40.0)
        assert waits.done(), "nobody has to ask again"
        assert not pool.cannot_start

    run(story, count=1)


def test_a_worker_that_starts_makes_the_pauses_short_again(run: Run) -> None:
    async def story(pool: Pool) -> None:
        answers = iter(["died", "died", Ready(), "died", Ready()])
        Process.start = lambda: next(answers)
        await _work(pool)  # at the third try
        await asyncio.sleep(60.0)  # it retires
        began = _now()
        await _work(pool)
        assert _now() == pytest.approx(began + START_SECONDS + 0.5 + START_SECONDS + 1.0)

    run(story, count=1)


def test_ready_waits_for_a_worker_and_is_content_with_one_that_was_taken_at_once(run: Run) -> None:
    async def story(pool: Pool) -> None:
        began = _now()
        await pool.ready()
        assert _now() == began + START_SECONDS
        async with pool.worker():
            await pool.ready()
            assert _now() == began + START_SECONDS

    run(story, count=1)


def test_ready_says_why_no_worker_starts(run: Run) -> None:
    async def story(pool: Pool) -> None:
        Process.start = lambda: "the worker was ended by signal 9"
        with pytest.raises(FaceblurdError, match="does not start: the worker was ended by signal 9") as caught:
            await pool.ready()
        assert caught.value.remedy

    run(story)


def test_a_failed_setup_is_told_to_everybody_and_nothing_is_started_any_more(run: Run) -> None:
    async def story(pool: Pool) -> None:
        Process.start = lambda: SetupFailed("no such plugin", "install it")
        waiting = [asyncio.ensure_future(_work(pool)) for _ in range(3)]
        with pytest.raises(SetupError, match="no such plugin"):
            await pool.ready()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(one) for one in told] == [str(pool.failure)] * 3
        with pytest.raises(SetupError, match="no such plugin"):
            await _work(pool)
        started = len(Process.made)
        pool.ensure(2)
        await asyncio.sleep(LATER)
        assert len(Process.made) == started
        assert (pool.restarts, pool.cannot_start) == (0, False)

    run(story)


def test_a_pool_that_is_closed_while_a_worker_starts_neither_counts_nor_keeps_it(run: Run) -> None:
    async def story(pool: Pool) -> None:
        pool.ensure(1)
        await asyncio.sleep(START_SECONDS / 2)
        await pool.close()
        await asyncio.sleep(LATER)
        assert (pool.idle, pool.restarts, pool.why_not_started) == (0, 0, "")

    run(story)


def test_a_job_that_ends_after_the_pool_was_closed_keeps_no_worker(run: Run) -> None:
    async def story(pool: Pool) -> None:
        async with pool.worker() as one:
            await pool.close()
            assert one.ended == ["killed"], "its owner may still be reading"
        assert one.ended[-1] == "closed"
        assert pool.idle == 0

    run(story)


steps = st.lists(st.tuples(st.sampled_from(["work", "lose", "cancel", "ensure", "wait"]), st.integers(0, 30)))


@given(steps, st.integers(1, 3))
def test_whatever_happens_no_more_workers_live_than_are_allowed_and_each_wait_ends(
    order: list[tuple[str, int]], count: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Process.made, Process.start = [], Ready
        patch.setattr(pools, "Worker", Process)

        async def main() -> None:
            pool = Pool(SETUP, replace(LIMITS, count=count, recycle_after_files=3, idle_seconds=5.0))
            tasks: list[asyncio.Task[int]] = []

            def look() -> None:
                assert Process.alive() <= count
                assert pool.idle + pool.busy <= Process.alive()

            pool.changed = lambda: (look(), pool.ensure(0), look())[0]
            for action, number in order:
                match action:
                    case "work" | "lose":
                        work = _work(pool, number / 10, lost=action == "lose")
                        tasks.append(asyncio.ensure_future(work))
                    case "cancel" if tasks:
                        tasks[number % len(tasks)].cancel()
                    case "ensure":
                        pool.ensure(number)
                    case "wait":
                        await asyncio.sleep(number / 10)
                look()
            async with asyncio.timeout(1000.0):
                await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(LATER)
            assert (pool.idle, pool.busy, Process.alive()) == (0, 0, 0)
            await pool.close()
            await asyncio.sleep(0)

        virtual_time.run(main())
        for one in Process.made:
            one.ours.close()
            one.theirs.close()
