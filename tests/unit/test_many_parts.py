"""Files of thousands of tiny parts, or of starts that lead nowhere: what is walked grows with the bytes, not faster.

What is counted is work, not time. Where nothing can be counted (patterns), the sizes are such that a way that is not
straight would take hours.
"""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from faceblurd.errors import ImageError
from faceblurd.imaging import embedded, jpeg_segments
from faceblurd.imaging.embedded import contains_picture, hides_picture, pictures_in
from faceblurd.imaging.exif import TiffBlock, each_byte_once, minimal
from faceblurd.imaging.exif_scrub import scrub_exif
from faceblurd.imaging.formats import open_image, png_chunks, png_profile
from faceblurd.imaging.scrub import BARE
from faceblurd.imaging.wording import is_branch, lies_in_branch
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX = 10**8


class Counted(bytes):
    """Bytes that know how many of them were handed out."""

    handed_out = 0

    def __getitem__(self, key: Any) -> Any:  # noqa: D105 - says what it is
        part = super().__getitem__(key)
        self.handed_out += len(part) if isinstance(part, bytes) else 1
        return part


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def saved(kind: str) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((40, 30)).save(out, kind)
    return out.getvalue()


# --- the parts of a file


def test_the_chunks_of_a_png_are_copied_once() -> None:
    plain = saved("PNG")
    data = Counted(plain[:33] + chunk(b"tEXt", b"a\0b") * 5_000 + plain[33:])
    assert len(png_chunks.read_chunks(data)) > 5_000
    assert data.handed_out < 3 * len(data)


def test_fill_bytes_before_a_marker_are_passed_over_at_one_go() -> None:
    plain = saved("JPEG")
    data = Counted(plain[:2] + b"\xff" * 1_000_000 + plain[2:])
    assert len(jpeg_segments.scan(data)) == len(jpeg_segments.scan(plain))
    assert data.handed_out < 1_000


def directory(*tags: tuple[int, int, int, int], following: int = 0) -> bytes:
    rows = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<H", len(tags)) + rows + struct.pack("<I", following)


def block(*tags: tuple[int, int, int, int], size: int) -> bytes:
    return (b"II*\0" + struct.pack("<I", 8) + directory(*tags)).ljust(size, b"\1")


def test_unknown_tags_are_taken_out_of_a_directory_at_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    entry = TiffBlock._entry

    def counted(self: TiffBlock, position: int) -> Any:
        nonlocal read
        read += 1
        return entry(self, position)

    monkeypatch.setattr(TiffBlock, "_entry", counted)
    tags = [(51_000 + number, 7, 100, 60_000) for number in range(4_000)]
    scrubbed = scrub_exif(block((0x112, 3, 1, 6), *tags, size=60_100))
    assert scrubbed[60_000:] == bytes(100)
    assert TiffBlock(scrubbed).first().entries.keys() == {0x112}
    assert read < 20 * len(tags)


def test_the_rest_of_a_directory_moves_up_and_the_next_one_is_found() -> None:
    tags = (0x10F, 2, 4, 0x41414141), (50_000, 7, 100, 200), (0x112, 3, 1, 6), (50_001, 7, 4, 0x42424242)
    tiff = TiffBlock((b"II*\0" + struct.pack("<I", 8) + directory(*tags, following=77)).ljust(300, b"\1"))
    tiff.keep(tiff.first(), {0x10F, 0x112})
    content, first = bytes(tiff.content), tiff.first()
    assert list(first.entries) == [0x112, 0x10F]
    assert (first.next, len(content), content[200:]) == (77, 300, bytes(100))
    assert b"BBBB" not in content
    assert content[first.link + 4 : 62] == bytes(62 - first.link - 4)


@pytest.mark.parametrize("value", [0, 4, 20])
def test_a_block_whose_unknown_value_lies_over_its_header_or_directory_keeps_its_orientation_only(value: int) -> None:
    assert scrub_exif(block((0x112, 3, 1, 6), (50_000, 7, 100, value), size=300)) == minimal(6)


def test_values_that_all_are_everything_are_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = 0

    def counted(data: bytes, *, whole: bool = False) -> Iterator[tuple[int, int]]:
        nonlocal searched
        searched += len(data)
        return pictures_in(data, whole=whole)

    monkeypatch.setattr(embedded, "pictures_in", counted)
    tags = [(0x9000 + number, 7, 90_000, 9_000) for number in range(500)]
    scrub_exif(block(*tags, size=100_000))
    assert searched < 1_000_000


def test_ranges_that_lie_over_each_other_are_joined_and_those_that_touch_are_not() -> None:
    assert each_byte_once([(5, 9), (0, 3), (2, 4), (4, 5), (6, 7), (8, 12)]) == [(0, 4), (4, 5), (5, 12)]


def page(*more: tuple[int, int, int, int], strip: int = 8) -> list[tuple[int, int, int, int]]:
    tags = [(256, 4, 1, 20), (257, 4, 1, 20), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, strip)]
    return sorted([*tags, (277, 3, 1, 1), (278, 4, 1, 20), (279, 4, 1, 400), *more])


def with_children(*starts: int) -> bytes:
    """Two pages that name sub-directories at 500 and 700, which are reduced copies."""
    strip = bytes(range(1, 201)) * 2
    content = (b"II*\0" + struct.pack("<I", 1_000) + strip).ljust(500, b"\1")
    for start in (700, 1_000):
        content = (content + directory(*page((254, 4, 1, 1)))).ljust(start, b"\1")
    content = (content + directory(*page((330, 4, 1, starts[0])), following=1_300)).ljust(1_300, b"\1")
    return (content + directory(*page((330, 4, 1, starts[1]), strip=1_500))).ljust(1_500, b"\1") + strip


def test_sub_directories_are_read_once_whoever_names_them() -> None:
    assert open_image(with_children(500, 700), max_pixels=MAX).frames == 2
    with pytest.raises(ImageError) as caught:
        open_image(with_children(500, 500), max_pixels=MAX)
    assert caught.value.reason is Reason.DAMAGED


# --- what seems to be a picture inside something


def to_one_place(head: bytes, *, size: int, number: int, code: str, less: int) -> bytes:
    """Heads of files, each with a length behind it that leads to where the last one ends."""
    body = b"".join(
        (head + struct.pack(code, max(number * size - at * size - less, 0))).ljust(size, b"a") for at in range(number)
    )
    assert len(body) == number * size
    return body


JPEGS = to_one_place(b"\xff\xd8\xff\xe0", size=6, number=8_000, code=">H", less=4)
FRAMED = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, 9, 9, 1) + b"\1\x11\0"
SCANS = to_one_place(b"\xff\xd8" + FRAMED + b"\xff\xda", size=19, number=3_000, code=">H", less=17)
PNGS = to_one_place(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + bytes(17), size=50, number=5_000, code=">I", less=45)
LEAD_NOWHERE = {
    "JPEGs into one chain of segments": JPEGS + b"\xff\xe1\0\2" * 1_900 + b"\xff\xe1\0\0",
    "JPEGs into fill bytes": JPEGS + b"\xff" * 1_000_000 + b"\0",
    "JPEGs into one scan": SCANS + bytes(3_000_000) + b"\xff\xe1\0\0",
    "TIFF headers of one directory": b"".join(b"II*\0" + struct.pack("<I", 8 * at) for at in range(4_000, 0, -1))
    + directory(*[(60_000, 3, 1, 0)] * 4_000),
    "TIFF headers of rows that are blank": b"".join(b"II*\0" + struct.pack("<I", 8 * at) for at in range(4_000, 0, -1))
    + directory((256, 3, 1, 9), (257, 3, 1, 9), (273, 4, 1, 40_000), (279, 4, 1, 1 << 24)).ljust(1_000_000, b"\0"),
}  # fmt: skip


@pytest.mark.parametrize("what", LEAD_NOWHERE)
def test_starts_that_all_lead_nowhere_are_given_up_and_in_doubt_are_a_picture(what: str) -> None:
    assert contains_picture(LEAD_NOWHERE[what])


def test_so_are_those_among_pixels() -> None:
    assert hides_picture(PNGS + chunk(b"abcd", b"") * 50_000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_among_starts_that_lead_nowhere_is_wiped(kind: str) -> None:
    picture = saved(kind)
    content = bytearray(LEAD_NOWHERE["JPEGs into one chain of segments"] + picture)
    embedded.wipe_pictures(content)
    assert picture[40:] not in content


def test_a_jpeg_of_many_segments_is_a_picture() -> None:
    plain = saved("JPEG")
    whole = plain[:2] + b"\xff\xe1\0\2" * 5_000 + plain[2:]
    assert list(pictures_in(b"before" + whole + b"behind", whole=True)) == [(6, 6 + len(whole))]


def test_packed_bytes_are_looked_into_as_far_as_honest_ones_reach() -> None:
    text = b"A face in the crowd, taken with a camera in 2024. " * 50
    assert not contains_picture(zlib.compress(text * 100))
    assert not contains_picture(base64.b64encode(zlib.compress(text)))
    bomb = base64.b64encode(zlib.compress(bytes(8 << 20)))
    assert contains_picture(b".".join([bomb] * 4)), "nobody looked at all of it"


# --- patterns


def test_a_raw_profile_of_blanks_is_read_in_one_way() -> None:
    content = b"x 1" + b" " * 2_000_000 + b"g"
    assert png_profile.scrubbed(b"exif", content, BARE) is None
    assert png_profile.without_thumbnail_in(b"\nxmp\n       2\n4142\n") == b"AB"
    assert png_profile.without_thumbnail_in(b"xmp 2 4142") == b"AB"
    assert png_profile.without_thumbnail_in(b"  xmp\t02\n\n 41\n42 \n") == b"AB"


def test_marks_around_a_word_are_taken_off_in_one_way() -> None:
    assert not is_branch("a" + "." * 2_000_000 + "b", BARE)
    assert is_branch("01 _People_ ...", BARE)
    assert is_branch("[" * 2_000_000 + "people" + "]" * 2_000_000, BARE)
    assert not is_branch("12.", BARE)
    assert not is_branch("people2", BARE)
    assert lies_in_branch("01 Family/Ada", BARE)
