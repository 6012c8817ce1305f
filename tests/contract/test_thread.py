"""Calls that may hang: whoever makes them, at once or in a root's thread, keeps the same promises.

What only threads can promise, that a call which hangs stops nobody else, comes after; then steps that run to their end.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import virtual_time

from faceblurd.engine import thread as running
from faceblurd.engine.thread import BoundedThread, Inline, RootThread, to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from faceblurd.engine.thread import Thread

SECONDS = 300.0


@pytest.fixture(params=[Inline, lambda: RootThread("files of root")], ids=["inline", "thread"])
def thread(request: pytest.FixtureRequest) -> Iterator[Thread]:
    made = request.param()
    yield made
    made.close()


@pytest.fixture
def root() -> Iterator[RootThread]:
    made = RootThread("files of root")
    yield made
    made.close()


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """A share that does not answer until it is set."""
    event = threading.Event()
    yield event
    event.set()


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story, in which nothing may fail unheard."""

    async def main() -> None:
        untold: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: untold.append(context))
        async with asyncio.timeout(SECONDS):
            await story()
        gc.collect()
        assert untold == []

    running.run(main())


class Photo:
    """Something that a call is about; its end can be seen."""


class TestBoth:
    def test_calls_are_made_in_their_order_and_each_gets_its_own_answer(self, thread: Thread) -> None:
        async def story() -> None:
            made, told = list[int](), list[int]()

            async def one(number: int) -> None:
                told.append(await thread.run(lambda: made.append(number) or number))

            await asyncio.gather(*(one(number) for number in range(50)))
            assert made == told == list(range(50))

        run(story)

    @pytest.mark.parametrize(
        "error", [FileNotFoundError(2, "gone"), ZeroDivisionError("ours"), KeyboardInterrupt("ours")]
    )
    def test_what_a_call_raises_is_raised_where_it_is_awaited_and_the_next_is_made(
        self, thread: Thread, error: BaseException
    ) -> None:
        async def story() -> None:
            def fail() -> None:
                raise error

            with pytest.raises(type(error)) as caught:
                await thread.run(fail)
            assert caught.value is error
            assert await thread.run(lambda: "next") == "next"

        run(story)

    def test_a_call_that_runs_out_of_an_iterator_hangs_nobody(self, thread: Thread) -> None:
        """Neither a coroutine nor a future can raise a StopIteration."""

        async def story() -> None:
            with pytest.raises(RuntimeError):
                await thread.run(lambda: next(iter(())))
            assert await thread.run(lambda: "next") == "next"

        run(story)

    def test_a_call_for_later_is_made_in_its_turn_and_its_errors_stop_nothing(self, thread: Thread) -> None:
        async def story() -> None:
            made = list[int]()
            thread.later(lambda: made.append(1))
            thread.later(lambda: os.close(-1))
            thread.later(lambda: made.append(2))
            assert await thread.run(lambda: list(made)) == [1, 2]

        run(story)

    @pytest.mark.parametrize("waits", [True, False], ids=["awaited", "for later"])
    def test_nothing_of_a_call_is_kept_when_it_was_made(self, thread: Thread, *, waits: bool) -> None:
        """An open file or a photo's bytes would stay until the root's next call, which may be tomorrow."""

        async def story() -> None:
            photo, made = Photo(), threading.Event()
            seen = weakref.ref(photo)
            if waits:
                assert len(await thread.run(partial(list, [photo]))) == 1
                made.set()
            else:
                thread.later(lambda photo=photo: photo and made.set())
            del photo
            await asyncio.to_thread(made.wait, SECONDS)
            for _ in range(1000):
                if seen() is None:
                    break
                await asyncio.sleep(0.01)  # its thread is about to let go
                gc.collect()
            assert seen() is None

        run(story)


class TestBoundedThread:
    def test_one_whose_call_does_not_return_is_given_up_and_whoever_waits_hears_of_it(
        self, hang: threading.Event
    ) -> None:
        async def story() -> None:
            thread = BoundedThread("files of root", silent_seconds=0.05)
            answers = await asyncio.gather(thread.run(hang.wait), thread.run(lambda: 1), return_exceptions=True)
            assert [getattr(one, "errno", None) for one in answers] == [errno.ETIMEDOUT] * 2
            with pytest.raises(TimeoutError):
                await thread.run(lambda: 2)
            thread.close()

        run(story)

    def test_one_that_goes_on_is_waited_for(self) -> None:
        async def story() -> None:
            thread = BoundedThread("files of root", silent_seconds=0.2)
            calls = [thread.run(partial(time.sleep, 0.02)) for _ in range(30)]  # the last waits for longer than that
            await asyncio.gather(*calls)
            assert await thread.run(lambda: 1) == 1
            with pytest.raises(TimeoutError):  # an error of the call's own is no silence
                await thread.run(_timed_out)
            assert await thread.run(lambda: 2) == 2
            thread.close()

        run(story)


def _timed_out() -> None:
    raise TimeoutError


class TestInline:
    def test_a_call_is_made_right_where_it_is_awaited(self) -> None:
        async def story() -> None:
            assert await Inline().run(threading.current_thread) is threading.current_thread()

        run(story)

    def test_a_bug_in_a_call_for_later_is_not_hidden(self) -> None:
        with pytest.raises(ZeroDivisionError):
            Inline().later(lambda: 1 // 0)


class TestRootThread:
    def test_the_loop_turns_meanwhile_and_the_call_is_made_elsewhere(
        self, root: RootThread, hang: threading.Event
    ) -> None:
        async def story() -> None:
            waits = asyncio.ensure_future(root.run(lambda: hang.wait(SECONDS) and threading.current_thread()))
            for _ in range(10):
                await asyncio.sleep(0.001)
            assert not waits.done()
            hang.set()
            there = await waits
            assert (there.name, there.daemon) == ("files of root", True), "Python would wait for it at its end"
            assert there is not threading.current_thread()

        run(story)

    def test_no_thread_runs_before_there_is_a_call(self) -> None:
        before = threading.active_count()
        RootThread("files of nobody").close()
        assert threading.active_count() == before

    def test_a_call_that_hangs_stops_its_own_root_alone(self, root: RootThread, hang: threading.Event) -> None:
        disk = RootThread("files of disk")

        async def story() -> None:
            late, behind = (asyncio.ensure_future(root.run(call)) for call in (hang.wait, lambda: "behind it"))
            assert [await disk.run(lambda number=number: number) for number in range(3)] == [0, 1, 2]
            assert not late.done()
            assert not behind.done()
            hang.set()
            assert (await late, await behind) == (True, "behind it")

        try:
            run(story)
        finally:
            disk.close()

    def test_an_error_of_one_root_is_not_told_to_another(self, root: RootThread) -> None:
        disk = RootThread("files of disk")

        async def story() -> None:
            told = await asyncio.gather(
                root.run(lambda: os.stat("/nowhere/at/all")), disk.run(lambda: "fine"), return_exceptions=True
            )
            assert isinstance(told[0], FileNotFoundError)
            assert told[1] == "fine"

        try:
            run(story)
        finally:
            disk.close()

    def test_a_cancelled_call_that_has_begun_is_left_to_the_thread_and_one_that_has_not_is_not_made(
        self, root: RootThread, hang: threading.Event
    ) -> None:
        async def story() -> None:
            made, begun = list[str](), threading.Event()
            first = asyncio.ensure_future(root.run(lambda: (begun.set(), hang.wait(), made.append("first"))))
            second = asyncio.ensure_future(root.run(lambda: made.append("second")))
            await asyncio.to_thread(begun.wait, SECONDS)
            for one in (first, second):
                one.cancel()
            await asyncio.wait({first, second})
            assert first.cancelled()
            assert second.cancelled()
            assert made == []
            third = asyncio.ensure_future(root.run(lambda: made.append("third")))
            hang.set()
            await third
            assert made == ["first", "third"]

        run(story)

    def test_an_error_of_a_cancelled_call_is_nobodys(self, root: RootThread, hang: threading.Event) -> None:
        async def story() -> None:
            begun = threading.Event()
            waits = asyncio.ensure_future(root.run(lambda: (begun.set(), hang.wait(), 1 // 0)))
            await asyncio.to_thread(begun.wait, SECONDS)
            waits.cancel()
            await asyncio.wait({waits})
            hang.set()
            assert await root.run(lambda: "next") == "next"

        run(story)

    def test_a_bug_in_a_call_for_later_is_told_and_does_not_end_the_thread(self, root: RootThread) -> None:
        """All later calls of this root would wait for ever."""
        told: list[threading.ExceptHookArgs] = []
        before, threading.excepthook = threading.excepthook, told.append

        async def story() -> None:
            root.later(lambda: 1 // 0)
            assert await root.run(lambda: "next") == "next"

        try:
            run(story)
        finally:
            threading.excepthook = before
        assert [one.exc_type for one in told] == [ZeroDivisionError]

    def test_it_ends_with_the_last_call_that_it_was_given(
        self, root: RootThread, hang: threading.Event, wait_until: Callable[..., Any]
    ) -> None:
        made, threads = list[int](), list[threading.Thread]()
        root.later(lambda: (threads.append(threading.current_thread()), hang.wait()))
        root.later(lambda: made.append(1))
        root.close()
        root.later(lambda: made.append(2))
        hang.set()
        wait_until(lambda: threads and not threads[0].is_alive(), what="the end of its thread")
        assert made == [1]

    def test_a_loop_that_is_closed_meanwhile_does_not_end_the_thread(
        self, root: RootThread, hang: threading.Event, wait_until: Callable[..., Any]
    ) -> None:
        made = list[int]()

        async def story() -> None:
            waits = asyncio.ensure_future(root.run(lambda: hang.wait() and made.append(1)))
            await asyncio.sleep(0.01)
            assert not waits.done()

        async def after() -> None:
            assert await root.run(lambda: list(made)) == [1]

        running.run(story())  # ends, although the call does not
        hang.set()
        wait_until(lambda: made, what="the end of the call")
        running.run(after())


class TestToTheEnd:
    @staticmethod
    async def step(done: list[str], seconds: float = 2.0) -> str:
        await asyncio.sleep(seconds)
        done.append("whole")
        return "its result"

    def test_its_result_is_given(self) -> None:
        async def story() -> None:
            assert await to_the_end(self.step([])) == "its result"
            await asyncio.sleep(0)

        virtual_time.run(story())

    def test_what_a_step_raises_is_raised(self) -> None:
        async def fail() -> None:
            await asyncio.sleep(1)
            raise ZeroDivisionError

        async def story() -> None:
            with pytest.raises(ZeroDivisionError):
                await to_the_end(fail())

        virtual_time.run(story())

    @pytest.mark.parametrize("times", [1, 3])
    def test_whoever_is_cancelled_has_its_result_all_the_same_and_the_cancellation_at_the_next_await(
        self, times: int
    ) -> None:
        async def story() -> None:
            done, went_on = list[str](), list[str]()

            async def photo() -> None:
                went_on.append(await to_the_end(self.step(done)))
                await asyncio.sleep(0)
                went_on.append("too far")

            task = asyncio.ensure_future(photo())
            for _ in range(times):
                await asyncio.sleep(0.5)
                task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            assert done == ["whole"]
            assert went_on == ["its result"]

        virtual_time.run(story())

    def test_whoever_is_cancelled_and_has_nothing_more_to_await_is_cancelled(self) -> None:
        async def story() -> None:
            done: list[str] = []
            task = asyncio.ensure_future(to_the_end(self.step(done)))
            await asyncio.sleep(0.5)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            assert done == ["whole"]

        virtual_time.run(story())

    def test_a_failure_is_raised_to_who_was_cancelled_too_and_then_it_is_cancelled(self) -> None:
        async def story() -> None:
            caught: list[str] = []

            async def fail() -> None:
                await asyncio.sleep(1)
                raise ZeroDivisionError

            async def photo() -> None:
                try:
                    await to_the_end(fail())
                except ZeroDivisionError:
                    caught.append("failed")
                await asyncio.sleep(0)
                caught.append("too far")

            task = asyncio.ensure_future(photo())
            await asyncio.sleep(0.5)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            assert caught == ["failed"]

        virtual_time.run(story())

    def test_a_timeout_around_it_comes_late_and_is_one(self) -> None:
        async def story() -> None:
            done: list[str] = []
            loop = asyncio.get_running_loop()
            began = loop.time()

            async def two_steps() -> None:
                await to_the_end(self.step(done))
                await asyncio.sleep(10.0)

            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await two_steps()
            assert loop.time() == began + 2.0
            assert done == ["whole"]
            await asyncio.sleep(1.0)  # nothing of the cancellation is left

        virtual_time.run(story())

    def test_one_within_another_is_done_and_both_are_cancelled(self) -> None:
        async def story() -> None:
            done: list[str] = []

            async def outer() -> None:
                await to_the_end(self.step(done))
                await to_the_end(self.step(done))

            task = asyncio.ensure_future(to_the_end(outer()))
            await asyncio.sleep(0.5)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            assert done == ["whole", "whole"]

        virtual_time.run(story())

    def test_a_call_in_a_thread_that_is_cancelled_before_it_has_begun_is_made_to_the_end(
        self, root: RootThread, hang: threading.Event
    ) -> None:
        """So a photo that is opened or put down leaks no descriptor, whenever it is cancelled."""

        async def story() -> None:
            made, results = list[str](), list[str]()
            ahead = asyncio.ensure_future(root.run(hang.wait))

            async def photo() -> None:
                results.append(await to_the_end(root.run(lambda: made.append("opened") or "fd")))

            task = asyncio.ensure_future(photo())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done()
            hang.set()
            await asyncio.wait({task, ahead})
            assert (made, results) == (["opened"], ["fd"])
            assert task.cancelled()

        run(story)
