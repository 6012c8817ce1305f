"""Animated PNG: its layers decoded with Pillow, written with each frame's difference to the one before; lossless."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from faceblurd.errors import ImageError
from faceblurd.imaging.files.animation import Animation, changed_box
from faceblurd.imaging.files.bmp import swapped
from faceblurd.imaging.files.codecs import check_size, pillow
from faceblurd.imaging.files.composition import Disposal, Layer
from faceblurd.imaging.files.png import PngPicture, texts
from faceblurd.imaging.files.png import chunks as png_chunks
from faceblurd.imaging.files.png.chunks import SIGNATURE, Chunk
from faceblurd.imaging.metadata import BARE, contains_picture, orientation_of
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.png.chunks import Header
    from faceblurd.imaging.metadata import Scrub

_ANIMATION: Final = frozenset({b"acTL", b"fcTL", b"fdAT"})
_BYTE: Final = 8
_CONTROL: Final = struct.Struct(">IIIIIHHBB")  # number, width, height, x, y, delay, its denominator, dispose, blend
_DISPOSALS: Final = {0: Disposal.KEEP, 1: Disposal.CLEAR, 2: Disposal.RESTORE}
_PLAIN = {2: cv2.COLOR_BGRA2BGR, 0: cv2.COLOR_BGRA2GRAY}


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
        exif = next((chunk.body for chunk in chunks if chunk.kind == b"eXIf"), b"")
        self.orientation = orientation_of(exif)

    def _check(self, kinds: list[bytes]) -> None:
        """Refuse a file whose parts do not fit together. How many frames it names does not matter: all are searched."""
        control = next(chunk.body for chunk in self._chunks if chunk.kind == b"acTL")
        if kinds.count(b"acTL") > 1 or len(control) != _BYTE or b"IDAT" not in kinds:
            raise ImageError(Reason.DAMAGED, "The animation of the PNG has no proper header")
        if struct.unpack_from(">I", control)[0] > len(self._controls) and b"IEND\xaeB`\x82" not in self._data:
            raise ImageError(Reason.INCOMPLETE, "The PNG ends before its last frame", retryable=True)
        whole = self.width, self.height
        for number, (_, width, height, left, top, *_, disposal, blend) in enumerate(self._controls):
            inside = left + width <= whole[0] and top + height <= whole[1]
            is_rows = not number and not self._first_is_apart  # of the picture that viewers without animation show
            if (
                (is_rows and (width, height) != whole)
                or not inside
                or not width
                or not height
                or disposal not in _DISPOSALS
                or blend > 1
            ):
                raise ImageError(Reason.DAMAGED, "A frame of the PNG has no proper header")

    def layer(self, number: int) -> Layer:
        """Decode one frame as a PNG of its own."""
        header, bodies = self._parts[number]
        png_chunks.check_stream(header, bodies)
        size = (header.width, header.height, header.depth, header.colour, 0, 0, int(header.interlaced))
        shared = [chunk for chunk in self._chunks if chunk.kind in {b"PLTE", b"tRNS"}]
        chunks = [Chunk(b"IHDR", struct.pack(">IIBBBBB", *size)), *shared]
        chunks += [Chunk(b"IDAT", body) for body in bodies]
        with pillow(SIGNATURE + b"".join(c.build() for c in (*chunks, Chunk(b"IEND", b""))), "PNG") as image:
            pixels = swapped(np.asarray(image.convert("RGBA")))
        check_size(pixels, width=header.width, height=header.height)
        if self._is_apart(number):
            return Layer(pixels, alone=True)
        left, top, _, _, disposal, blend = self._controls[number - self._first_is_apart][3:]
        return Layer(pixels, left, top, _DISPOSALS[disposal], replaces=not blend)

    def write(self, frames: Sequence[npt.NDArray[np.uint8]], scrub: Scrub) -> tuple[bytes, str]:
        """Write each frame as the box that changed, which replaces what was there."""
        out, number, before = [], 0, None
        for index, frame in enumerate(frames):
            left, top, right, bottom = changed_box(before, frame)
            rows = self._compressed(frame[top:bottom, left:right])
            if not self._is_apart(index):
                delay = self._controls[index - self._first_is_apart][5:7]
                place = (right - left, bottom - top, left, top)
                out.append(Chunk(b"fcTL", _CONTROL.pack(number, *place, *delay, 0, 0)))
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
            plain = np.ascontiguousarray(pixels)
        done, encoded = cv2.imencode(".png", plain, [cv2.IMWRITE_PNG_COMPRESSION, 4])
        if not done:
            raise ImageError(Reason.DAMAGED, "The PNG does not encode")
        return [chunk.body for chunk in png_chunks.read_chunks(encoded.tobytes()) if chunk.kind == b"IDAT"]

    def _colour(self) -> int:
        """Return the colour type to write: gray and colours as they were, all else with opacity."""
        plain = self._header.colour in _PLAIN and not any(chunk.kind == b"tRNS" for chunk in self._chunks)
        return self._header.colour if plain and not self._shows_holes() else 6

    def _shows_holes(self) -> bool:
        """Say whether frames of opaque layers leave something transparent."""
        _, width, height, _, _, _, _, disposal, _ = self._controls[0]
        starts_whole = (width, height) == (self.width, self.height) and _DISPOSALS[disposal] is Disposal.KEEP
        return not starts_whole or any(_DISPOSALS[control[7]] is Disposal.CLEAR for control in self._controls)

    def _joined(self, frames: list[Chunk], scrub: Scrub) -> bytes:
        """Put the metadata before the frames, and what was behind them behind."""
        rows = next(i for i, chunk in enumerate(self._chunks) if chunk.kind == b"IDAT")
        clean = [png_chunks.scrub_chunk(chunk, scrub, same_pixels=False) for chunk in self._chunks]
        size = struct.pack(">IIBBBBB", self.width, self.height, _BYTE, self._colour(), 0, 0, 0)
        loops = next(chunk.body[4:] for chunk in self._chunks if chunk.kind == b"acTL")
        control = Chunk(b"acTL", struct.pack(">I", len(self._controls)) + loops)
        before, after = ([c for c in part if c] for part in (clean[:rows], clean[rows:]))
        chunks = [Chunk(b"IHDR", size), *before, control, *frames, *after, Chunk(b"IEND", b"")]
        return SIGNATURE + b"".join(chunk.build() for chunk in chunks)

    def scrubbed(self, scrub: Scrub = BARE) -> bytes:
        """Filter the chunks; all frames stay byte for byte."""
        for header, bodies in self._parts:
            if not png_chunks.check_stream(header, bodies):
                raise ImageError(Reason.DAMAGED, "The PNG has data behind its rows")  # nobody has looked at them
        clean = (_scrubbed(chunk, scrub) for chunk in self._chunks)
        return SIGNATURE + b"".join(chunk.build() for chunk in clean if chunk)

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
        pixels = png_chunks.CRITICAL | _ANIMATION
        others = (chunk for chunk in self._chunks if chunk.kind not in pixels)
        return [c.kind.decode("latin-1") for c in others if contains_picture(texts.shown_by(c))]


def _control(chunk: Chunk) -> tuple[int, ...]:
    if len(chunk.body) != _CONTROL.size:
        raise ImageError(Reason.DAMAGED, "A frame of the PNG has no proper header")
    return _CONTROL.unpack(chunk.body)


def _scrubbed(chunk: Chunk, scrub: Scrub) -> Chunk | None:
    return chunk if chunk.kind in _ANIMATION else png_chunks.scrub_chunk(chunk, scrub, same_pixels=True)


def open_png(data: bytes) -> ApngPicture | PngPicture:
    """Open a PNG, animated or not."""
    chunks = png_chunks.read_chunks(data)
    animated = {b"acTL", b"fcTL"} <= {chunk.kind for chunk in chunks}
    return ApngPicture(data, chunks) if animated else PngPicture(chunks)
