"""AVIF: decoded and encoded with Pillow, at 8 bits, in the sampling that it has; see picture.py for the rest.

The size that an AV1 stream says of itself counts for a decoder that does not ask the file around it: it is compared.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image, features

from faceblurd.errors import ImageError
from faceblurd.imaging.files.bmp import swapped
from faceblurd.imaging.files.codecs import GRAY_DIMENSIONS, encoding, pillow
from faceblurd.imaging.files.heif.boxes import damaged
from faceblurd.imaging.files.heif.looks import shown_size
from faceblurd.imaging.files.heif.picture import ItemPicture
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from faceblurd.imaging.files.heif.items import Item

_SPEED = 9  # 0.1 s a megapixel on one core; 7 takes five times as long, for a file that is a few percent smaller
_HIGH, _TWELVE, _GRAY, _HALF_COLUMNS, _HALF_ROWS = 0x40, 0x20, 0x10, 0x08, 0x04
_MISSING = "This Pillow has no AVIF codec: install pillow 11.3 or newer from its wheels"
_SEQUENCE_HEADER = 1
_MOST_LEVEL_WITHOUT_TIER = 7


class AvifPicture(ItemPicture):
    """One still AVIF."""

    format = "avif"
    codec: ClassVar[bytes] = b"av01"
    configuration: ClassVar[bytes] = b"av1C"
    quality: ClassVar[int] = 90  # 45 dB

    def __init__(self, data: bytes) -> None:
        """Read the items. Raises ImageError UNSUPPORTED without the codec."""
        if not available():
            raise ImageError(Reason.UNSUPPORTED, _MISSING)
        super().__init__(data)

    def check_coded(self, item: Item) -> None:
        """Compare the size of a picture in the file's properties with the one in its own header.

        libavif shrinks a larger picture to the file's size, and a face in it may not be found; other viewers do not.
        """
        if coded_sizes(item.data) != {shown_size(item)[0]}:
            raise damaged("its picture is not as large as it says")

    def coding(self, configuration: bytes) -> tuple[int, str]:
        """Read the third byte of the AV1 configuration."""
        if len(configuration) < 4:  # noqa: PLR2004 - it has four bytes
            raise damaged("its decoder configuration is missing")
        flags = configuration[2]
        depth = 8 if not flags & _HIGH else 12 if flags & _TWELVE else 10
        return depth, sampling(flags & _GRAY, columns=flags & _HALF_COLUMNS, rows=flags & _HALF_ROWS)

    def decode(self, data: bytes) -> npt.NDArray[Any]:
        """Decode with Pillow, which gives 8 bits, and alpha apart from the colours."""
        with pillow(data, "AVIF") as image:
            array = np.array(image)
        return array if array.ndim == GRAY_DIMENSIONS else swapped(array)

    def compress(self, pixels: npt.NDArray[Any]) -> bytes:
        """Encode with Pillow."""
        out = io.BytesIO()
        with encoding("AVIF"):
            image = Image.fromarray(pixels if pixels.ndim == GRAY_DIMENSIONS else swapped(pixels))
            image.save(out, "AVIF", quality=self.quality, subsampling=self.subsampling, speed=_SPEED)
        return out.getvalue()


def available() -> bool:
    """Say whether Pillow was built with the codec."""
    return bool(features.check("avif"))


def sampling(gray: int, *, columns: int, rows: int) -> str:
    """Name the sampling of the colours from what is halved."""
    if gray:
        return "4:0:0"
    return "4:2:0" if rows else "4:2:2" if columns else "4:4:4"


def coded_sizes(stream: bytes) -> set[tuple[int, int]]:
    """Return columns and rows of each sequence header. Raises ImageError DAMAGED, or UNSUPPORTED for parts of films."""
    return {_size(_Bits(body)) for kind, body in _units(stream) if kind == _SEQUENCE_HEADER}


def _units(stream: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(stream):
        head = stream[position]
        position += 2 if head & 4 else 1  # with an extension
        size = len(stream) - position
        if head & 2:
            size, position = _number(stream, position)
        if size < 0 or position + size > len(stream):
            raise damaged("a unit of its AV1 stream is cut")
        yield head >> 3 & 15, stream[position : position + size]
        position += size


def _number(stream: bytes, position: int) -> tuple[int, int]:
    """Read a number of seven bits a byte; return it, and where it ends."""
    value = 0
    for at in range(8):
        byte = stream[position + at] if position + at < len(stream) else 0
        value |= (byte & 0x7F) << 7 * at
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follow
            return value, position + at + 1
    raise damaged("a unit of its AV1 stream has no size")


class _Bits:
    def __init__(self, body: bytes) -> None:
        self._value, self._left = int.from_bytes(body[:64], "big"), 8 * len(body[:64])

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise damaged("its AV1 header is cut")
        return self._value >> self._left & (1 << count) - 1


def _size(bits: _Bits) -> tuple[int, int]:
    bits.take(4)  # profile, still picture
    if bits.take(1):  # the short header of stills
        bits.take(5)
    else:
        _skip_points(bits)
    across, down = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(across) + 1, bits.take(down) + 1


def _skip_points(bits: _Bits) -> None:
    """Skip the operating points. Raises ImageError UNSUPPORTED where there is timing, which only films need."""
    if bits.take(1):
        raise ImageError(Reason.UNSUPPORTED, "AVIFs with the timing of a film are not supported")
    delays = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > _MOST_LEVEL_WITHOUT_TIER:
            bits.take(1)
        if delays and bits.take(1):
            bits.take(4)
