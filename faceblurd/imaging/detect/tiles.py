"""Pieces of a picture: what to cut for a network to look at, and the way of a box back to the picture.

Every piece answers for its core only, the part whose surroundings it shows as well, so that no find is given twice or
cut in two. A piece is small enough for a network's memory, whatever the photo's size and shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from faceblurd.imaging.detect.pyramid import Level

CELL_PX: Final = 64
"""Places are marked in cells of this size."""

_TILE_PX: Final = 1056  # the longest side of a tile
_OVERLAP_PX: Final = 64  # of tiles: a face that is larger is looked for at half the scale, too
_RIM_PX: Final = 16  # the surroundings that a marked place shows
_MOST_CELLS: Final = 7  # the longest side of a place


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A part of a level, in the level's pixels; `core`: left, top, right, bottom of what it answers for."""

    level: Level
    x: int
    y: int
    width: int
    height: int
    core: tuple[float, float, float, float]
    quarters: int = 0  # turned so often, counter-clockwise, before it is looked at

    @property
    def seen(self) -> tuple[int, int]:
        """Width and height as it is looked at."""
        return (self.height, self.width) if self.quarters % 2 else (self.width, self.height)

    def pixels(self) -> npt.NDArray[Any]:
        """Cut it out, turned."""
        return np.rot90(self.level.cut(self.x, self.y, self.width, self.height), self.quarters)


def tiles(level: Level, *, quarters: int = 0) -> Iterator[Piece]:
    """Cover a whole level with overlapping pieces of about the same size."""
    for top, height, core_top, core_bottom in _spans(level.height):
        for left, width, core_left, core_right in _spans(level.width):
            yield Piece(level, left, top, width, height, (core_left, core_top, core_right, core_bottom), quarters)


def _spans(length: int) -> Iterator[tuple[int, int, float, float]]:
    """Divide a side evenly: start and length of each span, and the start and end of its core."""
    count = max(1, math.ceil((length - _OVERLAP_PX) / (_TILE_PX - _OVERLAP_PX)))
    step = math.ceil((length - _OVERLAP_PX) / count)
    half = _OVERLAP_PX / 2
    for number in range(count):
        start = number * step
        end = length if number == count - 1 else start + step + _OVERLAP_PX
        yield start, end - start, start + half if number else -np.inf, end - half if end < length else np.inf


def from_blocks(blocks: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Mark the cells that any block of half their size lies in."""
    rows, columns = blocks.shape
    even = np.pad(blocks, ((0, rows % 2), (0, columns % 2)))
    return np.asarray(even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2).any(axis=(1, 3)))


def marked(level: Level, boxes: npt.NDArray[Any], *, around: npt.NDArray[Any], least_px: int) -> npt.NDArray[np.bool_]:
    """Mark the cells of a level around boxes (x, y, width, height, of the picture): `around` times their size."""
    cells = np.zeros((-(-level.height // CELL_PX), -(-level.width // CELL_PX)), np.bool_)
    for (x, y, width, height), times in zip(boxes[:, :4] * level.scale, around, strict=True):
        reach = max(least_px, times * max(width, height)) / 2
        left, right = ((x + width / 2 + side * reach) / CELL_PX for side in (-1, 1))
        top, bottom = ((y + height / 2 + side * reach) / CELL_PX for side in (-1, 1))
        cells[max(0, int(top)) : max(0, int(bottom) + 1), max(0, int(left)) : max(0, int(right) + 1)] = True
    return cells


def places(level: Level, cells: npt.NDArray[np.bool_], *, quarters: int = 0) -> Iterator[Piece]:
    """Cover the marked cells of a level with pieces that show a rim around them."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(cells.astype(np.uint8), connectivity=4)
    for label in range(1, count):
        left, top, width, height = (int(value) for value in stats[label][:4])
        for row in range(top, top + height, _MOST_CELLS):
            for column in range(left, left + width, _MOST_CELLS):
                below, beyond = min(row + _MOST_CELLS, top + height), min(column + _MOST_CELLS, left + width)
                part = labels[row:below, column:beyond] == label
                if part.any():
                    yield _place(level, part, row, column, quarters)


def _place(level: Level, part: npt.NDArray[np.bool_], row: int, column: int, quarters: int) -> Piece:
    """Make the piece around the cells that are marked in a block."""
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    left, right = ((column + int(at)) * CELL_PX for at in (columns[0], columns[-1] + 1))
    top, bottom = ((row + int(at)) * CELL_PX for at in (rows[0], rows[-1] + 1))
    x, y = max(0, left - _RIM_PX), max(0, top - _RIM_PX)
    width, height = min(right + _RIM_PX, level.width) - x, min(bottom + _RIM_PX, level.height) - y
    return Piece(level, x, y, width, height, (left, top, right, bottom), quarters)


def in_picture(found: npt.NDArray[np.float32], piece: Piece) -> npt.NDArray[np.float32]:
    """Bring finds (x, y, width, height, score) from a piece to the picture; leave out what is not in its core."""
    x, y, width, height, score = found.T
    seen_width, seen_height = piece.seen
    for _ in range(piece.quarters % 4):
        x, y, width, height = seen_height - y - height, x, height, width
        seen_width, seen_height = seen_height, seen_width
    x, y = x + piece.x, y + piece.y
    left, top, right, bottom = piece.core
    across, down = x + width / 2, y + height / 2
    inside = (across >= left) & (across < right) & (down >= top) & (down < bottom)
    boxes = np.stack([x, y, width, height], axis=1) / np.float32(piece.level.scale)
    sound = inside & np.isfinite(boxes).all(axis=1)
    kept: npt.NDArray[np.float32] = np.hstack([boxes, score[:, None]])[sound].astype(np.float32)
    return kept
