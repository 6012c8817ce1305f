"""What this installation can do with each format: found out by doing it, on small pictures made for the purpose."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from PIL import features

from faceblurd.errors import ImageError
from faceblurd.imaging.formats import heif, known_formats, open_image
from faceblurd.imaging.formats.samples import SAMPLES, SIDE_PX
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.signatures import names
from faceblurd.imaging.verification import verify
from faceblurd.model import BlurSpec, Region

if TYPE_CHECKING:
    from collections.abc import Callable

_HIDDEN = Region(x=13, y=13, width=SIDE_PX // 2, height=SIDE_PX // 2, score=1.0, found_by="always")  # between blocks
_PILLOW = "pip install --only-binary=:all: 'pillow>=11.3'"


class Way(StrEnum):
    """How a picture is written again. `BLOCKS`: only the blocks that a region touches are coded anew."""

    BLOCKS = "blocks only"
    LOSSLESS = "lossless"
    ANEW = "re-encoded"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Trial:
    """One kind of a format. `bits`: of a channel; `detail`: what was said of it."""

    kind: str
    way: Way
    frames: int = 0
    bits: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Ability:
    """One format. `missing` and `remedy` are empty where everything is there."""

    format: str
    trials: tuple[Trial, ...] = ()
    missing: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class _Need:
    """What not every installation has."""

    is_there: Callable[[], bool | None]
    what: str
    remedy: str


_NEEDS = {
    "heic": _Need(heif.available, "pillow-heif", heif.REMEDY),
    **{
        name: _Need(partial(features.check, codec), f"a Pillow with {codec}", _PILLOW)
        for name, codec in (("webp", "webp"), ("avif", "avif"), ("tiff", "libtiff"))
    },
}


def abilities() -> list[Ability]:
    """Try every format, which takes about a second; those that are known by name only come last."""
    held = sorted(names() - known_formats())
    return [*(_ability(name) for name in SAMPLES), *(Ability(name) for name in held)]


def _ability(name: str) -> Ability:
    need = _NEEDS.get(name)
    if need and not need.is_there():
        return Ability(name, missing=need.what, remedy=need.remedy)
    return Ability(name, tuple(_trial(kind, make) for kind, make in SAMPLES[name].items()))


def _trial(kind: str, make: Callable[[], bytes]) -> Trial:
    """Make a picture, hide a part of it, and look at the result as before a publication."""
    try:
        picture = open_image(make(), max_pixels=1 << 20)
        frames, bits = picture.frames, int(getattr(picture, "depth", 8 * picture.pixels().itemsize))
        result = picture.redacted([_HIDDEN], BlurSpec(), BARE)
        verify(result, picture=picture, regions=[_HIDDEN], blur=BlurSpec(), max_pixels=1 << 20)
    except ImageError as error:
        return Trial(kind, Way.HELD, detail=error.message)
    grown = result.regions not in {None, (_HIDDEN,)}
    lossless = Way.BLOCKS if grown else Way.LOSSLESS
    return Trial(kind, lossless if result.lossless else Way.ANEW, frames, bits, result.note)
