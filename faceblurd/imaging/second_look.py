"""Search the result for the faces that were hidden in it: what a network still takes for a face can be hidden better.

The same is asked before, of the regions as they will be, so that few results have to be made twice; what was made has
the last word.

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
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.model import BlurMethod, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.detect import Detector
    from faceblurd.model import BlurSpec, DetectionSpec

    _Hide = Callable[[npt.NDArray[Any], Region, float], None]

LEAST_PX: Final = 32
"""Of a region's shorter side. The same few numbers on fewer pixels: a network that likes such a spot likes any."""

_SCORE: Final = 0.4
_SURROUNDINGS: Final = 1.0  # of the region's size, on each side: detectors want to see the head and the shoulders
_INSIDE: Final = 0.5  # a find counts as the hidden face from this share of its area inside the region
_CELL_PX: Final = 128  # a third of it is the region
_ACROSS: Final = 4
_SHEET_PX: Final = _CELL_PX * _ACROSS
_EMPTY: Final = 128
_FORESEEN: Final = 2 * _ACROSS * _ACROSS  # the surest; a crowd costs more to paint so than to paint again
_FINE: Final = 3  # rows and columns of the picture for each of a cell


@dataclass(frozen=True, slots=True)
class _Cell:
    """Where a region lies on a sheet."""

    region: Region
    inside: Region


class SecondLook:
    """The detectors of a recipe, as they are set to look for what was hidden."""

    def __init__(self, detectors: Sequence[Detector], *, wary: Sequence[Detector] = ()) -> None:
        """Keep what `open` made; `wary`: what looks before, and sees a little more."""
        self._detectors, self._wary = detectors, wary

    @classmethod
    def open(cls, detection: DetectionSpec, others: Sequence[Detector]) -> SecondLook:
        """Open what tells at a glance, by the recipe; `others` (of plugins) join as they are. Raises SetupError."""
        wary = [open_glance(spec, wary=True) for spec in detection.detectors]
        return cls([*(open_glance(spec) for spec in detection.detectors), *others], wary=[*wary, *others])

    @staticmethod
    def worth(regions: Sequence[Region], blur: BlurSpec) -> list[Region]:
        """Return those of these regions that could be hidden better, and are large enough to be taken for a face.

        One flat colour holds no face, whatever a network says of it.
        """
        if blur.allow_weak or blur.method is BlurMethod.SOLID:
            return []
        return [one for one in regions if not one.flat and min(one.width, one.height) >= LEAST_PX]

    def foreseen(self, bgr: npt.NDArray[Any], regions: Sequence[Region], blur: BlurSpec) -> list[Region]:
        """Return regions of an upright picture, flat where a face would be found once they are hidden.

        Asked for the soft ellipse only, whose looks do not depend on the size at which it is painted. Of 25 regions
        that the second look finds in 108 results this names 20, and 11 more of 559: it is that much more wary.
        """
        worth = self.worth(regions, blur) if blur.method is BlurMethod.SOFT else []
        worth = worth[:_FORESEEN]

        def hide(cell: npt.NDArray[Any], around: Region, by: float) -> None:
            near = (_within(one, around) for one in regions if _meet(one, around))
            size = {"width": cell.shape[1], "height": cell.shape[0]}
            scaled = (geometry.clip(geometry.scale(one, by_x=by, by_y=by), **size) for one in near)
            redact(cell, [one for one in scaled if one], blur)

        doubted = set(self.found_again(bgr, [(one, one) for one in worth], hide=hide))
        return [replace(one, flat=True) if one in doubted else one for one in regions]

    def found_again(
        self, bgr: npt.NDArray[Any], areas: Sequence[tuple[Region, Region]], *, hide: _Hide | None = None
    ) -> list[Region]:  # fmt: skip
        """Return the regions in which a face is found. `areas`: each region, and where it lies in `bgr`, upright.

        With `hide`, after it was called with each small picture of a region, what that shows, and how much smaller.
        """
        found: list[Region] = []
        for start in range(0, len(areas), _ACROSS * _ACROSS):
            sheet, cells = _laid_out(bgr, areas[start : start + _ACROSS * _ACROSS], hide)
            finds = [find for one in (self._wary if hide else self._detectors) for find in one.detect(sheet)]
            found += [
                cell.region
                for cell in cells
                if any(geometry.covers_most(cell.inside, find, share=_INSIDE) for find in finds)
            ]
        return found


def _within(one: Region, around: Region) -> Region:
    return geometry.placed(one, one.x - around.x, one.y - around.y, one.width, one.height)


def _meet(one: Region, other: Region) -> bool:
    across = one.x < other.x + other.width and other.x < one.x + one.width
    return across and one.y < other.y + other.height and other.y < one.y + one.height


def _laid_out(
    bgr: npt.NDArray[Any], areas: Sequence[tuple[Region, Region]], hide: _Hide | None
) -> tuple[npt.NDArray[Any], list[_Cell]]:
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
        step = max(1, int(1 / (_FINE * by))) if hide else 1  # what is to be painted over anyway may be coarse
        crop = crop[::step, ::step]
        way = cv2.INTER_AREA if by < 1 else cv2.INTER_LINEAR
        cell = sheet[top : top + size[1], left : left + size[0]]
        cell[...] = cv2.resize(crop, size, interpolation=way)
        if hide:
            hide(cell, around, by)
        inside = geometry.scale(_within(area, around), by_x=by, by_y=by)
        cells.append(
            _Cell(region, geometry.placed(inside, inside.x + left, inside.y + top, inside.width, inside.height))
        )
    return sheet, cells
