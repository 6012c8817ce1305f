"""The frames of a GIF as browsers show them: each drawn over what the ones before left.

Pillow decodes each frame by itself; how they lie over each other is done here, since Pillow fills what a frame clears,
or never covered, with a background colour that no browser shows. Source: GIF89a, and what browsers agree on.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from faceblurd.imaging.formats.bmp import swapped
from faceblurd.imaging.formats.codecs import check_size, pillow
from faceblurd.imaging.formats.gif_blocks import CONTROL, IMAGE

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.formats.gif_blocks import Block, Gif

_CLEAR, _RESTORE = 2, 3  # what to do with a frame's area before the next one; anything else: nothing
_CLEAR_CODE_BITS: Final = 12
_SPARE_BYTES: Final = 8  # that some encoders write behind the end of an image


class Frames:
    """Composes the frames in their order; going back starts over."""

    def __init__(self, data: bytes, gif: Gif) -> None:
        """Collect each image with what belongs to it."""
        self._data, self._gif = data, gif
        self._images: list[tuple[Block, bytes]] = []
        control = b""
        for block in gif.blocks:
            if block.label == CONTROL:
                control = data[block.start : block.end]
            elif block.kind == IMAGE:
                self._images.append((block, control))
                control = b""
        self._start_over()

    def _start_over(self) -> None:
        self._at = -1
        self._canvas = np.zeros((self._gif.height, self._gif.width, 4), np.uint8)
        self._next = self._canvas

    def composed(self, frame: int) -> npt.NDArray[np.uint8]:
        """Return a frame as it looks, BGRA. Raises ImageError."""
        if frame < self._at:
            self._start_over()
        while self._at < frame:
            self._draw(*self._images[self._at + 1])
            self._at += 1
        return self._canvas

    def _draw(self, block: Block, control: bytes) -> None:
        """Draw the next image; keep what the one after it is to be drawn on."""
        left, top, width, height = struct.unpack_from("<HHHH", self._data, block.start + 1)
        own = self._decoded(block, control, width, height)
        area = np.s_[top : top + height, left : left + width]
        before, canvas = self._next, self._next.copy()
        canvas[area] = np.where(own[:, :, 3:] > 0, own, canvas[area])
        self._canvas = self._next = canvas
        disposal = control[3] >> 2 & 7 if len(control) > 3 else 0  # noqa: PLR2004 - the flags' byte
        if disposal == _CLEAR:
            self._next = canvas.copy()
            self._next[area] = 0
        elif disposal == _RESTORE:
            self._next = before

    def _decoded(self, block: Block, control: bytes, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Decode one image as a GIF of its own, BGRA."""
        head = self._gif.head[:6] + struct.pack("<HH", width, height) + self._gif.head[10:]
        image = b"," + bytes(4) + self._data[block.start + 5 : block.end]
        with pillow(head + control + image + b";", "GIF") as opened:
            array = swapped(np.asarray(opened.convert("RGBA")))
        check_size(array, width=width, height=height)
        array[array[:, :, 3] == 0] = 0
        return array


def has_more(data: bytes) -> bool:
    """Say whether data lie behind the end code of an image: `data` is what its sub-blocks hold, after the code size.

    Follows the widths of the codes only; an image without an end code has all of its data before it.
    """
    smallest, codes = data[0], data[1:]
    clear = 1 << smallest
    width, known, accumulated, bits, fresh = smallest + 1, clear + 2, 0, 0, True
    for position, byte in enumerate(codes):
        accumulated |= byte << bits
        bits += 8
        while bits >= width:
            code = accumulated & (1 << width) - 1
            accumulated >>= width
            bits -= width
            if code == clear + 1:
                return len(codes) - position - 1 > _SPARE_BYTES
            if code == clear:
                width, known, fresh = smallest + 1, clear + 2, True
                continue
            known += not fresh
            fresh = False
            if known == 1 << width and width < _CLEAR_CODE_BITS:
                width += 1
    return False
