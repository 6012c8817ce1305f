"""The one scan of a sequential JPEG, by its headers: geometry, tables, and where each restart interval lies.

Refuses (SpliceError) whatever it is not sure of. Reads no entropy-coded bits.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from faceblurd.imaging import jpeg_segments as js
from faceblurd.imaging.files.jpeg.huffman import SpliceError, Table, tables_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

BLOCK = 8
_SEQUENTIAL = frozenset({0xC0, 0xC1})
_WHOLE_SCAN = b"\x00\x3f\x00"  # all 64 coefficients, all their bits: what sequential means
_MAX_BLOCKS, _MAX_FACTOR = 10, 4
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")


@dataclass(frozen=True, slots=True)
class Plane:
    """One component: blocks across and down in an MCU, its size in samples, steps of quantisation (zigzag), tables."""

    horizontal: int
    vertical: int
    width: int
    height: int
    steps: npt.NDArray[np.float32]
    dc: int
    ac: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The scan: planes, MCUs across and down, MCUs in a restart interval (0: none), and its bytes in the file."""

    width: int
    height: int
    planes: tuple[Plane, ...]
    across: int
    down: int
    every: int
    start: int
    end: int
    dc: dict[int, Table]
    ac: dict[int, Table]

    @property
    def mcu_width(self) -> int:
        """Pixels across an MCU."""
        return BLOCK * max(plane.horizontal for plane in self.planes)

    @property
    def mcu_height(self) -> int:
        """Pixels down an MCU."""
        return BLOCK * max(plane.vertical for plane in self.planes)


@dataclass(frozen=True, slots=True)
class Stream:
    """What the bits mean: the component of each block of an MCU, and the tables of each component."""

    component: tuple[int, ...]
    dc: tuple[Table, ...]
    ac: tuple[Table, ...]


def stream_of(layout: Layout, dc: dict[int, Table], ac: dict[int, Table]) -> Stream:
    """Return the stream of a layout with these tables."""
    planes = layout.planes
    blocks = tuple(i for i, plane in enumerate(planes) for _ in range(plane.horizontal * plane.vertical))
    return Stream(blocks, tuple(dc[plane.dc] for plane in planes), tuple(ac[plane.ac] for plane in planes))


def read_layout(data: bytes, segments: Iterable[js.Segment], frame: js.Frame) -> Layout:
    """Read the headers of a JPEG. Raises SpliceError for all but one sequential, Huffman-coded scan of 8 bits."""
    listed = tuple(segments)
    scan = _only_scan(listed, frame)
    before = [segment for segment in listed if segment.start < scan.start]
    start = scan.start + 2 + struct.unpack_from(">H", data, scan.start + 2)[0]
    chosen = _chosen_tables(data[scan.start + 4 : start], frame)
    factors = [(part.horizontal, part.vertical) for part in frame.components] if len(chosen) > 1 else [(1, 1)]
    most = (max(h for h, _ in factors), max(v for _, v in factors))
    _check_factors(factors, most)
    steps, (dc, ac) = _steps(data, before), _tables(data, before)
    planes = tuple(
        _plane(frame, factor=factor, most=most, steps=steps.get(part.table), tables=tables)
        for part, factor, tables in zip(frame.components, factors, chosen, strict=True)
    )
    if any(plane.dc not in dc or plane.ac not in ac for plane in planes):
        raise SpliceError("a Huffman table is missing")
    across, down = math.ceil(frame.width / (BLOCK * most[0])), math.ceil(frame.height / (BLOCK * most[1]))
    every = _restart_interval(data, before)
    return Layout(frame.width, frame.height, planes, across, down, every, start, scan.end, dc, ac)


def _only_scan(segments: tuple[js.Segment, ...], frame: js.Frame) -> js.Segment:
    scans = [segment for segment in segments if segment.marker == js.SOS]
    if frame.marker not in _SEQUENTIAL or frame.precision != BLOCK:
        raise SpliceError("progressive" if frame.marker in {0xC2, 0xCA} else "not sequential Huffman coding")
    if len(scans) != 1:
        raise SpliceError(f"{len(scans)} scans")
    return scans[0]


def _chosen_tables(header: bytes, frame: js.Frame) -> list[tuple[int, int]]:
    """Return DC and AC table of each component, in the order of the frame."""
    count = len(frame.components)
    if len(header) != 4 + 2 * count or header[0] != count or header[1 + 2 * count :] != _WHOLE_SCAN:
        raise SpliceError("an unusual scan header")
    if bytes(header[1 : 1 + 2 * count : 2]) != bytes(component.id for component in frame.components):
        raise SpliceError("components in another order")
    return [(pair >> 4, pair & 15) for pair in header[2 : 2 + 2 * count : 2]]


def _check_factors(factors: list[tuple[int, int]], most: tuple[int, int]) -> None:
    """Refuse samplings that decoders do not agree on."""
    if any(not 1 <= side <= _MAX_FACTOR for factor in factors for side in factor):
        raise SpliceError("sampling factors out of range")
    if any(most[0] % h or most[1] % v for h, v in factors) or sum(h * v for h, v in factors) > _MAX_BLOCKS:
        raise SpliceError("an unusual chroma sampling")


def _plane(
    frame: js.Frame, *, factor: tuple[int, int], most: tuple[int, int],
    steps: npt.NDArray[np.float32] | None, tables: tuple[int, int],
) -> Plane:  # fmt: skip
    if steps is None or not steps.all():
        raise SpliceError("a quantisation table is missing")
    width, height = math.ceil(frame.width * factor[0] / most[0]), math.ceil(frame.height * factor[1] / most[1])
    return Plane(*factor, width, height, steps, *tables)


def _steps(data: bytes, segments: list[js.Segment]) -> dict[int, npt.NDArray[np.float32]]:
    """Return the quantisation tables, in zigzag order; a later definition wins."""
    found: dict[int, npt.NDArray[np.float32]] = {}
    for payload in _payloads(data, segments, js.DQT):
        position = 0
        while position < len(payload):
            wide, size = payload[position] >> 4, 128 if payload[position] >> 4 else 64
            values = payload[position + 1 : position + 1 + size]
            if len(values) < size or wide > 1:
                raise SpliceError("a quantisation table makes no sense")
            found[payload[position] & 15] = np.frombuffer(values, ">u2" if wide else np.uint8).astype(np.float32)
            position += 1 + size
    return found


def _tables(data: bytes, segments: list[js.Segment]) -> tuple[dict[int, Table], dict[int, Table]]:
    """Return the Huffman tables for DC and AC; a later definition wins."""
    dc: dict[int, Table] = {}
    ac: dict[int, Table] = {}
    for payload in _payloads(data, segments, js.DHT):
        for identifier, table in tables_of(payload):
            (dc if table.is_dc else ac)[identifier] = table
    return dc, ac


def _restart_interval(data: bytes, segments: list[js.Segment]) -> int:
    found = [payload for payload in _payloads(data, segments, js.DRI) if len(payload) == 2]  # noqa: PLR2004 - one number
    return int.from_bytes(found[-1], "big") if found else 0


def _payloads(data: bytes, segments: list[js.Segment], marker: int) -> list[bytes]:
    return [segment.payload(data) for segment in segments if segment.marker == marker]


def intervals(data: bytes, layout: Layout) -> list[tuple[int, int]]:
    """Return the bytes of each restart interval, markers left out. Raises SpliceError when one is out of order.

    Without intervals there is one, and no look for markers: whoever takes out the stuffing finds them.
    """
    if not layout.every:
        return [(layout.start, layout.end)]
    marks = list(_RESTART.finditer(data, layout.start, layout.end))
    expected = math.ceil(layout.across * layout.down / layout.every) - 1
    codes = bytes(data[mark.end() - 1] for mark in marks)
    if codes != (bytes(range(0xD0, 0xD8)) * (expected // BLOCK + 1))[:expected]:
        raise SpliceError("restart markers are missing or out of order")
    starts = [layout.start, *(mark.end() for mark in marks)]
    return list(zip(starts, [*(mark.start() for mark in marks), layout.end], strict=True))


def interval_bytes(data: bytes, span: tuple[int, int]) -> bytes:
    """Return the bytes of an interval, without the fill bytes that may stand before the next marker."""
    return data[slice(*span)].rstrip(b"\xff")
