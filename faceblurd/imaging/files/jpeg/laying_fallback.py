"""Soft ellipses over blocks, laid by numpy, for installations without the compiled code: the same to a rounding.

A block that one cover hides whole is written down at once, from the cover's few numbers; only in the rim is anything
decoded and quantised again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceblurd.imaging.files.jpeg.areas import BLOCK
from faceblurd.imaging.files.jpeg.covers import (
    TOP,
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
from faceblurd.imaging.redact.soft import halves

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from faceblurd.imaging.files.jpeg.covers import (
        Covers,
        Floats,
        Ints,
        Laid,
        Side,
        Surface,
    )
    from faceblurd.imaging.files.jpeg.layout import Plane
    from faceblurd.imaging.files.jpeg.sheets import Sheet

_BLOCKS_AT_ONCE: Final = 1 << 13  # half a megabyte of coefficients
_SAMPLES_AT_ONCE: Final = 1 << 19


def quarters(sheet: Sheet, covers: Covers) -> npt.NDArray[np.float64]:
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
        sums = np.bincount(owner, _read(sheet, y, x), minlength=each[part].size)
        means[part] = sums.reshape(-1, 2, 2) / each[part]
    return means


def _read(sheet: Sheet, y: Ints, x: Ints) -> npt.NDArray[np.uint8]:
    """Decode some samples, each block once."""
    down, across = sheet.whole
    block = y // BLOCK * across + x // BLOCK
    used = np.zeros(down * across, np.bool_)
    used[block] = True
    chosen = np.flatnonzero(used)
    where = np.cumsum(used, dtype=np.int32)
    decoded = samples(sheet.coefficients[sheet.places(chosen // across, chosen % across)], sheet.plane.steps)
    read: npt.NDArray[np.uint8] = decoded[where[block] - 1, y % BLOCK, x % BLOCK]
    return read


def paint(sheet: Sheet, covers: Covers, surface: Surface) -> None:
    """Write the blocks that anything is laid over, some rows of blocks at a time."""
    spans = covers.blocks(sheet.seen, sheet.whole)
    wide = spans[:, 1, 1] - spans[:, 1, 0]
    change = np.zeros(spans[:, 0].max() + 1, np.intp)
    np.add.at(change, spans[:, 0, 0], wide)
    np.subtract.at(change, spans[:, 0, 1], wide)
    for band in _parts(np.cumsum(change)[:-1], _BLOCKS_AT_ONCE):
        _paint_band(sheet, covers, surface, spans, band)


def _paint_band(sheet: Sheet, covers: Covers, surface: Surface, spans: Ints, band: slice) -> None:
    chosen = np.flatnonzero((spans[:, 0, 0] < band.stop) & (spans[:, 0, 1] > band.start))
    here = spans[chosen]
    here[:, 0] = here[:, 0].clip(band.start, band.stop)
    rows = covers.side(0, chosen, here[:, 0], sheet.plane.height)
    columns = covers.side(1, chosen, here[:, 1], sheet.plane.width)
    laid = laid_over(covers, chosen, here[:, :, 1] - here[:, :, 0], rows, columns, sheet.seen)
    if not len(laid.owner):
        return
    heads, depths = uppermost(laid, rows.block[laid.row], columns.block[laid.column])
    places = sheet.places(rows.block[laid.row[heads]], columns.block[laid.column[heads]])
    plain = laid.full[heads] & (depths == 1) & surface.sound[laid.owner[heads]]
    written = np.empty((len(heads), BLOCK * BLOCK), np.int16)
    written[plain] = _filled(sheet, laid, heads[plain], surface, rows, columns)
    mixed = np.flatnonzero(~plain)
    values = _mixed(sheet, covers, surface, laid, (heads[mixed], depths[mixed]), (rows, columns))
    written[mixed] = quantised(values, sheet.plane.steps)
    sheet.coefficients[places] = written


def _filled(sheet: Sheet, laid: Laid, pairs: Ints, surface: Surface, rows: Side, columns: Side) -> Floats:
    """Transform what a cover is filled with: a sum of two products of a row's and a column's numbers."""
    owner, cosine = laid.owner[pairs], cosines().T
    if not surface.slopes:
        flat = np.zeros((len(pairs), BLOCK * BLOCK), np.float32)
        flat[:, 0] = np.rint((surface.base[owner] - MIDDLE) * BLOCK / sheet.plane.steps[0])
        return flat
    alone, sloped = surface.across(owner, columns.share[laid.column[pairs]])
    values = (rows.share[laid.row[pairs]] @ cosine)[:, :, None] * (sloped @ cosine)[:, None, :]
    values[:, 0] += ((alone - MIDDLE) @ cosine) * np.float32(BLOCK**0.5)
    return rounded(values.reshape(-1, BLOCK * BLOCK)[:, zigzag()], sheet.plane.steps)


def _mixed(
    sheet: Sheet, covers: Covers, surface: Surface, laid: Laid, pairs: tuple[Ints, Ints], sides: tuple[Side, Side]
) -> Floats:
    """Blend covers over what is there, sample by sample, one over the other."""
    (heads, depths), (rows, columns) = pairs, sides
    y, x = rows.block[laid.row[heads]], columns.block[laid.column[heads]]
    values = exact_samples(sheet.coefficients[sheet.places(y, x)], sheet.plane.steps)
    _repeat_edges(values, y, x, sheet.plane)
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
