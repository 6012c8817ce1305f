"""Hide the strip that trail cameras print along the bottom, and leave folders named `public` alone.

Owns two decisions by the name of a folder. Imports nothing heavy: the daemon's main process imports this module too.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from faceblurd.model import Region
from faceblurd.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    import numpy.typing as npt

STAMPED_FOLDER = "trailcam"
PUBLIC_FOLDER = "public"
STRIP = 0.06
"""Height of the strip, as a part of the picture's: Reconyx and Bushnell print at most that."""


@hookimpl
def add_regions(image: npt.NDArray[Any], path: str) -> list[Region]:
    """Hide the whole strip at the bottom of a trail camera's picture."""
    if STAMPED_FOLDER not in PurePath(path).parts:
        return []
    height, width = image.shape[:2]
    strip = max(1, round(height * STRIP))
    return [Region(0, height - strip, width, strip, score=1.0, found_by="camera_stamp")]


@hookimpl
def skip_candidate(path: str) -> bool:
    """Leave alone what somebody put into a public folder by hand: consent was asked for."""
    return PUBLIC_FOLDER in PurePath(path).parts[:-1]
