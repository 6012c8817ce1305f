"""The bit loop in Python, for installations without the compiled one: the same bits, about a hundred times slower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from faceblurd.imaging.files.jpeg import coding
from faceblurd.imaging.files.jpeg.coding import Walk, complaint, missing_codes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from faceblurd.imaging.files.jpeg.huffman import Table
    from faceblurd.imaging.files.jpeg.layout import Stream

_END_OF_BLOCK = 128
_ZEROS = 0xF0
_LAST = 64
_LIMIT = 1 << 15
_SPARE = bytes(512)  # a block that starts inside the bits ends inside these

Entry = tuple[int, int, int, int]  # length of the code, of its extra bits, coefficients to step over, symbol


def _entry(symbol: int, length: int, *, is_dc: bool) -> Entry | None:
    """Return what a code means; None for symbols that a sequential scan cannot have."""
    size = symbol if is_dc else symbol & 15
    if is_dc:
        return (length, size, 1, symbol) if size <= 15 else None  # noqa: PLR2004 - a difference has at most 15 bits
    if size:
        return (length, size, (symbol >> 4) + 1, symbol)
    return {_ZEROS: (length, 0, 16, symbol), 0: (length, 0, _END_OF_BLOCK, symbol)}.get(symbol)


def _look_up_table(table: Table) -> list[Entry | None]:
    """Return the entry for each of the 65,536 next bits."""
    entries: list[Entry | None] = [None] * 65_536
    for symbol, code, length in table.codes():
        span = 1 << (16 - length)
        entries[code * span : (code + 1) * span] = [_entry(symbol, length, is_dc=table.is_dc)] * span
    return entries


class _Reader:
    """A position in bits, zeros beyond the end."""

    def __init__(self, bits: bytes, position: int = 0) -> None:
        self._bits = bits + _SPARE
        self.position = position

    def symbol(self, entries: list[Entry | None]) -> tuple[Entry, int]:
        """Read a code and its extra bits, as they stand. Raises SpliceError when it is none."""
        at = self.position >> 3
        word = int.from_bytes(self._bits[at : at + 8], "big") << (self.position & 7) & 0xFFFF_FFFF_FFFF_FFFF
        entry = entries[word >> 48]
        if entry is None:
            raise complaint(coding.BAD_CODE)
        length, size = entry[:2]
        self.position += length + size
        return entry, word >> (64 - length - size) & ((1 << size) - 1)


def _signed(raw: int, size: int) -> int:
    return raw if not size or raw >> (size - 1) else raw - (1 << size) + 1


def _cut(bits: bytes, start: int, length: int) -> int:
    last = (start + length + 7) >> 3
    value = int.from_bytes(bits[start >> 3 : last], "big") >> (8 * last - start - length)
    return value & ((1 << length) - 1)


class _Writer:
    """Collects bits; whole bytes are put aside every few hundred, since a long integer shifts slowly."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._pending = self._count = 0

    def put(self, value: int, count: int) -> None:
        self._pending = self._pending << count | value
        self._count += count
        if self._count > 4096:  # noqa: PLR2004 - see above
            self._flush()

    def copy(self, bits: bytes, start: int, end: int) -> None:
        self.put(_cut(bits, start, end - start), end - start)

    def _flush(self) -> None:
        rest = self._count & 7
        self._parts.append((self._pending >> rest).to_bytes(self._count >> 3, "big"))
        self._pending &= (1 << rest) - 1
        self._count = rest

    def done(self) -> bytes:
        """Fill up by ones."""
        rest = -self._count & 7
        self.put((1 << rest) - 1, rest)
        self._flush()
        return b"".join(self._parts)


Token = tuple[int, int, int, int]  # 0 of DC or 1 of AC, symbol, its extra bits, and how many these are


def _read(reader: _Reader, dc: list[Entry | None], ac: list[Entry | None]) -> Iterator[tuple[int, Entry, int]]:
    """Read the symbols of a block: how many coefficients it has now, what the code means, and its extra bits."""
    k = 0
    while k < _LAST:
        entry, raw = reader.symbol(ac if k else dc)
        k += entry[2]
        yield k, entry, raw


def _tokens(block: list[int], last: int) -> Iterator[Token]:
    """Give what a block is written as; `last`: the DC value before it. Raises SpliceError."""
    yield 0, *_extra(block[0] - last, 0)
    before = 0
    for k in (k for k in range(1, _LAST) if block[k]):
        zeros = k - before - 1
        for _ in range(zeros >> 4):
            yield 1, _ZEROS, 0, 0
        yield 1, *_extra(block[k], (zeros & 15) << 4)
        before = k
    if before < _LAST - 1:
        yield 1, 0, 0, 0


def _extra(value: int, run: int) -> tuple[int, int, int]:
    size = abs(value).bit_length()
    if size > 15:  # noqa: PLR2004 - of a symbol
        raise complaint(coding.RANGE)
    return run | size, (value if value >= 0 else value - 1) & ((1 << size) - 1), size


class FallbackCoder:
    """Walks and writes restart intervals of one stream."""

    def __init__(self, stream: Stream) -> None:
        self._component = stream.component
        self._dc, self._ac = ([_look_up_table(table) for table in tables] for tables in (stream.dc, stream.ac))
        self._codes = [
            [{symbol: (code, length) for symbol, code, length in table.codes()} for table in pair]
            for pair in zip(stream.dc, stream.ac, strict=True)
        ]

    def unstuffed(self, raw: bytes) -> bytes:
        """Take out the zeros; see `coding.Coder`."""
        bits = raw.replace(b"\xff\0", b"\xff")
        if raw.count(b"\xff") > len(raw) - len(bits):
            raise complaint(coding.FILL)
        return bits

    def stuffed(self, bits: bytes) -> bytes:
        """Put in the zeros; see `coding.Coder`."""
        return bits.replace(b"\xff", b"\xff\0")

    def walk(self, bits: bytes, wanted: npt.NDArray[np.uint8], coefficients: npt.NDArray[np.int16]) -> Walk:
        """Read an interval; see `coding.Coder`."""
        reader, last, taken = _Reader(bits), [0, 0, 0, 0], 0
        runs: list[list[int]] = []
        before = False
        for want in wanted.tolist():
            if want and not before:
                runs.append([reader.position, 0, 0, *last])
            self._read_mcu(reader, last, coefficients[taken] if want else None, 8 * len(bits))
            if want:
                runs[-1][1], runs[-1][2] = reader.position, runs[-1][2] + 1
                taken += 1
            before = bool(want)
        return Walk(np.array(runs, np.int64).reshape(-1, coding.RUN_FIELDS), reader.position)

    def _read_mcu(self, reader: _Reader, last: list[int], target: npt.NDArray[np.int16] | None, size: int) -> None:
        for block, component in enumerate(self._component):
            for k, (_, count, step, _), raw in _read(reader, self._dc[component], self._ac[component]):
                value = _signed(raw, count)
                if k == 1:
                    value = last[component] = last[component] + value
                    if not -_LIMIT <= value < _LIMIT:
                        raise complaint(coding.RANGE)
                elif k > _LAST and step != _END_OF_BLOCK:
                    raise complaint(coding.BAD_BLOCK)
                if target is not None and (k == 1 or count):
                    target[block, k - 1] = value
            if reader.position > size:
                raise complaint(coding.SHORT)

    def reread(self, old: bytes, walk: Walk, bits: bytes, coefficients: npt.NDArray[np.int16]) -> None:
        """Read what was written; see `coding.Coder`."""
        reader, read, taken = _Reader(bits), 0, 0
        for start, end, count, *last in [*walk.runs.tolist(), [walk.end, walk.end, 0]]:
            length = start - read
            if read + length > 8 * len(old) or reader.position + length > 8 * len(bits):
                raise complaint(coding.SHORT)
            if _cut(old, read, length) != _cut(bits, reader.position, length):
                raise complaint(coding.DIFFERS)
            reader.position += length
            for mcu in coefficients[taken : taken + count]:
                self._read_mcu(reader, last, mcu, 8 * len(bits))
            read, taken = end, taken + count
        if not 0 <= 8 * len(bits) - reader.position < 8:  # noqa: PLR2004 - what fills up the last byte
            raise complaint(coding.BEHIND)

    def write(
        self, bits: bytes, walk: Walk, coefficients: npt.NDArray[np.int16], *, source: FallbackCoder | None = None
    ) -> bytes:
        """Write an interval; see `coding.Coder`."""
        writer, position, taken = _Writer(), 0, 0
        missing = np.zeros((len(self._codes), 2, 256), np.uint8)
        for start, end, count, *last in (*walk.runs.tolist(), [walk.end, walk.end, 0]):
            if source is None:
                writer.copy(bits, position, start)
            else:
                self._recode(writer, _Reader(bits, position), start, source, missing)
            for mcu in coefficients[taken : taken + count].tolist():
                for component, block in zip(self._component, mcu, strict=True):
                    self._put(writer, component, _tokens(block, last[component]), missing)
                    last[component] = block[0]
            position, taken = end, taken + count
        if missing.any():
            raise missing_codes(missing)
        return writer.done()

    def _recode(
        self, writer: _Writer, reader: _Reader, end: int, source: FallbackCoder, missing: npt.NDArray[np.uint8]
    ) -> None:
        while reader.position < end:
            for component in self._component:
                read = _read(reader, source._dc[component], source._ac[component])
                tokens = ((min(k - 1, 1), entry[3], raw, entry[1]) for k, entry, raw in read)
                self._put(writer, component, tokens, missing)

    def _put(self, writer: _Writer, component: int, tokens: Iterable[Token], missing: npt.NDArray[np.uint8]) -> None:
        for kind, symbol, raw, size in tokens:
            code, length = self._codes[component][kind].get(symbol, (0, 0))
            if not length:
                missing[component, kind, symbol] = 1
            writer.put(code << size | raw, length + size)
