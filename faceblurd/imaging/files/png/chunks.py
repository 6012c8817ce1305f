"""The chunks of a PNG: read and checked, and which of the ancillary ones may stay (an allow-list)."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceblurd.errors import ImageError
from faceblurd.imaging.files.png import texts
from faceblurd.imaging.metadata import BARE, Scrub, contains_picture, scrub_exif
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_NEEDED = frozenset({b"tRNS", b"acTL", b"fcTL", b"fdAT"})  # ancillary by their names, and part of what is shown
# Kinds of the last chunk of a file that lacks its end chunk.
_LAST = frozenset({b"IDAT", b"fdAT", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"})
_BY_TYPE = frozenset({b"bKGD", b"sBIT"})
_PIXEL_MEANING = frozenset({b"tRNS", b"bKGD", b"sBIT", b"hIST"})  # in terms of the stored colour type
_PLAIN = frozenset({
    b"sRGB", b"gAMA", b"cHRM", b"pHYs", b"tIME", b"cICP", b"mDCV", b"cLLI",
    b"oFFs", b"sCAL", b"pCAL", b"sTER", b"vpAg", b"caNv", b"orNT",
})  # fmt: skip
_MAX_PLAIN = 256  # bytes: numbers, and a few words
POINTERS = b"iDOT"  # Apple's: where in the rows a second decoder may begin
_ZLIB_HEADER = 2  # bytes
_MAX_SURPLUS = 1 << 16
_MAX_CHUNKS = 250_000  # 512 MB in pieces of 4 kB are 125,000
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk."""

    kind: bytes
    body: bytes

    def build(self) -> bytes:
        """Return its bytes in a file."""
        crc = zlib.crc32(self.body, zlib.crc32(self.kind))
        return struct.pack(">I", len(self.body)) + self.kind + self.body + struct.pack(">I", crc)


END = Chunk(b"IEND", b"")
_END = END.build()


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of IHDR."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    def chunk(self) -> Chunk:
        """Return it as a chunk."""
        fields = (self.width, self.height, self.depth, self.colour, 0, 0, int(self.interlaced))
        return Chunk(b"IHDR", struct.pack(">IIBBBBB", *fields))


def join(chunks: Iterable[Chunk | None]) -> bytes:
    """Return a whole file; None stands for a chunk that went."""
    return SIGNATURE + b"".join(chunk.build() for chunk in chunks if chunk)


def body_of(chunks: Iterable[Chunk], kind: bytes) -> bytes:
    """Return the body of the first chunk of a kind, empty without one."""
    return next((chunk.body for chunk in chunks if chunk.kind == kind), b"")


def read_chunks(data: bytes) -> list[Chunk]:
    """Return all chunks up to IEND, which may be cut. Raises ImageError; what follows IEND is not looked at.

    A chunk with a wrong checksum is left out when it is no part of the picture. Rows stay: their stream has a checksum
    of its own.
    """
    chunks: list[Chunk] = []
    position = len(SIGNATURE)
    while not chunks or chunks[-1].kind != b"IEND":
        if len(chunks) == _MAX_CHUNKS:
            raise ImageError(Reason.DAMAGED, "The chunks of the PNG do not end")
        if chunks and chunks[-1].kind in _LAST and _END.startswith(data[position : position + len(_END) + 1]):
            chunks.append(END)
            break
        chunk, position = _read_chunk(data, position)
        chunks += [chunk] if chunk else []
    texts.check(chunks)
    return chunks


def _read_chunk(data: bytes, position: int) -> tuple[Chunk | None, int]:
    """Read one chunk; return it, unless it is damaged and can be done without, and where the next one starts."""
    if position + 12 > len(data):
        raise ImageError(Reason.INCOMPLETE, "The PNG ends before its end chunk", retryable=True)
    length, kind = struct.unpack_from(">I4s", data, position)
    end = position + 12 + length
    if end > len(data):
        raise ImageError(Reason.INCOMPLETE, "The PNG ends inside a chunk", retryable=True)
    body = data[position + 8 : end - 4]
    same = zlib.crc32(body, zlib.crc32(kind)) == struct.unpack_from(">I", data, end - 4)[0]
    if not same and kind.isalpha() and kind[:1].islower() and kind not in _NEEDED:
        return None, end
    if not same and kind not in {b"IDAT", b"fdAT"} and (kind, body) != (b"IEND", b""):
        raise ImageError(Reason.INCOMPLETE, "A chunk of the PNG does not match its checksum", retryable=True)
    return Chunk(kind, body), end


def read_header(chunks: list[Chunk]) -> Header:
    """Return IHDR. Raises ImageError when it is not first or makes no sense."""
    if chunks[0].kind != b"IHDR" or len(chunks[0].body) != 13:  # noqa: PLR2004 - its one size
        raise ImageError(Reason.DAMAGED, "The PNG does not start with its header")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", chunks[0].body)
    if colour not in _SAMPLES:
        raise ImageError(Reason.DAMAGED, f"The PNG has the unknown colour type {colour}")
    return Header(width, height, depth, colour, bool(interlace))


def check_rows(header: Header, chunks: list[Chunk]) -> bool:
    """Inflate all IDATs, and count: decoders treat a short stream in several ways. Raises ImageError.

    Returns whether that is all: no row too many, and nothing behind the stream.
    """
    return check_stream(header, [chunk.body for chunk in chunks if chunk.kind == b"IDAT"])


def check_stream(header: Header, bodies: list[bytes]) -> bool:
    """Do the same for the parts of one compressed stream, such as a frame's."""
    inflater, got, behind = zlib.decompressobj(), 0, 0
    wanted = _inflated_size(header)
    try:
        for body in bodies:
            behind += len(body) if inflater.eof else 0
            got += _count(inflater, body, wanted - got)
    except zlib.error as error:
        raise ImageError(Reason.DAMAGED, f"The PNG's rows do not inflate: {error}") from error
    if got < wanted:
        raise ImageError(Reason.DAMAGED, f"The PNG has {got} of {wanted} bytes of rows", retryable=True)
    if got - wanted > _MAX_SURPLUS:  # a decoder would inflate it all, a gigabyte for each megabyte, to throw it away
        raise ImageError(Reason.DAMAGED, f"The PNG has far more than its {wanted} bytes of rows")
    return got == wanted and not behind and not inflater.unused_data


def with_sound_sum(header: Header, chunks: list[Chunk]) -> list[Chunk] | None:
    """Correct the checksum of the compressed rows, which programs ignore; None where something else is wrong."""
    stream, wanted = b"".join(chunk.body for chunk in chunks if chunk.kind == b"IDAT"), _inflated_size(header)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        rows = inflater.decompress(stream[_ZLIB_HEADER:], wanted + 1)
    except zlib.error:
        return None
    if len(rows) != wanted or not inflater.eof:
        return None
    sound = stream[: len(stream) - len(inflater.unused_data)] + struct.pack(">I", zlib.adler32(rows))
    first = next(place for place, chunk in enumerate(chunks) if chunk.kind == b"IDAT")
    rest = [chunk for chunk in chunks[first:] if chunk.kind != b"IDAT"]
    return None if sound == stream else [*chunks[:first], Chunk(b"IDAT", sound), *rest]


def _count(inflater: zlib._Decompress, body: bytes, wanted: int) -> int:
    """Inflate in pieces of a megabyte; return how many bytes came out (one more than wanted at most)."""
    got = 0
    while body and not inflater.eof and got <= wanted:
        got += len(inflater.decompress(body, 1 << 20))
        body = inflater.unconsumed_tail
    return got


def _inflated_size(header: Header) -> int:
    """Return how many bytes the rows and their filter bytes take."""
    bits = header.depth * _SAMPLES[header.colour]
    if not header.interlaced:
        return header.height * (1 + (header.width * bits + 7) // 8)
    total = 0
    for x, y, step_x, step_y in PASSES:
        columns, rows = -(-(header.width - x) // step_x), -(-(header.height - y) // step_y)
        total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    return total


def scrub_chunk(chunk: Chunk, scrub: Scrub = BARE, *, same_pixels: bool, same_type: bool = False) -> Chunk | None:
    """Return what may stay of a chunk.

    `same_pixels`: the stored pixels stay, so that what describes them may stay. `same_type`: depth and colour type do.
    """
    if chunk.kind in CRITICAL:
        return chunk if same_pixels else None
    if chunk.kind == b"eXIf":
        return Chunk(chunk.kind, scrub_exif(chunk.body, scrub))
    by_pixels = (same_pixels and chunk.kind in {*_PIXEL_MEANING, POINTERS}) or (same_type and chunk.kind in _BY_TYPE)
    if chunk.kind in _PLAIN or by_pixels:
        return None if len(chunk.body) > _MAX_PLAIN or contains_picture(chunk.body) else chunk
    if chunk.kind == b"iCCP":
        profile = texts.text_of(chunk)
        return None if profile is None or contains_picture(profile) else chunk
    return texts.scrubbed(chunk, scrub) if scrub.anything else None


def with_sound_pointers(old: list[Chunk], new: list[Chunk]) -> list[Chunk]:
    """Leave out iDOT, which holds offsets from itself into the rows, where anything up to the last row has changed."""
    same = _from_pointers(old) == _from_pointers(new)
    return new if same else [chunk for chunk in new if chunk.kind != POINTERS]


def _from_pointers(chunks: list[Chunk]) -> list[Chunk]:
    """Return the chunks from the pointers to the last rows."""
    kinds = [chunk.kind for chunk in chunks]
    last = max((at for at, kind in enumerate(kinds) if kind == b"IDAT"), default=0)
    return chunks[kinds.index(POINTERS) : last + 1] if POINTERS in kinds else []
