"""Face detectors behind one Protocol, one file each.

Owns the contract and the choice by spec. Importing it imports neither OpenCV nor numpy, so the parent may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, assert_never

from faceblurd.model import CenterfaceSpec, HaarSpec, YunetSpec

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.detectors.centerface import CenterfaceDetector
    from faceblurd.imaging.detectors.yunet import YunetDetector
    from faceblurd.model import DetectionSpec, DetectorSpec, Region


class Detector(Protocol):
    """Finds faces in one upright picture. Built once in each worker, never shared between threads."""

    @property
    def name(self) -> str:
        """The word that its regions carry as `found_by`."""

    def detect(self, bgr: npt.NDArray[Any]) -> list[Region]:
        """Return faces in pixels of `bgr` (HxWx3, uint8, contiguous), each inside the picture."""


def open_detectors(detection: DetectionSpec) -> list[Detector]:
    """Build the detectors of a recipe, in its order. Raises SetupError with the remedy.

    Networks without a threshold of their own are weighed together: they become one detector, in the first one's place.
    """
    weighed = [spec for spec in detection.detectors if not isinstance(spec, HaarSpec) and spec.score_threshold is None]
    opened: list[Detector] = []
    for spec in detection.detectors:
        if spec not in weighed:
            opened.append(open_detector(spec))
        elif spec is weighed[0]:
            from faceblurd.imaging.detectors.search import Search  # noqa: PLC0415 - OpenCV, only in workers

            opened.append(Search([_open_network(one) for one in weighed], detection))
    return opened


def open_detector(spec: DetectorSpec) -> Detector:
    """Build one detector by itself, ready to detect. Raises SetupError with the remedy."""
    if isinstance(spec, HaarSpec):
        from faceblurd.imaging.detectors.haar import HaarDetector  # noqa: PLC0415 - OpenCV, only in workers

        return HaarDetector(spec)
    return _open_network(spec)


def _open_network(spec: YunetSpec | CenterfaceSpec) -> YunetDetector | CenterfaceDetector:
    match spec:
        case YunetSpec():
            from faceblurd.imaging.detectors.yunet import YunetDetector  # noqa: PLC0415 - OpenCV, only in workers

            return YunetDetector(spec)
        case CenterfaceSpec():
            from faceblurd.imaging.detectors.centerface import CenterfaceDetector  # noqa: PLC0415 - as above

            return CenterfaceDetector(spec)
    assert_never(spec)
