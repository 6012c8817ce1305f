"""Who is next: fresh photos before the backfill, roots in turn; and what a root that hangs may take."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import virtual_time
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from faceblurd.engine.turns import MAX_FRESH_IN_A_ROW, Lines, Ticket, Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

ROOTS = ("/r", "/s", "/t")


def _all(lines: Lines) -> list[Ticket]:
    tickets = []
    while (ticket := lines.pop()) is not None:
        tickets.append(ticket)
    return tickets


def _append(lines: Lines, root: str, count: int, *, fresh: bool) -> list[Ticket]:
    tickets = [Ticket(root, fresh) for _ in range(count)]
    for ticket in tickets:
        lines.append(ticket)
    return tickets


# --- the lines


def test_a_ticket_leaves_once() -> None:
    lines = Lines()
    (ticket,) = _append(lines, "/r", 1, fresh=True)
    assert len(lines) == 1
    assert lines.pop() is ticket
    assert (lines.pop(), len(lines)) == (None, 0)
    lines.discard(ticket)  # as one that is cancelled when it was called
    assert len(lines) == 0


def test_fresh_photos_come_before_the_backfill() -> None:
    lines = Lines()
    old, fresh = _append(lines, "/r", 3, fresh=False), _append(lines, "/r", 1, fresh=True)
    assert _all(lines) == [*fresh, *old]


def test_roots_take_turns_among_the_fresh_and_in_the_backfill() -> None:
    lines, made = Lines(), dict[tuple[str, bool], list[Ticket]]()
    for fresh in (False, True):
        for root, count in (("/r", 3), ("/s", 1), ("/t", 2)):
            made[root, fresh] = _append(lines, root, count, fresh=fresh)
    assert len(lines) == 12
    turns = [("/r", 0), ("/s", 0), ("/t", 0), ("/r", 1), ("/t", 1), ("/r", 2)]
    assert _all(lines) == [made[root, fresh][number] for fresh in (True, False) for root, number in turns]


def test_a_camera_that_uploads_for_ever_does_not_starve_the_backfill() -> None:
    lines, order = Lines(), list[Ticket | None]()
    old = _append(lines, "/s", 2, fresh=False)
    for _ in range(3 * MAX_FRESH_IN_A_ROW):
        _append(lines, "/r", 1, fresh=True)
        order.append(lines.pop())
    assert [order.index(ticket) for ticket in old] == [MAX_FRESH_IN_A_ROW, 2 * MAX_FRESH_IN_A_ROW + 1]


def test_a_photo_of_the_backfill_that_an_event_points_at_becomes_fresh_and_stays_one() -> None:
    lines = Lines()
    first, hinted = _append(lines, "/r", 2, fresh=False)
    lines.promote(hinted)
    lines.promote(hinted)
    assert len(lines) == 2
    assert hinted.fresh
    assert _all(lines) == [hinted, first]


def test_a_photo_that_is_promoted_before_it_lines_up_is_fresh_when_it_does() -> None:
    lines, ticket = Lines(), Ticket("/r", fresh=False)
    lines.promote(ticket)
    assert len(lines) == 0
    (old,) = _append(lines, "/r", 1, fresh=False)
    lines.append(ticket)
    assert _all(lines) == [ticket, old]


def test_a_root_that_has_to_miss_its_turn_has_it_as_soon_as_it_may() -> None:
    lines = Lines()
    (held_up, second), others = _append(lines, "/r", 2, fresh=True), _append(lines, "/s", 3, fresh=True)
    assert [lines.pop(but={"/r"}), lines.pop(but={"/r"})] == others[:2]
    assert lines.pop(but={"/r", "/s"}) is None
    assert _all(lines) == [held_up, others[2], second]


def test_the_fresh_of_a_root_that_misses_its_turn_do_not_hold_up_the_backfill_of_another() -> None:
    lines = Lines()
    _append(lines, "/r", 1, fresh=True)
    (old,) = _append(lines, "/s", 1, fresh=False)
    assert lines.pop(but={"/r"}) is old


def test_photos_that_come_and_go_leave_nothing_behind() -> None:
    lines = Lines()
    for number in range(10_000):
        (ticket,) = _append(lines, f"/{number}", 1, fresh=bool(number % 2))
        lines.discard(ticket)
    assert len(lines) == 0
    assert not lines.fresh._lines
    assert not lines.backfill._lines


class LinesMachine(RuleBasedStateMachine):
    """Random histories of three roots; the expected lines are plain lists, in the order in which photos came."""

    def __init__(self) -> None:
        super().__init__()
        self._begin()

    def _begin(self) -> None:
        self.lines = Lines()
        self.expected: dict[bool, list[Ticket]] = {True: [], False: []}
        self.gone: list[Ticket] = []
        self.fresh_in_a_row = 0
        self.waited: dict[tuple[str, bool], int] = {}

    def some(self, number: int) -> Ticket:
        tickets = [*self.expected[True], *self.expected[False]]
        return tickets[number % len(tickets)]

    @rule(root=st.sampled_from(ROOTS), fresh=st.booleans())
    def append(self, root: str, *, fresh: bool) -> None:
        self.expected[fresh].extend(_append(self.lines, root, 1, fresh=fresh))

    @precondition(lambda self: self.expected[True] or self.expected[False])
    @rule(number=st.integers(0, 99))
    def promote(self, number: int) -> None:
        ticket = self.some(number)
        self.lines.promote(ticket)
        if ticket in self.expected[False]:
            self.expected[False].remove(ticket)
            self.expected[True].append(ticket)

    @precondition(lambda self: self.expected[True] or self.expected[False])
    @rule(number=st.integers(0, 99))
    def discard(self, number: int) -> None:
        ticket = self.some(number)
        self.lines.discard(ticket)
        for line in self.expected.values():
            if ticket in line:
                line.remove(ticket)
        self.gone.append(ticket)

    @precondition(lambda self: self.gone)
    @rule(number=st.integers(0, 99), promotes=st.booleans())
    def touch_one_that_is_gone(self, number: int, *, promotes: bool) -> None:
        ticket = self.gone[number % len(self.gone)]
        (self.lines.promote if promotes else self.lines.discard)(ticket)

    @rule(but=st.sampled_from([set(), set(), set(), {"/r"}, {"/s", "/t"}]), times=st.integers(1, 4))
    def pop(self, but: set[str], times: int) -> None:
        for _ in range(times):
            self._pop(but)

    def _pop(self, but: set[str]) -> None:
        ticket = self.lines.pop(but=but)
        may = {fresh: [one for one in line if one.root not in but] for fresh, line in self.expected.items()}
        if ticket is None:
            assert not any(may.values())
            return
        fresh = bool(may[True]) and not (may[False] and self.fresh_in_a_row >= MAX_FRESH_IN_A_ROW)
        assert ticket is next(one for one in may[fresh] if one.root == ticket.root), "its root's first"
        self.fresh_in_a_row = self.fresh_in_a_row + 1 if fresh else 0
        self._count_the_turns(ticket, may, fresh=fresh)
        self.expected[fresh].remove(ticket)
        self.gone.append(ticket)

    def _count_the_turns(self, taken: Ticket, may: dict[bool, list[Ticket]], *, fresh: bool) -> None:
        """No root that may have its turn waits for more than each other root's in the same line."""
        for root in ROOTS:
            if not any(one.root == root for one in self.expected[fresh]) or root == taken.root:
                self.waited[root, fresh] = 0
            elif any(one.root == root for one in may[fresh]):
                self.waited[root, fresh] = self.waited.get((root, fresh), 0) + 1
            assert self.waited.get((root, fresh), 0) < len(ROOTS)

    @rule()
    def take_all(self) -> None:
        left = [*self.expected[True], *self.expected[False]]
        taken = _all(self.lines)
        assert sorted(map(id, taken)) == sorted(map(id, left)), "each once"
        self._begin()

    @invariant()
    def nobody_is_lost_or_doubled(self) -> None:
        assert (len(self.lines.fresh), len(self.lines.backfill)) == tuple(map(len, self.expected.values()))
        assert len(self.lines) == sum(map(len, self.expected.values()))


TestLines = LinesMachine.TestCase
TestLines.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


# --- turns


class Workers:
    """A pool's workers: so many, each at work for as long as a test lets it."""

    def __init__(self, count: int) -> None:
        self.count = self.idle = count
        self.wanted: list[int] = []
        self.changed: Callable[[], None] = lambda: None

    def ensure(self, wanted: int) -> None:
        self.wanted.append(wanted)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        while not self.idle:
            await asyncio.sleep(0.01)
        self.idle -= 1
        try:
            yield
        finally:
            self.idle += 1
            self.changed()


class Desk:
    """Turns, workers, and photos that are opened in their turn and worked on after it."""

    def __init__(self, workers: int) -> None:
        self.workers = Workers(workers)
        self.turns = Turns(self.workers)
        self.workers.changed = self.turns.admit
        self.opening: list[str] = []
        self.done: list[str] = []
        self.hang: set[str] = set()
        self.back = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    def add(self, root: str, count: int = 1, *, fresh: bool = True) -> list[asyncio.Task[None]]:
        tasks = [asyncio.ensure_future(self.live(Ticket(root, fresh))) for _ in range(count)]
        self.tasks += tasks
        return tasks

    async def live(self, ticket: Ticket) -> None:
        async with self.turns.turn(ticket):
            self.opening.append(ticket.root)
            try:
                await (self.back.wait() if ticket.root in self.hang else asyncio.sleep(0.1))
            finally:
                self.opening.remove(ticket.root)
        async with self.workers.worker():
            await asyncio.sleep(1.0)
        self.done.append(ticket.root)


def at(workers: int, story: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    """Run a story; then all photos end, and nothing of a turn is left over."""

    async def main() -> None:
        desk = Desk(workers)
        await story(desk)
        desk.back.set()
        for task in asyncio.as_completed(desk.tasks, timeout=1000.0):
            try:
                await task
            except asyncio.CancelledError:
                continue
        assert desk.turns.waiting == 0
        assert desk.turns._starting.total() == 0
        assert desk.workers.idle == desk.workers.count

    virtual_time.run(main())


def test_turns_are_given_as_workers_are_idle() -> None:
    async def story(desk: Desk) -> None:
        desk.add("/r", 9)
        await asyncio.sleep(0.05)
        assert (len(desk.opening), desk.turns.waiting) == (2, 7)
        assert max(desk.workers.wanted) == 9, "so many workers could be at work"
        await asyncio.sleep(0.1)
        assert desk.workers.idle == 0
        assert len(desk.opening) <= 2
        await asyncio.sleep(0.5)
        assert desk.turns.waiting >= 5, "without an idle worker nobody begins"

    at(2, story)


def test_without_a_worker_one_is_wanted_and_turns_come_when_it_is_there() -> None:
    async def story(desk: Desk) -> None:
        desk.workers.idle = 0
        desk.add("/r", 3)
        await asyncio.sleep(1.0)
        assert desk.opening == []
        assert desk.workers.wanted[-1] == 3
        desk.workers.idle = 1
        desk.turns.admit()
        await asyncio.sleep(0.05)
        assert desk.opening == ["/r"]

    at(1, story)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_root_that_hangs_while_its_photos_are_opened_takes_no_worker_from_the_others(workers: int) -> None:
    async def story(desk: Desk) -> None:
        desk.hang.add("/dead")
        desk.add("/dead", 10)
        await asyncio.sleep(5.0)
        assert desk.opening == ["/dead"] * workers, "no more than there were idle workers"
        desk.add("/r", 6)
        desk.add("/s", 6)
        await asyncio.sleep(20.0)
        assert sorted(desk.done) == ["/r"] * 6 + ["/s"] * 6
        assert desk.opening == ["/dead"] * workers
        assert desk.turns.waiting == 10 - workers
        desk.back.set()
        await asyncio.sleep(20.0)
        assert desk.done.count("/dead") == 10, "and when it is back it has its turn"

    at(workers, story)


def test_other_roots_get_as_much_at_a_time_as_if_the_root_that_hangs_were_not_there() -> None:
    times = []
    for hangs in (False, True):

        async def story(desk: Desk, *, hangs: bool = hangs) -> None:
            if hangs:
                desk.hang.add("/dead")
                desk.add("/dead", 10)
                await asyncio.sleep(1.0)
            began = asyncio.get_running_loop().time()
            for task in desk.add("/r", 10):
                await task
            times.append(asyncio.get_running_loop().time() - began)

        at(2, story)
    assert times[1] == pytest.approx(times[0])


def test_a_photo_that_is_cancelled_in_line_leaves_it_and_the_others_go_on() -> None:
    async def story(desk: Desk) -> None:
        _, second, _ = desk.add("/r", 3)
        await asyncio.sleep(0.05)
        assert desk.turns.waiting == 2
        second.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert desk.turns.waiting == 1
        await asyncio.sleep(5.0)
        assert desk.done == ["/r"] * 2

    at(1, story)


def test_a_photo_that_is_cancelled_when_it_has_just_been_called_keeps_no_place() -> None:
    async def story(desk: Desk) -> None:
        desk.workers.idle = 0
        first, _ = desk.add("/r", 2)
        await asyncio.sleep(0.05)
        desk.workers.idle = 1
        desk.turns.admit()  # the first one is called
        first.cancel()
        await asyncio.wait({first})
        assert first.cancelled()
        await asyncio.sleep(0.05)
        assert desk.opening == ["/r"]
        assert (desk.turns.waiting, desk.turns._starting["/r"]) == (0, 1)
        await asyncio.sleep(5.0)
        assert desk.done == ["/r"]

    at(1, story)


def test_a_photo_that_is_cancelled_and_then_called_before_it_hears_of_either_wastes_no_turn() -> None:
    async def story(desk: Desk) -> None:
        desk.workers.idle = 0
        first, _ = desk.add("/r", 2)
        await asyncio.sleep(0.05)
        first.cancel()
        desk.workers.idle = 1
        desk.turns.admit()
        await asyncio.sleep(0.05)
        assert (desk.opening, desk.turns.waiting) == (["/r"], 0)
        await asyncio.sleep(5.0)
        assert desk.done == ["/r"]

    at(1, story)


def test_a_photo_that_is_cancelled_or_fails_in_its_turn_gives_it_back() -> None:
    async def story(desk: Desk) -> None:
        first, _ = desk.add("/r", 2)
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.sleep(5.0)
        assert desk.done == ["/r"]
        with pytest.raises(ZeroDivisionError):
            async with desk.turns.turn(Ticket("/r", fresh=True)):
                raise ZeroDivisionError

    at(1, story)


def test_a_photo_that_is_promoted_in_line_has_its_turn_before_the_others() -> None:
    async def story(desk: Desk) -> None:
        desk.workers.idle = 0
        desk.add("/r", 3, fresh=False)
        ticket = Ticket("/r", fresh=False)
        desk.tasks.append(asyncio.ensure_future(desk.live(ticket)))
        await asyncio.sleep(0.05)
        desk.turns.promote(ticket)
        desk.workers.idle = 1
        desk.turns.admit()
        assert ticket.called is not None
        assert ticket.called.done()
        await asyncio.sleep(0.05)
        assert (len(desk.opening), desk.turns.waiting) == (1, 3)

    at(1, story)


def test_nothing_begins_after_the_close() -> None:
    async def story(desk: Desk) -> None:
        tasks = desk.add("/r", 3)
        await asyncio.sleep(0.05)
        desk.turns.close()
        late = desk.add("/s")
        await asyncio.sleep(100.0)
        assert desk.done == ["/r"], "what had its turn is done"
        assert desk.turns.waiting == 3
        for task in (*tasks, *late):
            task.cancel()

    at(1, story)


def test_nobody_in_line_wants_no_worker() -> None:
    async def story(desk: Desk) -> None:
        desk.turns.admit()
        assert desk.workers.wanted == []

    at(1, story)
