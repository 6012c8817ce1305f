"""Check a spliced JPEG: by its blocks, and as another reader sees it.

The blocks are compared with what hiding the regions gives, to the last coefficient, and what is in them with what a
redaction may leave. Then OpenCV decodes the file as far down as there is a region: bits that only we read in our way
would show there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from faceblurd.imaging.remains import CORE, Sample, holds_more
from faceblurd.imaging.splice.areas import BLOCK, changed, in_plane
from faceblurd.imaging.splice.huffman import SpliceError
from faceblurd.imaging.splice.planes import samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.formats.jpeg import JpegPicture
    from faceblurd.imaging.splice.comparison import Comparison
    from faceblurd.imaging.splice.layout import Layout, Plane
    from faceblurd.imaging.splice.painting import Blocks
    from faceblurd.model import BlurSpec, Region

_MIDDLE: Final = 128
_SMOOTH: Final = 6  # the first coefficients, all that a smooth surface has
_MOST_BLOCKS: Final = 12  # along a side of a region
_APART: Final = 12.0  # levels, mean over a region's blocks


@dataclass(frozen=True, slots=True)
class Spliced:
    """What the check found.

    `unlike`: the regions, upright, that are not as they should be. `changed`: the pixels, as stored, that may differ
    from the original's; `same_bits`: outside of them, every bit is known to be the original's. `seen`: BGR as stored,
    as far down as was looked.
    """

    unlike: list[Region]
    changed: list[Region]
    same_bits: bool
    seen: npt.NDArray[Any]


def check(
    picture: JpegPicture, again: JpegPicture, regions: Sequence[Region], blur: BlurSpec, *, by: int
) -> Spliced:  # fmt: skip
    """Compare a result with what hiding these upright regions gives, and decode it at 1 / `by`.

    Raises SpliceError where more than the regions changed, or where a decoder sees something else.
    """
    comparison = picture.compared(again, regions, blur)
    unlike, layout = set(comparison.unlike), comparison.layout
    if not blur.allow_weak:
        planes = layout.planes[:1] if picture.has_luma else layout.planes
        unlike |= _holding_more(comparison, planes, blur)
    seen = again.upper(_rows(comparison), by=by)
    if picture.has_luma and layout.planes[0].horizontal * BLOCK == layout.mcu_width:
        _expect_seen(comparison, cv2.cvtColor(seen, cv2.COLOR_BGR2GRAY), by)
    areas = [changed(area, region, layout) for area, region in zip(comparison.areas, comparison.regions, strict=True)]
    return Spliced([regions[place] for place in sorted(unlike)], areas, comparison.same_bits, seen)


def _rows(comparison: Comparison) -> int:
    """Return how far down to look: to the lowest region, and as much below it as it is high."""
    lowest = max((one.y + 2 * one.height for one in comparison.regions), default=1)
    step = comparison.layout.mcu_height
    return min(math.ceil(lowest / step) * step, comparison.layout.height)


def _holding_more(comparison: Comparison, planes: Sequence[Plane], blur: BlurSpec) -> set[int]:
    """Return the places of the regions whose inner blocks hold more than their redaction may leave."""
    found: set[int] = set()
    first = 0
    for plane in planes:
        mapped = [in_plane(region, plane, comparison.layout) for region in comparison.regions]
        scaled = _in_samples(blur, plane, comparison.layout)
        for place, region in enumerate(mapped):
            sample, codec = _sample(comparison.written, plane, first, region)
            # The other samples of a block that another region meets were written anew as well.
            if holds_more(sample, region, among=mapped, blur=scaled, codec=codec, reach=BLOCK):
                found.add(place)
        first += plane.horizontal * plane.vertical
    return found


def _in_samples(blur: BlurSpec, plane: Plane, layout: Layout) -> BlurSpec:
    by = BLOCK * max(plane.horizontal / layout.mcu_width, plane.vertical / layout.mcu_height)
    stride = None if blur.stride_px is None else math.ceil(blur.stride_px * by)
    return replace(blur, pool_size_px=math.ceil(blur.pool_size_px * by), stride_px=stride)


def _sample(blocks: Blocks, plane: Plane, first: int, region: Region) -> tuple[Sample, float]:
    """Decode some of the middle of a region; and say how much noise, in levels RMS, its quantisation may add.

    Blocks that lie in the middle whole hold a smooth surface, and nothing that quantises badly. Others hold the rim.
    """
    spans = [_core(region.y, region.height), _core(region.x, region.width)]
    inner = [_chosen(-(-start // BLOCK), end // BLOCK) for start, end in spans]
    smooth = all(len(one) for one in inner)
    rows, columns = inner if smooth else (_chosen(start // BLOCK, -(-end // BLOCK)) for start, end in spans)
    read = samples(_coefficients(blocks, plane, first, rows, columns).reshape(-1, BLOCK * BLOCK), plane.steps)
    values = read.reshape(len(rows), len(columns), BLOCK, BLOCK).transpose(0, 2, 1, 3)
    values = values.reshape(len(rows) * BLOCK, len(columns) * BLOCK, 1).astype(np.float32)
    y, x = ((BLOCK * part[:, None] + np.arange(BLOCK)).ravel() for part in (rows, columns))
    keep_y, keep_x = ((at >= start) & (at < end) for at, (start, end) in zip((y, x), spans, strict=True))
    steps = plane.steps[:_SMOOTH] / 2 if smooth else plane.steps / math.sqrt(12)  # at most; and what is to be expected
    codec = math.sqrt(float((steps**2).sum())) / BLOCK
    return Sample(values[keep_y][:, keep_x], y[keep_y] - region.y, x[keep_x] - region.x), codec


def _core(start: int, length: int) -> tuple[int, int]:
    """Return from where to where the middle of a length reaches."""
    cut = int(length * (1 - CORE) / 2)
    return start + cut, start + length - cut


def _chosen(start: int, end: int) -> npt.NDArray[np.intp]:
    """Choose evenly among the blocks of a span; none where it is empty."""
    if end <= start:
        return np.zeros(0, np.intp)
    return start + np.unique(np.linspace(0, end - start - 1, min(end - start, _MOST_BLOCKS)).astype(np.intp))


def _coefficients(
    blocks: Blocks, plane: Plane, first: int, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]
) -> npt.NDArray[np.int16]:
    """Return the blocks at these rows and columns of a component: (rows, columns, 64)."""
    slots = blocks.place[np.ix_(rows // plane.vertical, columns // plane.horizontal)]
    inside = first + np.add.outer(rows % plane.vertical * plane.horizontal, columns % plane.horizontal)
    chosen: npt.NDArray[np.int16] = blocks.coefficients[slots, inside]
    return chosen


def _expect_seen(comparison: Comparison, gray: npt.NDArray[Any], by: int) -> None:
    """Refuse a file whose decoder shows in a region rather what was there than what was written."""
    plane = comparison.layout.planes[0]
    high, wide = gray.shape[0] * by // BLOCK, gray.shape[1] * by // BLOCK
    cells = BLOCK // by
    means = cv2.resize(gray[: high * cells, : wide * cells], (wide, high), interpolation=cv2.INTER_AREA)
    for region in comparison.regions:
        mine = in_plane(region, plane, comparison.layout)
        sides = ((mine.y, mine.height, high), (mine.x, mine.width, wide))
        rows, columns = (_chosen(-(-at // BLOCK), min((at + length) // BLOCK, most)) for at, length, most in sides)
        if not len(rows) or not len(columns):
            continue
        seen = means[np.ix_(rows, columns)].astype(np.float32)
        written, before = (
            (_coefficients(blocks, plane, 0, rows, columns)[:, :, 0] * plane.steps[0] / BLOCK + _MIDDLE).clip(0, 255)
            for blocks in (comparison.written, comparison.before)
        )
        apart = float(np.abs(seen - written).mean())
        if apart > _APART and apart > float(np.abs(seen - before).mean()):
            raise SpliceError(f"a decoder sees something else at {region.x}, {region.y}")
