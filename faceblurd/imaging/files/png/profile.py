"""The "Raw profile" texts of a PNG, in which ImageMagick keeps EXIF, IPTC, XMP and colour profiles in hexadecimal."""

from __future__ import annotations

import binascii
import re
from typing import Final

from faceblurd.imaging import metadata
from faceblurd.imaging.metadata.photoshop import scrub_iptc

_TEXT: Final = re.compile(rb"\s*(\S+)\s+(\d+)\s([0-9A-Fa-f\s]*)")  # no two parts match blanks: linear time
_EXIF: Final = b"Exif\0\0"
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP: Final = b"Photoshop 3.0\0"
_LINE_DIGITS: Final = 72


def scrubbed(name: bytes, text: bytes, scrub: metadata.Scrub) -> bytes | None:
    """Return the text of the profile `name` with what may stay; None where nothing may, or it does not parse."""
    content = _content(text)
    if content is None:
        return None
    clean = _scrubbed(name.lower(), content, scrub)
    return text if clean == content else _text(name, clean) if clean else None


def without_thumbnail_in(text: bytes) -> bytes | None:
    """Return the content of a profile, zeros in the place of EXIF's thumbnail; None where it does not parse."""
    content = _content(text)
    return metadata.without_thumbnail(content) if content and content.startswith(_EXIF) else content


def thumbnail_in(text: bytes) -> bytes | None:
    """Return the thumbnail of a profile that holds EXIF."""
    content = _content(text)
    return metadata.thumbnail_of(content) if content and content.startswith(_EXIF) else None


def _content(text: bytes) -> bytes | None:
    found = _TEXT.fullmatch(text)
    if not found:
        return None
    try:
        content = binascii.unhexlify(b"".join(found[3].split()))
    except binascii.Error:
        return None
    return content if len(content) == int(found[2]) else None


def _text(name: bytes, content: bytes) -> bytes:
    digits = content.hex().encode()
    lines = b"\n".join(digits[at : at + _LINE_DIGITS] for at in range(0, len(digits), _LINE_DIGITS))
    return b"\n%s\n%8d\n%s\n" % (name, len(content), lines)


def _scrubbed(name: bytes, content: bytes, scrub: metadata.Scrub) -> bytes | None:
    """Scrub by what a profile starts with: `APP1` is EXIF or XMP, `iptc` most often Photoshop's resources."""
    if name in {b"icc", b"icm"}:
        return None if metadata.contains_picture(content) else content
    if not scrub.anything:
        return None
    if content.startswith(_EXIF):
        return metadata.scrub_exif(content, scrub)
    if content.startswith(_XMP) or name == b"xmp":
        start = len(_XMP) if content.startswith(_XMP) else 0
        packet = metadata.scrub_xmp(content[start:], scrub)
        return None if packet is None else content[:start] + packet
    if content.startswith(b"\x1c"):
        return scrub_iptc(content, scrub)
    start = len(_PHOTOSHOP) if content.startswith(_PHOTOSHOP) else 0
    resources = metadata.scrub_resources(content[start:], scrub)
    return content[:start] + resources if resources else None
