"""Check a spliced JPEG: by its blocks, and as another reader sees it.

The blocks are compared with what hiding the regions gives, to the last coefficient, and their content with what a
redaction may leave. Then OpenCV decodes the file down to the lowest region: bits that others read otherwise show there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from faceblurd.imaging.files.jpeg.areas import BLOCK, changed, in_plane
from faceblurd.imaging.files.jpeg.huffman import SpliceError
from faceblurd.imaging.files.jpeg.planes import samples
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.imaging.redact.remains import (
    Sample,
    core,
    holds_more,
    shows_what_was,
)
from faceblurd.imaging.redact.soft import Channels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.jpeg import JpegPicture
    from faceblurd.imaging.files.jpeg.comparison import Comparison
    from faceblurd.imaging.files.jpeg.layout import Layout, Plane
    from faceblurd.imaging.files.jpeg.painting import Blocks
    from faceblurd.model import BlurSpec, Region

    _Placed = tuple[Plane, int]  # a component, and the number of its first block in an MCU

_MIDDLE: Final = 128
_SMOOTH: Final = 6  # the first coefficients, all that a smooth surface has
_LARGE_PX: Final = 160
_ROUNDING: Final = 3.0  # levels RMS: of samples that are no colours, and are cut nowhere
_MOST_BLOCKS: Final = 12  # along a side of a region
_APART: Final = 12.0  # levels, mean over a region's blocks


@dataclass(frozen=True, slots=True)
class Spliced:
    """What the check found.

    `unlike`: the regions, upright, that are not as they should be. `changed`: the pixels, as stored, that may differ
    from the original's; `same_bits`: outside of them, every bit is the original's. `seen`: upper part, BGR as stored.
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
    unlike |= _holding_more(comparison, _painted_together(layout, has_luma=picture.has_luma), blur)
    seen = again.upper(_rows(comparison), by=by)
    # Not in CMYK, where black ink darkens the colours: the stored brightness is not that of what is decoded.
    is_shown = picture.has_luma and not picture.channels.inks
    if is_shown and layout.planes[0].horizontal * BLOCK == layout.mcu_width:
        _expect_seen(comparison, cv2.cvtColor(seen, cv2.COLOR_BGR2GRAY), by)
    areas = [changed(area, region, layout) for area, region in zip(comparison.areas, comparison.regions, strict=True)]
    return Spliced([regions[place] for place in sorted(unlike)], areas, comparison.same_bits, seen)


def _rows(comparison: Comparison) -> int:
    """Return how far down to look: to the lowest region, and as much below it as it is high."""
    lowest = max((one.y + 2 * one.height for one in comparison.regions), default=1)
    step = comparison.layout.mcu_height
    return min(math.ceil(lowest / step) * step, comparison.layout.height)


def _painted_together(layout: Layout, *, has_luma: bool) -> list[list[_Placed]]:
    """Return the components to look at, in the groups that were painted together: only the brightness, or all."""
    placed: list[_Placed] = []
    first = 0
    for plane in layout.planes:
        placed.append((plane, first))
        first += plane.horizontal * plane.vertical
    if has_luma:
        return [placed[:1]]
    alike = len({(plane.horizontal, plane.vertical) for plane in layout.planes}) == 1
    return [placed] if alike else [[one] for one in placed]


def _holding_more(comparison: Comparison, groups: Sequence[Sequence[_Placed]], blur: BlurSpec) -> set[int]:
    """Return the places of the regions whose inner blocks hold more than their redaction may leave."""
    found: set[int] = set()
    for group in groups:
        plane = group[0][0]
        mapped = [in_plane(region, plane, comparison.layout) for region in comparison.regions]
        scaled = _in_samples(blur, plane, comparison.layout)
        for place, (region, others) in enumerate(zip(mapped, _neighbours(mapped), strict=True)):
            more = not blur.allow_weak and any(_holds_more(comparison, one, region, others, scaled) for one in group)
            if more or (not others and _shows_what_was(comparison, group, region, scaled)):
                found.add(place)
    return found


def _neighbours(regions: Sequence[Region]) -> Iterator[list[Region]]:
    """Give for each region the others that meet it, or come nearer to it than a block."""
    low = np.array([(region.x, region.y) for region in regions])
    high = low + [(region.width, region.height) for region in regions]
    for place in range(len(regions)):
        near = ((low < high[place] + BLOCK) & (high + BLOCK > low[place])).all(axis=1)
        near[place] = False
        yield [regions[other] for other in np.flatnonzero(near).tolist()]


def _holds_more(
    comparison: Comparison, placed: _Placed, region: Region, others: Sequence[Region], blur: BlurSpec
) -> bool:  # fmt: skip
    """Say whether the inner blocks of a region hold more in one component than their redaction may leave."""
    noise = _ROUNDING + _coarseness(placed[0])
    sample = _sample(comparison.written, *placed, region)
    # The other samples of a block that another region meets were written anew as well.
    return sample is not None and holds_more(sample, region, among=others, blur=blur, noise=noise, reach=BLOCK)


def _coarseness(plane: Plane) -> float:
    """Return how much the quantisation of a smooth surface may add, in levels RMS."""
    return math.sqrt(float(((plane.steps[:_SMOOTH] / 2) ** 2).sum())) / BLOCK


def _shows_what_was(
    comparison: Comparison, group: Sequence[_Placed], region: Region, blur: BlurSpec
) -> bool:  # fmt: skip
    """Say whether a region still shows the original: asked of small regions, and of weak redactions.

    What was meant is painted here, on the samples of the components, with a block more on each side.
    """
    plane = group[0][0]
    if max(region.width, region.height) > _LARGE_PX and not blur.allow_weak:
        return False
    ends = region.y + region.height, region.x + region.width
    rows, columns = (
        np.arange(max(start // BLOCK - 1, 0), min(-(-end // BLOCK) + 1, -(-whole // BLOCK)))
        for start, end, whole in zip((region.y, region.x), ends, (plane.height, plane.width), strict=True)
    )
    before, after = (
        np.stack([_decoded(part, *one, rows, columns) for one in group], axis=2)
        for part in (comparison.before, comparison.written)
    )
    top, left = int(rows[0]) * BLOCK, int(columns[0]) * BLOCK
    visible = np.s_[: plane.height - top, : plane.width - left]
    before, after = before[visible], after[visible]  # what is cut by the picture's edge is painted otherwise
    meant = before.copy()
    redact(meant, [replace(region, x=region.x - left, y=region.y - top)], blur, Channels(inks=len(group) > 1))
    box = np.s_[region.y - top : ends[0] - top, region.x - left : ends[1] - left]
    return shows_what_was(before[box], meant[box], after[box], noise=max(_coarseness(one) for one, _ in group))


def _decoded(
    blocks: Blocks, plane: Plane, first: int, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]
) -> npt.NDArray[np.uint8]:
    """Decode blocks into samples side by side; those that were not read show anything."""
    chosen = blocks.coefficients[_places(blocks, plane, first, rows, columns)]
    read = samples(chosen.reshape(-1, BLOCK * BLOCK), plane.steps)
    side_by_side = read.reshape(len(rows), len(columns), BLOCK, BLOCK).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(side_by_side.reshape(len(rows) * BLOCK, len(columns) * BLOCK))


def _in_samples(blur: BlurSpec, plane: Plane, layout: Layout) -> BlurSpec:
    by = BLOCK * max(plane.horizontal / layout.mcu_width, plane.vertical / layout.mcu_height)
    stride = None if blur.stride_px is None else math.ceil(blur.stride_px * by)
    return replace(blur, pool_size_px=math.ceil(blur.pool_size_px * by), stride_px=stride)


def _sample(blocks: Blocks, plane: Plane, first: int, region: Region) -> Sample | None:
    """Decode some of the blocks that lie wholly in the middle of a region; None where there is none.

    These hold a smooth surface only; others hold the rim, too, and what is beside it.
    """
    sides = ((region.y, region.height, plane.height), (region.x, region.width, plane.width))
    spans = [core(*side) for side in sides]
    rows, columns = (_chosen(-(-start // BLOCK), end // BLOCK) for start, end in spans)
    if not len(rows) or not len(columns):
        return None
    values = _decoded(blocks, plane, first, rows, columns)[:, :, None].astype(np.float32)
    y, x = ((BLOCK * part[:, None] + np.arange(BLOCK)).ravel() for part in (rows, columns))
    return Sample(values, y - region.y, x - region.x)


def _chosen(start: int, end: int) -> npt.NDArray[np.intp]:
    """Choose evenly among the blocks of a span; none where it is empty."""
    if end <= start:
        return np.zeros(0, np.intp)
    return start + np.unique(np.linspace(0, end - start - 1, min(end - start, _MOST_BLOCKS)).astype(np.intp))


def _places(
    blocks: Blocks, plane: Plane, first: int, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return where these blocks stand: two arrays of indices."""
    slots = blocks.place[np.ix_(rows // plane.vertical, columns // plane.horizontal)]
    inside = first + np.add.outer(rows % plane.vertical * plane.horizontal, columns % plane.horizontal)
    return np.minimum(slots, len(blocks.coefficients) - 1), inside


def _expect_seen(comparison: Comparison, gray: npt.NDArray[Any], by: int) -> None:
    """Refuse a file in which a decoder sees, in a region, the original rather than what was written."""
    plane, cells = comparison.layout.planes[0], BLOCK // by
    high, wide = gray.shape[0] // cells, gray.shape[1] // cells
    boxes = np.array([_whole_blocks(region, comparison, high, wide) for region in comparison.regions]).reshape(-1, 4)
    boxes = boxes[(boxes[:, :2] < boxes[:, 2:]).all(axis=1)]
    if not len(boxes):
        return
    top, left = boxes[:, :2].min(axis=0).tolist()
    bottom, right = boxes[:, 2:].max(axis=0).tolist()
    part = gray[top * cells : bottom * cells, left * cells : right * cells]
    seen = cv2.resize(part, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    rows, columns = np.arange(top, bottom), np.arange(left, right)
    boxes -= np.array([top, left, top, left])
    written, before = (
        _sums(np.abs(seen - _means(blocks, plane, rows, columns)), boxes)
        for blocks in (comparison.written, comparison.before)
    )
    size = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    if ((written > _APART * size) & (written > before)).any():
        raise SpliceError("a decoder sees something else in a region")


def _whole_blocks(region: Region, comparison: Comparison, high: int, wide: int) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of the blocks of the first component that lie wholly in a region."""
    mine = in_plane(region, comparison.layout.planes[0], comparison.layout)
    bottom, right = (mine.y + mine.height) // BLOCK, (mine.x + mine.width) // BLOCK
    return -(-mine.y // BLOCK), -(-mine.x // BLOCK), min(bottom, high), min(right, wide)


def _means(
    blocks: Blocks, plane: Plane, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]
) -> npt.NDArray[np.float32]:
    """Return the mean of each block of the first component, in levels; of those that were not read, anything."""
    slots, inside = _places(blocks, plane, 0, rows, columns)
    first = blocks.coefficients[slots, inside, 0]
    return np.asarray((first * (plane.steps[0] / BLOCK) + _MIDDLE).clip(0, 255), np.float32)


def _sums(values: npt.NDArray[np.float32], boxes: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Return the sum of values in each box (top, left, bottom, right)."""
    upto, (top, left, bottom, right) = cv2.integral(values), boxes.T
    sums: npt.NDArray[np.float64] = upto[bottom, right] - upto[top, right] - upto[bottom, left] + upto[top, left]
    return sums
