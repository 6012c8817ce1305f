"""Find the faces of a picture with every detector of a recipe.

Owns the way between scales: detectors see an upright, scaled decode; regions come back in upright full-size pixels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from faceblurd.imaging import geometry
from faceblurd.model import Region

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.detectors import Detector
    from faceblurd.imaging.formats import Picture
    from faceblurd.model import Recipe, Zone

ALWAYS: Final = "always"
"""What a region carries as `found_by` that the config names."""

_INSIDE: Final = 0.9  # a find counts as lying in a `never` zone from this share of its area
_NEIGHBOURS: Final = 2  # frames before and after
_WASTE: Final = 0.15  # two boxes become one where the box around them is larger than both by no more than this


def find_faces(picture: Picture, detectors: Sequence[Detector], recipe: Recipe) -> list[Region]:
    """Return regions in upright full-size pixels, grown by the margin, clipped, and united if the recipe says so.

    The order is that of the detectors; the recipe's `always` zones come last, as they are. What is found in a frame of
    an animation is hidden in its neighbours too: a face does not leave for a twentieth of a second.
    """
    search = _Search(detectors)
    found = [_in_frame(picture, frame, search, recipe) for frame in range(picture.frames)]
    if picture.animated:
        found = [_with_neighbours(found, frame) for frame in range(picture.frames)]
    return [region for regions in found for region in regions]


def _with_neighbours(found: Sequence[Sequence[Region]], frame: int) -> list[Region]:
    """Give what is hidden in a frame: its own finds, and those of the frames around it."""
    around = found[max(0, frame - _NEIGHBOURS) : frame + _NEIGHBOURS + 1]
    return geometry.merge((replace(region, frame=frame) for regions in around for region in regions), waste=_WASTE)


def _in_frame(picture: Picture, frame: int, search: _Search, recipe: Recipe) -> list[Region]:
    """Search one page, or one frame of an animation."""
    width, height, orientation = picture.size_of(frame)
    width, height = geometry.upright_size(width, height, orientation=orientation)
    never = _areas(recipe.zones.never, width, height)
    looks = picture.looks(recipe.detection.working_size_px, frame) if search.detectors else ()
    found = [
        region
        for region in _scaled(looks, search, width=width, height=height)
        if not any(geometry.covers_most(zone, region, share=_INSIDE) for zone in never)
    ]
    grown = (geometry.grow(region, recipe.blur.margin) for region in found)
    clipped = [kept for region in grown if (kept := geometry.clip(region, width=width, height=height))]
    united = geometry.merge(clipped, waste=_WASTE) if recipe.detection.merge else clipped
    regions = [*united, *_areas(recipe.zones.always, width, height)]
    return [replace(region, frame=frame) for region in regions]


class _Search:
    """The detectors, and what they saw last: many frames of animations are the same as the one before."""

    def __init__(self, detectors: Sequence[Detector]) -> None:
        self.detectors = detectors
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
        return before if before is not None else [one for detector in self.detectors for one in detector.detect(bgr)]


def _scaled(looks: Sequence[npt.NDArray[np.uint8]], search: _Search, *, width: int, height: int) -> Iterable[Region]:
    """Search, and map what is found to full size."""
    for look, found in zip(looks, search(looks), strict=True):
        by_x, by_y = width / look.shape[1], height / look.shape[0]
        yield from (geometry.scale(region, by_x=by_x, by_y=by_y) for region in found)


def _areas(zones: Iterable[Zone], width: int, height: int) -> list[Region]:
    """Give zones in pixels, rounded outward."""
    unit = Region(x=0, y=0, width=width, height=height, score=1.0, found_by=ALWAYS)
    return [area for zone in zones if (area := geometry.part(unit, zone))]
