"""PNGs of few colours: palettes, 1 to 4 bits, gray with opacity; written as what they were."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faceblurd.imaging.files import open_image
from faceblurd.imaging.files.codecs import nearest
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.verify import verify
from faceblurd.model import BlurMethod, BlurSpec, Region

MAX = 10**7
BOX = Region(x=24, y=20, width=50, height=46, score=1.0, found_by="test")


def drawn(colours: int) -> Image.Image:
    """Draw blocks of so many colours, most of them outside of the box as well."""
    rng = np.random.default_rng(colours)
    cells = rng.integers(0, colours, (45, 51), dtype=np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    image = Image.fromarray(cells).convert("P")
    image.frombytes(cells.tobytes())
    image.putpalette(rng.integers(0, 256, (colours, 3), dtype=np.uint8).tobytes())
    return image


def saved(image: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", **options)
    return out.getvalue()


def gray(bits: int) -> bytes:
    """Write gray with few bits, which Pillow does for one bit only."""
    if bits == 1:
        return saved(drawn(2).convert("L").point(lambda v: 255 * (v > 127)).convert("1"))
    image = drawn(1 << bits)
    data = saved(image, bits=bits)
    picture = open_image(data, max_pixels=MAX)
    from faceblurd.imaging.files.png.chunks import SIGNATURE, Chunk, read_chunks

    chunks = [chunk for chunk in read_chunks(data) if chunk.kind not in {b"PLTE", b"tRNS"}]
    ihdr = chunks[0].body
    chunks[0] = Chunk(b"IHDR", ihdr[:9] + b"\0" + ihdr[10:])
    assert picture.width == image.width
    return SIGNATURE + b"".join(chunk.build() for chunk in chunks)


CASES = {
    "2 colours": lambda: saved(drawn(2), bits=1),
    "4 colours": lambda: saved(drawn(4), bits=2),
    "16 colours": lambda: saved(drawn(16), bits=4),
    "200 colours": lambda: saved(drawn(200)),
    "256 colours": lambda: saved(drawn(256)),
    "transparency": lambda: saved(drawn(200), transparency=bytes(range(0, 200, 3))),
    "gray of 1 bit": lambda: gray(1),
    "gray of 2 bits": lambda: gray(2),
    "gray of 4 bits": lambda: gray(4),
    "gray with opacity": lambda: saved(drawn(200).convert("LA")),
    "gray with a transparent level": lambda: saved(drawn(200).convert("L"), transparency=7),
    "colours with a transparent one": lambda: saved(drawn(200).convert("RGB"), transparency=(1, 2, 3)),
}


@pytest.mark.parametrize("method", BlurMethod)
@pytest.mark.parametrize("name", CASES)
def test_type_and_depth_stay_and_only_the_box_changes(name: str, method: BlurMethod) -> None:
    data = CASES[name]()
    picture = open_image(data, max_pixels=MAX)
    blur = BlurSpec(method=method)
    result = picture.redacted([BOX], blur, BARE)
    verify(result, picture=picture, regions=[BOX], blur=blur, max_pixels=MAX)
    assert result.lossless
    if name != "colours with a transparent one":
        assert result.data[24:26] == data[24:26]  # depth and colour type
    before, after = (np.asarray(Image.open(io.BytesIO(one)).convert("RGBA")) for one in (data, result.data))
    outside = np.ones(before.shape[:2], bool)
    outside[20:66, 24:74] = False
    np.testing.assert_array_equal(before[outside], after[outside])
    assert (before[~outside] != after[~outside]).any()


def test_a_palette_grows_by_what_was_painted() -> None:
    for colours, grows in ((20, True), (2, False)):
        image = drawn(colours)
        image.putpalette([0, 0, 0, 255, 255, 255] * (colours // 2))
        result = open_image(saved(image), max_pixels=MAX).redacted([BOX], BlurSpec(), BARE)
        hidden = np.asarray(Image.open(io.BytesIO(result.data)).convert("RGB"))[43, 49]
        assert (0 < hidden.mean() < 255) == grows


@given(st.integers(3, 4), st.integers(0, 40), st.integers(1, 256), st.integers(0, 2**32 - 1))
def test_the_nearest_colour_is_the_first_of_those_at_the_least_distance(
    channels: int, colours: int, entries: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    wanted, table = (rng.integers(0, 256, (rows, channels), dtype=np.uint8) for rows in (colours, entries))
    found = nearest(wanted, table)
    assert len(found) == colours
    for colour, index in zip(wanted.astype(int), found.tolist(), strict=True):
        distances = ((table.astype(int) - colour) ** 2).sum(axis=1).tolist()
        assert index == distances.index(min(distances))
