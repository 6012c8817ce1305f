"""Huffman tables of a JPEG: parse, number the codes, and make room for symbols that a table lacks.

Knows no bits of a scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceblurd.imaging import jpeg_segments as js

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MAX_LENGTH = 16
_SPACE = (1 << _MAX_LENGTH) - 1  # codes of 16 bits that fit; the one of ones only is forbidden


class SpliceError(Exception):
    """Why a file cannot be spliced; the caller encodes it anew instead."""


class MissingCodesError(Exception):
    """The tables lack symbols: sets by component, for DC and for AC."""

    def __init__(self, dc: tuple[frozenset[int], ...], ac: tuple[frozenset[int], ...]) -> None:
        super().__init__(dc, ac)
        self.dc = dc
        self.ac = ac


@dataclass(frozen=True, slots=True)
class Table:
    """One table as DHT writes it: how many codes of each length, and the symbols in the order of their codes."""

    counts: bytes
    values: bytes
    is_dc: bool

    def codes(self) -> Iterator[tuple[int, int, int]]:
        """Give symbol, code and length of each code. Raises SpliceError when it is no prefix code."""
        code = place = 0
        for length, count in enumerate(self.counts, start=1):
            for symbol in self.values[place : place + count]:
                if code >= 1 << length:
                    raise SpliceError("a Huffman table is no prefix code")
                yield symbol, code, length
                code += 1
            place += count
            code <<= 1

    def segment(self, identifier: int) -> bytes:
        """Return a DHT segment that defines this table."""
        return js.build(js.DHT, bytes([identifier if self.is_dc else 0x10 | identifier]) + self.counts + self.values)

    def extended(self, symbols: Iterable[int]) -> Table:
        """Return a table that has `symbols` too, as codes of 16 bits.

        Where they fit behind the codes that are there, those stay as they are. Otherwise the longest codes below 16
        bits grow until there is room, and the scan must be recoded.
        """
        pairs = [(length, symbol) for symbol, _, length in self.codes()]
        pairs += [(_MAX_LENGTH, symbol) for symbol in sorted(set(symbols) - set(self.values))]
        while sum(1 << (_MAX_LENGTH - length) for length, _ in pairs) > _SPACE:
            last = max(i for i, (length, _) in enumerate(pairs) if length < _MAX_LENGTH)
            pairs[last] = (pairs[last][0] + 1, pairs[last][1])
        lengths = [length for length, _ in pairs]
        counts = bytes(lengths.count(length) for length in range(1, _MAX_LENGTH + 1))
        in_order = sorted(pairs, key=lambda pair: pair[0])  # stable: equal lengths keep their order
        return Table(counts, bytes(symbol for _, symbol in in_order), self.is_dc)

    def agrees_with(self, other: Table) -> bool:
        """Say whether every code of this table means the same in the other one."""
        return set(self.codes()) <= set(other.codes())


def tables_of(payload: bytes) -> Iterator[tuple[int, Table]]:
    """Give the tables of a DHT segment, by identifier. Raises SpliceError when it is cut."""
    position = 0
    while position < len(payload):
        head, counts = payload[position], payload[position + 1 : position + 17]
        values = payload[position + 17 : position + 17 + sum(counts)]
        if len(counts) < _MAX_LENGTH or len(values) < sum(counts) or len(set(values)) < len(values) or head & 0xE0:
            raise SpliceError("a Huffman table makes no sense")
        position += 17 + len(values)
        table = Table(counts, values, is_dc=head < 0x10)  # noqa: PLR2004 - the upper half byte is the class
        list(table.codes())
        yield head & 15, table
