"""The vote of both networks: what speaks for a face, what against, and that the order of finds says nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from faceblurd.imaging.detect import vote

YUNET, CENTERFACE = 0.0, 1.0
Finds = npt.NDArray[np.float32]


def find(x: float, y: float, size: float, score: float, network: float = CENTERFACE) -> list[float]:
    return [x, y, size, size, score, network, 1.0, 0.0, 0.0]


def seen(*rows: list[float]) -> Finds:
    return np.array(rows, np.float32)


def votes(finds: Finds) -> dict[int, float]:
    """Return the vote of each face by its left side."""
    return {face.x: face.score for face in vote.faces(finds, bar=0.0)}


def test_finds_of_one_face_are_one_and_the_better_fitting_box_is_taken() -> None:
    finds = seen(find(100, 100, 40, 0.9), find(102, 99, 38, 0.95, YUNET), find(300, 100, 40, 0.5))
    faces = vote.faces(finds, bar=0.0)
    assert [(face.x, face.y, face.width, face.found_by) for face in faces] == [
        (100, 100, 40, "yunet+centerface"), (300, 100, 40, "centerface"),
    ]  # fmt: skip
    assert faces[0].score > faces[1].score


@pytest.mark.parametrize("weak", [find(130, 110, 40, 0.3), find(112, 112, 14, 0.3)], ids=["beside", "inside"])
def test_what_overlaps_a_surer_face_must_be_surer_than_alone(weak: list[float]) -> None:
    alone = votes(seen(weak))[int(weak[0])]
    assert votes(seen(find(100, 100, 40, 0.95), weak))[int(weak[0])] < alone
    assert votes(seen(find(100, 400, 40, 0.95), weak))[int(weak[0])] == pytest.approx(alone, abs=1e-3)


def test_a_small_face_among_small_faces_needs_less_than_one_alone() -> None:
    weak = find(100, 100, 11, 0.2)
    alone = votes(seen(weak))[100]
    crowd = [find(100 + 20 * step, 140, 11, 0.9) for step in (-1, 1, 2)]
    assert votes(seen(weak, *crowd))[100] > alone
    assert votes(seen(weak, *(find(row[0], 140, 44, 0.9) for row in crowd)))[100] == pytest.approx(alone, abs=1e-3)


def test_the_order_of_finds_says_nothing() -> None:
    rng = np.random.default_rng(3)
    rows = [find(x, y, s, p, n) for x, y, s, p, n in zip(
        rng.uniform(0, 600, 80), rng.uniform(0, 600, 80), rng.uniform(8, 60, 80), rng.permutation(80) / 87.3 + 0.06,
        rng.integers(0, 2, 80), strict=True)]  # fmt: skip
    finds = seen(*rows)
    before = vote.faces(finds, bar=0.05)
    assert len(before) > 10
    shuffled: Any = finds[rng.permutation(len(finds))]
    assert vote.faces(shuffled, bar=0.05) == before


def in_doubt(count: int) -> Finds:
    """Finds far from each other, each rather a face than not; the further to the right, the surer."""
    return seen(*(find(200 * place, 100, 40, 0.31 + 0.1 * place / count) for place in range(count)))


def asked(finds: Finds, opinion: float, bar: float = 0.25) -> tuple[list[int], list[int]]:
    """Return the left sides of the finds that were looked at again, in their order, and of the faces that are left."""
    lefts: list[int] = []

    def again(doubtful: Finds) -> npt.NDArray[np.float64]:
        lefts.extend(int(left) for left in doubtful[:, 0])
        return np.full(len(doubtful), opinion)

    return lefts, sorted(face.x for face in vote.faces(finds, bar=bar, again=again))


def test_a_second_opinion_decides_what_is_in_doubt() -> None:
    finds = in_doubt(3)
    lefts = [int(left) for left in finds[:, 0]]
    assert asked(finds, 0.9) == (lefts, lefts)
    assert asked(finds, 0.0) == (lefts, [])


def test_where_nothing_is_said_the_first_vote_stands() -> None:
    finds = in_doubt(3)
    assert asked(finds, float("nan"))[1] == [int(left) for left in finds[:, 0]]
    assert asked(finds, float("nan"), bar=0.5)[1] == [400]


def test_what_is_sure_and_what_is_below_the_bar_is_not_looked_at_again() -> None:
    sure = [find(0, 100, 40, 0.95), find(2, 100, 40, 0.95, YUNET)]
    assert asked(seen(*sure, find(300, 100, 40, 0.1)), 0.0) == ([], [0])


def test_of_a_crowd_the_least_sure_are_looked_at_again_and_the_others_stay() -> None:
    finds = in_doubt(60)
    lefts, left_over = asked(finds, 0.0)
    assert lefts == [200 * place for place in range(40)]
    assert left_over == [200 * place for place in range(40, 60)]
