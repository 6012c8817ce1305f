"""Bitmaps of every depth: what was not painted keeps its bits, and the header says what it said."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from faceblurd.errors import ImageError
from faceblurd.imaging.files import open_image
from faceblurd.imaging.metadata import Scrub
from faceblurd.imaging.verify import verify, verify_clean
from faceblurd.model import BlurSpec, Reason, Region

if TYPE_CHECKING:
    import numpy.typing as npt

MAX = 1_000_000
WIDTH, HEIGHT = 37, 31
REGION = Region(x=5, y=6, width=20, height=18, score=1.0, found_by="always")
BLUR = BlurSpec()
WIDE, NARROW = (0xFF0000, 0xFF00, 0xFF, 0xFF000000), (0xF800, 0x7E0, 0x1F, 0)  # red, green, blue, alpha


def bitmap(
    bits: int,
    *,
    header: int = 40,
    compression: int = 0,
    upward: bool = True,
    masks: tuple[int, ...] = (),
    rows: bytes | None = None,
    tail: bytes = b"",
    profile: bytes = b"",
) -> bytes:
    """Write a bitmap by hand, of random rows and colours."""
    rng = np.random.default_rng(bits)
    stride = (WIDTH * bits + 31) // 32 * 4
    body = rng.integers(0, 256, stride * HEIGHT, dtype=np.uint8).tobytes() if rows is None else rows
    entry = 3 if header == 12 else 4
    table = rng.integers(0, 256, (1 << bits if bits <= 8 else 0, entry), dtype=np.uint8)
    table[:, 3:] = 0
    height = HEIGHT if upward else -HEIGHT
    if header == 12:
        info = struct.pack("<IHHHH", 12, WIDTH, height, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, WIDTH, height, 1, bits, compression, len(body), 2835, 2836, 0, 0)
        info += struct.pack(f"<{len(masks)}I", *masks)
        info = info.ljust(header, b"\0")
    if profile:
        info = info[:56] + b"DEBM" + info[60:112]
        info += struct.pack("<III", len(info) + 12 + table.size + len(body), len(profile), 0)
    start = 14 + len(info) + table.size
    whole = start + len(body) + len(profile)
    return b"BM" + struct.pack("<IHHI", whole, 0, 0, start) + info + table.tobytes() + body + profile + tail


KINDS: dict[str, bytes] = {
    **{f"{bits} bits": bitmap(bits) for bits in (1, 4, 8, 16, 24, 32)},
    "top down": bitmap(24, upward=False),
    "OS/2": bitmap(8, header=12),
    "OS/2 24": bitmap(24, header=12),
    "565": bitmap(16, compression=3, masks=NARROW[:3]),
    "V4 alpha": bitmap(32, header=108, compression=3, masks=WIDE),
    "V5 alpha": bitmap(32, header=124, compression=3, masks=WIDE),
    "V4 no alpha": bitmap(32, header=108, compression=3, masks=(*WIDE[:3], 0)),
    "V4 other order": bitmap(32, header=108, compression=3, masks=(0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
    "1555": bitmap(16, header=108, compression=3, masks=(0x7C00, 0x3E0, 0x1F, 0x8000)),
}


def rle() -> dict[str, bytes]:
    """Return the same picture coded in runs of 8 and of 4 bits."""
    cells = np.arange(HEIGHT)[:, None] % 7 + np.arange(WIDTH)[None] // 9
    eight = b"".join(b"".join(bytes([1, cell]) for cell in row) + b"\0\0" for row in cells[::-1]) + b"\0\1"
    four = b"".join(b"".join(bytes([1, cell << 4]) for cell in row) + b"\0\0" for row in cells[::-1]) + b"\0\1"
    return {"RLE8": bitmap(8, compression=1, rows=eight), "RLE4": bitmap(4, compression=2, rows=four)}


ALL = {**KINDS, **rle()}


def opened(data: bytes) -> Any:
    return open_image(data, max_pixels=MAX)


def seen_by_others(data: bytes) -> npt.NDArray[Any]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))[:, :, ::-1]


@pytest.mark.parametrize("name", ALL)
def test_pixels_are_those_that_pillow_sees(name: str) -> None:
    pixels = opened(ALL[name]).pixels()
    np.testing.assert_allclose(pixels[:, :, :3].astype(int), seen_by_others(ALL[name]), atol=1)  # 5 bits round twice


@pytest.mark.parametrize("name", ALL)
def test_a_region_is_hidden_and_every_other_bit_stays(name: str) -> None:
    picture = opened(ALL[name])
    before = picture.pixels()
    result = picture.redacted([REGION], BLUR, Scrub())
    verify(result, picture=picture, regions=[REGION], blur=replace(BLUR, allow_weak=True), max_pixels=MAX)
    outside = np.ones((HEIGHT, WIDTH), np.bool_)
    outside[6:24, 5:25] = False
    after = opened(result.data).pixels()
    assert (after != before)[~outside].any()
    np.testing.assert_array_equal(after[outside], before[outside])
    np.testing.assert_array_equal(seen_by_others(result.data)[outside], seen_by_others(ALL[name])[outside])
    start = struct.unpack_from("<I", ALL[name], 10)[0]
    if name in KINDS:
        assert result.data[:start] == ALL[name][:start]
        assert len(result.data) == len(ALL[name])
        assert not result.note
    else:
        assert struct.unpack_from("<I", result.data, 30)[0] == 0
        assert "run-length" in result.note


@pytest.mark.parametrize("name", ALL)
def test_a_clean_copy_is_the_file_itself(name: str) -> None:
    picture = opened(ALL[name])
    assert picture.scrubbed() == ALL[name]
    verify_clean(picture.scrubbed(), picture=picture, max_pixels=MAX)
    assert opened(ALL[name] + b"more").scrubbed() == ALL[name]


def test_opencv_sees_the_alpha_that_was_not_painted() -> None:
    data = cv2.imencode(".bmp", np.random.default_rng(1).integers(0, 256, (40, 40, 4), dtype=np.uint8))[1].tobytes()
    picture = opened(data)
    result = picture.redacted([REGION], BLUR, Scrub())
    one, other = (cv2.imdecode(np.frombuffer(d, np.uint8), cv2.IMREAD_UNCHANGED) for d in (data, result.data))
    assert one is not None
    assert other is not None
    assert one.shape == other.shape == (40, 40, 4)
    np.testing.assert_array_equal(one[25:], other[25:])


@pytest.mark.parametrize("clean", [True, False])
def test_the_colour_profile_of_a_version_5_header_stays(*, clean: bool) -> None:
    data = bitmap(24, header=124, profile=b"profile" * 5)
    picture = opened(data + b"hidden")
    result = picture.scrubbed() if clean else picture.encode(picture.pixels()).data
    start = 14 + 124
    assert result[:start] == data[:start]
    assert result.endswith(b"profile" * 5)
    assert len(result) == len(data)
    np.testing.assert_array_equal(opened(result).pixels(), picture.pixels())


def test_a_profile_that_is_a_picture_goes() -> None:
    out = io.BytesIO()
    Image.effect_noise((16, 16), 50).save(out, "JPEG")
    picture = opened(bitmap(24, header=124, profile=out.getvalue()))
    assert picture.embedded()
    assert not opened(picture.scrubbed()).embedded()


@pytest.mark.parametrize(
    "data",
    [
        bitmap(32, compression=3, masks=(0x3FF00000, 0xFFC00, 0x3FF)),  # 10 bits a channel
        bitmap(32, compression=3, masks=(0xFF0000, 0xF0F0, 0xFF)),  # a mask with a gap
        bitmap(16, compression=3, masks=(0xF800, 0x7E0, 0)),
        bitmap(24, compression=3, masks=NARROW[:3]),
        bitmap(24, compression=1),
        bitmap(8, compression=4),  # a JPEG inside
        bitmap(8, header=16),
        KINDS["8 bits"][:28] + b"\2\0" + KINDS["8 bits"][30:],
    ],
)
def test_what_could_not_be_given_back_is_held(data: bytes) -> None:
    with pytest.raises(ImageError) as raised:
        opened(data)
    assert raised.value.reason is Reason.UNSUPPORTED


def test_a_header_after_which_programs_look_for_the_palette_in_different_places_is_refused() -> None:
    odd = bytearray(KINDS["1 bits"])
    odd[14] = 41
    with pytest.raises(ImageError) as raised:
        opened(bytes(odd))
    assert raised.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("part", [0.05, 0.5, 0.95])
def test_a_cut_bitmap_waits(name: str, part: float) -> None:
    with pytest.raises(ImageError) as raised:
        opened(ALL[name][: int(len(ALL[name]) * part)]).pixels()
    assert raised.value.reason is Reason.INCOMPLETE


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(ALL)), st.lists(st.tuples(st.integers(2, 200), st.integers(0, 255)), max_size=6))
def test_no_damage_raises_anything_but_an_image_error(name: str, damage: list[tuple[int, int]]) -> None:
    broken = bytearray(ALL[name])
    for place, value in damage:
        broken[place] = value
    try:
        picture = opened(bytes(broken))
        picture.encode(picture.pixels())
        verify_clean(picture.scrubbed(), picture=picture, max_pixels=MAX)
    except ImageError:
        pass
