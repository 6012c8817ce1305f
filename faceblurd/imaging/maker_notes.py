"""Names of people whom a camera recognised, in the maker's notes that are known to hold any; blanked in place.

Notes are the makers' own, and undocumented: offsets count from the EXIF block (Panasonic) or from the note (Fujifilm).
Sources: ExifTool's tables. What does not parse stays as it is, since nobody can find a name in it either.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faceblurd.imaging.exif import TiffBlock

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a maker's directory is found, and in which of its tags names stand."""

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
    """Give where the values of these tags lie, from the place that the note's offsets count from, and their sizes."""
    order = kind.order or order
    try:
        count = struct.unpack_from(order + "H", note, kind.directory)[0]
        rows = range(kind.directory + 2, kind.directory + 2 + 12 * min(count, _MAX_TAGS), 12)
        for tag, type_, many, offset in (struct.unpack_from(order + "HHII", note, row) for row in rows):
            size = _SIZES.get(type_, 0) * many
            if tag in kind.tags and size > 4:  # noqa: PLR2004 - the value itself: too short for a name
                yield offset, size
    except struct.error:
        return
