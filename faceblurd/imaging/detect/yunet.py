"""YuNet (Wu et al., MIT licence): a fast network, sure of faces of 10 to 300 pixels.

Owns how its outputs are read: for each cell of 8, 16 and 32 pixels two scores, and a box around the cell.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from faceblurd.imaging.detect import weights
from faceblurd.imaging.detect.runtime import opened
from faceblurd.imaging.geometry import clip
from faceblurd.model import Region

if TYPE_CHECKING:
    import numpy.typing as npt

LIKELY = 0.4
"""What `Glance` takes for a face."""

_DOUBLE: Final = 0.3
_STRIDES: Final = (8, 16, 32)
_OUTPUTS: Final = tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox") for stride in _STRIDES)


class Yunet:
    """One opened network."""

    name = "yunet"

    def __init__(self) -> None:
        """Load it. Raises SetupError with the remedy."""
        self._network = opened(weights.YUNET, outputs=_OUTPUTS, red_first=False)

    def boxes(self, bgr: npt.NDArray[Any], *, floor: float) -> npt.NDArray[np.float32]:
        """Return rows (x, y, width, height, score) of what scores at `floor` or more, in pixels of `bgr`."""
        outputs, width = self._network.run(bgr)
        out = dict(zip(_OUTPUTS, outputs, strict=True))
        found = [
            _decoded(out[f"cls_{s}"], out[f"obj_{s}"], out[f"bbox_{s}"], stride=s, columns=width // s, floor=floor)
            for s in _STRIDES
        ]
        return np.vstack(found)


def _decoded(
    likely: npt.NDArray[Any], is_object: npt.NDArray[Any], box: npt.NDArray[Any], *,
    stride: int, columns: int, floor: float,
) -> npt.NDArray[np.float32]:  # fmt: skip
    """Read one stride: the score is the geometric mean of both, as `cv2.FaceDetectorYN` has it."""
    squared = (likely.clip(0, 1) * is_object.clip(0, 1)).reshape(-1)
    at = np.flatnonzero(squared >= floor * floor)
    shape = box.reshape(-1, 4)[at]
    cells = np.stack([at % columns, at // columns], axis=1)
    size = np.exp(shape[:, 2:]) * stride
    corner = (cells + shape[:, :2]) * stride - size / 2
    return np.hstack([corner, size, np.sqrt(squared[at])[:, None]]).astype(np.float32)


class Glance:
    """YuNet by itself, with one look at a picture as it is: what it is likelier than not to be."""

    name = "yunet"

    def __init__(self, least: float = LIKELY) -> None:
        """Load the network. Raises SetupError with the remedy."""
        self._network, self._least = Yunet(), least

    def detect(self, bgr: npt.NDArray[Any]) -> list[Region]:
        """Return what scores high enough, best first, doubles removed."""
        rows = self._network.boxes(np.ascontiguousarray(bgr), floor=self._least)
        kept = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, 4].tolist(), 0.0, _DOUBLE) if len(rows) else ()
        found = (_region(rows[int(index)]) for index in kept)
        return [one for one in (clip(region, width=bgr.shape[1], height=bgr.shape[0]) for region in found) if one]


def _region(row: npt.NDArray[np.float32]) -> Region:
    x, y, width, height, score = (float(value) for value in row)
    left, top = math.floor(x), math.floor(y)
    right, bottom = math.ceil(x + width), math.ceil(y + height)
    return Region(x=left, y=top, width=right - left, height=bottom - top, score=round(score, 4), found_by="yunet")
