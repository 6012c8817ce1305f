"""Search the result for the faces that were hidden in it: what a network still takes for a face can be hidden better.

Looks at the regions and their surroundings only (what was not found before is another question): all of them are laid
out on sheets, each as large as a network likes best, and a sheet is searched once. Nothing here decides whether a
file is safe: that a region holds its few numbers and no more is known before (`verification`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from faceblurd.imaging import geometry
from faceblurd.imaging.detect import open_glance
from faceblurd.model import BlurMethod, Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.detect import Detector
    from faceblurd.model import BlurSpec, DetectionSpec

LEAST_PX: Final = 32
"""Of a region's shorter side. The same few numbers on fewer pixels: a network that likes such a spot likes any."""

_SCORE: Final = 0.4
_SURROUNDINGS: Final = 1.0  # of the region's size, on each side: detectors want to see the head and the shoulders
_INSIDE: Final = 0.5  # a find counts as the hidden face from this share of its area inside the region
_CELL_PX: Final = 128  # a third of it is the region
_ACROSS: Final = 4
_SHEET_PX: Final = _CELL_PX * _ACROSS
_EMPTY: Final = 128


@dataclass(frozen=True, slots=True)
class _Cell:
    """Where a region lies on a sheet."""

    region: Region
    inside: Region


class SecondLook:
    """The detectors of a recipe, as they are set to look for what was hidden."""

    def __init__(self, detectors: Sequence[Detector]) -> None:
        """Keep what `open` made."""
        self._detectors = detectors

    @classmethod
    def open(cls, detection: DetectionSpec, others: Sequence[Detector]) -> SecondLook:
        """Open what tells at a glance, by the recipe; `others` (of plugins) join as they are. Raises SetupError."""
        return cls([*(open_glance(spec) for spec in detection.detectors), *others])

    @staticmethod
    def worth(regions: Sequence[Region], blur: BlurSpec) -> list[Region]:
        """Return those of these regions that could be hidden better, and are large enough to be taken for a face.

        One flat colour holds no face, whatever a network says of it.
        """
        if blur.allow_weak or blur.method is BlurMethod.SOLID:
            return []
        return [one for one in regions if not one.flat and min(one.width, one.height) >= LEAST_PX]

    def found_again(self, bgr: npt.NDArray[Any], areas: Sequence[tuple[Region, Region]]) -> list[Region]:
        """Return the regions in which a face is found. `areas`: each region, and where it lies in `bgr`, upright."""
        found: list[Region] = []
        for start in range(0, len(areas), _ACROSS * _ACROSS):
            sheet, cells = _laid_out(bgr, areas[start : start + _ACROSS * _ACROSS])
            finds = [find for detector in self._detectors for find in detector.detect(sheet)]
            found += [
                cell.region
                for cell in cells
                if any(geometry.covers_most(cell.inside, find, share=_INSIDE) for find in finds)
            ]
        return found


def _laid_out(bgr: npt.NDArray[Any], areas: Sequence[tuple[Region, Region]]) -> tuple[npt.NDArray[Any], list[_Cell]]:
    """Return a sheet of areas with their surroundings, side by side."""
    down = -(-len(areas) // _ACROSS)
    sheet = np.full((down * _CELL_PX, min(len(areas), _ACROSS) * _CELL_PX, 3), _EMPTY, np.uint8)
    cells = []
    for number, (region, area) in enumerate(areas):
        top, left = number // _ACROSS * _CELL_PX, number % _ACROSS * _CELL_PX
        around = geometry.clip(geometry.grow(area, _SURROUNDINGS), width=bgr.shape[1], height=bgr.shape[0])
        if around is None:
            continue
        by = _CELL_PX / max(around.width, around.height)
        size = (max(1, int(around.width * by)), max(1, int(around.height * by)))
        crop = bgr[around.y : around.y + around.height, around.x : around.x + around.width]
        way = cv2.INTER_AREA if by < 1 else cv2.INTER_LINEAR
        sheet[top : top + size[1], left : left + size[0]] = cv2.resize(crop, size, interpolation=way)
        inside = geometry.scale(replace(area, x=area.x - around.x, y=area.y - around.y), by_x=by, by_y=by)
        cells.append(_Cell(region, replace(inside, x=inside.x + left, y=inside.y + top)))
    return sheet, cells
