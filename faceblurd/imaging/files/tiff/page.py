"""One page of a TIFF file: what its directory says, and where its parts lie."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from faceblurd.errors import ImageError
from faceblurd.imaging.metadata import exif
from faceblurd.model import Reason

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    from faceblurd.imaging.metadata.exif import Ifd, TiffBlock

_KIND, _WIDTH, _HEIGHT, _DEPTHS, _COMPRESSION, _SAMPLES, _PREDICTOR = 0xFE, 0x100, 0x101, 0x102, 0x103, 0x115, 0x13D
_REDUCED: Final = 1
_EXTRAS, _PLAIN_ALPHA = 0x152, 2
_RAW: Final = frozenset({0xC612, 0x828D, 0x828E})  # DNG's version, the pattern of a sensor's colour filters
_ROWS: Final = frozenset({exif.STRIPS, exif.STRIP_SIZES, exif.TILES, exif.TILE_SIZES})

Span = tuple[int, int]


class TiffPage:
    """Reads one directory. Raises ImageError INCOMPLETE when it is not whole.

    `order`: the byte order, as `struct` writes it; `directory`: where it lies; `rows`: where strips or tiles lie;
    `is_raw`: it has a camera's raw data, which no redaction reaches.
    """

    def __init__(self, tiff: TiffBlock, ifd: Ifd) -> None:
        self._tiff, self.ifd = tiff, ifd
        self.order = tiff.order
        self.tags = set(ifd.entries)
        self.directory: Span = ifd.start, ifd.link + 4
        self.is_raw = bool(_RAW & self.tags)
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
        turned = tiff.integers_or_none(ifd.entries.get(exif.ORIENTATION))[:1]
        self.orientation = turned[0] if turned and 1 <= turned[0] <= 8 else 1  # noqa: PLR2004 - the eight orientations

    def _all(self, tag: int) -> list[int]:
        entry = self.ifd.entries.get(tag)
        return self._tiff.integers(entry) if entry else []

    def _one(self, tag: int, default: int | None = None) -> int:
        values = self._all(tag)
        if not values and default is None:
            raise ValueError(f"tag {tag:#x} is missing")
        return values[0] if values else int(default or 0)

    def _rows(self) -> list[Span]:
        if any(self.ifd.entries[tag].count > exif.MOST_VALUES for tag in _ROWS & self.tags):
            raise ValueError("too many strips")
        starts = self._all(exif.STRIPS) or self._all(exif.TILES)
        sizes = self._all(exif.STRIP_SIZES) or self._all(exif.TILE_SIZES)
        if not starts or len(starts) != len(sizes):
            raise ValueError("strips and their sizes do not agree")
        return [(start, start + size) for start, size in zip(starts, sizes, strict=True)]

    def record(self, tag: int) -> bytes:
        """Return the 12 bytes of a tag."""
        position = self.ifd.entries[tag].position
        return bytes(self._tiff.content[position : position + 12])

    def integers(self, tag: int) -> tuple[int, list[int]]:
        """Return type and values of an integer tag. Raises ImageError DAMAGED when it is none."""
        try:
            return self.ifd.entries[tag].type, self._all(tag)
        except ValueError as error:
            raise ImageError(Reason.DAMAGED, f"The TIFF's directory makes no sense: {error}") from error

    def first(self, tag: int) -> int | None:
        """Return the first value of an integer tag, None where there is none."""
        return next(iter(self._tiff.integers_or_none(self.ifd.entries.get(tag))), None)

    def has_more_children_than(self, most: int) -> bool:
        """Say whether there are more sub-directories than that, without reading any."""
        entry = self.ifd.entries.get(exif.SUB_IFDS)
        return entry is not None and entry.count > most

    def children(self) -> Iterator[TiffPage | None]:
        """Give the pictures of the sub-directories; None for one that is no picture."""
        return map(self._child, self._tiff.integers_or_none(self.ifd.entries.get(exif.SUB_IFDS)))

    def _child(self, start: int) -> TiffPage | None:
        try:
            return TiffPage(self._tiff, self._tiff.ifd(start))
        except (ValueError, ImageError):
            return None

    def directories(self) -> list[Ifd]:
        """Return the page's directory and those of EXIF, GPS and interoperability."""
        return self._tiff.directories(self.ifd.start)

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
        self._single_out(alone)
        return bytes(alone)

    @contextmanager
    def first_in(self, file: io.BytesIO) -> Iterator[io.BytesIO]:
        """Change a copy of the file meanwhile into what `alone` gives: a thousand pages need no thousand copies."""
        with file.getbuffer() as content:
            before = self._single_out(content)
        try:
            yield file
        finally:
            with file.getbuffer() as content:
                for at, old in reversed(before):
                    content[at : at + len(old)] = old
            file.seek(0)

    def _single_out(self, content: bytearray | memoryview) -> list[tuple[int, bytes]]:
        """Write what `alone` says into the bytes of the file; return what was there."""
        order = self.order
        changes = [(4, struct.pack(order + "I", self.ifd.start)), (self.ifd.link, bytes(4))]
        for tag, value in ((exif.ORIENTATION, 1), (_EXTRAS, _PLAIN_ALPHA)):
            entry = self.ifd.entries.get(tag)
            if entry and (entry.count == 1 or tag == exif.ORIENTATION):
                changes.append((entry.position + 2, struct.pack(order + "HIHH", 3, 1, value, 0)))
        before = []
        for at, changed in changes:
            fitting = changed[: max(0, len(content) - at)]
            before.append((at, bytes(content[at : at + len(fitting)])))
            content[at : at + len(fitting)] = fitting
        return before
