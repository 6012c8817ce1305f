"""What a file is by its first bytes, and whether a file of any name begins like a photo. Parses nothing."""

from __future__ import annotations

import re
from typing import Final

HEAD_BYTES: Final = 512
"""How much of a file's start is looked at."""

# The more exact one first where two begin alike.
_STARTS: Final[dict[str, tuple[bytes, ...]]] = {
    "jpeg": (b"\xff\xd8\xff",),
    "png": (b"\x89PNG\r\n\x1a\n",),
    "bmp": (b"BM",),
    "gif": (b"GIF87a", b"GIF89a"),
    "psd": (b"8BPS",),
    "raw": (b"II*\0\x10\0\0\0CR", b"IIRO", b"IIRS", b"IIU\0", b"MMOR", b"FUJIFILMCCD-RAW", b"\0MRM", b"FOVb"),
    "tiff": (b"II*\0", b"MM\0*"),
    "bigtiff": (b"II+\0", b"MM\0+"),
    "jpeg2000": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    "jpegxl": (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
    "ico": (b"\0\0\x01\0",),
    "xcf": (b"gimp xcf",),
    "mng": (b"\x8aMNG\r\n\x1a\n",),
    "exr": (b"v/1\x01",),
    "hdr": (b"#?RADIANCE",),
    "dds": (b"DDS ",),
    "qoi": (b"qoif",),
    "pdf": (b"%PDF",),
    # Matroska, MPEG, Windows Media, Flash, Ogg.
    "video": (
        b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"FLV\x01", b"OggS",
    ),
    "jpegxr": (b"II\xbc\x01",),
    "cursor": (b"\0\0\x02\0",),
    "fits": (b"SIMPLE  =",),
    "djvu": (b"AT&TFORM",),
}  # fmt: skip
_BRANDS = {b"avif": "avif", b"avis": "avif", b"qt  ": "video", b"crx ": "raw"}
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_ITEM_BRANDS = frozenset({b"mif1", b"msf1", b"mif2"})  # pictures as items, of whatever codec
_MOVIE_ATOMS = frozenset({b"moov", b"mdat", b"wide", b"pnot"})  # QuickTime before it had brands
_PACKET = 188  # of an MPEG transport stream; each starts with a G
_NETPBM = re.compile(rb"P[1-7FfXx]\s")
_PLAIN: Final = frozenset({
    "jpeg", "png", "gif", "webp", "tiff", "bigtiff", "avif", "heic", "raw", "psd", "jpegxr", "xcf", "mng", "exr", "hdr",
})  # fmt: skip
_JPEG2000, _JPEGXL = b"\0\0\0\x0cjP  ", b"\0\0\0\x0cJXL "
_NETPBM_HEADER: Final = re.compile(
    rb"P(?:[1-6]\s(?:\s*#[^\n]*\n)*\s*\d+\s+\d+\s+\d|7\nWIDTH \d|[Ff]\s\d+\s+\d+\s+-?\d)"
)
_QOI: Final = re.compile(rb"qoif.{8}[\x03\x04][\x00\x01]", re.DOTALL)
_BMP_HEADERS: Final = frozenset({12, 40, 52, 56, 64, 108, 124})


def names() -> frozenset[str]:
    """Return every name that `sniff` may give."""
    return frozenset({*_STARTS, *_BRANDS.values(), "heic", "webp", "netpbm", "dicom"})


def sniff(head: bytes) -> str | None:
    """Name the format of a file from its first `HEAD_BYTES`; None when it is nothing that shows pictures."""
    if head[:4] == b"RIFF" and head[8:12] in {b"WEBP", b"AVI "}:
        return "webp" if head[8:12] == b"WEBP" else "video"
    if head[4:8] == b"ftyp":
        return _iso_brand(head)
    if head[4:8] in _MOVIE_ATOMS or (head[: 2 * _PACKET : _PACKET] == b"GG" and not head.startswith(b"GIF8")):
        return "video"
    if _NETPBM.match(head):
        return "netpbm"
    if head[128:132] == b"DICM":
        return "dicom"
    return next((name for name, starts in _STARTS.items() if head.startswith(starts)), None)


def _iso_brand(head: bytes) -> str:
    """Name an ISO base media file by its major brand, or where that is of no use by the others."""
    brand, size = head[8:12], int.from_bytes(head[:4], "big")
    others = {head[at : at + 4] for at in range(16, min(size, len(head)) - 3, 4)}
    if brand in _BRANDS or brand in _HEIC_BRANDS:
        return _BRANDS.get(brand, "heic")
    if brand in _ITEM_BRANDS or others & _ITEM_BRANDS:
        return "avif" if b"avif" in others else "heic"
    return "video"


def is_photo(head: bytes) -> bool:
    """Tell whether the first bytes of a file are those of a photo, whether or not it can be blurred."""
    found = sniff(head)
    if found == "bmp":
        return head[6:10] == bytes(4) and int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    if found in {"netpbm", "qoi"}:
        return bool((_NETPBM_HEADER if found == "netpbm" else _QOI).match(head))
    return found in _PLAIN or head.startswith((_JPEG2000, _JPEGXL))
