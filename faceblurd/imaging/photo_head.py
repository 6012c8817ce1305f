"""Whether a file of any name begins like a photo. Looks at the first bytes only.

Stricter than `signatures.sniff`, which judges files that are photos by their names: here two letters are no proof.
"""

from __future__ import annotations

from typing import Final

from faceblurd.imaging.signatures import sniff

_PLAIN: Final = frozenset({
    "jpeg", "png", "gif", "webp", "tiff", "bigtiff", "avif", "heic", "raw", "psd", "jpegxr", "xcf", "mng",
})  # fmt: skip
_JPEG2000, _JPEGXL = b"\0\0\0\x0cjP  ", b"\0\0\0\x0cJXL "
_BMP_HEADERS: Final = frozenset({12, 40, 52, 56, 64, 108, 124})


def is_photo(head: bytes) -> bool:
    """Tell whether the first bytes of a file are those of a photo, whether or not it can be blurred."""
    found = sniff(head)
    if found == "bmp":
        return head[6:10] == bytes(4) and int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    return found in _PLAIN or head.startswith((_JPEG2000, _JPEGXL))
