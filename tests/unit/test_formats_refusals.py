"""What must never be taken for a whole photo, and what is told apart by content."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from faceblurd.errors import ImageError
from faceblurd.imaging.files import open_image, webp
from faceblurd.imaging.files.png.chunks import (
    Chunk,
    check_rows,
    read_chunks,
    read_header,
)
from faceblurd.imaging.files.tiff.raw import is_raw
from faceblurd.imaging.jpeg_segments import build
from faceblurd.imaging.signatures import sniff
from faceblurd.imaging.verify import verify_clean
from faceblurd.model import Reason

if TYPE_CHECKING:
    import numpy.typing as npt

MAX = 200_000_000


def photo(kind: str, **options: Any) -> bytes:
    rng = np.random.default_rng(4)
    out = io.BytesIO()
    Image.fromarray(rng.integers(1, 256, (90, 120, 3), dtype=np.uint8)).save(out, kind, **options)
    return out.getvalue()


WHOLE = {
    "jpeg": photo("JPEG"),
    "progressive": photo("JPEG", progressive=True),
    "png": photo("PNG"),
    "webp": photo("WEBP"),
    "webp lossless": photo("WEBP", lossless=True),
    "tiff": photo("TIFF"),
    "tiff lzw": photo("TIFF", compression="tiff_lzw"),
    "bmp": photo("BMP"),
}


def refusal(data: bytes, *, max_pixels: int = MAX) -> ImageError:
    with pytest.raises(ImageError) as raised:
        open_image(data, max_pixels=max_pixels).pixels()
    return raised.value


def test_the_reason_names_no_object_in_memory() -> None:
    error = refusal(webp.build([(b"ODD ", b"1234"), *webp.read_chunks(WHOLE["webp"])]))
    assert error.reason is Reason.DAMAGED
    assert error.message == "The WEBP does not decode: its header makes no sense"


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("part", [0.0, 0.01, 0.4, 0.8, 0.98])
def test_a_cut_file_waits(name: str, part: float) -> None:
    data = WHOLE[name]
    error = refusal(data[: int(len(data) * part)] or b"")
    assert (error.reason is Reason.INCOMPLETE and error.retryable) or len(data) * part < 12


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.8])
def test_a_file_whose_tail_is_zeros_waits(name: str, part: float) -> None:
    data = WHOLE[name]
    error = refusal(data[: int(len(data) * part)].ljust(len(data), b"\0"))
    assert error.reason is Reason.INCOMPLETE
    assert error.retryable


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_opens_and_its_clean_copy_is_accepted(name: str) -> None:
    picture = open_image(WHOLE[name], max_pixels=MAX)
    assert (picture.width, picture.height, picture.orientation) == (120, 90, 1)
    verify_clean(picture.scrubbed(), picture=picture, max_pixels=MAX)


@pytest.mark.parametrize("name", WHOLE)
def test_more_pixels_than_allowed_are_refused_from_the_header(name: str) -> None:
    assert refusal(WHOLE[name], max_pixels=120 * 90 - 1).reason is Reason.TOO_LARGE


def bombs() -> dict[str, bytes]:
    """Small files that say they are huge."""
    huge = 60_000
    ihdr = Chunk(b"IHDR", struct.pack(">IIBBBBB", huge, huge, 8, 2, 0, 0, 0)).build()
    png = b"\x89PNG\r\n\x1a\n" + ihdr + Chunk(b"IDAT", zlib.compress(bytes(9999))).build() + Chunk(b"IEND", b"").build()
    frame = build(0xC0, struct.pack(">BHHB", 8, huge, huge, 1) + b"\x01\x11\x00")
    jpeg = b"\xff\xd8" + frame + build(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"data\xff\xd9"
    entries = [(256, huge), (257, huge), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (279, 100)]
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    tiff = (b"II*\0" + struct.pack("<IH", 8, len(entries)) + tags + bytes(4)).ljust(200, b"\0") + b"x" * 100
    image = struct.pack("<BHHHHBB", 0x2C, 0, 0, 1, 1, 0, 8) + b"\x01\x00\x00"
    gif = b"GIF89a" + struct.pack("<HHBBB", huge, huge, 0, 0, 0) + image + b";"
    many = b"GIF89a" + struct.pack("<HHBBB", 1000, 1000, 0, 0, 0) + image * 100_000 + b";"
    dots = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + image * 100_000 + b";"
    return {"png": png, "jpeg": jpeg, "tiff": tiff, "gif": gif, "gif of many frames": many, "gif of many dots": dots}


@pytest.mark.parametrize("name", ["png", "jpeg", "tiff", "gif", "gif of many frames", "gif of many dots"])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(name: str) -> None:
    with pytest.raises(ImageError) as raised:
        open_image(bombs()[name], max_pixels=MAX)
    assert raised.value.reason is Reason.TOO_LARGE


def test_a_png_with_too_few_rows_is_refused_though_its_checksums_match() -> None:
    header = Chunk(b"IHDR", struct.pack(">IIBBBBB", 50, 50, 8, 0, 0, 0, 0)).build()
    rows = Chunk(b"IDAT", zlib.compress(bytes(51 * 20))).build()
    data = b"\x89PNG\r\n\x1a\n" + header + rows + Chunk(b"IEND", b"").build()
    assert refusal(data).reason is Reason.DAMAGED
    with pytest.raises(ImageError, match="1020 of 2550"):
        check_rows(read_header(read_chunks(data)), read_chunks(data))


def test_the_rows_of_an_interlaced_png_are_counted() -> None:
    sizes = [(7, 7), (7, 6), (6, 13), (13, 12), (12, 25), (25, 25), (25, 50)]  # rows, columns of the passes of 50 x 50
    rows = zlib.compress(bytes(sum(height * (1 + width) for height, width in sizes)))
    ihdr = Chunk(b"IHDR", struct.pack(">IIBBBBB", 50, 50, 8, 0, 0, 0, 1))
    check_rows(read_header([ihdr]), [Chunk(b"IDAT", rows)])


@pytest.mark.parametrize("kind", ["ICO", "JPEG2000", "PPM", "TGA"])
def test_other_formats_are_unsupported(kind: str) -> None:
    out = io.BytesIO()
    try:
        Image.new("RGB", (64, 64), "red").save(out, kind)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {kind}")
    assert refusal(out.getvalue()).reason is Reason.UNSUPPORTED


@pytest.mark.parametrize(
    "data", [b"hello world, this is text", b"#!/bin/sh\n", b"\x7fELF" + bytes(99) + b"x", b"PK\3\4aaaa"]
)
def test_what_is_no_image_is_unsupported(data: bytes) -> None:
    error = refusal(data)
    assert error.reason is Reason.UNSUPPORTED
    assert "not an image" in error.message
    assert not error.retryable


@pytest.mark.parametrize("data", [b"", bytes(9999)])
def test_an_empty_or_zero_filled_file_waits(data: bytes) -> None:
    assert refusal(data).reason is Reason.INCOMPLETE


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "avif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "avif"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video"),
        (b"II*\0\x10\0\0\0CR\x02\0", "raw"),
        (b"8BPS\0\x01", "psd"),
        (b"GIF89a", "gif"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"\0\0\0\x20ftypavci\0\0\0\0mif1avcimiaf" + bytes(9), "heic"),
        (b"\0\0\0\x18ftypheix\0\0\0\0mif1avif", "heic"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "raw"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", "video"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isomavc1 mif1", "video"),
        (b"\0\0\0\x08wide\0\0\1\0mdat", "video"),
        (b"\0\0\1\0moov\0\0\0\x6cmvhd", "video"),
        (b"G@\0\x10".ljust(188, b"\xff") + b"G\0\x11", "video"),
        (b"GIF89a".ljust(188, b"\1") + b"G\0\x11", "gif"),
        (b"\x1aE\xdf\xa3\x9fB\x86", "video"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9", "video"),
        (b"FUJIFILMCCD-RAW 0201", "raw"),
        (b"IIRO\x08\0\0\0", "raw"),
        (b"IIU\0\x18\0\0\0", "raw"),
        (b"FOVb\x03\0\2\0", "raw"),
        (b"\0MRM\0\0\1\0", "raw"),
        (b"\xff\x0a\xfa\x1f", "jpegxl"),
        (b"Good morning", None),
        (b"random", None),
    ],
)
def test_formats_are_named_by_content(head: bytes, name: str | None) -> None:
    assert sniff(head) == name


def tiff(tags: list[tuple[int, int]], children: list[tuple[int, int]] | None = None, *, order: str = "<") -> bytes:
    """Write a TIFF whose first directory has these tags beside those of a small gray picture, and perhaps a child."""
    base = [(256, 20), (257, 20), (258, 8), (259, 1), (262, 1), (273, 600), (277, 1), (278, 20), (279, 400)]
    entries = sorted({**dict(base), **dict(tags), **({330: 400} if children else {})}.items())
    first = directory(entries, order).ljust(392, b"\0") + directory(sorted(children or []), order)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return (start + first).ljust(600, b"\0") + bytes(range(1, 201)) * 2


def directory(entries: list[tuple[int, int]], order: str) -> bytes:
    rows = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in entries)
    return struct.pack(f"{order}H", len(entries)) + rows + bytes(4)


def test_the_tiff_of_these_tests_is_one() -> None:
    assert open_image(tiff([]), max_pixels=MAX).pixels().shape == (20, 20)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("tags", "children"),
    [
        ([(0xC612, 0x00000401)], None),  # DNG
        ([(254, 1)], [(254, 0), (259, 34713), (262, 32803)]),  # NEF
        ([(254, 1), (259, 6)], [(259, 32767), (262, 32803)]),  # ARW
        ([(259, 65535), (262, 32803)], None),  # PEF
        ([], [(259, 32770)]),  # SRW
        ([], [(262, 32803)]),  # ERF, 3FR
        ([(0x8603, 1)], None),  # MOS
    ],
)
def test_a_raw_photo_is_no_tiff(tags: list[tuple[int, int]], children: list[tuple[int, int]], order: str) -> None:
    error = refusal(tiff(tags, children, order=order))
    assert error.reason is Reason.UNSUPPORTED
    assert "raw" in error.message


def test_directories_in_a_circle_end() -> None:
    assert not is_raw(tiff([(330, 8)]))


def frames(kind: str, **options: Any) -> bytes:
    pages = [Image.fromarray(np.full((20, 20, 3), value, np.uint8)) for value in (1, 99, 200)]
    out = io.BytesIO()
    pages[0].save(out, kind, save_all=True, append_images=pages[1:], **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF"])
def test_the_frames_of_an_animation_count_together(kind: str) -> None:
    data = frames(kind)
    count = open_image(data, max_pixels=MAX).frames
    assert count > 1
    with Image.open(io.BytesIO(data)) as image:
        total = max(image.width * image.height, 65_536) * count  # small frames count as 256 x 256
    open_image(data, max_pixels=total)
    with pytest.raises(ImageError, match=f"{count} frames") as raised:
        open_image(data, max_pixels=total - 1)
    assert raised.value.reason is Reason.TOO_LARGE


def test_a_file_is_taken_by_its_content_and_its_tail_ignored(noise: npt.NDArray[Any]) -> None:
    picture = open_image(WHOLE["png"] + WHOLE["jpeg"], max_pixels=MAX)
    assert picture.format == "png"
    assert picture.scrubbed() == WHOLE["png"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6), st.data())
def test_no_damage_raises_anything_but_an_image_error(
    name: str, damage: list[tuple[float, int]], data: st.DataObject
) -> None:
    broken = bytearray(WHOLE[name])
    early = data.draw(st.booleans())
    for place, value in damage:
        broken[int(place * (min(len(broken), 700) - 1 if early else len(broken) - 1))] = value
    try:
        picture = open_image(bytes(broken), max_pixels=10_000_000)
        picture.preview(64)
        picture.encode(picture.pixels())
        verify_clean(picture.scrubbed(), picture=picture, max_pixels=10_000_000)
    except ImageError:
        pass
