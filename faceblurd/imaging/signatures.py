"""What bytes are: the format of a file by its content, and whether a stretch of bytes carries a picture.

Looks at bytes only; parses nothing deeply and knows no tags.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from faceblurd.errors import ImageError
from faceblurd.imaging import jpeg_segments

HEAD_BYTES: Final = 512
"""How much of a file's start is looked at."""

# What we can name, longest first.
_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"BM", "bmp"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"8BPS", "psd"),
    (b"II*\0\x10\0\0\0CR", "raw"),
    (b"IIRO", "raw"),
    (b"IIRS", "raw"),
    (b"IIU\0", "raw"),
    (b"MMOR", "raw"),
    (b"FUJIFILMCCD-RAW", "raw"),
    (b"\0MRM", "raw"),
    (b"FOVb", "raw"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "bigtiff"),
    (b"MM\0+", "bigtiff"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"\xff\x0a", "jpegxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jpegxl"),
    (b"\0\0\x01\0", "ico"),
    (b"gimp xcf", "xcf"),
    (b"\x8aMNG\r\n\x1a\n", "mng"),
    (b"v/1\x01", "exr"),
    (b"#?RADIANCE", "hdr"),
    (b"DDS ", "dds"),
    (b"qoif", "qoi"),
    (b"%PDF", "pdf"),
    (b"\x1aE\xdf\xa3", "video"),
    (b"\0\0\x01\xba", "video"),
    (b"\0\0\x01\xb3", "video"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video"),  # Windows Media
    (b"FLV\x01", "video"),
    (b"OggS", "video"),
    (b"II\xbc\x01", "jpegxr"),
    (b"\0\0\x02\0", "cursor"),
    (b"SIMPLE  =", "fits"),
    (b"AT&TFORM", "djvu"),
)
_BRANDS = {b"avif": "avif", b"avis": "avif", b"qt  ": "video", b"crx ": "raw"}
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_ITEM_BRANDS = frozenset({b"mif1", b"msf1", b"mif2"})  # pictures as items, of whatever codec
_MOVIE_ATOMS = frozenset({b"moov", b"mdat", b"wide", b"pnot"})  # QuickTime before it had brands
_PACKET = 188  # of an MPEG transport stream; each starts with a G
_NETPBM = re.compile(rb"P[1-7FfXx]\s")

# A JPEG as it starts, or as some cameras (Minolta) store previews: the first byte replaced, then a table or header.
JPEG_START = re.compile(
    rb"\xff\xd8\xff|[^\xff]\xd8\xff(?:\xdb\x00[\x43\x84\xc5]|\xe0\x00\x10JFIF|\xe1..Exif|\xc4\x01\xa2)", re.DOTALL
)
_RAW_PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|\0\0\0.ftyp(?:heic|heix|avif|mif1|mp4|isom|qt  )",
    re.DOTALL,
)
# The same signatures in base64 and in hexadecimal, followed by enough text to be one.
_TEXT_PICTURE = re.compile(
    rb"(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR|AAAA[A-Za-z0-9+/]GZ0eXB)[A-Za-z0-9+/]{60}"
    rb"|(?i:ffd8ff|89504e470d0a1a0a)[0-9A-Fa-f]{80}"
)
_JPEG = re.compile(rb"\xff\xd8\xff")
_FILE = re.compile(rb"\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBPVP8|ftyp(?:heic|heix|avif|mif1|mp4|isom|qt  )", re.DOTALL)
_BLANKS = re.compile(rb"[\s\0]+")
_MAX_CHANCE = 100  # three bytes that look like a JPEG come once in 16 MB of coded pixels


def names() -> frozenset[str]:
    """Return every name that `sniff` may give."""
    return frozenset({name for _, name in _STARTS} | {*_BRANDS.values(), "heic", "webp", "netpbm", "dicom"})


def sniff(head: bytes) -> str | None:
    """Name the format of a file from its first `HEAD_BYTES`; None when it is nothing that shows pictures."""
    if head[:4] == b"RIFF" and head[8:12] in {b"WEBP", b"AVI "}:
        return "webp" if head[8:12] == b"WEBP" else "video"
    if head[4:8] == b"ftyp":
        return _iso_brand(head)
    if head[4:8] in _MOVIE_ATOMS or head[: 2 * _PACKET : _PACKET] == b"GG":
        return "video"
    if _NETPBM.match(head):
        return "netpbm"
    if head[128:132] == b"DICM":
        return "dicom"
    return next((name for start, name in _STARTS if head.startswith(start)), None)


def _iso_brand(head: bytes) -> str:
    """Name an ISO base media file by its major brand, or where that is of no use by the others."""
    brand, size = head[8:12], int.from_bytes(head[:4], "big")
    others = {head[at : at + 4] for at in range(16, min(size, len(head)) - 3, 4)}
    if brand in _BRANDS or brand in _HEIC_BRANDS:
        return _BRANDS.get(brand, "heic")
    if brand in _ITEM_BRANDS or others & _ITEM_BRANDS:
        return "avif" if b"avif" in others else "heic"
    return "video"


def contains_picture(payload: bytes) -> bool:
    """Say whether bytes carry a picture: as it is, in base64, or in hexadecimal (line breaks and UTF-16 allowed)."""
    return bool(_RAW_PICTURE.search(payload) or _TEXT_PICTURE.search(_BLANKS.sub(b"", payload)))


def hides_picture(pixels: bytes) -> bool:
    """Say whether a whole picture file lies among coded pixels, where three bytes that look like one mean nothing."""
    starts = [found.start() for found in islice(_JPEG.finditer(pixels), _MAX_CHANCE)]
    many = len(starts) == _MAX_CHANCE  # no chance; and each would be followed to the end
    return many or bool(_FILE.search(pixels)) or any(_is_jpeg(pixels, start) for start in starts)


def _is_jpeg(data: bytes, start: int) -> bool:
    try:
        segments = jpeg_segments.scan(data, start)
        jpeg_segments.read_frame(data, segments)
    except ImageError:
        return False
    return True
