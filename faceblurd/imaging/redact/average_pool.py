"""Hide regions: the average pool and its relatives, how coarse they are, and the outline of what is hidden.

Owns what happens to pixels inside a region; finds no faces and knows no file formats. The soft ellipse lives in `soft`.
`average_pool` is exact integer arithmetic in the engine `opencv`; the engine `tensorflow` lives in `keras_pool` and is
imported only when chosen.

What is painted is made of the cells' values alone: means of windows that share no pixel (unless the recipe lets them
slide), rounded to a few levels. A sliding mean is a linear filter whose steps give the photo back (docs/anonymity.md).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from faceblurd.imaging.redact.soft import (
    Channels,
    Ellipse,
    flat_colour,
    lay,
)
from faceblurd.model import ALWAYS, BlurMethod, Engine, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.model import BlurSpec, Region

PLAIN: Final = Channels()
"""Gray, or blue, green and red, perhaps with opacity."""

_INT32_LIMIT = 2**31
_MOST = 16  # levels of one flat colour
_TALL = 8
_LAST_IS_OPACITY = (2, 4)


def redact(upright: npt.NDArray[Any], regions: Sequence[Region], blur: BlurSpec, channels: Channels = PLAIN) -> None:
    """Hide `regions` in place on a view that may be turned or flipped.

    Every region is made of the pixels as they came, whatever lies over it; all of them are read before the first is
    painted, the coarsest window last and so on top. Regions with equal windows keep their order: `classic` equals the
    plain loop `for box in boxes: result[box] = pool(img[box])`.
    """
    if blur.method is BlurMethod.SOFT:
        size = upright.shape[1], upright.shape[0]
        ellipses = [Ellipse.of(region, size, blur.margin) for region in regions]
        lay(upright, ellipses, blur.levels, channels)
        return
    order = sorted(regions, key=lambda region: window_px(region, blur))
    boxes = [upright[one.y : one.y + one.height, one.x : one.x + one.width] for one in order]
    read = [_read(box, region, blur, channels) for box, region in zip(boxes, order, strict=True)]
    for box, region, values in zip(boxes, order, read, strict=True):
        mask, painted = _outline(region, blur, upright.shape), _blown_up(values, box, region, blur)
        if mask is None:
            box[...] = painted
        else:
            box[mask] = painted[mask]


def window_px(region: Region, blur: BlurSpec) -> int:
    """Return the pool window: `pool_size_px`, or the fraction of the region's longer side where that is more.

    A mosaic's window grows on until an odd number of cells covers that side: an even one parts the face between the
    eyes. The soft ellipse has two means to a side, however large.
    """
    longer = max(region.width, region.height)
    if blur.method is BlurMethod.SOFT:
        return -(-longer // 2)
    window = max(blur.pool_size_px, math.ceil(longer * blur.pool_face_fraction))
    while blur.method is BlurMethod.MOSAIC and math.ceil(longer / window) % 2 == 0:
        window += 1
    return window


def average_pool(
    box: npt.NDArray[Any], *, pool_size_px: int, stride_px: int, engine: Engine = Engine.OPENCV
) -> npt.NDArray[Any]:
    """Average-pool HxW or HxWxC pixels (uint8 or uint16) to one value for each stride cell, of the same type.

    Keras' AveragePooling2D with 'same' padding, truncated to integers.
    """
    if engine is Engine.TENSORFLOW:
        from faceblurd.imaging.redact.keras_pool import pool  # noqa: PLC0415 - 2.7 s and 600 MB, paid only when chosen

        return pool(box, pool_size_px=pool_size_px, stride_px=stride_px)
    return _pool_exactly(box, pool_size_px, stride_px)


def quantise(values: npt.NDArray[Any], levels: int, *, chroma: float | None = None) -> npt.NDArray[Any]:
    """Round to `levels` evenly spaced values; 0 and the largest stay what they are (an opaque area stays opaque).

    With `chroma`, see `Channels`: to the steps that a colour's distance from the brightness has, from the middle on.

    In colour, the brightness is rounded, and how far each channel is off it: gray stays gray, where channels rounded
    one by one would turn it green or purple.
    """
    top, steps = int(np.iinfo(values.dtype).max), levels - 1
    wide = values.astype(np.int64)
    if chroma is not None:
        middle, step = top // 2 + 1, chroma * top / steps
        return np.rint(middle + np.rint((wide - middle) / step) * step).clip(0, top).astype(values.dtype)
    index = _rounded(wide * steps, top)
    if values.ndim == 3:  # noqa: PLR2004 - rows, columns, channels; a fourth one is no colour, and rounded by itself
        colours = wide[:, :, :3]
        brightness = colours.sum(axis=2, keepdims=True)
        index[:, :, :3] = _rounded(brightness * steps, 3 * top) + _rounded((3 * colours - brightness) * steps, 3 * top)
    rounded: npt.NDArray[Any] = _rounded(index.clip(0, steps) * top, steps).astype(values.dtype)
    return rounded


def _rounded(numerators: npt.NDArray[np.int64], by: int) -> npt.NDArray[np.int64]:
    """Divide and round to the nearest whole number, halves up."""
    return (2 * numerators + by) // (2 * by)


def _read(box: npt.NDArray[Any], region: Region, blur: BlurSpec, channels: Channels) -> npt.NDArray[Any]:
    """Return what is left of a region: the cells' rounded means, or one colour for all of it."""
    if blur.method is BlurMethod.SOLID:
        return _gray(box)
    if region.flat:
        return flat_colour(box, min(blur.levels or _MOST, _MOST), channels)
    means = average_pool(
        np.ascontiguousarray(box),
        pool_size_px=window_px(region, blur),
        stride_px=_stride(region, blur),
        engine=blur.engine,
    )
    return means if blur.levels is None else quantise(means, blur.levels, chroma=channels.chroma)


def _stride(region: Region, blur: BlurSpec) -> int:
    return window_px(region, blur) if blur.stride_px is None or blur.method is BlurMethod.MOSAIC else blur.stride_px


def _blown_up(values: npt.NDArray[Any], box: npt.NDArray[Any], region: Region, blur: BlurSpec) -> npt.NDArray[Any]:
    """Paint a region with what was read of it: as one colour, as blocks, or as a smooth gradient."""
    if blur.method is BlurMethod.SOLID or region.flat:
        return np.broadcast_to(values, box.shape)
    stride = _stride(region, blur)
    if blur.method is BlurMethod.MOSAIC:
        rows, columns = (_cell_of_each(box.shape[axis], values.shape[axis], stride) for axis in (0, 1))
        blocks: npt.NDArray[Any] = values[np.ix_(rows, columns)]
        return blocks
    if stride == 1:
        return values
    smooth = cv2.resize(values, (box.shape[1], box.shape[0]), interpolation=cv2.INTER_LINEAR)
    return smooth.reshape(box.shape)


def _cell_of_each(length: int, cells: int, stride: int) -> npt.NDArray[np.intp]:
    """Say in which cell each row or column lies; what the cells are too long is cut on both sides, as 'same' pads."""
    return (np.arange(length) + (cells * stride - length) // 2) // stride


def _gray(box: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return middle gray, opaque, as one pixel: nothing of what was there."""
    top = int(np.iinfo(box.dtype).max)
    gray = np.full_like(box, top // 2 + 1, shape=(1, 1, *box.shape[2:]))
    if box.ndim == 3 and box.shape[2] in _LAST_IS_OPACITY:  # noqa: PLR2004 - rows, columns, channels (CMYK: black)
        gray[:, :, -1] = top
    return gray


def _pool_exactly(box: npt.NDArray[Any], window: int, stride: int) -> npt.NDArray[Any]:
    """Pool channel by channel, so that the wide sums of a large face need a third of the memory."""
    if box.ndim == 2:  # noqa: PLR2004 - gray: rows and columns only
        return _pool_channel(box, window, stride)
    return np.stack([_pool_channel(box[:, :, i], window, stride) for i in range(box.shape[2])], axis=2)


def _pool_channel(channel: npt.NDArray[Any], window: int, stride: int) -> npt.NDArray[Any]:
    """Divide window sums by the number of real pixels, as 'same' padding does, and cut the fraction off."""
    height, width = channel.shape
    rows, columns = _centres(height, window, stride), _centres(width, window, stride)
    sums = _window_sums(np.ascontiguousarray(channel), window)[np.ix_(rows, columns)]
    counts = np.multiply.outer(_real_pixels(height, window)[rows], _real_pixels(width, window)[columns])
    # Exact: a fraction is at least 1/window² away from the next integer, far more than a double's error.
    means: npt.NDArray[Any] = np.divide(sums, counts).astype(channel.dtype)
    return means


def _window_sums(channel: npt.NDArray[Any], window: int) -> npt.NDArray[Any]:
    """Sum over the window around each pixel; zeros beyond the edge."""
    if channel.shape[0] > _TALL * channel.shape[1]:  # OpenCV's time goes with height times window, not with width
        return _window_sums(np.ascontiguousarray(channel.T), window).T
    peak = int(np.iinfo(channel.dtype).max)
    fits = channel.dtype == np.uint8 and peak * window * window < _INT32_LIMIT
    # OpenCV 4.14 sums uint16 in 32 bits even for a result in CV_64F, and wraps from a window of 257 px on.
    wide, depth = (channel, cv2.CV_32S) if fits else (channel.astype(np.float64), cv2.CV_64F)
    # No more of the window than the picture can fill: OpenCV keeps as many rows as it is high, 2 GB for a long strip.
    before, after = (window - 1) // 2, window // 2
    reach = [(min(before, length - 1), min(after, length - 1)) for length in reversed(channel.shape)]
    size, anchor = [one + other + 1 for one, other in reach], [one for one, _ in reach]
    return cv2.boxFilter(wide, depth, size, anchor=anchor, normalize=False, borderType=cv2.BORDER_CONSTANT)


def _centres(length: int, window: int, stride: int) -> npt.NDArray[np.intp]:
    """Return where, among the windows of stride 1, the windows of 'same' padding with `stride` lie."""
    count = -(-length // stride)
    padding = max((count - 1) * stride + window - length, 0)
    return np.arange(count, dtype=np.intp) * stride + (window - 1) // 2 - padding // 2


def _real_pixels(length: int, window: int) -> npt.NDArray[np.int64]:
    """Count the pixels of each window of stride 1 that are not padding."""
    start = np.arange(length, dtype=np.int64) - (window - 1) // 2
    return np.minimum(start + window, length) - np.maximum(start, 0)


def _outline(region: Region, blur: BlurSpec, shape: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
    """Return what of the region's box is hidden; None for all of it.

    The ellipse passes through the corners of the box that the detector gave (the region without its margin), so it
    covers that box whole, and is cut by the region. A region at the picture's edge was cut there, its centre is no
    longer the face's: it is hidden whole, and so is what is `always` hidden.
    """
    height, width = shape[:2]
    inside = region.x > 0 and region.y > 0 and region.x + region.width < width and region.y + region.height < height
    if blur.shape is Shape.BOX or region.found_by == ALWAYS or not inside:
        return None
    reach = math.sqrt(2) / (1 + 2 * blur.margin) / 2
    half_x = max(region.width / 2, region.width * reach + 1)
    half_y = max(region.height / 2, region.height * reach + 1)
    x = (np.arange(region.width) + 0.5 - region.width / 2) / half_x
    y = (np.arange(region.height) + 0.5 - region.height / 2) / half_y
    mask: npt.NDArray[np.bool_] = np.add.outer(y * y, x * x) <= 1
    return mask
