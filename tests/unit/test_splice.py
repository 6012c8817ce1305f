"""JPEG surgery on random JPEGs: nothing changes outside, what is inside is what was meant, and decoders are content."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from faceblurd.imaging import geometry
from faceblurd.imaging import jpeg_segments as js
from faceblurd.imaging.files import open_image
from faceblurd.imaging.files.codecs import library_warnings
from faceblurd.imaging.files.jpeg import (
    JpegPicture,
    laying,
    laying_fallback,
    laying_native,
    surgery,
)
from faceblurd.imaging.files.jpeg import (
    native as library,
)
from faceblurd.imaging.files.jpeg.areas import Area, in_plane, touched
from faceblurd.imaging.files.jpeg.fallback import FallbackCoder
from faceblurd.imaging.files.jpeg.layout import read_layout
from faceblurd.imaging.files.jpeg.painting import CHROMA, Paint, repaint
from faceblurd.imaging.files.jpeg.planes import grid, samples
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.imaging.redact.soft import Channels, Ellipse, lay
from faceblurd.model import ALWAYS, BlurMethod, BlurSpec, Region, Shape

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.files.jpeg.covers import Covers
    from faceblurd.imaging.files.jpeg.layout import Layout, Plane
    from faceblurd.imaging.files.jpeg.sheets import Sheet
    from faceblurd.imaging.picture import Encoded

MAX = 200_000_000
CV_SAMPLINGS = {
    "411": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
    "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "440": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}
KINDS = (*CV_SAMPLINGS, "gray", "rgb", "cmyk", "ycck", "pillow 4:2:0", "pillow 4:2:2")
SOFT = BlurSpec(method=BlurMethod.SOFT, shape=Shape.ELLIPSE, margin=0.28)
VARIETY = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Case:
    """One random JPEG, and what to hide in it (upright)."""

    data: bytes
    kind: str
    orientation: int
    regions: tuple[Region, ...]
    blur: BlurSpec


def picture_of(width: int, height: int, seed: int, noise: int) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (2 + height // 24, 2 + width // 24, 3), dtype=np.uint8)
    smooth = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return (smooth + rng.integers(-noise, noise + 1, (height, width, 3))).clip(0, 255).astype(np.uint8)


def encode(
    pixels: npt.NDArray[np.uint8], kind: str, *, quality: int = 90, optimise: bool = False, every: int = 0
) -> bytes:
    """Write a JPEG of a kind; `every`: MCUs in a restart interval, 0 for none."""
    if kind in CV_SAMPLINGS or kind == "gray":
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, int(optimise)]
        options += [cv2.IMWRITE_JPEG_RST_INTERVAL, every]
        if kind != "gray":
            options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, CV_SAMPLINGS[kind]]
        return cv2.imencode(".jpg", pixels[:, :, 1] if kind == "gray" else pixels, options)[1].tobytes()
    image = Image.fromarray(pixels)
    options = {"quality": quality, "optimize": optimise, "restart_marker_blocks": every}
    if kind in {"cmyk", "ycck"}:
        image = image.convert("CMYK")
    elif kind == "rgb":
        options |= {"keep_rgb": True, "subsampling": 0}
    else:
        options |= {"subsampling": kind.removeprefix("pillow ")}
    out = io.BytesIO()
    with mock.patch.object(ImageFile, "MAXBLOCK", 1 << 20):  # what it takes by itself is too small for noise
        image.save(out, "JPEG", **options)
    data = out.getvalue()
    return data.replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2") if kind == "ycck" else data


def turned(data: bytes, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x112] = orientation
    return data[:2] + js.build(js.APP1, exif.tobytes()) + data[2:]


@st.composite
def cases(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> Case:
    width, height = (draw(st.one_of(st.integers(1, 40), st.integers(1, 200))) for _ in range(2))
    kind, orientation = draw(st.sampled_from(kinds)), draw(st.integers(1, 8))
    pixels = picture_of(width, height, draw(st.integers(0, 999)), draw(st.sampled_from([0, 4, 60])))
    quality, optimise = draw(st.integers(1, 100)), draw(st.booleans())
    data = encode(pixels, kind, quality=quality, optimise=optimise, every=draw(st.sampled_from([0, 0, 1, 3, 40])))
    upright = geometry.upright_size(width, height, orientation=orientation)
    regions = []
    for _ in range(draw(st.integers(1, 3))):
        x, y = (draw(st.integers(0, side - 1)) for side in upright)
        across, down = draw(st.integers(1, upright[0] - x)), draw(st.integers(1, upright[1] - y))
        found_by = draw(st.sampled_from(["test", "test", ALWAYS]))
        regions.append(Region(x, y, across, down, 0.5, found_by, flat=draw(st.booleans())))
    method, margin = draw(st.sampled_from(BlurMethod)), draw(st.sampled_from([0.15, 0.28, 0.0]))
    blur = BlurSpec(method=method, shape=draw(st.sampled_from(Shape)), margin=margin)
    return Case(turned(data, orientation), kind, orientation, tuple(regions), blur)


def spliced(case: Case) -> Encoded:
    encoded = open_image(case.data, max_pixels=MAX).redacted(case.regions, case.blur, BARE)
    assert encoded.lossless, encoded.note
    return encoded


def decoded(data: bytes) -> list[npt.NDArray[Any]]:
    """Decode with OpenCV and with Pillow, as stored; a warning of either fails."""
    flags = cv2.IMREAD_UNCHANGED if open_image(data, max_pixels=MAX)._mode != "RGB" else cv2.IMREAD_COLOR
    with library_warnings() as said, warnings.catch_warnings():
        warnings.simplefilter("error")
        first = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
        with Image.open(io.BytesIO(data)) as image:
            second = np.array(image)
    assert said == []
    return [first, second]


def planes_of(data: bytes) -> tuple[Layout, list[npt.NDArray[np.uint8]]]:
    """Decode every component as it is stored, with the loop in Python."""
    segments = js.scan(data)
    layout = read_layout(data, segments, js.read_frame(data, segments))
    everything = Area(0, 0, layout.across, layout.down)
    coefficients = surgery.Reading(data, layout, [everything], FallbackCoder).blocks.coefficients
    planes, first = [], 0
    for plane in layout.planes:
        last = first + plane.horizontal * plane.vertical
        pixels = np.zeros((layout.down * plane.vertical * 8, layout.across * plane.horizontal * 8), np.uint8)
        read = samples(coefficients[:, first:last].reshape(-1, 64), plane.steps)
        grid(pixels, plane.horizontal, plane.vertical)[...] = read.reshape(
            layout.down, layout.across, plane.vertical, plane.horizontal, 8, 8
        )
        planes.append(pixels[: plane.height, : plane.width])
        first = last
    return layout, planes


@VARIETY
@given(cases())
def test_no_pixel_changes_outside_of_the_reported_regions_and_decoders_do_not_warn(case: Case) -> None:
    encoded = spliced(case)
    assert encoded.regions is not None
    for before, after in zip(decoded(case.data), decoded(encoded.data), strict=True):
        differs = (before != after).reshape(*before.shape[:2], -1).any(axis=2)
        upright = geometry.upright_view(differs, case.orientation)
        for region in encoded.regions:
            upright[region.y : region.y + region.height, region.x : region.x + region.width] = False
        assert not differs.any()


@VARIETY
@given(cases())
def test_the_reported_regions_hold_the_ones_asked_for_and_little_more(case: Case) -> None:
    encoded = spliced(case)
    assert encoded.regions is not None
    assert len(encoded.regions) == len(case.regions)
    for asked, told in zip(case.regions, encoded.regions, strict=True):
        assert told.x <= asked.x < asked.x + asked.width <= told.x + told.width
        assert told.y <= asked.y < asked.y + asked.height <= told.y + told.height
        assert max(told.width - asked.width, told.height - asked.height) <= 2 * 32 + 2  # 4:1:1 has MCUs of 32 pixels
        assert (told.score, told.found_by) == (asked.score, asked.found_by)


def ellipse_on(plane: Plane, number: int, region: Region, case: Case, layout: Layout) -> Ellipse:
    """Return the ellipse of the picture as it lies on a component; only the first one, the brightness, has shades."""
    whole = Ellipse.of(region, (layout.width, layout.height), case.blur.margin)
    by_x, by_y = plane.horizontal * 8 / layout.mcu_width, plane.vertical * 8 / layout.mcu_height
    return replace(whole.on_plane(by_x, by_y, left=0, top=0), flat=whole.flat or number > 0)


@VARIETY
@given(cases(kinds=("gray", "420", "422", "440", "444", "411", "ycck")))
def test_inside_is_the_redaction_of_each_component_within_quantisation(case: Case) -> None:
    layout, before = planes_of(case.data)
    _, after = planes_of(spliced(case).data)
    size = {"orientation": case.orientation, "width": layout.width, "height": layout.height}
    stored = [geometry.to_stored(region, **size) for region in case.regions]
    for number, (plane, meant, got) in enumerate(zip(layout.planes, before, after, strict=True)):
        height, width = meant.shape
        channels = Channels(CHROMA.get(number) if len(before) > 1 else None)
        if case.blur.method is BlurMethod.SOFT:
            lay(
                meant,
                [ellipse_on(plane, number, region, case, layout) for region in stored],
                case.blur.levels,
                channels,
            )
        else:
            upright = [
                geometry.to_upright(
                    in_plane(region, plane, layout), orientation=case.orientation, width=width, height=height
                )
                for region in stored
            ]
            by = max(plane.horizontal * 8 / layout.mcu_width, plane.vertical * 8 / layout.mcu_height)
            blur = replace(case.blur, pool_size_px=int(np.ceil(case.blur.pool_size_px * by)))
            redact(geometry.upright_view(meant, case.orientation), upright, blur, channels)
        error = (meant.astype(float) - got) ** 2
        worst = np.sum((plane.steps / 2) ** 2)  # the transform keeps lengths: of a block, no error is longer
        for y in range(0, height, 8):
            for x in range(0, width, 8):
                assert error[y : y + 8, x : x + 8].sum() ** 0.5 <= worst**0.5 + 8  # and each sample was rounded twice


@settings(VARIETY, max_examples=40)
@given(cases())
def test_the_loop_in_python_gives_the_same_file(case: Case) -> None:
    segments = js.scan(case.data)
    layout = read_layout(case.data, segments, js.read_frame(case.data, segments))
    size = {"orientation": case.orientation, "width": layout.width, "height": layout.height}
    stored = [geometry.to_stored(region, **size) for region in case.regions]
    paint = Paint(case.blur, case.orientation, CHROMA)
    fast = surgery.splice(case.data, layout, stored, paint)
    assert fast == surgery.splice(case.data, layout, stored, paint, coder_for=FallbackCoder)


@pytest.mark.skipif(library.available() is not None, reason="nothing is compiled")
@settings(VARIETY, max_examples=60)
@given(cases(), st.booleans())
def test_numpy_lays_covers_as_the_compiled_code_does_but_for_a_rounding(case: Case, flat: bool) -> None:
    segments = js.scan(case.data)
    layout = read_layout(case.data, segments, js.read_frame(case.data, segments))
    size = {"orientation": case.orientation, "width": layout.width, "height": layout.height}
    stored = [geometry.to_stored(replace(region, flat=flat), **size) for region in case.regions]
    reading = surgery.Reading(case.data, layout, [touched(region, layout) for region in stored])
    paint = Paint(SOFT, case.orientation, CHROMA if case.kind not in {"rgb", "cmyk"} else {})
    read, painted, native = [], [], laying_native.quarters

    def quarters(sheet: Sheet, covers: Covers) -> npt.NDArray[np.float64]:
        """Read with both: one sample between two levels may be another, and with it the colour of all."""
        means = laying_fallback.quarters(sheet, covers)
        read.append(np.abs(native(sheet, covers) - means).max())
        return means

    for reason in (library.available(), "not to be had"):
        with (
            mock.patch.object(laying, "available", return_value=reason),
            mock.patch.object(laying_native, "quarters", quarters),
        ):
            coefficients = reading.blocks.coefficients.copy()
            repaint(replace(reading.blocks, coefficients=coefficients), layout, stored, paint)
            painted.append(coefficients.astype(int))
    assert (painted[0] != reading.blocks.coefficients).any() == (painted[1] != reading.blocks.coefficients).any()
    differs = np.abs(painted[0] - painted[1])
    assert differs.max(initial=0) <= 1
    assert np.count_nonzero(differs) <= max(4, 0.001 * differs.size), "of a few blocks, one value may lie between steps"
    assert read
    assert max(read) <= 1


@pytest.mark.parametrize("every", [0, 5])
def test_what_no_region_meets_keeps_its_bytes(every: int) -> None:
    data = encode(picture_of(320, 240, 1, 20), "420", every=every)
    case = Case(data, "420", 1, (Region(100, 100, 60, 50, 1, "test"),), BlurSpec())
    encoded = spliced(case).data
    before, after = ([d[s.start : s.end] for s in js.scan(d) if not js.is_app(s.marker)] for d in (data, encoded))
    assert before[:-2] == after[:-2]  # tables and frame; the last two are scan and end
    same = next(i for i, (a, b) in enumerate(zip(before[-2], after[-2], strict=False)) if a != b)
    assert same > len(before[-2]) // 3  # MCU rows above the region come first
    if every:
        assert before[-2][-len(before[-2]) // 4 :] == after[-2][-len(before[-2]) // 4 :]
    assert abs(len(encoded) - len(data)) < 0.1 * len(data)


def test_the_planes_are_what_libjpeg_decodes() -> None:
    data = encode(picture_of(123, 77, 3, 40), "gray", quality=93)
    _, (plane,) = planes_of(data)
    libjpeg = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.abs(plane.astype(int) - libjpeg).max() <= 1


def test_gray_skin_is_not_tinted() -> None:
    pixels = np.repeat(picture_of(96, 96, 5, 40)[:, :, :1], 3, axis=2)
    case = Case(encode(pixels, "420", quality=95), "420", 1, (Region(16, 16, 48, 48, 1, "test"),), BlurSpec())
    inside = decoded(spliced(case).data)[0][20:60, 20:60].astype(int)
    assert np.abs(inside - inside.mean(axis=2, keepdims=True)).max() <= 3


@pytest.mark.parametrize("kind", ["420", "rgb", "cmyk", "gray"])
def test_a_mosaic_of_solid_cells_hides_every_detail(kind: str) -> None:
    region = Region(24, 24, 96, 120, 1, "test")
    pixels = picture_of(200, 200, 8, 60)
    outputs = []
    for seed in (8, 9):  # the same means, other details
        pixels[24:144, 24:120] = 100 + np.random.default_rng(seed).integers(-50, 51, (120, 96, 3))
        case = Case(encode(pixels, kind, quality=92), kind, 1, (region,), BlurSpec(method=BlurMethod.MOSAIC))
        outputs.append(decoded(spliced(case).data)[1][24:144, 24:120].astype(int))
    assert np.abs(outputs[0] - outputs[1]).mean() < 2


@pytest.mark.parametrize(
    ("options", "why"),
    [({"progressive": True}, "progressive"), ({"progressive": True, "restart_marker_rows": 1}, "progressive")],
)
def test_a_progressive_file_is_encoded_anew_and_the_note_says_why(options: dict[str, Any], why: str) -> None:
    out = io.BytesIO()
    Image.fromarray(picture_of(80, 60, 2, 10)).save(out, "JPEG", **options)
    encoded = open_image(out.getvalue(), max_pixels=MAX).redacted([Region(8, 8, 30, 30, 1, "test")], BlurSpec(), BARE)
    assert not encoded.lossless
    assert why in encoded.note


def test_noise_in_a_progressive_file_of_the_best_quality_is_encoded_anew_as_well() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    data = cv2.imencode(".jpg", noise, options)[1].tobytes()
    encoded = open_image(data, max_pixels=MAX).redacted([Region(8, 8, 30, 30, 1, "test")], BlurSpec(), BARE)
    assert 0.5 < len(encoded.data) / len(data) < 1.1


def resized(data: bytes, height: int, width: int) -> bytes:
    """Change the size in the header alone, as lossless cutters do: what is cut off the last MCUs stays in them."""
    at = next(one for one in js.scan(data) if one.marker == 0xC0).start + 5
    return data[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[at + 4 :]


@pytest.mark.parametrize(("kind", "cut"), [("420", 13), ("444", 6), ("gray", 6)])
def test_what_a_cut_left_beyond_the_edge_of_a_face_is_hidden_too(kind: str, cut: int) -> None:
    data, size = encode(picture_of(240, 240, 7, 90), kind, quality=95), 240 - cut
    case = Case(resized(data, size, size), kind, 1, (Region(size - 80, size - 80, 80, 80, 1, "test"),), SOFT)
    before, after = (decoded(resized(one, 240, 240))[0].astype(float) for one in (case.data, spliced(case).data))
    for part in (np.s_[size:, size - 60 : size - 20], np.s_[size - 60 : size - 20, size:]):
        detail = [float(np.abs(np.diff(one[part], axis=1)).mean()) for one in (before, after)]
        assert detail[0] > 15
        assert detail[1] < 3


@pytest.mark.parametrize("order", [1, -1])
def test_the_largest_cover_lies_on_top_whatever_the_order(order: int) -> None:
    pixels = np.full((240, 240, 3), 40, np.uint8)
    pixels[:, 120:] = 220
    data = encode(pixels, "444", quality=95)
    large, small = Region(20, 40, 120, 150, 1, "test"), Region(110, 80, 60, 60, 1, "test")
    case = Case(data, "444", 1, (large, small)[::order], SOFT)
    meant, layout = planes_of(data)[1][0], planes_of(data)[0]
    lay(meant, [ellipse_on(layout.planes[0], 0, region, case, layout) for region in (large, small)], 8, Channels(None))
    got = planes_of(spliced(case).data)[1][0]
    assert np.abs(meant.astype(int) - got).max() < 12


def test_beyond_the_edge_of_a_rim_nothing_is_left_of_what_was_cut_off() -> None:
    flat = np.full((240, 240, 3), 120, np.uint8)
    flat[236:] = np.where(np.arange(240)[None, :, None] % 2, 255, 0)  # stripes below the cut
    data = resized(encode(flat, "gray", quality=95), 236, 240)
    case = Case(data, "gray", 1, (Region(80, 140, 80, 96, 1, "test"),), SOFT)
    _, (plane,) = planes_of(resized(spliced(case).data, 240, 240))
    below, edge = plane[236:, 84:156].astype(int), plane[235, 84:156].astype(int)
    assert np.abs(below - edge).max() < 60


def test_what_the_check_asks_for_again_was_painted_once() -> None:
    picture = open_image(encode(picture_of(200, 160, 5, 30), "420"), max_pixels=MAX)
    assert isinstance(picture, JpegPicture)
    regions = (Region(40, 40, 60, 60, 1, "test"), Region(120, 30, 50, 70, 1, "test"))
    with mock.patch.object(surgery, "repaint", wraps=surgery.repaint) as repaint:
        again = open_image(picture.redacted(regions, SOFT, BARE).data, max_pixels=MAX)
        assert isinstance(again, JpegPicture)
        assert not picture.compared(again, regions, SOFT).unlike
        assert repaint.call_count == 1
        other = (regions[0], replace(regions[1], flat=True))
        assert picture.compared(again, other, SOFT).unlike == {1}
        assert repaint.call_count == 2
