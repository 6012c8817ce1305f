"""Animated WebP: composed with Pillow, each frame's difference to the one before written as a picture of its own."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from faceblurd.errors import ImageError
from faceblurd.imaging.files import webp
from faceblurd.imaging.files.animation import Animation, changed_box
from faceblurd.imaging.files.bmp import swapped
from faceblurd.imaging.files.codecs import check_size, decoding
from faceblurd.imaging.metadata import BARE, hides_picture, orientation_of
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.webp import Chunks
    from faceblurd.imaging.metadata import Scrub

_FRAME: Final = 16  # bytes of a frame's header
_REPLACE: Final = 2  # the frame replaces what is there, transparency too
_ANIMATED: Final = 0x02


class WebpAnimation(Animation):
    """All frames."""

    format = "webp"

    def __init__(self, chunks: Chunks) -> None:
        super().__init__(webp.build(chunks))
        self._chunks = chunks
        self._image: Image.Image | None = None
        self._composed: tuple[int, npt.NDArray[np.uint8]] | None = None
        named = dict(chunks)
        self._frames = [body for kind, body in chunks if kind == b"ANMF"]
        self.frames = len(self._frames)
        canvas = named.get(b"VP8X", b"")
        if len(canvas) < 10 or b"ANIM" not in named or not self._frames:  # noqa: PLR2004 - its one size
            raise ImageError(Reason.DAMAGED, "The animated WebP has no proper headers")
        if webp.only_pixels(chunks) or any(len(body) <= _FRAME for body in self._frames):
            raise ImageError(Reason.DAMAGED, "The animated WebP has pixels beside its frames, or frames without any")
        self.width, self.height = (int.from_bytes(canvas[at : at + 3], "little") + 1 for at in (4, 7))
        self.orientation = orientation_of(named.get(b"EXIF", b""))
        self._lossless = all(b"VP8L" in dict(_inner(body)) for body in self._frames)

    def stored(self, frame: int) -> npt.NDArray[np.uint8]:
        """Return a frame as it looks, HxWx4, BGRA; libwebp itself lays the frames over each other."""
        if self._composed is None or self._composed[0] != frame:
            with decoding("WebP"):
                array = swapped(np.asarray(self._seek(frame).convert("RGBA")))
            check_size(array, width=self.width, height=self.height)
            array[array[:, :, 3] == 0] = 0
            self._composed = frame, array
        return self._composed[1]

    def _seek(self, frame: int) -> Image.Image:
        image = self._image
        if image is None or image.tell() > frame:
            image = self._image = Image.open(io.BytesIO(self._data), formats=["WEBP"])
            if getattr(image, "n_frames", 1) != self.frames:
                raise ImageError(Reason.DAMAGED, "The WebP does not have the frames that its headers name")
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
            pixels = webp.encoded(frame[top:bottom, left:right], lossless=self._lossless)
            written.append((b"ANMF", place + old[12:15] + bytes([_REPLACE]) + webp.build(pixels)[12:]))
            before = frame
        note = "" if self._lossless else f"every frame was encoded anew at quality {webp.QUALITY}"
        return self._graft(written, scrub), note

    def _graft(self, frames: Chunks, scrub: Scrub) -> bytes:
        colour, rest = webp.scrubbed_chunks(self._chunks, scrub)
        named = dict(self._chunks)
        flags = sum({webp.FLAGS[kind] for kind, _ in (*colour, *rest)}) | (named[b"VP8X"][0] & webp.ALPHA) | _ANIMATED
        canvas = bytes([flags]) + named[b"VP8X"][1:10]
        return webp.build([(b"VP8X", canvas), *colour, (b"ANIM", named[b"ANIM"]), *frames, *rest])

    def scrubbed(self, scrub: Scrub = BARE) -> bytes:
        """Filter the chunks; the frames stay byte for byte."""
        return self._graft([(b"ANMF", _bare(body)) for body in self._frames], scrub)

    def embedded(self) -> list[str]:
        """Name the chunks that still look like a picture."""
        if any(hides_picture(body) or _bare(body) != body for body in self._frames):
            return ["ANMF"]
        return webp.with_pictures([chunk for chunk in self._chunks if chunk[0] != b"ANMF"])


def _inner(frame: bytes) -> Chunks:
    """Return the chunks of one frame."""
    return webp.read_chunks(struct.pack("<4sI4s", b"RIFF", len(frame) - _FRAME + 4, b"WEBP") + frame[_FRAME:])


def _bare(frame: bytes) -> bytes:
    """Return a frame with nothing but its pixels."""
    return frame[:_FRAME] + webp.build(webp.only_pixels(_inner(frame)))[12:]


def open_webp(data: bytes) -> WebpAnimation | webp.WebpPicture:
    """Open a WebP, animated or not."""
    chunks = webp.read_chunks(data)
    animated = any(kind in {b"ANIM", b"ANMF"} for kind, _ in chunks)
    if animated and struct.unpack_from("<I", data, 4)[0] > len(data):
        raise ImageError(Reason.INCOMPLETE, "The WebP ends before the size that it names", retryable=True)
    return WebpAnimation(chunks) if animated else webp.WebpPicture(chunks)
