"""Write AVIF and HEIF files of items, whose data stay byte for byte, and nothing else.

Of the items that describe the picture EXIF and XMP stay, scrubbed; any other kind goes.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from faceblurd.imaging.files.heif.boxes import box, numbers, versioned
from faceblurd.imaging.metadata import scrub_exif, scrub_xmp, thumbnail_of, without_thumbnail

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from faceblurd.imaging.files.heif.items import Item, Property
    from faceblurd.imaging.metadata import Scrub

_NEEDS_MORE = frozenset({b"MiPr", b"tmap"})  # brands that promise thumbnails or gain maps
_XMP = b"application/rdf+xml"
_PREFIXES = (b"", b"Exif\0\0")


def build(brands: bytes, primary: int, items: Sequence[Item]) -> bytes:
    """Return a file with these items, numbered anew from 1; `brands` is the body of its first box."""
    new = {item.id: number for number, item in enumerate(items, 1)}
    start = box(b"ftyp", _brands(brands))
    unplaced = _meta(new, primary, items, first=0)
    first = len(start) + len(unplaced) + 8
    return start + _meta(new, primary, items, first=first) + box(b"mdat", *(item.data for item in _stored(items)))


def _stored(items: Sequence[Item]) -> list[Item]:
    """Return the items in the order of their data: metadata first, as libavif writes it.

    OpenCV 4.14 looks at 500 bytes, and takes a file whose metadata begin behind them for no AVIF.
    """
    return sorted(items, key=lambda item: bool(item.properties))


def _brands(body: bytes) -> bytes:
    others = (body[at : at + 4] for at in range(8, len(body) - 3, 4))
    return body[:8] + b"".join(brand for brand in others if brand not in _NEEDS_MORE)


def _meta(new: dict[int, int], primary: int, items: Sequence[Item], *, first: int) -> bytes:
    """Write the list of items, whose data start at the offset `first`."""
    handler = versioned(b"hdlr", bytes(4), b"pict", bytes(13))
    parts = [handler, versioned(b"pitm", numbers(2, [new[primary]])), _locations(items, first), _entries(new, items)]
    if any(item.references for item in items):
        parts.append(_references(new, items))
    return versioned(b"meta", *parts, _properties(new, items))


def _locations(items: Sequence[Item], first: int) -> bytes:
    """Write where each item lies, in one piece, with offsets and lengths of four bytes."""
    stored = _stored(items)
    offsets = accumulate((len(item.data) for item in stored), initial=first)
    places = {item.id: offset for item, offset in zip(stored, offsets, strict=False)}
    rows = (
        numbers(2, [number, 0, 1]) + numbers(4, [places[item.id], len(item.data)])
        for number, item in enumerate(items, 1)
    )
    return versioned(b"iloc", b"\x44\0", numbers(2, [len(items)]), *rows)


def _entries(new: dict[int, int], items: Sequence[Item]) -> bytes:
    return versioned(b"iinf", numbers(2, [len(items)]), *(_entry(new[item.id], item) for item in items))


def _entry(number: int, item: Item) -> bytes:
    kind = item.content_type + b"\0" if item.kind == b"mime" else b""
    return versioned(b"infe", numbers(2, [number, 0]), item.kind, b"\0", kind, version=2, flags=int(item.hidden))


def _references(new: dict[int, int], items: Iterable[Item]) -> bytes:
    rows = [
        box(kind, numbers(2, [new[item.id], len(targets), *(new[target] for target in targets)]))
        for item in items
        for kind, targets in item.references
    ]
    return versioned(b"iref", *rows)


def _properties(new: dict[int, int], items: Sequence[Item]) -> bytes:
    """Write each property once, and which items have it."""
    places: dict[tuple[bytes, bytes], int] = {}
    rows = []
    for item in items:
        marks = [_mark(places, one) for one in item.properties]
        rows.append(numbers(2, [new[item.id]]) + numbers(1, [len(marks)]) + numbers(2, marks))
    store = box(b"ipco", *(box(kind, body) for kind, body in places))
    return box(b"iprp", store, versioned(b"ipma", numbers(4, [len(rows)]), *rows, flags=1))


def _mark(places: dict[tuple[bytes, bytes], int], one: Property) -> int:
    """Return the place of a property, with the bit that says whether it is essential."""
    place = places.setdefault((one.kind, one.body), len(places) + 1)
    return place | (0x8000 if one.essential else 0)


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
    """Split an item into its offset, with the bytes that this skips, and the EXIF block."""
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
