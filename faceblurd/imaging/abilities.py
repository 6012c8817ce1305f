"""What this installation can do with each format: found out by doing it, on small pictures made for the purpose."""

from __future__ import annotations

import io
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from PIL import Image, features

from faceblurd.errors import ImageError
from faceblurd.imaging.files import known_formats, open_image
from faceblurd.imaging.files.codecs import decoding
from faceblurd.imaging.files.heif import heic
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.signatures import names
from faceblurd.imaging.verify import verify
from faceblurd.model import BlurSpec, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SIDE_PX: Final = 64
_FRAMES: Final = 3
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
    "heic": _Need(heic.available, "pillow-heif", heic.REMEDY),
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


def noise(channels: int = 3, *, seed: int = 1) -> Image.Image:
    """Return a picture of coarse coloured noise, of 3 or 4 channels."""
    small = np.random.default_rng(seed).integers(0, 256, (SIDE_PX // 4, SIDE_PX // 4, channels), dtype=np.uint8)
    return Image.fromarray(np.kron(small, np.ones((4, 4, 1), np.uint8)))


def _saved(kind: str, mode: str = "RGB", **options: Any) -> bytes:  # noqa: ANN401 - as Pillow takes them
    out = io.BytesIO()
    with decoding(kind):
        image = noise(4) if mode == "RGBA" else noise().convert(mode)
        image.save(out, kind, **options)
    return out.getvalue()


def _several(kind: str, **options: Any) -> bytes:  # noqa: ANN401 - same
    out = io.BytesIO()
    with decoding(kind):
        pages = [noise(seed=number) for number in range(_FRAMES)]
        pages[0].save(out, kind, save_all=True, append_images=pages[1:], **options)
    return out.getvalue()


def _deep(extension: str, channels: int = 3) -> bytes:
    """Return a file of 16 bits, or with channels that Pillow does not write."""
    pixels = np.asarray(noise(channels)).astype(np.uint16) * 257
    return bytes(cv2.imencode(extension, pixels)[1])


def _alpha_bmp() -> bytes:
    return bytes(cv2.imencode(".bmp", np.asarray(noise(4)))[1])


def _gray16() -> bytes:
    return bytes(cv2.imencode(".tiff", np.asarray(noise().convert("L")).astype(np.uint16) * 257)[1])


def _avif10() -> bytes:
    pixels = np.asarray(noise()).astype(np.uint16) * 4
    return bytes(cv2.imencode(".avif", pixels, [cv2.IMWRITE_AVIF_DEPTH, 10])[1])


SAMPLES: Final[Mapping[str, Mapping[str, Callable[[], bytes]]]] = {
    "jpeg": {
        "colour": partial(_saved, "JPEG"),
        "gray": partial(_saved, "JPEG", "L"),
        "CMYK": partial(_saved, "JPEG", "CMYK"),
        "progressive": partial(_saved, "JPEG", progressive=True),
    },
    "png": {
        "colour": partial(_saved, "PNG"),
        "gray": partial(_saved, "PNG", "L"),
        "alpha": partial(_saved, "PNG", "RGBA"),
        "palette": partial(_saved, "PNG", "P"),
        "1 bit": partial(_saved, "PNG", "1"),
        "16 bit": partial(_deep, ".png"),
        "animated": partial(_several, "PNG"),
    },
    "webp": {
        "lossless": partial(_saved, "WEBP", lossless=True),
        "lossy": partial(_saved, "WEBP"),
        "alpha": partial(_saved, "WEBP", "RGBA"),
        "animated": partial(_several, "WEBP"),
    },
    "tiff": {
        "colour": partial(_saved, "TIFF"),
        "gray": partial(_saved, "TIFF", "L"),
        "alpha": partial(_saved, "TIFF", "RGBA"),
        "CMYK": partial(_saved, "TIFF", "CMYK"),
        "palette": partial(_saved, "TIFF", "P"),
        "1 bit": partial(_saved, "TIFF", "1"),
        "LZW": partial(_saved, "TIFF", compression="tiff_lzw"),
        "JPEG inside": partial(_saved, "TIFF", compression="jpeg"),
        "16-bit gray": _gray16,
        "16 bit": partial(_deep, ".tiff"),
        "pages": partial(_several, "TIFF"),
    },
    "bmp": {
        "colour": partial(_saved, "BMP"),
        "gray": partial(_saved, "BMP", "L"),
        "alpha": _alpha_bmp,
        "palette": partial(_saved, "BMP", "P"),
        "1 bit": partial(_saved, "BMP", "1"),
    },
    "gif": {"still": partial(_saved, "GIF", "P"), "animated": partial(_several, "GIF")},
    "avif": {
        "colour": partial(_saved, "AVIF"),
        "gray": partial(_saved, "AVIF", "L", subsampling="4:0:0"),
        "alpha": partial(_saved, "AVIF", "RGBA"),
        "10 bit": _avif10,
        "animated": partial(_several, "AVIF"),
    },
    "heic": {
        "colour": partial(heic.encoded, noise()),
        "gray": partial(heic.encoded, noise().convert("L")),
        "alpha": partial(heic.encoded, noise(4)),
        "10 bit": partial(heic.encoded, noise(), bits=10),
    },
}
"""For each format what kinds of it to try."""
