"""CenterFace (Xu et al., MIT licence) through `cv2.dnn`: a heat map of face centres, a size for each.

OpenCV goes wrong when one net sees inputs of changing size (19 boxes, then 607), so every picture is letterboxed
onto a few sizes, and each size has a net of its own. Importing this module imports no OpenCV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faceblurd.errors import SetupError
from faceblurd.imaging.detectors import weights
from faceblurd.imaging.detectors.passes import Candidate, best_regions, resized, sizes_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    import cv2
    import numpy.typing as npt

    from faceblurd.model import CenterfaceSpec, Region

ALONE = 0.25  # what counts in one pass when nobody weighs
_OUTPUTS = ("537", "538", "539", "540")
_CELL = 4  # pixels of the input for one of the heat map
_STEP = 160  # inputs are rounded up to it: few sizes, few nets
_MOST_NETS = 4


class CenterfaceDetector:
    """One network, opened for each size of input."""

    name = "centerface"

    def __init__(self, spec: CenterfaceSpec) -> None:
        """Read the weights and try them once."""
        import cv2  # noqa: PLC0415 - this module's constants are read without OpenCV
        import numpy as np  # noqa: PLC0415 - as above

        self.spec = spec
        self._model = np.frombuffer(weights.read(weights.CENTERFACE, spec.model), dtype=np.uint8)
        self._nets: dict[tuple[int, int], cv2.dnn.Net] = {}
        self._threshold = ALONE if spec.score_threshold is None else spec.score_threshold
        try:
            cv2.dnn.readNetFromONNX(self._model)
        except cv2.error as error:
            raise SetupError("OpenCV does not load the CenterFace model", remedy="Check detection.model") from error

    def detect(self, bgr: npt.NDArray[Any]) -> list[Region]:
        """Return what any pass scored high enough, best first."""
        return best_regions(self.candidates(bgr, floor=self._threshold), bgr, self.spec)

    def candidates(
        self, bgr: npt.NDArray[Any], *, floor: float, passes_px: Sequence[int] | None = None
    ) -> list[Candidate]:
        """Return everything that any pass scores at `floor` or more, in pixels of `bgr`."""
        sizes = sizes_for(bgr, self.spec, passes_px)
        return [
            found for number, size in enumerate(sizes) for found in self._pass(bgr, *size, number=number, floor=floor)
        ]

    def _pass(self, bgr: npt.NDArray[Any], width: int, height: int, *, number: int, floor: float) -> list[Candidate]:
        """Search at one size; answer in pixels of `bgr`."""
        by_x, by_y = bgr.shape[1] / width, bgr.shape[0] / height
        return [
            Candidate(x * by_x, y * by_y, w * by_x, h * by_y, score, self.name, number)
            for x, y, w, h, score in self._boxes(resized(bgr, width, height), floor)
        ]

    def _boxes(self, picture: npt.NDArray[Any], floor: float) -> list[tuple[float, float, float, float, float]]:
        """Decode the network's four maps (heat, size, offset, landmarks) and drop doubles."""
        import cv2  # noqa: PLC0415 - loaded already
        import numpy as np  # noqa: PLC0415 - as above

        heat, size, offset, _ = self._forward(picture)
        rows, columns = np.where(heat[0, 0] >= floor)
        heights, widths = (np.exp(size[0, i, rows, columns]) * _CELL for i in (0, 1))
        left = (columns + offset[0, 1, rows, columns] + 0.5) * _CELL - widths / 2
        top = (rows + offset[0, 0, rows, columns] + 0.5) * _CELL - heights / 2
        boxes = np.stack([left, top, widths, heights], axis=1).astype(float)
        scores = heat[0, 0, rows, columns].astype(float)
        sound = np.isfinite(boxes).all(axis=1)
        boxes, scores = boxes[sound], scores[sound]
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), 0.0, self.spec.nms_threshold) if len(boxes) else ()
        return [(*(float(value) for value in boxes[int(i)]), float(scores[int(i)])) for i in kept]  # type: ignore[misc]  # four and one

    def _forward(self, picture: npt.NDArray[Any]) -> Any:  # noqa: ANN401 - OpenCV's stubs are loose here
        """Run the net of the picture's size on the picture, black to the right and below."""
        import cv2  # noqa: PLC0415 - loaded already

        height, width = picture.shape[:2]
        right, below = -width % _STEP, -height % _STEP
        net = self._net((width + right, height + below))
        padded = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT)
        net.setInput(cv2.dnn.blobFromImage(padded, swapRB=True))
        return net.forward(_OUTPUTS)

    def _net(self, size: tuple[int, int]) -> cv2.dnn.Net:
        """Return the net of one input size; the oldest makes room, since each holds its buffers (up to 100 MB)."""
        import cv2  # noqa: PLC0415 - loaded already

        if size not in self._nets:
            if len(self._nets) == _MOST_NETS:
                del self._nets[next(iter(self._nets))]
            self._nets[size] = cv2.dnn.readNetFromONNX(self._model)
        return self._nets[size]
