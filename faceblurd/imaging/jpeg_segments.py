"""The marker structure of a JPEG stream: where each segment lies, and what the frame header says.

Decodes no pixels, and decides nothing.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from faceblurd.errors import ImageError
from faceblurd.model import Reason

SOI, EOI, SOS, DQT, DHT, DNL, DRI, COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDC, 0xDD, 0xFE
_RESERVED_UP_TO = 0xBF  # markers up to here are damage, after which a decoder goes on at the next restart
_ZEROS = bytes(16)  # what a copy ends with that has not arrived in full
APP0, APP1, APP2, APP13, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xEF
_STANDALONE = frozenset({0x01, SOI, *range(0xD0, 0xD8)})
FRAMES = frozenset({*range(0xC0, 0xD0)} - {DHT, 0xC8, 0xCC})
FILL = re.compile(rb"\xff+(?=\xff)")
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
SEGMENTS = frozenset({*range(0xC0, 0xD0), *range(0xDA, 0xE0), *range(0xE0, 0xF0), COM} - {0xC8})  # they have a length
_MAX_MARKERS = 100_000  # 512 MB of metadata are 8,000 segments; to walk a million empty ones takes seconds


@dataclass(frozen=True, slots=True)
class Segment:
    """One marker segment: `data[start:end]` from its 0xFF on; an SOS reaches to the end of its entropy-coded bytes."""

    marker: int
    start: int
    end: int

    def payload(self, data: bytes) -> bytes:
        """Return what follows marker and length."""
        return data[self.start + 4 : self.end]


@dataclass(frozen=True, slots=True)
class Component:
    """One colour component of the frame."""

    id: int
    horizontal: int
    vertical: int
    table: int


@dataclass(frozen=True, slots=True)
class Frame:
    """What the frame header says."""

    marker: int
    precision: int
    height: int
    width: int
    components: tuple[Component, ...]


def is_app(marker: int) -> bool:
    """Say whether a marker is one of APP0 to APP15."""
    return APP0 <= marker <= APP15


def scan(data: bytes, start: int = 0, limit: int | None = None) -> tuple[Segment, ...]:
    """Return all segments between SOI and EOI, both left out; the last one's end is where EOI lies.

    Raises ImageError: INCOMPLETE when the bytes end before EOI, DAMAGED when the structure makes no sense.
    """
    stop = len(data) if limit is None else limit
    segments: list[Segment] = []
    position, restarts = start + 2, False
    for _ in range(_MAX_MARKERS):
        position, marker = _marker(data, position, stop)
        if marker == EOI:
            return (*segments, Segment(EOI, position, position + 2))
        end = _segment_end(data, position, marker, stop)
        restarts |= marker == DRI
        while marker == SOS and restarts and data[end + 1] <= _RESERVED_UP_TO:
            end = _next_marker(data, end + 2, stop)
        if marker not in _STANDALONE:
            segments.append(Segment(marker, position, end))
        position = end
    raise ImageError(Reason.DAMAGED, "The segments of the JPEG do not end")


def _marker(data: bytes, position: int, stop: int) -> tuple[int, int]:
    """Return position and code of the next marker; stray bytes before it are skipped, as decoders do."""
    if data[position : position + 1] != b"\xff":
        position = _next_marker(data, position, stop)
    while data[position : position + 2] in {b"\xff\xff", b"\xff\0"}:  # fill bytes; what looks like coded data
        fill = FILL.match(data, position)
        position = fill.end() if fill else _next_marker(data, position + 2, stop)
    if position + 2 > stop:
        raise ImageError(Reason.INCOMPLETE, "The JPEG ends before its end marker", retryable=True)
    return position, data[position + 1]


def _segment_end(data: bytes, position: int, marker: int, stop: int) -> int:
    if marker in _STANDALONE:
        return position + 2
    if position + 4 > stop:
        raise ImageError(Reason.INCOMPLETE, "The JPEG ends inside a segment", retryable=True)
    length = int(struct.unpack_from(">H", data, position + 2)[0])
    if marker == 0 or length < 2:  # noqa: PLR2004 - the length counts its own two bytes
        raise ImageError(Reason.DAMAGED, "The JPEG has a segment without a length")
    end = position + 2 + length
    if end > stop:
        raise ImageError(Reason.INCOMPLETE, "The JPEG ends inside a segment", retryable=True)
    if marker != SOS:
        return end
    return _next_marker(data, end, stop)


def _next_marker(data: bytes, position: int, stop: int) -> int:
    """Return where the next marker is; a pattern is faster than `find` in a loop, which stops at every 0xFF."""
    found = MARKER.search(data, position, stop)
    if found is None:
        raise ImageError(Reason.INCOMPLETE, "The JPEG ends before its end marker", retryable=True)
    return found.start()


def with_end(data: bytes) -> tuple[bytes, tuple[Segment, ...]]:
    """Return a JPEG, with the end marker added that it lacks though its last scan has begun; and its segments.

    The decoder then tells whether all rows are there. Raises ImageError INCOMPLETE when it cannot.
    """
    try:
        return data, scan(data)
    except ImageError as error:
        if error.reason is not Reason.INCOMPLETE or data.endswith(_ZEROS):
            raise
        ended = data.rstrip(b"\xff") + b"\xff\xd9"
        segments = scan(ended)
        if len(segments) < 2 or segments[-2].marker != SOS or not _shows_all(ended, segments):  # noqa: PLR2004 - and EOI
            raise
        return ended, segments


def _shows_all(data: bytes, segments: tuple[Segment, ...]) -> bool:
    """Say whether the scans that have begun hold every coefficient of every component, to its last bit."""
    wanted = {(component.id, k) for component in read_frame(data, segments).components for k in range(64)}
    for payload in (segment.payload(data) for segment in segments if segment.marker == SOS):
        count = payload[0] if payload else 0
        if len(payload) < 4 + 2 * count:
            return False
        first, last, bits = payload[1 + 2 * count : 4 + 2 * count]
        if not bits & 15:
            wanted -= {(payload[1 + 2 * at], k) for at in range(count) for k in range(first, min(last, 63) + 1)}
    return not wanted


def with_height(data: bytes, segments: tuple[Segment, ...]) -> bytes:
    """Write a height that is stated behind the first scan (DNL) into the frame header."""
    frames = [segment for segment in segments if segment.marker in FRAMES]
    lines = [segment.payload(data) for segment in segments if segment.marker == DNL]
    if len(frames) != 1 or not lines or len(lines[0]) != 2 or any(data[frames[0].start + 5 : frames[0].start + 7]):  # noqa: PLR2004 - one number
        return data
    return data[: frames[0].start + 5] + lines[0] + data[frames[0].start + 7 :]


def read_frame(data: bytes, segments: tuple[Segment, ...]) -> Frame:
    """Return the one frame header. Raises ImageError when there is none, several, or one that makes no sense."""
    frames = [segment for segment in segments if segment.marker in FRAMES]
    if len(frames) != 1 or not any(segment.marker == SOS for segment in segments):
        raise ImageError(Reason.DAMAGED, f"The JPEG has {len(frames)} frames")
    body = frames[0].payload(data)
    try:
        precision, height, width, count = struct.unpack_from(">BHHB", body)
        parts = [struct.unpack_from("BBB", body, 6 + 3 * i) for i in range(count)]
    except struct.error as error:
        raise ImageError(Reason.DAMAGED, "The JPEG's frame header is cut") from error
    components = tuple(Component(id_, factors >> 4, factors & 15, table) for id_, factors, table in parts)
    return Frame(frames[0].marker, precision, height, width, components)


def build(marker: int, payload: bytes) -> bytes:
    """Return one segment's bytes."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload
