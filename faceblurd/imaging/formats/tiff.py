"""TIFF: one page of 8-bit gray, RGB, RGBA, CMYK or 16-bit gray, decoded and encoded with Pillow; tags are kept.

The file is worked on with its orientation tag set to 1, since Pillow would turn the pixels: here they stay as stored.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, TiffImagePlugin

from faceblurd.errors import ImageError
from faceblurd.imaging.formats import Encoded
from faceblurd.imaging.formats.bmp import swapped
from faceblurd.imaging.formats.codecs import check_size, decoding, library_warnings, pillow, preview_of
from faceblurd.imaging.formats.still import Still
from faceblurd.imaging.formats.tiff_graft import with_rows
from faceblurd.imaging.formats.tiff_layout import TiffLayout
from faceblurd.imaging.metadata import BARE
from faceblurd.model import Reason

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.metadata import Scrub

_MODES = frozenset({"L", "RGB", "RGBA", "CMYK", "I;16", "I;16B"})
_LOSSLESS = {
    1: "raw",
    5: "tiff_lzw",
    8: "tiff_adobe_deflate",
    32946: "tiff_deflate",
    32773: "packbits",
}
_PREDICTOR = 317
_HARMLESS = "not terminated with EOI code"  # what some writers leave out; no pixel is missing


class TiffPicture(Still):
    """One page."""

    format = "tiff"

    def __init__(self, data: bytes) -> None:
        """Read the directory; refuse what would lose something: more pages, other depths, other compressions."""
        self._layout = TiffLayout(data)
        self.width, self.height = self._layout.width, self._layout.height
        self.orientation = self._layout.orientation
        if self._layout.compression not in _LOSSLESS:
            raise ImageError(Reason.UNSUPPORTED, f"TIFF compression {self._layout.compression} is not supported")
        self._plain = self._layout.with_orientation(1)
        with pillow(self._plain, "TIFF") as image:
            self._mode = image.mode
            if image.mode not in _MODES or self._layout.samples != len(image.getbands()):
                raise ImageError(Reason.UNSUPPORTED, f"TIFFs of this kind ({image.mode}) are not supported")
        self._check_depth()
        self._stored: npt.NDArray[Any] | None = None

    def _check_depth(self) -> None:
        """Pillow reads 16-bit colour as 8-bit without a word: that would be a loss."""
        depths = set(self._layout.depths)
        if depths != ({16} if self._mode.startswith("I;16") else {8}):
            raise ImageError(Reason.UNSUPPORTED, f"TIFFs of {sorted(depths)} bits in {self._mode} are not supported")

    def _load(self) -> npt.NDArray[Any]:
        """Decode once; the detectors' preview and the pixels come from the same decode."""
        if self._stored is None:
            with library_warnings() as warned, pillow(self._plain, "TIFF") as image:
                array = np.array(image)
            if harm := [line for line in warned if _HARMLESS not in line]:
                raise ImageError(Reason.DAMAGED, f"The TIFF is damaged: {harm[0]}", retryable=True)
            colour = self._mode in {"RGB", "RGBA"}
            self._stored = swapped(array) if colour else array.astype(array.dtype.newbyteorder("="))
            check_size(self._stored, width=self.width, height=self.height)
        return self._stored

    def preview(self, longest_px: int | None, frame: int = 0) -> npt.NDArray[Any]:  # noqa: ARG002 - there is one
        """Scale the whole picture down."""
        stored = self._load()
        if self._mode == "CMYK":
            with decoding("TIFF"):
                stored = swapped(np.asarray(self._image(stored).convert("RGB")))
        return preview_of(stored, orientation=self.orientation, longest_px=longest_px)

    def pixels(self, frame: int = 0) -> npt.NDArray[Any]:  # noqa: ARG002 - there is one
        """Hand over the decoded pixels."""
        array = self._load()
        self._stored = None
        return array

    def encode(self, pixels: npt.NDArray[Any], scrub: Scrub = BARE) -> Encoded:
        """Compress the rows as they were, and put them into the scrubbed file."""
        out = io.BytesIO()
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        swap = pixels.dtype == np.uint16 and self._layout.order == ">"  # rows are in the byte order of the file
        if (
            self._layout.predictor != 1 and not swap
        ):  # a predictor adds numbers, in whatever order it believes them to be
            tags[_PREDICTOR] = self._layout.predictor
        with decoding("TIFF"):
            image = self._image(pixels.byteswap() if swap else pixels)
            image.save(out, "TIFF", tiffinfo=tags, compression=_LOSSLESS[self._layout.compression])
        return Encoded(with_rows(self._layout, TiffLayout(out.getvalue(), check_tail=False), scrub), lossless=True)

    def _image(self, pixels: npt.NDArray[Any]) -> Image.Image:
        """Wrap pixels for Pillow."""
        if self._mode in {"RGB", "RGBA"}:
            return Image.fromarray(swapped(pixels))
        if self._mode != "CMYK":
            return Image.fromarray(pixels)
        return Image.frombytes("CMYK", (self.width, self.height), np.ascontiguousarray(pixels).data)

    def scrubbed(self, scrub: Scrub = BARE) -> bytes:
        """Wipe in place: no offset moves, no row changes."""
        return self._layout.scrubbed(orientation=self.orientation, scrub=scrub)

    def embedded(self) -> list[str]:
        """Look at everything but the rows."""
        return self._layout.leftovers()
