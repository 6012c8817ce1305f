"""Read a spliced scan again and compare it with what was meant: the regions block by block, all else bit by bit.

What no region touches must be the very bits of the original, so only the touched MCUs are decoded anew. Where they lie
follows from the lengths that are read here, not from what the writer said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from faceblurd.imaging.files.jpeg.coding import SHORT, complaint
from faceblurd.imaging.files.jpeg.huffman import SpliceError
from faceblurd.imaging.files.jpeg.layout import interval_bytes, intervals, stream_of
from faceblurd.imaging.files.jpeg.surgery import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.jpeg.areas import Area
    from faceblurd.imaging.files.jpeg.coding import Coder
    from faceblurd.imaging.files.jpeg.layout import Layout
    from faceblurd.imaging.files.jpeg.painting import Blocks, Paint
    from faceblurd.imaging.files.jpeg.surgery import Interval
    from faceblurd.model import Region

_LIKELY_BITS = 128  # of a block: what was painted takes a tenth of it


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a result holds.

    `regions`: as stored; `unlike`: the places of those whose blocks are not what hiding them gives; `written`,
    `before`: the blocks of both files. `same_bits`: all else is the original's, bit by bit; False where it was not
    compared, since the tables changed.
    """

    regions: tuple[Region, ...]
    areas: tuple[Area, ...]
    unlike: frozenset[int]
    written: Blocks
    before: Blocks
    layout: Layout
    same_bits: bool


def compare(
    reading: Reading, data: bytes, layout: Layout, regions: Sequence[Region], paint: Paint
) -> Comparison:  # fmt: skip
    """Compare a result with the file that `reading` is of. `regions`: stored, one for each area of it.

    Raises SpliceError where it is another picture, or anything else than the regions changed.
    """
    _expect_same_frame(reading.layout, layout)
    written, same_bits = _read_alike(reading, data, layout)
    meant = reading.painted(regions, paint)
    differs = (written != meant).reshape(len(meant), -1).any(axis=1)
    place = reading.blocks.place
    slots = (place[area.top : area.bottom, area.left : area.right] for area in reading.areas)
    unlike = frozenset(number for number, mine in enumerate(slots) if differs[mine].any())
    differs[place[reading.touched]] = False
    if differs.any():
        raise SpliceError("blocks beside the regions changed")
    after = replace(reading.blocks, coefficients=written)
    return Comparison(tuple(regions), reading.areas, unlike, after, reading.blocks, layout, same_bits)


def _expect_same_frame(one: Layout, other: Layout) -> None:
    """Refuse another geometry, or another quantisation."""
    sizes = [(part.width, part.height, part.across, part.down, part.every, len(part.planes)) for part in (one, other)]
    alike = all(
        (old.horizontal, old.vertical) == (new.horizontal, new.vertical) and np.array_equal(old.steps, new.steps)
        for old, new in zip(one.planes, other.planes, strict=False)
    )
    if sizes[0] != sizes[1] or not alike:
        raise SpliceError("the frame is another one")


def _read_alike(reading: Reading, data: bytes, layout: Layout) -> tuple[npt.NDArray[np.int16], bool]:
    """Return the MCUs of a result in the places of those that were read, and whether all other bits are the same."""
    stream = stream_of(layout, layout.dc, layout.ac)
    pairs = zip((*reading.stream.dc, *reading.stream.ac), (*stream.dc, *stream.ac), strict=True)
    if not all(old.agrees_with(new) for old, new in pairs):
        return Reading(data, layout, reading.areas, reading.coder_for).blocks.coefficients, False
    coder, written = reading.coder_for(stream), np.zeros_like(reading.blocks.coefficients)
    for number, (old, new) in enumerate(zip(reading.spans, intervals(data, layout), strict=True)):
        interval = reading.intervals.get(number)
        if interval is None:
            if data[slice(*new)] != reading.data[slice(*old)]:
                raise SpliceError("a part without a region changed")
            continue
        bits = coder.unstuffed(interval_bytes(data, new))
        parts = list(_runs(interval, bits, coder, stream.component))
        if parts:
            written[interval.taken] = np.concatenate(parts)
    return written, True


def _runs(
    old: Interval, bits: bytes, coder: Coder, component: tuple[int, ...]
) -> Iterator[npt.NDArray[np.int16]]:  # fmt: skip
    """Give the coefficients of each run of touched MCUs. Raises SpliceError where bits between them differ."""
    before, after = (np.frombuffer(part, np.uint8) for part in (old.bits, bits))
    read = at = 0
    for start, end, count, *last in old.walk.runs.tolist():
        _expect_same_bits((before, read), (after, at), start - read)
        at += start - read
        values, length = _run(after, at, count, coder, likely=end - start, blocks=len(component))
        values[:, :, 0] += np.array([last[one] for one in component], np.int16)
        yield values
        at, read = at + length, end
    _expect_same_bits((before, read), (after, at), old.walk.end - read)
    if not 0 <= 8 * len(bits) - at - (old.walk.end - read) < 8:  # noqa: PLR2004 - what fills up the last byte
        raise SpliceError("the scan has bits behind its last block")


def _run(
    bits: npt.NDArray[np.uint8], at: int, count: int, coder: Coder, *, likely: int, blocks: int
) -> tuple[npt.NDArray[np.int16], int]:
    """Read `count` MCUs from a bit on; return them, with DC values counted from zero, and how many bits they take."""
    there = 8 * len(bits) - at
    for room in (min(there, likely + _LIKELY_BITS * blocks * count), there):
        values = np.zeros((count, blocks, 64), np.int16)
        try:
            walk = coder.walk(_aligned(bits, at, room).tobytes(), np.ones(count, np.uint8), values)
        except SpliceError:
            if room == there:
                raise
            continue
        break
    return values, walk.end


def _expect_same_bits(
    one: tuple[npt.NDArray[np.uint8], int], other: tuple[npt.NDArray[np.uint8], int], length: int
) -> None:
    """Compare bits that may start anywhere in a byte."""
    if not np.array_equal(_aligned(*one, length), _aligned(*other, length)):
        raise SpliceError("bits beside the regions changed")


def _aligned(bits: npt.NDArray[np.uint8], start: int, length: int) -> npt.NDArray[np.uint8]:
    """Return `length` bits from `start` on, moved to the start of a byte, and filled up by zeros."""
    if start + length > 8 * len(bits):
        raise complaint(SHORT)
    shift, rest = np.uint8(start & 7), length & 7
    raw = bits[start >> 3 : (start + length + 7) >> 3]
    moved = raw
    if shift:
        moved = raw << shift
        moved[:-1] |= raw[1:] >> np.uint8(8 - shift)
    cut = moved[: (length + 7) >> 3]
    if rest:
        cut = cut if shift else cut.copy()
        cut[-1] &= np.uint8(0xFF << (8 - rest) & 0xFF)
    return cut
