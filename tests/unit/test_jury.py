"""How finds of several passes and networks are weighed together."""

from __future__ import annotations

import pytest

from faceblurd.imaging.detectors.jury import BARS, judge
from faceblurd.imaging.detectors.passes import Candidate
from faceblurd.model import Sensitivity

ONE = {"yunet": 3}
TWO = {"yunet": 3, "centerface": 1}


def seen(score: float, number: int, *, x: float = 0, size: float = 20, by: str = "yunet") -> Candidate:
    return Candidate(x=x, y=0, width=size, height=size, score=score, network=by, pass_number=number)


def faces(*candidates: Candidate, passes: dict[str, int] = ONE, how: Sensitivity = Sensitivity.NORMAL) -> list[float]:
    return [round(one.weight, 4) for one in judge(candidates, passes, how)]


def test_a_find_that_every_pass_repeats_is_a_face_where_a_single_one_is_none() -> None:
    assert faces(seen(0.4, 0), seen(0.4, 1), seen(0.4, 2)) == [0.4]
    assert faces(seen(0.4, 0)) == []
    assert faces(seen(0.4, 0), seen(0.4, 0, x=1), seen(0.4, 0, x=2)) == []  # thrice the same pass


def test_one_pass_that_is_sure_is_enough() -> None:
    assert faces(seen(0.9, 0)) == [round(0.9 / 2.7, 4)]


def test_a_weak_find_counts_beside_a_strong_face_of_like_size_only() -> None:
    weak = [seen(0.2, number, x=100) for number in range(3)]
    strong = [seen(0.9, number) for number in range(3)]
    giant = [seen(0.9, number, size=90) for number in range(3)]
    assert faces(*weak) == []
    assert faces(*weak, *strong) == [0.9, 0.2]
    assert faces(*weak, *giant) == [0.9]


def test_two_networks_that_agree_need_less_than_one_alone() -> None:
    yunet = [seen(0.3, number) for number in range(3)]
    assert faces(*yunet, passes=TWO) == []
    assert faces(*yunet, seen(0.3, 0, by="centerface"), passes=TWO) == [0.3]


def test_the_best_box_speaks_for_the_face_and_every_network_is_named() -> None:
    (verdict,) = judge([seen(0.5, 0), seen(0.6, 1, x=2, by="centerface")], TWO, Sensitivity.HIGH)
    assert (verdict.box.x, verdict.networks) == (2, ("yunet", "centerface"))


@pytest.mark.parametrize("networks", BARS)
def test_a_higher_sensitivity_lowers_every_bar(networks: frozenset[str]) -> None:
    low, normal, high = (BARS[networks][how] for how in Sensitivity)
    assert low.alone > normal.alone > high.alone
    assert low.company > normal.company > high.company
    assert all(bar.company <= bar.alone <= bar.strong for bar in (low, normal, high))


def test_nothing_found_is_nobody() -> None:
    assert faces() == []
