"""What the formats share around OpenCV and Pillow: strict decoding, previews, the nearest of few colours, errors."""

from __future__ import annotations

import io
import math
import os
import struct
import warnings
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from faceblurd.errors import ImageError
from faceblurd.imaging.geometry import upright_view
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

_DECODER_ERRORS = (
    OSError, RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, SyntaxError,
    EOFError, struct.error, zlib.error, Image.DecompressionBombError, cv2.error,
)  # fmt: skip
GRAY_DIMENSIONS, WITH_ALPHA = 2, 4
_STRIP_ROWS = 256
_MOST = 0.5  # of the rest of a row: so much must be filled to say that the row goes on


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Translate what decoders raise on a bad file into ImageError; Pillow's warnings are not printed.

    The list is what Pillow and OpenCV are known to raise on damaged files; a MemoryError passes (the worker's limit).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnidentifiedImageError as error:  # whose text names an object in memory
        raise ImageError(Reason.DAMAGED, f"The {what} does not decode: its header makes no sense") from error
    except _DECODER_ERRORS as error:
        raise ImageError(Reason.DAMAGED, f"The {what} does not decode: {error}") from error


@contextmanager
def encoding(what: str) -> Iterator[None]:
    """Translate what encoders raise: they accept any pixels, so that it was memory that was short."""
    try:
        yield
    except _DECODER_ERRORS as error:
        short = f"The {what} could not be written, perhaps for want of memory (workers.memory_limit_mb): {error}"
        raise ImageError(Reason.OUT_OF_MEMORY, short, retryable=True) from error


def decode_cv(data: bytes, flags: int, *, what: str) -> npt.NDArray[Any]:
    """Decode with OpenCV, which answers None where it cannot."""
    with decoding(what):
        array = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if array is None:
        raise ImageError(Reason.DAMAGED, f"The {what} does not decode")
    return array


def encode_cv(array: npt.NDArray[Any], extension: str, settings: Sequence[int], *, what: str) -> bytes:
    """Encode with OpenCV."""
    done, encoded = cv2.imencode(extension, np.ascontiguousarray(array), settings)
    if not done:
        raise ImageError(Reason.DAMAGED, f"The {what} does not encode")
    return encoded.tobytes()


@contextmanager
def pillow(data: bytes | io.BytesIO, format_name: str) -> Iterator[Image.Image]:
    """Open with Pillow, as this format only. Pillow's own limit is off: `open_image` checks `max_pixels`."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        file = io.BytesIO(data) if isinstance(data, bytes) else data
        with decoding(format_name), Image.open(file, formats=[format_name]) as image:
            yield image
    finally:
        Image.MAX_IMAGE_PIXELS = before


@contextmanager
def library_warnings() -> Iterator[list[str]]:
    """Collect the lines that a C library writes to standard error meanwhile.

    libjpeg reports missing data in no other way through OpenCV and Pillow. Descriptor 2 belongs to the whole process:
    for workers, which have one thread.
    """
    lines: list[str] = []
    saved, sink = os.dup(2), os.memfd_create("warnings")
    try:
        os.dup2(sink, 2)
        try:
            yield lines
        finally:
            os.dup2(saved, 2)
        lines += os.pread(sink, 1 << 16, 0).decode("utf-8", "replace").splitlines()
    finally:
        os.close(saved)
        os.close(sink)


def check_size(array: npt.NDArray[Any], *, width: int, height: int) -> None:
    """Refuse a decode whose size differs from the header that was checked."""
    if array.shape[:2] != (height, width):
        found = f"{array.shape[1]} x {array.shape[0]}"
        raise ImageError(Reason.DAMAGED, f"The header says {width} x {height} pixels, the decoder {found}")


def preview_of(stored: npt.NDArray[Any], *, orientation: int, longest_px: int | None) -> npt.NDArray[Any]:
    """Make a small picture of stored pixels: BGR uint8, upright, contiguous; what is transparent is left out."""
    small = bgr8(shrink(stored, longest_px))
    return np.ascontiguousarray(upright_view(small, orientation))


def looks_of(stored: npt.NDArray[Any], *, orientation: int, longest_px: int | None) -> list[npt.NDArray[Any]]:
    """Return what programs may show of stored pixels, as `preview_of` does: the colours alone, on white, on black.

    One look where all is opaque. Elsewhere a face may be drawn by the opacity alone: black ink on nothing.
    """
    appearances = [stored]
    if stored.ndim > GRAY_DIMENSIONS and stored.shape[2] == WITH_ALPHA and not _is_opaque(stored[:, :, 3]):
        appearances += [_laid_on(stored, level) for level in (255, 0)]
    looks = [preview_of(one, orientation=orientation, longest_px=longest_px) for one in appearances]
    return [one for at, one in enumerate(looks) if not any(np.array_equal(one, other) for other in looks[:at])]


def _is_opaque(alpha: npt.NDArray[Any]) -> bool:
    return bool(alpha.min() == np.iinfo(alpha.dtype).max)


def _laid_on(stored: npt.NDArray[Any], level: int) -> npt.NDArray[np.uint8]:
    """Lay BGRA over gray of this level; rounded, since it is for looking at only. Strip by strip: sums are wide."""
    out = np.empty((*stored.shape[:2], 3), np.uint8)
    for top in range(0, len(stored), _STRIP_ROWS):
        strip = stored[top : top + _STRIP_ROWS]
        wide = (strip >> 8 if strip.dtype == np.uint16 else strip).astype(np.uint16)
        colours, alpha = wide[:, :, :3], wide[:, :, 3:]
        out[top : top + _STRIP_ROWS] = (colours * alpha + level * (255 - alpha) + 127) // 255
    return out


def shrink(array: npt.NDArray[Any], longest_px: int | None) -> npt.NDArray[Any]:
    """Scale down to a longest side of `longest_px`; never up.

    Averages pixels for half the size and less. Interpolates above that, where it uses every pixel, too, in less time.
    """
    height, width = array.shape[:2]
    longest = max(width, height)
    if longest_px is None or longest <= longest_px:
        return array
    size = (max(1, round(width * longest_px / longest)), max(1, round(height * longest_px / longest)))
    way = cv2.INTER_LINEAR if longest <= 2 * longest_px else cv2.INTER_AREA
    return cv2.resize(array, size, interpolation=way)


def bgr8(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Turn gray, BGR or BGRA of 8 or 16 bit into BGR uint8 (alpha is left out, as a viewer without it would)."""
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.ndim == GRAY_DIMENSIONS:
        return cv2.cvtColor(array, cv2.COLOR_GRAY2BGR)
    return array[:, :, :3]


def zero_tail(data: bytes) -> int:
    """Return how many zero bytes end the data: many, where a copy has its full size but not yet all its bytes."""
    return len(data) - len(data.rstrip(b"\0"))


def ends_in_mid_row(rows: npt.NDArray[Any]) -> bool:
    """Say whether uncompressed rows break off within a row: its rest is zeros where the row before has pixels.

    Black rows, and shapes on black, end otherwise. `rows` in the file's order.
    """
    flat = rows.reshape(len(rows), -1) != 0
    filled = np.flatnonzero(flat.any(axis=1))
    if not len(filled):
        return False
    last = int(filled[-1])
    end = int(np.flatnonzero(flat[last])[-1]) + 1
    if flat.shape[1] - end <= flat.shape[1] // 100 + 4:
        return False
    return last == 0 or float(flat[last - 1, end:].mean()) > _MOST


def reduction(longest: int, longest_px: int | None) -> int:
    """Return the largest of 1, 2, 4 and 8 by which a JPEG can be decoded smaller and is still large enough."""
    if longest_px is None:
        return 1
    return next((by for by in (8, 4, 2) if math.ceil(longest / by) >= longest_px), 1)


def rgba(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Turn BGR or BGRA pixels, in whatever shape, into RGBA, one a row."""
    return _with_opacity(pixels)[:, [2, 1, 0, 3]]


def nearest(colours: npt.NDArray[np.uint8], table: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the index of the closest entry of a table of at most 256 for each colour, flat.

    Both have three or four channels, in the same order; a missing fourth one counts as 255.
    """
    words = np.ascontiguousarray(_with_opacity(colours)).view(np.uint32).reshape(-1)
    distinct, where = np.unique(words, return_inverse=True)
    want = distinct.view(np.uint8).reshape(-1, 1, 4).astype(np.int32)
    closest = ((want - _with_opacity(table).astype(np.int32)) ** 2).sum(axis=2).argmin(axis=1).astype(np.uint8)
    found: npt.NDArray[np.uint8] = closest[where.reshape(-1)]
    return found


def _with_opacity(colours: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    rows = colours.reshape(-1, colours.shape[-1])
    if rows.shape[1] == 4:  # noqa: PLR2004 - it has one
        return rows
    opaque = np.full((len(rows), 4), 255, np.uint8)
    opaque[:, :3] = rows
    return opaque
