"""A soft ellipse in a face's own colour: where it lies, what it is filled with, and how it is laid over a picture.

The fill is made of eight numbers at most: two by two means of the brightness, and how far each colour's mean is off it,
all of them rounded. It covers the face whole; only its rim, in the margin around the box that was found, lets through
what was there. Works on pixels and on single components (of a JPEG) alike; finds no faces and knows no file formats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceblurd.model import ALWAYS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.model import Region

_RIM: Final = 2 / 3  # the share of the margin that fades; a tilted face reaches to 1.13 of its box's half, this to 1.19
_BEYOND: Final = 0.5  # of its visible part, so much of a face that the picture's edge cuts is taken to lie beyond
_MOST_READ: Final = 64  # rows and columns of each quarter: the mean of more of them rounds to the same
_AT_ONCE: Final = 1 << 18  # samples, so that a face that fills the picture needs no copies of it
_COLOURS: Final = 3
_FLATTER: Final = 2  # one flat colour is rounded to steps twice as large


@dataclass(frozen=True, slots=True)
class Ellipse:
    """Where a cover lies, in samples of a picture or of one of its components.

    `box`: left, top, right, bottom of what may change. `centre` and `half` (x, y) of where the rim ends, perhaps beyond
    the box. `whole`: the share of the radius within which nothing shines through.
    """

    box: tuple[float, float, float, float]
    centre: tuple[float, float]
    half: tuple[float, float]
    whole: float
    flat: bool = False

    @classmethod
    def of(cls, region: Region, size: tuple[int, int], margin: float) -> Ellipse:
        """Return the ellipse in a region of a picture (width, height); `margin` is what the region was grown by.

        Where the region meets the picture's edge, the face may go on beyond it: so does the ellipse. What is `always`
        hidden is a box, and covered whole.
        """
        right, bottom = region.x + region.width, region.y + region.height
        across, down = _span(region.x, right, size[0]), _span(region.y, bottom, size[1])
        whole = (1 + 2 * margin * (1 - _RIM)) / (1 + 2 * margin)
        by = math.sqrt(2) / whole if region.found_by == ALWAYS else 1.0
        centre = (across[0] + across[1]) / 2, (down[0] + down[1]) / 2
        half = (across[1] - across[0]) / 2 * by, (down[1] - down[0]) / 2 * by
        return cls((region.x, region.y, right, bottom), centre, half, whole, region.flat)

    def on_plane(self, by_x: float, by_y: float, *, left: int, top: int) -> Ellipse:
        """Return the same on a plane that has `by` samples for each pixel, and begins at (left, top)."""
        box = tuple(
            value * by - off for value, by, off in zip(self.box, (by_x, by_y) * 2, (left, top) * 2, strict=True)
        )
        centre = self.centre[0] * by_x - left, self.centre[1] * by_y - top
        half = self.half[0] * by_x, self.half[1] * by_y
        return Ellipse(box, centre, half, self.whole, self.flat)  # type: ignore[arg-type]  # four values stay four

    @property
    def area(self) -> float:
        """Return that of the box, in samples."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    def window(self, width: int, height: int) -> tuple[slice, slice]:
        """Return the rows and columns of a plane of that size that the box meets."""
        left, top, right, bottom = self.box
        rows = slice(max(0, math.floor(top)), min(height, math.ceil(bottom)))
        return rows, slice(max(0, math.floor(left)), min(width, math.ceil(right)))

    def cover(self, rows: slice, columns: slice) -> npt.NDArray[np.float32]:
        """Return how much of each sample is covered, from 0 to 1.

        The rim rises as a parabola: with its flat end outside, no line shows where the change begins.
        """
        down = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5 - self.centre[1]) / self.half[1]
        across = (np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5 - self.centre[0]) / self.half[0]
        cover = np.add.outer(down * down, across * across).astype(np.float32, copy=False)
        np.sqrt(cover, out=cover)
        np.subtract(1, cover, out=cover)
        cover /= 1 - self.whole
        np.clip(cover, 0, 1, out=cover)
        return np.multiply(cover, cover, out=cover)

    def inner_box(self) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of a box within which nothing shines through, from the region's corner."""
        spans = []
        for axis in (0, 1):
            reach = self.half[axis] * self.whole / math.sqrt(2)
            low, high = self.box[axis], self.box[axis + 2]
            ends = max(low, self.centre[axis] - reach), min(high, self.centre[axis] + reach)
            spans.append((math.ceil(ends[0] - low), math.floor(ends[1] - low)))
        return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


@dataclass(frozen=True, slots=True)
class Fill:
    """What a cover is made of: 2x2 shades; of each channel, what is added to them, and whether they count there."""

    shades: npt.NDArray[np.float64]
    offsets: tuple[float, ...]
    shaded: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Channels:
    """What the channels of some pixels mean.

    `chroma`: differences of a colour from the brightness (Cb, Cr), in this scale. `inks`: a fourth channel is black,
    not opacity.
    """

    chroma: float | None = None
    inks: bool = False

    def colours(self, count: int) -> int:
        """Return how many of so many channels are colours; the one after them is black or opacity."""
        return min(count - (count == 2), _COLOURS)  # noqa: PLR2004 - gray and its opacity

    def has_opacity(self, count: int) -> bool:
        """Say whether the last of so many channels is opacity."""
        return count in (2, 4) and not self.inks


def lay(pixels: npt.NDArray[Any], ellipses: Sequence[Ellipse], levels: int | None, channels: Channels) -> None:
    """Lay ellipses over pixels (HxW or HxWxC, uint8 or uint16) in place, the largest on top.

    All fills are read before anything is painted. A cover is laid over what others left: where one of them is whole,
    nothing that lies above it can uncover what was there.
    """
    whole = pixels[:, :, None] if pixels.ndim == 2 else pixels  # noqa: PLR2004 - gray: rows and columns only
    order = sorted(ellipses, key=lambda one: one.area)
    windows = [one.window(whole.shape[1], whole.shape[0]) for one in order]
    fills = [read(whole[window], levels, channels, flat=one.flat) for one, window in zip(order, windows, strict=True)]
    for one, window, fill in zip(order, windows, fills, strict=True):
        _paint(whole, one, window, fill, channels)


def _span(start: int, end: int, length: int) -> tuple[float, float]:
    """Return from where to where an ellipse reaches along one side: beyond the picture where its box meets the edge."""
    add = _BEYOND * (end - start)
    return start - (add if start <= 0 else 0), end + (add if end >= length else 0)


def read(box: npt.NDArray[Any], levels: int | None, channels: Channels, *, flat: bool) -> Fill:
    """Read the rounded means of the middle of a box: there is skin, not what is behind it."""
    count, top = box.shape[2], int(np.iinfo(box.dtype).max)
    colours = channels.colours(count)
    step = (top / (levels - 1) if levels else 1.0) * (_FLATTER if flat else 1)
    quarters = np.array([[_mean(box[rows, columns], channels) for columns in _halves(box.shape[1])]
                         for rows in _halves(box.shape[0])])  # fmt: skip
    means = quarters.mean(axis=(0, 1))
    if channels.chroma is not None:
        middle, finer = top // 2 + 1, step * channels.chroma / 4
        return Fill(np.zeros((2, 2)), (middle + _rounded(means[0] - middle, finer),), (False,))
    brightness = quarters[:, :, :colours].mean(axis=2)
    shades = np.array([[_rounded(value, step) for value in row] for row in brightness])
    if flat:
        shades[...] = _rounded(brightness.mean(), step)
    tint = means[:colours] - brightness.mean()
    rest = tuple(min(_rounded(value, step / 2), float(top)) for value in means[colours:])
    offsets = (*(_rounded(value, step / 4) for value in tint), *rest)
    return Fill(shades, offsets, tuple(channel < colours for channel in range(count)))


def _rounded(value: float, step: float) -> float:
    return math.floor(value / step + 0.5) * step


def _halves(length: int) -> tuple[slice, slice]:
    """Return the two halves of the middle of a side; both the same where it is too short to be parted."""
    start, middle, end = length // 4, length // 2, length - length // 4
    if start == middle:
        return slice(start, end), slice(start, end)
    step = max(1, (middle - start) // _MOST_READ)
    return slice(start, middle, step), slice(middle, end, step)


def _mean(part: npt.NDArray[Any], channels: Channels) -> npt.NDArray[np.float64]:
    """Return the mean of each channel; what is transparent has no say in the colours."""
    rows = part.reshape(-1, part.shape[2]).astype(np.int64)
    means: npt.NDArray[np.float64] = rows.sum(axis=0) / len(rows)
    opacity = rows[:, -1]
    if channels.has_opacity(rows.shape[1]) and opacity.any() and (opacity != opacity[0]).any():
        means[:-1] = (rows[:, :-1] * opacity[:, None]).sum(axis=0) / opacity.sum()
    return means


def _paint(
    pixels: npt.NDArray[Any], ellipse: Ellipse, window: tuple[slice, slice], fill: Fill, channels: Channels
) -> None:
    """Blend a fill over a window, some rows at a time."""
    rows, columns = window
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    across = _shading(ellipse.box[0], ellipse.box[2], columns)
    at_once = max(1, _AT_ONCE // (columns.stop - columns.start))
    for start in range(rows.start, rows.stop, at_once):
        strip = slice(start, min(start + at_once, rows.stop))
        shades = _shading(ellipse.box[1], ellipse.box[3], strip).T @ (fill.shades.astype(np.float32) @ across)
        part, cover = pixels[strip, columns], ellipse.cover(strip, columns)
        if channels.has_opacity(part.shape[2]):
            cover = _over(part[:, :, -1], cover, fill.offsets[-1])
        for channel in range(part.shape[2] - channels.has_opacity(part.shape[2])):
            _blend(
                part[:, :, channel],
                cover,
                shades * np.float32(fill.shaded[channel]) + np.float32(fill.offsets[channel]),
            )


def _shading(start: float, end: float, span: slice) -> npt.NDArray[np.float32]:
    """Return the shares (2xN) that the first and the second shade of a side have in each sample of a span."""
    at = (np.arange(span.start, span.stop, dtype=np.float32) + 0.5 - start) / max(end - start, 1e-6)
    second = np.clip(2 * at - 0.5, 0, 1).astype(np.float32)
    return np.stack([1 - second, second])


def _blend(channel: npt.NDArray[Any], cover: npt.NDArray[np.float32], painted: npt.NDArray[np.float32]) -> None:
    np.clip(painted, 0, np.iinfo(channel.dtype).max, out=painted)
    painted -= channel
    painted *= cover
    painted += channel
    channel[...] = np.rint(painted, out=painted)


def _over(opacity: npt.NDArray[Any], cover: npt.NDArray[np.float32], painted: float) -> npt.NDArray[np.float32]:
    """Lay an opacity over another in place; return the cover for the colours: transparent ones do not count."""
    top = np.float32(np.iinfo(opacity.dtype).max)
    if painted == top and (opacity == top).all():
        return cover
    added = cover * np.float32(painted)
    result = added + (1 - cover) * opacity
    opacity[...] = np.rint(result)
    share: npt.NDArray[np.float32] = (cover > 0).astype(np.float32)
    np.divide(added, result, out=share, where=result > 0)
    return share
