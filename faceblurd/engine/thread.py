"""Blocking calls, awaited: each root has one thread, so that a share that hangs stops its own root and nothing else.

A call must not touch state: it gets values, and what it is given to work on (an open file) is its own until it has
returned. `to_the_end` is for steps that must not be left half done.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")


class Thread(Protocol):
    """Something that makes blocking calls, one after another."""

    async def run(self, call: Callable[[], T]) -> T:
        """Make a call after the earlier ones; give what it gives, raise what it raises."""

    def later(self, call: Callable[[], object]) -> None:
        """Have a call made after the earlier ones, and do not wait for it. An OSError is dropped."""

    def close(self) -> None:
        """Take no further call. One that hangs is left to itself."""


class RootThread:
    """A thread of its own. A cancelled `run` leaves the call to its thread; one that has not begun is not made."""

    def __init__(self, name: str) -> None:
        """Prepare; the thread starts with the first call."""
        self._name = name
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._started = False
        self._made = 0

    async def run(self, call: Callable[[], T]) -> T:
        """Make the call in the thread."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._put(lambda: _make(call, answer, loop))
        return await answer

    def later(self, call: Callable[[], object]) -> None:
        """Have the call made; of a bug in it hears whoever hears of those in threads, and the thread lives on."""

        def make() -> None:
            try:
                with suppress(OSError):
                    call()
            except Exception:  # noqa: BLE001 - isolation point: without its thread the root would wait for ever
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))

        self._put(make)

    def _put(self, make: Callable[[], None]) -> None:
        if not self._started:
            self._started = True
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        self._calls.put(make)

    def _work(self) -> None:
        while (make := self._calls.get()) is not None:
            make()
            self._made += 1
            del make  # nothing of a photo is kept until the next one comes

    def close(self) -> None:
        """Let the thread go."""
        self._calls.put(None)


def _make(call: Callable[[], T], answer: asyncio.Future[T], loop: asyncio.AbstractEventLoop) -> None:
    if answer.cancelled():
        return
    try:
        result = call()
    except StopIteration as error:  # no future takes it
        _post(loop, answer, answer.set_exception, RuntimeError(f"{type(error).__name__} in a call"))
    except BaseException as error:  # noqa: BLE001 - isolation point: the thread lives on, the awaiting coroutine raises it
        _post(loop, answer, answer.set_exception, error)
    else:
        _post(loop, answer, answer.set_result, result)


def _post(
    loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Any], settle: Callable[[Any], None], value: object
) -> None:
    def hand_over() -> None:
        if not answer.done():
            settle(value)

    with suppress(RuntimeError):  # the loop has closed: nobody waits any more
        loop.call_soon_threadsafe(hand_over)


class BoundedThread(RootThread):
    """One that is given up when no call of it returns for a while: for a single run, which has to come to its end.

    From then on each call fails at once, as those do that wait.
    """

    def __init__(self, name: str, *, silent_seconds: float) -> None:
        """Prepare; `silent_seconds`: how long it is waited for."""
        super().__init__(name)
        self._silent_seconds, self._is_given_up = silent_seconds, False

    async def run(self, call: Callable[[], T]) -> T:
        """Make the call in the thread. Raises OSError ETIMEDOUT where that is given up."""
        answer = asyncio.ensure_future(super().run(call))
        try:
            while not self._is_given_up:
                made = self._made
                await asyncio.wait({answer}, timeout=self._silent_seconds)
                if answer.done():
                    return answer.result()
                self._is_given_up = self._made == made
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        finally:
            answer.cancel()


class Inline:
    """Makes each call where it is awaited."""

    async def run(self, call: Callable[[], T]) -> T:
        """Make the call now."""
        return call()

    def later(self, call: Callable[[], object]) -> None:
        """Make the call now."""
        with suppress(OSError):
            call()

    def close(self) -> None:
        """Do nothing: nothing runs."""


async def to_the_end(step: Awaitable[T]) -> T:
    """Await a step that must not be left half done.

    Whoever is cancelled meanwhile gets the step's result all the same, and the cancellation at its next await.
    """
    under_way = asyncio.ensure_future(step)
    is_cancelled = False
    while not under_way.done():
        try:
            await asyncio.wait({under_way})
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled and (task := asyncio.current_task()) is not None:
        task.uncancel()  # it counts once: a timeout knows its own by that
        task.cancel()
    return under_way.result()


def run(main: Coroutine[None, None, T]) -> T:
    """Run a coroutine to its end. Unlike `asyncio.run`, do not wait for tasks that it left behind: they hang."""
    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        loop.set_exception_handler(lambda _loop, _context: None)  # "Task was destroyed but it is pending"
        asyncio.set_event_loop(None)
        loop.close()
