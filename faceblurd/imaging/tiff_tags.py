"""Which tags of TIFF and EXIF directories may stay: those that are known, since a private one may hold raw pixels."""

from __future__ import annotations

from typing import Final

from faceblurd.imaging.exif import (
    EXIF_IFD,
    GPS_IFD,
    INTEROP_IFD,
    IPTC,
    JPEG_OFFSET,
    JPEG_SIZE,
    ORIENTATION,
    RESOURCES,
    STRIP_SIZES,
    STRIPS,
    SUB_IFDS,
    TILE_SIZES,
    TILES,
    XMP,
)

LOOKS: Final = frozenset({
    254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, ORIENTATION, STRIPS, 277, 278, STRIP_SIZES, 280, 281, 282,
    283, 284, 288, 289, 290, 291, 292, 293, 296, 297, 301, 317, 318, 319, 320, 321, 322, 323, TILES, TILE_SIZES, 326,
    327, 328, 332, 333, 334, 336, 338, 339, 340, 341, 342, 347, 529, 530, 531, 532, 32995, 32996, 32997, 32998, 34675,
})  # fmt: skip
"""What decides how a page looks: size, depth, colours, rows, resolution, numbers of pages, palette, ICC profile."""

PROFILE: Final = 34675  # ICC

_DIRECTORIES: Final = frozenset(
    {SUB_IFDS, EXIF_IFD, GPS_IFD, INTEROP_IFD, JPEG_OFFSET, JPEG_SIZE}
)  # by rules of theirs
_PAYLOADS: Final = frozenset({XMP, IPTC, RESOURCES})  # the same
# Document, description, maker, model, page, position, software, date, artist, host, target printer, rating, copyright.
_WORDS: Final = frozenset({269, 270, 271, 272, 285, 286, 287, 305, 306, 315, 316, 337, 18246, 18249, 33432})
_WINDOWS: Final = frozenset(range(40091, 40096))  # title, comment, author, keywords, subject
WINDOWS_KEYWORDS: Final = 40094
_PRINT_MATCHING: Final = 50341
GEOGRAPHIC: Final = frozenset({33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113})
"""GeoTIFF's points and projections, and what GDAL says beside them."""

_EXIF: Final = (
    frozenset({33434, 33437, 59932, 59933})
    | frozenset(range(34850, 34869)) - {GPS_IFD}
    | frozenset(range(36864, 37894)) - {37724}  # Photoshop's layers
    | frozenset(range(40960, 42241))
)
"""What the EXIF standard names, the maker's note among it."""

_KNOWN: Final = LOOKS | _DIRECTORIES | _PAYLOADS | _WORDS | _WINDOWS | GEOGRAPHIC | _EXIF | {_PRINT_MATCHING}
_GPS_AND_INTEROP: Final = frozenset(range(32)) | {4096, 4097, 4098}
_HARMLESS_BYTES: Final = 64  # 8 x 8 gray levels show nobody


_LONG_EXIF: Final = frozenset({34856, 37500, 37510, 41484, 41730, 41995, 42082})
"""Opto-electronic conversion, note, comment, frequency response, mosaic, settings, exposures: tables and texts."""
_MOST_EXIF_BYTES: Final = 8192  # of all others: numbers, dates, names


def may_stay(tag: int, size: int, *, below: bool) -> bool:
    """Say whether a tag with a value of so many bytes may stay: a known one, or one too small to show anything.

    `below`: it is in a directory below another one, such as that of GPS.
    """
    if tag in (_EXIF - _LONG_EXIF) | {_PRINT_MATCHING} and size > _MOST_EXIF_BYTES:
        return False
    return tag in _KNOWN or (below and tag in _GPS_AND_INTEROP) or size <= _HARMLESS_BYTES
