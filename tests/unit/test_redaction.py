from __future__ import annotations

import math
import resource
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceblurd.config.recipes import BLURS
from faceblurd.imaging.geometry import grow, upright_view
from faceblurd.imaging.redact.average_pool import (
    average_pool,
    quantise,
    redact,
    window_px,
)
from faceblurd.model import ALWAYS, BlurMethod, BlurSpec, Engine, Region, Shape

if TYPE_CHECKING:
    import numpy.typing as npt

FIXED = BlurSpec(pool_size_px=5, pool_face_fraction=0.0, stride_px=1, levels=None)
"""A plain average pool, as the reference method has it."""

WITH_CELLS = (BlurMethod.AVERAGE_POOL, BlurMethod.MOSAIC, BlurMethod.SOLID)
"""What is painted in cells of one window; tests/unit/test_soft.py has the soft ellipse."""

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([(), (3,), (4,)])).map(
    lambda t: (t[0], t[1], *t[2])
)


def region(x: int, y: int, width: int, height: int) -> Region:
    return Region(x=x, y=y, width=width, height=height, score=1.0, found_by="test")


def random_pixels(shape: tuple[int, ...], dtype: type, seed: int) -> npt.NDArray[Any]:
    """Random pixels, every other time near white: where sums are largest."""
    lowest = int(np.iinfo(dtype).max) - 2 if seed % 2 else 0
    return np.random.default_rng(seed).integers(lowest, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def pool_by_definition(box: npt.NDArray[Any], window: int, stride: int) -> npt.NDArray[Any]:
    """Write 'same' pooling down as the documentation defines it: loops, Python's integers."""
    spans = [_spans(length, window, stride) for length in box.shape[:2]]
    result = np.empty((len(spans[0]), len(spans[1]), *box.shape[2:]), box.dtype)
    for row, (top, bottom) in enumerate(spans[0]):
        for column, (left, right) in enumerate(spans[1]):
            cell = box[top:bottom, left:right].astype(object)
            count = cell.shape[0] * cell.shape[1]
            mean = [v // count for v in np.atleast_1d(cell.sum(axis=(0, 1)))]
            result[row, column] = mean if box.ndim == 3 else mean[0]
    return result


def _spans(length: int, window: int, stride: int) -> list[tuple[int, int]]:
    count = math.ceil(length / stride)
    before = max((count - 1) * stride + window - length, 0) // 2
    starts = [i * stride - before for i in range(count)]
    return [(max(start, 0), min(start + window, length)) for start in starts]


@settings(max_examples=60, deadline=None)
@given(
    SHAPES.filter(lambda s: s[0] * s[1] < 500),
    st.integers(1, 300),
    st.integers(1, 30),
    st.sampled_from([np.uint8, np.uint16]),
    st.integers(0, 99),
)
def test_opencv_pools_as_defined(shape: tuple[int, ...], window: int, stride: int, dtype: type, seed: int) -> None:
    box = random_pixels(shape, dtype, seed)
    pooled = average_pool(box, pool_size_px=window, stride_px=stride)
    assert pooled.dtype == box.dtype
    np.testing.assert_array_equal(pooled, pool_by_definition(box, window, stride))


def test_sums_beyond_32_bits_are_exact() -> None:
    """OpenCV's own box filter wraps for uint16 from a window of 257 px on."""
    box = np.full((300, 300), 65535, np.uint16)
    assert (average_pool(box, pool_size_px=599, stride_px=1) == 65535).all()
    wide = np.full((4, 3000), 255, np.uint8)
    assert (average_pool(wide, pool_size_px=3000, stride_px=1) == 255).all()


@settings(max_examples=150, deadline=None)
@given(SHAPES, st.integers(1, 256), st.sampled_from([1, 1, 2, 7, 20]), st.integers(0, 99))
def test_both_engines_give_the_same_bits_for_8_bit(shape: tuple[int, ...], window: int, stride: int, seed: int) -> None:
    box = random_pixels(shape, np.uint8, seed)
    exact, keras = (average_pool(box, pool_size_px=window, stride_px=stride, engine=engine) for engine in Engine)
    np.testing.assert_array_equal(exact, keras)


@pytest.mark.parametrize("window", [255, 256])
def test_both_engines_agree_where_a_full_window_is_just_below_an_integer(window: int) -> None:
    for value in (255, 254, 129):
        box = np.full((window, window), value, np.uint8)
        box[0, 0] -= 1
        exact, keras = (average_pool(box, pool_size_px=window, stride_px=window, engine=e) for e in Engine)
        np.testing.assert_array_equal(exact, keras)


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.integers(1, 400), st.sampled_from([1, 7, 20, 400]), st.integers(0, 99))
def test_both_engines_give_the_same_bits_for_16_bit(
    shape: tuple[int, ...], window: int, stride: int, seed: int
) -> None:
    box = random_pixels(shape, np.uint16, seed)
    exact, keras = (average_pool(box, pool_size_px=window, stride_px=stride, engine=engine) for engine in Engine)
    np.testing.assert_array_equal(exact, keras)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("seed", range(4))
def test_both_engines_give_the_same_bits_for_larger_windows(dtype: type, seed: int) -> None:
    for window in (257, 300, 401):
        box = random_pixels((window + 20, window - 20, 3), dtype, seed)
        exact, keras = (average_pool(box, pool_size_px=window, stride_px=window, engine=e) for e in Engine)
        np.testing.assert_array_equal(exact, keras)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("method", BlurMethod)
def test_both_engines_redact_to_the_same_bits(method: BlurMethod, dtype: type) -> None:
    pictures = [random_pixels((310, 290, 3), dtype, 2) for _ in Engine]
    for picture, engine in zip(pictures, Engine, strict=True):
        redact(picture, [region(5, 5, 280, 300)], BlurSpec(method=method, engine=engine))
    np.testing.assert_array_equal(*pictures)


def test_tensorflow_is_not_imported_unless_chosen() -> None:
    code = (
        "import sys, numpy as np\n"
        "from faceblurd.imaging.redact.average_pool import average_pool\n"
        "average_pool(np.zeros((9, 9), np.uint8), pool_size_px=3, stride_px=1)\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_redaction_writes_through_a_turned_view(noise: npt.NDArray[Any]) -> None:
    blur = replace(FIXED, pool_size_px=8)
    turned = np.rot90(noise, -1).copy()  # what orientation 6 shows
    stored = noise.copy()
    redact(upright_view(stored, 6), [region(4, 5, 20, 30)], blur)
    redact(turned, [region(4, 5, 20, 30)], blur)
    np.testing.assert_array_equal(np.rot90(stored, -1), turned)
    assert (stored != noise).any()


def test_every_region_is_made_of_the_pixels_as_they_came_and_later_ones_lie_on_top(noise: npt.NDArray[Any]) -> None:
    boxes = [region(0, 0, 30, 30), region(10, 10, 30, 30), region(5, 20, 20, 20)]
    expected = noise.copy()
    for box in boxes:
        area = np.s_[box.y : box.y + box.height, box.x : box.x + box.width]
        expected[area] = pool_by_definition(noise[area], 5, 1)
    redact(noise, boxes, FIXED)
    np.testing.assert_array_equal(noise, expected)


def test_nothing_outside_the_region_changes(noise: npt.NDArray[Any]) -> None:
    before = noise.copy()
    redact(noise, [region(10, 12, 20, 9)], BlurSpec())
    changed = (noise != before).any(axis=2)
    changed[12:21, 10:30] = False
    assert not changed.any()


@pytest.mark.parametrize(("width", "height"), [(1, 30), (30, 1), (2, 2)])
def test_a_thin_region_is_hidden_too(noise: npt.NDArray[Any], width: int, height: int) -> None:
    before = noise.copy()
    redact(noise, [region(5, 5, width, height)], BlurSpec())
    assert (noise != before).any()


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from(BlurMethod))
def test_the_window_grows_with_the_longer_side(width: int, height: int, method: BlurMethod) -> None:
    window = window_px(region(0, 0, width, height), BlurSpec(method=method, pool_face_fraction=0.5))
    assert window >= 20 or method is BlurMethod.SOFT
    assert 2 * window >= max(width, height)


def test_a_fixed_window_stays() -> None:
    assert window_px(region(0, 0, 900, 900), replace(FIXED, pool_size_px=20)) == 20


@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(0, 1), st.integers(2, 50))
def test_a_mosaic_has_an_odd_number_of_cells_across_the_longer_side_and_no_more_than_asked_for(
    width: int, height: int, fraction: float, smallest: int
) -> None:
    blur = BlurSpec(method=BlurMethod.MOSAIC, pool_face_fraction=fraction, pool_size_px=smallest)
    window, longer = window_px(region(0, 0, width, height), blur), max(width, height)
    assert window >= max(smallest, longer * fraction)
    assert math.ceil(longer / window) % 2 == 1


def swapped_within_cells(box: npt.NDArray[Any], window: int) -> npt.NDArray[Any]:
    """Mirror every cell: other detail, the same means."""
    result = box.copy()
    spans = [_spans(length, window, window) for length in box.shape[:2]]
    for top, bottom in spans[0]:
        for left, right in spans[1]:
            result[top:bottom, left:right] = box[top:bottom, left:right][::-1, ::-1]
    return result


@given(st.integers(30, 90), st.integers(30, 90), st.sampled_from(WITH_CELLS), st.floats(0.1, 1))
def test_detail_finer_than_a_cell_changes_nothing(width: int, height: int, method: BlurMethod, fraction: float) -> None:
    blur, area = BlurSpec(method=method, pool_face_fraction=fraction), region(4, 3, width, height)
    picture = random_pixels((100, 100, 3), np.uint8, 2 * width)
    other, box = picture.copy(), np.s_[3 : 3 + height, 4 : 4 + width]
    other[box] = swapped_within_cells(picture[box], window_px(area, blur))
    assert (other != picture).any()
    redact(picture, [area], blur)
    redact(other, [area], blur)
    np.testing.assert_array_equal(picture, other)


def test_a_faint_change_of_one_cell_is_lost_in_the_rounding() -> None:
    """What a deconvolution lives on is the small difference between one mean and the next."""
    picture = np.full((100, 100), 100, np.uint8)
    changed = picture.copy()
    changed[10:50, 10:50] += 3
    for each in (picture, changed):
        redact(each, [region(10, 10, 80, 80)], BlurSpec())
    np.testing.assert_array_equal(picture, changed)


@given(st.integers(2, 256), st.sampled_from([np.uint8, np.uint16]))
def test_rounding_leaves_so_many_levels_with_black_and_white_among_them(levels: int, dtype: type) -> None:
    top = int(np.iinfo(dtype).max)
    rounded = quantise(np.arange(top + 1, dtype=dtype), levels)
    assert len(np.unique(rounded)) == levels
    assert (rounded[0], rounded[-1]) == (0, top)
    assert np.abs(rounded.astype(int) - np.arange(top + 1)).max() <= top / (levels - 1) / 2 + 1
    np.testing.assert_array_equal(quantise(rounded, levels), rounded)


def test_gray_stays_gray_and_skin_keeps_its_hue_when_rounded() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    rounded = quantise(ramp, 8)
    assert (rounded == rounded[:, :, :1]).all()
    blue, green, red = quantise(np.array([[[120, 140, 185]]], np.uint8), 8)[0, 0].tolist()
    assert blue <= green < red


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_have_so_many_levels_in_each_channel(channels: int) -> None:
    values = random_pixels((50, 50, channels), np.uint8, 8)
    assert set(np.unique(quantise(values, 8))) == set(quantise(np.arange(256, dtype=np.uint8), 8).tolist())


def test_solid_is_gray_whatever_was_there() -> None:
    picture = random_pixels((60, 60, 3), np.uint8, 3)
    redact(picture, [region(10, 10, 30, 40)], BlurSpec(method=BlurMethod.SOLID))
    assert (picture[10:50, 10:40] == 128).all()


@pytest.mark.parametrize("method", BlurMethod)
def test_an_opaque_picture_stays_opaque(method: BlurMethod) -> None:
    picture = random_pixels((60, 60, 4), np.uint8, 4)
    picture[:, :, 3] = 255
    redact(picture, [region(10, 10, 30, 40)], BlurSpec(method=method))
    assert (picture[:, :, 3] == 255).all()


def test_a_mosaic_is_made_of_flat_cells(noise: npt.NDArray[Any]) -> None:
    blur = BlurSpec(method=BlurMethod.MOSAIC, pool_size_px=5, pool_face_fraction=0.2, levels=None)
    redact(noise, [region(4, 3, 35, 35)], blur)
    cells = noise[3:38, 4:39].reshape(5, 7, 5, 7, 3)
    assert (cells == cells[:, :1, :, :1]).all()


def test_a_cell_that_does_not_fit_is_cut_on_both_sides_and_painted_where_it_was_measured() -> None:
    picture = np.arange(100, dtype=np.uint8)[None, :].repeat(60, axis=0)
    blur = BlurSpec(method=BlurMethod.MOSAIC, pool_size_px=14, pool_face_fraction=0.0, levels=None)
    redact(picture, [region(10, 10, 21, 40)], blur)
    assert picture[30, 10:31].tolist() == [15] * 11 + [25] * 10


def test_the_average_pool_paints_no_edges_between_its_cells() -> None:
    picture = np.zeros((120, 120), np.uint8)
    picture[:60] = 255
    redact(picture, [region(10, 10, 100, 100)], BlurSpec())
    steps = np.abs(np.diff(picture[10:110, 10:110].astype(int), axis=0))
    assert 0 < steps.max() <= 6


@pytest.mark.parametrize("method", BlurMethod)
def test_a_small_region_does_not_show_what_a_large_one_hides(method: BlurMethod) -> None:
    """The large one lies on top, in whatever order they come: the means of the small one are finer."""
    large, small = region(10, 10, 80, 80), region(70, 70, 30, 30)
    picture = random_pixels((120, 120), np.uint8, 6)
    other = picture.copy()
    other[10:90, 10:90] = swapped_within_cells(picture[10:90, 10:90], window_px(large, BlurSpec(method=method)))
    for each, order in ((picture, [small, large]), (other, [large, small])):
        redact(each, order, BLURS[method])
    core = np.s_[30:70, 30:70]  # of a soft one, where nothing shines through
    covered = core if method is BlurMethod.SOFT else np.s_[10:90, 10:90]
    allowed = 24 if method is BlurMethod.SOFT else 0  # a step of its rounding: other pixels make its means
    assert np.abs(picture[covered].astype(int) - other[covered]).max() <= allowed


@pytest.mark.parametrize("method", [BlurMethod.AVERAGE_POOL, BlurMethod.MOSAIC])
@pytest.mark.parametrize("shape", Shape)
def test_a_flat_region_has_one_colour_its_own_and_a_coarse_one(method: BlurMethod, shape: Shape) -> None:
    picture = np.full((60, 60, 3), (90, 120, 180), np.uint8)
    picture[::2, 20:40] = (100, 110, 190)
    blur = replace(BLURS[method], shape=shape)
    redact(picture, [replace(region(10, 10, 30, 40), flat=True)], blur)
    inner = picture[20:40, 18:32].reshape(-1, 3)
    assert len(np.unique(inner, axis=0)) == 1
    assert np.abs(inner[0].astype(int) - (93, 117, 183)).max() <= 28  # half a step of brightness, less of the hue


def test_what_is_always_hidden_is_a_box_whatever_the_shape() -> None:
    picture = random_pixels((60, 60, 3), np.uint8, 8)
    zone = replace(region(10, 10, 30, 40), found_by=ALWAYS)
    redact(picture, [zone], BlurSpec(method=BlurMethod.SOLID, shape=Shape.ELLIPSE))
    assert (picture[10:50, 10:40] == 128).all()


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 0.6))
def test_the_ellipse_covers_the_box_that_was_detected(width: int, height: int, margin: float) -> None:
    face = region(100, 100, width, height)
    grown = grow(face, margin)
    picture = np.zeros((300, 300), np.uint8)
    picture[::2, ::2] = 255
    picture[1::2, 1::2] = 255
    mask = np.zeros_like(picture)
    blur = BlurSpec(margin=margin, shape=Shape.ELLIPSE, method=BlurMethod.SOLID)
    redact(picture, [grown], blur)
    mask[(picture != 0) & (picture != 255)] = 1
    if min(grown.width, grown.height) > 1:
        assert mask[100 : 100 + height, 100 : 100 + width].all()


def test_the_ellipse_leaves_the_corners_of_a_wide_margin() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (200, 200), dtype=np.uint8)
    before = picture.copy()
    redact(picture, [region(50, 50, 100, 100)], BlurSpec(margin=0.5, shape=Shape.ELLIPSE))
    assert picture[50, 50] == before[50, 50]
    assert (picture != before)[75:125, 75:125].mean() > 0.9


@pytest.mark.parametrize(("scale", "levels"), [(0.564, 8), (0.713, 8), (0.713, 5)])
def test_differences_of_colour_are_rounded_from_their_middle_on(scale: float, levels: int) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    rounded = quantise(values, levels, chroma=scale).astype(int)
    step = scale * 255 / (levels - 1)  # of a colour, seen through the scale
    assert rounded[8, 0] == 128
    inner = (values > step) & (values < 255 - step)
    assert np.abs(rounded - values)[inner].max() <= step / 2 + 0.5
    assert len(np.unique(rounded)) <= 2 * round(128 / step) + 1


@pytest.mark.parametrize("method", list(BlurMethod))
def test_a_region_that_is_far_longer_than_high_costs_no_square_of_its_length(method: BlurMethod) -> None:
    box = random_pixels((6, 60_000, 3), np.uint8, 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    redact(box, [region(0, 0, 60_000, 6)], BlurSpec(method=method))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB; it took 5 GB
    assert np.abs(np.diff(box.astype(int), axis=1)).max() < 40
