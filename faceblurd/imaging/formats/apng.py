"""Animated PNG: composed with Pillow, written with each frame's difference to the one before; lossless."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from faceblurd.errors import ImageError
from faceblurd.imaging.formats import png_chunks
from faceblurd.imaging.formats.animation import Animation, changed_box
from faceblurd.imaging.formats.png import PngPicture
from faceblurd.imaging.formats.png_chunks import SIGNATURE, Chunk
from faceblurd.imaging.metadata import BARE, contains_picture, orientation_of
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.formats.png_chunks import Header
    from faceblurd.imaging.metadata import Scrub

_ANIMATION: Final = frozenset({b"acTL", b"fcTL", b"fdAT"})
_BYTE: Final = 8
_CONTROL: Final = struct.Struct(">IIIIIHHBB")  # number, width, height, x, y, delay, its denominator, dispose, blend
_PLAIN = {2: cv2.COLOR_BGRA2BGR, 0: cv2.COLOR_BGRA2GRAY}


class ApngPicture(Animation):
    """All frames; a first picture that is not part of the animation is one of them."""

    format = "png"

    def __init__(self, data: bytes, chunks: list[Chunk]) -> None:
        """Count the frames; refuse what Pillow would read with fewer bits."""
        super().__init__(data)
        self._chunks = chunks
        self._header = png_chunks.read_header(chunks)
        if self._header.depth > _BYTE:
            raise ImageError(Reason.UNSUPPORTED, "Animated PNGs of 16 bits are not supported")
        self.width, self.height = self._header.width, self._header.height
        kinds = [chunk.kind for chunk in chunks]
        self._delays = [chunk.body[20:24] for chunk in chunks if chunk.kind == b"fcTL"]
        self._first_is_apart = b"fcTL" not in kinds[: kinds.index(b"IDAT")] if b"IDAT" in kinds else False
        self.frames = len(self._delays) + self._first_is_apart
        self._check(kinds)
        exif = next((chunk.body for chunk in chunks if chunk.kind == b"eXIf"), b"")
        self.orientation = orientation_of(exif)

    def _check(self, kinds: list[bytes]) -> None:
        """Refuse a file whose parts do not fit together: viewers would show what we do not see."""
        control = next(chunk.body for chunk in self._chunks if chunk.kind == b"acTL")
        said = struct.unpack_from(">I", control)[0] if len(control) == _BYTE else 0
        if not self._delays or said != len(self._delays) or kinds.count(b"acTL") > 1 or b"IDAT" not in kinds:
            raise ImageError(Reason.DAMAGED, f"The PNG says {said} frames and has {len(self._delays)}")
        if any(len(chunk.body) != _CONTROL.size for chunk in self._chunks if chunk.kind == b"fcTL"):
            raise ImageError(Reason.DAMAGED, "A frame of the PNG has no proper header")

    def write(self, frames: Sequence[npt.NDArray[np.uint8]], scrub: Scrub) -> tuple[bytes, str]:
        """Write each frame as the box that changed, which replaces what was there."""
        out, number, before = [], 0, None
        for index, frame in enumerate(frames):
            left, top, right, bottom = changed_box(before, frame)
            rows = self._compressed(frame[top:bottom, left:right])
            if not self._is_apart(index):
                delay = struct.unpack(">HH", self._delays[index - self._first_is_apart])
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
        opaque = not any(chunk.kind == b"tRNS" for chunk in self._chunks)
        return self._header.colour if self._header.colour in _PLAIN and opaque else 6

    def _joined(self, frames: list[Chunk], scrub: Scrub) -> bytes:
        """Put the metadata before the frames, and what was behind them behind."""
        rows = next(i for i, chunk in enumerate(self._chunks) if chunk.kind == b"IDAT")
        clean = [png_chunks.scrub_chunk(chunk, scrub, same_pixels=False) for chunk in self._chunks]
        size = struct.pack(">IIBBBBB", self.width, self.height, _BYTE, self._colour(), 0, 0, 0)
        control = next(chunk for chunk in self._chunks if chunk.kind == b"acTL")
        before, after = ([c for c in part if c] for part in (clean[:rows], clean[rows:]))
        chunks = [Chunk(b"IHDR", size), *before, control, *frames, *after, Chunk(b"IEND", b"")]
        return SIGNATURE + b"".join(chunk.build() for chunk in chunks)

    def scrubbed(self, scrub: Scrub = BARE) -> bytes:
        """Filter the chunks; all frames stay byte for byte."""
        for header, bodies in self._streams():
            png_chunks.refuse_more(exact=png_chunks.check_stream(header, bodies))
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
        return [c.kind.decode("latin-1") for c in others if contains_picture(png_chunks.shown_by(c))]


def _scrubbed(chunk: Chunk, scrub: Scrub) -> Chunk | None:
    return chunk if chunk.kind in _ANIMATION else png_chunks.scrub_chunk(chunk, scrub, same_pixels=True)


def open_png(data: bytes) -> ApngPicture | PngPicture:
    """Open a PNG, animated or not."""
    chunks = png_chunks.read_chunks(data)
    return ApngPicture(data, chunks) if any(chunk.kind == b"acTL" for chunk in chunks) else PngPicture(chunks)
