"""Face detectors behind one Protocol.

Owns the contract and the choice by spec. Importing it imports neither OpenCV nor numpy, so the parent may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, assert_never

from faceblurd.model import HaarSpec, NetworksSpec

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.model import DetectionSpec, Region


_WARY: Final = 0.75


class Detector(Protocol):
    """Finds faces in one upright picture. Built once in each worker, never shared between threads.

    One with an attribute `whole` that is true is given the whole picture, others one of at most `working_size_px`.
    """

    @property
    def name(self) -> str:
        """The word that its regions carry as `found_by`."""

    def detect(self, bgr: npt.NDArray[Any]) -> list[Region]:
        """Return faces in pixels of `bgr` (HxWx3, uint8, contiguous), each inside the picture."""


def open_detectors(detection: DetectionSpec) -> list[Detector]:
    """Build the detectors of a recipe, in its order. Raises SetupError with the remedy."""
    return [_open(spec, detection) for spec in detection.detectors]


def open_glance(spec: HaarSpec | NetworksSpec, *, wary: bool = False) -> Detector:
    """Build what says by one look at a small picture whether there is a face. Raises SetupError with the remedy.

    `wary`: what is a little less likely counts as well, if it can be told.
    """
    match spec:
        case HaarSpec():
            from faceblurd.imaging.detect.haar import HaarDetector  # noqa: PLC0415 - OpenCV, only in workers

            return HaarDetector(spec)
        case NetworksSpec():
            from faceblurd.imaging.detect.yunet import LIKELY, Glance  # noqa: PLC0415 - as above

            return Glance(LIKELY * _WARY if wary else LIKELY)
    assert_never(spec)


def _open(spec: HaarSpec | NetworksSpec, detection: DetectionSpec) -> Detector:
    match spec:
        case HaarSpec():
            from faceblurd.imaging.detect.haar import HaarDetector  # noqa: PLC0415 - OpenCV, only in workers

            return HaarDetector(spec)
        case NetworksSpec():
            from faceblurd.imaging.detect.search import Search  # noqa: PLC0415 - as above

            return Search(spec, detection.sensitivity, turned=detection.turned)
    assert_never(spec)
