"""Animated WebP: composed with Pillow, each frame's difference to the one before written as a picture of its own."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from faceblurd.errors import ImageError
from faceblurd.imaging.files.animation import Animation, changed_box
from faceblurd.imaging.files.bmp import swapped
from faceblurd.imaging.files.codecs import check_size, decoding
from faceblurd.imaging.files.webp import (
    QUALITY,
    WebpPicture,
    build,
    read_chunks,
    scrub_chunk,
)
from faceblurd.imaging.metadata import BARE, contains_picture, hides_picture, orientation_of, without_thumbnail
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.webp import Chunks
    from faceblurd.imaging.metadata import Scrub

_PIXELS: Final = frozenset({b"ALPH", b"VP8 ", b"VP8L"})
_FRAME: Final = 16  # bytes of a frame's header
_REPLACE: Final = 2  # the frame replaces what is there, transparency too
_FLAGS: Final = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}
_ALPHA, _ANIMATED = 0x10, 0x02


class WebpAnimation(Animation):
    """All frames."""

    format = "webp"

    def __init__(self, chunks: Chunks) -> None:
        """Read the canvas and the frames' headers."""
        super().__init__(build(chunks))
        self._chunks = chunks
        self._image: Image.Image | None = None
        self._composed: tuple[int, npt.NDArray[np.uint8]] | None = None
        named = dict(chunks)
        self._frames = [body for kind, body in chunks if kind == b"ANMF"]
        self.frames = len(self._frames)
        canvas = named.get(b"VP8X", b"")
        if len(canvas) < 10 or b"ANIM" not in named or not self._frames:  # noqa: PLR2004 - its one size
            raise ImageError(Reason.DAMAGED, "The animated WebP has no proper headers")
        if any(kind in _PIXELS for kind, _ in chunks) or any(len(body) <= _FRAME for body in self._frames):
            raise ImageError(Reason.DAMAGED, "The animated WebP has pixels beside its frames, or frames without any")
        self.width, self.height = (int.from_bytes(canvas[at : at + 3], "little") + 1 for at in (4, 7))
        self.orientation = orientation_of(named.get(b"EXIF", b""))
        self._lossless = all(b"VP8L" in dict(_inner(body)) for body in self._frames)

    def composed(self, frame: int) -> npt.NDArray[np.uint8]:
        """Return a frame as it looks, HxWx4, BGRA; libwebp itself lays the frames over each other."""
        if self._composed is None or self._composed[0] != frame:
            with decoding("WebP"):
                array = swapped(np.asarray(self._seek(frame).convert("RGBA")))
            check_size(array, width=self.width, height=self.height)
            array[array[:, :, 3] == 0] = 0
            self._composed = frame, array
        return self._composed[1]

    def _seek(self, frame: int) -> Image.Image:
        """Go to a frame step by step."""
        image = self._image
        if image is None or image.tell() > frame:
            image = self._image = Image.open(io.BytesIO(self._data), formats=["WEBP"])
            if getattr(image, "n_frames", 1) != self.frames:
                raise ImageError(Reason.DAMAGED, "The WebP has not the frames that its headers say")
        for number in range(image.tell(), frame + 1):
            image.seek(number)
            image.load()
        return image

    def write(self, frames: Sequence[npt.NDArray[np.uint8]], scrub: Scrub) -> tuple[bytes, str]:
        """Write each frame as the box that changed."""
        written: Chunks = []
        before = None
        for frame, old in zip(frames, self._frames, strict=True):
            left, top, right, bottom = changed_box(before, frame)
            left, top = left & ~1, top & ~1  # the format counts in steps of two
            numbers = left // 2, top // 2, right - left - 1, bottom - top - 1
            place = b"".join(number.to_bytes(3, "little") for number in numbers)
            pixels = self._encoded(frame[top:bottom, left:right])
            written.append((b"ANMF", place + old[12:15] + bytes([_REPLACE]) + pixels))
            before = frame
        note = "" if self._lossless else f"every frame was encoded anew at quality {QUALITY}"
        return self._graft(written, scrub), note

    def _encoded(self, pixels: npt.NDArray[np.uint8]) -> bytes:
        """Return the chunks of one picture."""
        out = io.BytesIO()
        with decoding("WebP"):
            image = Image.fromarray(swapped(pixels))
            if self._lossless:
                image.save(out, "WEBP", lossless=True, exact=True, quality=50, method=2)
            else:
                image.save(out, "WEBP", quality=QUALITY, exact=True, method=3)
        kept = [(kind, body) for kind, body in read_chunks(out.getvalue()) if kind in _PIXELS]
        return build(kept)[12:]

    def _graft(self, frames: Chunks, scrub: Scrub) -> bytes:
        """Join frames and the metadata that may stay."""
        kept = [(kind, clean) for kind, body in self._chunks if (clean := scrub_chunk(kind, body, scrub))]
        colour = [chunk for chunk in kept if chunk[0] == b"ICCP"]
        rest = [chunk for chunk in kept if chunk[0] != b"ICCP"]
        named = dict(self._chunks)
        flags = sum({_FLAGS[kind] for kind, _ in kept}) | (named[b"VP8X"][0] & _ALPHA) | _ANIMATED
        canvas = bytes([flags]) + named[b"VP8X"][1:10]
        return build([(b"VP8X", canvas), *colour, (b"ANIM", named[b"ANIM"]), *frames, *rest])

    def scrubbed(self, scrub: Scrub = BARE) -> bytes:
        """Filter the chunks; the frames stay byte for byte."""
        return self._graft([(b"ANMF", _bare(body)) for body in self._frames], scrub)

    def embedded(self) -> list[str]:
        """Name the chunks that still look like a picture."""
        if any(hides_picture(body) or _bare(body) != body for body in self._frames):
            return ["ANMF"]
        others = ((kind, body) for kind, body in self._chunks if kind != b"ANMF")
        shown = ((kind, without_thumbnail(body) if kind == b"EXIF" else body) for kind, body in others)
        return [kind.decode("latin-1") for kind, body in shown if contains_picture(body)]


def _inner(frame: bytes) -> Chunks:
    """Return the chunks of one frame."""
    return read_chunks(struct.pack("<4sI4s", b"RIFF", len(frame) - _FRAME + 4, b"WEBP") + frame[_FRAME:])


def _bare(frame: bytes) -> bytes:
    """Return a frame with nothing but its pixels."""
    return frame[:_FRAME] + build([chunk for chunk in _inner(frame) if chunk[0] in _PIXELS])[12:]


def open_webp(data: bytes) -> WebpAnimation | WebpPicture:
    """Open a WebP, animated or not."""
    chunks = read_chunks(data)
    animated = any(kind in {b"ANIM", b"ANMF"} for kind, _ in chunks)
    if animated and struct.unpack_from("<I", data, 4)[0] > len(data):
        raise ImageError(Reason.INCOMPLETE, "The WebP ends before the size that it names", retryable=True)
    return WebpAnimation(chunks) if animated else WebpPicture(chunks)
