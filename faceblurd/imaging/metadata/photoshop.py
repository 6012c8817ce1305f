"""Photoshop image resources (the 8BIM blocks of APP13 and of TIFF tag 34377) and the IPTC records in them.

Drops pictures (IPTC can hold one, too), and places where they are not wanted; keeps the rest byte for byte.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from faceblurd.imaging.metadata.embedded import contains_picture
from faceblurd.imaging.metadata.scrub import BARE, Scrub
from faceblurd.imaging.metadata.wording import lies_in_branch
from faceblurd.imaging.metadata.xmp import scrub_xmp

if TYPE_CHECKING:
    from collections.abc import Iterator

_THUMBNAILS = frozenset({0x0409, 0x040C})
_XMP, _IPTC = 0x0424, 0x0404
_DIGEST = 0x0425  # MD5 of the IPTC: void once that changed
_APPLICATION, _EXTENDED, _RECORD = 2, 0x8000, b"\x1c"
_PREVIEWS = frozenset({200, 201, 202})  # of the application record: format, its version, the picture
# Of the same: content location code and name, city, sub-location, province, country code and name.
_PLACES = frozenset({26, 27, 90, 92, 95, 100, 101})
_KEYWORDS = frozenset({15, 20, 25})  # of the same: category, supplemental categories, keywords
_MAKERS = frozenset({b"8BIM", b"MeSa", b"AgHg", b"DCSR", b"PHUT"})  # who wrote a resource: Photoshop, ImageReady...


def scrub_resources(block: bytes, scrub: Scrub = BARE) -> bytes:
    """Return the resources without thumbnails and other pictures; what does not parse is dropped."""
    if not scrub.anything:
        return b""
    kept: list[tuple[int, bytes]] = []
    position = 0
    same_iptc = True
    while block[position : position + 4] in _MAKERS:
        try:
            number, head, size = _header(block, position)
        except struct.error:
            break
        body = block[head : head + size]
        end = head + size + size % 2
        clean = _scrub_one(number, body, scrub)
        same_iptc &= number != _IPTC or clean == body
        if clean is not None and len(body) == size:
            same = clean == body
            kept.append((number, block[position:end] if same else _rebuild(block[position : head - 4], clean)))
        position = end
    return b"".join(part for number, part in kept if number != _DIGEST or same_iptc)


def _header(block: bytes, position: int) -> tuple[int, int, int]:
    """Return the number, the start of the content and its size."""
    number, name_length = struct.unpack_from(">HB", block, position + 4)
    head = position + 6 + ((name_length + 2) & ~1)
    return number, head + 4, struct.unpack_from(">I", block, head)[0]


def _scrub_one(number: int, body: bytes, scrub: Scrub) -> bytes | None:
    """Return what may stay of one resource."""
    if number in _THUMBNAILS:
        return None
    if number == _XMP:
        return scrub_xmp(body, scrub)
    if number == _IPTC:
        body = scrub_iptc(body, scrub)
    return None if contains_picture(body) else body


def _rebuild(head: bytes, body: bytes) -> bytes:
    return head + struct.pack(">I", len(body)) + body + b"\0" * (len(body) % 2)


def scrub_iptc(records: bytes, scrub: Scrub = BARE) -> bytes:
    """Return IPTC-IIM records without previews, and without people and places where those may not stay.

    Where none of these is there, all bytes stay, with blanks that follow. What follows a cut record, or is no record,
    goes. Some writers of TIFFs reverse each four bytes.
    """
    if not scrub.anything:
        return b""
    if records[3:4] == _RECORD != records[:1] and not len(records) % 4:
        clean = scrub_iptc(_turned(records), scrub)
        return _turned(clean + bytes(-len(clean) % 4))
    unwanted = _PREVIEWS if scrub.location else _PREVIEWS | _PLACES
    found = list(_records(records))
    kept = [
        record
        for number, record, text in found
        if number not in unwanted and not (number in _KEYWORDS and lies_in_branch(text, scrub))
    ]
    rest = records[sum(len(record) for _, record, _ in found) :]
    is_all = len(kept) == len(found) and scrub.location and not rest.strip(b"\0 ")
    return records if is_all else b"".join(kept)


def _turned(records: bytes) -> bytes:
    """Reverse each four bytes."""
    return b"".join(records[at : at + 4][::-1] for at in range(0, len(records), 4))


def _records(block: bytes) -> Iterator[tuple[int, bytes, str]]:
    """Give number, bytes and text of each whole record; the number is -1 outside of the application record."""
    position = 0
    while block[position : position + 1] == _RECORD and position + 5 <= len(block):
        kind, number, size = struct.unpack_from(">BBH", block, position + 1)
        head = position + 5
        if size & _EXTENDED:  # the lower bits say how long the length is that follows
            head, size = head + (size & ~_EXTENDED), int.from_bytes(block[head : head + (size & ~_EXTENDED)], "big")
        if head + size > len(block):
            return
        text = block[head : head + size].decode("utf-8", "replace")
        yield number if kind == _APPLICATION else -1, block[position : head + size], text
        position = head + size
