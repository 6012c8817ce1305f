"""Lay soft ellipses over the blocks of a JPEG: `soft.lay` for coefficients.

A block that one cover hides whole is written down at once, from the cover's few numbers; only in the rim is anything
decoded and quantised again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceblurd.imaging.files.jpeg.areas import BLOCK
from faceblurd.imaging.files.jpeg.covers import (
    TOP,
    Covers,
    Surface,
    cover_of,
    laid_over,
    ragged,
    uppermost,
)
from faceblurd.imaging.files.jpeg.planes import (
    MIDDLE,
    cosines,
    exact_samples,
    quantised,
    rounded,
    samples,
    zigzag,
)
from faceblurd.imaging.redact.soft import Channels, fill_of, halves

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.jpeg.covers import (
        Floats,
        Ints,
        Laid,
        Side,
    )
    from faceblurd.imaging.files.jpeg.layout import Layout, Plane
    from faceblurd.imaging.files.jpeg.painting import Blocks
    from faceblurd.imaging.redact.soft import Ellipse

_BLOCKS_AT_ONCE: Final = 1 << 13  # half a megabyte of coefficients
_SAMPLES_AT_ONCE: Final = 1 << 19


def lay_over(
    blocks: Blocks, layout: Layout, ellipses: Sequence[Ellipse], levels: int | None, chroma: Mapping[int, float]
) -> None:
    """Lay ellipses of the picture over its components, in place, the largest on top; `chroma`: see `Paint`.

    Components that are colours themselves (RGB, CMYK) are filled together: gray stays gray. Otherwise, shades belong to
    the first alone, the brightness. Where components are colours of different sizes, nobody has them all.
    """
    order = sorted(ellipses, key=lambda one: one.area)
    sheets = list(_sheets(blocks, layout))
    alike = len({(sheet.plane.horizontal, sheet.plane.vertical) for sheet in sheets}) == 1
    together = len(sheets) > 1 and alike and not chroma
    for number, group in enumerate([sheets] if together else [[sheet] for sheet in sheets]):
        covers = Covers.of(order, group[0].plane, layout)
        if not len(covers.whole):
            continue
        shaded = together or (not number and (chroma or len(sheets) == 1))
        channels = Channels(inks=True) if together else Channels(chroma.get(number))
        means = np.stack([sheet.quarters(covers) for sheet in group], axis=-1)
        fill = fill_of(means, covers.flat | (not shaded), levels, channels, top=TOP)
        for channel, sheet in enumerate(group):
            sheet.paint(covers, Surface.of(fill, channel))


@dataclass(frozen=True, slots=True)
class _Sheet:
    """The blocks of one component: where each stands in the coefficients."""

    coefficients: npt.NDArray[np.int16]
    slots: Ints  # by row and column of MCUs
    first: int
    plane: Plane

    @property
    def seen(self) -> tuple[int, int]:
        """Rows and columns of blocks of which anything belongs to the picture."""
        return -(-self.plane.height // BLOCK), -(-self.plane.width // BLOCK)

    @property
    def whole(self) -> tuple[int, int]:
        """Rows and columns of blocks, with those that only fill up the last MCUs."""
        return self.slots.shape[0] * self.plane.vertical, self.slots.shape[1] * self.plane.horizontal

    def places(self, rows: Ints, columns: Ints) -> tuple[Ints, Ints]:
        """Return the indices of blocks in the coefficients."""
        plane = self.plane
        slots = self.slots[rows // plane.vertical, columns // plane.horizontal]
        return slots, self.first + rows % plane.vertical * plane.horizontal + columns % plane.horizontal

    def quarters(self, covers: Covers) -> npt.NDArray[np.float64]:
        """Return the means of the four quarters of each cover's middle: (E, 2, 2)."""
        begins, ends, steps = halves(covers.windows[:, :, 1] - covers.windows[:, :, 0])
        counts = -(-(ends - begins) // steps[:, :, None])  # (E, axis, half)
        begins += covers.windows[:, :, :1]
        each = counts[:, 0, :, None] * counts[:, 1, None, :]
        means = np.zeros(each.shape)
        for part in _parts(each.sum(axis=(1, 2)), _SAMPLES_AT_ONCE):
            owner, index = ragged(each[part].ravel())
            cover, down, right = owner // 4 + part.start, owner // 2 % 2, owner % 2
            wide = counts[cover, 1, right]
            y = begins[cover, 0, down] + index // wide * steps[cover, 0]
            x = begins[cover, 1, right] + index % wide * steps[cover, 1]
            sums = np.bincount(owner, self._read(y, x), minlength=each[part].size)
            means[part] = sums.reshape(-1, 2, 2) / each[part]
        return means

    def _read(self, y: Ints, x: Ints) -> npt.NDArray[np.uint8]:
        """Decode some samples, each block once."""
        down, across = self.whole
        block = y // BLOCK * across + x // BLOCK
        used = np.zeros(down * across, np.bool_)
        used[block] = True
        chosen = np.flatnonzero(used)
        where = np.cumsum(used, dtype=np.int32)
        decoded = samples(self.coefficients[self.places(chosen // across, chosen % across)], self.plane.steps)
        read: npt.NDArray[np.uint8] = decoded[where[block] - 1, y % BLOCK, x % BLOCK]
        return read

    def paint(self, covers: Covers, surface: Surface) -> None:
        """Write the blocks that anything is laid over, some rows of blocks at a time."""
        spans = covers.blocks(self.seen, self.whole)
        wide = spans[:, 1, 1] - spans[:, 1, 0]
        change = np.zeros(spans[:, 0].max() + 1, np.intp)
        np.add.at(change, spans[:, 0, 0], wide)
        np.subtract.at(change, spans[:, 0, 1], wide)
        for band in _parts(np.cumsum(change)[:-1], _BLOCKS_AT_ONCE):
            self._paint_band(covers, surface, spans, band)

    def _paint_band(self, covers: Covers, surface: Surface, spans: Ints, band: slice) -> None:
        chosen = np.flatnonzero((spans[:, 0, 0] < band.stop) & (spans[:, 0, 1] > band.start))
        here = spans[chosen]
        here[:, 0] = here[:, 0].clip(band.start, band.stop)
        rows = covers.side(0, chosen, here[:, 0], self.plane.height)
        columns = covers.side(1, chosen, here[:, 1], self.plane.width)
        laid = laid_over(covers, chosen, here[:, :, 1] - here[:, :, 0], rows, columns, self.seen)
        if not len(laid.owner):
            return
        heads, depths = uppermost(laid, rows.block[laid.row], columns.block[laid.column])
        places = self.places(rows.block[laid.row[heads]], columns.block[laid.column[heads]])
        plain = laid.full[heads] & (depths == 1) & surface.sound[laid.owner[heads]]
        written = np.empty((len(heads), BLOCK * BLOCK), np.int16)
        written[plain] = self._filled(laid, heads[plain], surface, rows, columns)
        mixed = np.flatnonzero(~plain)
        values = self._mixed(covers, surface, laid, (heads[mixed], depths[mixed]), (rows, columns))
        written[mixed] = quantised(values, self.plane.steps)
        self.coefficients[places] = written

    def _filled(self, laid: Laid, pairs: Ints, surface: Surface, rows: Side, columns: Side) -> Floats:
        """Transform what a cover is filled with: a sum of two products of a row's and a column's numbers."""
        owner, cosine = laid.owner[pairs], cosines().T
        if not surface.slopes:
            flat = np.zeros((len(pairs), BLOCK * BLOCK), np.float32)
            flat[:, 0] = np.rint((surface.base[owner] - MIDDLE) * BLOCK / self.plane.steps[0])
            return flat
        alone, sloped = surface.across(owner, columns.share[laid.column[pairs]])
        values = (rows.share[laid.row[pairs]] @ cosine)[:, :, None] * (sloped @ cosine)[:, None, :]
        values[:, 0] += ((alone - MIDDLE) @ cosine) * np.float32(BLOCK**0.5)
        return rounded(values.reshape(-1, BLOCK * BLOCK)[:, zigzag()], self.plane.steps)

    def _mixed(
        self, covers: Covers, surface: Surface, laid: Laid, pairs: tuple[Ints, Ints], sides: tuple[Side, Side]
    ) -> Floats:
        """Blend covers over what is there, sample by sample, one over the other."""
        (heads, depths), (rows, columns) = pairs, sides
        y, x = rows.block[laid.row[heads]], columns.block[laid.column[heads]]
        values = exact_samples(self.coefficients[self.places(y, x)], self.plane.steps)
        _repeat_edges(values, y, x, self.plane)
        for layer in range(int(depths.max(initial=0))):
            there = np.flatnonzero(depths > layer) if layer else np.s_[:]
            pair = heads[there] + layer
            owner, row, column = laid.owner[pair], laid.row[pair], laid.column[pair]
            alone, sloped = surface.across(owner, columns.share[column])
            painted = sloped[:, None, :] * rows.share[row][:, :, None]
            painted += alone[:, None, :]
            painted.clip(0, TOP, out=painted)
            painted -= values[there]
            painted *= cover_of(rows.off[row], columns.off[column], covers.whole[owner])
            values[there] += painted
        return values


def _sheets(blocks: Blocks, layout: Layout) -> Iterator[_Sheet]:
    first = 0
    for plane in layout.planes:
        yield _Sheet(blocks.coefficients, blocks.place.astype(np.intp), first, plane)
        first += plane.horizontal * plane.vertical


def _repeat_edges(values: Floats, y: Ints, x: Ints, plane: Plane) -> None:
    """Let what lies beyond the picture's edge repeat it, as encoders do; whole blocks there become flat."""
    for at, length, turned in ((y, plane.height, values), (x, plane.width, values.transpose(0, 2, 1))):
        rest = length % BLOCK
        cut = np.flatnonzero((at == length // BLOCK) & (rest > 0))
        turned[cut, rest:] = turned[cut, rest - 1 : rest or None]
        beyond = np.flatnonzero(at * BLOCK >= length)
        turned[beyond] = turned[beyond].mean(axis=(1, 2), keepdims=True)


def _parts(counts: npt.NDArray[Any], most: int) -> Iterator[slice]:
    """Divide things into runs of at most so many samples together, of one thing at least."""
    total, start = np.cumsum(counts), 0
    while start < len(counts):
        before = total[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(total, before + most, side="right")))
        yield slice(start, end)
        start = end
