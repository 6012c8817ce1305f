"""The rows of a bitmap: from bytes to pixels and back, at any of its depths, with nothing else changed.

A pixel that was not painted keeps all its bits, also those of unused channels. What was painted takes the nearest
colours that the depth or the palette has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from faceblurd.imaging.files.codecs import nearest

if TYPE_CHECKING:
    import numpy.typing as npt

_BYTE, _COLOUR, _WORD = 8, 24, 32  # bits of a pixel
_COLOURS = 256
PLAIN_MASKS = (0xFF, 0xFF00, 0xFF0000, 0xFF000000)


@dataclass(frozen=True, slots=True)
class Rows:
    """How rows lie. `masks`: blue, green, red and perhaps alpha in a word; `palette`: Nx3, BGR, where there is one."""

    width: int
    height: int
    bits: int
    upward: bool
    masks: tuple[int, ...] = PLAIN_MASKS
    palette: npt.NDArray[np.uint8] | None = None

    @property
    def stride(self) -> int:
        """Return the bytes of one row, padded to words."""
        return (self.width * self.bits + 31) // 32 * 4

    def cells(self, data: bytes) -> npt.NDArray[Any]:
        """Return what the file has for each pixel, the top row first: an index, a word, or the bytes of channels."""
        rows = np.frombuffer(data, np.uint8)[: self.stride * self.height].reshape(self.height, self.stride)
        rows = rows[::-1] if self.upward else rows
        if self.bits < _BYTE:
            single = np.unpackbits(rows, axis=1)[:, : self.width * self.bits].reshape(self.height, self.width, -1)
            return np.packbits(single, axis=2)[:, :, 0] >> (_BYTE - self.bits)
        used = np.ascontiguousarray(rows[:, : self.width * self.bits // 8])
        if self.bits == _COLOUR or self._is_plain:
            return used.reshape(self.height, self.width, -1)
        return used.view(f"<u{self.bits // 8}")

    @property
    def _is_plain(self) -> bool:
        return self.bits == _WORD and self.masks[:3] == PLAIN_MASKS[:3]

    def shown(self, cells: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Return pixels, BGR or BGRA."""
        if self.palette is not None:
            table = np.zeros((_COLOURS, 3), np.uint8)  # an index without a colour is black
            table[: len(self.palette)] = self.palette
            colours: npt.NDArray[np.uint8] = table[cells]
            return colours
        if self.bits == _COLOUR or self._is_plain:
            return np.array(cells, np.uint8)
        return np.stack([_spread(cells, mask) for mask in self.masks if mask], axis=2)

    def painted(self, pixels: npt.NDArray[np.uint8], cells: npt.NDArray[Any]) -> bytes:
        """Return the rows for pixels of which some differ from what `cells` show; they become what could be written."""
        changed = (pixels != self.shown(cells)).any(axis=2)
        fresh = cells.copy()
        if self.palette is not None:
            fresh[changed] = nearest(pixels[changed], self.palette)
        elif fresh.ndim > changed.ndim:
            fresh = pixels
        else:
            channels = pixels[changed].astype(np.uint32)
            used = [mask for mask in self.masks if mask]
            fresh[changed] = sum(_gathered(channels[:, at], mask) for at, mask in enumerate(used))
        pixels[changed] = self.shown(fresh)[changed]
        return self._packed(fresh)

    def _packed(self, cells: npt.NDArray[Any]) -> bytes:
        if self.bits < _BYTE:
            single = np.unpackbits(cells.astype(np.uint8)[:, :, None], axis=2)[:, :, _BYTE - self.bits :]
            body = np.packbits(single.reshape(self.height, -1), axis=1)
        else:
            body = np.ascontiguousarray(cells).view(np.uint8).reshape(self.height, -1)
        rows = np.zeros((self.height, self.stride), np.uint8)
        rows[:, : body.shape[1]] = body
        return (rows[::-1] if self.upward else rows).tobytes()


def _place(mask: int) -> tuple[int, int]:
    """Return by how much a channel is shifted, and its highest value."""
    shift = (mask & -mask).bit_length() - 1
    return shift, mask >> shift


def _spread(words: npt.NDArray[Any], mask: int) -> npt.NDArray[np.uint8]:
    shift, top = _place(mask)
    return ((((words & mask) >> shift).astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)


def _gathered(channel: npt.NDArray[np.uint32], mask: int) -> npt.NDArray[np.uint32]:
    shift, top = _place(mask)
    return ((channel * top + 127) // 255 << shift).astype(np.uint32)
