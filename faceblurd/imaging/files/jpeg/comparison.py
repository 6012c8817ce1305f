"""Read a spliced scan again and compare it with what was meant: the regions block by block, all else bit by bit.

What no region touches must be the very bits of the original, so only the touched MCUs are decoded anew. Where they lie
follows from the lengths that are read here, not from what the writer said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from faceblurd.imaging.files.jpeg.huffman import SpliceError
from faceblurd.imaging.files.jpeg.layout import interval_bytes, intervals, stream_of
from faceblurd.imaging.files.jpeg.surgery import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.jpeg.areas import Area
    from faceblurd.imaging.files.jpeg.layout import Layout
    from faceblurd.imaging.files.jpeg.painting import Blocks, Paint
    from faceblurd.model import Region


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
        coder.reread(interval.bits, interval.walk, bits, written[interval.taken])
    return written, True
