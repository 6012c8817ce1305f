"""The files that are on their way: timers, the two queues, hints."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from faceblurd.intake.scanner import Selection
from faceblurd.model import BlurSpec, DetectionSpec, Fingerprint, Mode, Recipe, Source, State
from faceblurd.pipeline.files import File, RootPlan
from faceblurd.pipeline.waiting import STILL_OPEN_SECONDS, Waiting

PLAN = RootPlan(
    "/r", Mode.MIRROR, "/out", Recipe("test", DetectionSpec((), None), BlurSpec()), Selection(("*",), ()),
    quiet_seconds=2.0, settle_max_seconds=60.0, hard_links_ok=False, keep_mtime=True, replace_others=False,
    take_away_held=False,
)  # fmt: skip
ONE, TWO = Fingerprint(1, 2, 3, 4, 5), Fingerprint(1, 2, 30, 4, 5)


def _add(waiting: Waiting, path: str = "a.jpg", source: Source = Source.EVENT, now: float = 0.0) -> File:
    return waiting.add(PLAN, path, ONE, source, now=now, pause_seconds=0.0)


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


def test_fresh_files_come_before_the_backfill() -> None:
    waiting = Waiting()
    old = [_add(waiting, f"old{n}", Source.SCAN) for n in range(3)]
    fresh = _add(waiting, "fresh")
    _settle(waiting, 2.0)
    assert [waiting.pop() for _ in range(4)] == [fresh, *old]


def test_a_scanned_file_that_an_event_points_at_is_fresh() -> None:
    waiting = Waiting()
    _add(waiting, "old", Source.SCAN)
    hinted = _add(waiting, "hinted", Source.SCAN)
    waiting.hinted(hinted, ONE, Source.EVENT, now=1.0)
    _settle(waiting, 2.0)
    assert waiting.pop() is hinted


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
