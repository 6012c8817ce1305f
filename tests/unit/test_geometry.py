from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from faceblurd.imaging.geometry import (
    clip,
    grow,
    merge,
    mirrored,
    scale,
    to_stored,
    to_upright,
    turned_back,
    upright_size,
    upright_view,
)
from faceblurd.model import Region

ORIENTATIONS = range(1, 9)


def region(x: int, y: int, width: int, height: int) -> Region:
    return Region(x=x, y=y, width=width, height=height, score=1.0, found_by="test")


@st.composite
def pictures_with_regions(draw: st.DrawFn) -> tuple[int, int, int, Region]:
    """Orientation, stored width and height, and a region inside the upright picture."""
    orientation = draw(st.sampled_from(ORIENTATIONS))
    width, height = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    upright_width, upright_height = upright_size(width, height, orientation=orientation)
    x, y = draw(st.integers(0, upright_width - 1)), draw(st.integers(0, upright_height - 1))
    w, h = draw(st.integers(1, upright_width - x)), draw(st.integers(1, upright_height - y))
    return orientation, width, height, region(x, y, w, h)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_upright_view_shows_what_pillow_shows(orientation: int) -> None:
    stored = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    image = Image.fromarray(stored)
    image.getexif()[0x112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(upright_view(stored, orientation), expected)


@given(pictures_with_regions())
def test_painting_upright_and_painting_stored_touch_the_same_pixels(case: tuple[int, int, int, Region]) -> None:
    orientation, width, height, upright = case
    painted, expected = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    view = upright_view(painted, orientation)
    view[upright.y : upright.y + upright.height, upright.x : upright.x + upright.width] = 1
    stored = to_stored(upright, orientation=orientation, width=width, height=height)
    expected[stored.y : stored.y + stored.height, stored.x : stored.x + stored.width] = 1
    np.testing.assert_array_equal(painted, expected)


@given(pictures_with_regions())
def test_mapping_to_stored_and_back_changes_nothing(case: tuple[int, int, int, Region]) -> None:
    orientation, width, height, upright = case
    stored = to_stored(upright, orientation=orientation, width=width, height=height)
    assert to_upright(stored, orientation=orientation, width=width, height=height) == upright


@given(
    st.integers(-50, 50),
    st.integers(-50, 50),
    st.integers(1, 50),
    st.integers(1, 50),
    st.floats(0, 2),
    st.floats(0.1, 9),
)
def test_scaling_and_growing_never_uncover_anything(
    x: int, y: int, width: int, height: int, margin: float, factor: float
) -> None:
    scaled = scale(region(x, y, width, height), by_x=factor, by_y=factor)
    assert scaled.x <= x * factor
    assert scaled.y <= y * factor
    assert scaled.x + scaled.width >= (x + width) * factor - 1e-6
    assert scaled.y + scaled.height >= (y + height) * factor - 1e-6
    grown = grow(scaled, margin)
    assert grown.x <= scaled.x - scaled.width * margin + 1e-6
    assert grown.x + grown.width >= scaled.x + scaled.width * (1 + margin) - 1e-6


def test_a_region_of_the_same_scale_without_margin_stays_as_it_is() -> None:
    box = region(3, 4, 5, 6)
    assert grow(scale(box, by_x=1.0, by_y=1.0), 0.0) == box


def test_clipping_keeps_what_lies_inside() -> None:
    assert clip(region(-5, -5, 20, 8), width=10, height=10) == region(0, 0, 10, 3)


def test_clipping_gives_nothing_for_a_region_outside() -> None:
    assert clip(region(10, 0, 5, 5), width=10, height=10) is None
    assert clip(region(-5, 0, 5, 5), width=10, height=10) is None


@given(
    x=st.integers(0, 399), y=st.integers(0, 299), width=st.integers(1, 400), height=st.integers(1, 300),
    quarters=st.integers(0, 3), flip=st.booleans(), orientation=st.integers(1, 8), factor=st.floats(0.2, 3.0),
)  # fmt: skip
def test_a_planted_box_comes_back_through_scale_turn_mirror_and_orientation(
    x: int, y: int, width: int, height: int, quarters: int, flip: bool, orientation: int, factor: float
) -> None:
    """The way there is done to pixels, the way back to numbers."""
    stored = np.zeros((300, 400), np.uint8)
    stored[y : y + height, x : x + width] = 1
    planted = around(stored)
    upright = upright_view(stored, orientation)
    seen = np.rot90(upright, quarters)
    seen = seen[:, ::-1] if flip else seen
    box = around(seen)
    there = scale(box, by_x=factor, by_y=factor)  # what a pass at another size would say
    back = scale(there, by_x=1 / factor, by_y=1 / factor)
    back = mirrored(back, width=seen.shape[1]) if flip else back
    back = turned_back(back, quarters=quarters, width=seen.shape[1], height=seen.shape[0])
    found = to_stored(back, orientation=orientation, width=400, height=300)
    slack = 1 + 1 / factor
    assert -slack <= found.x - planted.x <= 1e-9
    assert -slack <= found.y - planted.y <= 1e-9
    assert 0 <= found.x + found.width - planted.x - planted.width <= slack
    assert 0 <= found.y + found.height - planted.y - planted.height <= slack


def around(mask: Any) -> Region:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Region(
        int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1), 1.0, "x"
    )


BOXES = st.builds(
    Region, x=st.integers(0, 40), y=st.integers(0, 40), width=st.integers(1, 30), height=st.integers(1, 30),
    score=st.floats(0, 1), found_by=st.just("x"),
)  # fmt: skip


@given(boxes=st.lists(BOXES, max_size=8), overlap=st.floats(0.3, 1))
def test_merging_uncovers_nothing_and_ends_where_no_pair_would_merge(boxes: list[Region], overlap: float) -> None:
    def area(regions: list[Region]) -> Any:
        canvas = np.zeros((80, 80), bool)
        for one in regions:
            canvas[one.y : one.y + one.height, one.x : one.x + one.width] = True
        return canvas

    merged = merge(boxes, overlap=overlap)
    assert not (area(boxes) & ~area(merged)).any()
    assert merge(merged, overlap=overlap) == merged
    assert max((one.score for one in merged), default=0) == max((one.score for one in boxes), default=0)


def test_two_boxes_become_one_only_where_they_are_of_one_face() -> None:
    def box(x: int, y: int, *, side: int = 10, score: float = 0.5) -> Region:
        return Region(x, y, side, side, score, f"at {x}")

    assert merge([box(0, 0), box(1, 1, score=0.9)], overlap=0.5) == [Region(0, 0, 11, 11, 0.9, "at 1")]
    side_by_side = [box(0, 0), box(10, 0), box(20, 0)]
    assert merge(side_by_side, overlap=0.5) == side_by_side
    cheek_to_cheek = [box(0, 0, side=16), box(8, 0, side=16)]  # with their margins
    assert merge(cheek_to_cheek, overlap=0.5) == cheek_to_cheek
