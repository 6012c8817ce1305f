"""What this installation can do with each format, found out by trying it on small pictures."""

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
from faceblurd.imaging.files.codecs import decoding, encode_cv
from faceblurd.imaging.files.heif import heic
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.signatures import names
from faceblurd.imaging.verify import verify
from faceblurd.model import BlurSpec, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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


_CODECS = {"webp": "webp", "avif": "avif", "tiff": "libtiff"}  # that not every Pillow was built with


def abilities() -> list[Ability]:
    """Try every format; those that are known by name only come last."""
    held = sorted(names() - known_formats())
    return [*(_ability(name) for name in SAMPLES), *(Ability(name) for name in held)]


def _ability(name: str) -> Ability:
    if name == "heic" and not heic.available():
        return Ability(name, missing="pillow-heif", remedy=heic.REMEDY)
    if (codec := _CODECS.get(name)) and not features.check(codec):
        return Ability(name, missing=f"a Pillow with {codec}", remedy=_PILLOW)
    return Ability(name, tuple(_trial(kind, make) for kind, make in SAMPLES[name].items()))


def _trial(kind: str, make: Callable[[], bytes]) -> Trial:
    """Make a picture, hide a part of it, and verify the result."""
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


def noise(mode: str = "RGB", *, seed: int = 1) -> Image.Image:
    """Return a picture of coarse coloured noise."""
    shape = (SIDE_PX // 4, SIDE_PX // 4, 4 if mode == "RGBA" else 3)
    small = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    image = Image.fromarray(np.kron(small, np.ones((4, 4, 1), np.uint8)))
    return image if image.mode == mode else image.convert(mode)


def _saved(kind: str, mode: str = "RGB", **options: Any) -> bytes:  # noqa: ANN401 - as Pillow takes them
    out = io.BytesIO()
    with decoding(kind):
        noise(mode).save(out, kind, **options)
    return out.getvalue()


def _several(kind: str, **options: Any) -> bytes:  # noqa: ANN401 - same
    pages = [noise(seed=number) for number in range(_FRAMES)]
    out = io.BytesIO()
    with decoding(kind):
        pages[0].save(out, kind, save_all=True, append_images=pages[1:], **options)
    return out.getvalue()


def _by_opencv(extension: str, mode: str = "RGB", *, times: int = 1, settings: Sequence[int] = ()) -> bytes:
    """Return a file of a kind that Pillow does not write; `times` a level of 8 bits gives one of more bits."""
    pixels = np.asarray(noise(mode))
    deep = pixels if times == 1 else pixels.astype(np.uint16) * times
    return encode_cv(deep, extension, settings, what=extension)


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
        "16 bit": partial(_by_opencv, ".png", times=257),
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
        "16-bit gray": partial(_by_opencv, ".tiff", "L", times=257),
        "16 bit": partial(_by_opencv, ".tiff", times=257),
        "pages": partial(_several, "TIFF"),
    },
    "bmp": {
        "colour": partial(_saved, "BMP"),
        "gray": partial(_saved, "BMP", "L"),
        "alpha": partial(_by_opencv, ".bmp", "RGBA"),
        "palette": partial(_saved, "BMP", "P"),
        "1 bit": partial(_saved, "BMP", "1"),
    },
    "gif": {"still": partial(_saved, "GIF", "P"), "animated": partial(_several, "GIF")},
    "avif": {
        "colour": partial(_saved, "AVIF"),
        "gray": partial(_saved, "AVIF", "L", subsampling="4:0:0"),
        "alpha": partial(_saved, "AVIF", "RGBA"),
        "10 bit": partial(_by_opencv, ".avif", times=4, settings=(cv2.IMWRITE_AVIF_DEPTH, 10)),
        "animated": partial(_several, "AVIF"),
    },
    "heic": {
        "colour": partial(heic.encoded, noise()),
        "gray": partial(heic.encoded, noise("L")),
        "alpha": partial(heic.encoded, noise("RGBA")),
        "10 bit": partial(heic.encoded, noise(), bits=10),
    },
}
"""For each format what kinds of it to try."""
