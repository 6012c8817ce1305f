"""What a worker holds between files: opened detectors for each recipe, and plugins; and the way from bytes to bytes.

Lives in the worker only (imports cv2 and numpy). Reads and writes no files.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from faceblurd.errors import PluginError, SetupError
from faceblurd.imaging import geometry
from faceblurd.imaging.detect import open_detectors
from faceblurd.imaging.detect.find import find_faces
from faceblurd.imaging.figures import Look
from faceblurd.imaging.files import open_image
from faceblurd.imaging.files.jpeg import native
from faceblurd.imaging.metadata import Scrub
from faceblurd.imaging.redact.average_pool import average_pool, redact
from faceblurd.imaging.redact.thumbnail import redacted_thumbnail
from faceblurd.imaging.second_look import SecondLook
from faceblurd.imaging.verify import (
    examine,
    reopened,
    unlike,
    verify_clean,
)
from faceblurd.model import Verify
from faceblurd.plugins.host import PluginHost

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.detect import Detector
    from faceblurd.imaging.picture import Encoded, Picture
    from faceblurd.model import Recipe, Region

SAMPLE: Final = 8
"""One file in so many is looked at closely where `verify: sampled`."""

_ROUNDS: Final = 3  # as they were; those in doubt flat; and once more, for those that only then came into doubt


@dataclass(frozen=True, slots=True)
class Made:
    """A finished file: its bytes, and the regions in pixels as stored."""

    content: bytes
    regions: tuple[Region, ...]
    lossless: bool
    note: str


class Toolbox:
    """Everything that costs time to open."""

    def __init__(
        self, detectors: dict[str, list[Detector]], second_looks: dict[str, SecondLook], plugins: PluginHost
    ) -> None:
        """Keep what `open` made, by the digests of recipes."""
        self._detectors = detectors
        self._second_looks = second_looks
        self._plugins = plugins

    @classmethod
    def open(cls, recipes: Sequence[Recipe], plugins: Sequence[str]) -> Toolbox:
        """Open the detectors and engines of all recipes, and the plugins. Raises SetupError when one does not load."""
        cv2.setNumThreads(1)  # the pool is the parallelism: two workers on two cores gave 1.8 times one
        native.load()  # files are opened by name now or never
        host = PluginHost.load(plugins, on_error=_raise)
        detectors: dict[str, list[Detector]] = {}
        second_looks: dict[str, SecondLook] = {}
        for recipe in {recipe.digest: recipe for recipe in recipes}.values():
            others = host.open_detectors(recipe)
            detectors[recipe.digest] = [*open_detectors(recipe.detection), *others]
            second_looks[recipe.digest] = SecondLook.open(recipe.detection, others)
            if not detectors[recipe.digest]:
                raise SetupError(f"recipe {recipe.name} has no detector", remedy="Name one under detection.detectors")
            # Loads TensorFlow, if that is the engine, before the memory limit counts; SetupError when it is missing.
            average_pool(np.zeros((4, 4), np.uint8), pool_size_px=2, stride_px=1, engine=recipe.blur.engine)
        return cls(detectors, second_looks, host)

    def make(self, content: bytes, recipe: Recipe, *, name: str, copy_when_clean: bool) -> Made | None:
        """Give the file that may be shown instead of `content`; None when it may be shown as it is.

        None is for in place only: neither a face nor anything embedded was found.
        Raises ImageError when no safe file can be made, PluginError when a plugin's look failed.
        """
        picture = open_image(content, max_pixels=recipe.max_pixels)
        thorough = is_thorough(content, recipe.verify)
        regions = self.look(picture, recipe, name=name, foresee=thorough)
        if regions:
            return self._redacted(picture, regions, recipe, thorough=thorough)
        made = _scrubbed(picture, recipe, thorough=thorough)
        return made if copy_when_clean or made.content != content else None

    def look(self, picture: Picture, recipe: Recipe, *, name: str, foresee: bool = False) -> list[Region]:
        """Find what must be hidden, in upright full-size pixels, with the recipe's detectors and the plugins.

        With `foresee`, a region is flat already where the second look would ask for it.
        """
        others = [_PluginRegions(self._plugins, name)] if self._plugins.adds_regions else []
        foreseen = partial(self._second_looks[recipe.digest].foreseen, blur=recipe.blur) if foresee else None
        return find_faces(picture, [*self._detectors[recipe.digest], *others], recipe, foresee=foreseen)

    def _redacted(self, picture: Picture, regions: list[Region], recipe: Recipe, *, thorough: bool) -> Made:
        """Hide regions, and look at the result; what is in doubt there is hidden by one flat colour instead."""
        encoded = self._hidden(picture, regions, recipe, thorough=thorough)
        hidden = regions if encoded.regions is None else encoded.regions
        stored = tuple(_as_stored(region, picture) for region in hidden)
        return Made(encoded.data, stored, encoded.lossless, encoded.note)

    def _hidden(self, picture: Picture, regions: list[Region], recipe: Recipe, *, thorough: bool) -> Encoded:
        """Give a file in which no region is in doubt. Raises ImageError NOT_VERIFIED where there is none.

        Each round starts from the original. A region becomes flat once, and one flat colour holds no face: so the
        second look is asked once, and what the check itself doubts after that is more than a region.
        """
        scrub = _scrub(picture, regions, recipe)
        if not thorough:
            encoded = picture.redacted(regions, recipe.blur, scrub)
            reopened(encoded.data, picture, recipe.max_pixels)
            return encoded
        look: SecondLook | None = self._second_looks[recipe.digest]
        for _ in range(_ROUNDS):
            encoded = picture.redacted(regions, recipe.blur, scrub)
            examined = examine(
                encoded, picture=picture, regions=regions, blur=recipe.blur, max_pixels=recipe.max_pixels, look=look
            )
            doubted = {*examined.unlike, *examined.found}
            if not doubted:
                return encoded
            copies = not doubted <= set(regions)  # what shows a region once more
            regions = [replace(one, flat=True) if copies or one in doubted else one for one in regions]
            scrub, look = _scrub(picture, regions, recipe), None
        raise unlike(examined.unlike)


@dataclass(frozen=True, slots=True)
class _PluginRegions:
    """What plugins add for one file, seen as one more detector."""

    host: PluginHost
    path: str
    name: str = "plugins"

    def detect(self, bgr: npt.NDArray[np.uint8]) -> list[Region]:
        return self.host.add_regions(bgr, self.path)


def is_thorough(content: bytes, level: Verify) -> bool:
    """Say whether the result for this file is looked at closely; a sample is the same files at every try."""
    return level is Verify.FULL or (level is Verify.SAMPLED and zlib.crc32(content) % SAMPLE == 0)


def _as_stored(region: Region, picture: Picture) -> Region:
    width, height, orientation = picture.size_of(region.frame)
    return geometry.to_stored(region, orientation=orientation, width=width, height=height)


def _scrub(picture: Picture, regions: list[Region], recipe: Recipe) -> Scrub:
    return Scrub(recipe.metadata, redacted_thumbnail(picture, regions, recipe.blur), clean=not regions)


def _scrubbed(picture: Picture, recipe: Recipe, *, thorough: bool) -> Made:
    content = picture.scrubbed(_scrub(picture, [], recipe))
    if thorough:
        verify_clean(content, picture=picture, max_pixels=recipe.max_pixels)
    else:
        reopened(content, picture, recipe.max_pixels)
    return Made(content, (), lossless=True, note="")


def _raise(plugin: str, hook: str, error: BaseException) -> None:  # pragma: no cover - no listening hook is called here
    raise PluginError(f"plugin {plugin} failed in {hook}: {error}") from error


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
