"""One photo through a recipe without publishing anything: for `faceblurd preview`. Runs in the caller's process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from faceblurd.imaging.figure import Look
from faceblurd.imaging.formats import open_image
from faceblurd.imaging.redaction import redact
from faceblurd.workers.toolbox import Toolbox

if TYPE_CHECKING:
    from faceblurd.model import Recipe


def rehearse(content: bytes, recipe: Recipe, *, name: str) -> Look:
    """Find and hide the faces of a photo, and keep what it was beside what it became.

    Raises ImageError when the file cannot be opened, SetupError when the recipe does not load.
    """
    toolbox = Toolbox.open((recipe,), ())
    start = time.monotonic()
    picture = open_image(content, max_pixels=recipe.max_pixels)
    regions = toolbox.look(picture, recipe, name=name)
    before = picture.preview(None)
    after = np.ascontiguousarray(before.copy())
    redact(after, regions, recipe.blur)
    return Look(recipe.name, before, after, tuple(regions), round((time.monotonic() - start) * 1000))
