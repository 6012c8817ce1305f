"""One page of a TIFF file: what its directory says, and where its parts lie."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any, Final

from faceblurd.errors import ImageError
from faceblurd.imaging.metadata.exif import (
    MOST_VALUES,
    ORIENTATION,
    STRIP_SIZES,
    STRIPS,
    SUB_IFDS,
    TILE_SIZES,
    TILES,
    Ifd,
    TiffBlock,
)
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

_KIND, _WIDTH, _HEIGHT, _DEPTHS, _COMPRESSION, _SAMPLES, _PREDICTOR = 0xFE, 0x100, 0x101, 0x102, 0x103, 0x115, 0x13D
_REDUCED: Final = 1
_EXTRAS, _PLAIN_ALPHA = 0x152, 2
_RAW: Final = frozenset({0xC612, 0x828D, 0x828E})  # DNG's version, the pattern of a sensor's colour filters
_ROWS: Final = frozenset({STRIPS, STRIP_SIZES, TILES, TILE_SIZES})

Span = tuple[int, int]


class TiffPage:
    """Reads one directory. Raises ImageError INCOMPLETE when it is not whole."""

    def __init__(self, tiff: TiffBlock, ifd: Ifd) -> None:
        """Read what is needed of the tags."""
        self._tiff, self._ifd = tiff, ifd
        try:
            self.width, self.height = self._one(_WIDTH), self._one(_HEIGHT)
            self.depths = self._all(_DEPTHS) or [1]
            self.compression = self._one(_COMPRESSION, 1)
            self.samples = self._one(_SAMPLES, 1)
            self.predictor = self._one(_PREDICTOR, 1)
            self.is_reduced = bool(self._one(_KIND, 0) & _REDUCED)
            self.rows = self._rows()
        except ValueError as error:
            what = f"The TIFF's directory is not whole: {error}"
            raise ImageError(Reason.INCOMPLETE, what, retryable=True) from error
        turned = tiff.integers_or_none(ifd.entries.get(ORIENTATION))[:1]
        self.orientation = turned[0] if turned and 1 <= turned[0] <= 8 else 1  # noqa: PLR2004 - the eight orientations

    def _all(self, tag: int) -> list[int]:
        entry = self._ifd.entries.get(tag)
        return self._tiff.integers(entry) if entry else []

    def _one(self, tag: int, default: int | None = None) -> int:
        values = self._all(tag)
        if not values and default is None:
            raise ValueError(f"tag {tag:#x} is missing")
        return values[0] if values else int(default or 0)

    def _rows(self) -> list[Span]:
        """Return where strips or tiles lie."""
        if any(self._ifd.entries[tag].count > MOST_VALUES for tag in _ROWS & self.tags):
            raise ValueError("too many strips")
        starts, sizes = self._all(STRIPS) or self._all(TILES), self._all(STRIP_SIZES) or self._all(TILE_SIZES)
        if not starts or len(starts) != len(sizes):
            raise ValueError("strips and their sizes do not agree")
        return [(start, start + size) for start, size in zip(starts, sizes, strict=True)]

    @property
    def ifd(self) -> Ifd:
        """The directory."""
        return self._ifd

    @property
    def is_raw(self) -> bool:
        """Whether a camera's raw data, which no redaction reaches, is in it."""
        return bool(_RAW & self.tags)

    @property
    def order(self) -> str:
        """The byte order, as `struct` writes it."""
        return self._tiff.order

    @property
    def tags(self) -> set[int]:
        """The page's tags."""
        return set(self._ifd.entries)

    @property
    def directory(self) -> Span:
        """Where the page's directory lies."""
        return self._ifd.start, self._ifd.link + 4

    def record(self, tag: int) -> bytes:
        """Return the 12 bytes of a tag."""
        position = self._ifd.entries[tag].position
        return bytes(self._tiff.content[position : position + 12])

    def integers(self, tag: int) -> tuple[int, list[int]]:
        """Return type and values of an integer tag. Raises ImageError DAMAGED when it is none."""
        try:
            return self._ifd.entries[tag].type, self._all(tag)
        except ValueError as error:
            raise ImageError(Reason.DAMAGED, f"The TIFF's directory makes no sense: {error}") from error

    def first(self, tag: int) -> int | None:
        """Return the first value of an integer tag, None where there is none."""
        return next(iter(self._tiff.integers_or_none(self._ifd.entries.get(tag))), None)

    def has_more_children_than(self, most: int) -> bool:
        """Say whether there are more sub-directories than that, without reading any."""
        entry = self._ifd.entries.get(SUB_IFDS)
        return entry is not None and entry.count > most

    def children(self) -> Iterator[TiffPage | None]:
        """Give the pictures of the sub-directories; None for one that is no picture."""
        return map(self._child, self._tiff.integers_or_none(self._ifd.entries.get(SUB_IFDS)))

    def _child(self, start: int) -> TiffPage | None:
        try:
            return TiffPage(self._tiff, self._tiff.ifd(start))
        except (ValueError, ImageError):
            return None

    def directories(self) -> list[Ifd]:
        """Return the page's directory and those of EXIF, GPS and interoperability."""
        return self._tiff.directories(self._ifd.start)

    def structure(self) -> list[Span]:
        """Return where the directories themselves lie."""
        return [(ifd.start, ifd.link + 4) for ifd in self.directories()]

    def values(self) -> list[Span]:
        """Return where values lie, other than rows."""
        entries = (entry for ifd in self.directories() for entry in ifd.entries.values())
        return [(entry.value, entry.value + entry.size) for entry in entries if entry.size]

    def alone(self) -> bytes:
        """Return the file with this page as its first, not turned, and its colours as stored: for decoders.

        They know one page; they would turn it, and divide its colours by its alpha, which cannot be undone exactly.
        """
        alone = bytearray(self._tiff.content)
        for at, changed in self._changes():
            alone[at : at + len(changed)] = changed
        return bytes(alone)

    def header(self) -> io.BufferedReader:
        """Return what `alone` gives, to be read piece by piece: a thousand pages need no thousand copies."""
        return io.BufferedReader(_Changed(self._tiff.content, self._changes()))

    def _changes(self) -> list[tuple[int, bytes]]:
        order = self._tiff.order
        changes = [(4, struct.pack(order + "I", self._ifd.start)), (self._ifd.link, bytes(4))]
        for tag, value in ((ORIENTATION, 1), (_EXTRAS, _PLAIN_ALPHA)):
            entry = self._ifd.entries.get(tag)
            if entry and (entry.count == 1 or tag == ORIENTATION):
                changes.append((entry.position + 2, struct.pack(order + "HIHH", 3, 1, value, 0)))
        return [(at, changed[: max(0, len(self._tiff.content) - at)]) for at, changed in changes]


class _Changed(io.RawIOBase):
    """Bytes with some replaced, as a file."""

    def __init__(self, content: bytearray, changes: list[tuple[int, bytes]]) -> None:
        self._content, self._changes, self._at = memoryview(content), changes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._content)}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - as the base class has it
        piece = bytearray(self._content[self._at : self._at + len(buffer)])
        for at, changed in self._changes:
            first, last = max(at, self._at), min(at + len(changed), self._at + len(piece))
            if first < last:
                piece[first - self._at : last - self._at] = changed[first - at : last - at]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
