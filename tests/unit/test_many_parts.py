"""Files of thousands of tiny parts, or of starts that lead nowhere: what is walked grows with the bytes, not faster.

What is counted is work, not time. Where nothing can be counted (patterns), the sizes are such that a way that is not
straight would take hours.
"""

from __future__ import annotations

import base64
import io
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from leaky_others import chunk
from many_parts import LEAD_NOWHERE, PNGS, block, with_children
from PIL import Image

from faceblurd.errors import ImageError
from faceblurd.imaging import jpeg_segments
from faceblurd.imaging.files import open_image
from faceblurd.imaging.files.png import chunks, profile
from faceblurd.imaging.metadata import embedded
from faceblurd.imaging.metadata.embedded import contains_picture, hides_picture, pictures_in
from faceblurd.imaging.metadata.exif import TiffBlock, each_byte_once, minimal
from faceblurd.imaging.metadata.exif_scrub import scrub_exif
from faceblurd.imaging.metadata.scrub import BARE
from faceblurd.imaging.metadata.wording import is_branch, lies_in_branch
from faceblurd.imaging.metadata.xmp import scrub_xmp
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX = 10**8


class Counted(bytes):
    """Bytes that know how many of them were handed out."""

    handed_out = 0

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        self.handed_out += len(part) if isinstance(part, bytes) else 1
        return part


def saved(kind: str) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((40, 30)).save(out, kind)
    return out.getvalue()


# --- the parts of a file


def test_the_chunks_of_a_png_are_copied_once() -> None:
    plain = saved("PNG")
    data = Counted(plain[:33] + chunk(b"tEXt", b"a\0b") * 5_000 + plain[33:])
    assert len(chunks.read_chunks(data)) > 5_000
    assert data.handed_out < 3 * len(data)


def test_fill_bytes_before_a_marker_are_passed_over_at_one_go() -> None:
    plain = saved("JPEG")
    data = Counted(plain[:2] + b"\xff" * 1_000_000 + plain[2:])
    assert len(jpeg_segments.scan(data)) == len(jpeg_segments.scan(plain))
    assert data.handed_out < 1_000


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
    tiff = TiffBlock(block(*tags, following=77, size=300))
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


def test_sub_directories_are_read_once_whoever_names_them() -> None:
    assert open_image(with_children(500, 700), max_pixels=MAX).frames == 2
    with pytest.raises(ImageError) as caught:
        open_image(with_children(500, 500), max_pixels=MAX)
    assert caught.value.reason is Reason.DAMAGED


# --- what seems to be a picture inside something


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
    assert profile.scrubbed(b"exif", content, BARE) is None
    assert profile.without_thumbnail_in(b"\nxmp\n       2\n4142\n") == b"AB"
    assert profile.without_thumbnail_in(b"xmp 2 4142") == b"AB"
    assert profile.without_thumbnail_in(b"  xmp\t02\n\n 41\n42 \n") == b"AB"


def test_marks_around_a_word_are_taken_off_in_one_way() -> None:
    assert not is_branch("a" + "." * 2_000_000 + "b", BARE)
    assert is_branch("01 _People_ ...", BARE)
    assert is_branch("[" * 2_000_000 + "people" + "]" * 2_000_000, BARE)
    assert not is_branch("12.", BARE)
    assert not is_branch("people2", BARE)
    assert lies_in_branch("01 Family/Ada", BARE)


def test_a_packet_that_would_take_minutes_goes_unread() -> None:
    packet = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + b"<a>word</a>" * 1_600_000 + b"</x:xmpmeta>"
    assert scrub_xmp(packet) is None
