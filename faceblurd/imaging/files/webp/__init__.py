"""WebP: decoded and encoded with Pillow, its scrubbed chunks grafted. Lossless stays lossless."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from faceblurd.errors import ImageError
from faceblurd.imaging.files.bmp import swapped
from faceblurd.imaging.files.codecs import (
    check_size,
    decoding,
    pillow,
    zero_tail,
)
from faceblurd.imaging.files.still import Still
from faceblurd.imaging.metadata import (
    BARE,
    contains_picture,
    hides_picture,
    orientation_of,
    scrub_exif,
    scrub_xmp,
    thumbnail_of,
    without_thumbnail,
)
from faceblurd.imaging.picture import Encoded
from faceblurd.model import Reason

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.metadata import Scrub

PIXELS = frozenset({b"ALPH", b"VP8 ", b"VP8L"})
ALPHA = 0x10
FLAGS = {b"ICCP": 0x20, b"ALPH": ALPHA, b"EXIF": 0x08, b"XMP ": 0x04}
QUALITY = 90
_MAX_CHUNKS = 100_000  # more than the frames that max_megapixels allows by default
# Coded data end in so many zeros where the last rows have one colour, or where a copy has not arrived in full.
_ZEROS = 64
_LAST_ROWS, _FLAT = 8, 8  # rows, levels
_SPARSE, _TINY = 8, 64  # an eighth of the bytes; pixels a byte, of pictures with one colour nearly everywhere

Chunks = list[tuple[bytes, bytes]]


def read_chunks(data: bytes) -> Chunks:
    """Return the chunks of a RIFF file. Raises ImageError INCOMPLETE when one is cut.

    Some programs write a wrong total size, so chunks that begin inside of it only have to be whole themselves.
    """
    if len(data) < 20:  # noqa: PLR2004 - RIFF, WEBP and one chunk header
        raise ImageError(Reason.INCOMPLETE, "The WebP ends inside its header", retryable=True)
    end = min(8 + struct.unpack_from("<I", data, 4)[0], len(data))
    chunks: Chunks = []
    position = 12
    while position + 8 <= end:
        if len(chunks) == _MAX_CHUNKS:
            raise ImageError(Reason.DAMAGED, "The chunks of the WebP do not end")
        kind, size = struct.unpack_from("<4sI", data, position)
        if position + 8 + size > len(data):
            raise ImageError(Reason.INCOMPLETE, "The WebP ends inside a chunk", retryable=True)
        chunks.append((kind, data[position + 8 : position + 8 + size]))
        position += 8 + size + size % 2
    return chunks


def build(chunks: Chunks) -> bytes:
    """Return a RIFF file."""
    parts = [kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) for kind, body in chunks]
    content = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(content)) + content


class WebpPicture(Still):
    """One still WebP."""

    format = "webp"

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        pixels = [(kind, body) for kind, body in self._chunks if kind in {b"VP8 ", b"VP8L"}]
        if len(pixels) != 1:
            raise ImageError(Reason.DAMAGED, f"The WebP has {len(pixels)} pictures")
        self._zeros, self._coded = zero_tail(pixels[0][1]), len(pixels[0][1])
        self._lossless = pixels[0][0] == b"VP8L"
        self.width, self.height = _size(pixels[0][1], lossless=self._lossless)
        self.orientation = orientation_of(dict(self._chunks).get(b"EXIF", b""))

    def decoded(self) -> npt.NDArray[Any]:
        """Decode with Pillow: BGR or BGRA."""
        with pillow(build(self._chunks), "WEBP") as image:
            array = swapped(np.asarray(image))
        if self._zeros >= _ZEROS and self._has_not_arrived(array):
            raise ImageError(Reason.INCOMPLETE, "The end of the WebP is only zeros", retryable=True)
        check_size(array, width=self.width, height=self.height)
        return array

    def _has_not_arrived(self, array: npt.NDArray[Any]) -> bool:
        """Say whether zeros at the end mean a copy that is not whole: too many, or last rows of several colours."""
        flat = np.ptp(array[-_LAST_ROWS:], axis=(0, 1)).max() <= _FLAT
        many = self._zeros > self._coded // _SPARSE and self._coded > self.width * self.height // _TINY
        return many or not flat

    def encode(self, pixels: npt.NDArray[Any], scrub: Scrub = BARE) -> Encoded:
        """Encode in the same manner."""
        new = encoded(pixels, lossless=self._lossless)
        note = "" if self._lossless else f"the whole picture was encoded anew at quality {QUALITY}"
        return Encoded(self._graft(new, scrub), lossless=self._lossless, note=note)

    def _graft(self, pixels: Chunks, scrub: Scrub) -> bytes:
        """Join pixels and the metadata that may stay, with an extended header where it is needed."""
        colour, rest = scrubbed_chunks(self._chunks, scrub)
        chunks = [*colour, *pixels, *rest]
        flags = sum({FLAGS.get(kind, 0) for kind, _ in chunks})
        if self._lossless and pixels[-1][1][4] & 0x10:  # the alpha hint of the VP8L header
            flags |= ALPHA
        if not flags or (flags == ALPHA and self._lossless):
            return build(pixels)
        size = (self.width - 1).to_bytes(3, "little") + (self.height - 1).to_bytes(3, "little")
        return build([(b"VP8X", bytes([flags, 0, 0, 0]) + size), *chunks])

    def scrubbed(self, scrub: Scrub = BARE) -> bytes:
        """Filter the chunks; the pixels stay byte for byte."""
        return self._graft(only_pixels(self._chunks), scrub)

    def thumbnails(self) -> list[bytes]:
        """Return the EXIF thumbnail, which may stay once it is redacted."""
        found = (thumbnail_of(body) for kind, body in self._chunks if kind == b"EXIF")
        return [thumbnail for thumbnail in found if thumbnail]

    def embedded(self) -> list[str]:
        """Name the chunks that still look like a picture."""
        if any(hides_picture(body) for _, body in only_pixels(self._chunks)):
            return ["pixels"]
        return with_pictures([chunk for chunk in self._chunks if chunk[0] not in PIXELS])


def only_pixels(chunks: Chunks) -> Chunks:
    """Return the chunks that hold pixels."""
    return [chunk for chunk in chunks if chunk[0] in PIXELS]


def encoded(pixels: npt.NDArray[Any], *, lossless: bool) -> Chunks:
    """Return the chunks of pixels, BGR or BGRA; `exact` keeps the colours below full transparency."""
    out = io.BytesIO()
    with decoding("WebP"):
        image = Image.fromarray(swapped(pixels))
        if lossless:
            image.save(out, "WEBP", lossless=True, exact=True, quality=50, method=2)
        else:
            image.save(out, "WEBP", quality=QUALITY, exact=True, method=3)
    return only_pixels(read_chunks(out.getvalue()))


def with_pictures(metadata: Chunks) -> list[str]:
    """Name the chunks of metadata that still look like a picture."""
    shown = ((kind, without_thumbnail(body) if kind == b"EXIF" else body) for kind, body in metadata)
    return [kind.decode("latin-1") for kind, body in shown if contains_picture(body)]


def scrubbed_chunks(chunks: Chunks, scrub: Scrub) -> tuple[Chunks, Chunks]:
    """Return the metadata that may stay: the colour profile, which goes before the pixels, and all else."""
    kept = [(kind, clean) for kind, body in chunks if (clean := _scrubbed(kind, body, scrub))]
    colour = [chunk for chunk in kept if chunk[0] == b"ICCP"]
    return colour, [chunk for chunk in kept if chunk[0] != b"ICCP"]


def _scrubbed(kind: bytes, body: bytes, scrub: Scrub) -> bytes | None:
    match kind:
        case b"ICCP":
            return None if contains_picture(body) else body
        case b"EXIF":
            return scrub_exif(body, scrub)
        case b"XMP ":
            return scrub_xmp(body, scrub)
    return None


def _size(body: bytes, *, lossless: bool) -> tuple[int, int]:
    """Read the size from the pixels' own header, the one that the decoder obeys."""
    if lossless and len(body) >= 5 and body[0] == 0x2F:  # noqa: PLR2004 - the signature of VP8L
        bits = struct.unpack_from("<I", body, 1)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if not lossless and len(body) >= 10 and body[3:6] == b"\x9d\x01\x2a":  # noqa: PLR2004 - a key frame of VP8
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise ImageError(Reason.DAMAGED, "The WebP's pixels have no header")
