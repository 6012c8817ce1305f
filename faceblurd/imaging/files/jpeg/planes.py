"""Samples and coefficients: the cosine transforms, and the arrangement of blocks in a plane.

Blocks are rows of 64 numbers in zigzag order, so that the transform of a block is one product with a matrix. numpy
takes a third of OpenCV's time for it; workers keep it to one thread (`workers.job`).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

BLOCK: Final = 8
_AT_ONCE: Final = 2048  # blocks: 512 kB of floats, whatever the size of a face
MIDDLE: Final = 128
_LARGEST: Final = 1023  # of an AC coefficient in 8-bit JPEG


def samples(coefficients: npt.NDArray[np.int16], steps: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Turn quantised blocks (N, 64) into samples (N, 8, 8), as a decoder does."""
    out = np.empty((len(coefficients), BLOCK, BLOCK), np.uint8)
    for start in range(0, len(coefficients), _AT_ONCE):
        part = exact_samples(coefficients[start : start + _AT_ONCE], steps)
        out[start : start + _AT_ONCE] = np.rint(part, out=part)
    return out


def exact_samples(coefficients: npt.NDArray[np.int16], steps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Do the same without rounding."""
    values = np.asarray(coefficients * steps @ basis(), np.float32)
    values += MIDDLE
    return values.clip(0, 255, out=values).reshape(-1, BLOCK, BLOCK)


def quantised(blocks: npt.NDArray[np.uint8 | np.float32], steps: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Turn samples (N, 8, 8) into quantised blocks (N, 64)."""
    out = np.empty((len(blocks), BLOCK * BLOCK), np.int16)
    for start in range(0, len(blocks), _AT_ONCE):
        part = blocks[start : start + _AT_ONCE].reshape(-1, BLOCK * BLOCK).astype(np.float32)
        part -= MIDDLE
        out[start : start + _AT_ONCE] = rounded(part @ basis().T, steps)
    return out


def rounded(coefficients: npt.NDArray[np.float32], steps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Quantise coefficients (N, 64) in place."""
    coefficients /= steps
    np.rint(coefficients, out=coefficients)
    coefficients[:, 1:].clip(-_LARGEST, _LARGEST, out=coefficients[:, 1:])
    return coefficients


def grid(plane: npt.NDArray[Any], horizontal: int, vertical: int) -> npt.NDArray[Any]:
    """View a plane of whole MCUs as (MCU row, MCU column, block row, block column, 8, 8)."""
    height, width = plane.shape
    rows, columns = height // (BLOCK * vertical), width // (BLOCK * horizontal)
    return plane.reshape(rows, vertical, BLOCK, columns, horizontal, BLOCK).transpose(0, 3, 1, 4, 2, 5)


@functools.cache
def cosines() -> npt.NDArray[np.float32]:
    """Return the orthonormal transform of 8 samples: a row for each frequency."""
    wave = np.multiply.outer(np.arange(BLOCK), 2 * np.arange(BLOCK) + 1) * np.pi / (2 * BLOCK)
    rows = np.cos(wave) * np.sqrt(2 / BLOCK)
    rows[0] = np.sqrt(1 / BLOCK)
    return np.asarray(rows, np.float32)


@functools.cache
def zigzag() -> npt.NDArray[np.intp]:
    """Return where each coefficient of the zigzag lies in a block (8 v + u): up the even diagonals, down the odd."""
    order = sorted(((v, u) for v in range(BLOCK) for u in range(BLOCK)), key=lambda at: (sum(at), at[sum(at) % 2 == 0]))
    return np.array([BLOCK * v + u for v, u in order])


@functools.cache
def basis() -> npt.NDArray[np.float32]:
    """Return the orthonormal matrix from zigzag coefficients (rows) to samples (columns)."""
    return np.ascontiguousarray(np.kron(cosines(), cosines())[zigzag()])
