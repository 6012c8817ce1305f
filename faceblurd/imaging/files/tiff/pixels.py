"""The pixels of one TIFF page: decoded and compressed again as they were, with Pillow, or OpenCV for 16-bit colour."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from faceblurd.errors import ImageError
from faceblurd.imaging.files.bmp import swapped
from faceblurd.imaging.files.codecs import (
    check_size,
    decode_cv,
    decoding,
    encode_cv,
    library_warnings,
    nearest,
    pillow,
)
from faceblurd.imaging.files.tiff import planes as tiff_planes
from faceblurd.imaging.files.tiff.page import TiffPage
from faceblurd.imaging.metadata.exif import TILES, TiffBlock
from faceblurd.model import Reason

if TYPE_CHECKING:
    import numpy.typing as npt

_DEPTHS: Final = {"1": 1, "L": 8, "LA": 8, "P": 8, "RGB": 8, "RGBA": 8, "CMYK": 8, "I;16": 16, "I;16B": 16}
_NARROW: Final = {"L": frozenset({2, 4}), "P": frozenset({1, 2, 4})}  # depths that no library writes become 8
_FEW: Final = frozenset({"1", "P"})
_COLOURS: Final = frozenset({"RGB", "RGBA"})
_DEEP: Final = 16
_LOSSLESS: Final = {
    1: "raw", 5: "tiff_lzw", 8: "tiff_adobe_deflate", 32946: "tiff_deflate", 32773: "packbits", 34925: "lzma",
    50000: "zstd",
}  # fmt: skip
_FAX: Final = {2: "tiff_ccitt", 3: "group3", 4: "group4"}
_PREDICTOR: Final = 317
# What some writers leave out; no pixel is missing.
_HARMLESS: Final = ("not terminated with EOI code", "and ExtraSamples")

_COMPRESSIONS: Final = {
    6: "JPEG of an old kind", 7: "JPEG", 9: "JBIG", 34661: "JBIG", 34676: "SGI LogLuv", 34677: "SGI LogLuv",
    33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL",
    52546: "JPEG XL", 32809: "ThunderScan",
}  # fmt: skip
_COLOURS_OF: Final = {
    0: "gray", 1: "gray", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab", 9: "ICCLab",
    10: "ITULab", 32844: "LogL", 32845: "LogLuv",
}  # fmt: skip
_PHOTOMETRIC, _FORM, _FLOAT = 262, 339, 3


class TiffPixels:
    """One page. Raises ImageError UNSUPPORTED for a kind that would lose something."""

    def __init__(self, page: TiffPage, file: io.BytesIO) -> None:
        """Ask Pillow what kind of pixels they are. `file`: a copy of the whole file, changed meanwhile."""
        self.page = page
        if name := _COMPRESSIONS.get(page.compression):
            raise ImageError(Reason.UNSUPPORTED, f"TIFFs with {name} compression inside are not supported")
        self.mode, bands = self._kind(file)
        known = {**_LOSSLESS, **(_FAX if self.mode == "1" else {})}
        if page.compression not in known or self.mode not in _DEPTHS or page.samples != bands:
            raise self._unsupported()
        self._compression = known[page.compression]
        depths = set(page.depths)
        self._deep = self.mode in _COLOURS and depths == {_DEEP}  # Pillow would read it as 8 bits, silently
        narrow = next(iter(depths)) if len(depths) == 1 and depths <= _NARROW.get(self.mode, frozenset()) else 0
        self.notes = [f"samples of {narrow} bit{'s' * (narrow > 1)} have 8 now"] if narrow else []
        self.notes += ["tiles became strips"] if TILES in page.tags else []
        if not self._deep and not narrow and depths != {_DEPTHS[self.mode]}:
            raise self._unsupported()
        self._apart = tiff_planes.are_apart(page)

    def _kind(self, file: io.BytesIO) -> tuple[str, int]:
        """Return Pillow's name of the kind, and the number of channels."""
        try:
            with self.page.first_in(file) as alone, pillow(alone, "TIFF") as image:
                return image.mode, len(image.getbands())
        except ImageError as error:
            if not isinstance(error.__cause__, UnidentifiedImageError):
                raise
            raise self._unsupported() from error

    def _unsupported(self) -> ImageError:
        """Return the error for a kind of pixels, in words of its owner."""
        page = self.page
        bits = " + ".join(map(str, page.depths[:8]))
        colours = _COLOURS_OF.get(page.first(_PHOTOMETRIC) or 0, "unknown")
        numbers = "floating-point bits" if page.first(_FORM) == _FLOAT else "bits"
        packed = "" if page.compression in _LOSSLESS else f", compressed by method {page.compression}"
        kind = f"{colours} colours, samples of {bits} {numbers}{packed}"
        return ImageError(Reason.UNSUPPORTED, f"TIFFs of this kind ({kind}) are not supported")

    def decoded(self) -> npt.NDArray[Any]:
        """Return the pixels as stored: gray, BGR, BGRA, or CMYK in Pillow's sense; palettes as colours."""
        data = self.page.alone()
        with library_warnings() as warned:
            array = self._read(data)
        if harm := [line for line in warned if not any(harmless in line for harmless in _HARMLESS)]:
            raise ImageError(Reason.DAMAGED, f"The TIFF is damaged: {harm[0]}", retryable=True)
        check_size(array, width=self.page.width, height=self.page.height)
        return array

    def _read(self, data: bytes) -> npt.NDArray[Any]:
        if self._apart:
            return self._ordered(tiff_planes.read(self.page, data, _gray))
        if self._deep:
            return decode_cv(data, cv2.IMREAD_UNCHANGED, what="TIFF")
        with pillow(data, "TIFF") as image:
            return self._of(image)

    def _of(self, image: Image.Image) -> npt.NDArray[Any]:
        if self.mode == "P":
            return swapped(np.array(image.convert("RGB")))
        return self._ordered(_native(image.convert("L") if self.mode == "1" else image))

    def _ordered(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn channels in the file's order into ours: BGR, BGRA, gray with opacity as BGRA."""
        if self.mode == "LA":
            return np.ascontiguousarray(array[:, :, [0, 0, 0, 1]])
        return swapped(array) if self.mode in _COLOURS else array

    def shown(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return stored pixels as programs show them: CMYK as BGR."""
        if self.mode != "CMYK":
            return stored
        with decoding("TIFF"):
            return swapped(np.asarray(self.image(stored).convert("RGB")))

    def encoded(self, pixels: npt.NDArray[Any]) -> bytes:
        """Return a TIFF of one page with these pixels, its rows in the byte order of the page.

        With a palette, or in black and white, each pixel becomes the nearest colour that there is.
        """
        swap = pixels.dtype == np.uint16 and self.page.order == ">"
        predictor = 1 if swap else self.page.predictor  # encoders predict numbers in this machine's order
        array = np.ascontiguousarray(pixels.byteswap() if swap else pixels)
        if self._apart:
            return self._encode_apart(array, predictor)
        return self._encode_deep(array, predictor) if self._deep else self._saved(self.image(array), predictor)

    def _saved(self, image: Image.Image, predictor: int) -> bytes:
        out, tags = io.BytesIO(), TiffImagePlugin.ImageFileDirectory_v2()
        if predictor != 1:
            tags[_PREDICTOR] = predictor
        with decoding("TIFF"):
            image.save(out, "TIFF", tiffinfo=tags, compression=self._compression)
        return out.getvalue()

    def _encode_apart(self, array: npt.NDArray[Any], predictor: int) -> bytes:
        order = (
            [2, 1, 0, 3][: self.page.samples] if self.mode in _COLOURS else [0, 3] if self.mode == "LA" else range(4)
        )
        planes = [np.ascontiguousarray(array[:, :, channel]) for channel in order]
        files = [self._saved(Image.fromarray(plane), predictor) for plane in planes]
        blocks = [TiffBlock(file) for file in files]
        pages = [TiffPage(block, block.first()) for block in blocks]
        return tiff_planes.write(self.page, list(zip(pages, files, strict=True)))

    def _encode_deep(self, array: npt.NDArray[Any], predictor: int) -> bytes:
        settings = [cv2.IMWRITE_TIFF_COMPRESSION, self.page.compression, cv2.IMWRITE_TIFF_PREDICTOR, predictor]
        return encode_cv(array, ".tiff", settings, what="TIFF")

    def fit(self, pixels: npt.NDArray[Any]) -> None:
        """Change pixels, in place, to the colours that a palette, or black and white, has."""
        if self.mode in _FEW:
            pixels[...] = self._of(self.image(np.ascontiguousarray(pixels)))

    def image(self, array: npt.NDArray[Any]) -> Image.Image:
        """Wrap pixels for Pillow."""
        size = self.page.width, self.page.height
        if self.mode == "1":
            return Image.fromarray(array).convert("1", dither=Image.Dither.NONE)
        if self.mode == "P":
            return self._with_palette(array)
        if self.mode == "LA":
            return Image.fromarray(np.ascontiguousarray(array[:, :, [0, 3]]))
        if self.mode in _COLOURS:
            return Image.fromarray(swapped(array))
        return Image.frombytes("CMYK", size, array.data) if self.mode == "CMYK" else Image.fromarray(array)

    def _with_palette(self, array: npt.NDArray[Any]) -> Image.Image:
        with pillow(self.page.alone(), "TIFF") as old:
            colours = np.array(old.getpalette("RGB") or [0, 0, 0], np.uint8).reshape(-1, 3)
        cells = nearest(array, colours[:, ::-1])
        image = Image.frombytes("P", (self.page.width, self.page.height), cells.tobytes())
        image.putpalette(colours.tobytes())
        return image


def _native(image: Image.Image) -> npt.NDArray[Any]:
    """Return the pixels in this machine's byte order."""
    array = np.array(image)
    return array.astype(array.dtype.newbyteorder("="))


def _gray(data: bytes) -> npt.NDArray[Any]:
    with pillow(data, "TIFF") as image:
        return _native(image)
