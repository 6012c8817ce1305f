"""When a file counts as wholly written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from faceblurd.model import Fingerprint
from faceblurd.rules.settle import Settled, Wait, back_off, begin, look

ONE = Fingerprint(1, 2, 3, 4, 5)
TOUCHED = Fingerprint(1, 2, 3, 4, 6)  # only ctime: mv of another file over it with the same mtime


def test_a_file_waits_for_the_quiet_time_after_the_first_sight() -> None:
    assert begin(ONE, now=10.0, quiet_seconds=2.0).until == 12.0


def test_a_file_that_stood_still_has_settled_and_not_a_moment_earlier() -> None:
    settling = begin(ONE, now=10.0, quiet_seconds=2.0).settling
    early = look(settling, ONE, now=11.9, quiet_seconds=2.0)
    assert isinstance(early, Wait)
    assert early.until == 12.0
    assert isinstance(look(settling, ONE, now=12.0, quiet_seconds=2.0), Settled)


def test_a_change_of_ctime_alone_starts_the_quiet_time_again() -> None:
    settling = begin(ONE, now=10.0, quiet_seconds=2.0).settling
    again = look(settling, TOUCHED, now=100.0, quiet_seconds=2.0)
    assert isinstance(again, Wait)
    assert again.until == 102.0
    assert again.settling.first_seen == 10.0  # how long we have waited is not forgotten


def test_a_file_with_no_quiet_time_settles_at_once() -> None:
    assert isinstance(look(begin(ONE, now=1.0, quiet_seconds=0.0).settling, ONE, now=1.0, quiet_seconds=0.0), Settled)


steps = st.lists(st.tuples(st.floats(0, 5), st.integers(0, 3)), max_size=30)


@given(steps, st.floats(0.1, 10))
def test_a_settled_file_never_changed_during_the_quiet_time(changes: list[tuple[float, int]], quiet: float) -> None:
    now, settling = 0.0, begin(ONE, now=0.0, quiet_seconds=quiet).settling
    seen = [(0.0, ONE)]
    for seconds, version in changes:
        now += seconds
        fingerprint = Fingerprint(1, 2, version, 4, 5)
        verdict = look(settling, fingerprint, now=now, quiet_seconds=quiet)
        seen.append((now, fingerprint))
        settling = verdict.settling
        if isinstance(verdict, Settled):
            recent = {one for when, one in seen if when > now - quiet}
            assert recent == {fingerprint}
            return
        assert verdict.until > now


@given(st.integers(-5, 10**9), st.floats(0, 1000), st.floats(0, 10**4))
def test_the_back_off_is_bounded_and_never_shrinks(attempts: int, base: float, most: float) -> None:
    one = back_off(attempts=attempts, base_seconds=base, most_seconds=most)
    assert 0 <= one <= most
    assert one <= back_off(attempts=attempts + 1, base_seconds=base, most_seconds=most)


def test_the_back_off_doubles() -> None:
    assert [back_off(attempts=n, base_seconds=5, most_seconds=300) for n in (1, 2, 3, 8)] == [5, 10, 20, 300]
