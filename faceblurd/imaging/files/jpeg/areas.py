"""Where a region lies in a JPEG: which MCUs and blocks it covers, and which pixels change when they do.

Pure geometry on stored coordinates; sees no coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceblurd.imaging import geometry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faceblurd.imaging.files.jpeg.layout import Layout, Plane
    from faceblurd.model import Region

BLOCK = 8


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of MCUs; right and bottom are not part of it."""

    left: int
    top: int
    right: int
    bottom: int

    def meets(self, other: Area) -> bool:
        """Say whether two areas share an MCU."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def around(self, other: Area) -> Area:
        """Return the smallest area that holds both."""
        return Area(
            min(self.left, other.left), min(self.top, other.top),
            max(self.right, other.right), max(self.bottom, other.bottom),
        )  # fmt: skip


def touched(region: Region, layout: Layout) -> Area:
    """Return all MCUs that a stored region meets."""
    width, height = layout.mcu_width, layout.mcu_height
    right, bottom = math.ceil((region.x + region.width) / width), math.ceil((region.y + region.height) / height)
    return Area(region.x // width, region.y // height, min(right, layout.across), min(bottom, layout.down))


def changed(area: Area, region: Region, layout: Layout) -> Region:
    """Return the stored pixels that change with an area, as a region.

    Decoders smooth chroma of half the width or height across the border of an MCU, so one pixel beyond it changes, too.
    """
    across = int(len({plane.horizontal for plane in layout.planes}) > 1)
    down = int(len({plane.vertical for plane in layout.planes}) > 1)
    left, top = area.left * layout.mcu_width - across, area.top * layout.mcu_height - down
    right, bottom = area.right * layout.mcu_width + across, area.bottom * layout.mcu_height + down
    whole = geometry.placed(region, left, top, right - left, bottom - top)
    return geometry.clip(whole, width=layout.width, height=layout.height) or region


def clusters(areas: Iterable[Area]) -> list[tuple[Area, list[int]]]:
    """Group areas that share MCUs: the area around each group, and the places of its members in their order."""
    groups: list[tuple[Area, list[int]]] = []
    for place, area in enumerate(areas):
        groups = _joined(groups, area, [place])
    return [(area, sorted(members)) for area, members in groups]


def _joined(groups: list[tuple[Area, list[int]]], area: Area, members: list[int]) -> list[tuple[Area, list[int]]]:
    """Add an area, united with every group that it meets, and with those that the union meets."""
    for index, (other, others) in enumerate(groups):
        if other.meets(area):
            return _joined(groups[:index] + groups[index + 1 :], other.around(area), [*others, *members])
    return [*groups, (area, members)]


def widened(area: Area, layout: Layout) -> Area:
    """Add an MCU on each side where the picture goes on, so that a region is not taken for one at its edge."""
    right, bottom = min(area.right + 1, layout.across), min(area.bottom + 1, layout.down)
    return Area(max(area.left - 1, 0), max(area.top - 1, 0), right, bottom)


def in_plane(region: Region, plane: Plane, layout: Layout) -> Region:
    """Map a stored region to a component's samples, rounded outward."""
    by_x = plane.horizontal * BLOCK / layout.mcu_width
    by_y = plane.vertical * BLOCK / layout.mcu_height
    mapped = geometry.scale(region, by_x=by_x, by_y=by_y)
    return geometry.clip(mapped, width=plane.width, height=plane.height) or mapped
