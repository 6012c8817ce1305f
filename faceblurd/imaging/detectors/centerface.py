"""CenterFace (Xu et al., MIT licence): five times as dear as YuNet a pixel, and by far the better judge.

Owns how its outputs are read: for each cell of four pixels how likely a face's centre is, its size, and its offset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceblurd.imaging.detectors import weights
from faceblurd.imaging.detectors.runtime import opened

if TYPE_CHECKING:
    import numpy.typing as npt

_CELL: Final = 4
_OUTPUTS: Final = ("537", "538", "539")  # heat, size (height, width), offset (y, x); the landmarks are not asked for


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
