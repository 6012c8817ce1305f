"""Boxes and orientation: scale, grow, clip, and the two views of a photo (as stored, and upright).

Pure arithmetic on integers and numpy views; decodes nothing and copies no pixels.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from faceblurd.model import Region

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from faceblurd.model import Zone

# EXIF orientation -> (transpose first, then flip rows, then flip columns) that turns the stored picture upright.
_STEPS: dict[int, tuple[bool, bool, bool]] = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


_rest_of = attrgetter(*(field.name for field in fields(Region)[4:]))


def is_turned(orientation: int) -> bool:
    """Say whether width and height change places between the stored and the upright picture."""
    return _STEPS[orientation][0]


def upright_size(width: int, height: int, *, orientation: int) -> tuple[int, int]:
    """Return (width, height) of the upright picture from those of the stored one."""
    return (height, width) if is_turned(orientation) else (width, height)


def upright_view(array: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Return a view of stored pixels (HxW or HxWxC) as a person sees them; writing to it writes through."""
    transpose, flip_rows, flip_columns = _STEPS[orientation]
    view = array.swapaxes(0, 1) if transpose else array
    return view[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def stored_view(array: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Undo `upright_view`: only the two quarter turns differ from their inverse."""
    return upright_view(array, {6: 8, 8: 6}.get(orientation, orientation))


def to_stored(region: Region, *, orientation: int, width: int, height: int) -> Region:
    """Map a region of the upright picture to the stored one, whose size is `width` x `height`."""
    transpose, flip_rows, flip_columns = _STEPS[orientation]
    upright_width, upright_height = upright_size(width, height, orientation=orientation)
    x = upright_width - region.x - region.width if flip_columns else region.x
    y = upright_height - region.y - region.height if flip_rows else region.y
    if transpose:
        return placed(region, y, x, region.height, region.width)
    return placed(region, x, y, region.width, region.height)


def to_upright(region: Region, *, orientation: int, width: int, height: int) -> Region:
    """Map a region of the stored picture, whose size is `width` x `height`, to the upright one."""
    transpose, flip_rows, flip_columns = _STEPS[orientation]
    if transpose:
        region = replace(region, x=region.y, y=region.x, width=region.height, height=region.width)
    upright_width, upright_height = upright_size(width, height, orientation=orientation)
    x = upright_width - region.x - region.width if flip_columns else region.x
    y = upright_height - region.y - region.height if flip_rows else region.y
    return placed(region, x, y, region.width, region.height)


def turned_back(region: Region, *, quarters: int, width: int, height: int) -> Region:
    """Map a region of a picture that was turned counter-clockwise by quarters, and is now `width` x `height`, back."""
    for _ in range(quarters % 4):
        x, y = height - region.y - region.height, region.x
        region = replace(region, x=x, y=y, width=region.height, height=region.width)
        width, height = height, width
    return region


def mirrored(region: Region, *, width: int) -> Region:
    """Map a region of a mirrored picture of that width to the picture itself, or the other way."""
    return replace(region, x=width - region.x - region.width)


def covers_most(zone: Region, region: Region, *, share: float) -> bool:
    """Say whether at least `share` of the region lies inside the zone."""
    return _shared(zone, region) >= share * region.width * region.height


def merge(regions: Iterable[Region], *, overlap: float) -> list[Region]:
    """Unite regions of one face: whose intersection over union is at least `overlap`.

    Neighbours stay apart, however close: the box around them would hide what is between them. The better score and its
    finder are kept.
    """
    merged: list[Region] = []
    for region in regions:
        united = region
        while (same := _same(merged, united, overlap)) is not None:
            united = _around(merged.pop(same), united)
        merged.append(united)
    return merged


def _same(merged: Sequence[Region], region: Region, overlap: float) -> int | None:
    """Return the place of the first region that is the same face."""
    right = region.x + region.width
    for place, other in enumerate(merged):
        if other.x >= right or other.x + other.width <= region.x:  # nearly always, in a crowd of hundreds
            continue
        shared = _shared(other, region)
        if shared >= overlap * (other.width * other.height + region.width * region.height - shared):
            return place
    return None


def _around(one: Region, other: Region) -> Region:
    left, top = min(one.x, other.x), min(one.y, other.y)
    right = max(one.x + one.width, other.x + other.width)
    bottom = max(one.y + one.height, other.y + other.height)
    better = one if one.score >= other.score else other
    return replace(better, x=left, y=top, width=right - left, height=bottom - top)


def _shared(one: Region, other: Region) -> int:
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return max(0, width) * max(0, height)


def placed(region: Region, x: int, y: int, width: int, height: int) -> Region:
    """Return a region elsewhere: `replace` in a tenth of its time, which a crowd asks for ten thousand times."""
    return Region(x, y, width, height, *_rest_of(region))


def scale(region: Region, *, by_x: float, by_y: float) -> Region:
    """Map a region to another scale, rounding outward: what was covered stays covered."""
    left, top = math.floor(region.x * by_x), math.floor(region.y * by_y)
    right = math.ceil((region.x + region.width) * by_x)
    bottom = math.ceil((region.y + region.height) * by_y)
    return placed(region, left, top, right - left, bottom - top)


def grow(region: Region, margin: float) -> Region:
    """Add `margin` times the width and the height on each side, rounding outward."""
    add_x, add_y = math.ceil(region.width * margin), math.ceil(region.height * margin)
    width, height = region.width + 2 * add_x, region.height + 2 * add_y
    return placed(region, region.x - add_x, region.y - add_y, width, height)


def part(whole: Region, zone: Zone) -> Region | None:
    """Cut out the fraction of a region that a zone names, rounded outward; None when it is empty."""
    left, top = math.floor(whole.width * zone.x), math.floor(whole.height * zone.y)
    right, bottom = (math.ceil(whole.width * (zone.x + zone.width)), math.ceil(whole.height * (zone.y + zone.height)))
    cut = replace(whole, x=whole.x + left, y=whole.y + top, width=right - left, height=bottom - top)
    return clip(cut, width=whole.x + whole.width, height=whole.y + whole.height)


def clip(region: Region, *, width: int, height: int) -> Region | None:
    """Cut a region to the picture; None when nothing of it lies inside."""
    left, top = max(region.x, 0), max(region.y, 0)
    right, bottom = min(region.x + region.width, width), min(region.y + region.height, height)
    if right <= left or bottom <= top:
        return None
    return placed(region, left, top, right - left, bottom - top)
