"""GIF, still or animated: decoded and compressed with Pillow, its timing and its extensions kept.

A redacted file is written anew: each frame as what changed since the one before, with its own palette. Outside of the
regions colours stay exact; what was painted takes those that are left of 256.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from faceblurd.errors import ImageError
from faceblurd.imaging.files.animation import Animation, changed_box
from faceblurd.imaging.files.codecs import decoding, nearest
from faceblurd.imaging.files.gif.blocks import (
    APPLICATION,
    COMMENT,
    EXTENSION,
    IMAGE,
    TRAILER,
    coded,
    joined,
    read_gif,
    scrubbed_block,
)
from faceblurd.imaging.files.gif.frames import Layers, end_of_codes
from faceblurd.imaging.metadata import BARE, Scrub, contains_picture
from faceblurd.imaging.redact.soft import Channels
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.composition import Layer
    from faceblurd.imaging.files.gif.blocks import Block

_COLOURS: Final = 256
_SPARE: Final = 255  # colours: one index stands for what does not change
_KEEP, _CLEAR = 1, 2  # what a viewer does with a frame before the next one
_FREQUENT: Final = 128
_OPAQUE: Final = 128
_PIECE: Final = 255


class GifPicture(Animation):
    """One frame or more."""

    format = "gif"
    channels = Channels(few=True)

    def __init__(self, data: bytes) -> None:
        """Walk the blocks; nothing is decoded."""
        super().__init__(data)
        self._gif = read_gif(data)
        self.width, self.height, self.frames = self._gif.width, self._gif.height, len(self._gif.delays)
        if not self.frames:
            raise ImageError(Reason.DAMAGED, "The GIF has no picture")
        self._layers = Layers(data, self._gif)

    def layer(self, number: int) -> Layer:
        """Decode one image."""
        return self._layers(number)

    def fit(self, pixels: npt.NDArray[np.uint8], painted: npt.NDArray[np.bool_]) -> None:
        """Change what was painted to colours that the frame has room for, fully opaque or fully transparent."""
        pixels[painted, 3] = np.where(pixels[painted, 3] < _OPAQUE, 0, 255)
        words = _words(pixels)
        outside, counts = np.unique(words[~painted], return_counts=True)
        for mask in (0xFFFFFFFF, 0xFFF0F0F0):  # all shades, or 16 of each channel
            shades: npt.NDArray[np.uint32] = words[painted] & np.uint32(mask)
            if len(np.union1d(outside, shades)) <= _SPARE:
                break
        else:
            common = outside[np.argsort(-counts)[:_FREQUENT]] if len(outside) > _COLOURS else outside
            own, how_often = np.unique(shades, return_counts=True)  # the face's own colour first, then those of its rim
            room = own[np.argsort(-how_often)[: max(0, _SPARE - len(outside))]]
            table = np.concatenate([common, room])
            shades = table[nearest(_channels(shades), _channels(table))]
        words[painted] = shades

    def write(self, frames: Sequence[npt.NDArray[np.uint8]], scrub: Scrub) -> tuple[bytes, str]:
        """Write each frame as its difference to the one before, or whole where anything is transparent."""
        whole = any((frame[:, :, 3] == 0).any() for frame in frames)
        parts = [b"GIF89a", struct.pack("<HHBBB", self.width, self.height, 0x70, 0, 0), *self._extensions(scrub)]
        before = None
        for frame, delay in zip(frames, self._gif.delays, strict=True):
            parts.append(_image(None if whole else before, frame, delay, _CLEAR if whole else _KEEP))
            before = frame
        return b"".join((*parts, bytes([TRAILER]))), ""

    def _extensions(self, scrub: Scrub) -> list[bytes]:
        kept = (block for block in self._gif.blocks if block.kind == EXTENSION)
        return [scrubbed_block(self._data, b, scrub) for b in kept if b.label in {APPLICATION, COMMENT}]

    def scrubbed(self, scrub: Scrub = BARE) -> bytes:
        """Filter the extensions; images stay byte for byte, without what lies behind their end."""
        blocks = (self._ended(b) if b.kind == IMAGE else scrubbed_block(self._data, b, scrub) for b in self._gif.blocks)
        return b"".join((self._gif.head, *blocks, bytes([TRAILER])))

    def _ended(self, block: Block) -> bytes:
        """Return an image without what lies behind its end code, which nobody is shown."""
        codes = coded(self._data, block)
        end = end_of_codes(codes)
        if end is None:
            return self._data[block.start : block.end]
        pieces = [codes[at : min(at + _PIECE, end)] for at in range(1, end, _PIECE)]
        head = self._data[block.start : block.codes + 1]
        return head + b"".join(bytes([len(one)]) + one for one in pieces) + b"\0"

    def embedded(self) -> list[str]:
        """Name the extensions that hold a picture."""
        extensions = (block for block in self._gif.blocks if block.kind != IMAGE)
        return [f"extension {b.label:x}" for b in extensions if contains_picture(joined(self._data, b))]


def _words(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """View BGRA pixels as one number each: opacity, red, green, blue."""
    return pixels.view("<u4").reshape(pixels.shape[:2])


def _channels(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(words).view(np.uint8).reshape(-1, 4)


def _image(before: npt.NDArray[Any] | None, after: npt.NDArray[Any], delay: int, disposal: int) -> bytes:
    """Write one frame: what differs from the one before, the rest of its box left as it is."""
    left, top, right, bottom = changed_box(before, after)
    words = _words(after)[top:bottom, left:right]
    clear = np.zeros(words.shape, np.bool_) if before is None else words == _words(before)[top:bottom, left:right]
    clear |= words == 0
    colours, indices = np.unique(words[~clear], return_inverse=True)
    if len(colours) >= _COLOURS and not (words == 0).any():  # no index is left for what does not change
        clear[...] = False
        colours, indices = np.unique(words, return_inverse=True)
    if len(colours) + bool(clear.any()) > _COLOURS:
        raise ImageError(Reason.UNSUPPORTED, "A frame of the GIF has more than 256 colours outside of the faces")
    spare = len(colours) if clear.any() else None
    cells = np.full(words.shape, spare or 0, np.uint8)
    cells[~clear] = indices.reshape(-1)
    table = _channels(colours)[:, 2::-1].tobytes()
    control = struct.pack("<BBBBHBB", EXTENSION, 0xF9, 4, disposal << 2 | (spare is not None), delay, spare or 0, 0)
    place = struct.pack("<BHHHHB", IMAGE, left, top, right - left, bottom - top, 0x87)
    return control + place + table.ljust(3 * _COLOURS, b"\0") + _compressed(cells)


def _compressed(cells: npt.NDArray[np.uint8]) -> bytes:
    """Compress indices with Pillow: save them as a GIF of one frame, and take its data."""
    out = io.BytesIO()
    with decoding("GIF"):
        image = Image.fromarray(cells).convert("P")
        image.putpalette(bytes(range(256)) * 3)
        image.frombytes(cells.tobytes())
        image.save(out, "GIF", optimize=False, interlace=False)
    data = out.getvalue()
    block = next(block for block in read_gif(data).blocks if block.kind == IMAGE)
    return data[block.codes : block.end]
