"""What bytes are: the format of a file by its content, and whether a stretch of bytes carries a picture.

Looks at bytes only; parses nothing deeply and knows no tags.
"""

from __future__ import annotations

import re

# What we can name, longest first; the first five are the formats that we work on.
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
)
_BRANDS = {b"avif": "avif", b"avis": "avif", b"qt  ": "video", b"crx ": "raw"}
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"})
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
_BLANKS = re.compile(rb"[\s\0]+")


def sniff(head: bytes) -> str | None:
    """Name the format of a file from its first 64 bytes; None when it is nothing that shows pictures."""
    if head[:4] == b"RIFF" and head[8:12] in {b"WEBP", b"AVI "}:
        return "webp" if head[8:12] == b"WEBP" else "video"
    if head[4:8] == b"ftyp":
        return _iso_brand(head)
    if _NETPBM.match(head):
        return "netpbm"
    return next((name for start, name in _STARTS if head.startswith(start)), None)


def _iso_brand(head: bytes) -> str:
    """Name an ISO base media file by its major brand."""
    brand = head[8:12]
    if brand in _HEIF_BRANDS:
        return "avif" if b"avif" in head[16:64] else "heic"
    return _BRANDS.get(brand, "video")


def contains_picture(payload: bytes) -> bool:
    """Say whether bytes carry a picture: as it is, in base64, or in hexadecimal (line breaks and UTF-16 allowed)."""
    return bool(_RAW_PICTURE.search(payload) or _TEXT_PICTURE.search(_BLANKS.sub(b"", payload)))
