"""ISO base media boxes, of which AVIF and HEIF files are made: read with every length checked, and written.

Knows how boxes nest and how their numbers are stored, not what they mean; decodes nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceblurd.errors import ImageError
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

_LARGE, _TO_THE_END = 1, 0  # sizes that mean something else: 64 bits follow; the box ends with what holds it
_OF_FILES = frozenset(
    {b"ftyp", b"meta", b"mdat", b"moov", b"mpvd", b"free", b"skip", b"wide", b"uuid", b"jumb", b"sefd"}
)
_MAX_BOXES = 10_000


@dataclass(frozen=True, slots=True)
class Box:
    """One box: where its header, its body and its end lie in the file."""

    kind: bytes
    start: int
    body: int
    end: int


def top_boxes(data: bytes) -> tuple[list[Box], int]:
    """Return the boxes of a file, and where they end: some programs add other bytes, or zeros.

    Raises ImageError INCOMPLETE where a box is cut.
    """
    found: list[Box] = []
    start = 0
    while (box := _box_at(data, start, len(data))) and box.kind.isalnum() and len(found) < _MAX_BOXES:
        if box.end > len(data):
            if box.kind in _OF_FILES:
                raise cut()
            break  # four letters of a text
        found.append(box)
        start = box.end
    return found, start


def boxes(data: bytes, start: int, end: int) -> list[Box]:
    """Return the boxes inside another one, which fill it. Raises ImageError DAMAGED."""
    found: list[Box] = []
    while start < end:
        box = _box_at(data, start, end)
        if box is None or box.end > end or len(found) == _MAX_BOXES:
            raise damaged("a box does not fit into the one that holds it")
        found.append(box)
        start = box.end
    return found


def _box_at(data: bytes, start: int, stop: int) -> Box | None:
    """Read a header; None where it is cut, only zeros, or makes no sense."""
    try:
        size, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if size == _LARGE:
            size, header = struct.unpack_from(">Q", data, start + 8)[0], 16
    except struct.error:
        return None
    if size == _TO_THE_END:
        size = stop - start
    return Box(kind, start, start + header, start + size) if any(kind) and size >= header else None


class Fields:
    """The fields of a box, read one after another: big-endian numbers, texts, bytes. Raises ImageError DAMAGED."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data, self.position, self._end = data, start, end

    def number(self, size: int) -> int:
        """Read an unsigned number of `size` bytes; 0 bytes give 0."""
        return int.from_bytes(self.take(size), "big")

    def signed(self) -> int:
        """Read a signed number of 4 bytes."""
        return int.from_bytes(self.take(4), "big", signed=True)

    def take(self, size: int) -> bytes:
        """Read so many bytes."""
        if self.position + size > self._end:
            raise damaged("a box ends inside a field")
        self.position += size
        return self._data[self.position - size : self.position]

    def text(self) -> bytes:
        """Read up to a zero byte, or to the end."""
        end = self._data.find(b"\0", self.position, self._end)
        text = self._data[self.position : self._end if end < 0 else end]
        self.position += len(text) + 1
        return text

    def version(self) -> tuple[int, int]:
        """Read the version and the flags with which some boxes start."""
        return self.number(1), self.number(3)


def box(kind: bytes, *parts: bytes) -> bytes:
    """Write a box."""
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def versioned(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    """Write a box that starts with a version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def numbers(size: int, values: Iterable[int]) -> bytes:
    """Write numbers of `size` bytes."""
    return b"".join(value.to_bytes(size, "big") for value in values)


def damaged(why: str) -> ImageError:
    """Return the error for a structure that makes no sense."""
    return ImageError(Reason.DAMAGED, f"The file is damaged: {why}")


def cut() -> ImageError:
    """Return the error for a file that has not arrived in full."""
    return ImageError(Reason.INCOMPLETE, "The file ends inside a box", retryable=True)
