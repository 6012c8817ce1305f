"""The files that are on their way: timers, the two queues, turns of the roots, hints."""

from __future__ import annotations

from dataclasses import replace

from faceblurd.pipeline.files import File, RootPlan
from faceblurd.pipeline.waiting import MOST_FRESH_IN_A_ROW, SPARE_TIMERS, STILL_OPEN_SECONDS, Waiting
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from faceblurd.intake.scanner import Selection
from faceblurd.model import BlurSpec, DetectionSpec, Fingerprint, Mode, Recipe, Source, State

PLAN = RootPlan(
    "/r", Mode.MIRROR, "/out", Recipe("test", DetectionSpec((), None), BlurSpec()), Selection(("*",), ()),
    quiet_seconds=2.0, settle_max_seconds=60.0, hard_links_ok=False, keep_mtime=True, replace_others=False,
    take_away_held=False,
)  # fmt: skip
ONE, TWO = Fingerprint(1, 2, 3, 4, 5), Fingerprint(1, 2, 30, 4, 5)
ROOTS = ("/r", "/s", "/t")


def _add(
    waiting: Waiting, path: str = "a.jpg", source: Source = Source.EVENT, now: float = 0.0, root: str = "/r"
) -> File:
    return waiting.add(replace(PLAN, path=root), path, ONE, source, now=now, pause_seconds=0.0)


def _settle(waiting: Waiting, now: float, fingerprint: Fingerprint = ONE) -> None:
    for file in waiting.due(now):
        waiting.judge(file, fingerprint, now=now)


def test_a_file_is_queued_after_its_quiet_time_and_popped_once() -> None:
    waiting = Waiting()
    file = _add(waiting)
    assert waiting.next_due() == 2.0
    _settle(waiting, 1.9)
    assert waiting.pop() is None
    _settle(waiting, 2.0)
    assert waiting.queued == 1
    assert waiting.pop() is file
    assert waiting.pop() is None
    assert len(waiting) == 1  # on its way until it has its outcome


def test_a_growing_file_is_not_queued_and_its_attempts_start_again() -> None:
    waiting = Waiting()
    file = _add(waiting)
    file.attempts = 3
    _settle(waiting, 2.0, TWO)
    assert waiting.pop() is None
    assert file.attempts == 0
    assert waiting.next_due() == 4.0


def test_a_pause_delays_the_first_look() -> None:
    waiting = Waiting()
    waiting.add(PLAN, "a.jpg", ONE, Source.SCAN, now=0.0, pause_seconds=40.0)
    assert waiting.next_due() == 40.0


def test_a_hint_with_a_new_fingerprint_starts_the_quiet_time_again() -> None:
    waiting = Waiting()
    file = _add(waiting)
    waiting.hinted(file, TWO, Source.EVENT, now=1.5)
    _settle(waiting, 2.0, TWO)
    assert waiting.pop() is None
    _settle(waiting, 3.5, TWO)
    assert waiting.pop() is file


def test_a_hint_does_not_disturb_a_file_in_hand() -> None:
    waiting = Waiting()
    file = _add(waiting)
    _settle(waiting, 2.0)
    assert waiting.pop() is file
    file.move(State.WORKING)
    waiting.hinted(file, TWO, Source.EVENT, now=3.0)
    assert file.state is State.WORKING
    assert file.settling.fingerprint == ONE  # publish compares with what was read


def test_a_removed_file_has_no_timer_and_is_not_popped() -> None:
    waiting = Waiting()
    settling, queued = _add(waiting, "settling", now=1.0), _add(waiting, "queued")
    _settle(waiting, 2.0)
    waiting.remove(settling)
    waiting.remove(queued)
    assert not list(waiting.due(100.0))
    assert waiting.pop() is None
    assert len(waiting) == 0


def test_a_path_that_comes_back_does_not_inherit_the_old_timer() -> None:
    waiting = Waiting()
    waiting.remove(_add(waiting))
    again = _add(waiting, now=1.0)
    assert not list(waiting.due(2.0))
    assert list(waiting.due(3.0)) == [again]


def test_a_retry_waits_until_its_time_and_settles_again() -> None:
    waiting = Waiting()
    file = _add(waiting)
    _settle(waiting, 2.0)
    waiting.pop()
    file.move(State.WORKING)
    waiting.retry_at(file, 50.0)
    _settle(waiting, 49.0)
    assert file.state is State.RETRY
    _settle(waiting, 50.0)
    assert waiting.pop() is file


def test_a_file_that_is_still_open_is_looked_at_no_more_often_than_each_second() -> None:
    waiting = Waiting()
    eager = replace(PLAN, quiet_seconds=0.0)
    file = waiting.add(eager, "a.jpg", ONE, Source.EVENT, now=0.0, pause_seconds=0.0)
    _settle(waiting, 0.0)
    assert waiting.pop() is file
    waiting.settle_again(file, now=0.0)
    assert waiting.next_due() == STILL_OPEN_SECONDS


actions = st.lists(st.tuples(st.sampled_from(["add", "hint", "grow", "tick", "pop", "remove"]), st.integers(0, 2)))


@given(actions)
def test_no_order_of_events_loses_a_file_or_gives_it_out_twice(order: list[tuple[str, int]]) -> None:
    waiting, now, prints, out = Waiting(), 0.0, dict.fromkeys("012", ONE), set[str]()
    for action, number in order:
        now, name = now + 0.7, str(number)
        file = waiting.get("/r", name)
        match action:
            case "add" if file is None:
                _add(waiting, name, now=now)
            case "hint" if file is not None:
                waiting.hinted(file, prints[name], Source.EVENT, now=now)
            case "grow":
                prints[name] = replace(prints[name], size=prints[name].size + 1)
            case "remove" if file is not None:
                waiting.remove(file)
                out.discard(name)
            case "pop":
                _take(waiting, out)
            case _:
                _tick(waiting, prints, now)
    _tick(waiting, prints, now + 10)
    _tick(waiting, prints, now + 20)
    while _take(waiting, out):
        pass
    assert out == {file.path for file in waiting}  # every file that is on its way was given out, once


def _tick(waiting: Waiting, prints: dict[str, Fingerprint], now: float) -> None:
    for file in waiting.due(now):
        waiting.judge(file, prints[file.path], now=now)


def _take(waiting: Waiting, out: set[str]) -> bool:
    file = waiting.pop()
    if file is None:
        return False
    assert file.path not in out
    file.move(State.WORKING)
    out.add(file.path)
    return True


def test_a_file_that_is_hinted_at_for_hours_leaves_no_timers_behind() -> None:
    waiting = Waiting()
    file = _add(waiting)
    for number in range(10_000):
        waiting.hinted(file, replace(ONE, size=number), Source.EVENT, now=number / 100)
        waiting.wake_at(file, 50.0 + number % 2)  # back and forth, too
    assert len(waiting._timers._heap) <= SPARE_TIMERS + 2
    assert waiting.next_due() == 51.0


def test_files_that_come_and_go_leave_nothing_behind() -> None:
    waiting = Waiting()
    for number in range(10_000):
        waiting.remove(_add(waiting, f"{number}", now=float(number)))
    for file in [_add(waiting, f"{number}") for number in range(1000)]:
        waiting.remove(file)
    assert len(waiting._timers._heap) <= SPARE_TIMERS
    assert not waiting._files
    assert waiting.next_due() is None


def test_removing_what_another_file_took_the_place_of_removes_nothing() -> None:
    waiting = Waiting()
    before, after = _add(waiting), _add(waiting, now=1.0)
    waiting.remove(before)
    assert list(waiting) == [after]
    assert list(waiting.due(3.0)) == [after]


class WaitingMachine(RuleBasedStateMachine):
    """Random histories of three roots; the expected lines are plain lists, in the order in which files settled."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting, self.now = Waiting(), 0.0
        self.prints: dict[tuple[str, str], Fingerprint] = {}
        self.lines: dict[Source, list[File]] = {Source.EVENT: [], Source.SCAN: []}
        self.in_hand: list[File] = []
        self.fresh_in_a_row = 0
        self.waited: dict[tuple[str, Source], int] = {}

    @rule(
        root=st.sampled_from(ROOTS), path=st.sampled_from("abcd"), source=st.sampled_from(Source), grows=st.booleans()
    )
    def hint(self, root: str, path: str, source: Source, *, grows: bool) -> None:
        file, seen = self.waiting.get(root, path), self.prints.get((root, path), ONE)
        self.prints[root, path] = seen = replace(seen, size=seen.size + grows)
        if file is None:
            self.waiting.add(replace(PLAN, path=root), path, seen, source, now=self.now, pause_seconds=0.0)
            return
        self.waiting.hinted(file, seen, source, now=self.now)
        if source is Source.EVENT and file in self.lines[Source.SCAN]:
            self.lines[Source.SCAN].remove(file)
            self.lines[Source.EVENT].append(file)

    @rule(seconds=st.sampled_from([0.5, 2.0, 9.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for file in self.waiting.due(self.now):
            assert file.state in {State.SETTLING, State.RETRY}
            self.waiting.judge(file, self.prints[file.key], now=self.now)
            if file.state is State.QUEUED:
                self.lines[file.source].append(file)

    @rule()
    def pop(self) -> None:
        file, lines = self.waiting.pop(), self.lines
        if file is None:
            assert not any(lines.values())
            return
        turn = lines[Source.SCAN] and (not lines[Source.EVENT] or self.fresh_in_a_row == MOST_FRESH_IN_A_ROW)
        line = lines[Source.SCAN if turn else Source.EVENT]
        self.fresh_in_a_row = 0 if turn else self.fresh_in_a_row + 1
        assert file is next(one for one in line if one.plan.path == file.plan.path)  # its root's first
        self._count_the_waits(file, Source.SCAN if turn else Source.EVENT)
        line.remove(file)
        self.in_hand.append(file)

    def _count_the_waits(self, taken: File, source: Source) -> None:
        """No root waits for more than each other root's turn in its own line."""
        for root in ROOTS:
            waits = root != taken.plan.path and any(one.plan.path == root for one in self.lines[source])
            self.waited[root, source] = self.waited.get((root, source), 0) + 1 if waits else 0
            assert self.waited[root, source] < len(ROOTS)

    @precondition(lambda self: self.in_hand)
    @rule(number=st.integers(0, 99), end=st.sampled_from(["done", "again", "retry"]))
    def put_down(self, number: int, end: str) -> None:
        file = self.in_hand.pop(number % len(self.in_hand))
        file.move(State.WORKING)
        if end == "done":
            self.waiting.remove(file)
        elif end == "again":
            self.waiting.settle_again(file, now=self.now)
        else:
            self.waiting.retry_at(file, self.now + 5)

    @precondition(lambda self: len(self.waiting))
    @rule(number=st.integers(0, 99))
    def vanish(self, number: int) -> None:
        file = [*self.waiting][number % len(self.waiting)]
        self.waiting.remove(file)
        for line in (*self.lines.values(), self.in_hand):
            if file in line:
                line.remove(file)

    @precondition(lambda self: any(self.lines.values()))
    @rule(number=st.integers(0, 99))
    def fail_unopened(self, number: int) -> None:
        """Send a file that lies in a queue back, as one that a suspended root's thread could not open."""
        line = self.lines[Source.EVENT] or self.lines[Source.SCAN]
        file = line.pop(number % len(line))
        self.waiting.settle_again(file, now=self.now)

    @invariant()
    def nothing_is_lost_doubled_or_left_behind(self) -> None:
        lines = [*self.lines[Source.EVENT], *self.lines[Source.SCAN]]
        timed = [file for file in self.waiting if file.state in {State.SETTLING, State.RETRY}]
        on_their_way = sorted(file.key for file in (*lines, *self.in_hand, *timed))
        assert sorted(file.key for file in self.waiting) == on_their_way
        assert (len(self.waiting), self.waiting.queued) == (len(on_their_way), len(lines))
        for root in ROOTS:
            assert self.waiting.count_of(root) == sum(key[0] == root for key in on_their_way)
            assert self.waiting.queued_of(root) == sum(file.plan.path == root for file in lines)
        assert self.waiting.next_due() == min((file.due for file in timed), default=None)
        assert len(self.waiting._timers._heap) <= SPARE_TIMERS + 2 * len(timed)


TestWaiting = WaitingMachine.TestCase
TestWaiting.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
