"""The blocks of a GIF: where images and extensions lie, and which of the extensions may stay (an allow-list)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from faceblurd.errors import ImageError
from faceblurd.imaging.metadata import Scrub, contains_picture, scrub_xmp
from faceblurd.model import Reason

EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
CONTROL, COMMENT, APPLICATION = 0xF9, 0xFE, 0xFF
_LOOPS: Final = frozenset({b"NETSCAPE2.0", b"ANIMEXTS1.0"})
_COLOUR: Final = b"ICCRGBG1012"
_XMP: Final = b"XMP DataXMP"
_XMP_END: Final = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"  # makes any reader of sub-blocks find the end
_HEAD: Final = 13
_STRAY: Final = 64  # bytes: where only zeros follow, the rest has not arrived yet
_MAX_PIECES: Final = 2_000_000  # of 255 bytes: half a gigabyte
_MAX_BLOCKS: Final = 250_000  # some for each of the frames that max_megapixels allows by default


@dataclass(frozen=True, slots=True)
class Block:
    """One image or extension: its bytes with all sub-blocks; `label` names the extension, `table`: bytes of colours."""

    kind: int
    label: int
    start: int
    end: int
    table: int = 0

    @property
    def codes(self) -> int:
        """Where the code size of an image stands."""
        return self.start + 10 + self.table


@dataclass(frozen=True, slots=True)
class Gif:
    """What a GIF is made of. `delays` in hundredths of a second, one for each image."""

    width: int
    height: int
    head: bytes
    blocks: tuple[Block, ...]
    delays: tuple[int, ...]


def read_gif(data: bytes) -> Gif:
    """Walk all blocks. Raises ImageError INCOMPLETE when the file is cut, DAMAGED, or UNSUPPORTED."""
    try:
        return _walk(data)
    except (struct.error, IndexError) as error:
        raise ImageError(Reason.INCOMPLETE, "The GIF ends before its end mark", retryable=True) from error


def _walk(data: bytes) -> Gif:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = _HEAD + table_size(flags)
    blocks: list[Block] = []
    delays: list[int] = []
    delay = 0
    while not _is_end(data, position, shown=bool(delays)):
        block = _block(data, position)
        blocks.append(block)
        if len(blocks) == _MAX_BLOCKS:
            raise ImageError(Reason.DAMAGED, "The blocks of the GIF do not end")
        if block.label == CONTROL:
            delay = struct.unpack_from("<H", data, position + 4)[0]
        elif block.kind == IMAGE:
            x, y, columns, rows = struct.unpack_from("<HHHH", data, position + 1)
            width, height = max(width, x + columns), max(height, y + rows)  # some viewers show it all, others a part
            delays.append(delay)
            delay = 0
        position = block.end
    return Gif(width, height, data[: _HEAD + table_size(flags)], tuple(blocks), tuple(delays))


def _is_end(data: bytes, position: int, *, shown: bool) -> bool:
    """Say whether the blocks end here: at their mark, or once an image was `shown` at what is no block."""
    rest = data[position : position + _STRAY]
    if shown and (not rest or (rest[0] not in {EXTENSION, IMAGE} and any(rest))):
        return True
    return data[position] == TRAILER


def _block(data: bytes, start: int) -> Block:
    if data[start] == EXTENSION:
        return Block(EXTENSION, data[start + 1], start, _after_sub_blocks(data, start + 2))
    if data[start] != IMAGE:
        if not data[start:].strip(b"\0"):
            raise ImageError(Reason.INCOMPLETE, "The end of the GIF is only zeros", retryable=True)
        raise ImageError(Reason.DAMAGED, f"The GIF has no block at byte {start}")
    table = table_size(data[start + 9])
    return Block(IMAGE, 0, start, _after_sub_blocks(data, start + 11 + table), table)


def _after_sub_blocks(data: bytes, position: int) -> int:
    for _ in range(_MAX_PIECES):
        if not data[position]:
            return position + 1
        position += 1 + data[position]
    raise ImageError(Reason.DAMAGED, "A block of the GIF does not end")


def table_size(flags: int) -> int:
    """Return how many bytes the colour table takes that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def coded(data: bytes, block: Block) -> bytes:
    """Return the code size of an image, and what its sub-blocks hold."""
    return data[block.codes : block.codes + 1] + _held(data, block.codes + 1)


def joined(data: bytes, block: Block) -> bytes:
    """Return what the sub-blocks of an extension hold; an application's name is the first 11 bytes."""
    return _held(data, block.start + 2)


def _held(data: bytes, position: int) -> bytes:
    parts = []
    while data[position]:
        parts.append(data[position + 1 : position + 1 + data[position]])
        position += 1 + data[position]
    return b"".join(parts)


def scrubbed_block(data: bytes, block: Block, scrub: Scrub) -> bytes:
    """Return what may stay of a block: images, timing, loops, colour profiles; comments and XMP by the rules."""
    raw = data[block.start : block.end]
    if block.kind == IMAGE or block.label == CONTROL:
        return raw
    content = joined(data, block)
    if block.label == COMMENT:
        return raw if scrub.anything and not contains_picture(content) else b""
    if block.label != APPLICATION:
        return b""
    name = content[:11]
    if name == _XMP:
        return _scrubbed_xmp(raw, scrub)
    return raw if name in _LOOPS or (name == _COLOUR and not contains_picture(content)) else b""


def _scrubbed_xmp(raw: bytes, scrub: Scrub) -> bytes:
    """Scrub an XMP packet, which lies between the application's name and a magic trailer, in no sub-blocks."""
    packet = raw[14 : -len(_XMP_END)]
    if not raw.endswith(_XMP_END) or not scrub.anything:
        return b""
    kept = scrub_xmp(packet, scrub)
    return b"" if kept is None else raw[:14] + kept + _XMP_END
