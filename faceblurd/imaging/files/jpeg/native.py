"""The compiled bit loop: `splice.c`, called through ctypes.

Checks shapes and sizes before a pointer is handed over. A library that is missing, or was built for another machine, is
no error: `fallback` gives the same bits.
"""

from __future__ import annotations

import ctypes
import functools
import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceblurd.imaging.files.jpeg.coding import (
    RUN_FIELDS,
    Walk,
    complaint,
    missing_codes,
)
from faceblurd.imaging.files.jpeg.huffman import SpliceError

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.files.jpeg.huffman import Table
    from faceblurd.imaging.files.jpeg.layout import Stream

_NO_ROOM: Final = -6
_MISSING: Final = -5
FILE: str = "_splice.so"
_VERSION: Final = 2
_CALLS: Final = (
    "fb_unstuff", "fb_stuff", "fb_table", "fb_stream", "fb_walk", "fb_reread", "fb_write", "fb_means", "fb_lay",
)  # fmt: skip


class NativeCoder:
    """Walks and writes restart intervals of one stream."""

    def __init__(self, stream: Stream) -> None:
        if reason := available():
            raise SpliceError(reason)
        self._library = load()
        self._kept = [self._table(table) for table in (*stream.dc, *stream.ac)]
        self._blocks, self._components = len(stream.component), len(stream.dc)
        self._stream = ctypes.create_string_buffer(self._library.fb_stream_size())
        pointers = (ctypes.c_void_p * len(self._kept))(*(ctypes.addressof(table) for table in self._kept))
        of_ac = ctypes.byref(pointers, self._components * ctypes.sizeof(ctypes.c_void_p))
        code = self._library.fb_stream(
            self._stream, ctypes.c_int32(self._blocks), bytes(stream.component), ctypes.c_int32(self._components),
            pointers, of_ac,
        )  # fmt: skip
        _check(code)

    def _table(self, table: Table) -> Any:  # noqa: ANN401 - an opaque buffer
        built = ctypes.create_string_buffer(self._library.fb_table_size())
        values = ctypes.c_uint64(len(table.values))
        _check(self._library.fb_table(built, bytes(table.counts), table.values, values, ctypes.c_int32(table.is_dc)))
        return built

    def unstuffed(self, raw: bytes) -> bytes:
        """Take out the zeros; see `coding.Coder`."""
        output = np.empty(len(raw), np.uint8)
        used = self._library.fb_unstuff(raw, ctypes.c_uint64(len(raw)), _at(output))
        _check(used)
        return output[:used].tobytes()

    def stuffed(self, bits: bytes) -> bytes:
        """Put in the zeros; see `coding.Coder`."""
        output = np.empty(2 * len(bits), np.uint8)
        return output[: self._library.fb_stuff(bits, ctypes.c_uint64(len(bits)), _at(output))].tobytes()

    def walk(self, bits: bytes, wanted: npt.NDArray[np.uint8], coefficients: npt.NDArray[np.int16]) -> Walk:
        """Read an interval; see `coding.Coder`."""
        _expect(wanted, np.uint8, (len(wanted),))
        taken = int(np.count_nonzero(wanted))
        _expect(coefficients, np.int16, (taken, self._blocks, 64))
        runs = np.zeros((taken, RUN_FIELDS), np.int64)
        end = ctypes.c_uint64()
        found = self._library.fb_walk(
            self._stream, bits, ctypes.c_uint64(len(bits)), ctypes.c_uint64(len(wanted)), _at(wanted),
            _at(coefficients), ctypes.c_uint64(taken), _at(runs), ctypes.c_uint64(taken), ctypes.byref(end),
        )  # fmt: skip
        _check(found)
        return Walk(runs[:found].copy(), end.value)

    def reread(self, old: bytes, walk: Walk, bits: bytes, coefficients: npt.NDArray[np.int16]) -> None:
        """Read what was written; see `coding.Coder`."""
        _expect(coefficients, np.int16, (len(coefficients), self._blocks, 64))
        _expect(walk.runs, np.int64, (len(walk.runs), RUN_FIELDS))
        code = self._library.fb_reread(
            self._stream, old, ctypes.c_uint64(len(old)), ctypes.c_uint64(walk.end), _at(walk.runs),
            ctypes.c_uint64(len(walk.runs)), bits, ctypes.c_uint64(len(bits)), _at(coefficients),
            ctypes.c_uint64(len(coefficients)),
        )  # fmt: skip
        _check(code)

    def write(
        self, bits: bytes, walk: Walk, coefficients: npt.NDArray[np.int16], *, source: NativeCoder | None = None
    ) -> bytes:
        """Write an interval; see `coding.Coder`."""
        _expect(coefficients, np.int16, (len(coefficients), self._blocks, 64))
        _expect(walk.runs, np.int64, (len(walk.runs), RUN_FIELDS))
        missing = np.zeros((self._components, 2, 256), np.uint8)
        likely = len(bits) + len(bits) // 64 + coefficients.size // 4 + 4096
        for room in (likely, 4 * len(bits) + 4 * coefficients.size + 4096):  # a symbol and its bits: at most 4 bytes
            output = np.empty(room, np.uint8)
            used = self._library.fb_write(
                self._stream, None if source is None else source._stream,  # noqa: SLF001 - of this class
                bits, ctypes.c_uint64(len(bits)), ctypes.c_uint64(walk.end), _at(walk.runs),
                ctypes.c_uint64(len(walk.runs)), _at(coefficients), ctypes.c_uint64(len(coefficients)),
                _at(output), ctypes.c_uint64(room), _at(missing),
            )  # fmt: skip
            if used != _NO_ROOM:
                break
        if used == _MISSING:
            raise missing_codes(missing)
        _check(used)
        return output[:used].tobytes()


def _at(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _expect(array: npt.NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> None:  # noqa: ANN401 - a numpy type
    """Refuse an array that the C code would misread: a bug here, not in the file."""
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise ValueError(f"{array.dtype} {array.shape} instead of {dtype} {shape}")


def _check(code: int) -> None:
    if code < 0:
        raise complaint(code)


def available() -> str | None:
    """Return None when the compiled loop works here, otherwise the reason for people."""
    found = load()
    return found if isinstance(found, str) else None


@functools.cache
def load() -> Any:  # noqa: ANN401 - a library, or the reason why there is none
    """Load the library once; return the reason instead where that fails."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), FILE)
    if not os.path.exists(path):
        return "it was installed without a C compiler"
    try:
        library = ctypes.CDLL(path)
        for name in ("fb_version", "fb_table_size", "fb_stream_size"):
            getattr(library, name).restype = ctypes.c_uint64
        for name in _CALLS:
            getattr(library, name).restype = ctypes.c_int64
        version = library.fb_version()
    except (OSError, AttributeError) as error:
        return f"the library does not load: {error}"
    return library if version == _VERSION else f"the library is of version {version}, not {_VERSION}"
