"""The second opinion: what was a face is one again, as it was seen; what was none is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from faceblurd.imaging.detect import vote
from faceblurd.imaging.detect.search import Search
from faceblurd.model import NetworksSpec, Sensitivity

if TYPE_CHECKING:
    import numpy.typing as npt

    Picture = npt.NDArray[Any]

FACE = (182, 65, 87, 111)  # of the astronaut, as CenterFace has it
PATCH = (330, 70, 96, 128)  # on the shuttle behind her


@pytest.fixture(scope="module")
def search() -> Search:
    return Search(NetworksSpec(), Sensitivity.NORMAL, turned=True)


def opinion(search: Search, picture: Picture, box: tuple[float, ...], *, quarters: int = 0, lit: bool = False) -> float:
    """Ask about one box, as if CenterFace had seen it."""
    find = np.array([[*box, 0.2, 1.0, 1.0, quarters, lit]], np.float32)
    return float(search.again(find, search.look(picture))[0])


@pytest.mark.parametrize("size", [0.1, 0.25, 1.0, 3.0])
def test_a_face_is_one_again_at_any_size_and_a_patch_is_none(search: Search, astronaut: Picture, size: float) -> None:
    picture = cv2.resize(astronaut, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
    assert opinion(search, picture, tuple(value * size for value in FACE)) > 0.5
    assert opinion(search, picture, tuple(value * size for value in PATCH)) < 0.1


def test_the_opinion_is_about_this_box_not_about_what_is_beside_it(search: Search, astronaut: Picture) -> None:
    x, y, width, height = FACE
    assert opinion(search, astronaut, (x + width, y, width, height)) < 0.1
    assert opinion(search, astronaut, (x, y + height, width, height)) < 0.1


@pytest.mark.parametrize(("left", "top"), [(20, 0), (0, 20), (20, 20)])
def test_a_face_near_the_edge_of_the_photo_is_one_again(
    search: Search, astronaut: Picture, left: int, top: int
) -> None:  # fmt: skip
    x, y = (FACE[0] - left if left else 0), (FACE[1] - top if top else 0)
    cut = np.ascontiguousarray(astronaut[y:, x:])
    assert opinion(search, cut, (FACE[0] - x, FACE[1] - y, *FACE[2:])) > 0.4


@pytest.mark.parametrize("place", [(-20, 100), (4, 100), (100, 4), (421, 100), (100, 397)])
def test_of_what_the_frame_may_cut_nothing_is_said(
    search: Search, astronaut: Picture, place: tuple[int, int]
) -> None:  # fmt: skip
    assert np.isnan(opinion(search, astronaut, (*place, *FACE[2:])))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_face_is_looked_at_as_it_was_seen(search: Search, astronaut: Picture, quarters: int) -> None:
    lying = np.ascontiguousarray(np.rot90(astronaut, -quarters))
    mark = np.zeros(astronaut.shape[:2], bool)
    mark[FACE[1] : FACE[1] + FACE[3], FACE[0] : FACE[0] + FACE[2]] = True
    rows, columns = np.nonzero(np.rot90(mark, -quarters))
    box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    assert opinion(search, lying, box, quarters=quarters) > 0.7
    assert opinion(search, lying, box, quarters=quarters) > opinion(search, lying, box) + 0.1


def test_a_dark_face_is_looked_at_with_the_light_turned_up(search: Search, astronaut: Picture) -> None:
    dark = (astronaut * 0.02).astype(np.uint8)
    assert opinion(search, dark, FACE, lit=True) > opinion(search, dark, FACE) + 0.2


def test_the_search_asks_about_what_it_reports(
    search: Search, astronaut: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A face that is in doubt goes where the second look sees none, and stays where it sees one."""
    blurred = cv2.GaussianBlur(cv2.resize(astronaut, (128, 128), interpolation=cv2.INTER_AREA), (0, 0), 2.8)
    assert [0.25 < face.score < 0.95 for face in vote.faces(search.look(blurred).finds, bar=0.25)] == [True]
    kept = {}
    for score in (0.0, 0.9):
        monkeypatch.setattr(search, "again", lambda finds, _seen, score=score: np.full(len(finds), score))
        kept[score] = len(search.detect(blurred))
    assert kept == {0.0: 0, 0.9: 1}
