"""HEIF and HEIC: decoded and encoded with pillow-heif (the extra `heif`), at up to 10 bits; see picture.py."""

from __future__ import annotations

import io
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from faceblurd.errors import ImageError
from faceblurd.imaging.files.bmp import swapped
from faceblurd.imaging.files.codecs import (
    GRAY_DIMENSIONS,
    WITH_ALPHA,
    decoding,
    encoding,
)
from faceblurd.imaging.files.heif.boxes import damaged
from faceblurd.imaging.files.heif.picture import ItemPicture
from faceblurd.model import Reason

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

REMEDY = "pip install faceblurd[heif]"
_LIBRARY = "pillow_heif"
_SAMPLINGS = ("4:0:0", "4:2:0", "4:2:2", "4:4:4")
_PRESET = "ultrafast"  # of x265: a third of the time of the next one, for a file that is a little larger
_TILE_PX = 512
_MODES = {1: "L", 2: "LA", 3: "BGR", WITH_ALPHA: "BGRA"}


class HeifPicture(ItemPicture):
    """One still HEIC."""

    format = "heif"
    codec: ClassVar[bytes] = b"hvc1"
    configuration: ClassVar[bytes] = b"hvcC"
    deepest: ClassVar[int] = 10
    quality: ClassVar[int] = 70  # 46 dB; 90 makes files more than twice as large

    def __init__(self, data: bytes) -> None:
        """Read the items. Raises ImageError UNSUPPORTED without the library."""
        if not available():
            raise ImageError(Reason.UNSUPPORTED, f"HEIC needs a library that is not installed: {REMEDY}")
        super().__init__(data)

    def coding(self, configuration: bytes) -> tuple[int, str]:
        """Read the sampling and the depth in the HEVC configuration."""
        if len(configuration) < 23:  # noqa: PLR2004 - its fixed part
            raise damaged("its decoder configuration is missing")
        return 8 + (configuration[17] & 7), _SAMPLINGS[configuration[16] & 3]

    def decode(self, data: bytes) -> npt.NDArray[Any]:
        """Decode with libheif, more than 8 bits as 16. Gray with alpha becomes BGRA."""
        with decoding("HEIC"):
            array = np.array(_library().open_heif(data, convert_hdr_to_8bit=False, bgr_mode=True)[0])
        if array.ndim > GRAY_DIMENSIONS and array.shape[2] == 2:  # noqa: PLR2004 - gray with alpha
            return np.ascontiguousarray(array[:, :, [0, 0, 0, 1]])
        return array

    def compress(self, pixels: npt.NDArray[Any]) -> bytes:
        """Encode with x265, in tiles where there were tiles."""
        alpha = pixels.ndim > GRAY_DIMENSIONS and pixels.shape[2] == WITH_ALPHA
        gray = self.subsampling == _SAMPLINGS[0]
        array = np.ascontiguousarray(pixels[:, :, [0, 3]]) if alpha and gray else pixels
        options: dict[str, Any] = {} if gray else {"subsampling": self.subsampling}
        options |= {"quality": self.quality, "tile_size": _TILE_PX if self.tiled else 0, "bit_depth": self.depth}
        return _encoded(array, premultiplied=self.premultiplied, enc_params={"preset": _PRESET}, **options)


def _encoded(array: npt.NDArray[Any], *, premultiplied: bool = False, **options: Any) -> bytes:  # noqa: ANN401 - as the library takes them
    """Write gray, gray with alpha, BGR or BGRA of 8 bits, or of more in 16."""
    out = io.BytesIO()
    mode = _MODES[array.shape[2] if array.ndim > GRAY_DIMENSIONS else 1] + (";16" if array.itemsize > 1 else "")
    mode = mode.replace("A", "a") if premultiplied else mode
    with encoding("HEIC"):
        _library().encode(mode, (array.shape[1], array.shape[0]), array.tobytes(), out, **options)
    return out.getvalue()


def encoded(image: Image.Image, *, bits: int = 8) -> bytes:
    """Write a small picture to try the format on."""
    array = np.asarray(image)
    if array.ndim > GRAY_DIMENSIONS:
        array = swapped(array)
    return _encoded(array if bits == 8 else array.astype(np.uint16) * 257, bit_depth=bits)  # noqa: PLR2004 - a byte


def available() -> bool:
    """Say whether pillow-heif is installed."""
    return find_spec(_LIBRARY) is not None


def _library() -> Any:  # noqa: ANN401 - it is not installed everywhere, so its types are not there either
    """Import it when it is needed."""
    return import_module(_LIBRARY)
