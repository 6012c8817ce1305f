"""One picture searched at several sizes: which sizes, and the way to them and back.

A pass is one run of a network. Boxes of all passes are floats in pixels of the picture that was given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from faceblurd.imaging.geometry import clip
from faceblurd.model import Region

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from faceblurd.model import CenterfaceSpec, YunetSpec

ENLARGED_PX = 1280
LEAST_PX = 10  # below this YuNet answers with infinite boxes; no face can be recognised in so few pixels


@dataclass(frozen=True, slots=True)
class Candidate:
    """What one pass of one network takes for a face."""

    x: float
    y: float
    width: float
    height: float
    score: float
    network: str
    pass_number: int

    def region(self, *, score: float, found_by: str) -> Region:
        """Round the box outward."""
        left, top = math.floor(self.x), math.floor(self.y)
        right, bottom = math.ceil(self.x + self.width), math.ceil(self.y + self.height)
        return Region(x=left, y=top, width=right - left, height=bottom - top, score=score, found_by=found_by)


def pass_sizes(
    width: int, height: int, *, passes_px: Iterable[int], max_upscale: float
) -> list[tuple[int, int]]:  # fmt: skip
    """Return the sizes to search, without doubles: a small picture is enlarged `max_upscale` times at most.

    Nothing is enlarged beyond 1280 pixels: that cost 0.4 more false positives a photo, and found no more faces;
    but one pass there always is.
    """
    longest = max(width, height)
    targets = sorted(passes_px)
    sensible = [target for target in targets if target <= max(longest, ENLARGED_PX)] or targets[:1]
    scales = (min(target / longest, max_upscale) for target in sensible)
    sizes = ((max(1, round(width * scale)), max(1, round(height * scale))) for scale in scales)
    return [size for size in dict.fromkeys(sizes) if min(size) >= LEAST_PX]


def sizes_for(
    bgr: npt.NDArray[Any], spec: YunetSpec | CenterfaceSpec, passes_px: Sequence[int] | None = None
) -> list[tuple[int, int]]:
    """Return the sizes at which a network searches a picture; `passes_px` instead of its own."""
    height, width = bgr.shape[:2]
    wanted = spec.passes_px if passes_px is None else passes_px
    return pass_sizes(width, height, passes_px=wanted, max_upscale=spec.max_upscale)


def resized(bgr: npt.NDArray[Any], width: int, height: int) -> npt.NDArray[Any]:
    """Scale by averaging down, or by interpolation up."""
    import cv2  # noqa: PLC0415 - the parent reads constants beside this without OpenCV

    if (width, height) == (bgr.shape[1], bgr.shape[0]):
        return bgr
    smaller = width < bgr.shape[1] or height < bgr.shape[0]
    return cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def best_regions(
    candidates: Sequence[Candidate], bgr: npt.NDArray[Any], spec: YunetSpec | CenterfaceSpec
) -> list[Region]:
    """Return what any single pass scored high enough, best first, without the doubles that several passes give."""
    import cv2  # noqa: PLC0415 - as above

    boxes = [(one.x, one.y, one.width, one.height) for one in candidates]
    kept = cv2.dnn.NMSBoxes(boxes, [one.score for one in candidates], 0.0, spec.nms_threshold) if boxes else ()
    found = (candidates[int(i)].region(score=candidates[int(i)].score, found_by=str(spec.kind)) for i in kept)
    clipped = (clip(region, width=bgr.shape[1], height=bgr.shape[0]) for region in found)
    return [region for region in clipped if region and is_wanted(region.width, region.height, spec)]


def is_wanted(width: float, height: float, spec: YunetSpec | CenterfaceSpec) -> bool:
    """Apply the bounds on the longer side."""
    size = max(width, height)
    return size >= spec.min_size_px and (not spec.max_size_px or size <= spec.max_size_px)
