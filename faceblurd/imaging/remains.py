"""Measure what a redaction left of the detail that a region had.

Trusts nothing that the redaction says of itself: takes the pixels before and after, and asks how much of the one can
be recognised in the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from faceblurd.imaging.geometry import upright_view
from faceblurd.imaging.redaction import window_px
from faceblurd.imaging.soft import Ellipse
from faceblurd.model import BlurMethod, Shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from faceblurd.model import BlurSpec, Region

SHOWN: Final = 0.5
"""The share of a tile's detail from which it counts as shown: 1 where nothing was done, 0.22 at most where a face was
hidden (the average pool, on photos of crowds)."""

_FLAT: Final = 6.0  # levels RMS: what has less detail than that shows nothing
_CORE: Final = 0.75  # of width and height; at its edge, blocks of a JPEG hold the outside as well
_ELLIPSE: Final = 0.7  # the largest box inside an ellipse
_TILE_PX: Final = 16
_BLOCK_PX: Final = 8


def shown(
    before: npt.NDArray[Any], after: npt.NDArray[Any], regions: Sequence[Region], *, blur: BlurSpec, orientation: int
) -> Region | None:
    """Return the first of these upright regions in which detail of `before` is left in `after`, both as stored.

    Detail is what differs from the mean of its surroundings, half a pool window wide. Of each tile of that size the
    share is measured that survived: the projection of the detail after on the detail before. A weak blur is measured
    as one; noise of a codec is not, since it does not resemble what was there.
    """
    one, other = upright_view(before, orientation), upright_view(after, orientation)
    cores = ((region, list(_cores(region, blur, one.shape))) for region in regions)
    return next((region for region, core in cores if _share(one, other, region, blur, core) > SHOWN), None)


def _share(
    one: npt.NDArray[Any], other: npt.NDArray[Any], region: Region, blur: BlurSpec, cores: Sequence[tuple[slice, slice]]
) -> float:
    """Return the largest share of detail that any tile of a region has kept."""
    width = max(window_px(region, blur) // 2, _BLOCK_PX) | 1
    box = np.s_[region.y : region.y + region.height, region.x : region.x + region.width]
    had, has = _detail(_gray(one[box]), width), _detail(_gray(other[box]), width)
    return max((_kept(had[core], has[core], max(width // 2, _TILE_PX)) for core in cores), default=0.0)


def _kept(had: npt.NDArray[np.float32], has: npt.NDArray[np.float32], tile: int) -> float:
    """Return the largest share over the tiles that have any detail to speak of."""
    size = (max(1, had.shape[1] // tile), max(1, had.shape[0] // tile))
    power = cv2.resize(had * had, size, interpolation=cv2.INTER_AREA)
    common = cv2.resize(had * has, size, interpolation=cv2.INTER_AREA)
    return float(np.where(power > _FLAT**2, common / np.maximum(power, 1), 0).max())


def _cores(region: Region, blur: BlurSpec, shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Give the areas of a region that the redaction alone decides; of a mosaic, the inside of each cell."""
    if blur.method is BlurMethod.SOFT:
        left, top, right, bottom = Ellipse.of(region, (shape[1], shape[0]), blur.margin).inner_box()
        if left < right and top < bottom:
            yield slice(top, bottom), slice(left, right)
        return
    share = _CORE if blur.shape is Shape.BOX else _ELLIPSE
    if blur.method is not BlurMethod.MOSAIC:
        yield _middle(region.height, share), _middle(region.width, share)
        return
    rows, columns = (_cells(length, window_px(region, blur), share) for length in (region.height, region.width))
    yield from ((row, column) for row in rows for column in columns)


def _middle(length: int, share: float) -> slice:
    cut = int(length * (1 - share) / 2)
    return slice(cut, length - cut)


def _cells(length: int, window: int, share: float) -> list[slice]:
    """Give the inner halves of a mosaic's cells along one side, as far as they lie in the middle."""
    first = -((-length % window) // 2)  # as 'same' pads
    core, inset = _middle(length, share), window // 4
    starts = range(first + inset, length, window)
    inner = (slice(max(at, core.start), min(at + window - 2 * inset, core.stop)) for at in starts)
    return [one for one in inner if one.stop > one.start]


def _detail(gray: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.float32]:
    """Subtract from each pixel the mean of the box around it."""
    size = [min(width, 2 * length + 1) for length in reversed(gray.shape)]  # OpenCV keeps as many rows as that
    mean = cv2.blur(gray, size, borderType=cv2.BORDER_REFLECT)
    return np.subtract(gray, mean, dtype=np.float32)


def _gray(box: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Give the mean of all channels in levels from 0 to 255."""
    mean = box if box.ndim == 2 else box.mean(axis=2)  # noqa: PLR2004 - rows and columns only
    return np.ascontiguousarray(mean, np.float32) * np.float32(255 / np.iinfo(box.dtype).max)
