"""The items of AVIF and HEIF files that describe the picture: EXIF and XMP, scrubbed; any other kind goes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from faceblurd.imaging.metadata import scrub_exif, scrub_xmp, thumbnail_of, without_thumbnail

if TYPE_CHECKING:
    from faceblurd.imaging.formats.item_file import Item
    from faceblurd.imaging.metadata import Scrub

_XMP = b"application/rdf+xml"
_PREFIXES = (b"", b"Exif\0\0")


def scrub_item(item: Item, scrub: Scrub) -> Item | None:
    """Return what may stay of an item that is no picture."""
    if item.kind == b"Exif" and len(item.data) > 4:  # noqa: PLR2004 - the offset of the block
        start, block = _exif(item.data)
        return replace(item, properties=(), data=start + scrub_exif(block, scrub))
    if item.kind == b"mime" and item.content_type == _XMP:
        packet = scrub_xmp(item.data, scrub)
        return replace(item, properties=(), data=packet) if packet else None
    return None


def _exif(data: bytes) -> tuple[bytes, bytes]:
    """Split an item: the offset with the few bytes that it skips, and the block."""
    start = 4 + int.from_bytes(data[:4], "big")
    return (data[:start] if data[4:start] in _PREFIXES else bytes(4)), data[start:]


def thumbnail_in(item: Item) -> bytes | None:
    """Return the EXIF thumbnail of an item."""
    return thumbnail_of(_exif(item.data)[1]) if item.kind == b"Exif" else None


def shown_by(item: Item) -> bytes:
    """Return what an item holds besides the EXIF thumbnail."""
    if item.kind != b"Exif":
        return item.data
    start, block = _exif(item.data)
    return start + without_thumbnail(block)
