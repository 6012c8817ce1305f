"""Find the faces of a picture with every detector of a recipe.

Owns the way between scales: detectors see an upright decode, whole or scaled down as each likes; regions come back in
upright full-size pixels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from faceblurd.imaging import geometry
from faceblurd.imaging.files.codecs import shrink
from faceblurd.model import ALWAYS, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.detect import Detector
    from faceblurd.imaging.picture import Picture
    from faceblurd.model import Recipe, Zone

    _Foresee = Callable[[npt.NDArray[np.uint8], Sequence[Region]], list[Region]]

_INSIDE: Final = 0.9  # a find counts as lying in a `never` zone from this share of its area
_NEIGHBOURS: Final = 2  # frames before and after
_SAME: Final = 0.5  # two boxes are of one face from this overlap (intersection over union); neighbours have 0.3 at most


def find_faces(
    picture: Picture, detectors: Sequence[Detector], recipe: Recipe, *, foresee: _Foresee | None = None
) -> list[Region]:
    """Return regions in upright full-size pixels, grown by the margin and clipped; one a face, if the recipe says so.

    The order is that of the detectors; the recipe's `always` zones come last, as they are. What is found in a frame of
    an animation is hidden in its neighbours too: a face does not leave for a twentieth of a second. With `foresee`,
    what that makes of the regions of a frame, shown the frame: all of its pixels are at hand only here.
    """
    search = _Search(detectors, recipe.detection.working_size_px)
    found = [_in_frame(picture, frame, search, recipe, foresee) for frame in range(picture.frames)]
    if picture.animated:
        found = [_with_neighbours(found, frame) for frame in range(picture.frames)]
    return [region for regions in found for region in regions]


def _with_neighbours(found: Sequence[Sequence[Region]], frame: int) -> list[Region]:
    """Give what is hidden in a frame: its own finds, and those of the frames around it."""
    around = found[max(0, frame - _NEIGHBOURS) : frame + _NEIGHBOURS + 1]
    return geometry.merge((replace(region, frame=frame) for regions in around for region in regions), overlap=_SAME)


def _in_frame(picture: Picture, frame: int, search: _Search, recipe: Recipe, foresee: _Foresee | None) -> list[Region]:
    """Search one page, or one frame of an animation."""
    width, height, orientation = picture.size_of(frame)
    width, height = geometry.upright_size(width, height, orientation=orientation)
    never = _areas(recipe.zones.never, width, height)
    looks = picture.looks(search.longest_px, frame) if search.detectors else ()
    found = [
        region
        for region in _scaled(looks, search, width=width, height=height)
        if not any(geometry.covers_most(zone, region, share=_INSIDE) for zone in never)
    ]
    grown = (geometry.grow(region, recipe.blur.margin) for region in found)
    clipped = [kept for region in grown if (kept := geometry.clip(region, width=width, height=height))]
    distinct = geometry.merge(clipped, overlap=_SAME) if recipe.detection.merge else clipped
    regions = [*distinct, *_areas(recipe.zones.always, width, height)]
    if foresee and looks and looks[0].shape[:2] == (height, width):
        regions = foresee(looks[0], regions)
    return [replace(region, frame=frame) for region in regions]


class _Search:
    """The detectors, and what they saw last: many frames of animations are the same as the one before."""

    def __init__(self, detectors: Sequence[Detector], working_size_px: int | None) -> None:
        self.detectors, self._working_size_px = detectors, working_size_px
        self.longest_px = None if any(_sees_all(detector) for detector in detectors) else working_size_px
        self._last: list[tuple[npt.NDArray[np.uint8], list[Region]]] = []

    def __call__(self, looks: Sequence[npt.NDArray[np.uint8]]) -> list[list[Region]]:
        """Return what is found in each look of a frame."""
        known = self._last
        self._last = [(bgr, self._searched(bgr, known)) for bgr in looks]
        return [found for _, found in self._last]

    def _searched(
        self, bgr: npt.NDArray[np.uint8], known: Sequence[tuple[npt.NDArray[np.uint8], list[Region]]]
    ) -> list[Region]:
        again = (found for seen, found in known if np.array_equal(seen, bgr))
        before = next(again, None)
        if before is not None:
            return before
        return [region for detector in self.detectors for region in self._detected(bgr, detector)]

    def _detected(self, bgr: npt.NDArray[np.uint8], detector: Detector) -> Iterable[Region]:
        """Give a detector the whole picture, or as much of it as the recipe says."""
        if _sees_all(detector):
            return detector.detect(bgr)
        small = shrink(bgr, self._working_size_px)
        by_x, by_y = bgr.shape[1] / small.shape[1], bgr.shape[0] / small.shape[0]
        return (geometry.scale(region, by_x=by_x, by_y=by_y) for region in detector.detect(small))


def _sees_all(detector: Detector) -> bool:
    """Say whether a detector is given the whole picture; a plugin's need not know of that."""
    return bool(getattr(detector, "whole", False))


def _scaled(looks: Sequence[npt.NDArray[np.uint8]], search: _Search, *, width: int, height: int) -> Iterable[Region]:
    """Search, and map what is found to full size."""
    for look, found in zip(looks, search(looks), strict=True):
        by_x, by_y = width / look.shape[1], height / look.shape[0]
        yield from (geometry.scale(region, by_x=by_x, by_y=by_y) for region in found)


def _areas(zones: Iterable[Zone], width: int, height: int) -> list[Region]:
    """Give zones in pixels, rounded outward."""
    unit = Region(x=0, y=0, width=width, height=height, score=1.0, found_by=ALWAYS)
    return [area for zone in zones if (area := geometry.part(unit, zone))]
