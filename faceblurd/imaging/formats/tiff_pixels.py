"""The pixels of one TIFF page: decoded and compressed again as they were, with Pillow, or OpenCV for 16-bit colour."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

from faceblurd.errors import ImageError
from faceblurd.imaging.formats.bmp import swapped
from faceblurd.imaging.formats.codecs import check_size, decode_cv, decoding, library_warnings, pillow
from faceblurd.imaging.formats.palette import nearest
from faceblurd.model import Reason

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.formats.tiff_page import TiffPage

_DEPTHS: Final = {"1": 1, "L": 8, "P": 8, "RGB": 8, "RGBA": 8, "CMYK": 8, "I;16": 16, "I;16B": 16}
_COLOURS: Final = frozenset({"RGB", "RGBA"})
_DEEP: Final = 16
_LOSSLESS: Final = {
    1: "raw",
    5: "tiff_lzw",
    8: "tiff_adobe_deflate",
    32946: "tiff_deflate",
    32773: "packbits",
}
_FAX: Final = {2: "tiff_ccitt", 3: "group3", 4: "group4"}
_PREDICTOR: Final = 317
# What some writers leave out; no pixel is missing.
_HARMLESS: Final = ("not terminated with EOI code", "and ExtraSamples")


class TiffPixels:
    """One page. Raises ImageError UNSUPPORTED for a kind that would lose something."""

    def __init__(self, page: TiffPage) -> None:
        """Ask Pillow what kind of pixels they are."""
        self.page = page
        with pillow(page.header(), "TIFF") as image:
            self.mode, bands = image.mode, len(image.getbands())
        known = {**_LOSSLESS, **(_FAX if self.mode == "1" else {})}
        if page.compression not in known:
            raise ImageError(Reason.UNSUPPORTED, f"TIFF compression {page.compression} is not supported")
        self._compression = known[page.compression]
        if self.mode not in _DEPTHS or page.samples != bands:
            raise ImageError(Reason.UNSUPPORTED, f"TIFFs of this kind ({self.mode}) are not supported")
        depths = set(page.depths)
        self._deep = self.mode in _COLOURS and depths == {_DEEP}  # Pillow would read it as 8 bits, without a word
        if not self._deep and depths != {_DEPTHS[self.mode]}:
            raise ImageError(Reason.UNSUPPORTED, f"TIFFs of {sorted(depths)} bits in {self.mode} are not supported")

    def decoded(self) -> npt.NDArray[Any]:
        """Return the pixels as stored: gray, BGR, BGRA, or CMYK in Pillow's sense; palettes as colours."""
        data = self.page.alone()
        with library_warnings() as warned:
            array = decode_cv(data, cv2.IMREAD_UNCHANGED, what="TIFF") if self._deep else self._with_pillow(data)
        if harm := [line for line in warned if not any(harmless in line for harmless in _HARMLESS)]:
            raise ImageError(Reason.DAMAGED, f"The TIFF is damaged: {harm[0]}", retryable=True)
        check_size(array, width=self.page.width, height=self.page.height)
        return array

    def _with_pillow(self, data: bytes) -> npt.NDArray[Any]:
        with pillow(data, "TIFF") as image:
            if self.mode == "1":
                return np.array(image.convert("L"))
            if self.mode == "P":
                return swapped(np.array(image.convert("RGB")))
            array = np.array(image)
        return swapped(array) if self.mode in _COLOURS else array.astype(array.dtype.newbyteorder("="))

    def shown(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return stored pixels as programs show them: CMYK as BGR."""
        if self.mode != "CMYK":
            return stored
        with decoding("TIFF"):
            return swapped(np.asarray(self.image(stored).convert("RGB")))

    def encoded(self, pixels: npt.NDArray[Any]) -> bytes:
        """Return a TIFF of one page with these pixels, its rows in the byte order of the page.

        For a palette, and black and white, each pixel becomes the nearest of the colours that there are.
        """
        swap = pixels.dtype == np.uint16 and self.page.order == ">"
        predictor = 1 if swap else self.page.predictor  # it adds numbers, in whatever order it believes them to be
        array = np.ascontiguousarray(pixels.byteswap() if swap else pixels)
        if self._deep:
            return self._encode_deep(array, predictor)
        out, tags = io.BytesIO(), TiffImagePlugin.ImageFileDirectory_v2()
        if predictor != 1:
            tags[_PREDICTOR] = predictor
        with decoding("TIFF"):
            self.image(array).save(out, "TIFF", tiffinfo=tags, compression=self._compression)
        return out.getvalue()

    def _encode_deep(self, array: npt.NDArray[Any], predictor: int) -> bytes:
        settings = [cv2.IMWRITE_TIFF_COMPRESSION, self.page.compression, cv2.IMWRITE_TIFF_PREDICTOR, predictor]
        done, encoded = cv2.imencode(".tiff", array, settings)
        if not done:
            raise ImageError(Reason.DAMAGED, "The TIFF does not encode")
        return encoded.tobytes()

    def image(self, array: npt.NDArray[Any]) -> Image.Image:
        """Wrap pixels for Pillow."""
        size = self.page.width, self.page.height
        if self.mode == "1":
            return Image.fromarray(array).convert("1", dither=Image.Dither.NONE)
        if self.mode == "P":
            return self._with_palette(array)
        if self.mode in _COLOURS:
            return Image.fromarray(swapped(array))
        return Image.frombytes("CMYK", size, array.data) if self.mode == "CMYK" else Image.fromarray(array)

    def _with_palette(self, array: npt.NDArray[Any]) -> Image.Image:
        with pillow(self.page.alone(), "TIFF") as old:
            colours = np.array(old.getpalette("RGB") or [0, 0, 0], np.uint8).reshape(-1, 3)
        table = np.full((len(colours), 4), 255, np.uint8)
        table[:, :3] = colours
        cells = nearest(array, table).reshape(array.shape[:2])
        image = Image.frombytes("P", (self.page.width, self.page.height), cells.tobytes())
        image.putpalette(colours.tobytes())
        return image
