"""Calls that may hang: whoever makes them, at once or in a thread for each root, keeps the same promises.

What only threads can promise, that a call which hangs stops nobody else, comes after.
"""

from __future__ import annotations

import errno
import gc
import os
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from faceblurd.intake.errands import AtOnce, Lanes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 300.0
Errands = AtOnce | Lanes


def nothing() -> None:
    """Do no harm."""


@pytest.fixture(params=[AtOnce, lambda: Lanes(nothing)], ids=["at once", "lanes"])
def errands(request: pytest.FixtureRequest) -> Iterator[Errands]:
    made = request.param()
    yield made
    made.close()


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    made = Lanes(nothing)
    yield made
    made.close()


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """A share that does not answer until it is set."""
    event = threading.Event()
    yield event
    event.set()


class Photo:
    """Something that a call is about; its end can be seen."""


class TestBoth:
    def test_answers_come_in_the_order_of_the_calls_each_with_its_own(self, errands: Errands) -> None:
        made, told = list[int](), list[int]()
        for number in range(50):
            errands.send("root", lambda number=number: made.append(number) or number, told.append)
        errands.finish(SECONDS)
        assert made == told == list(range(50))
        assert errands.out() == 0

    def test_answers_are_handed_over_where_they_are_collected(self, errands: Errands) -> None:
        """State has one owner: no other thread may touch it."""
        told = list[threading.Thread]()
        errands.send("root", nothing, lambda _: told.append(threading.current_thread()))
        errands.finish(SECONDS)
        assert told == [threading.current_thread()]

    def test_an_error_of_the_file_system_is_an_answer_and_the_next_call_is_made(self, errands: Errands) -> None:
        told = list[Any]()
        errands.send("root", lambda: os.stat("/nowhere/at/all"), told.append)
        errands.send("root", lambda: "next", told.append)
        errands.finish(SECONDS)
        assert isinstance(told[0], FileNotFoundError)
        assert told[1:] == ["next"]

    @pytest.mark.parametrize("bug", [ZeroDivisionError("ours"), KeyboardInterrupt("ours")])
    def test_a_bug_is_raised_is_no_answer_and_ends_nothing(self, errands: Errands, bug: BaseException) -> None:
        told = list[Any]()

        def fail() -> None:
            raise bug

        with pytest.raises(type(bug), match="ours"):
            send_and_finish(errands, fail, told.append)
        assert errands.out() == 0
        errands.send("root", lambda: "next", told.append)
        errands.finish(SECONDS)
        assert told == ["next"]

    def test_an_answer_may_send_the_next_call(self, errands: Errands) -> None:
        told = list[int]()

        def count(number: int | OSError) -> None:
            told.append(int(number))  # type: ignore[arg-type]  # no such call fails
            if len(told) < 5:
                errands.send("root", lambda: len(told), count)

        errands.send("root", lambda: 0, count)
        errands.finish(SECONDS)
        assert told == [0, 1, 2, 3, 4]

    def test_nothing_of_a_call_is_kept_when_its_answer_was_handed_over(self, errands: Errands) -> None:
        """An open file or a photo's bytes would stay until the root's next call, which may be tomorrow."""
        photo = Photo()
        seen, told = weakref.ref(photo), list[Any]()
        errands.send("root", partial(id, photo), told.append)
        errands.send("root", partial(list, [photo]), lambda photos: told.append(len(photos)))  # type: ignore[arg-type]
        del photo
        errands.finish(SECONDS)
        gc.collect()
        assert told[1] == 1
        assert seen() is None


def send_and_finish(errands: Errands, call: Callable[[], Any], then: Callable[[Any], None]) -> None:
    errands.send("root", call, then)
    errands.finish(SECONDS)


class TestLanes:
    def test_the_sender_does_not_wait_and_the_calls_are_made_elsewhere(
        self, lanes: Lanes, hang: threading.Event
    ) -> None:
        told = list[Any]()
        lanes.send("root", lambda: hang.wait(SECONDS) and threading.current_thread().name, told.append)
        lanes.collect()
        assert told == []
        assert lanes.out() == 1
        hang.set()
        lanes.finish(SECONDS)
        assert told == ["files of root"]

    def test_a_call_that_hangs_stops_its_own_root_alone(
        self, lanes: Lanes, hang: threading.Event, wait_until: Callable[..., Any]
    ) -> None:
        told = list[str]()
        lanes.send("dead share", hang.wait, lambda _: told.append("late"))
        lanes.send("dead share", nothing, lambda _: told.append("behind it"))
        for number in range(3):
            lanes.send("disk", nothing, lambda _, number=number: told.append(f"disk {number}"))
        wait_until(lambda: lanes.collect() or len(told) == 3, what="the answers of the other root")
        assert told == ["disk 0", "disk 1", "disk 2"]
        assert lanes.out() == 2
        hang.set()
        lanes.finish(SECONDS)
        assert told[3:] == ["late", "behind it"]
        assert lanes.out() == 0

    def test_every_answer_rings_when_it_can_be_collected(self) -> None:
        rung, told = threading.Semaphore(0), list[int]()
        lanes = Lanes(rung.release)
        for number in range(3):
            lanes.send("root", lambda number=number: number, told.append)
            assert rung.acquire(timeout=SECONDS), "nobody would look"
            lanes.collect()
            assert told == list(range(number + 1))
        lanes.close()

    def test_answers_behind_one_that_raises_are_there_the_next_time(
        self, lanes: Lanes, wait_until: Callable[..., Any]
    ) -> None:
        told = list[int]()
        made = threading.Semaphore(0)
        lanes.send("root", lambda: 0, lambda zero: told.append(1 // zero))  # type: ignore[operator]  # the bug
        lanes.send("root", lambda: 1, told.append)
        lanes.send("root", made.release, lambda _: None)
        assert made.acquire(timeout=SECONDS)  # so the two before it are answered
        with pytest.raises(ZeroDivisionError):
            lanes.collect()
        assert told == []
        lanes.collect()
        assert told == [1]
        wait_until(lambda: lanes.collect() or lanes.out() == 0, what="the last answer")

    def test_an_error_of_one_call_is_not_told_to_another_root(self, lanes: Lanes) -> None:
        told = dict[str, Any]()

        def fail() -> None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

        lanes.send("share", fail, lambda answer: told.update(share=answer))
        lanes.send("disk", lambda: "fine", lambda answer: told.update(disk=answer))
        lanes.finish(SECONDS)
        assert told["share"].errno == errno.ESTALE
        assert told["disk"] == "fine"

    def test_a_lane_ends_with_the_last_call_that_it_was_given(
        self, lanes: Lanes, hang: threading.Event, wait_until: Callable[..., Any]
    ) -> None:
        made, threads = list[int](), set[threading.Thread]()
        lanes.send("root", lambda: hang.wait() and threads.add(threading.current_thread()), lambda _: None)
        lanes.send("root", lambda: made.append(1), lambda _: None)
        lanes.close()
        lanes.send("root", lambda: made.append(2), lambda _: None)
        hang.set()
        wait_until(lambda: threads and not any(thread.is_alive() for thread in threads), what="the end of its thread")
        assert made == [1]

    def test_a_lane_that_hangs_keeps_no_process_alive(self, lanes: Lanes, hang: threading.Event) -> None:
        started = threading.Event()
        found = list[threading.Thread]()

        def call() -> None:
            found.append(threading.current_thread())
            started.set()
            hang.wait()

        lanes.send("root", call, lambda _: None)
        assert started.wait(SECONDS)
        lanes.close()
        assert found[0].is_alive()
        assert found[0].daemon, "Python would wait for it at its end"
