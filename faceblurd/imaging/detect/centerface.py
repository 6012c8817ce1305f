"""CenterFace (Xu et al., MIT licence): five times as dear as YuNet a pixel, and by far the better judge.

Owns how its outputs are read (for each cell of four pixels how likely a face's centre is, its size, its offset), and
its second opinion: finds in doubt are looked at once more, each alone, mirrored and at one size.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceblurd.imaging.detect import vote, weights
from faceblurd.imaging.detect.runtime import opened
from faceblurd.imaging.detect.tiles import Piece, in_picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.detect.pyramid import Level

    Finds = npt.NDArray[np.float32]

_CELL: Final = 4
_OUTPUTS: Final = ("537", "538", "539")  # heat, size (height, width), offset (y, x); the landmarks are not asked for
_SHOWN_PX: Final = 48  # the longer side of the find in the picture of it
_SIDE_PX: Final = 160  # of that picture
_HEARD: Final = 0.03
_CUT: Final = 0.1  # a find that is nearer to the edge of the photo, in its own sizes, may be half a face
_SAME: Final = 0.2  # overlap (intersection over union) from which the find was meant: it may have been a loose one


class Centerface:
    """One opened network."""

    name = "centerface"

    def __init__(self) -> None:
        """Load it. Raises SetupError with the remedy."""
        self._network = opened(weights.CENTERFACE, outputs=_OUTPUTS, red_first=True)

    def boxes(self, bgr: npt.NDArray[Any], *, floor: float) -> npt.NDArray[np.float32]:
        """Return rows (x, y, width, height, score) of what scores at `floor` or more, in pixels of `bgr`."""
        (heat, size, offset), _ = self._network.run(bgr)
        rows, columns = np.nonzero(heat[0, 0] >= floor)
        height, width = np.exp(size[0, :, rows, columns]).T * _CELL
        down, right = offset[0, :, rows, columns].T
        left = (columns + right + 0.5) * _CELL - width / 2
        top = (rows + down + 0.5) * _CELL - height / 2
        return np.stack([left, top, width, height, heat[0, 0, rows, columns]], axis=1).astype(np.float32)


def opinions(
    centerface: Centerface, doubtful: Finds, ladder: Sequence[Level], light: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:  # fmt: skip
    """Return CenterFace's new score of each find, 0 where it sees nothing there, NaN where it is not asked.

    The first level is made of the photo itself, the others are smaller.
    """
    scores = [np.nan if _is_cut(find, ladder[0]) else _opinion(centerface, find, ladder, light) for find in doubtful]
    return np.array(scores, np.float64)


def _is_cut(find: npt.NDArray[np.float32], photo: Level) -> bool:
    height, width = photo.base.shape[:2]
    x, y, across, down = find[:4].tolist()
    near_x, near_y = _CUT * across, _CUT * down
    return bool(x < near_x or y < near_y or x + across > width - near_x or y + down > height - near_y)


def _opinion(
    centerface: Centerface, find: npt.NDArray[np.float32], ladder: Sequence[Level], light: npt.NDArray[np.float32]
) -> float:  # fmt: skip
    piece = _around(find, ladder, light)
    boxes = centerface.boxes(np.ascontiguousarray(piece.pixels()[:, ::-1]), floor=_HEARD)
    boxes[:, 0] = piece.seen[0] - boxes[:, 0] - boxes[:, 2]
    found = in_picture(boxes, piece)
    meant = vote.overlaps(found, find) >= _SAME
    return float(found[meant, vote.SCORE].max(initial=0.0))


def _around(find: npt.NDArray[np.float32], ladder: Sequence[Level], light: npt.NDArray[np.float32]) -> Piece:
    """Cut out a find with its surroundings, as it was seen: turned, and lit; near the edge it is not in the middle."""
    scale = _SHOWN_PX / max(1.0, float(find[2:4].max()))
    large = [level for level in ladder if level.base_scale >= scale]
    shown = replace(large[-1] if large else ladder[0], scale=scale, gains=light if find[vote.LIT] else None)
    width, height = min(_SIDE_PX, shown.width), min(_SIDE_PX, shown.height)
    middle = (find[:2] + find[2:4] / 2) * scale
    x = int(np.clip(round(float(middle[0]) - width / 2), 0, shown.width - width))
    y = int(np.clip(round(float(middle[1]) - height / 2), 0, shown.height - height))
    everywhere = (-np.inf, -np.inf, np.inf, np.inf)
    return Piece(shown, x, y, width, height, everywhere, int(find[vote.QUARTERS]))
