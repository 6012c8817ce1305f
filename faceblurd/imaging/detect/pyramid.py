"""A picture at several scales, plain and with the light turned up where it is dark.

Owns the pixels that networks are shown. What is enlarged, or lit, is made piece by piece: nothing of the size of an
enlarged photo is ever held.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

DARK: Final = 35.0
"""A place is dark below this mean of its surroundings (of 255)."""

_LIT: Final = 90.0  # the mean that light is turned up to
_MOST_GAIN: Final = 6.0
_BLOCK_PX: Final = 32  # of a level: light is measured in such blocks
_AROUND_PX: Final = 1  # and in this many blocks around each
_PLAIN: Final = 1.5  # a block whose values spread less than this shows nothing: a black margin, a black cloth


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """A picture at `scale`; `base` at `base_scale` is the array that its pixels are made of. `gains`: see `lit`."""

    base: npt.NDArray[Any]
    base_scale: float
    scale: float
    gains: npt.NDArray[np.float32] | None = None

    @property
    def width(self) -> int:
        """Columns."""
        return max(1, round(int(self.base.shape[1]) * self.scale / self.base_scale))

    @property
    def height(self) -> int:
        """Rows."""
        return max(1, round(int(self.base.shape[0]) * self.scale / self.base_scale))

    def cut(self, x: int, y: int, width: int, height: int) -> npt.NDArray[Any]:
        """Return a part (BGR, uint8)."""
        own = self.base[y : y + height, x : x + width]
        by = self.scale / self.base_scale
        part = own if by == 1 else _resampled(self.base, x, y, width, height, by)
        return part if self.gains is None else self._lit(part, x, y)

    def _lit(self, part: npt.NDArray[Any], x: int, y: int) -> npt.NDArray[Any]:
        """Multiply a part by the gains of its places, which change smoothly."""
        gains = self.gains
        assert gains is not None  # noqa: S101 - asked by `cut`
        height, width = part.shape[:2]
        matrix = np.array(
            [
                [gains.shape[1] / self.width, 0, (x + 0.5) * gains.shape[1] / self.width - 0.5],
                [0, gains.shape[0] / self.height, (y + 0.5) * gains.shape[0] / self.height - 0.5],
            ],
            np.float32,
        )
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        smooth = cv2.warpAffine(gains, matrix, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)
        return cv2.convertScaleAbs(part * smooth[:, :, None])


def pyramid(bgr: npt.NDArray[Any], *, scale: float, least_px: int) -> list[Level]:
    """Return levels at `scale`, half of it, and so on, down to a longest side of `least_px`, two at least."""
    levels: list[Level] = []
    longest = max(bgr.shape[:2])
    while len(levels) < 2 or longest * scale >= least_px:  # noqa: PLR2004 - said above
        if scale >= 1:
            levels.append(Level(bgr, 1.0, scale))
        else:
            source = levels[-1] if levels and levels[-1].scale < 1 else Level(bgr, 1.0, 1.0)
            smaller = _smaller(source.base, scale / source.scale)
            levels.append(Level(smaller, scale, scale))
        scale /= 2
    return levels


def _without_specks(dark: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Keep what is dark three blocks wide and high: no hair, no folds of a coat, which every photo has."""
    kernel = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.dilate(cv2.erode(dark.astype(np.uint8), kernel, borderValue=1), kernel) > 0)


def reduced(level: Level, by: float) -> Level:
    """Return a level at a somewhat smaller scale, not below half of it: between neighbours, which is quick."""
    size = max(1, round(level.width * by)), max(1, round(level.height * by))
    return Level(cv2.resize(level.base, size, interpolation=cv2.INTER_LINEAR), level.scale * by, level.scale * by)


def _smaller(base: npt.NDArray[Any], by: float) -> npt.NDArray[Any]:
    """Scale down by averaging; to a half exactly, in a tenth of the time: a last odd row or column is left out."""
    height, width = base.shape[:2]
    if by == 0.5 and min(height, width) > 1:  # noqa: PLR2004 - a half
        even = base[: height // 2 * 2, : width // 2 * 2]
        return cv2.resize(even, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    size = (max(1, round(width * by)), max(1, round(height * by)))
    return cv2.resize(base, size, interpolation=cv2.INTER_AREA)


def _resampled(
    base: npt.NDArray[Any], x: int, y: int, width: int, height: int, by: float
) -> npt.NDArray[Any]:  # fmt: skip
    """Enlarge a part between neighbours; a pixel of rim around it makes seams impossible."""
    left, top = max(0, math.floor(x / by) - 1), max(0, math.floor(y / by) - 1)
    right = min(base.shape[1], math.ceil((x + width) / by) + 2)
    bottom = min(base.shape[0], math.ceil((y + height) / by) + 2)
    matrix = np.array(
        [[1 / by, 0, (x + 0.5) / by - 0.5 - left], [0, 1 / by, (y + 0.5) / by - 0.5 - top]], np.float32
    )  # fmt: skip
    return cv2.warpAffine(
        base[top:bottom, left:right], matrix, (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip


def gains(level: Level) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Measure the light of a level in blocks of 32 pixels: by how much to turn it up, and where it is dark.

    A dark block that shows nothing at all does not count: black margins are none of ours. Nor do specks.
    """
    rows, columns = -(-level.height // _BLOCK_PX), -(-level.width // _BLOCK_PX)
    gray = cv2.cvtColor(level.base, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(gray, (columns * 4, rows * 4), interpolation=cv2.INTER_AREA).astype(np.float32)
    mean = cv2.resize(small, (columns, rows), interpolation=cv2.INTER_AREA)
    spread = np.sqrt(np.maximum(cv2.resize(small * small, (columns, rows), interpolation=cv2.INTER_AREA) - mean**2, 0))
    side = 2 * _AROUND_PX + 1
    shows = (spread >= _PLAIN).astype(np.float32)
    # The mean of the blocks that show something: a lit face beside a black margin is not dark.
    weight = cv2.boxFilter(shows, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    around = cv2.boxFilter(mean * shows, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    around /= np.maximum(weight, 1)
    dark = _without_specks((around < DARK) & (weight > 0)) & (shows > 0)
    gain = np.clip(_LIT / np.maximum(around, 1), 1, _MOST_GAIN).astype(np.float32)
    return gain, dark
