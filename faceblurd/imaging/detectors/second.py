"""A second opinion on finds that are in doubt: CenterFace once more, on a mirrored picture of each alone.

Every find is shown at one size, whatever its own. What is no face seldom looks like one from both sides and at two
sizes, which a face does. What the frame cuts is left alone: half a face looks like one by luck.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from faceblurd.imaging.detectors import vote
from faceblurd.imaging.detectors.pieces import Piece, in_picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.detectors.centerface import Centerface
    from faceblurd.imaging.detectors.levels import Level

    Finds = npt.NDArray[np.float32]

_SHOWN_PX: Final = 48  # the longer side of the find in the picture of it
_SIDE_PX: Final = 160  # of that picture
_HEARD: Final = 0.03
_CUT: Final = 0.1  # a find that is nearer to the edge of the photo, in its own sizes, may be half a face
_SAME: Final = 0.2  # overlap (intersection over union) from which the find was meant: it may have been a loose one


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
