"""The soft ellipse: what it covers, what is left of a face in it, and what it looks like where there is little room."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceblurd.config.recipes import BLURS
from faceblurd.imaging.geometry import clip, grow
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.imaging.redact.soft import Channels, Ellipse
from faceblurd.model import ALWAYS, BlurMethod, Region

if TYPE_CHECKING:
    import numpy.typing as npt

SOFT = BLURS[BlurMethod.SOFT]


def region(x: int, y: int, width: int, height: int, *, flat: bool = False) -> Region:
    return Region(x=x, y=y, width=width, height=height, score=1.0, found_by="test", flat=flat)


def noise(*shape: int, dtype: type = np.uint8, seed: int = 1) -> npt.NDArray[Any]:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def inside(face: Region, shape: tuple[int, ...], *, tilt: float = 0.0) -> npt.NDArray[np.bool_]:
    """Mark the ellipse that is tilted by so many degrees, three to four wide, and as large as the face's box allows."""
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    wide, high = 0.75, 1.0
    by = min(face.width / 2 / math.hypot(wide * cos, high * sin), face.height / 2 / math.hypot(wide * sin, high * cos))
    y, x = (np.indices(shape[:2]).T + 0.5 - (face.y + face.height / 2, face.x + face.width / 2)).T
    along, across = (x * cos + y * sin) / (wide * by), (y * cos - x * sin) / (high * by)
    mask: npt.NDArray[np.bool_] = along**2 + across**2 <= 1
    return mask


def hidden(picture: npt.NDArray[Any], *faces: Region, **channels: Any) -> npt.NDArray[Any]:
    """Return the picture with grown and clipped faces hidden."""
    after = picture.copy()
    height, width = picture.shape[:2]
    grown = [clip(grow(face, SOFT.margin), width=width, height=height) for face in faces]
    redact(after, [one for one in grown if one], SOFT, Channels(**channels))
    return after


@settings(deadline=None)
@given(
    width=st.integers(3, 90), height=st.integers(3, 90), x=st.integers(-40, 190), y=st.integers(-40, 190),
    tilt=st.sampled_from([0, 20, 45, 70, 90]),
)  # fmt: skip
def test_nothing_of_a_face_shines_through_upright_or_tilted_whole_or_cut_by_the_edge(
    width: int, height: int, x: int, y: int, tilt: int
) -> None:
    """Two pictures that differ in detail only, as far as the face reaches, come out the same there."""
    found = clip(region(x, y, width, height), width=200, height=200)  # detectors see no more of it
    if found is None:
        return
    one = noise(200, 200, 3)
    face = inside(region(x, y, width, height), one.shape, tilt=tilt)
    canvas = np.zeros((200, 200), np.bool_)
    canvas[found.y : found.y + found.height, found.x : found.x + found.width] = True
    face &= canvas
    covered = Ellipse.of(clip(grow(found, SOFT.margin), width=200, height=200) or found, (200, 200), SOFT.margin).cover(
        slice(0, 200), slice(0, 200)
    )
    seen = region(x, y, width, height)
    if 2 * found.width >= seen.width and 2 * found.height >= seen.height:  # of less, nobody knows what it was
        assert (covered[face] == 1).all()


def test_what_is_left_of_a_face_is_four_shades_and_one_colour() -> None:
    picture = noise(300, 300, 3)
    core = hidden(picture, region(100, 100, 100, 100))[110:190, 110:190].astype(float)
    tint = core - core.mean(axis=2, keepdims=True)
    assert np.abs(tint - tint.mean(axis=(0, 1))).max() <= 1  # rounding to whole numbers
    shade = core.mean(axis=2)
    corners = shade[[0, 0, -1, -1], [0, -1, 0, -1]].reshape(2, 2)
    assert np.abs(shade.mean() - corners.mean()) < 2


def test_detail_finer_than_the_means_changes_nothing_in_the_face() -> None:
    picture = noise(300, 300, 3)
    other = picture.copy()
    face = region(100, 100, 100, 100)
    area = inside(face, picture.shape)
    other[area] = picture[::-1, ::-1][area]
    after, again = (hidden(one, face)[area] for one in (picture, other))
    assert (other != picture).any()
    assert np.abs(after.astype(int) - again).max() <= 24  # a step of the rounding


def test_nothing_outside_the_ellipse_changes_and_the_rim_begins_without_a_step() -> None:
    picture = np.full((300, 300), 250, np.uint8)
    picture[100:200, 100:200] = 20
    after = hidden(picture, region(100, 100, 100, 100)).astype(int)
    changed = after != picture
    assert not changed[:72].any()
    assert not changed[72, 72]  # a corner of the region's box
    assert changed[100:200, 100:200].mean() > 0.95
    assert np.abs(np.diff(after[:100, 150])).max() < 40  # the fill is 230 levels darker than what is around it


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(), (3,), (4,)])
def test_every_depth_and_number_of_channels_gets_the_same_look(shape: tuple[int, ...], dtype: type) -> None:
    by = np.iinfo(dtype).max // 255
    eight = noise(120, 120, *shape)
    if shape == (4,):
        eight[:, :, 3] = 255
    expected = hidden(eight, region(40, 40, 40, 40)).astype(float) * by
    got = hidden(eight.astype(dtype) * dtype(by), region(40, 40, 40, 40))
    assert got.dtype == dtype
    assert np.abs(got - expected).max() <= by


def test_gray_stays_gray() -> None:
    picture = noise(120, 120, 1).repeat(3, axis=2)
    after = hidden(picture, region(40, 40, 40, 40))
    assert (after == after[:, :, :1]).all()


def test_an_opaque_picture_stays_opaque_and_a_cut_out_face_has_no_dark_fringe() -> None:
    picture = np.zeros((200, 200, 4), np.uint8)  # black where nothing is
    picture[inside(region(60, 50, 80, 100), picture.shape)] = (120, 150, 200, 255)
    after = hidden(picture, region(60, 50, 80, 100))
    assert (after[60:140, 80:120, 3] == 255).all()
    shown = after[after[:, :, 3] > 0].astype(int)
    assert np.abs(shown[:, :3] - (120, 150, 200)).max() <= 20
    picture[:, :, 3] = 255
    assert (hidden(picture, region(60, 50, 80, 100))[:, :, 3] == 255).all()


def test_ink_has_black_in_the_place_of_opacity() -> None:
    picture = np.full((200, 200, 4), (30, 80, 90, 10), np.uint8)
    picture[50:150, 50:150, 3] = 40
    after = hidden(picture, region(60, 60, 80, 80), inks=True)
    assert np.abs(after[100, 100].astype(int) - (30, 80, 90, 40)).max() <= 18


def test_a_colour_difference_is_one_rounded_value() -> None:
    picture = noise(200, 200) // 8 + 100
    after = hidden(picture, region(60, 60, 80, 80), chroma=0.564)
    assert len(np.unique(after[70:130, 70:130])) == 1
    assert (hidden(np.full_like(picture, 128), region(60, 60, 80, 80), chroma=0.564) == 128).all()


def test_a_flat_region_has_one_colour() -> None:
    picture = np.zeros((300, 300, 3), np.uint8)
    picture[:, :150] = (90, 120, 180)
    grown = region(72, 72, 156, 156)
    shaded, flat = picture.copy(), picture.copy()
    redact(shaded, [grown], SOFT)
    redact(flat, [replace(grown, flat=True)], SOFT)
    assert len(np.unique(shaded[120:180, 120:180].reshape(-1, 3), axis=0)) > 9
    assert len(np.unique(flat[120:180, 120:180].reshape(-1, 3), axis=0)) == 1
    np.testing.assert_array_equal((flat != picture).any(axis=2)[:72], np.zeros((72, 300)))


@settings(max_examples=6, deadline=None)
@given(st.permutations(range(3)))
def test_overlapping_faces_show_nothing_of_each_other_in_whatever_order_they_come(order: list[int]) -> None:
    faces = [region(60, 60, 60, 80), region(100, 70, 70, 80), region(80, 110, 20, 20)]
    one, other = noise(250, 250, 3), noise(250, 250, 3)
    same = [inside(face, one.shape) for face in faces]
    for face in same:
        other[~face] = np.where((sum(same) > 0)[~face][:, None], other[~face], one[~face])
    for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):  # other detail, the same means: blocks of four pixels, turned round
        other[y::2, x::2] = one[1 - y :: 2, 1 - x :: 2]
    other[sum(same) == 0] = one[sum(same) == 0]
    after = hidden(one, *(faces[at] for at in order))
    again = hidden(other, *(faces[at] for at in order))
    assert np.abs(after.astype(int) - again).max() <= 24
    np.testing.assert_array_equal(after, hidden(one, *faces))


def test_a_fill_is_made_of_what_the_photo_had_not_of_what_another_region_left() -> None:
    picture = np.full((200, 300, 3), (100, 130, 180), np.uint8)
    picture[:, 150:] = (40, 60, 90)
    both = hidden(picture, region(60, 60, 70, 80), region(120, 60, 80, 80))
    alone = hidden(picture, region(120, 60, 80, 80))
    core = np.s_[64:136, 132:188]  # where nothing shines through: the corners of 60:140, 130:190 lie in the rim
    np.testing.assert_array_equal(both[core], alone[core])


def test_what_is_always_hidden_is_hidden_to_its_corners() -> None:
    picture = noise(100, 100, 3)
    redact(picture, [replace(region(20, 30, 40, 50), found_by=ALWAYS)], SOFT)
    box = picture[30:80, 20:60].astype(int)
    assert np.abs(np.diff(box, axis=0)).max() <= 2
    assert np.abs(np.diff(box, axis=1)).max() <= 2


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 30), (30, 1), (2, 2), (3, 3)])
def test_a_region_of_a_few_pixels_is_hidden_too(width: int, height: int) -> None:
    picture = noise(50, 50, 3)
    before = picture.copy()
    redact(picture, [region(5, 5, width, height)], SOFT)
    assert (picture != before).any()


def test_a_face_larger_than_the_picture_is_hidden_to_the_corners() -> None:
    after = hidden(noise(90, 60, 3), region(-20, -20, 120, 140)).astype(int)
    assert max(np.abs(np.diff(after, axis=axis)).max() for axis in (0, 1)) <= 3
