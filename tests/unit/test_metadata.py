"""What leaks besides the pixels, payload by payload."""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import zlib
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faceblurd.imaging.metadata import (
    contains_picture,
    hides_picture,
    orientation_of,
    scrub_exif,
    scrub_resources,
    scrub_xmp,
)
from faceblurd.imaging.metadata.embedded import wipe_pictures
from faceblurd.imaging.metadata.exif import TiffBlock, minimal

if TYPE_CHECKING:
    from collections.abc import Callable


def jpeg(size: tuple[int, int] = (40, 30)) -> bytes:
    out = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(out, "JPEG")
    return out.getvalue()


def exif_with_thumbnail(thumbnail: bytes, *, order: str = "<", maker_note: bytes = b"") -> bytes:
    """IFD0 with orientation 6, Make and MakerNote, and an IFD1 with a JPEG thumbnail, written by hand."""
    entries = [(0x10F, 2, b"Maker\0"), (0x112, 3, struct.pack(order + "H", 6)), (0x927C, 7, maker_note or b"note")]
    base = 8 + 2 + 12 * len(entries) + 4
    values, ifd0 = b"", struct.pack(order + "H", len(entries))
    for tag, kind, value in entries:
        count = 1 if kind == 3 else len(value)
        where = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", base + len(values))
        values += b"" if len(value) <= 4 else value
        ifd0 += struct.pack(order + "HHI", tag, kind, count) + where
    ifd1 = base + len(values)
    ifd0 += struct.pack(order + "I", ifd1)
    pairs = [(0x201, ifd1 + 2 + 24 + 4), (0x202, len(thumbnail))]
    second = struct.pack(order + "H", 2) + b"".join(struct.pack(order + "HHII", t, 4, 1, v) for t, v in pairs)
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return b"Exif\0\0" + header + ifd0 + values + second + bytes(4) + thumbnail


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_exif_thumbnail_is_wiped_and_no_offset_moves(order: str) -> None:
    block = exif_with_thumbnail(jpeg(), order=order)
    clean = scrub_exif(block)
    assert len(clean) == len(block)
    assert not contains_picture(clean)
    assert jpeg()[100:140] not in clean
    assert orientation_of(clean) == 6
    first = TiffBlock(clean[6:]).first()
    assert first.next == 0
    assert b"Maker" in clean
    assert clean[: first.link] == block[: first.link]


def test_an_uncompressed_thumbnail_in_strips_is_wiped() -> None:
    pixels = b"\x55\xaa" * 600
    start = 8 + 2 + 4
    second = (
        struct.pack("<H", 2) + struct.pack("<HHII", 0x111, 4, 1, start + 30) + struct.pack("<HHII", 0x117, 4, 1, 1200)
    )
    block = b"II*\0" + struct.pack("<IHI", 8, 0, start) + second + bytes(4) + pixels
    assert b"\x55\xaa" in block
    assert b"\x55\xaa" not in scrub_exif(block)


def test_a_preview_in_the_maker_note_is_wiped_and_the_rest_of_the_note_stays() -> None:
    preview = jpeg((64, 64))
    block = exif_with_thumbnail(jpeg(), maker_note=b"BEFORE" + preview + b"AFTER")
    clean = scrub_exif(block)
    assert not contains_picture(clean)
    assert b"BEFORE" in clean
    assert b"AFTER" in clean


def test_a_preview_whose_first_byte_was_replaced_is_wiped() -> None:
    note = b"BEFORE" + b"\x02" + jpeg((64, 64))[1:] + b"AFTER"
    clean = scrub_exif(exif_with_thumbnail(jpeg(), maker_note=note))
    assert jpeg((64, 64))[160:300] not in clean
    assert b"\xd8\xff\xe0" not in clean
    assert b"AFTER" in clean


def test_a_preview_that_is_cut_is_wiped_to_the_end() -> None:
    content = bytearray(b"head" + jpeg()[:400])
    wipe_pictures(content)
    assert content == b"head" + bytes(400)


def test_a_value_that_claims_to_reach_beyond_the_block_is_wiped_as_far_as_there_is_one() -> None:
    content = bytearray(b"head" + jpeg()[:400])
    wipe_pictures(content, 2, 1 << 40)
    assert content == b"head" + bytes(400)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_a_picture_of_another_format_in_the_maker_note_is_wiped(kind: str) -> None:
    block = exif_with_thumbnail(jpeg(), maker_note=b"BEFORE" + picture(kind))
    clean = scrub_exif(block)
    assert len(clean) == len(block)
    assert b"BEFORE" in clean
    assert picture(kind)[-40:] not in clean


def test_a_block_that_does_not_parse_is_not_kept() -> None:
    assert scrub_exif(b"Exif\0\0" + b"garbage" * 9) == b"Exif\0\0" + minimal(1)


@given(st.binary(max_size=300))
def test_no_bytes_after_a_tiff_header_make_the_scrubber_fail(tail: bytes) -> None:
    for header in (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"):
        clean = scrub_exif(b"Exif\0\0" + header + tail)
        assert not contains_picture(clean)
        assert 1 <= orientation_of(clean) <= 8


def test_directories_that_point_at_each_other_end() -> None:
    block = b"II*\0" + struct.pack("<IHI", 8, 0, 8)
    assert len(scrub_exif(block)) == len(block)


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_orientation_that_does_not_exist_counts_as_none(value: int) -> None:
    assert orientation_of(minimal(value)) == 1


XMP = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:g="http://ns.adobe.com/xap/1.0/g/img/"
 xmlns:D="http://ns.google.com/photos/1.0/image/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmp:Rating="5"%(attribute)s><dc:title>A &amp; B</dc:title>%(element)s</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def packet(*, attribute: bytes = b"", element: bytes = b"") -> bytes:
    return XMP % {b"attribute": attribute, b"element": element}


def test_a_packet_without_pictures_stays_byte_for_byte() -> None:
    assert scrub_xmp(packet()) == packet()


def test_thumbnails_are_cut_out_and_every_other_byte_stays() -> None:
    image = base64.b64encode(jpeg())
    thumbnails = b"<xmp:Thumbnails><rdf:Alt><rdf:li g:image='" + image + b"'/></rdf:Alt></xmp:Thumbnails>"
    assert scrub_xmp(packet(element=thumbnails)) == packet()


def test_a_picture_in_an_attribute_is_cut_out_whatever_its_prefix() -> None:
    assert scrub_xmp(packet(attribute=b' D:Data="AAAA"')) == packet()


def test_a_picture_under_an_unknown_name_is_cut_out() -> None:
    lines = base64.encodebytes(jpeg())  # with line breaks
    assert scrub_xmp(packet(element=b"<dc:secret>" + lines + b"</dc:secret>")) == packet()
    assert scrub_xmp(packet(attribute=b' dc:secret="' + base64.b64encode(jpeg()) + b'"')) == packet()


def test_an_empty_element_of_a_known_name_is_cut_out() -> None:
    assert scrub_xmp(packet(element=b"<D:Data />")) == packet()


def test_a_packet_that_does_not_parse_goes() -> None:
    assert scrub_xmp(b"<broken>") is None
    assert scrub_xmp(b"no XML at all") is None
    assert scrub_xmp(b"<broken>" + base64.b64encode(jpeg())) is None
    assert scrub_xmp(("<broken>" + base64.b64encode(jpeg()).decode()).encode("utf-16")) is None


def test_entities_are_not_expanded() -> None:
    assert scrub_xmp(b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>') is None


def resource(number: int, body: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", number, 0, len(body)) + body + b"\0" * (len(body) % 2)


def test_photoshop_thumbnails_go_and_iptc_stays() -> None:
    iptc = resource(0x0404, b"\x1c\x02\x78\0\5Hello")
    block = resource(0x0409, b"pixels") + iptc + resource(0x040C, b"\0" * 28 + jpeg()) + resource(0x03ED, b"12345")
    assert scrub_resources(block) == iptc + resource(0x03ED, b"12345")


def test_a_picture_in_any_other_resource_goes_too() -> None:
    assert scrub_resources(resource(0x0FA0, b"x" + jpeg())) == b""


@given(st.binary(max_size=200))
def test_no_bytes_make_the_resource_scrubber_fail(tail: bytes) -> None:
    assert not contains_picture(scrub_resources(b"8BIM" + tail))


@cache
def picture(kind: str) -> bytes:
    """A small picture of noise."""
    if kind == "JXL":
        return b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(range(256))
    out = io.BytesIO()
    Image.effect_noise((40, 30), 60).convert("RGB").save(out, kind)
    return out.getvalue()


KINDS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "JXL", "PPM", "DDS"]
WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": bytes,
    "base64": base64.b64encode,
    "base64 in lines": base64.encodebytes,
    "base64 for addresses": base64.urlsafe_b64encode,
    "base64 in an address": lambda b: quote_from_bytes(base64.b64encode(b), safe="").encode(),
    "base64 in JSON": lambda b: json.dumps({"picture": base64.b64encode(b).decode()}).replace("/", "\\/").encode(),
    "base64 in XML lines": lambda b: base64.encodebytes(b).replace(b"\n", b"&#xA;"),
    "base64 in pieces": lambda b: b" +\n".join(b"'%s'" % line for line in base64.encodebytes(b).splitlines()),
    "base64 in a list": lambda b: json.dumps(base64.encodebytes(b).decode().splitlines(), indent=1).encode(),
    "base64 in HTML": lambda b: base64.b64encode(b).replace(b"+", b"&#43;").replace(b"/", b"&#x2F;"),
    "base64, shifted by one": lambda b: base64.b64encode(b"x" + b),
    "base64, shifted by two": lambda b: base64.b64encode(b"xy" + b),
    "base64 behind other letters": lambda b: b"data" + base64.b64encode(b),
    "base64 in UTF-16": lambda b: base64.b64encode(b).decode().encode("utf-16"),
    "hexadecimal": lambda b: b.hex().encode(),
    "hexadecimal in lines": lambda b: b.hex("\n", 36).upper().encode(),
    "escaped bytes": lambda b: b"".join(b"\\x%02x" % byte for byte in b),
    "list of hexadecimal numbers": lambda b: b", ".join(b"0x%02X" % byte for byte in b),
    "base64 of base64": lambda b: base64.b64encode(base64.b64encode(b)),
    "zlib": zlib.compress,
    "base64 of gzip": lambda b: base64.b64encode(gzip.compress(b)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_picture_is_recognised_in_whatever_wrapping(wrapping: str, kind: str) -> None:
    wrapped = WRAPPINGS[wrapping](picture(kind))
    assert contains_picture(wrapped if wrapping == "zlib" else b"text, " + wrapped + b" text")


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_picture_is_told_from_coded_pixels(kind: str) -> None:
    assert hides_picture(b"\1\2\3" * 500 + picture(kind) + b"\1\2\3" * 500)


CHANCE = {
    "numbers of two bytes": struct.pack(">12h", 1, -56, -40, -58, 424, 23130, -40, -32, -31, -30, -1, -40) * 9,
    "numbers of a colour profile": b"".join(struct.pack(">H", number) for number in range(0xFF00, 0x10000)) * 3,
    "pink": b"\xff\xd8\xff" * 10_000,
    "white of many opacities": b"".join(bytes([255, 255, 255, level]) for level in range(256)) * 40,
    "tables of a JPEG": b"\xff\xd8" + jpeg()[20:158] + b"\xff\xd9",
    "a text about formats": b"Converted from GIF89a to GIF87a with BMP2GIF (RIFF is no FF D8 FF). " * 9,
    "a text with a comma behind a format": b"Converted from GIF89a format, 256 colours. " * 9,
    "a text with an end behind a format": b"Saved as GIF87a images; done: GIF89aimages!!! " * 9,
    "a text that ends with a format": b"of the formats that were known in 1989: GIF89a format",
    "a text about paper": b"P6 is a size, P5 210 x 297, P6 148 by 105 " * 9,
    "an IFD of a maker": b"MM\0*" + struct.pack(">IH", 8, 2) + struct.pack(">HHIHHHHII", 256, 3, 1, 8, 0, 257, 3, 1, 8),
}


@pytest.mark.parametrize("what", CHANCE)
def test_what_only_looks_like_the_beginning_of_a_picture_is_none(what: str) -> None:
    assert not contains_picture(CHANCE[what])
    assert not hides_picture(CHANCE[what])
    kept = bytearray(CHANCE[what])
    wipe_pictures(kept)
    assert kept == CHANCE[what]


@given(st.binary(max_size=400), st.integers(0, 200))
def test_no_bytes_make_the_search_for_pictures_fail(tail: bytes, cut: int) -> None:
    for kind in KINDS:
        content = picture(kind)[:cut] + tail
        hides_picture(content)
        wipe_pictures(bytearray(content))
        contains_picture(base64.b64encode(content))


def test_ordinary_text_is_no_picture() -> None:
    assert not contains_picture(b"A face in the crowd, taken with a camera in 2024. " * 50)
