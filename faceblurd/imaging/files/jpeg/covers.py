"""Soft ellipses over the blocks of one component of a JPEG: where each lies, and what it is filled with.

Everything is an array with a row for each cover, or for each pair of a cover and a block, so that a crowd costs its
blocks and not its faces. Sees no coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from faceblurd.imaging.files.jpeg.areas import BLOCK
from faceblurd.imaging.redact.soft import HARD

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.jpeg.layout import Layout, Plane
    from faceblurd.imaging.redact.soft import Ellipse, Fill

    Ints = npt.NDArray[np.intp]
    Floats = npt.NDArray[np.float32]

TOP: Final = 255
_OUTSIDE: Final = 2.0  # off the centre of a cover: beyond its rim


@dataclass(frozen=True, slots=True)
class Covers:
    """Ellipses on a component, smallest first: see `Ellipse`. `windows`: rows (0) and columns (1), from and to."""

    box: Floats  # (E, 2, 2): by axis (rows first), from and to
    beyond: Floats
    windows: Ints  # (E, 2, 2)
    whole: Floats
    flat: npt.NDArray[np.bool_]
    square: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, ellipses: Sequence[Ellipse], plane: Plane, layout: Layout) -> Covers:
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

    def side(self, axis: int, chosen: Ints, spans: Ints, length: int) -> Side:
        """Measure chosen covers along an axis, in each of the blocks that they meet there (`spans`: from and to)."""
        owner, block = ragged(spans[:, 1] - spans[:, 0])
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
        return Side(block, off, share)


def _off_centre(place: Floats, ends: Floats) -> Floats:
    low, high = ends[:, :1], ends[:, 1:]
    return np.asarray(np.abs(place - (low + high) / 2) / ((high - low) / 2), np.float32)


@dataclass(frozen=True, slots=True)
class Side:
    """Along one axis, for each cover and each row or column of blocks that it meets: eight samples.

    `off`: how far off the centre, 1 where the rim ends; `share`: of the second shade.
    """

    block: Ints
    off: Floats
    share: Floats


@dataclass(frozen=True, slots=True)
class Surface:
    """The fill of each cover in one component: `base + right x + down y + both x y`, x and y: shares from 0 to 1."""

    base: Floats
    right: Floats
    down: Floats
    both: Floats
    sound: npt.NDArray[np.bool_]  # nowhere out of range
    slopes: bool  # whether any of them has more than one value

    @classmethod
    def of(cls, fill: Fill, channel: int) -> Surface:
        """Take what counts in a channel."""
        corners = (fill.shades * fill.shaded[channel] + fill.offsets[:, channel, None, None]).astype(np.float32)
        (base, beside), (below, last) = corners.transpose(1, 2, 0)
        sound = (corners >= 0).all(axis=(1, 2)) & (corners <= TOP).all(axis=(1, 2))
        slopes = bool((corners != corners[:, :1, :1]).any())
        return cls(base, beside - base, below - base, base - beside - below + last, sound, slopes)

    def across(self, owner: Ints, share: Floats) -> tuple[Floats, Floats]:
        """Return along the columns what a block has of itself, and what is to be multiplied with the rows' share."""
        return (
            self.base[owner, None] + self.right[owner, None] * share,
            self.down[owner, None] + self.both[owner, None] * share,
        )


@dataclass(frozen=True, slots=True)
class Laid:
    """Covers over blocks, one pair after the other: the pairs of a block stand together, the uppermost last.

    `row`, `column`: places in the tables of sides; `full`: nothing of the block shines through.
    """

    owner: Ints
    row: Ints
    column: Ints
    full: npt.NDArray[np.bool_]


def laid_over(
    covers: Covers, chosen: Ints, counts: Ints, rows: Side, columns: Side, seen: tuple[int, int]
) -> Laid:  # fmt: skip
    """Pair covers with the blocks of which they hide anything, block by block; what nobody sees is hidden with them."""
    one, index = ragged(counts[:, 0] * counts[:, 1])
    wide = counts[one, 1]
    row, column = (_starts(counts[:, axis])[one] + part for axis, part in enumerate((index // wide, index % wide)))
    least = [side.off.min(axis=1) ** 2 for side in (rows, columns)]
    met = least[0][row] + least[1][column] < 1
    met |= (rows.block[row] >= seen[0]) | (columns.block[column] >= seen[1])
    owner, row, column = chosen[one[met]], row[met], column[met]
    order = np.lexsort((columns.block[column], rows.block[row]))  # which keeps the order of covers
    owner, row, column = owner[order], row[order], column[order]
    most = [side.off.max(axis=1) ** 2 for side in (rows, columns)]
    return Laid(owner, row, column, most[0][row] + most[1][column] <= covers.whole[owner] ** 2)


def uppermost(laid: Laid, y: Ints, x: Ints) -> tuple[Ints, Ints]:
    """Return, of each block, the lowest pair that shows and how many lie over it: what a whole cover hides is gone."""
    begins = np.flatnonzero(np.concatenate([[True], (np.diff(y) != 0) | (np.diff(x) != 0)]))
    ends = np.append(begins[1:], len(y))
    last_full = np.maximum.accumulate(np.where(laid.full, np.arange(len(y)), -1))[ends - 1]
    heads = np.maximum(begins, last_full)
    return heads, ends - heads


def cover_of(down: Floats, across: Floats, whole: Floats) -> Floats:
    """Return how much of each sample is covered, as `Ellipse.cover` has it."""
    down, across = down * down, across * across
    cover: Floats = down[:, :, None] + across[:, None, :]
    np.sqrt(cover, out=cover)
    np.subtract(1, cover, out=cover)
    cover /= np.maximum(1 - whole, np.float32(HARD))[:, None, None]
    cover.clip(0, 1, out=cover)
    return np.multiply(cover, cover, out=cover)


def ragged(counts: Ints) -> tuple[Ints, Ints]:
    """Count up several rows of things: return the row of each, and its place there."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(_starts(counts), counts)


def _starts(counts: Ints) -> Ints:
    starts: Ints = np.cumsum(counts) - counts
    return starts
