"""A soft ellipse in a face's own colour: where it lies, what it is filled with, and how it is laid over a picture.

The fill is made of eight numbers at most: two by two means of the brightness, and how far each colour's mean is off it,
all of them rounded. It covers the face whole; only its rim, in the margin around the box that was found, lets through
what was there. Works on pixels and on single components (of a JPEG) alike; finds no faces and knows no file formats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceblurd.model import ALWAYS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.model import Region

_RIM: Final = 2 / 3  # the share of the margin that fades; a tilted face reaches to 1.13 of its box's half, this to 1.19
HARD: Final = 1e-6  # of the radius: a rim so narrow is none
_BEYOND: Final = 0.5  # of its visible part, so much of a face may lie beyond the picture's edge
_MOST_READ: Final = 64  # rows and columns of each quarter: the mean of more of them rounds to the same
_AT_ONCE: Final = 1 << 18  # samples, so that a face that fills the picture needs no copies of it
_COLOURS: Final = 3
_FINER: Final = 4  # the eye sees a wrong hue sooner than a wrong shade: hues are rounded to steps that much smaller


Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in samples."""


@dataclass(frozen=True, slots=True)
class Ellipse:
    """Where a cover lies, in samples of a picture or of one of its components.

    `box`: what may change; the rim ends at its sides. `beyond`: the same, as it would be if the face went on where the
    box meets the picture's edge. `whole`: the share of the radius within which nothing shines through.
    """

    box: Box
    beyond: Box
    whole: float
    flat: bool = False
    square: bool = False  # covered whole, to the corners of the box

    @classmethod
    def of(cls, region: Region, size: tuple[int, int], margin: float) -> Ellipse:
        """Return the ellipse in a region of a picture (width, height); `margin` is what the region was grown by.

        What is `always` hidden is a box, and covered whole.
        """
        right, bottom = region.x + region.width, region.y + region.height
        add_x, add_y = _BEYOND * region.width, _BEYOND * region.height
        beyond = (
            region.x - (add_x if region.x <= 0 else 0), region.y - (add_y if region.y <= 0 else 0),
            right + (add_x if right >= size[0] else 0), bottom + (add_y if bottom >= size[1] else 0),
        )  # fmt: skip
        whole = (1 + 2 * margin * (1 - _RIM)) / (1 + 2 * margin)
        return cls((region.x, region.y, right, bottom), beyond, whole, region.flat, region.found_by == ALWAYS)

    def on_plane(self, by_x: float, by_y: float, *, left: int, top: int) -> Ellipse:
        """Return the same on a plane that has `by` samples for each pixel, and begins at (left, top)."""

        def mapped(box: Box) -> Box:
            return box[0] * by_x - left, box[1] * by_y - top, box[2] * by_x - left, box[3] * by_y - top

        return replace(self, box=mapped(self.box), beyond=mapped(self.beyond))

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
        if self.square:
            return np.ones((rows.stop - rows.start, columns.stop - columns.start), np.float32)
        down, across = self._off_centre(rows, 1), self._off_centre(columns, 0)
        cover: npt.NDArray[np.float32] = np.add.outer(down * down, across * across)
        np.sqrt(cover, out=cover)
        np.subtract(1, cover, out=cover)
        cover /= np.float32(max(1 - self.whole, HARD))
        np.clip(cover, 0, 1, out=cover)
        return np.multiply(cover, cover, out=cover)

    def _off_centre(self, span: slice, axis: int) -> npt.NDArray[np.float32]:
        """Return how far along a side each sample of a span is from the centre, 1 where the rim ends.

        The nearer of two centres counts: of the box, and of the one that goes on beyond the picture. So a face that is
        cut by the edge is covered there, and one that only comes near it is covered all around.
        """
        at = np.arange(span.start, span.stop, dtype=np.float32) + np.float32(0.5)
        ends = ((box[axis], box[axis + 2]) for box in (self.box, self.beyond))
        one, other = (np.abs(at - np.float32((low + high) / 2)) / np.float32((high - low) / 2) for low, high in ends)
        nearer: npt.NDArray[np.float32] = np.minimum(one, other)
        return nearer

    def inner_box(self) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of a box in which nothing shines through, from the corner of `box`."""
        share = 1.0 if self.square else self.whole / math.sqrt(2)
        sides = (self.box[2] - self.box[0], self.box[3] - self.box[1])
        cuts = [math.ceil(side * (1 - share) / 2) for side in sides]
        return cuts[0], cuts[1], int(sides[0]) - cuts[0], int(sides[1]) - cuts[1]


@dataclass(frozen=True, slots=True)
class Fill:
    """What a cover is made of: 2x2 shades; of each channel, what is added to them, and whether they count there.

    The arrays may begin with a dimension for several covers.
    """

    shades: npt.NDArray[np.float64]
    offsets: npt.NDArray[np.float64]
    shaded: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Channels:
    """What the channels of some pixels mean.

    `chroma`: differences of a colour from the brightness (Cb, Cr), in this scale. `inks`: a fourth channel is black,
    not opacity. `few`: the file has few colours, of which a gradient would take bands of different hues.
    """

    chroma: float | None = None
    inks: bool = False
    few: bool = False

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


def flat_colour(box: npt.NDArray[Any], levels: int | None, channels: Channels) -> npt.NDArray[Any]:
    """Return the one rounded colour of a box, as one pixel (1x1 or 1x1xC)."""
    whole = box[:, :, None] if box.ndim == 2 else box  # noqa: PLR2004 - gray: rows and columns only
    fill = read(whole, levels, channels, flat=True)
    values = fill.offsets + fill.shaded * fill.shades[0, 0]
    colour: npt.NDArray[Any] = np.rint(values.clip(0, np.iinfo(box.dtype).max)).astype(box.dtype)
    return colour.reshape(1, 1, *box.shape[2:])


def read(box: npt.NDArray[Any], levels: int | None, channels: Channels, *, flat: bool) -> Fill:
    """Read the rounded means of the middle of a box, three sevenths of each side: skin, and nothing from behind it."""
    quarters = np.array([[_mean(box[rows, columns], channels) for columns in _halves(box.shape[1])]
                         for rows in _halves(box.shape[0])])  # fmt: skip
    return fill_of(quarters, np.bool_(flat), levels, channels, top=int(np.iinfo(box.dtype).max))


def fill_of(
    quarters: npt.NDArray[np.float64],
    flat: npt.NDArray[np.bool_] | np.bool_,
    levels: int | None,
    channels: Channels,
    *,
    top: int,
) -> Fill:
    """Round what was read: the means (..., 2, 2, channels) of four quarters; `flat` (...): one shade for all four."""
    count = quarters.shape[-1]
    colours = channels.colours(count)
    step = top / (levels - 1) if levels else 1.0
    means = quarters.mean(axis=(-3, -2))
    if channels.chroma is not None:
        middle, finer = top // 2 + 1, step * channels.chroma / _FINER
        offsets = middle + _rounded(means[..., :1] - middle, finer)
        return Fill(np.zeros(quarters.shape[:-1]), offsets, np.zeros(1, np.bool_))
    brightness = quarters[..., :colours].mean(axis=-1)
    one = brightness.mean(axis=(-2, -1))
    alike = np.expand_dims(np.asarray(flat) | channels.few, (-2, -1))
    shades = np.where(alike, np.expand_dims(_rounded(one, step), (-2, -1)), _rounded(brightness, step))
    tint = _rounded(means[..., :colours] - one[..., None], step / _FINER)
    rest = np.minimum(_rounded(means[..., colours:], step / _FINER), top)
    return Fill(shades, np.concatenate([tint, rest], axis=-1), np.arange(count) < colours)


def _rounded(values: npt.NDArray[np.float64], step: float) -> npt.NDArray[np.float64]:
    return np.asarray(np.floor(values / step + 0.5) * step)


def halves(lengths: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], ...]:
    """Divide the middle of sides (...) into two: where each half begins and ends (..., 2), and the step within (...).

    Both are the same where a side is too short to be parted.
    """
    cut = lengths * 2 // 7
    middle = lengths // 2
    short = cut == middle
    begins = np.stack([cut, np.where(short, cut, middle)], axis=-1)
    ends = np.stack([np.where(short, lengths - cut, middle), lengths - cut], axis=-1)
    return begins, ends, np.where(short, 1, np.maximum(1, (middle - cut) // _MOST_READ))


def _halves(length: int) -> tuple[slice, slice]:
    begins, ends, step = (part.tolist() for part in halves(np.asarray(length)))
    return slice(begins[0], ends[0], step), slice(begins[1], ends[1], step)


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
    second = np.clip(at, 0, 1)
    second *= second * (3 - 2 * second)  # no line where a gradient begins or ends
    return np.stack([1 - second, second]).astype(np.float32, copy=False)


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
