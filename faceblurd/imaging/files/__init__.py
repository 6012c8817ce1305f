"""Bytes to pixels and back, one file per family of formats.

Owns the contract `Picture` and the choice by content. A file is refused from its header and its container's lengths
before anything is decoded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from faceblurd.errors import ImageError
from faceblurd.imaging.files.tiff.raw import is_raw
from faceblurd.imaging.signatures import HEAD_BYTES, sniff
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.metadata import Scrub
    from faceblurd.imaging.redact.soft import Channels
    from faceblurd.model import BlurSpec, Region

_STRAY = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n\t ]{0,64}")
_LEAST_PIXELS = 65_536  # what even the smallest of many frames counts for: each is searched, for 10 to 30 ms

__all__ = ["Encoded", "Picture", "open_image", "sniff"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A result. `lossless`: every pixel outside the regions is as it was; `note`: what a person should know.

    `regions`: the upright boxes that really changed, None where they are those that were asked for.
    """

    data: bytes
    lossless: bool
    note: str = ""
    regions: tuple[Region, ...] | None = None


class Picture(Protocol):
    """A picture file, opened from bytes; nothing but the headers is decoded yet.

    It shows one frame, or several: pages, or the frames of an animation. `width`, `height` and `orientation` are those
    of the first.
    """

    @property
    def format(self) -> str:
        """One of jpeg, png, webp, tiff, bmp, gif, avif, heif."""

    @property
    def width(self) -> int:
        """Columns as stored."""

    @property
    def height(self) -> int:
        """Rows as stored."""

    @property
    def orientation(self) -> int:
        """EXIF orientation 1 to 8, 1 when absent or invalid."""

    @property
    def frames(self) -> int:
        """How many pictures the file shows, at least 1."""

    @property
    def animated(self) -> bool:
        """Whether the frames are shown one after the other: what is in one is likely in its neighbours."""

    def size_of(self, frame: int) -> tuple[int, int, int]:
        """Return columns and rows as stored, and the orientation, of one frame."""

    def preview(self, longest_px: int | None, frame: int = 0) -> npt.NDArray[Any]:
        """Return BGR uint8, upright and contiguous, with a longest side of at most `longest_px` (None: full size)."""

    def looks(self, longest_px: int | None, frame: int = 0) -> Sequence[npt.NDArray[Any]]:
        """Return what programs may show, each as `preview` gives it: all that has to be searched for faces.

        One where nothing is transparent; else the colours alone, on white and on black, as far as they differ.
        """

    def pixels(self, frame: int = 0) -> npt.NDArray[Any]:
        """Return all pixels as stored, writable, at their own depth (uint8 or uint16), HxW or HxWxC in BGR(A) order."""

    def channels_of(self, frame: int) -> Channels:
        """Say what the channels of a frame's pixels mean."""

    def with_copies(self, regions: Sequence[Region]) -> list[Region]:
        """Return what must be hidden for these: they themselves, and what shows the same in reduced copies."""

    def fitted(self, pixels: npt.NDArray[Any], before: npt.NDArray[Any], regions: Sequence[Region]) -> None:
        """Change stored pixels of the regions' frame, in place, to what the format holds; `before`: the original's."""

    def redacted(self, regions: Sequence[Region], blur: BlurSpec, scrub: Scrub) -> Encoded:
        """Return a file of the same format with these upright regions hidden and its metadata scrubbed."""

    def scrubbed(self, scrub: Scrub) -> bytes:
        """Return the file with its pixels untouched bit for bit and its metadata scrubbed; itself if there was none."""

    def thumbnails(self) -> list[bytes]:
        """Return the embedded thumbnails, whole files, that may stay once they are redacted."""

    def embedded(self) -> list[str]:
        """Name what in this file, besides its pixels and thumbnails, looks like a picture; for verification."""


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
    picture = _open(found, data)
    if picture.width < 1 or picture.height < 1:
        raise ImageError(Reason.DAMAGED, f"The {found} header says {picture.width} x {picture.height} pixels")
    sizes = (picture.size_of(frame)[:2] for frame in range(picture.frames))
    total = sum(max(width * height, _LEAST_PIXELS) if picture.frames > 1 else width * height for width, height in sizes)
    if total > max_pixels:
        frames = f" in {picture.frames} frames" if picture.frames > 1 else ""
        size = f"{picture.width} x {picture.height}{frames}"
        raise ImageError(Reason.TOO_LARGE, f"{size} pixels are more than workers.max_megapixels allows ({max_pixels})")
    return picture


def _without_stray_bytes(data: bytes) -> bytes:
    """Leave out what scripts print before a picture: a byte order mark, line ends; many programs pass over it."""
    stray = _STRAY.match(data)
    bare = data[stray.end() :] if stray and stray.end() else data
    return bare if sniff(data[:HEAD_BYTES]) is None and sniff(bare[:HEAD_BYTES]) in known_formats() else data


def known_formats() -> frozenset[str]:
    """Return the names, as `sniff` gives them, of the formats that may be opened."""
    return frozenset(_openers())


def _open(found: str, data: bytes) -> Picture:
    opener = _openers().get(found)
    if opener is None:
        raise ImageError(Reason.UNSUPPORTED, f"The format {found} is not supported")
    return opener(data)


@cache
def _openers() -> Mapping[str, Callable[[bytes], Picture]]:
    """Return what opens each format. Imported here, since each format's file imports this one for `Encoded`."""
    # ruff: noqa: PLC0415 - see above
    from faceblurd.imaging.files.bmp import BmpPicture
    from faceblurd.imaging.files.gif import GifPicture
    from faceblurd.imaging.files.heif.avif import AvifPicture
    from faceblurd.imaging.files.heif.heic import HeifPicture
    from faceblurd.imaging.files.jpeg import JpegPicture
    from faceblurd.imaging.files.png.animation import open_png
    from faceblurd.imaging.files.tiff import TiffPicture
    from faceblurd.imaging.files.webp.animation import open_webp

    return {
        "jpeg": JpegPicture,
        "png": open_png,
        "webp": open_webp,
        "gif": GifPicture,
        "tiff": TiffPicture,
        "bmp": BmpPicture,
        "avif": AvifPicture,
        "heic": HeifPicture,
    }
