"""JPEG: replace the blocks of the regions and copy every other bit; graft the scrubbed metadata.

What cannot be spliced (progressive, arithmetic, several scans) is decoded with OpenCV (Pillow for CMYK) and encoded
anew with Pillow, with the old quantisation tables and chroma sampling; the note says so, and why. A clean copy keeps
every entropy-coded byte.
"""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, ImageFile

from faceblurd.errors import ImageError
from faceblurd.imaging import geometry
from faceblurd.imaging import jpeg_segments as js
from faceblurd.imaging.files import codecs
from faceblurd.imaging.files.jpeg import metadata as jpeg_metadata
from faceblurd.imaging.files.jpeg.areas import touched
from faceblurd.imaging.files.jpeg.comparison import compare
from faceblurd.imaging.files.jpeg.huffman import SpliceError
from faceblurd.imaging.files.jpeg.layout import read_layout
from faceblurd.imaging.files.jpeg.painting import CHROMA, Paint
from faceblurd.imaging.files.jpeg.surgery import Reading, splice
from faceblurd.imaging.files.still import Still
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.picture import Encoded
from faceblurd.imaging.redact.soft import Channels
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.jpeg.comparison import Comparison
    from faceblurd.imaging.files.jpeg.layout import Layout
    from faceblurd.imaging.metadata import Scrub
    from faceblurd.model import BlurSpec, Region

_CHANNELS = {1: "L", 3: "RGB", 4: "CMYK"}
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_MAX_SCANS = 100  # encoders write 20 at most; each is a walk over all blocks, though it may take a few bytes only
_DECODABLE = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_SAMPLING = {(1, 1): 0, (2, 1): 1, (2, 2): 2}  # luma's factors over chroma's -> Pillow's names
_STRAY = "extraneous bytes before marker"  # padding that some cameras write; no pixel is missing
_BEHIND_ALL = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_PADDING = 64  # bytes behind the last row: 8 x 8 gray levels show nobody
_HOLE = bytes(512)  # where the decoder complains, too, a copy has not filled it yet
_MOST_PIXELS = 200_000_000  # of a file without an end marker: decoded before `max_pixels` is asked
_RGB_IDS = (82, 71, 66)
_YCCK = 2  # Adobe's transform
_HEIGHT_AT = 5  # where the rows are in a frame header
_SMALL_PX = 640  # a preview of that size is kept: thumbnails are made of it, and checked with it


class JpegPicture(Still):
    """The first picture of a JPEG file; whatever follows its end marker is not part of it."""

    format = "jpeg"

    def __init__(self, data: bytes) -> None:
        """Walk the segments to the end marker. A file that is cut before its last scan is refused."""
        ended, self._segments = js.with_end(data)
        was_cut = ended is not data
        data = js.with_height(ended, self._segments)  # of the same length
        self._data = data[: self._segments[-1].end]
        self._frame = js.read_frame(data, self._segments)
        self.width, self.height = self._frame.width, self._frame.height
        self._mode = _CHANNELS.get(len(self._frame.components), "")
        self.channels = Channels(inks=self._mode == "CMYK")
        frame = self._frame
        if frame.precision != 8 or not self._mode or frame.marker not in _DECODABLE:  # noqa: PLR2004 - bits
            kind = f"{frame.precision} bit, {len(frame.components)} components, SOF{frame.marker - 0xC0}"
            raise ImageError(Reason.UNSUPPORTED, f"This kind of JPEG is not supported ({kind})")
        if (scans := sum(segment.marker == js.SOS for segment in self._segments)) > _MAX_SCANS:
            raise ImageError(Reason.TOO_LARGE, f"The JPEG has {scans} scans, more than {_MAX_SCANS}")
        self.orientation = jpeg_metadata.orientation(self._data, self._segments)
        self._has_jfif = jpeg_metadata.has_jfif(self._data, self._segments)
        self._adobe = jpeg_metadata.adobe_transform(self._data, self._segments)
        self._reading: Reading | None = None
        self._small: tuple[int, npt.NDArray[Any]] | None = None
        if was_cut:
            self._check_rows()

    def _check_rows(self) -> None:
        """Refuse a file without an end marker whose rows are not all there: decode it small, which costs little."""
        is_large = self.width * self.height > _MOST_PIXELS
        if is_large or any(_STRAY not in line for line in self._warnings(cv2.IMREAD_REDUCED_GRAYSCALE_8)[1]):
            raise ImageError(Reason.INCOMPLETE, "The JPEG ends before its last row", retryable=True)

    def preview(self, longest_px: int | None, frame: int = 0) -> npt.NDArray[Any]:  # noqa: ARG002 - there is one
        """Decode at a half, a quarter or an eighth where that is enough."""
        if self._small and self._small[0] == longest_px:
            return self._small[1].copy()
        shown = self._preview(longest_px)
        if longest_px is not None and longest_px <= _SMALL_PX:
            self._small = longest_px, shown.copy()
        return shown

    def _preview(self, longest_px: int | None) -> npt.NDArray[Any]:
        if self._mode == "CMYK":
            stored = self._cmyk_as_bgr(longest_px)
        else:
            by = codecs.reduction(max(self.width, self.height), longest_px)
            stored = self._decode(_REDUCED[by])
        return codecs.preview_of(stored, orientation=self.orientation, longest_px=longest_px)

    def looks(self, longest_px: int | None, frame: int = 0) -> list[npt.NDArray[Any]]:
        """Give the one look: nothing is transparent."""
        return [self.preview(longest_px, frame)]

    def _decode(self, flags: int, data: bytes | None = None) -> npt.NDArray[Any]:
        """Decode with OpenCV; what is damaged comes out gray or shifted, as other programs show it.

        Zeros in a scan say that the file has not arrived in full. `data`: the file with another height.
        """
        array, said = self._warnings(flags, data)
        harm = [line for line in said if _STRAY not in line]
        if data is None:
            self._cut_what_hides(said)
        if harm and any(_HOLE in self._data[s.start : s.end] for s in self._segments if s.marker == js.SOS):
            raise ImageError(Reason.INCOMPLETE, f"The JPEG's rows are not all there: {harm[0]}", retryable=True)
        return array

    def _warnings(self, flags: int, data: bytes | None = None) -> tuple[npt.NDArray[Any], list[str]]:
        """Decode, and return the JPEG library's warnings, too: it reports missing pixels in no other way."""
        with codecs.library_warnings() as warned:
            array = codecs.decode_cv(data or self._data, flags | cv2.IMREAD_IGNORE_ORIENTATION, what="JPEG")
        return array, list(warned)

    def _cut_what_hides(self, said: Iterable[str]) -> None:
        """Cut off data between the last row and the end marker: a height that is too low hides rows there."""
        stray = max((int(found[1]) for line in said if (found := _BEHIND_ALL.search(line))), default=0)
        last = self._segments[-2]
        if _PADDING < stray < last.end - last.start and last.marker == js.SOS:
            end = last.end - stray
            self._data = self._data[:end] + b"\xff\xd9"
            self._segments = (*self._segments[:-2], replace(last, end=end), js.Segment(js.EOI, end, end + 2))

    def _cmyk_as_bgr(self, longest_px: int | None) -> npt.NDArray[Any]:
        self._cut_what_hides(self._warnings(cv2.IMREAD_REDUCED_GRAYSCALE_8)[1])  # Pillow hands on no warnings
        with codecs.pillow(self._data, "JPEG") as image:
            if longest_px is not None:
                image.draft(None, (longest_px, longest_px))
            return np.asarray(image.convert("RGB"))[:, :, ::-1].copy()

    def pixels(self, frame: int = 0) -> npt.NDArray[Any]:  # noqa: ARG002 - there is one
        """Decode all of it: gray, BGR, or CMYK in Pillow's sense."""
        if self._mode == "CMYK":
            with codecs.pillow(self._data, "JPEG") as image:
                array: npt.NDArray[Any] = np.array(image)
        else:
            colour = cv2.IMREAD_GRAYSCALE if self._mode == "L" else cv2.IMREAD_COLOR
            array = self._decode(colour)
        codecs.check_size(array, width=self.width, height=self.height)
        return array

    def redacted(self, regions: Sequence[Region], blur: BlurSpec, scrub: Scrub) -> Encoded:
        """Hide upright regions: replace their blocks, or encode all of it anew where that cannot be, and say why."""
        try:
            return self._spliced(regions, blur, scrub)
        except SpliceError as error:
            again = super().redacted(regions, blur, scrub)
            return replace(again, note=f"{again.note}, since its blocks alone could not be replaced: {error}")

    def _spliced(self, regions: Sequence[Region], blur: BlurSpec, scrub: Scrub) -> Encoded:
        """Replace the blocks that the regions meet. Raises SpliceError."""
        reading, inside, paint = self._read(regions, blur)
        layout = reading.layout
        done = splice(self._data, layout, inside, paint, reading=reading)
        kept = jpeg_metadata.kept_segments(self._data, self._segments, keep_adobe=True, scrub=scrub)
        pieces = [b"\xff\xd8"]
        for segment, part in kept:
            is_scan = segment.marker == js.SOS
            pieces += [done.tables, self._data[segment.start : layout.start], done.scan] if is_scan else [part]
        data = b"".join((*pieces, b"\xff\xd9"))
        size = {"orientation": self.orientation, "width": self.width, "height": self.height}
        return Encoded(data, lossless=True, regions=tuple(geometry.to_upright(r, **size) for r in done.regions))

    def _read(self, regions: Sequence[Region], blur: BlurSpec) -> tuple[Reading, list[Region], Paint]:
        """Read what upright regions touch, once for the redaction and its check. Raises SpliceError."""
        size = {"orientation": self.orientation, "width": self.width, "height": self.height}
        stored = [geometry.to_stored(region, **size) for region in regions]
        inside = [cut for one in stored if (cut := geometry.clip(one, width=self.width, height=self.height))]
        layout = self.layout() if self._reading is None else self._reading.layout
        areas = tuple(touched(region, layout) for region in inside)
        if self._reading is None or self._reading.areas != areas:
            self._reading = Reading(self._data, layout, areas)
        return self._reading, inside, Paint(blur, self.orientation, CHROMA if self._is_ycc() else {})

    def layout(self) -> Layout:
        """Read what the headers say of the scan. Raises SpliceError where its blocks cannot be replaced."""
        return read_layout(self._data, self._segments, self._frame)

    def compared(self, again: JpegPicture, regions: Sequence[Region], blur: BlurSpec) -> Comparison:
        """Compare a spliced result with what hiding upright regions gives. Raises SpliceError where more changed."""
        reading, inside, paint = self._read(regions, blur)
        return compare(reading, again.whole, again.layout(), inside, paint)

    @property
    def whole(self) -> bytes:
        """The bytes up to the end marker."""
        return self._data

    @property
    def has_luma(self) -> bool:
        """Whether the first component is the brightness."""
        return self._mode == "L" or self._is_ycc()

    def coded(self) -> tuple[bytes, bool, int | None]:
        """Return all segments that decide how the picture looks, and what says how to read its colours."""
        chosen = (s for s in self._segments if s.marker in jpeg_metadata.PICTURE)
        return b"".join(self._data[s.start : s.end] for s in chosen), self._has_jfif, self._adobe

    def upper(self, rows: int, *, by: int) -> npt.NDArray[Any]:
        """Decode the first rows only, at 1 / `by`: BGR as stored. Costs as much as these rows."""
        place = next(s.start for s in self._segments if s.marker == self._frame.marker) + _HEIGHT_AT
        data = self._data[:place] + min(rows, self.height).to_bytes(2, "big") + self._data[place + 2 :]
        return self._decode(_REDUCED[by], data)

    def encode(self, pixels: npt.NDArray[Any], scrub: Scrub = BARE) -> Encoded:
        """Encode with the file's own tables, and put its scrubbed metadata before the new scan."""
        sampling = self._sampling()
        out = io.BytesIO()
        with codecs.decoding("JPEG"), _one_buffer(2 * len(self._data)):
            self._image(pixels).save(
                out,
                "JPEG",
                qtables=self._tables(),
                subsampling=max(sampling, 0),
                progressive=self._frame.marker in _PROGRESSIVE,
                keep_rgb=self._is_rgb(),
            )
        note = "the whole picture was encoded anew" + ("" if sampling >= 0 else ", chroma sampling became 4:4:4")
        return Encoded(self._graft(out.getvalue(), scrub), lossless=False, note=note)

    def _image(self, pixels: npt.NDArray[Any]) -> Image.Image:
        """Hand pixels to Pillow, whose raw decoder takes BGR."""
        raw = {"L": "L", "RGB": "BGR", "CMYK": "CMYK"}[self._mode]
        return Image.frombytes(self._mode, (self.width, self.height), np.ascontiguousarray(pixels).data, "raw", raw)

    def _tables(self) -> list[list[int]]:
        """Return the quantisation table of each component, as Pillow wants them."""
        with codecs.pillow(self._data, "JPEG") as image:
            known = dict(image.quantization)  # type: ignore[attr-defined]  # only JpegImageFile has it
            tables = [list(known[component.table]) for component in self._frame.components]
        return tables[:2] if tables[1:2] * 2 == tables[1:3] and self._mode == "RGB" else tables

    def _sampling(self) -> int:
        """Return Pillow's number for the chroma sampling, -1 for one that it cannot write."""
        if self._mode != "RGB":
            return 0
        luma, *chroma = ((part.horizontal, part.vertical) for part in self._frame.components)
        if chroma[0] != chroma[1] or luma[0] % chroma[0][0] or luma[1] % chroma[0][1]:
            return -1
        return _SAMPLING.get((luma[0] // chroma[0][0], luma[1] // chroma[0][1]), -1)

    def _is_rgb(self) -> bool:
        """Tell RGB from YCbCr as libjpeg does: JFIF, then Adobe's marker, then the components' names."""
        if self._mode != "RGB" or self._has_jfif:
            return False
        names = tuple(component.id for component in self._frame.components)
        return names == _RGB_IDS if self._adobe is None else self._adobe == 0

    def _is_ycc(self) -> bool:
        """Tell whether the second and third component are differences of colour."""
        if self._mode == "CMYK":
            return self._adobe == _YCCK
        return self._mode == "RGB" and not self._is_rgb()

    def _graft(self, encoded: bytes, scrub: Scrub) -> bytes:
        """Join the old file's metadata and the new one's picture; Adobe's marker goes with the encoder's choice."""
        segments = js.scan(encoded)
        own = self._mode == "CMYK" or self._is_rgb()
        old = jpeg_metadata.kept_segments(self._data, self._segments, keep_adobe=not own, scrub=scrub)
        new = (s for s in segments[:-1] if not js.is_app(s.marker) or (own and s.marker == js.APP14))
        picture = b"".join(encoded[segment.start : segment.end] for segment in new)
        metadata = b"".join(part for segment, part in old if js.is_app(segment.marker) or segment.marker == js.COM)
        return b"\xff\xd8" + metadata + picture + b"\xff\xd9"

    def scrubbed(self, scrub: Scrub = BARE) -> bytes:
        """Filter the segments; tables, headers and scans stay byte for byte."""
        kept = jpeg_metadata.kept_segments(self._data, self._segments, keep_adobe=True, scrub=scrub)
        return b"\xff\xd8" + b"".join(part for _, part in kept) + b"\xff\xd9"

    def thumbnails(self) -> list[bytes]:
        """Return the EXIF thumbnails, which may stay once they are redacted."""
        return jpeg_metadata.thumbnails(self._data, self._segments)

    def embedded(self) -> list[str]:
        """Name what looks like a picture in the metadata."""
        return jpeg_metadata.leftovers(self._data, self._segments)


@contextmanager
def _one_buffer(size: int) -> Iterator[None]:
    """Let Pillow's buffer hold a whole progressive file: its own guess fails noise at quality 100."""
    before, ImageFile.MAXBLOCK = ImageFile.MAXBLOCK, max(size, ImageFile.MAXBLOCK)
    try:
        yield
    finally:
        ImageFile.MAXBLOCK = before
