"""PNG: decoded and encoded with OpenCV (which keeps 16 bits); lossless, its scrubbed chunks grafted."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from faceblurd.errors import ImageError
from faceblurd.imaging.files.bmp import swapped
from faceblurd.imaging.files.codecs import GRAY_DIMENSIONS, check_size, decode_cv
from faceblurd.imaging.files.png import chunks as png_chunks
from faceblurd.imaging.files.png import rows as png_rows
from faceblurd.imaging.files.png import texts
from faceblurd.imaging.files.png.chunks import SIGNATURE, Chunk
from faceblurd.imaging.files.still import Still
from faceblurd.imaging.metadata import BARE, contains_picture, orientation_of
from faceblurd.imaging.picture import Encoded
from faceblurd.imaging.redact.soft import Channels
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.metadata import Scrub
    from faceblurd.model import Region

_LEVEL = 4  # measured on 12 MP: level 1 is 15 % larger, level 9 four times as slow


class PngPicture(Still):
    """One still PNG."""

    format = "png"

    def __init__(self, chunks: list[Chunk]) -> None:
        """Keep the checked chunks."""
        self._chunks = chunks
        self._header = png_chunks.read_header(self._chunks)
        self.width, self.height = self._header.width, self._header.height
        self.channels = Channels(few=self._header.colour == png_rows.PALETTE)
        exif = next((chunk.body for chunk in self._chunks if chunk.kind == b"eXIf"), b"")
        self.orientation = orientation_of(exif)
        self._exact: bool | None = None  # whether the rows are all that is compressed, once that was looked at

    def decoded(self) -> npt.NDArray[Any]:
        """Decode with OpenCV, once the rows were counted; a sum of theirs that is wrong does not matter."""
        try:
            return self._decoded()
        except ImageError:
            mended = png_chunks.with_sound_sum(self._header, self._chunks)
            if mended is None:
                raise
            self._chunks = mended
            return self._decoded()

    def _decoded(self) -> npt.NDArray[Any]:
        self._exact = png_chunks.check_rows(self._header, self._chunks)
        # Without the ancillary chunks: OpenCV needs none of them, and libpng stops at some that are merely odd.
        kinds = {*png_chunks.CRITICAL, b"tRNS"}
        plain = SIGNATURE + b"".join(c.build() for c in self._chunks if c.kind in kinds)
        array = decode_cv(plain, cv2.IMREAD_UNCHANGED, what="PNG")
        check_size(array, width=self.width, height=self.height)
        return array

    def shown(self) -> npt.NDArray[Any]:
        """Give gray with a transparent level its opacity, which OpenCV leaves to the reader."""
        stored = self._load()
        key = next((chunk.body for chunk in self._chunks if chunk.kind == b"tRNS"), b"")
        if stored.ndim > GRAY_DIMENSIONS or len(key) < 2:  # noqa: PLR2004 - one level
            return stored
        return png_rows.with_opacity(stored, int.from_bytes(key[:2], "big"), self._header.depth)

    def encode(self, pixels: npt.NDArray[Any], scrub: Scrub = BARE) -> Encoded:
        """Compress, and put the scrubbed chunks where they were: before or after the pixels.

        Where the type has few colours, `pixels` are changed in place to what was written.
        """
        if png_rows.is_special(self._header):
            return self._encode_special(pixels, scrub)
        if self._header.interlaced:
            return self._encode_interlaced(pixels, scrub)
        settings = [cv2.IMWRITE_PNG_COMPRESSION, _LEVEL, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
        done, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels), settings)
        if not done:
            raise ImageError(Reason.DAMAGED, "The PNG does not encode")
        new = png_chunks.read_chunks(encoded.tobytes())
        rows = [chunk for chunk in new if chunk.kind == b"IDAT"]
        before, after = self._metadata(scrub, new[0])
        if self._header.colour == png_rows.GRAY:  # which level is transparent: OpenCV leaves that to the reader
            before += [chunk for chunk in self._chunks if chunk.kind == b"tRNS"]
        return Encoded(_join([new[0], *before, *rows, *after, new[-1]]), lossless=True)

    def _encode_special(self, pixels: npt.NDArray[Any], scrub: Scrub) -> Encoded:
        """Write palettes, few bits, and gray with opacity as what they were."""
        rows = png_rows.written(pixels, self._header, self._chunks, self._load())
        header = self._header_of(self._header.colour)
        before, after = self._metadata(scrub, header)
        return Encoded(_join([header, *before, *rows, *after, Chunk(b"IEND", b"")]), lossless=True)

    def fitted(self, pixels: npt.NDArray[Any], before: npt.NDArray[Any], regions: Sequence[Region]) -> None:  # noqa: ARG002 - what differs was painted
        """Give what was painted the colours that the type has."""
        if png_rows.is_special(self._header):
            png_rows.written(pixels, self._header, self._chunks, before)

    def _encode_interlaced(self, pixels: npt.NDArray[Any], scrub: Scrub) -> Encoded:
        """Write gray and colours in the order of an interlaced file, which OpenCV does not."""
        gray = pixels.ndim == GRAY_DIMENSIONS
        header = self._header_of(png_rows.GRAY if gray else {3: 2, 4: 6}[pixels.shape[2]])
        before, after = self._metadata(scrub, header)
        if gray:
            before += [chunk for chunk in self._chunks if chunk.kind == b"tRNS"]
        rows = png_rows.rows(pixels[:, :, None] if gray else swapped(pixels), self._header)
        return Encoded(_join([header, *before, rows, *after, Chunk(b"IEND", b"")]), lossless=True)

    def _header_of(self, colour: int) -> Chunk:
        old = self._header
        size = (old.width, old.height, old.depth, colour, 0, 0, int(old.interlaced))
        return Chunk(b"IHDR", struct.pack(">IIBBBBB", *size))

    def _metadata(self, scrub: Scrub, header: Chunk) -> tuple[list[Chunk], list[Chunk]]:
        """Return the chunks that may stay beside new pixels of a type, before and after the place of the rows."""
        rows = next((i for i, chunk in enumerate(self._chunks) if chunk.kind == b"IDAT"), 0)
        same = header.body[8:10] == self._chunks[0].body[8:10] and self._header.colour != png_rows.PALETTE
        clean = [png_chunks.scrub_chunk(chunk, scrub, same_pixels=False, same_type=same) for chunk in self._chunks]
        return [c for c in clean[:rows] if c], [c for c in clean[rows:] if c]

    def scrubbed(self, scrub: Scrub = BARE) -> bytes:
        """Filter the chunks; the compressed rows stay byte for byte, unless something lies behind them."""
        if self._exact is None:
            self._exact = png_chunks.check_rows(self._header, self._chunks)
        if not self._exact:
            return self.encode(self.pixels(), scrub).data
        clean = (png_chunks.scrub_chunk(chunk, scrub, same_pixels=True) for chunk in self._chunks)
        return _join(png_chunks.with_sound_pointers(self._chunks, [chunk for chunk in clean if chunk]))

    def thumbnails(self) -> list[bytes]:
        """Return the EXIF thumbnail, which may stay once it is redacted."""
        found = (texts.thumbnail_in(chunk) for chunk in self._chunks)
        return [thumbnail for thumbnail in found if thumbnail]

    def embedded(self) -> list[str]:
        """Name the chunks that still look like a picture."""
        others = (chunk for chunk in self._chunks if chunk.kind not in png_chunks.CRITICAL)
        return [c.kind.decode("latin-1") for c in others if contains_picture(texts.shown_by(c))]


def _join(chunks: list[Chunk]) -> bytes:
    """Return a whole file."""
    return SIGNATURE + b"".join(chunk.build() for chunk in chunks)
