"""Soft ellipses over blocks, laid by `laying.c`, called through ctypes.

Checks types and sizes before a pointer is handed over; `library` loads it.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceblurd.imaging.files.jpeg.coding import complaint
from faceblurd.imaging.files.jpeg.native import load
from faceblurd.imaging.redact.soft import halves

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.files.jpeg.covers import (
        Covers,
        Ints,
        Side,
        Surface,
    )
    from faceblurd.imaging.files.jpeg.sheets import Sheet

_PAIR_BYTES: Final = 24
_AXES, _COEFFICIENTS = 3, 64  # by MCU, block, and zigzag


class _Component(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("across", "down", "horizontal", "vertical", "blocks", "first")),
        *((name, ctypes.c_int64) for name in ("width", "height", "mcus")),
        *((name, ctypes.c_void_p) for name in ("place", "steps", "coefficients")),
    )


class _Side(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("off", "share", "least", "most", "start", "from_", "upto")),
    )


class _Covers(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_int64), ("rows", _Side), ("columns", _Side),
        ("whole", ctypes.c_void_p), ("surface", ctypes.c_void_p),
        ("seen_rows", ctypes.c_int64), ("seen_columns", ctypes.c_int64),
    )  # fmt: skip


class _Kept:
    """Arrays in the form that C reads, alive for as long as it does."""

    def __init__(self) -> None:
        self._arrays: list[npt.NDArray[Any]] = []

    def at(self, array: npt.NDArray[Any], dtype: Any) -> int:  # noqa: ANN401 - a numpy type
        """Return the address of an array, or of a copy of this type."""
        self._arrays.append(np.ascontiguousarray(array, dtype))
        return int(self._arrays[-1].ctypes.data)


def quarters(sheet: Sheet, covers: Covers) -> npt.NDArray[np.float64]:
    """Return the means of the four quarters of each cover's middle: (E, 2, 2)."""
    kept = _Kept()
    begins, ends, steps = halves(covers.windows[:, :, 1] - covers.windows[:, :, 0])
    starts = covers.windows[:, :, :1]
    spans = np.stack([begins + starts, ends + starts, np.broadcast_to(steps[:, :, None], begins.shape)], axis=-1)
    means = np.zeros((len(spans), 2, 2))
    code = load().fb_means(
        ctypes.byref(_component(sheet, kept)), ctypes.c_int64(len(spans)),
        ctypes.c_void_p(kept.at(spans, np.int64)), ctypes.c_void_p(means.ctypes.data),
    )  # fmt: skip
    _check(code)
    return means


def paint(sheet: Sheet, covers: Covers, surface: Surface) -> None:
    """Write the blocks that anything is laid over."""
    kept, count = _Kept(), len(covers.whole)
    spans, every = covers.blocks(sheet.seen, sheet.whole), np.arange(count)
    rows = covers.side(0, every, spans[:, 0], sheet.plane.height)
    columns = covers.side(1, every, spans[:, 1], sheet.plane.width)
    shades = np.stack([surface.base, surface.right, surface.down, surface.both], axis=1)
    laid = _Covers(
        count, _side(rows, spans[:, 0], kept), _side(columns, spans[:, 1], kept),
        kept.at(covers.whole, np.float32), kept.at(shades, np.float32), *sheet.seen,
    )  # fmt: skip
    beside, pairs = np.empty(count, np.int32), np.empty(count * _PAIR_BYTES, np.uint8)
    code = load().fb_lay(
        ctypes.byref(_component(sheet, kept)), ctypes.byref(laid),
        ctypes.c_void_p(beside.ctypes.data), ctypes.c_void_p(pairs.ctypes.data),
    )  # fmt: skip
    _check(code)


def _component(sheet: Sheet, kept: _Kept) -> _Component:
    coefficients, plane = sheet.coefficients, sheet.plane
    sound = coefficients.dtype == np.int16 and coefficients.ndim == _AXES and coefficients.shape[2] == _COEFFICIENTS
    if not sound or not coefficients.flags.c_contiguous or not coefficients.flags.writeable:
        raise ValueError(f"{coefficients.dtype} {coefficients.shape} instead of blocks that can be written")
    if plane.steps.shape != (_COEFFICIENTS,):
        raise ValueError(f"{plane.steps.shape} instead of {_COEFFICIENTS} steps")
    down, across = sheet.slots.shape
    return _Component(
        across, down, plane.horizontal, plane.vertical, coefficients.shape[1], sheet.first, plane.width, plane.height,
        len(coefficients), kept.at(sheet.slots, np.int32), kept.at(plane.steps, np.float32), coefficients.ctypes.data,
    )  # fmt: skip


def _side(side: Side, spans: Ints, kept: _Kept) -> _Side:
    counts = spans[:, 1] - spans[:, 0]
    return _Side(
        len(side.off), kept.at(side.off, np.float32), kept.at(side.share, np.float32),
        kept.at(side.off.min(axis=1, initial=np.inf) ** 2, np.float32),
        kept.at(side.off.max(axis=1, initial=0) ** 2, np.float32),
        kept.at(np.cumsum(counts) - counts, np.int64), kept.at(spans[:, 0], np.int64), kept.at(spans[:, 1], np.int64),
    )  # fmt: skip


def _check(code: int) -> None:
    if code < 0:
        raise complaint(code)
