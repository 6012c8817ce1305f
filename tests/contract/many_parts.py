"""Starts of pictures that lead nowhere, and tags whose values all are everything: small files that cost hours.

At least where a walk over their parts is not straight.
"""

from __future__ import annotations

import struct

Tag = tuple[int, int, int, int]


def directory(*tags: Tag, following: int = 0) -> bytes:
    """A directory, little-endian: tag, type, count and value or place of each."""
    rows = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<H", len(tags)) + rows + struct.pack("<I", following)


def block(*tags: Tag, size: int, following: int = 0) -> bytes:
    """A TIFF structure of one directory, filled up."""
    return (b"II*\0" + struct.pack("<I", 8) + directory(*tags, following=following)).ljust(size, b"\1")


def page(*more: Tag, strip: int = 8) -> list[Tag]:
    """The tags of a gray page of 20 x 20."""
    tags = [(256, 4, 1, 20), (257, 4, 1, 20), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, strip)]
    return sorted([*tags, (277, 3, 1, 1), (278, 4, 1, 20), (279, 4, 1, 400), *more])


def with_children(*starts: int) -> bytes:
    """Two pages that name sub-directories at 500 and 700, which are reduced copies."""
    strip = bytes(range(1, 201)) * 2
    content = (b"II*\0" + struct.pack("<I", 1_000) + strip).ljust(500, b"\1")
    for start in (700, 1_000):
        content = (content + directory(*page((254, 4, 1, 1)))).ljust(start, b"\1")
    content = (content + directory(*page((330, 4, 1, starts[0])), following=1_300)).ljust(1_300, b"\1")
    return (content + directory(*page((330, 4, 1, starts[1]), strip=1_500))).ljust(1_500, b"\1") + strip


# --- what seems to be a picture inside something


def to_one_place(head: bytes, *, size: int, number: int, code: str, less: int) -> bytes:
    """Heads of files, each with a length behind it that leads to where the last one ends."""
    body = b"".join(
        (head + struct.pack(code, max(number * size - at * size - less, 0))).ljust(size, b"a") for at in range(number)
    )
    assert len(body) == number * size
    return body


TIFFS = b"".join(b"II*\0" + struct.pack("<I", 8 * at) for at in range(4_000, 0, -1))
JPEGS = to_one_place(b"\xff\xd8\xff\xe0", size=6, number=8_000, code=">H", less=4)
FRAMED = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, 9, 9, 1) + b"\1\x11\0"
SCANS = to_one_place(b"\xff\xd8" + FRAMED + b"\xff\xda", size=19, number=3_000, code=">H", less=17)
PNGS = to_one_place(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + bytes(17), size=50, number=5_000, code=">I", less=45)
LEAD_NOWHERE = {
    "JPEGs into one chain of segments": JPEGS + b"\xff\xe1\0\2" * 1_900 + b"\xff\xe1\0\0",
    "JPEGs into fill bytes": JPEGS + b"\xff" * 1_000_000 + b"\0",
    "JPEGs into one scan": SCANS + bytes(3_000_000) + b"\xff\xe1\0\0",
    "TIFF headers of one directory": TIFFS + directory(*[(60_000, 3, 1, 0)] * 4_000),
    "TIFF headers of rows that are blank": (
        TIFFS + directory((256, 3, 1, 9), (257, 3, 1, 9), (273, 4, 1, 40_000), (279, 4, 1, 1 << 24)) + bytes(1_000_000)
    ),
}  # fmt: skip
