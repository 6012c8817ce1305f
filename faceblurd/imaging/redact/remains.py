"""Say whether a hidden region holds more than the few numbers that its redaction may leave.

The middle of a region must be a smooth surface over the two or three cells of its recipe: what such a surface does not
explain is left over from the photo. This trusts nothing that the redaction says of itself, and needs no original. Only
where a codec's noise is too strong for that is a region compared with both the original and what was meant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from faceblurd.imaging.redact.average_pool import window_px
from faceblurd.model import BlurMethod

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from faceblurd.model import BlurSpec, Region

CORE: Final = 0.5
"""Of width and height: the middle is hidden wholly, whatever the outline, and however soft its rim."""

NOISE: Final = 6.0
"""Levels RMS in a tile: what rounding adds to a smooth surface, and clipping at black and white."""

TILE_PX: Final = 16

_VISIBLE: Final = 8.0  # levels RMS in a tile: less than that from what was meant shows nothing
_NOISES: Final = 4.0
_NEARER: Final = 2.0  # so many times nearer to the original than to what was meant
_AT_MOST: Final = 48  # rows and columns that are looked at
_TILES: Final = 4  # along each side
_FEW: Final = 64  # numbers; a surface of more is weak by choice, and explains nearly anything
_LEAST: Final = 6  # pixels of a tile that count: fewer say nothing
_STEADY: Final = 1e-3  # added to the fit, which has no solution where a cell has no pixel
_SOFTENED: Final = 0.25  # of a mosaic's cell, at each edge: not looked at


@dataclass(frozen=True, slots=True)
class Sample:
    """Some pixels of a region: values (rows, columns, channels) in levels, and where in the region they lie."""

    values: npt.NDArray[np.float32]
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]


def shown(upright: npt.NDArray[Any], regions: Sequence[Region], blur: BlurSpec) -> list[Region]:
    """Return those of these regions of one picture in which more is left than their redaction may leave."""
    return [one for one in regions if holds_more(sample_of(upright, one), one, among=regions, blur=blur)]


def sample_of(upright: npt.NDArray[Any], region: Region) -> Sample:
    """Take an even sample of a region's middle, in levels of 8 bits."""
    sides = ((region.y, region.height, upright.shape[0]), (region.x, region.width, upright.shape[1]))
    rows, columns = (_spread(*core(*side)) for side in sides)
    part = upright[np.ix_(rows, columns)]
    levels = part.reshape(len(rows), len(columns), -1).astype(np.float32) * np.float32(255 / np.iinfo(part.dtype).max)
    return Sample(levels, rows - region.y, columns - region.x)


def core(start: int, length: int, whole: int) -> tuple[int, int]:
    """Return from where to where the middle of a region reaches along one side of a picture, `whole` pixels long.

    A region at the picture's edge goes on beyond it: the middle of its visible part is not its middle.
    """
    end = start + length
    low, high = start - (length // 2 if start <= 0 else 0), end + (length // 2 if end >= whole else 0)
    cut = int((high - low) * (1 - CORE) / 2)
    return max(start, low + cut), min(end, high - cut)


def _spread(start: int, end: int) -> npt.NDArray[np.intp]:
    return np.unique(np.linspace(start, end - 1, min(end - start, _AT_MOST)).astype(np.intp))


def shows_what_was(
    before: npt.NDArray[Any], meant: npt.NDArray[Any], after: npt.NDArray[Any], *, noise: float = 0.0
) -> bool:
    """Say whether a region, or any tile of it, is much nearer to the original than to what was meant.

    Both are known, so that noise is not taken for a face. `noise`: levels that a codec adds anywhere; a coarse one
    leaves a block as it was where hiding changes less than that.
    """
    visible = max(_VISIBLE, _NOISES * noise)
    for size in ((1, 1), tuple(max(1, length // TILE_PX) for length in reversed(after.shape[:2]))):
        from_meant, from_before = _spreads(after, meant, size), _spreads(after, before, size)
        if ((from_meant > visible) & (from_meant > _NEARER * from_before)).any():
            return True
    return False


def _spreads(one: npt.NDArray[Any], other: npt.NDArray[Any], size: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return the RMS difference in each of so many tiles, in levels of 8 bits; one shade for another is none."""
    differs = (one.astype(np.float32) - other).reshape(*one.shape[:2], -1) * np.float32(255 / np.iinfo(one.dtype).max)
    spread = np.zeros(tuple(reversed(size)), np.float32)
    for channel in range(differs.shape[2]):
        plane = np.ascontiguousarray(differs[:, :, channel])
        mean = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
        spread += cv2.resize(plane * plane, size, interpolation=cv2.INTER_AREA) - mean * mean
    rms: npt.NDArray[np.float32] = np.sqrt(np.maximum(spread, 0) / differs.shape[2])
    return rms


def holds_more(
    sample: Sample, region: Region, *, among: Iterable[Region], blur: BlurSpec, noise: float = NOISE, reach: int = 0
) -> bool:
    """Say whether a region's sample has more in it than the surface of its redaction.

    Pixels within `reach` of another region do not count. `noise`: levels RMS that rounding and quantisation may add.
    """
    sides = ((sample.rows, region.height), (sample.columns, region.width))
    surfaces = [_surface(places, length, region, blur) for places, length in sides]
    if surfaces[0].shape[1] * surfaces[1].shape[1] > _FEW:
        return False
    seen = _clear(sample, region, among, reach)
    for axis, surface in enumerate(surfaces):
        seen &= np.expand_dims(surface.any(axis=1), 1 - axis)
    return _unexplained(sample.values, seen, surfaces) > noise


def _clear(sample: Sample, region: Region, among: Iterable[Region], reach: int) -> npt.NDArray[np.bool_]:
    """Say which pixels lie in this region alone."""
    clear = np.ones(sample.values.shape[:2], np.bool_)
    right, bottom = region.x + region.width + reach, region.y + region.height + reach
    for other in among:
        beside = other.x >= right or other.x + other.width + reach <= region.x
        if other is region or beside or other.y >= bottom or other.y + other.height + reach <= region.y:
            continue
        y, x = sample.rows + region.y - other.y + reach, sample.columns + region.x - other.x + reach
        inside_y, inside_x = (y >= 0) & (y < other.height + 2 * reach), (x >= 0) & (x < other.width + 2 * reach)
        clear &= ~np.logical_and.outer(inside_y, inside_x)
    return clear


def _surface(places: npt.NDArray[np.intp], length: int, region: Region, blur: BlurSpec) -> npt.NDArray[np.float32]:
    """Return the weight of each cell of a side at some places along it (places, cells); zeros where none counts."""
    if region.flat or blur.method is BlurMethod.SOLID:
        return np.ones((len(places), 1), np.float32)
    window = window_px(region, blur)
    if blur.method is BlurMethod.MOSAIC:
        return _blocks(places, length, window)
    if blur.method is BlurMethod.SOFT:
        at = (places.astype(np.float32) + 0.5) / length
        second = at * at * (3 - 2 * at)  # of the two shades along a side
        return np.stack([1 - second, second], axis=1)
    cells = math.ceil(length / (blur.stride_px or window))
    if cells > _FEW:
        return np.ones((len(places), cells), np.float32)
    ramps = cv2.resize(np.eye(cells, dtype=np.float32), (cells, length), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(ramps.reshape(length, cells)[places])


def _blocks(places: npt.NDArray[np.intp], length: int, window: int) -> npt.NDArray[np.float32]:
    """Do the same for a mosaic, whose cells lie as 'same' pads; what is near their edges does not count."""
    at = (places + (-length % window) // 2 + 0.5) / window
    cells = np.zeros((len(places), math.ceil(length / window)), np.float32)
    inner = np.abs(at % 1 - 0.5) < 0.5 - _SOFTENED
    cells[inner, at[inner].astype(np.intp)] = 1
    return cells


def _unexplained(
    values: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_], surfaces: Sequence[npt.NDArray[np.float32]]
) -> float:
    """Fit the surface that explains most; return the largest RMS, over the tiles, of what is left."""
    if not seen.any():
        return 0.0
    rows, columns = surfaces
    cells = rows.shape[1] * columns.shape[1]
    weights = (rows[:, None, :, None] * columns[None, :, None, :]).reshape(-1, cells)
    chosen, wanted = weights[seen.ravel()], values.reshape(-1, values.shape[2])[seen.ravel()]
    steady = np.eye(cells, dtype=np.float32) * _STEADY
    fit = np.linalg.solve(chosen.T @ chosen + steady, chosen.T @ wanted)
    left = np.zeros(values.shape, np.float32)
    left[seen] = wanted - chosen @ fit
    return _largest(left, seen)


def _largest(left: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_]) -> float:
    starts = [_tile_starts(length) for length in seen.shape]
    sums, counts = (
        np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1)
        for values in ((left * left).sum(axis=2), seen.astype(np.float32))
    )
    means = np.divide(sums, counts * left.shape[2], out=np.zeros_like(sums), where=counts >= _LEAST)
    return math.sqrt(float(means.max()))


def _tile_starts(length: int) -> npt.NDArray[np.intp]:
    """Return where each tile begins along a side: as many as there can be, the first ones longer by one."""
    tiles = min(length, _TILES)
    return np.arange(tiles) * (length // tiles) + np.minimum(np.arange(tiles), length % tiles)
