"""Search the result for the faces that were hidden in it: a blurred face that a detector still finds is not hidden.

Looks around the regions only (what was not found before is another question), with one small pass of each network,
where a face is as large as it likes best, any way up. That costs about a tenth of the first search for each face.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from faceblurd.imaging import geometry
from faceblurd.imaging.detectors import open_glance
from faceblurd.imaging.formats.codecs import shrink

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.detectors import Detector
    from faceblurd.imaging.formats import Picture
    from faceblurd.model import DetectionSpec, Region

_SCORE: Final = 0.4
_SURROUNDINGS: Final = 1.0  # of the region's size, on each side: detectors want to see the head and the shoulders
_LEAST_PX: Final = 96
_INSIDE: Final = 0.5  # a find counts as the hidden face from this share of its area inside the region
_UPRIGHT_PX: Final = 320  # the longest side that is searched; a third of it is the region
_MOST_THUMBNAILS: Final = 32
_TURNED_PX: Final = 160  # three more ways up then cost as much as upright


class SecondLook:
    """The detectors of a recipe, as they are set to look for what was hidden."""

    def __init__(self, detectors: Sequence[Detector], *, any_way_up: bool) -> None:
        """Keep what `open` made."""
        self._detectors = detectors
        self._ways_up = range(4 if any_way_up else 1)

    @classmethod
    def open(cls, detection: DetectionSpec, others: Sequence[Detector]) -> SecondLook:
        """Open the recipe's networks anew; `others` (of plugins) join as they are. Raises SetupError."""
        networks = [open_glance(spec) for spec in detection.detectors]
        return cls([*networks, *others], any_way_up=detection.turned)

    def found_again(self, result: Picture, regions: Sequence[Region], *, longest_px: int | None) -> list[Region]:
        """Return those of these upright regions that still show a face."""
        return [
            region
            for frame in sorted({region.frame for region in regions})
            for region in self._in_frame(result, [one for one in regions if one.frame == frame], longest_px)
        ]

    def found_in_thumbnails(self, result: Picture, regions: Sequence[Region]) -> bool:
        """Say whether an embedded thumbnail shows a face where the picture had one, or cannot be looked at."""
        thumbnails = result.thumbnails()
        if len(thumbnails) > _MOST_THUMBNAILS:
            return True  # nobody has written so many for good, and each takes 20 ms
        for thumbnail in thumbnails:
            stored = cv2.imdecode(np.frombuffer(thumbnail, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
            if stored is None:
                return True
            upright = geometry.upright_view(stored, result.orientation)
            areas = [_in_thumbnail(region, upright, result) for region in regions if not region.frame]
            if any(self._shows(upright, area) for area in areas):
                return True
        return False

    def _in_frame(self, result: Picture, regions: Sequence[Region], longest_px: int | None) -> list[Region]:
        preview = result.preview(longest_px, regions[0].frame)
        width, height, orientation = result.size_of(regions[0].frame)
        width, height = geometry.upright_size(width, height, orientation=orientation)
        by_x, by_y = preview.shape[1] / width, preview.shape[0] / height
        return [one for one in regions if self._shows(preview, geometry.scale(one, by_x=by_x, by_y=by_y))]

    def _shows(self, bgr: npt.NDArray[Any], area: Region) -> bool:
        """Say whether an area of a picture shows a face."""
        around = geometry.clip(geometry.grow(area, _grown(area)), width=bgr.shape[1], height=bgr.shape[0])
        if around is None:
            return False
        crop = bgr[around.y : around.y + around.height, around.x : around.x + around.width]
        inside = replace(area, x=area.x - around.x, y=area.y - around.y)
        finds = (find for way_up in self._ways_up for find in self._finds(crop, way_up))
        return any(geometry.covers_most(inside, find, share=_INSIDE) for find in finds)

    def _finds(self, crop: npt.NDArray[Any], quarters: int) -> Iterator[Region]:
        """Search a crop that is turned by so many quarters; give the finds in the crop's own pixels."""
        small = shrink(crop, _TURNED_PX if quarters else _UPRIGHT_PX)
        turned = np.ascontiguousarray(np.rot90(small, quarters))
        height, width = turned.shape[:2]
        for find in (find for detector in self._detectors for find in detector.detect(turned)):
            back = geometry.turned_back(find, quarters=quarters, width=width, height=height)
            yield geometry.scale(back, by_x=crop.shape[1] / small.shape[1], by_y=crop.shape[0] / small.shape[0])


def _grown(region: Region) -> float:
    return max(_SURROUNDINGS, (_LEAST_PX / max(1, min(region.width, region.height)) - 1) / 2)


def _in_thumbnail(region: Region, thumbnail: npt.NDArray[Any], picture: Picture) -> Region:
    """Map a region to a thumbnail, which has black bars on two sides where its shape is another."""
    width, height = geometry.upright_size(picture.width, picture.height, orientation=picture.orientation)
    by = min(thumbnail.shape[1] / width, thumbnail.shape[0] / height)
    left, top = round((thumbnail.shape[1] - width * by) / 2), round((thumbnail.shape[0] - height * by) / 2)
    scaled = geometry.scale(region, by_x=by, by_y=by)
    return replace(scaled, x=scaled.x + left, y=scaled.y + top)
