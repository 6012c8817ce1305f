"""Haar cascades: `cv2.CascadeClassifier` over a gray picture.

Resolving a cascade's name imports no OpenCV (the parent checks configs); a cascade is loaded in a worker or in
`python -m faceblurd.imaging.detect.haar CASCADE`, which exits 1 with a message when it does not load.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceblurd.errors import SetupError
from faceblurd.imaging.geometry import clip, mirrored
from faceblurd.model import HaarSpec, Region

if TYPE_CHECKING:
    import cv2
    import numpy.typing as npt

_REMEDY = "Name a cascade that OpenCV ships (haarcascade_frontalface_default.xml) or give the path of an XML file"


def cascade_path(cascade: str) -> Path:
    """Return the file of a cascade, by name (shipped with OpenCV) or by path. Raises SetupError when there is none."""
    path = Path(cascade)
    if path.name == cascade:
        spec = importlib.util.find_spec("cv2")
        folders = (spec.submodule_search_locations or []) if spec else []
        path = next((found for folder in folders if (found := Path(folder) / "data" / cascade).is_file()), path)
    if not path.is_file():
        raise SetupError(f"There is no cascade {cascade!r}", remedy=_REMEDY)
    return path


def load(cascade: str) -> cv2.CascadeClassifier:
    """Load a cascade. Raises SetupError, where OpenCV answers with an empty classifier or an error of its own."""
    import cv2  # noqa: PLC0415 - the parent resolves names through this module without loading OpenCV

    path = cascade_path(cascade)
    try:
        classifier = cv2.CascadeClassifier(str(path))
    except (cv2.error, SystemError) as error:
        raise SetupError(f"OpenCV does not load the cascade {cascade!r}", remedy=_REMEDY) from error
    if classifier.empty():
        raise SetupError(f"OpenCV does not load the cascade {cascade!r}", remedy=_REMEDY)
    return classifier


class HaarDetector:
    """One cascade with its parameters."""

    def __init__(self, spec: HaarSpec) -> None:
        """Load the cascade; a classifier cannot be pickled, so each worker loads its own."""
        self.name = f"haar:{Path(spec.cascade).stem}"
        self._spec = spec
        self._classifier = load(spec.cascade)

    def detect(self, bgr: npt.NDArray[Any]) -> list[Region]:
        """Return faces in the order in which OpenCV gives them; the score is the number of agreeing windows."""
        import cv2  # noqa: PLC0415 - loaded already

        height, width = bgr.shape[:2]
        least_width, least_height = self._classifier.getOriginalWindowSize()
        if width < least_width or height < least_height:
            return []
        gray = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
        found = self._search(gray)
        if self._spec.mirrored:
            found += [mirrored(region, width=width) for region in self._search(cv2.flip(gray, 1))]
        return [kept for region in found if (kept := clip(region, width=width, height=height))]

    def _search(self, gray: npt.NDArray[Any]) -> list[Region]:
        spec = self._spec
        boxes, votes = self._classifier.detectMultiScale2(
            gray,
            scaleFactor=spec.scale_factor,
            minNeighbors=spec.min_neighbors,
            minSize=(spec.min_size_px, spec.min_size_px),
            maxSize=(spec.max_size_px, spec.max_size_px),
        )
        return [self._region(box, vote) for box, vote in zip(boxes, votes, strict=True)]

    def _region(self, box: Any, vote: Any) -> Region:  # noqa: ANN401 - OpenCV's stubs are loose here
        """Turn OpenCV's numbers into a region."""
        x, y, width, height = (int(value) for value in box)
        return Region(x=x, y=y, width=width, height=height, score=float(vote), found_by=self.name)


def main(arguments: list[str]) -> int:
    """Load the cascade named on the command line, for the check of a config in a process of its own."""
    try:
        load(arguments[0] if arguments else "")
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
