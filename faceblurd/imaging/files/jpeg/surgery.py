"""Replace the blocks of some regions in a JPEG's scan: read them, have them redacted, and write the scan anew.

Owns the order and the bookkeeping of MCUs and restart intervals. Intervals without a region are not even read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from faceblurd.imaging.files.jpeg.areas import changed, touched
from faceblurd.imaging.files.jpeg.fallback import FallbackCoder
from faceblurd.imaging.files.jpeg.huffman import MissingCodesError
from faceblurd.imaging.files.jpeg.layout import interval_bytes, intervals, stream_of
from faceblurd.imaging.files.jpeg.native import NativeCoder, available
from faceblurd.imaging.files.jpeg.painting import Blocks, repaint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.jpeg.areas import Area
    from faceblurd.imaging.files.jpeg.coding import Coder, Walk
    from faceblurd.imaging.files.jpeg.huffman import Table
    from faceblurd.imaging.files.jpeg.layout import Layout, Stream
    from faceblurd.imaging.files.jpeg.painting import Paint
    from faceblurd.model import Region


@dataclass(frozen=True, slots=True)
class Spliced:
    """A new scan, the tables that must stand before its header, and what changed of the stored picture."""

    scan: bytes
    tables: bytes
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """A restart interval that was read: its bits, where its runs lie, and its MCUs in `Blocks.coefficients`."""

    bits: bytes
    walk: Walk
    taken: slice


def best_coder(stream: Stream) -> Coder:
    """Return the compiled bit loop, or the one in Python where there is none."""
    return NativeCoder(stream) if available() is None else FallbackCoder(stream)


def splice(
    data: bytes,
    layout: Layout,
    regions: Sequence[Region],
    paint: Paint,
    *,
    coder_for: Callable[[Stream], Coder] = best_coder,
    reading: Reading | None = None,
) -> Spliced:
    """Hide stored regions of a JPEG; `reading`: what they touch, if it was read. Raises SpliceError for bad bits."""
    areas = [touched(region, layout) for region in regions]
    reading = reading or Reading(data, layout, areas, coder_for)
    scan, tables = reading.written(reading.painted(regions, paint))
    return Spliced(scan, tables, tuple(changed(a, r, layout) for a, r in zip(areas, regions, strict=True)))


def _with_next(mask: npt.NDArray[np.bool_], layout: Layout) -> npt.NDArray[np.uint8]:
    """Add to the touched MCUs the one after each: its DC values are written as differences to them.

    Not across a restart, after which differences count from zero.
    """
    wanted = mask.ravel().astype(np.uint8)
    after = np.roll(wanted, 1)
    after[:: layout.every or len(after)] = 0
    joined: npt.NDArray[np.uint8] = wanted | after
    return joined


class Reading:
    """What some areas of a scan hold, and where it lies in the scan's bits."""

    _painted: tuple[tuple[Region, ...], Paint, npt.NDArray[np.int16]] | None = None

    def __init__(
        self, data: bytes, layout: Layout, areas: Sequence[Area], coder_for: Callable[[Stream], Coder] = best_coder
    ) -> None:
        """Read the intervals that meet an area. Raises SpliceError when the bits make no sense."""
        self.data, self.layout, self.areas = data, layout, tuple(areas)
        self.stream = stream_of(layout, layout.dc, layout.ac)
        self.coder_for, self._coder = coder_for, coder_for(self.stream)
        self.spans = intervals(data, layout)
        self.touched = np.zeros((layout.down, layout.across), np.bool_)
        for area in areas:
            self.touched[area.top : area.bottom, area.left : area.right] = True
        self._wanted = _with_next(self.touched, layout)
        self._taken = np.concatenate([[0], np.cumsum(self._wanted, dtype=np.int32)])  # wanted MCUs before each one
        self._every = layout.every or len(self._wanted)
        self.intervals: dict[int, Interval] = {}
        count = int(np.count_nonzero(self._wanted))
        coefficients = np.zeros((count, len(self.stream.component), 64), np.int16)
        for number in np.unique(self._wanted.nonzero()[0] // self._every).tolist():
            self.intervals[number] = self._walked(number, coefficients)
        self.blocks = Blocks(coefficients, self._taken[:-1].reshape(self.touched.shape))

    def _walked(self, number: int, coefficients: npt.NDArray[np.int16]) -> Interval:
        first = number * self._every
        wanted = self._wanted[first : first + self._every]
        taken = slice(int(self._taken[first]), int(self._taken[first + len(wanted)]))
        bits = self._coder.unstuffed(interval_bytes(self.data, self.spans[number]))
        return Interval(bits, self._coder.walk(bits, wanted, coefficients[taken]), taken)

    def painted(self, regions: Sequence[Region], paint: Paint) -> npt.NDArray[np.int16]:
        """Return the coefficients with stored regions hidden; kept, since the check asks for the same."""
        asked = tuple(regions), paint
        if self._painted is None or self._painted[:2] != asked:
            coefficients = self.blocks.coefficients.copy()
            repaint(replace(self.blocks, coefficients=coefficients), self.layout, regions, paint)
            coefficients.flags.writeable = False
            self._painted = *asked, coefficients
        return self._painted[2]

    def written(self, coefficients: npt.NDArray[np.int16]) -> tuple[bytes, bytes]:
        """Return the new scan, and the tables that it needs besides those of the file."""
        try:
            return self._scan(self._coder, coefficients, self.intervals, source=None), b""
        except MissingCodesError:  # an optimised table has only the symbols that its own scan needed
            return self._with_more_codes(coefficients)

    def _with_more_codes(self, coefficients: npt.NDArray[np.int16]) -> tuple[bytes, bytes]:
        """Write with tables that have the missing symbols too."""
        dc, ac = self._extended_tables(coefficients)
        stream = stream_of(self.layout, dc, ac)
        pairs = zip((*self.stream.dc, *self.stream.ac), (*stream.dc, *stream.ac), strict=True)
        kept = all(old.agrees_with(new) for old, new in pairs)
        every = dict(self.intervals)
        if not kept:  # the codes of the whole scan change, so every interval is read
            rest = set(range(len(self.spans))) - set(every)
            every |= {number: self._walked(number, coefficients) for number in rest}
        scan = self._scan(self.coder_for(stream), coefficients, every, source=None if kept else self._coder)
        old = [*self.layout.dc.items(), *self.layout.ac.items()]
        new = [*dc.items(), *ac.items()]
        return scan, b"".join(table.segment(identifier) for identifier, table in new if (identifier, table) not in old)

    def _extended_tables(self, coefficients: npt.NDArray[np.int16]) -> tuple[dict[int, Table], dict[int, Table]]:
        dc, ac = dict(self.layout.dc), dict(self.layout.ac)
        for interval in self.intervals.values():
            try:
                self._coder.write(interval.bits, interval.walk, coefficients[interval.taken])
            except MissingCodesError as missing:
                for plane, of_dc, of_ac in zip(self.layout.planes, missing.dc, missing.ac, strict=True):
                    dc[plane.dc] = dc[plane.dc].extended(of_dc)
                    ac[plane.ac] = ac[plane.ac].extended(of_ac)
        return dc, ac

    def _scan(
        self, coder: Coder, coefficients: npt.NDArray[np.int16], read: dict[int, Interval], *, source: Coder | None
    ) -> bytes:
        return b"".join(self._pieces(coder, coefficients, read, source))

    def _pieces(
        self, coder: Coder, coefficients: npt.NDArray[np.int16], read: dict[int, Interval], source: Coder | None
    ) -> Iterator[bytes | memoryview]:
        view, copied = memoryview(self.data), self.layout.start
        for number, interval in sorted(read.items()):
            start, end = self.spans[number]
            yield view[copied:start]
            bits = coder.write(interval.bits, interval.walk, coefficients[interval.taken], source=source)
            yield coder.stuffed(bits)
            copied = end
        yield view[copied : self.layout.end]
