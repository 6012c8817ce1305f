"""The check of what plugins return, before anything trusts it.

Owns the shape of an answer only. Rubbish raises TypeError or ValueError here, and `plugins.host` says whose it was:
a box that hides nothing must not pass for 'no face'.
"""

from __future__ import annotations

from math import isfinite
from operator import index
from typing import TYPE_CHECKING, Any

from faceblurd.model import Region

if TYPE_CHECKING:
    from faceblurd.imaging.detectors import Detector


def checked_detectors(answer: object) -> list[Detector]:
    """Give what `open_detectors` returned; TypeError when it is no list of detectors."""
    detectors = _checked_list(answer)
    for detector in detectors:
        if not isinstance(getattr(detector, "name", None), str) or not callable(getattr(detector, "detect", None)):
            raise TypeError(f"{type(detector).__name__} is no detector: it needs a name and detect(bgr)")
    return detectors


def checked_regions(answer: object, shape: tuple[int, ...]) -> list[Region]:
    """Give what `add_regions` returned for a picture of `shape`; TypeError or ValueError when it hides nothing."""
    return [_checked_region(region, height=shape[0], width=shape[1]) for region in _checked_list(answer)]


def _checked_region(region: object, *, height: int, width: int) -> Region:
    """Give the region in plain numbers: numpy's would travel to the parent, which has no numpy."""
    if not isinstance(region, Region) or not isinstance(region.found_by, str):
        raise TypeError(f"{region!r} is no Region")
    x, y, box_width, box_height = (index(number) for number in (region.x, region.y, region.width, region.height))
    plain = Region(x, y, box_width, box_height, float(region.score), region.found_by)
    inside = plain.x < width and plain.y < height and plain.x + plain.width > 0 and plain.y + plain.height > 0
    if plain.width <= 0 or plain.height <= 0 or not inside or not isfinite(plain.score):
        raise ValueError(f"{plain} hides nothing of a picture of {width}x{height}")
    return plain


def _checked_list(answer: object) -> list[Any]:
    """Refuse None: a forgotten `return` would look like 'no faces'."""
    if not isinstance(answer, list | tuple):
        raise TypeError(f"it returned {type(answer).__name__}, not a list")
    return list(answer)
