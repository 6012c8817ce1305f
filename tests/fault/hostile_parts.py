"""Hostile files of thousands of tiny parts: name, content, and the fates that are right.

What they hide is taken out, or the file is held; none may take longer than its bytes are worth.
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING

import leaky
from leaky_others import chunk
from many_parts import LEAD_NOWHERE, PNGS, block, directory, page, with_children

from faceblurd.imaging.jpeg_segments import build as segment

if TYPE_CHECKING:
    from collections.abc import Iterator

Made = tuple[str, bytes, tuple[str, ...]]
PUBLISHED = ("published",)
_MOST = 65_000  # bytes of a segment


def everything(png: bytes, photo: bytes) -> Iterator[Made]:
    """All of them, around a PNG and an honest JPEG."""
    texts = {
        **{f"{name}, 10 times": content * 10 for name, content in LEAD_NOWHERE.items()},
        "packed zeros in a text": b".".join([base64.b64encode(zlib.compress(bytes(31 << 20)))] * 40),
        "base64 of nothing": b"A" * (8 << 20),
    }
    for name, text in texts.items():
        yield f"{name}.png", png[:33] + chunk(b"tEXt", b"Comment\0" + text) + png[33:], PUBLISHED
    profile = b"Raw profile type exif\0\0" + zlib.compress(b"x 1" + b" " * 4_000_000 + b"g")
    yield "a raw profile of blanks.png", png[:33] + chunk(b"zTXt", profile) + png[33:], PUBLISHED
    yield "240000 texts.png", png[:33] + chunk(b"tEXt", b"a\0b c d e f") * 240_000 + png[33:], PUBLISHED
    for name, body in _packets().items():
        packet = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + leaky.xmp(body, q="q"))
        yield f"{name}.png", png[:33] + packet + png[33:], PUBLISHED
    yield "20 MB of fill bytes.jpg", photo[:2] + b"\xff" * (20 << 20) + photo[2:], PUBLISHED
    for name, exif in _exif().items():
        pieces = (segment(0xE1, b"Exif\0\0" + exif[at : at + _MOST]) for at in range(0, len(exif), _MOST))
        yield f"{name}.jpg", photo[:2] + b"".join(pieces) + photo[2:], PUBLISHED
    yield from _tiff()


def _packets() -> dict[str, bytes]:
    return {
        "300000 elements": b"<q:a/>" * 300_000,
        "300000 attributes": b"<q:a %s/>" % b" ".join(b"q:a%d='1'" % number for number in range(300_000)),
        "a keyword of dots": b"<q:s><q:name>a" + b"." * 1_000_000 + b"b</q:name></q:s>",
    }


def _exif() -> dict[str, bytes]:
    return {
        "4000 unknown tags": block(*((51_000 + tag, 7, 100, 60_000) for tag in range(4_000)), size=60_100),
        "unknown tags that all are everything": block(
            *((51_000 + tag, 7, 4_900_000, 60_000) for tag in range(4_000)), size=5_000_000
        ),
        "known tags that all are everything": block(
            *((36_864 + tag, 7, 4_900_000, 60_000) for tag in range(800)), size=5_000_000
        ),
    }


def _tiff() -> Iterator[Made]:
    yield "sub-directories that two pages share.tif", with_children(500, 500), ("damaged",)
    rows = PNGS + chunk(b"abcd", b"") * 50_000
    tags = page(strip=200)
    sized = {256: len(rows), 257: 1, 278: 1, 279: len(rows)}
    tags = [(tag, kind, count, sized.get(tag, value)) for tag, kind, count, value in tags]
    yield "starts of PNGs for rows.tif", block(*tags, size=200) + rows, ("not_verified", "published")
    many = [(36_864 + tag, 7, 19_000_000, 60_000) for tag in range(800)]
    start = struct.pack("<I", 8) + directory(*page(*many, strip=20_000))
    yield (
        "values that all are everything.tif",
        (b"II*\0" + start).ljust(20_000_000, b"\1"),
        ("published", "not_verified", "damaged"),
    )
