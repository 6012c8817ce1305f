"""PNG: decoded and encoded with OpenCV (which keeps 16 bits); lossless, its scrubbed chunks grafted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2

from faceblurd.errors import ImageError
from faceblurd.imaging.files.bmp import swapped
from faceblurd.imaging.files.codecs import (
    GRAY_DIMENSIONS,
    check_size,
    decode_cv,
    encode_cv,
)
from faceblurd.imaging.files.png import chunks as png_chunks
from faceblurd.imaging.files.png import rows as png_rows
from faceblurd.imaging.files.png import texts
from faceblurd.imaging.files.still import Still
from faceblurd.imaging.metadata import BARE, orientation_of
from faceblurd.imaging.picture import Encoded
from faceblurd.imaging.redact.soft import Channels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.png.chunks import Chunk
    from faceblurd.imaging.metadata import Scrub
    from faceblurd.model import Region

_LEVEL = 4  # on 12 MP: level 1 gives files a tenth larger, level 9 takes many times as long


class PngPicture(Still):
    """One still PNG."""

    format = "png"

    def __init__(self, chunks: list[Chunk]) -> None:
        self._chunks = chunks
        self._header = png_chunks.read_header(self._chunks)
        self.width, self.height = self._header.width, self._header.height
        self.channels = Channels(few=self._header.colour == png_rows.PALETTE)
        self.orientation = orientation_of(png_chunks.body_of(chunks, b"eXIf"))
        self._exact: bool | None = None  # whether nothing follows the rows; None: not looked at yet

    def decoded(self) -> npt.NDArray[Any]:
        """Decode with OpenCV, once the rows were counted. A wrong checksum of the rows does not matter."""
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
        plain = png_chunks.join(chunk for chunk in self._chunks if chunk.kind in kinds)
        array = decode_cv(plain, cv2.IMREAD_UNCHANGED, what="PNG")
        check_size(array, width=self.width, height=self.height)
        return array

    def shown(self, frame: int) -> npt.NDArray[Any]:
        """Give gray with a transparent level its opacity, which OpenCV leaves to the reader."""
        stored = self.stored(frame)
        key = png_chunks.body_of(self._chunks, b"tRNS")
        if stored.ndim > GRAY_DIMENSIONS or len(key) < 2:  # noqa: PLR2004 - one level
            return stored
        return png_rows.with_opacity(stored, int.from_bytes(key[:2], "big"), self._header.depth)

    def encode(self, pixels: npt.NDArray[Any], scrub: Scrub = BARE) -> Encoded:
        """Compress, and put the scrubbed chunks where they were: before or after the pixels.

        Where the type has few colours, `pixels` are changed in place to what was written.
        """
        header, rows = self._written(pixels)
        before, after = self._metadata(scrub, header)
        return Encoded(png_chunks.join([header, *before, *rows, *after, png_chunks.END]), lossless=True)

    def _written(self, pixels: npt.NDArray[Any]) -> tuple[Chunk, list[Chunk]]:
        """Return the header of the type that is written, and what goes with the rows: palette, opacities, rows."""
        if png_rows.is_special(self._header):
            return self._header.chunk(), png_rows.written(pixels, self._header, self._chunks, self.stored(0))
        gray = pixels.ndim == GRAY_DIMENSIONS
        # Which level of gray is transparent: OpenCV leaves that to the reader.
        key = [chunk for chunk in self._chunks if chunk.kind == b"tRNS"] if gray else []
        if self._header.interlaced:  # which OpenCV does not write
            header = replace(self._header, colour=png_rows.GRAY if gray else {3: 2, 4: 6}[pixels.shape[2]])
            samples = pixels[:, :, None] if gray else swapped(pixels)
            return header.chunk(), [*key, png_rows.rows(samples, self._header)]
        settings = [cv2.IMWRITE_PNG_COMPRESSION, _LEVEL, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
        new = png_chunks.read_chunks(encode_cv(pixels, ".png", settings, what="PNG"))
        return new[0], [*key, *(chunk for chunk in new if chunk.kind == b"IDAT")]

    def fitted(self, pixels: npt.NDArray[Any], before: npt.NDArray[Any], regions: Sequence[Region]) -> None:  # noqa: ARG002 - what differs was painted
        """Give what was painted the colours that the type has."""
        if png_rows.is_special(self._header):
            png_rows.written(pixels, self._header, self._chunks, before)

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
        return png_chunks.join(png_chunks.with_sound_pointers(self._chunks, [chunk for chunk in clean if chunk]))

    def thumbnails(self) -> list[bytes]:
        """Return the EXIF thumbnail, which may stay once it is redacted."""
        found = (texts.thumbnail_in(chunk) for chunk in self._chunks)
        return [thumbnail for thumbnail in found if thumbnail]

    def embedded(self) -> list[str]:
        """Name the chunks that still look like a picture."""
        return texts.with_pictures(self._chunks, besides=png_chunks.CRITICAL)
