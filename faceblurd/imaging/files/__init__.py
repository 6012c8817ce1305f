"""Bytes to pixels and back, one folder or file a family of formats, each with one entry: a `Picture`.

Chooses the format by content. What is cut or too large is refused by its headers, before anything is decoded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from faceblurd.errors import ImageError
from faceblurd.imaging.files.bmp import BmpPicture
from faceblurd.imaging.files.gif import GifPicture
from faceblurd.imaging.files.heif.avif import AvifPicture
from faceblurd.imaging.files.heif.heic import HeifPicture
from faceblurd.imaging.files.jpeg import JpegPicture
from faceblurd.imaging.files.png.animation import open_png
from faceblurd.imaging.files.tiff import TiffPicture
from faceblurd.imaging.files.tiff.raw import is_raw
from faceblurd.imaging.files.webp.animation import open_webp
from faceblurd.imaging.signatures import HEAD_BYTES, sniff
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from faceblurd.imaging.picture import Picture

_STRAY = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n\t ]{0,64}")
_LEAST_PIXELS = 65_536  # that each of many frames counts for, however small: to search one takes 10 to 30 ms
_OPENERS: Final[Mapping[str, Callable[[bytes], Picture]]] = {
    "jpeg": JpegPicture,
    "png": open_png,
    "webp": open_webp,
    "gif": GifPicture,
    "tiff": TiffPicture,
    "bmp": BmpPicture,
    "avif": AvifPicture,
    "heic": HeifPicture,
}


def open_image(data: bytes, *, max_pixels: int) -> Picture:
    """Open a file by its content. Raises ImageError: UNSUPPORTED, DAMAGED, INCOMPLETE or TOO_LARGE."""
    if not data.strip(b"\0"):
        raise ImageError(Reason.INCOMPLETE, "The file is empty or holds only zeros", retryable=True)
    data = _without_stray_bytes(data)
    found = sniff(data[:HEAD_BYTES])
    if found is None:
        raise ImageError(Reason.UNSUPPORTED, "The file is not an image")
    if found == "tiff" and is_raw(data):
        raise ImageError(Reason.UNSUPPORTED, "The file is a camera's raw photo (DNG, NEF, ARW...), not a plain TIFF")
    opener = _OPENERS.get(found)
    if opener is None:
        raise ImageError(Reason.UNSUPPORTED, f"The format {found} is not supported")
    picture = opener(data)
    if picture.width < 1 or picture.height < 1:
        raise ImageError(Reason.DAMAGED, f"The {found} header says {picture.width} x {picture.height} pixels")
    least = _LEAST_PIXELS if picture.frames > 1 else 0
    sizes = (picture.size_of(frame)[:2] for frame in range(picture.frames))
    if sum(max(width * height, least) for width, height in sizes) > max_pixels:
        frames = f" in {picture.frames} frames" if picture.frames > 1 else ""
        size = f"{picture.width} x {picture.height}{frames}"
        raise ImageError(Reason.TOO_LARGE, f"{size} pixels are more than workers.max_megapixels allows ({max_pixels})")
    return picture


def _without_stray_bytes(data: bytes) -> bytes:
    """Leave out what scripts print before a picture (a byte order mark, line ends): many programs skip it."""
    stray = _STRAY.match(data)
    bare = data[stray.end() :] if stray and stray.end() else data
    return bare if sniff(data[:HEAD_BYTES]) is None and sniff(bare[:HEAD_BYTES]) in known_formats() else data


def known_formats() -> frozenset[str]:
    """Return the names, as `sniff` gives them, of the formats that may be opened."""
    return frozenset(_OPENERS)
