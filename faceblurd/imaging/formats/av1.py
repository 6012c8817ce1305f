"""The size that an AV1 stream says of itself, which is what counts for a decoder that does not ask the file around it.

Reads the sequence header only (AV1 Bitstream & Decoding Process Specification, 5.3 and 5.5); decodes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faceblurd.errors import ImageError
from faceblurd.imaging.formats.isobmff import damaged
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEQUENCE_HEADER = 1
_MOST_LEVEL_WITHOUT_TIER = 7


def coded_sizes(stream: bytes) -> set[tuple[int, int]]:
    """Return columns and rows of each sequence header. Raises ImageError DAMAGED, or UNSUPPORTED for parts of films."""
    return {_size(_Bits(body)) for kind, body in _units(stream) if kind == _SEQUENCE_HEADER}


def _units(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the kind and the body of each unit."""
    position = 0
    while position < len(stream):
        head = stream[position]
        position += 2 if head & 4 else 1  # with an extension
        size = len(stream) - position
        if head & 2:
            size, position = _number(stream, position)
        if size < 0 or position + size > len(stream):
            raise damaged("a unit of its AV1 stream is cut")
        yield head >> 3 & 15, stream[position : position + size]
        position += size


def _number(stream: bytes, position: int) -> tuple[int, int]:
    """Read a number of seven bits a byte; return it, and where it ends."""
    value = 0
    for at in range(8):
        byte = stream[position + at] if position + at < len(stream) else 0
        value |= (byte & 0x7F) << 7 * at
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follow
            return value, position + at + 1
    raise damaged("a unit of its AV1 stream has no size")


class _Bits:
    def __init__(self, body: bytes) -> None:
        self._value, self._left = int.from_bytes(body[:64], "big"), 8 * len(body[:64])

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise damaged("its AV1 header is cut")
        return self._value >> self._left & (1 << count) - 1


def _size(bits: _Bits) -> tuple[int, int]:
    bits.take(4)  # profile, still picture
    if bits.take(1):  # the short header of stills
        bits.take(5)
    else:
        _skip_points(bits)
    across, down = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(across) + 1, bits.take(down) + 1


def _skip_points(bits: _Bits) -> None:
    """Pass over the operating points. Timing is for films, and not read."""
    if bits.take(1):
        raise ImageError(Reason.UNSUPPORTED, "AVIFs with the timing of a film are not supported")
    delays = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > _MOST_LEVEL_WITHOUT_TIER:
            bits.take(1)
        if delays and bits.take(1):
            bits.take(4)
