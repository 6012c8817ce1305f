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
        codec = math.sqrt(float(((plane.steps[:_SMOOTH] / 2) ** 2).sum())) / BLOCK
        for place, region in enumerate(mapped):
            sample = _sample(comparison.written, plane, first, region)
            # The other samples of a block that another region meets were written anew as well.
            if sample and holds_more(sample, region, among=mapped, blur=scaled, codec=codec, reach=BLOCK):
                found.add(place)
        first += plane.horizontal * plane.vertical
    return found


def _in_samples(blur: BlurSpec, plane: Plane, layout: Layout) -> BlurSpec:
    by = BLOCK * max(plane.horizontal / layout.mcu_width, plane.vertical / layout.mcu_height)
    stride = None if blur.stride_px is None else math.ceil(blur.stride_px * by)
    return replace(blur, pool_size_px=math.ceil(blur.pool_size_px * by), stride_px=stride)


def _sample(blocks: Blocks, plane: Plane, first: int, region: Region) -> Sample | None:
    """Decode some blocks in the middle of a region, or what it has that lies inside it; None where none does."""
    rows, columns = _inner(region.y, region.height, CORE), _inner(region.x, region.width, CORE)
    if not len(rows) or not len(columns):
        return None
    read = samples(_coefficients(blocks, plane, first, rows, columns).reshape(-1, BLOCK * BLOCK), plane.steps)
    pixels = read.reshape(len(rows), len(columns), BLOCK, BLOCK).transpose(0, 2, 1, 3)
    values = pixels.reshape(len(rows) * BLOCK, len(columns) * BLOCK, 1).astype(np.float32)
    y, x = ((BLOCK * part[:, None] + np.arange(BLOCK)).ravel() for part in (rows, columns))
    return Sample(values, y - region.y, x - region.x)


def _inner(start: int, length: int, share: float) -> npt.NDArray[np.intp]:
    """Choose the blocks in the middle share of a length; where none fits in there, the middle one that fits at all."""
    whole = np.arange(math.ceil(start / BLOCK), (start + length) // BLOCK)
    cut = length * (1 - share) / 2
    core = whole[(whole * BLOCK >= start + cut) & (whole * BLOCK + BLOCK <= start + length - cut)]
    if not len(core):
        return whole[len(whole) // 2 : len(whole) // 2 + 1]
    return core[np.unique(np.linspace(0, len(core) - 1, min(len(core), _MOST_BLOCKS)).astype(np.intp))]


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
        rows, columns = (_inner(at, length, 1.0) for at, length in ((mine.y, mine.height), (mine.x, mine.width)))
        rows, columns = rows[rows < high], columns[columns < wide]
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
