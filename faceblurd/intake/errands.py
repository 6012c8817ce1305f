"""Calls that may hang, made outside of the pipeline's thread: a dead share stops its own root, and nothing else.

One thread for each root, in which its calls are made in order; whoever sends one says what is to happen with the
answer, and that happens in the pipeline's thread, in order too (`collect`). A call must not touch state: it gets
values, and what it is given to work on (an open file) is its own until the answer is there. An `OSError` is an answer;
anything else is a bug, and raised where the answers are collected.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

T = TypeVar("T")
_Errand = tuple["Callable[[], Any]", "Callable[[Any], None]"]
LOOK_SECONDS = 0.02  # between two looks whether the last errands are back


class Errands(Protocol):
    """Somebody who makes calls for a root."""

    def send(self, root: str, call: Callable[[], T], then: Callable[[T | OSError], None]) -> None:
        """Have `call` made after the root's earlier ones, and `then` called with what it gave or raised."""

    def collect(self) -> None:
        """Hand over the answers that are there."""

    def out(self, *, but: Collection[str] = ()) -> int:
        """Count the calls whose answer was not handed over yet, of other roots than those in `but`."""

    def finish(self, seconds: float) -> None:
        """Hand over what comes within `seconds`; calls that hang longer are left to themselves."""

    def close(self) -> None:
        """Take no further call."""


def _try(call: Callable[[], T]) -> T | OSError:
    try:
        return call()
    except OSError as error:
        return error


class AtOnce:
    """Makes each call right where it is sent: for a single run, which waits for a slow disk as any command does."""

    def send(self, root: str, call: Callable[[], T], then: Callable[[T | OSError], None]) -> None:
        """Make the call and hand over its answer."""
        del root
        then(_try(call))

    def collect(self) -> None:
        """Do nothing: every answer was handed over."""

    def out(self, *, but: Collection[str] = ()) -> int:
        """Count no call."""
        del but
        return 0

    def finish(self, seconds: float) -> None:
        """Do nothing: nothing is out."""

    def close(self) -> None:
        """Do nothing: nothing runs."""


@dataclass(frozen=True, slots=True)
class _Bug:
    """What a call raised that is no OSError."""

    error: BaseException


class Lanes:
    """A thread for each root. `ring` wakes the pipeline when an answer is there; it is called from those threads."""

    def __init__(self, ring: Callable[[], None]) -> None:
        """Prepare; a root's thread starts with its first call."""
        self._ring = ring
        self._lanes: dict[str, SimpleQueue[_Errand | None]] = {}
        self._answers: deque[Callable[[], None]] = deque()
        self._out: Counter[str] = Counter()

    def send(self, root: str, call: Callable[[], T], then: Callable[[T | OSError], None]) -> None:
        """Have `call` made by the root's thread."""
        lane = self._lanes.get(root)
        if lane is None:
            lane = self._lanes[root] = SimpleQueue()
            threading.Thread(target=self._work, args=(lane,), name=f"files of {root}", daemon=True).start()
        self._out[root] += 1
        lane.put((call, partial(self._answered, root, then)))

    def _answered(self, root: str, then: Callable[[Any], None], answer: Any) -> None:  # noqa: ANN401 - as given
        self._out[root] -= 1
        if isinstance(answer, _Bug):
            raise answer.error
        then(answer)

    def _work(self, lane: SimpleQueue[_Errand | None]) -> None:
        while (errand := lane.get()) is not None:
            call, then = errand
            self._answers.append(partial(then, self._made(call)))
            del errand, call, then  # nothing of a photo is kept until the next one comes
            self._ring()

    @staticmethod
    def _made(call: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the call gives
        try:
            return _try(call)
        except BaseException as error:  # noqa: BLE001 - isolation point: the thread lives on, `collect` raises it
            return _Bug(error)

    def collect(self) -> None:
        """Hand over the answers that are there; one that raises leaves the others for the next time."""
        for _ in range(len(self._answers)):
            self._answers.popleft()()

    def out(self, *, but: Collection[str] = ()) -> int:
        """Count the calls whose answer was not handed over yet, of other roots than those in `but`."""
        return sum(number for root, number in self._out.items() if root not in but)

    def finish(self, seconds: float) -> None:
        """Hand over what comes within `seconds`; calls that hang longer are left to themselves."""
        until = time.monotonic() + seconds
        while self.out() and time.monotonic() < until:
            self.collect()
            time.sleep(LOOK_SECONDS if self.out() else 0)

    def close(self) -> None:
        """Let the threads go; one that hangs ends with its call."""
        for lane in self._lanes.values():
            lane.put(None)
