"""AVIF: decoded and encoded with Pillow, at 8 bits, in the sampling that it has; see item_picture.py for the rest."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image, features

from faceblurd.errors import ImageError
from faceblurd.imaging.formats.av1 import coded_sizes
from faceblurd.imaging.formats.bmp import swapped
from faceblurd.imaging.formats.codecs import GRAY_DIMENSIONS, encoding, pillow
from faceblurd.imaging.formats.isobmff import damaged
from faceblurd.imaging.formats.item_looks import shown_size
from faceblurd.imaging.formats.item_picture import ItemPicture
from faceblurd.model import Reason

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.formats.item_file import Item

_SPEED = 9  # 0.1 s a megapixel on one core; 7 takes six times as long for a file that is 4 % smaller
_HIGH, _TWELVE, _GRAY, _HALF_COLUMNS, _HALF_ROWS = 0x40, 0x20, 0x10, 0x08, 0x04
_MISSING = "This Pillow has no AVIF codec: install pillow 11.3 or newer from its wheels"


class AvifPicture(ItemPicture):
    """One still AVIF."""

    format = "avif"
    codec: ClassVar[bytes] = b"av01"
    configuration: ClassVar[bytes] = b"av1C"
    quality: ClassVar[int] = 90  # 44 dB

    def __init__(self, data: bytes) -> None:
        """Read the items. Raises ImageError UNSUPPORTED without the codec."""
        if not available():
            raise ImageError(Reason.UNSUPPORTED, _MISSING)
        super().__init__(data)

    def check_coded(self, item: Item) -> None:
        """Compare the size that a picture has for its file with the one that it has for itself.

        libavif shrinks a larger picture to what the file says, in which we would find no face; other viewers do not.
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
