"""BMP: rows are read and written here, since no library keeps their depth, masks and palette. Lossless.

Header and colour profile stay byte for byte; run-length coded rows become plain ones.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from faceblurd.errors import ImageError
from faceblurd.imaging.files.bmp.rows import PLAIN_MASKS, Rows
from faceblurd.imaging.files.codecs import (
    check_size,
    ends_in_mid_row,
    pillow,
    zero_tail,
)
from faceblurd.imaging.files.still import Still
from faceblurd.imaging.metadata import BARE, contains_picture
from faceblurd.imaging.picture import Encoded
from faceblurd.imaging.redact.soft import Channels
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.metadata import Scrub
    from faceblurd.model import Region

_FILE_HEADER, _CORE_HEADER, _INFO_HEADER, _WITH_ALPHA, _WITH_PROFILE = 14, 12, 40, 56, 124
# With other sizes programs disagree where the palette starts: one shows black where another shows a face.
_HEADERS = frozenset({_CORE_HEADER, _INFO_HEADER, 52, _WITH_ALPHA, 64, 108, _WITH_PROFILE})
_PLAIN, _BITFIELDS = 0, 3
_RLE = {1: 8, 2: 4}  # compression, and the only depth it has
_BY_MASKS = frozenset({16, 32})
_NARROW_MASKS = (0x1F, 0x3E0, 0x7C00)
_TOPS = frozenset((1 << bits) - 1 for bits in range(1, 9))  # masks without gaps, of at most 8 bits, shifted down
_COLOURS = 256
_SIZE_AT, _START_AT, _COMPRESSION_AT, _ROWS_AT, _COLOURS_AT, _MASKS_AT, _PROFILE_AT = 2, 10, 30, 34, 46, 54, 126
_SPARSE = 8  # zeros over an eighth of uncompressed pixels: a copy that is still arriving, or black


class BmpPicture(Still):
    """One bitmap."""

    format = "bmp"
    orientation = 1

    def __init__(self, data: bytes) -> None:
        """Read the header and check that all rows are there."""
        self._data = data
        try:
            self._read_header(data)
        except struct.error as error:
            raise ImageError(Reason.INCOMPLETE, "The BMP ends inside its header", retryable=True) from error
        if self._end > len(data):
            raise ImageError(Reason.INCOMPLETE, "The BMP's rows are not all there", retryable=True)

    def _read_header(self, data: bytes) -> None:
        self._start, header = struct.unpack_from("<II", data, _START_AT)
        core = header == _CORE_HEADER
        width, height, _, bits = struct.unpack_from("<HHHH" if core else "<iiHH", data, 18)
        self._compression, size = (_PLAIN, 0) if core else struct.unpack_from("<II", data, _COMPRESSION_AT)
        self._check_kind(header, bits)
        self.width, self.height = width, abs(height)
        named = 0 if core else struct.unpack_from("<I", data, _COLOURS_AT)[0]
        colours = named or (1 << bits if bits <= 8 else 0)  # noqa: PLR2004 - a palette
        masks = _MASKS_AT + 12 if self._compression == _BITFIELDS else 0
        table_at, entry = max(_FILE_HEADER + header, masks), 3 if core else 4
        self._used = min(table_at + colours * entry, max(self._start, table_at))
        palette = _palette(data[table_at : self._used], entry) if bits <= 8 else None  # noqa: PLR2004 - same
        self.channels = Channels(few=palette is not None)
        self._rows = Rows(self.width, self.height, bits, height > 0, self._masks(bits, header), palette)
        self._end = self._start + (size if self._compression in _RLE else self._rows.stride * self.height)
        self._has_profile = header >= _WITH_PROFILE
        self._profile = self._read_profile() if self._has_profile else b""

    def _check_kind(self, header: int, bits: int) -> None:
        kind = f"{bits} bits, compression {self._compression}, header {header}"
        fits = {
            _PLAIN: bits in {1, 4, 8, 16, 24, 32},
            _BITFIELDS: bits in _BY_MASKS,
        }.get(self._compression, _RLE.get(self._compression) == bits)
        if not fits or header not in _HEADERS:
            raise ImageError(Reason.UNSUPPORTED, f"Bitmaps of this kind ({kind}) are not supported")

    def _masks(self, bits: int, header: int) -> tuple[int, ...]:
        """Return which bits of a word are blue, green, red and alpha."""
        if self._compression != _BITFIELDS:
            return _NARROW_MASKS if bits == 16 else PLAIN_MASKS  # noqa: PLR2004 - of two bytes
        red, green, blue = struct.unpack_from("<III", self._data, _MASKS_AT)
        alpha = struct.unpack_from("<I", self._data, _MASKS_AT + 12)[0] if header >= _WITH_ALPHA else 0
        masks = (blue, green, red, alpha)
        if not (blue and green and red) or any(mask and mask // (mask & -mask) not in _TOPS for mask in masks):
            raise ImageError(Reason.UNSUPPORTED, "Bitmaps with channels of more than 8 bits are not supported")
        return masks

    def _read_profile(self) -> bytes:
        """Return the colour profile, which lies behind the rows."""
        offset, size = struct.unpack_from("<II", self._data, _PROFILE_AT)
        profile = self._data[_FILE_HEADER + offset : _FILE_HEADER + offset + size]
        return b"" if len(profile) < size or contains_picture(profile) else profile

    def _cells(self) -> npt.NDArray[Any]:
        if self._compression not in _RLE:
            return self._rows.cells(self._data[self._start : self._end])
        with pillow(self._data, "BMP") as image:
            cells = np.array(image).astype(np.uint8)  # the indices, whatever Pillow makes of the palette
        check_size(cells, width=self.width, height=self.height)
        return cells

    def decoded(self) -> npt.NDArray[Any]:
        """Read the rows."""
        cells = self._cells()
        sparse = self._compression not in _RLE and zero_tail(self._data) > (self._end - self._start) // _SPARSE
        if sparse and ends_in_mid_row(cells[::-1] if self._rows.upward else cells):
            raise ImageError(Reason.INCOMPLETE, "The BMP's rows are not all there", retryable=True)
        return self._rows.shown(cells)

    def encode(self, pixels: npt.NDArray[Any], scrub: Scrub = BARE) -> Encoded:  # noqa: ARG002 - see metadata.Scrub
        """Write the rows as they were. `pixels` are changed in place to what the palette or the depth can hold."""
        rows = self._rows.painted(pixels, self._cells())
        if self._compression not in _RLE:
            return Encoded(self._built(rows), lossless=True)
        note = "the rows are no longer run-length coded"
        return Encoded(self._built(rows, compression=_PLAIN), lossless=True, note=note)

    def fitted(self, pixels: npt.NDArray[Any], before: npt.NDArray[Any], regions: Sequence[Region]) -> None:  # noqa: ARG002 - the rows say it all
        """Give what was painted the colours that the palette or the depth has."""
        self._rows.painted(pixels, self._cells())

    def scrubbed(self, scrub: Scrub = BARE) -> bytes:  # noqa: ARG002 - see metadata.Scrub
        """Keep header, palette, rows and profile; blank what lies between them and drop what follows."""
        return self._built(self._data[self._start : self._end])

    def _built(self, rows: bytes, *, compression: int | None = None) -> bytes:
        head = bytearray(self._data[: self._used].ljust(self._start, b"\0"))
        end = len(head) + len(rows)
        struct.pack_into("<I", head, _SIZE_AT, end + len(self._profile))
        if compression is not None:
            struct.pack_into("<II", head, _COMPRESSION_AT, compression, len(rows))
        if self._has_profile:
            place = (end - _FILE_HEADER, len(self._profile)) if self._profile else (0, 0)
            struct.pack_into("<II", head, _PROFILE_AT, *place)
        return bytes(head) + rows + self._profile

    def embedded(self) -> list[str]:
        """Look before and after the rows."""
        return ["BMP"] if contains_picture(self._data[_FILE_HEADER : self._start] + self._data[self._end :]) else []


def _palette(table: bytes, entry: int) -> npt.NDArray[np.uint8]:
    count = min(len(table) // entry, _COLOURS)
    if not count:
        raise ImageError(Reason.DAMAGED, "The BMP has no palette")
    return np.frombuffer(table, np.uint8)[: count * entry].reshape(count, entry)[:, :3]


def swapped(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Exchange red and blue."""
    order = [2, 1, 0, 3][: array.shape[2]]
    return np.ascontiguousarray(array[:, :, order])
