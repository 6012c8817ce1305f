"""Whether bytes hold a picture file, and where: told by its structure, since a signature may come by chance.

Sees through what programs wrap pictures in (base64 of any alphabet and alignment, hexadecimal, zlib), and through one
such wrapping inside another. Finds no raw samples: the formats' lists of what may stay keep those out.
"""

from __future__ import annotations

import binascii
import re
import zlib
from heapq import merge
from typing import TYPE_CHECKING, Final

from faceblurd.imaging.metadata.picture_ends import Ends

if TYPE_CHECKING:
    from collections.abc import Iterator

Span = tuple[int, int]

# How each kind is found: fixed bytes, for which there is a fast search (an alternation of all patterns took 0.4 s a
# megabyte); what has to stand around them; and how many bytes before them the file begins. JPEG also as some cameras
# (Minolta) store previews: with the first byte replaced, then a table or a header.
_NETPBM: Final = rb"\s+(?:#[^\n]{0,200}\s+)?[1-9]\d{1,4}\s+[1-9]\d{1,4}\s+[1-9]\d{1,4}\s"  # width, height, brightest
_CANDIDATES: Final = tuple(
    (kind, mark, re.compile(re.escape(mark) + around, re.DOTALL), before)
    for kind, mark, around, before in (
        ("jpeg", b"\xd8\xff", rb"(?<=\xff..)\xff*[\xc0-\xc7\xc9-\xcf\xdb-\xdf\xe0-\xef\xfe]", 1),
        ("jpeg", b"\xd8\xff", rb"(?<=[^\xff]..)(?:\xdb\x00[\x43\x84\xc5]|\xe0\x00\x10JFIF|\xe1..Exif|\xc4\x01\xa2)", 1),
        ("png", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", b"", 0),
        ("gif", b"GIF8", rb"[79]a", 0),
        ("riff", b"RIFF", rb"....(?:WEBPVP8|AVI LIST)", 0),
        ("file", b"ftyp", rb"(?<=\x00\x00\x00[\x0c-\xff]ftyp)[ -~]{4}", 4),
        ("file", b"JXL \r\n\x87\n", rb"(?<=\x00\x00\x00\x0c.{8})", 4),
        ("file", b"jP  \r\n\x87\n", rb"(?<=\x00\x00\x00\x0c.{8})", 4),
        ("file", b"\x8aMNG\r\n\x1a\n", b"", 0),
        ("file", b"\xff\x4f\xff\x51\0", rb"[\x29-\xff]", 0),
        ("file", b"8BPS\0", rb"[\x01\x02]\x00{6}", 0),
        ("file", b"\x1aE\xdf\xa3", rb".{1,40}(?:webm|matroska)", 0),
        ("file", b"qoif", rb".{8}[\x03\x04][\x00\x01]", 0),
        ("file", b"P5", _NETPBM, 0),
        ("file", b"P6", _NETPBM, 0),
        ("file", b"DDS |\0\0\0", b"", 0),
        ("bmp", b"BM", rb"....\x00{4}....[\x0c\x28\x34\x38\x40\x6c\x7c]\x00{3}", 0),
        ("tiff", b"II*\0", b"", 0),
        ("tiff", b"MM\0*", b"", 0),
    )
)
_NAKED_JXL: Final = b"\xff\x0a"  # two bytes: believed at the start of what was wrapped only
_MIN_WRAPPED: Final = 96  # bytes of text: the smallest picture of anything takes more
_UNPACKED_A_BYTE: Final = 64  # bytes in all for each packed one, and a megabyte: zlib packs a thousand to one
_MAX_DEPTH: Final = 2  # of wrappings inside wrappings
_LEAST: Final = 24  # bytes: shorter ones show nobody, and most texts are
_BLANKS: Final = b" \t\n\r\v\f\0"  # taken out without a pattern, which takes ten times as long
_NEWLINES: Final = re.compile(rb"&#(?:x[aAdD]|1[03]);|\\[nr]")
_JOINTS: Final = re.compile(rb"[\"'][,+.]?[\"']")  # of a text in several pieces, as programs write it
_ESCAPES: Final = tuple(
    (escape, plain)
    for plain, escapes in (
        (b"+", (b"%2B", b"%2b", b"&#43;", b"&#x2B;", b"&#x2b;")),
        (b"/", (b"%2F", b"%2f", b"&#47;", b"&#x2F;", b"&#x2f;", b"\\/")),
    )
    for escape in escapes
)
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{%d,}" % _MIN_WRAPPED)
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_BETWEEN_DIGITS: Final = b"%,:;-"
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{%d,}" % _MIN_WRAPPED)
_PACKED: Final = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
_ZLIB_OR_GZIP: Final = 32 + zlib.MAX_WBITS


def contains_picture(payload: bytes) -> bool:
    """Say whether bytes hold a picture, or the beginning of one, in whatever wrapping."""
    if len(payload) < _LEAST:
        return False
    try:
        return next(pictures_in(payload), None) is not None or any(_is_in(text) for text in _Wrappings(payload))
    except _TooLargeError:
        return True


def hides_picture(pixels: bytes) -> bool:
    """Say whether a whole picture file lies among coded pixels, which by chance look like the beginning of one."""
    return next(pictures_in(pixels, whole=True), None) is not None


def wipe_pictures(content: bytearray, start: int = 0, end: int | None = None) -> None:
    """Overwrite by zeros every picture file in the bytes (previews in maker's notes); one that is cut, up to `end`."""
    part = bytes(memoryview(content)[start:end])  # no more: a file of many pages has thousands of values
    for first, last in pictures_in(part):
        content[start + first : start + last] = bytes(last - first)


def pictures_in(data: bytes, *, whole: bool = False) -> Iterator[Span]:
    """Give where picture files lie that nothing wraps; one whose end is not known reaches to the end of the bytes.

    `whole`: only those that a decoder would show whole.
    """
    reached, ends = 0, Ends(data, whole=whole)
    starts = (_starts(data, kind, pattern, before) for kind, mark, pattern, before in _CANDIDATES if mark in data)
    for first, kind in merge(*starts):
        end = ends.of(kind, first) if first >= reached else None
        if end is not None:
            yield first, end
            reached = max(end, first + 1)


def _starts(data: bytes, kind: str, pattern: re.Pattern[bytes], before: int) -> Iterator[tuple[int, str]]:
    return ((found.start() - before, kind) for found in pattern.finditer(data))


# --- wrappings


def _is_in(content: bytes) -> bool:
    return content.startswith(_NAKED_JXL) or next(pictures_in(content), None) is not None


class _TooLargeError(Exception):
    """Too much is packed to be searched: in doubt it is a picture."""


class _Wrappings:
    """Gives what text or packed bytes decode to, and what that decodes to in turn. Raises _TooLargeError."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._room = (1 << 20) + _UNPACKED_A_BYTE * len(payload)

    def __iter__(self) -> Iterator[bytes]:
        return self._of(self._payload, _MAX_DEPTH)

    def _of(self, payload: bytes, depth: int) -> Iterator[bytes]:
        if not depth or len(payload) < _MIN_WRAPPED // 2:
            return
        for content in (*self._inflated(payload), *_from_text(payload)):
            yield content
            yield from self._of(content, depth - 1)

    def _inflated(self, payload: bytes) -> Iterator[bytes]:
        if _PACKED.match(payload):
            try:
                content = zlib.decompressobj(_ZLIB_OR_GZIP).decompress(payload, self._room)
            except zlib.error:
                return
            self._room -= len(content)
            if self._room <= 0:
                raise _TooLargeError
            yield content


def _from_text(payload: bytes) -> Iterator[bytes]:
    text = payload.translate(None, _BLANKS)
    if any(mark in text for mark in (b"&#", b"\\", b"%")):
        text = _NEWLINES.sub(b"", text)
        for escaped, plain in _ESCAPES:
            text = text.replace(escaped, plain)
    text = _JOINTS.sub(b"", text)
    for run in (found[0].translate(_URL_SAFE) for found in _BASE64.finditer(text)):
        for shift in range(4):  # other letters may stand right before it
            whole = (len(run) - shift) // 4 * 4
            yield binascii.a2b_base64(run[shift : shift + whole])
    digits = text.replace(b"0x", b"").replace(b"\\x", b"").translate(None, _BETWEEN_DIGITS)
    for run in (found[0] for found in _HEX.finditer(digits)):
        for shift in range(2):
            yield binascii.unhexlify(run[shift : shift + (len(run) - shift) // 2 * 2])
