"""HEIF and HEIC: decoded and encoded with pillow-heif (the extra `heif`) at 8 bits; the rest: item_picture.py."""

from __future__ import annotations

import io
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from faceblurd.errors import ImageError
from faceblurd.imaging.formats.codecs import GRAY_DIMENSIONS, WITH_ALPHA, decoding
from faceblurd.imaging.formats.isobmff import damaged
from faceblurd.imaging.formats.item_picture import ItemPicture
from faceblurd.model import Reason

if TYPE_CHECKING:
    import numpy.typing as npt

REMEDY = "pip install faceblurd[heif]"
_LIBRARY = "pillow_heif"
_SAMPLINGS = ("4:0:0", "4:2:0", "4:2:2", "4:4:4")
_PRESET = "ultrafast"  # of x265: a third of the time of the next one, for a file that is a sixth larger
_TILE_PX = 512
_MODES = {GRAY_DIMENSIONS: "L", 3: "BGR", WITH_ALPHA: "BGRA"}


class HeifPicture(ItemPicture):
    """One still HEIC."""

    format = "heif"
    codec: ClassVar[bytes] = b"hvc1"
    configuration: ClassVar[bytes] = b"hvcC"
    quality: ClassVar[int] = 70  # 48 dB; 90 makes files three times as large as a phone does

    def __init__(self, data: bytes) -> None:
        """Read the items. Raises ImageError UNSUPPORTED without the library, and for more than 8 bits."""
        if not available():
            raise ImageError(Reason.UNSUPPORTED, f"HEIC needs a library that is not installed: {REMEDY}")
        super().__init__(data)
        if self.depth != 8:  # noqa: PLR2004 - what is verified is 8 bits deep
            raise ImageError(Reason.UNSUPPORTED, f"HEICs of {self.depth} bits are not supported")

    def coding(self, configuration: bytes) -> tuple[int, str]:
        """Read the sampling and the depth in the HEVC configuration."""
        if len(configuration) < 23:  # noqa: PLR2004 - its fixed part
            raise damaged("its decoder configuration is missing")
        return 8 + (configuration[17] & 7), _SAMPLINGS[configuration[16] & 3]

    def decode(self, data: bytes) -> npt.NDArray[Any]:
        """Decode with libheif; gray with alpha becomes colour."""
        with decoding("HEIC"):
            array = np.array(_library().open_heif(data, convert_hdr_to_8bit=False, bgr_mode=True)[0])
        if array.ndim > GRAY_DIMENSIONS and array.shape[2] == 2:  # noqa: PLR2004 - gray with alpha
            return np.ascontiguousarray(array[:, :, [0, 0, 0, 1]])
        return array

    def compress(self, pixels: npt.NDArray[Any]) -> bytes:
        """Encode with x265, in tiles where there were tiles."""
        out = io.BytesIO()
        alpha = pixels.ndim > GRAY_DIMENSIONS and pixels.shape[2] == WITH_ALPHA
        array, mode = pixels, _MODES[pixels.ndim if pixels.ndim == GRAY_DIMENSIONS else pixels.shape[2]]
        if alpha and self.subsampling == _SAMPLINGS[0]:
            array, mode = np.ascontiguousarray(pixels[:, :, [0, 3]]), "LA"
        options: dict[str, Any] = {} if mode in {"L", "LA"} else {"subsampling": self.subsampling}
        size = pixels.shape[1], pixels.shape[0]
        with decoding("HEIC"):
            _library().encode(
                mode, size, array.tobytes(), out, quality=self.quality, tile_size=_TILE_PX if self.tiled else 0,
                enc_params={"preset": _PRESET}, **options,
            )  # fmt: skip
        return out.getvalue()


def available() -> bool:
    """Say whether pillow-heif is installed."""
    return find_spec(_LIBRARY) is not None


def _library() -> Any:  # noqa: ANN401 - it is not installed everywhere, so its types are not there either
    """Import it when it is needed: it costs 12 MB and 50 ms."""
    return import_module(_LIBRARY)
