"""Lay soft ellipses over the blocks of a JPEG: `soft.lay` for coefficients.

A block that one cover hides whole is written down at once, from the cover's few numbers; only in the rim is anything
decoded and quantised again. All covers of a component are laid at a time, so that a crowd costs its blocks and not its
faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceblurd.imaging.soft import Channels, fill_of, halves
from faceblurd.imaging.splice.areas import BLOCK
from faceblurd.imaging.splice.planes import MIDDLE, cosines, exact_samples, quantised, rounded, samples, zigzag

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.soft import Ellipse, Fill
    from faceblurd.imaging.splice.layout import Layout, Plane
    from faceblurd.imaging.splice.painting import Blocks

    Ints = npt.NDArray[np.intp]
    Floats = npt.NDArray[np.float32]

_TOP: Final = 255
_OUTSIDE: Final = 2.0  # off the centre of a cover: beyond its rim
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
        covers = _Covers.of(order, group[0].plane, layout)
        if not len(covers.whole):
            continue
        shaded = together or (not number and (chroma or len(sheets) == 1))
        channels = Channels(inks=True) if together else Channels(chroma.get(number))
        means = np.stack([sheet.quarters(covers) for sheet in group], axis=-1)
        fill = fill_of(means, covers.flat | (not shaded), levels, channels, top=_TOP)
        for channel, sheet in enumerate(group):
            sheet.paint(covers, _Surface.of(fill, channel))


# --- what is laid


@dataclass(frozen=True, slots=True)
class _Covers:
    """Ellipses on a component, smallest first: see `Ellipse`. `windows`: rows (0) and columns (1), from and to."""

    box: Floats  # (E, 2, 2): by axis (rows first), from and to
    beyond: Floats
    windows: Ints  # (E, 2, 2)
    whole: Floats
    flat: npt.NDArray[np.bool_]
    square: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, ellipses: Sequence[Ellipse], plane: Plane, layout: Layout) -> _Covers:
        """Map ellipses of the picture to a component; leave out those that meet nothing of it."""
        by = BLOCK * plane.horizontal / layout.mcu_width, BLOCK * plane.vertical / layout.mcu_height
        mapped = [one.on_plane(*by, left=0, top=0) for one in ellipses]
        placed = [(one, one.window(plane.width, plane.height)) for one in mapped]
        met = [(one, spans) for one, spans in placed if all(span.start < span.stop for span in spans)]
        return cls(
            np.array([one.box for one, _ in met], np.float32).reshape(-1, 2, 2).transpose(0, 2, 1)[:, ::-1],
            np.array([one.beyond for one, _ in met], np.float32).reshape(-1, 2, 2).transpose(0, 2, 1)[:, ::-1],
            np.array([[(span.start, span.stop) for span in spans] for _, spans in met], np.intp).reshape(-1, 2, 2),
            np.array([one.whole for one, _ in met], np.float32),
            np.array([one.flat for one, _ in met], np.bool_),
            np.array([one.square for one, _ in met], np.bool_),
        )

    def blocks(self, seen: tuple[int, int], whole: tuple[int, int]) -> Ints:
        """Return the rows and columns of blocks that each cover meets (E, 2, 2), from and to; unseen ones count."""
        spans = np.stack([self.windows[:, :, 0] // BLOCK, -(-self.windows[:, :, 1] // BLOCK)], axis=2)
        spans[:, :, 1] = np.where(spans[:, :, 1] >= np.array(seen), np.array(whole), spans[:, :, 1])
        return spans

    def side(self, axis: int, chosen: Ints, spans: Ints, length: int) -> _Side:
        """Measure chosen covers along an axis, in each of the blocks that they meet there (`spans`: from and to)."""
        owner, block = _ragged(spans[:, 1] - spans[:, 0])
        block += spans[owner, 0]
        owner = chosen[owner]
        at = BLOCK * block[:, None] + np.arange(BLOCK)
        # What lies beyond the picture's edge is what is at the edge.
        place = np.minimum(at, length - 1).astype(np.float32) + np.float32(0.5)
        off = np.minimum(*(_off_centre(place, ends[owner, axis]) for ends in (self.box, self.beyond)))
        square = self.square[owner]
        low, high = self.windows[owner, axis].T
        inside = (at >= low[:, None]) & ((at < high[:, None]) | (high[:, None] >= length))
        off[square] = np.where(inside[square], 0, _OUTSIDE)
        low, high = self.box[owner, axis].T
        share = ((place - low[:, None]) / np.maximum(high - low, np.float32(1e-6))[:, None]).clip(0, 1)
        share *= share * (3 - 2 * share)  # no line where a gradient begins or ends
        return _Side(block, off, share)


def _off_centre(place: Floats, ends: Floats) -> Floats:
    low, high = ends[:, :1], ends[:, 1:]
    return np.asarray(np.abs(place - (low + high) / 2) / ((high - low) / 2), np.float32)


@dataclass(frozen=True, slots=True)
class _Side:
    """Along one axis, for each cover and each row or column of blocks that it meets: eight samples.

    `off`: how far off the centre, 1 where the rim ends; `share`: of the second shade.
    """

    block: Ints
    off: Floats
    share: Floats


@dataclass(frozen=True, slots=True)
class _Surface:
    """The fill of each cover in one component: `base + right x + down y + both x y`, x and y: shares from 0 to 1."""

    base: Floats
    right: Floats
    down: Floats
    both: Floats
    sound: npt.NDArray[np.bool_]  # nowhere out of range
    slopes: bool  # whether any of them has more than one value

    @classmethod
    def of(cls, fill: Fill, channel: int) -> _Surface:
        """Take what counts in a channel."""
        corners = (fill.shades * fill.shaded[channel] + fill.offsets[:, channel, None, None]).astype(np.float32)
        (base, beside), (below, last) = corners.transpose(1, 2, 0)
        sound = (corners >= 0).all(axis=(1, 2)) & (corners <= _TOP).all(axis=(1, 2))
        slopes = bool((corners != corners[:, :1, :1]).any())
        return cls(base, beside - base, below - base, base - beside - below + last, sound, slopes)

    def across(self, owner: Ints, share: Floats) -> tuple[Floats, Floats]:
        """Return along the columns what a block has of itself, and what is to be multiplied with the rows' share."""
        return (
            self.base[owner, None] + self.right[owner, None] * share,
            self.down[owner, None] + self.both[owner, None] * share,
        )


@dataclass(frozen=True, slots=True)
class _Laid:
    """Covers over blocks, one pair after the other: the pairs of a block stand together, the uppermost last.

    `row`, `column`: places in the tables of sides; `full`: nothing of the block shines through.
    """

    owner: Ints
    row: Ints
    column: Ints
    full: npt.NDArray[np.bool_]


# --- where it is laid


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

    def quarters(self, covers: _Covers) -> npt.NDArray[np.float64]:
        """Return the means of the four quarters of each cover's middle: (E, 2, 2)."""
        begins, ends, steps = halves(covers.windows[:, :, 1] - covers.windows[:, :, 0])
        counts = -(-(ends - begins) // steps[:, :, None])  # (E, axis, half)
        begins += covers.windows[:, :, :1]
        each = counts[:, 0, :, None] * counts[:, 1, None, :]
        means = np.zeros(each.shape)
        for part in _parts(each.sum(axis=(1, 2)), _SAMPLES_AT_ONCE):
            owner, index = _ragged(each[part].ravel())
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

    def paint(self, covers: _Covers, surface: _Surface) -> None:
        """Write the blocks that anything is laid over, some rows of blocks at a time."""
        spans = covers.blocks(self.seen, self.whole)
        wide = spans[:, 1, 1] - spans[:, 1, 0]
        change = np.zeros(spans[:, 0].max() + 1, np.intp)
        np.add.at(change, spans[:, 0, 0], wide)
        np.subtract.at(change, spans[:, 0, 1], wide)
        for band in _parts(np.cumsum(change)[:-1], _BLOCKS_AT_ONCE):
            self._paint_band(covers, surface, spans, band)

    def _paint_band(self, covers: _Covers, surface: _Surface, spans: Ints, band: slice) -> None:
        chosen = np.flatnonzero((spans[:, 0, 0] < band.stop) & (spans[:, 0, 1] > band.start))
        here = spans[chosen]
        here[:, 0] = here[:, 0].clip(band.start, band.stop)
        rows = covers.side(0, chosen, here[:, 0], self.plane.height)
        columns = covers.side(1, chosen, here[:, 1], self.plane.width)
        laid = _laid(covers, chosen, here[:, :, 1] - here[:, :, 0], rows, columns, self.seen)
        if not len(laid.owner):
            return
        heads, depths = _uppermost(laid, rows.block[laid.row], columns.block[laid.column])
        places = self.places(rows.block[laid.row[heads]], columns.block[laid.column[heads]])
        plain = laid.full[heads] & (depths == 1) & surface.sound[laid.owner[heads]]
        written = np.empty((len(heads), BLOCK * BLOCK), np.int16)
        written[plain] = self._filled(laid, heads[plain], surface, rows, columns)
        mixed = np.flatnonzero(~plain)
        values = self._mixed(covers, surface, laid, (heads[mixed], depths[mixed]), (rows, columns))
        written[mixed] = quantised(values, self.plane.steps)
        self.coefficients[places] = written

    def _filled(self, laid: _Laid, pairs: Ints, surface: _Surface, rows: _Side, columns: _Side) -> Floats:
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
        self, covers: _Covers, surface: _Surface, laid: _Laid, pairs: tuple[Ints, Ints], sides: tuple[_Side, _Side]
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
            painted.clip(0, _TOP, out=painted)
            painted -= values[there]
            painted *= _cover(rows.off[row], columns.off[column], covers.whole[owner])
            values[there] += painted
        return values


def _sheets(blocks: Blocks, layout: Layout) -> Iterator[_Sheet]:
    first = 0
    for plane in layout.planes:
        yield _Sheet(blocks.coefficients, blocks.place.astype(np.intp), first, plane)
        first += plane.horizontal * plane.vertical


def _laid(
    covers: _Covers, chosen: Ints, counts: Ints, rows: _Side, columns: _Side, seen: tuple[int, int]
) -> _Laid:  # fmt: skip
    """Pair covers with the blocks of which they hide anything, block by block; what nobody sees is hidden with them."""
    one, index = _ragged(counts[:, 0] * counts[:, 1])
    wide = counts[one, 1]
    row, column = (_starts(counts[:, axis])[one] + part for axis, part in enumerate((index // wide, index % wide)))
    least = [side.off.min(axis=1) ** 2 for side in (rows, columns)]
    met = least[0][row] + least[1][column] < 1
    met |= (rows.block[row] >= seen[0]) | (columns.block[column] >= seen[1])
    owner, row, column = chosen[one[met]], row[met], column[met]
    order = np.lexsort((columns.block[column], rows.block[row]))  # which keeps the order of covers
    owner, row, column = owner[order], row[order], column[order]
    most = [side.off.max(axis=1) ** 2 for side in (rows, columns)]
    return _Laid(owner, row, column, most[0][row] + most[1][column] <= covers.whole[owner] ** 2)


def _uppermost(laid: _Laid, y: Ints, x: Ints) -> tuple[Ints, Ints]:
    """Return, of each block, the lowest pair that shows and how many lie over it: what a whole cover hides is gone."""
    begins = np.flatnonzero(np.concatenate([[True], (np.diff(y) != 0) | (np.diff(x) != 0)]))
    ends = np.append(begins[1:], len(y))
    last_full = np.maximum.accumulate(np.where(laid.full, np.arange(len(y)), -1))[ends - 1]
    heads = np.maximum(begins, last_full)
    return heads, ends - heads


def _cover(down: Floats, across: Floats, whole: Floats) -> Floats:
    """Return how much of each sample is covered, as `Ellipse.cover` has it."""
    down, across = down * down, across * across
    cover: Floats = down[:, :, None] + across[:, None, :]
    np.sqrt(cover, out=cover)
    np.subtract(1, cover, out=cover)
    cover /= np.maximum(1 - whole, np.float32(1e-6))[:, None, None]
    cover.clip(0, 1, out=cover)
    return np.multiply(cover, cover, out=cover)


def _repeat_edges(values: Floats, y: Ints, x: Ints, plane: Plane) -> None:
    """Let what lies beyond the picture's edge repeat it, as encoders do; whole blocks there become flat."""
    for at, length, turned in ((y, plane.height, values), (x, plane.width, values.transpose(0, 2, 1))):
        rest = length % BLOCK
        cut = np.flatnonzero((at == length // BLOCK) & (rest > 0))
        turned[cut, rest:] = turned[cut, rest - 1 : rest or None]
        beyond = np.flatnonzero(at * BLOCK >= length)
        turned[beyond] = turned[beyond].mean(axis=(1, 2), keepdims=True)


def _ragged(counts: Ints) -> tuple[Ints, Ints]:
    """Count up several rows of things: return the row of each, and its place there."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(_starts(counts), counts)


def _starts(counts: Ints) -> Ints:
    starts: Ints = np.cumsum(counts) - counts
    return starts


def _parts(counts: npt.NDArray[Any], most: int) -> Iterator[slice]:
    """Divide things into runs of at most so many samples together, of one thing at least."""
    total, start = np.cumsum(counts), 0
    while start < len(counts):
        before = total[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(total, before + most, side="right")))
        yield slice(start, end)
        start = end
