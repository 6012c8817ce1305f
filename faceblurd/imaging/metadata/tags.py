"""Which tags of TIFF and EXIF directories may stay, and the names of people in makers' notes, which are blanked.

Known tags stay, since a private one may hold raw pixels.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from faceblurd.imaging.metadata import exif

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faceblurd.imaging.metadata.exif import TiffBlock

LOOKS: Final = frozenset({
    254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 282, 283, 284, 288, 289,
    290, 291, 292, 293, 296, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 326, 327, 328, 332, 333, 334, 336,
    338, 339, 340, 341, 342, 347, 529, 530, 531, 532, 32995, 32996, 32997, 32998, 34675,
})  # fmt: skip
"""What decides how a page looks: size, depth, colours, rows, resolution, numbers of pages, palette, ICC profile."""

PROFILE: Final = 34675  # ICC

_BY_OTHER_RULES: Final = frozenset({
    exif.SUB_IFDS, exif.EXIF_IFD, exif.GPS_IFD, exif.INTEROP_IFD, exif.JPEG_OFFSET, exif.JPEG_SIZE,
    exif.XMP, exif.IPTC, exif.RESOURCES,
})  # fmt: skip
# Document, description, maker, model, page, position, software, date, artist, host, target printer, rating, copyright.
_WORDS: Final = frozenset({269, 270, 271, 272, 285, 286, 287, 305, 306, 315, 316, 337, 18246, 18249, 33432})
_WINDOWS: Final = frozenset(range(40091, 40096))  # title, comment, author, keywords, subject
WINDOWS_KEYWORDS: Final = 40094
_PRINT_MATCHING: Final = 50341
GEOGRAPHIC: Final = frozenset({33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113})
"""GeoTIFF's points and projections, and what GDAL says beside them."""

_EXIF: Final = (
    frozenset({33434, 33437, 59932, 59933})
    | frozenset(range(34850, 34869)) - {exif.GPS_IFD}
    | frozenset(range(36864, 37894)) - {37724}  # Photoshop's layers
    | frozenset(range(40960, 42241))
)
"""What the EXIF standard names, the maker's note included."""

_KNOWN: Final = LOOKS | _BY_OTHER_RULES | _WORDS | _WINDOWS | GEOGRAPHIC | _EXIF | {_PRINT_MATCHING}
_GPS_AND_INTEROP: Final = frozenset(range(32)) | {4096, 4097, 4098}
_HARMLESS_BYTES: Final = 64  # 8 x 8 gray levels show nobody

_LONG_EXIF: Final = frozenset({34856, 37500, 37510, 41484, 41730, 41995, 42082})
"""Opto-electronic conversion, note, comment, frequency response, mosaic, settings, exposures: tables and texts."""
_MOST_EXIF_BYTES: Final = 8192  # of all others: numbers, dates, names
Span = tuple[int, int]


def may_stay(tag: int, size: int, *, below: bool) -> bool:
    """Say whether a tag with a value of so many bytes may stay: a known one, or one too small to show anything.

    `below`: it is in a directory below another one, such as that of GPS.
    """
    if tag in (_EXIF - _LONG_EXIF) | {_PRINT_MATCHING} and size > _MOST_EXIF_BYTES:
        return False
    return tag in _KNOWN or (below and tag in _GPS_AND_INTEROP) or size <= _HARMLESS_BYTES


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a maker's directory is found, and which of its tags hold names."""

    prefix: bytes
    tags: frozenset[int]
    directory: int
    offsets_from_note: bool = False
    order: str = ""


_KINDS: Final = (
    _Kind(b"Panasonic\0", frozenset({0x61, 0x66}), 12),  # faces recognised, the baby's name
    _Kind(b"LEICA\0\0\0", frozenset({0x61, 0x66}), 8),
    _Kind(b"FUJIFILM", frozenset({0x4282}), 12, offsets_from_note=True, order="<"),
    _Kind(b"", frozenset({0x123}), 0, offsets_from_note=True),  # Samsung, whose notes have no name of their own
)
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8}
_MAX_TAGS: Final = 512


def blank_names(tiff: TiffBlock, start: int, end: int) -> None:
    """Blank the names in the maker's note that lies here in an EXIF block."""
    note = bytes(tiff.content[start:end])
    kind = next(kind for kind in _KINDS if note.startswith(kind.prefix))
    base = start if kind.offsets_from_note else 0
    for offset, size in _values(note, kind, tiff.order):
        if start <= base + offset and base + offset + size <= end:
            tiff.blank(base + offset, size)


def _values(note: bytes, kind: _Kind, order: str) -> Iterator[Span]:
    """Give offset and size of the values of these tags, as the note counts them."""
    order = kind.order or order
    try:
        count = struct.unpack_from(order + "H", note, kind.directory)[0]
        rows = range(kind.directory + 2, kind.directory + 2 + 12 * min(count, _MAX_TAGS), 12)
        for tag, type_, many, offset in (struct.unpack_from(order + "HHII", note, row) for row in rows):
            size = _SIZES.get(type_, 0) * many
            if tag in kind.tags and size > 4:  # noqa: PLR2004 - a value within the tag is too short for a name
                yield offset, size
    except struct.error:
        return
