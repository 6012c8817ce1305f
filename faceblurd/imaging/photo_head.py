"""Whether a file of any name begins like a photo. Looks at the first bytes only.

Stricter than `signatures.sniff`, which judges files that are photos by their names: here two letters are no proof.
"""

from __future__ import annotations

import re
from typing import Final

from faceblurd.imaging.signatures import sniff

_PLAIN: Final = frozenset({
    "jpeg", "png", "gif", "webp", "tiff", "bigtiff", "avif", "heic", "raw", "psd", "jpegxr", "xcf", "mng", "exr", "hdr",
})  # fmt: skip
_JPEG2000, _JPEGXL = b"\0\0\0\x0cjP  ", b"\0\0\0\x0cJXL "
_NETPBM: Final = re.compile(rb"P(?:[1-6]\s(?:\s*#[^\n]*\n)*\s*\d+\s+\d+\s+\d|7\nWIDTH \d|[Ff]\s\d+\s+\d+\s+-?\d)")
_QOI: Final = re.compile(rb"qoif.{8}[\x03\x04][\x00\x01]", re.DOTALL)
_BMP_HEADERS: Final = frozenset({12, 40, 52, 56, 64, 108, 124})


def is_photo(head: bytes) -> bool:
    """Tell whether the first bytes of a file are those of a photo, whether or not it can be blurred."""
    found = sniff(head)
    if found == "bmp":
        return head[6:10] == bytes(4) and int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    if found in {"netpbm", "qoi"}:
        return bool((_NETPBM if found == "netpbm" else _QOI).match(head))
    return found in _PLAIN or head.startswith((_JPEG2000, _JPEGXL))
