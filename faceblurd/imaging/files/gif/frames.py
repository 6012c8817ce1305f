"""The images of a GIF, decoded one by one, each with the palette that it is shown with."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from faceblurd.imaging.files.codecs import check_size, pillow
from faceblurd.imaging.files.composition import Disposal, Layer
from faceblurd.imaging.files.gif.blocks import CONTROL, IMAGE

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.files.gif.blocks import Block, Gif

_DISPOSALS: Final = {2: Disposal.CLEAR, 3: Disposal.RESTORE}
_COLOURS: Final = 256
_INDICES: Final = bytes(level for level in range(_COLOURS) for _ in range(3))  # a palette by which Pillow gives them
_INTERLACED: Final = 0x40
_CLEAR_CODE_BITS: Final = 12
_SPARE_BYTES: Final = 8  # that some encoders write behind the end of an image


class Layers:
    """Decodes images by their numbers."""

    def __init__(self, data: bytes, gif: Gif) -> None:
        self._data, self._gif = data, gif
        self._images: list[tuple[Block, bytes]] = []
        control = b""
        for block in gif.blocks:
            if block.label == CONTROL:
                control = data[block.start : block.end]
            elif block.kind == IMAGE:
                self._images.append((block, control))
                control = b""

    def __call__(self, number: int) -> Layer:
        """Return a layer. Raises ImageError."""
        block, control = self._images[number]
        left, top, width, height = struct.unpack_from("<HHHH", self._data, block.start + 1)
        flags, clear = (control[3], control[6]) if len(control) > 6 else (0, 0)  # noqa: PLR2004 - their places
        table = self._table(block)
        if flags & 1:
            table[clear] = 0
        disposal = _DISPOSALS.get(flags >> 2 & 7, Disposal.KEEP)
        return Layer(table[self._indices(block, width, height)], left, top, disposal)

    def _table(self, block: Block) -> npt.NDArray[np.uint8]:
        """Return the colours, BGRA; an index without one is black. A GIF without any table has shades of gray."""
        at, size = (block.start + 10, block.table) if block.table else (13, len(self._gif.head) - 13)
        stored = self._data[at : at + size] if size else _INDICES
        table = np.zeros((_COLOURS, 4), np.uint8)
        table[:, 3] = 255
        table[: len(stored) // 3, :3] = np.frombuffer(stored, np.uint8).reshape(-1, 3)[:, ::-1]
        return table

    def _indices(self, block: Block, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Decode an image as a GIF of its own, with a palette of shades of gray: the levels are the indices."""
        flags = self._data[block.start + 9]
        head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0) + _INDICES
        place = b"," + struct.pack("<HHHHB", 0, 0, width, height, flags & _INTERLACED)
        with pillow(head + place + self._data[block.codes : block.end] + b";", "GIF") as opened:
            array = np.asarray(opened.convert("L"))
        check_size(array, width=width, height=height)
        return array


def end_of_codes(data: bytes) -> int | None:
    """Return where data begin behind the end code of an image: `data` is its code size, and what its sub-blocks hold.

    None where there are none. Follows the widths of the codes only; an image without an end code has all of its data
    before it.
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
                return position + 2 if len(codes) - position - 1 > _SPARE_BYTES else None
            if code == clear:
                width, known, fresh = smallest + 1, clear + 2, True
                continue
            known += not fresh
            fresh = False
            if known == 1 << width and width < _CLEAR_CODE_BITS:
                width += 1
    return None
