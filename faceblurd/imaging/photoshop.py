"""Photoshop image resources (the 8BIM blocks of APP13 and of TIFF tag 34377) and the IPTC records in them.

Drops pictures, and places where they are not wanted; keeps the rest byte for byte.
"""

from __future__ import annotations

import struct

from faceblurd.imaging.scrub import BARE, Scrub
from faceblurd.imaging.signatures import contains_picture
from faceblurd.imaging.xmp import scrub_xmp

_THUMBNAILS = frozenset({0x0409, 0x040C})
_XMP, _IPTC = 0x0424, 0x0404
_DIGEST = 0x0425  # MD5 of the IPTC: void once that changed
# Of record 2: content location code and name, city, sub-location, province, country code and name.
_PLACES = frozenset({26, 27, 90, 92, 95, 100, 101})


def scrub_resources(block: bytes, scrub: Scrub = BARE) -> bytes:
    """Return the resources without thumbnails and other pictures; what does not parse is dropped."""
    if not scrub.anything:
        return b""
    kept: list[bytes] = []
    position = 0
    while block[position : position + 4] == b"8BIM":
        try:
            number, head, size = _header(block, position)
        except struct.error:
            break
        body = block[head : head + size]
        end = head + size + size % 2
        clean = _scrub_one(number, body, scrub)
        if clean is not None and len(body) == size:
            same = clean == body
            kept.append(block[position:end] if same else _rebuild(block[position : head - 4], clean))
        position = end
    return b"".join(kept)


def _header(block: bytes, position: int) -> tuple[int, int, int]:
    """Return the number, the start of the content and its size."""
    number, name_length = struct.unpack_from(">HB", block, position + 4)
    head = position + 6 + ((name_length + 2) & ~1)
    return number, head + 4, struct.unpack_from(">I", block, head)[0]


def _scrub_one(number: int, body: bytes, scrub: Scrub) -> bytes | None:
    """Return what may stay of one resource."""
    if number in _THUMBNAILS or (number == _DIGEST and not scrub.location):
        return None
    if number == _XMP:
        return scrub_xmp(body, scrub)
    if number == _IPTC:
        body = scrub_iptc(body, scrub)
    return None if contains_picture(body) else body


def _rebuild(head: bytes, body: bytes) -> bytes:
    """Return a resource with another content."""
    return head + struct.pack(">I", len(body)) + body + b"\0" * (len(body) % 2)


def scrub_iptc(records: bytes, scrub: Scrub = BARE) -> bytes:
    """Return IPTC-IIM records without places, where those may not stay; what does not parse is dropped then."""
    if not scrub.anything:
        return b""
    if scrub.location:
        return records
    kept, position = [], 0
    while records[position : position + 1] == b"\x1c" and position + 5 <= len(records):
        record, number, size = struct.unpack_from(">BBH", records, position + 1)
        end = position + 5 + size
        if size & 0x8000 or end > len(records):  # an extended size: no text is that long
            break
        if not (record == 2 and number in _PLACES):  # noqa: PLR2004 - the application record
            kept.append(records[position:end])
        position = end
    return b"".join(kept)
