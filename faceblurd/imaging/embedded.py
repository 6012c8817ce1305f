"""Whether bytes carry a picture file, and where: told by its structure, since three bytes may come by chance.

Sees through what programs wrap pictures in (base64 of any alphabet and alignment, hexadecimal, zlib), and through one
such wrapping inside another. Knows no tags: raw samples are kept out by the formats' lists of what may stay.
"""

from __future__ import annotations

import binascii
import re
import struct
import zlib
from heapq import merge
from typing import TYPE_CHECKING, Final

from faceblurd.imaging.jpeg_segments import jpeg_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Span = tuple[int, int]

# How each kind is found, and how many bytes before what is found it begins. Each pattern starts with fixed bytes, for
# which there is a fast search: an alternation of all took 0.4 s a megabyte. JPEG also as some cameras (Minolta) store
# previews: the first byte replaced, then a table or a header.
_CANDIDATES: Final = tuple(
    (kind, re.compile(pattern, re.DOTALL), before)
    for kind, pattern, before in (
        ("jpeg", rb"\xd8\xff(?<=\xff..)\xff*[\xc0-\xc7\xc9-\xcf\xdb-\xdf\xe0-\xef\xfe]", 1),
        ("jpeg", rb"\xd8\xff(?<=[^\xff]..)(?:\xdb\x00[\x43\x84\xc5]|\xe0\x00\x10JFIF|\xe1..Exif|\xc4\x01\xa2)", 1),
        ("png", rb"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR", 0),
        ("gif", rb"GIF8[79]a", 0),
        ("riff", rb"RIFF....(?:WEBPVP8|AVI LIST)", 0),
        ("file", rb"ftyp(?<=\x00\x00\x00[\x0c-\xff]ftyp)[ -~]{4}", 4),
        ("file", rb"JXL \r\n\x87\n(?<=\x00\x00\x00\x0c.{8})", 4),
        ("file", rb"jP  \r\n\x87\n(?<=\x00\x00\x00\x0c.{8})", 4),
        ("file", rb"\x8aMNG\r\n\x1a\n", 0),
        ("file", rb"\xff\x4f\xff\x51\x00[\x29-\xff]", 0),
        ("file", rb"8BPS\x00[\x01\x02]\x00{6}", 0),
        ("file", rb"\x1aE\xdf\xa3.{1,40}(?:webm|matroska)", 0),
        ("file", rb"qoif.{8}[\x03\x04][\x00\x01]", 0),
        ("bmp", rb"BM....\x00{4}....[\x0c\x28\x34\x38\x40\x6c\x7c]\x00{3}", 0),
        ("tiff", rb"II\*\x00", 0),
        ("tiff", rb"MM\x00\*", 0),
    )
)
_NAKED_JXL: Final = b"\xff\x0a"  # two bytes: believed at the start of what was wrapped only
_MIN_WRAPPED: Final = 96  # bytes of text: the smallest picture of anything takes more
_MAX_UNPACKED: Final = 32 << 20
_MAX_DEPTH: Final = 2  # of wrappings inside wrappings
_BLANKS: Final = re.compile(rb"[\s\0]+|&#(?:x[aAdD]|1[03]);|\\[nr]")
_ESCAPES: Final = ((b"%2B", b"+"), (b"%2F", b"/"), (b"%2b", b"+"), (b"%2f", b"/"), (b"\\/", b"/"))
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{%d,}" % _MIN_WRAPPED)
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_BETWEEN_DIGITS: Final = re.compile(rb"(?:0x|\\x|[%,:;-])+")
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{%d,}" % _MIN_WRAPPED)
_PACKED: Final = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
_ZLIB_OR_GZIP: Final = 32 + zlib.MAX_WBITS
_MAX_FRAMES: Final = 64  # directories of a TIFF
_MAX_TAGS: Final = 4096


def contains_picture(payload: bytes) -> bool:
    """Say whether bytes carry a picture, or the beginning of one, in whatever wrapping."""
    return next(pictures_in(payload), None) is not None or any(_is_in(text) for text in _unwrapped(payload, _MAX_DEPTH))


def hides_picture(pixels: bytes) -> bool:
    """Say whether a whole picture file lies among coded pixels, which may look like the beginning of one."""
    return next(pictures_in(pixels, whole=True), None) is not None


def wipe_pictures(content: bytearray, start: int = 0, end: int | None = None) -> None:
    """Overwrite every picture file inside the bytes (previews of maker's notes) by zeros; one that is cut, to `end`."""
    stop = len(content) if end is None else min(end, len(content))
    for first, last in pictures_in(bytes(content[:stop]), start):
        content[first:last] = bytes(last - first)


def pictures_in(data: bytes, start: int = 0, *, whole: bool = False) -> Iterator[Span]:
    """Give where picture files lie, as they are; one whose end is not known reaches to the end of the bytes.

    `whole`: only those that a decoder would show whole.
    """
    reached = start
    for first, kind in merge(*(_starts(data, start, *candidate) for candidate in _CANDIDATES)):
        end = _ENDS[kind](data, first, whole) if first >= reached else None
        if end is not None:
            yield first, end
            reached = max(end, first + 1)


def _starts(data: bytes, start: int, kind: str, pattern: re.Pattern[bytes], before: int) -> Iterator[tuple[int, str]]:
    return ((found.start() - before, kind) for found in pattern.finditer(data, start))


def _jpeg(data: bytes, start: int, whole: bool) -> int | None:  # noqa: FBT001 - all of `_ENDS` are called alike
    return jpeg_end(data, start, whole=whole)


def _png(data: bytes, start: int, whole: bool) -> int | None:  # noqa: FBT001 - same
    position = start + 8
    while position + 12 <= len(data):
        kind = data[position + 4 : position + 8]
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        if kind == b"IEND" and position <= len(data):
            return position
        if not kind.isalpha():
            break
    return None if whole else len(data)


def _gif(data: bytes, start: int, whole: bool) -> int | None:  # noqa: FBT001, ARG001 - same
    head = data[start : start + 13]
    if len(head) < 13 or not any(head[6:8]) or not any(head[8:10]):  # noqa: PLR2004 - its one size
        return None
    first = start + 13 + (3 << (head[10] & 7) + 1 if head[10] & 0x80 else 0)
    return len(data) if first >= len(data) or data[first] in b"!,;" else None


def _riff(data: bytes, start: int, whole: bool) -> int | None:  # noqa: FBT001 - same
    end = start + 8 + int(struct.unpack_from("<I", data, start + 4)[0])
    return None if whole and end > len(data) else min(end, len(data))


def _file(data: bytes, start: int, whole: bool) -> int | None:  # noqa: FBT001, ARG001 - same
    return len(data)


def _bmp(data: bytes, start: int, whole: bool) -> int | None:  # noqa: FBT001 - same
    if start + 30 > len(data):
        return None
    size, rows, header = map(int, struct.unpack_from("<I4xII", data, start + 2))
    planes, bits = struct.unpack_from("<HH", data, start + (22 if header == 12 else 26))  # noqa: PLR2004 - OS/2's
    sound = planes == 1 and bits in {0, 1, 2, 4, 8, 16, 24, 32} and 14 + header <= rows <= max(size, rows)
    cut = start + size > len(data)
    return None if not sound or rows > 1 << 20 or (whole and cut) else len(data) if cut else start + max(size, rows)


def _tiff(data: bytes, start: int, whole: bool) -> int | None:  # noqa: FBT001, ARG001 - same
    """Tell a picture from the many TIFF structures that hold none: it has a size, and rows that are not blank."""
    order = "<" if data[start : start + 1] == b"I" else ">"
    seen: set[int] = set()
    try:
        following = int(struct.unpack_from(order + "I", data, start + 4)[0])
        while following and following not in seen and len(seen) < _MAX_FRAMES:
            seen.add(following)
            tags, following = _directory(data, start, following, order)
            if _has_rows(data, start, tags, order):
                return len(data)
    except struct.error:
        return None
    return None


_Tags = dict[int, tuple[int, int, int]]


def _directory(data: bytes, base: int, at: int, order: str) -> tuple[_Tags, int]:
    """Return what a directory says, type, count and place of the value by tag, and where the next one is."""
    count = int(struct.unpack_from(order + "H", data, base + at)[0])
    if not 0 < count <= _MAX_TAGS:
        return {}, 0
    rows = [struct.unpack_from(order + "HHI", data, base + at + 2 + 12 * i) for i in range(count)]
    tags = {tag: (kind, many, base + at + 10 + 12 * i) for i, (tag, kind, many) in enumerate(rows)}
    return tags, int(struct.unpack_from(order + "I", data, base + at + 2 + 12 * count)[0])


def _has_rows(data: bytes, base: int, tags: _Tags, order: str) -> bool:
    starts, sizes = tags.get(273) or tags.get(324), tags.get(279) or tags.get(325)
    if not starts or not sizes or not tags.keys() >= {256, 257}:
        return False
    first, size = (_first(data, base, one, order) for one in (starts, sizes))
    return any(data[base + first : base + first + max(size, 1)])


def _first(data: bytes, base: int, value: tuple[int, int, int], order: str) -> int:
    kind, many, at = value
    code, size = ("H", 2) if kind == 3 else ("I", 4)  # noqa: PLR2004 - SHORT
    if many * size > 4:  # noqa: PLR2004 - what fits into the tag
        at = base + int(struct.unpack_from(order + "I", data, at)[0])
    return int(struct.unpack_from(order + code, data, at)[0])


_ENDS: Final[dict[str, Callable[[bytes, int, bool], int | None]]] = {
    "jpeg": _jpeg, "png": _png, "gif": _gif, "riff": _riff, "file": _file, "bmp": _bmp, "tiff": _tiff,
}  # fmt: skip


# --- wrappings


def _is_in(content: bytes) -> bool:
    return content.startswith(_NAKED_JXL) or next(pictures_in(content), None) is not None


def _unwrapped(payload: bytes, depth: int) -> Iterator[bytes]:
    """Give what stretches of text, or packed bytes, may stand for; and what these may stand for in turn."""
    if not depth or len(payload) < _MIN_WRAPPED // 2:
        return
    for content in (*_inflated(payload), *_from_text(payload)):
        yield content
        yield from _unwrapped(content, depth - 1)


def _inflated(payload: bytes) -> Iterator[bytes]:
    if found := _PACKED.match(payload):
        try:
            yield zlib.decompressobj(_ZLIB_OR_GZIP).decompress(payload[found.start() :], _MAX_UNPACKED)
        except zlib.error:
            return


def _from_text(payload: bytes) -> Iterator[bytes]:
    text = _BLANKS.sub(b"", payload)
    for escaped, plain in _ESCAPES:
        text = text.replace(escaped, plain)
    for run in (found[0].translate(_URL_SAFE) for found in _BASE64.finditer(text)):
        for shift in range(4):  # what stands before it without a mark between
            whole = (len(run) - shift) // 4 * 4
            yield binascii.a2b_base64(run[shift : shift + whole])
    for run in (found[0] for found in _HEX.finditer(_BETWEEN_DIGITS.sub(b"", text))):
        for shift in range(2):
            yield binascii.unhexlify(run[shift : shift + (len(run) - shift) // 2 * 2])
