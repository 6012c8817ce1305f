"""Where a picture file ends that seems to start somewhere among other bytes: told by its structure, kind by kind.

Hostile bytes may hold thousands of false starts, each with a long structure that leads nowhere. So steps in vain are
counted: one search has as many as an honest file of that size needs, with some to spare.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final

from faceblurd.imaging.jpeg_segments import EOI, FILL, FRAMES, MARKER, SEGMENTS, SOS

if TYPE_CHECKING:
    from collections.abc import Callable

_BYTES_A_STEP: Final = 2  # the smallest part of a file has 4; noise brings false starts, of two steps each
_SPARE_STEPS: Final = 16
_SEARCHED_A_STEP: Final = 64  # bytes that a search for a mark passes over in the time of a step
_KNOWN_START: Final = re.compile(
    rb"\xff(?:\xdb\x00[\x43\x84\xc5]|\xe0\x00\x10JF[IX][FX]|\xe1..Exif|\xc4\x01\xa2)", re.DOTALL
)
_GIF_EXTENSIONS: Final = (b"\xf9", b"\xfe", b"\xff", b"\x01")
_MAX_FRAMES: Final = 64  # directories of a TIFF
_MAX_TAGS: Final = 4096


class _TooManySteps(Exception):  # noqa: N818 - a way out, not an error
    """Too many steps were in vain to go on."""


class Ends:
    """Finds the end of what seems to start somewhere in some bytes.

    `whole`: only of what a decoder would show whole. After too many steps in vain, everything ends with the bytes: in
    doubt it is a picture.
    """

    def __init__(self, data: bytes, *, whole: bool) -> None:
        self.data, self.whole = data, whole
        self._left = _SPARE_STEPS + len(data) // _BYTES_A_STEP

    def of(self, kind: str, start: int) -> int | None:
        """Return where a file of this kind ends that seems to start here; the end of the bytes when it is cut.

        None when there is no such file.
        """
        before = self._left
        try:
            end = _ENDS[kind](self, start)
        except _TooManySteps:
            return len(self.data)
        if end is not None:
            self._left = before
        return end

    @property
    def if_cut(self) -> int | None:
        """The end of a file that is cut."""
        return None if self.whole else len(self.data)

    def step(self, number: int = 1) -> None:
        """Count steps."""
        self._left -= number
        if self._left < 0:
            raise _TooManySteps


# --- JPEG


def _jpeg(ends: Ends, start: int) -> int | None:
    """Follow the segments: decoders need a sound frame header before the first scan.

    Of a file that is cut before that, a whole segment or a known start must be there.
    """
    data, position, framed, scanned = ends.data, start + 2, False, False
    is_known = bool(_KNOWN_START.match(data, position))
    while True:
        position = _after_fill(ends, position)
        head = data[position : position + 4]
        if scanned and head[:2] == bytes([0xFF, EOI]):
            return position + 2
        if len(head) < 4 or head[0] != 0xFF or head[1] not in SEGMENTS:  # noqa: PLR2004 - marker and length
            return ends.if_cut if scanned or (framed and len(head) < 4) else None  # noqa: PLR2004 - same
        marker, end = head[1], position + 2 + int.from_bytes(head[2:], "big")
        if marker in FRAMES:
            framed = framed or _is_frame(data[position + 4 : position + 10], head[2:])
        if end < position + 4 or (marker == SOS and not framed):
            return None
        if end > len(data):
            return ends.if_cut if is_known else None
        position, is_known = end, True
        if marker == SOS:
            scanned = True
            found = _next_marker(ends, end)
            if found is None:
                return ends.if_cut
            position = found


def _after_fill(ends: Ends, position: int) -> int:
    """Skip fill bytes, but for the last one, which may begin a marker."""
    found = FILL.match(ends.data, position)
    ends.step(1 + ((found.end() - position) // _SEARCHED_A_STEP if found else 0))
    return found.end() if found else position


def _next_marker(ends: Ends, position: int) -> int | None:
    found = MARKER.search(ends.data, position)
    ends.step(((found.start() if found else len(ends.data)) - position) // _SEARCHED_A_STEP)
    return found.start() if found else None


def _is_frame(body: bytes, length: bytes) -> bool:
    """Say whether these are the first bytes of a frame header: its precision, size and number of components."""
    if len(body) < 6:  # noqa: PLR2004 - its fixed part
        return False
    sound = body[0] in {8, 12, 16} and any(body[3:5]) and 1 <= body[5] <= 4  # noqa: PLR2004 - as the standard says
    return sound and int.from_bytes(length, "big") == 8 + 3 * body[5]


# --- others


def _png(ends: Ends, start: int) -> int | None:
    data, position = ends.data, start + 8
    while position + 12 <= len(data):
        ends.step()
        kind = data[position + 4 : position + 8]
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        if kind == b"IEND" and position <= len(data):
            return position
        if not kind.isalpha():
            break
    return ends.if_cut


def _gif(ends: Ends, start: int) -> int | None:
    data = ends.data
    head = data[start : start + 13]
    if len(head) < 13 or not any(head[6:8]) or not any(head[8:10]):  # noqa: PLR2004 - its one size
        return None
    first = start + 13 + _table(head[10])
    block = data[first : first + 10]
    if block[:1] == b"!":
        return len(data) if block[1:2] in _GIF_EXTENSIONS else None
    if block[:1] != b"," or len(block) < 10:  # noqa: PLR2004 - its one size
        return None
    codes = data[first + 10 + _table(block[9]) :][:2]
    return len(data) if len(codes) == 2 and 1 < codes[0] <= 11 and codes[1] else None  # noqa: PLR2004 - size, length


def _table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _riff(ends: Ends, start: int) -> int | None:
    end = start + 8 + int(struct.unpack_from("<I", ends.data, start + 4)[0])
    return ends.if_cut if end > len(ends.data) else end


def _file(ends: Ends, _start: int) -> int | None:
    return len(ends.data)


def _bmp(ends: Ends, start: int) -> int | None:
    data = ends.data
    if start + 30 > len(data):
        return None
    size, rows, header = map(int, struct.unpack_from("<I4xII", data, start + 2))
    planes, bits = struct.unpack_from("<HH", data, start + (22 if header == 12 else 26))  # noqa: PLR2004 - OS/2's
    sound = planes == 1 and bits in {0, 1, 2, 4, 8, 16, 24, 32} and 14 + header <= rows <= max(size, rows)
    if not sound or rows > 1 << 20:
        return None
    return ends.if_cut if start + size > len(data) else start + max(size, rows)


# --- TIFF


def _tiff(ends: Ends, start: int) -> int | None:
    """Tell a picture from TIFF structures that hold none, such as EXIF: it has a size, and rows that are not blank."""
    data, seen = ends.data, set[int]()
    order = "<" if data[start : start + 1] == b"I" else ">"
    try:
        following = int(struct.unpack_from(order + "I", data, start + 4)[0])
        while following and following not in seen and len(seen) < _MAX_FRAMES:
            seen.add(following)
            tags, following = _directory(ends, start, following, order)
            if _has_rows(ends, start, tags, order):
                return len(data)
    except struct.error:
        return None
    return None


_Tags = dict[int, tuple[int, int, int]]


def _directory(ends: Ends, base: int, at: int, order: str) -> tuple[_Tags, int]:
    """Return type, count and place of the value by tag, and where the next directory is."""
    data = ends.data
    count = int(struct.unpack_from(order + "H", data, base + at)[0])
    if not 0 < count <= _MAX_TAGS:
        return {}, 0
    following = int(struct.unpack_from(order + "I", data, base + at + 2 + 12 * count)[0])
    ends.step(count)
    rows = [struct.unpack_from(order + "HHI", data, base + at + 2 + 12 * i) for i in range(count)]
    return {tag: (kind, many, base + at + 10 + 12 * i) for i, (tag, kind, many) in enumerate(rows)}, following


def _has_rows(ends: Ends, base: int, tags: _Tags, order: str) -> bool:
    starts, sizes = tags.get(273) or tags.get(324), tags.get(279) or tags.get(325)
    if not starts or not sizes or not tags.keys() >= {256, 257}:
        return False
    first, size = (_first(ends.data, base, one, order) for one in (starts, sizes))
    rows = ends.data[base + first : base + first + max(size, 1)]
    ends.step(len(rows) // _SEARCHED_A_STEP)
    return bool(rows.lstrip(b"\0"))


def _first(data: bytes, base: int, value: tuple[int, int, int], order: str) -> int:
    kind, many, at = value
    code, size = ("H", 2) if kind == 3 else ("I", 4)  # noqa: PLR2004 - SHORT
    if many * size > 4:  # noqa: PLR2004 - what fits into the tag
        at = base + int(struct.unpack_from(order + "I", data, at)[0])
    return int(struct.unpack_from(order + code, data, at)[0])


_ENDS: Final[dict[str, Callable[[Ends, int], int | None]]] = {
    "jpeg": _jpeg, "png": _png, "gif": _gif, "riff": _riff, "file": _file, "bmp": _bmp, "tiff": _tiff,
}  # fmt: skip
