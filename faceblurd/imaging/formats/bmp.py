"""BMP: decoded and encoded with Pillow; lossless, with nothing to keep but the resolution."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from faceblurd.errors import ImageError
from faceblurd.imaging.formats import Encoded
from faceblurd.imaging.formats.codecs import check_size, decoding, pillow, preview_of, zero_tail
from faceblurd.imaging.formats.still import Still
from faceblurd.imaging.metadata import BARE, contains_picture
from faceblurd.model import Reason

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.metadata import Scrub

_CORE_HEADER, _FILE_HEADER, _PLAIN, _BITFIELDS = 12, 14, 0, 3
_RLE = frozenset({1, 2})
_SPARSE = 8  # zeros over an eighth of uncompressed pixels: a copy that is still arriving, not a dark corner


class BmpPicture(Still):
    """One bitmap."""

    format = "bmp"
    orientation = 1

    def __init__(self, data: bytes) -> None:
        """Read the header and check that all rows are there."""
        try:
            self._read_header(data)
        except struct.error as error:
            raise ImageError(Reason.INCOMPLETE, "The BMP ends inside its header", retryable=True) from error
        if self._end > len(data) or (self._plain and zero_tail(data) > max(4096, (self._end - self._start) // _SPARSE)):
            raise ImageError(Reason.INCOMPLETE, "The BMP's rows are not all there", retryable=True)
        with pillow(data, "BMP") as image:
            if image.mode not in {"1", "L", "P", "RGB"}:  # Pillow writes no alpha that readers would see
                raise ImageError(Reason.UNSUPPORTED, f"Bitmaps of this kind ({image.mode}) are not supported")
        self._data = data
        self._stored: npt.NDArray[Any] | None = None

    def _read_header(self, data: bytes) -> None:
        self._start, header = struct.unpack_from("<II", data, 10)
        core = header == _CORE_HEADER
        width, height, _, bits = struct.unpack_from("<HHHH" if core else "<iiHH", data, 18)
        compression, size = (_PLAIN, 0) if core else struct.unpack_from("<II", data, 30)
        if compression not in {_PLAIN, _BITFIELDS, *_RLE}:
            raise ImageError(Reason.UNSUPPORTED, f"BMP compression {compression} is not supported")
        self.width, self.height = width, abs(height)
        self._plain = compression not in _RLE
        rows = (width * bits + 31) // 32 * 4 * self.height
        self._end = self._start + (rows if self._plain else size)
        colours = 0 if core else struct.unpack_from("<I", data, 46)[0]
        colours = colours or (1 << bits if bits <= 8 else 0)  # noqa: PLR2004 - a palette
        masks = _FILE_HEADER - 2 if compression == _BITFIELDS and header == 40 else 0  # noqa: PLR2004 - three words
        self._used = _FILE_HEADER + header + masks + colours * (3 if core else 4)

    def _load(self) -> npt.NDArray[Any]:
        """Decode once; the detectors' preview and the pixels come from the same decode."""
        if self._stored is None:
            with pillow(self._data, "BMP") as image:
                as_it_is = image.mode in {"L", "RGB"}
                plain = image if as_it_is else image.convert("L" if image.mode == "1" else "RGB")
                array = np.array(plain)
            self._stored = array if array.ndim == 2 else swapped(array)  # noqa: PLR2004 - gray
            check_size(self._stored, width=self.width, height=self.height)
        return self._stored

    def preview(self, longest_px: int | None, frame: int = 0) -> npt.NDArray[Any]:  # noqa: ARG002 - there is one
        """Scale the whole picture down."""
        return preview_of(self._load(), orientation=1, longest_px=longest_px)

    def pixels(self, frame: int = 0) -> npt.NDArray[Any]:  # noqa: ARG002 - there is one
        """Hand over the decoded pixels."""
        array = self._load()
        self._stored = None
        return array

    def encode(self, pixels: npt.NDArray[Any], scrub: Scrub = BARE) -> Encoded:  # noqa: ARG002 - see metadata.Scrub
        """Write the same kind of bitmap; a palette becomes colours."""
        out = io.BytesIO()
        with decoding("BMP"), pillow(self._data, "BMP") as old:
            array = pixels if pixels.ndim == 2 else swapped(pixels)  # noqa: PLR2004 - gray
            note = "" if old.mode in {"L", "RGB"} else "the palette became plain colours"
            Image.fromarray(array).save(out, "BMP", dpi=old.info.get("dpi", (96, 96)))
        return Encoded(out.getvalue(), lossless=True, note=note)

    def scrubbed(self, scrub: Scrub = BARE) -> bytes:  # noqa: ARG002 - see metadata.Scrub
        """Keep headers, palette and rows; blank the gap between them and drop what follows."""
        gap = max(self._start - self._used, 0)
        head = self._data[: self._start - gap] + bytes(gap)
        body = head + self._data[self._start : self._end]
        return body[:2] + struct.pack("<I", len(body)) + body[6:]

    def embedded(self) -> list[str]:
        """Look before and after the rows."""
        return ["BMP"] if contains_picture(self._data[: self._start] + self._data[self._end :]) else []


def swapped(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Exchange red and blue."""
    order = [2, 1, 0, 3][: array.shape[2]]
    return np.ascontiguousarray(array[:, :, order])
