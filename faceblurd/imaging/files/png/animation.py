"""Animated PNG: its layers decoded with Pillow, written with each frame's difference to the one before; lossless."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import cv2
import numpy as np

from faceblurd.errors import ImageError
from faceblurd.imaging.files.animation import Animation, changed_box
from faceblurd.imaging.files.bmp import swapped
from faceblurd.imaging.files.codecs import check_size, encode_cv, pillow
from faceblurd.imaging.files.composition import Disposal, Layer
from faceblurd.imaging.files.png import PngPicture, texts
from faceblurd.imaging.files.png import chunks as png_chunks
from faceblurd.imaging.files.png.chunks import Chunk
from faceblurd.imaging.metadata import BARE, orientation_of
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.png.chunks import Header
    from faceblurd.imaging.metadata import Scrub

_ANIMATION: Final = frozenset({b"acTL", b"fcTL", b"fdAT"})
_BYTE: Final = 8
_CONTROL: Final = struct.Struct(">IIIIIHHBB")
_DISPOSALS: Final = {0: Disposal.KEEP, 1: Disposal.CLEAR, 2: Disposal.RESTORE}
_PLAIN = {2: cv2.COLOR_BGRA2BGR, 0: cv2.COLOR_BGRA2GRAY}


class _Control(NamedTuple):
    """The header of a frame. The delay is a fraction."""

    number: int
    width: int
    height: int
    left: int
    top: int
    delay: int
    of_a_second: int
    disposal: int
    blend: int


class ApngPicture(Animation):
    """All frames; a first picture that is not part of the animation is one of them."""

    format = "png"

    def __init__(self, data: bytes, chunks: list[Chunk]) -> None:
        """Read the frames' headers; refuse what Pillow would read with fewer bits."""
        super().__init__(data)
        self._chunks = chunks
        self._header = png_chunks.read_header(chunks)
        if self._header.depth > _BYTE:
            raise ImageError(Reason.UNSUPPORTED, "Animated PNGs of 16 bits are not supported")
        self.width, self.height = self._header.width, self._header.height
        kinds = [chunk.kind for chunk in chunks]
        self._controls = [_control(chunk) for chunk in chunks if chunk.kind == b"fcTL"]
        self._first_is_apart = b"fcTL" not in kinds[: kinds.index(b"IDAT")] if b"IDAT" in kinds else False
        self.frames = len(self._controls) + self._first_is_apart
        self._check(kinds)
        self._parts = self._streams()
        self.orientation = orientation_of(png_chunks.body_of(chunks, b"eXIf"))

    def _check(self, kinds: list[bytes]) -> None:
        """Refuse a file whose parts do not fit together. How many frames it names does not matter: all are searched."""
        control = png_chunks.body_of(self._chunks, b"acTL")
        if kinds.count(b"acTL") > 1 or len(control) != _BYTE or b"IDAT" not in kinds:
            raise ImageError(Reason.DAMAGED, "The animation of the PNG has no proper header")
        if struct.unpack_from(">I", control)[0] > len(self._controls) and b"IEND\xaeB`\x82" not in self._data:
            raise ImageError(Reason.INCOMPLETE, "The PNG ends before its last frame", retryable=True)
        whole = self.width, self.height
        for number, one in enumerate(self._controls):
            inside = one.left + one.width <= whole[0] and one.top + one.height <= whole[1]
            is_rows = not number and not self._first_is_apart  # of the picture that viewers without animation show
            fits = (one.width, one.height) == whole if is_rows else inside and one.width and one.height
            if not fits or not inside or one.disposal not in _DISPOSALS or one.blend > 1:
                raise ImageError(Reason.DAMAGED, "A frame of the PNG has no proper header")

    def layer(self, number: int) -> Layer:
        """Decode one frame as a PNG of its own."""
        header, bodies = self._parts[number]
        png_chunks.check_stream(header, bodies)
        shared = [chunk for chunk in self._chunks if chunk.kind in {b"PLTE", b"tRNS"}]
        rows = [Chunk(b"IDAT", body) for body in bodies]
        with pillow(png_chunks.join([header.chunk(), *shared, *rows, png_chunks.END]), "PNG") as image:
            pixels = swapped(np.asarray(image.convert("RGBA")))
        check_size(pixels, width=header.width, height=header.height)
        if self._is_apart(number):
            return Layer(pixels, alone=True)
        place = self._controls[number - self._first_is_apart]
        return Layer(pixels, place.left, place.top, _DISPOSALS[place.disposal], replaces=not place.blend)

    def write(self, frames: Sequence[npt.NDArray[np.uint8]], scrub: Scrub) -> tuple[bytes, str]:
        """Write each frame as the box that changed, which replaces what was there."""
        out, number, before = [], 0, None
        for index, frame in enumerate(frames):
            left, top, right, bottom = changed_box(before, frame)
            rows = self._compressed(frame[top:bottom, left:right])
            if not self._is_apart(index):
                old = self._controls[index - self._first_is_apart]
                place = (right - left, bottom - top, left, top)
                out.append(Chunk(b"fcTL", _CONTROL.pack(number, *place, old.delay, old.of_a_second, 0, 0)))
                number += 1
                before = frame
            for row in rows:
                out.append(Chunk(b"fdAT", struct.pack(">I", number) + row) if index else Chunk(b"IDAT", row))
                number += index > 0
        return self._joined(out, scrub), ""

    def _is_apart(self, index: int) -> bool:
        return self._first_is_apart and index == 0

    def _compressed(self, pixels: npt.NDArray[np.uint8]) -> list[bytes]:
        """Return the compressed rows of a box, in the colour type of the output."""
        if self._colour() in _PLAIN:
            plain: npt.NDArray[Any] = cv2.cvtColor(np.ascontiguousarray(pixels), _PLAIN[self._colour()])
        else:
            plain = pixels
        encoded = encode_cv(plain, ".png", [cv2.IMWRITE_PNG_COMPRESSION, 4], what="PNG")
        return [chunk.body for chunk in png_chunks.read_chunks(encoded) if chunk.kind == b"IDAT"]

    def _colour(self) -> int:
        """Return the colour type to write: gray and colours as they were, all else with opacity."""
        plain = self._header.colour in _PLAIN and not any(chunk.kind == b"tRNS" for chunk in self._chunks)
        return self._header.colour if plain and not self._shows_holes() else 6

    def _shows_holes(self) -> bool:
        """Say whether frames of opaque layers leave something transparent."""
        first, disposals = self._controls[0], [_DISPOSALS[one.disposal] for one in self._controls]
        starts_whole = (first.width, first.height) == (self.width, self.height) and disposals[0] is Disposal.KEEP
        return not starts_whole or Disposal.CLEAR in disposals

    def _joined(self, frames: list[Chunk], scrub: Scrub) -> bytes:
        """Put the metadata before the frames, and what was behind them behind."""
        rows = next(i for i, chunk in enumerate(self._chunks) if chunk.kind == b"IDAT")
        clean = [png_chunks.scrub_chunk(chunk, scrub, same_pixels=False) for chunk in self._chunks]
        header = replace(self._header, depth=_BYTE, colour=self._colour(), interlaced=False)
        loops = png_chunks.body_of(self._chunks, b"acTL")[4:]
        control = Chunk(b"acTL", struct.pack(">I", len(self._controls)) + loops)
        return png_chunks.join([header.chunk(), *clean[:rows], control, *frames, *clean[rows:], png_chunks.END])

    def scrubbed(self, scrub: Scrub = BARE) -> bytes:
        """Filter the chunks; all frames stay byte for byte."""
        for header, bodies in self._parts:
            if not png_chunks.check_stream(header, bodies):
                raise ImageError(Reason.DAMAGED, "The PNG has data behind its rows")  # nobody has looked at them
        return png_chunks.join(_scrubbed(chunk, scrub) for chunk in self._chunks)

    def _streams(self) -> list[tuple[Header, list[bytes]]]:
        """Return size and compressed rows of each frame, and of a first picture that is none."""
        found = [(self._header, list[bytes]())] if self._first_is_apart else []
        for chunk in self._chunks:
            if chunk.kind == b"fcTL":
                width, height = struct.unpack_from(">II", chunk.body, 4)
                found.append((replace(self._header, width=width, height=height), []))
            elif chunk.kind in {b"IDAT", b"fdAT"}:
                found[-1][1].append(chunk.body[4 * (chunk.kind == b"fdAT") :])
        return found

    def embedded(self) -> list[str]:
        """Name the chunks that still look like a picture."""
        return texts.with_pictures(self._chunks, besides=png_chunks.CRITICAL | _ANIMATION)


def _control(chunk: Chunk) -> _Control:
    if len(chunk.body) != _CONTROL.size:
        raise ImageError(Reason.DAMAGED, "A frame of the PNG has no proper header")
    return _Control._make(_CONTROL.unpack(chunk.body))


def _scrubbed(chunk: Chunk, scrub: Scrub) -> Chunk | None:
    return chunk if chunk.kind in _ANIMATION else png_chunks.scrub_chunk(chunk, scrub, same_pixels=True)


def open_png(data: bytes) -> ApngPicture | PngPicture:
    """Open a PNG, animated or not."""
    chunks = png_chunks.read_chunks(data)
    animated = {b"acTL", b"fcTL"} <= {chunk.kind for chunk in chunks}
    return ApngPicture(data, chunks) if animated else PngPicture(chunks)
