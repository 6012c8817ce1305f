"""Search the result for the faces that were hidden in it: a blurred face that a detector still finds is not hidden.

Only around the regions, where that is less than the picture: what was not found before is another question.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from faceblurd.imaging import geometry
from faceblurd.model import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.formats import Picture

    Search = Callable[[npt.NDArray[Any]], list[Region]]

_SURROUNDINGS: Final = 1.0  # of the region's size, on each side: detectors want to see the head and the shoulders
_LEAST_PX: Final = 96
_WHOLE: Final = 0.5  # from this share of the picture on, one search of all of it costs less
_INSIDE: Final = 0.5  # a find counts as the hidden face from this share of its area inside the region


def found_again(result: Picture, regions: Sequence[Region], search: Search, *, longest_px: int | None) -> list[Region]:
    """Return those of these upright regions in which `search` (BGR, upright) still finds a face."""
    return [
        region
        for frame in sorted({region.frame for region in regions})
        for region in _in_frame(result, [one for one in regions if one.frame == frame], search, longest_px)
    ]


def _in_frame(result: Picture, regions: Sequence[Region], search: Search, longest_px: int | None) -> list[Region]:
    preview = result.preview(longest_px, regions[0].frame)
    width, height, orientation = result.size_of(regions[0].frame)
    width, height = geometry.upright_size(width, height, orientation=orientation)
    by_x, by_y = preview.shape[1] / width, preview.shape[0] / height
    small = [geometry.scale(region, by_x=by_x, by_y=by_y) for region in regions]
    finds = [find for crop in _crops(preview, small) for find in _searched(preview, crop, search)]
    return [
        region
        for region, area in zip(regions, small, strict=True)
        if any(geometry.covers_most(area, find, share=_INSIDE) for find in finds)
    ]


def found_in_thumbnails(result: Picture, regions: Sequence[Region], search: Search) -> bool:
    """Say whether an embedded thumbnail shows a face where the picture had one, or cannot be looked at."""
    for thumbnail in result.thumbnails():
        stored = cv2.imdecode(np.frombuffer(thumbnail, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if stored is None:
            return True
        upright = np.ascontiguousarray(geometry.upright_view(stored, result.orientation))
        areas = [_in_thumbnail(region, upright, result) for region in regions if not region.frame]
        if any(geometry.covers_most(area, find, share=_INSIDE) for find in search(upright) for area in areas):
            return True
    return False


def _in_thumbnail(region: Region, thumbnail: npt.NDArray[Any], picture: Picture) -> Region:
    """Map a region to a thumbnail, which has black bars on two sides where its shape is another."""
    width, height = geometry.upright_size(picture.width, picture.height, orientation=picture.orientation)
    by = min(thumbnail.shape[1] / width, thumbnail.shape[0] / height)
    left, top = round((thumbnail.shape[1] - width * by) / 2), round((thumbnail.shape[0] - height * by) / 2)
    scaled = geometry.scale(region, by_x=by, by_y=by)
    return replace(scaled, x=scaled.x + left, y=scaled.y + top)


def _crops(preview: npt.NDArray[Any], regions: Sequence[Region]) -> list[Region]:
    """Give what is to be searched: the surroundings of each region, or the whole picture."""
    height, width = preview.shape[:2]
    whole = Region(0, 0, width, height, 1.0, "")
    around = (geometry.grow(region, _grown(region)) for region in regions)
    crops = [cut for one in around if (cut := geometry.clip(one, width=width, height=height))]
    return crops if sum(one.width * one.height for one in crops) < _WHOLE * width * height else [whole]


def _grown(region: Region) -> float:
    return max(_SURROUNDINGS, (_LEAST_PX / max(1, min(region.width, region.height)) - 1) / 2)


def _searched(preview: npt.NDArray[Any], crop: Region, search: Search) -> Iterator[Region]:
    pixels = np.ascontiguousarray(preview[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width])
    for find in search(pixels):
        yield replace(find, x=find.x + crop.x, y=find.y + crop.y)
