"""The structure of a TIFF file: what its one page says, which bytes are in use, and the wiping of all others."""

from __future__ import annotations

import struct

from faceblurd.errors import ImageError
from faceblurd.imaging.exif import (
    EXIF_IFD,
    GPS_IFD,
    INTEROP_IFD,
    ORIENTATION,
    STRIP_SIZES,
    STRIPS,
    SUB_IFDS,
    TILE_SIZES,
    TILES,
    Ifd,
    TiffBlock,
    wipe_jpegs,
)
from faceblurd.imaging.exif_scrub import scrub_payloads
from faceblurd.imaging.formats.codecs import zero_tail
from faceblurd.imaging.metadata import BARE, Scrub, contains_picture, orientation_of
from faceblurd.model import Reason

_WIDTH, _HEIGHT, _DEPTHS, _COMPRESSION, _SAMPLES, _PREDICTOR = 0x100, 0x101, 0x102, 0x103, 0x115, 0x13D
_SPARSE = 8  # zeros over an eighth of the file at its end: a copy that is still arriving
_CHILDREN = (EXIF_IFD, GPS_IFD, INTEROP_IFD)

Span = tuple[int, int]


class TiffLayout:
    """Reads the directories of a file with one page. Raises ImageError."""

    def __init__(self, data: bytes, *, check_tail: bool = True) -> None:
        """Read the page, and check that all rows are there (`check_tail`: that the end is not only zeros, too)."""
        self.data = data
        try:
            self._tiff = TiffBlock(data)
            self._page = self._tiff.first()
            self.width, self.height = self._one(_WIDTH), self._one(_HEIGHT)
            self.depths = self._all(_DEPTHS) or [1]
            self.compression = self._one(_COMPRESSION, 1)
            self.samples = self._one(_SAMPLES, 1)
            self.predictor = self._one(_PREDICTOR, 1)
            self.rows = self._rows()
        except ValueError as error:
            what = f"The TIFF's directory is not whole: {error}"
            raise ImageError(Reason.INCOMPLETE, what, retryable=True) from error
        self.orientation = orientation_of(data)
        self._refuse(check_tail=check_tail)

    def _all(self, tag: int) -> list[int]:
        entry = self._page.entries.get(tag)
        return self._tiff.integers(entry) if entry else []

    def _one(self, tag: int, default: int | None = None) -> int:
        values = self._all(tag)
        if not values and default is None:
            raise ValueError(f"tag {tag:#x} is missing")
        return values[0] if values else int(default or 0)

    def _rows(self) -> list[Span]:
        """Return where strips or tiles lie."""
        starts, sizes = self._all(STRIPS) or self._all(TILES), self._all(STRIP_SIZES) or self._all(TILE_SIZES)
        if not starts or len(starts) != len(sizes):
            raise ValueError("strips and their sizes do not agree")
        return [(start, start + size) for start, size in zip(starts, sizes, strict=True)]

    def _refuse(self, *, check_tail: bool) -> None:
        """Refuse what is cut, and what holds more than one picture."""
        if max(end for _, end in self.rows) > len(self.data) or min(end - start for start, end in self.rows) < 1:
            raise ImageError(Reason.INCOMPLETE, "The TIFF's rows are not all there", retryable=True)
        if check_tail and zero_tail(self.data) > max(4096, len(self.data) // _SPARSE):
            raise ImageError(Reason.INCOMPLETE, "The end of the TIFF is only zeros", retryable=True)
        if self._page.next:
            raise ImageError(Reason.UNSUPPORTED, "TIFFs of several pages are not supported")
        if SUB_IFDS in self._page.entries:
            raise ImageError(Reason.UNSUPPORTED, "TIFFs with pictures in sub-directories are not supported")

    @property
    def order(self) -> str:
        """The byte order, as `struct` writes it."""
        return self._tiff.order

    @property
    def tags(self) -> set[int]:
        """The page's tags."""
        return set(self._page.entries)

    @property
    def directory(self) -> Span:
        """Where the page's directory lies."""
        return self._page.start, self._page.link + 4

    def record(self, tag: int) -> bytes:
        """Return the 12 bytes of a tag."""
        position = self._page.entries[tag].position
        return self.data[position : position + 12]

    def integers(self, tag: int) -> tuple[int, list[int]]:
        """Return type and values of an integer tag."""
        return self._page.entries[tag].type, self._all(tag)

    def with_orientation(self, orientation: int) -> bytes:
        """Return the file with another value in its orientation tag, where it has one."""
        return self._oriented(TiffBlock(self.data), orientation)

    def _oriented(self, tiff: TiffBlock, orientation: int) -> bytes:
        entry = self._page.entries.get(ORIENTATION)
        if entry:
            struct.pack_into(tiff.order + "HIHH", tiff.content, entry.position + 2, 3, 1, orientation, 0)
        return bytes(tiff.content)

    def scrubbed(self, *, orientation: int, scrub: Scrub = BARE) -> bytes:
        """Return the file without pictures in its tags, and with every byte blanked that no tag refers to."""
        tiff = TiffBlock(self.data)
        scrub_payloads(tiff, self._page, scrub)
        for start, end in self._values():
            wipe_jpegs(tiff.content, start, end)
        for start, end in _gaps([(0, 8), *self.rows, *self._structure(), *self._values()], len(self.data)):
            tiff.blank(start, end - start)
        return self._oriented(tiff, orientation)

    def _directories(self) -> list[Ifd]:
        """Return the page's directory and those of EXIF, GPS and interoperability."""
        found, seen = [self._page], {self._page.start}
        for ifd in found:
            for tag in _CHILDREN:
                child = self._child(ifd, tag)
                if child and child.start not in seen:
                    seen.add(child.start)
                    found.append(child)
        return found

    def _child(self, ifd: Ifd, tag: int) -> Ifd | None:
        entry = ifd.entries.get(tag)
        try:
            return self._tiff.ifd(self._tiff.integers(entry)[0]) if entry else None
        except (ValueError, IndexError):
            return None

    def _structure(self) -> list[Span]:
        """Return where the directories themselves lie."""
        return [(ifd.start, ifd.link + 4) for ifd in self._directories()]

    def _values(self) -> list[Span]:
        """Return where values lie, other than rows."""
        entries = (entry for ifd in self._directories() for entry in ifd.entries.values())
        return [(entry.value, entry.value + entry.size) for entry in entries if entry.size]

    def leftovers(self) -> list[str]:
        """Name tags whose value looks like a picture, and bytes that nothing refers to."""
        found = [f"tag at {start}" for start, end in self._values() if contains_picture(self.data[start:end])]
        spans = [(0, 8), *self.rows, *self._structure(), *self._values()]
        unused = b"".join(self.data[start:end] for start, end in _gaps(spans, len(self.data)))
        return [*found, *(["unused bytes"] if contains_picture(unused) else [])]


def _gaps(spans: list[Span], length: int) -> list[Span]:
    """Return what lies between the spans."""
    gaps: list[Span] = []
    position = 0
    for start, end in sorted(spans):
        if start > position:
            gaps.append((position, min(start, length)))
        position = max(position, end)
    return [*gaps, (position, length)] if position < length else gaps
