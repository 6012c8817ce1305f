"""Samples and coefficients: the cosine transforms, and the arrangement of blocks in a plane.

Blocks are rows of 64 numbers in zigzag order; the transform of a block is then one product with a matrix. numpy makes
it, in a third of OpenCV's time; workers keep it to one thread (`workers.job`).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

BLOCK: Final = 8
_AT_ONCE: Final = 2048  # blocks: 512 kB of floats, whatever the size of a face
_MIDDLE: Final = 128
_LARGEST: Final = 1023  # what a Huffman symbol of 8-bit JPEG can say


def samples(coefficients: npt.NDArray[np.int16], steps: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Turn quantised blocks (N, 64) into samples (N, 8, 8), as a decoder does."""
    out = np.empty((len(coefficients), BLOCK, BLOCK), np.uint8)
    for start in range(0, len(coefficients), _AT_ONCE):
        part = coefficients[start : start + _AT_ONCE] * steps @ _basis()
        part += _MIDDLE
        out[start : start + _AT_ONCE] = np.rint(part, out=part).clip(0, 255, out=part).reshape(-1, BLOCK, BLOCK)
    return out


def quantised(blocks: npt.NDArray[np.uint8], steps: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Turn samples (N, 8, 8) into quantised blocks (N, 64)."""
    out = np.empty((len(blocks), BLOCK * BLOCK), np.int16)
    for start in range(0, len(blocks), _AT_ONCE):
        part = blocks[start : start + _AT_ONCE].reshape(-1, BLOCK * BLOCK).astype(np.float32)
        part -= _MIDDLE
        part = part @ _basis().T
        part /= steps
        np.rint(part, out=part)
        part[:, 1:].clip(-_LARGEST, _LARGEST, out=part[:, 1:])
        out[start : start + _AT_ONCE] = part
    return out


def grid(plane: npt.NDArray[Any], horizontal: int, vertical: int) -> npt.NDArray[Any]:
    """View a plane of whole MCUs as (MCU row, MCU column, block row, block column, 8, 8)."""
    height, width = plane.shape
    rows, columns = height // (BLOCK * vertical), width // (BLOCK * horizontal)
    return plane.reshape(rows, vertical, BLOCK, columns, horizontal, BLOCK).transpose(0, 3, 1, 4, 2, 5)


@functools.cache
def _basis() -> npt.NDArray[np.float32]:
    """Return the orthonormal matrix from zigzag coefficients (rows) to samples (columns)."""
    wave = np.multiply.outer(np.arange(BLOCK), 2 * np.arange(BLOCK) + 1) * np.pi / (2 * BLOCK)
    cosines = np.cos(wave) * np.sqrt(2 / BLOCK)
    cosines[0] = np.sqrt(1 / BLOCK)
    # The zigzag runs along diagonals v + u, up the even ones and down the odd ones.
    order = sorted(((v, u) for v in range(BLOCK) for u in range(BLOCK)), key=lambda at: (sum(at), at[sum(at) % 2 == 0]))
    return np.stack([np.outer(cosines[v], cosines[u]).ravel() for v, u in order]).astype(np.float32)
