"""Which segments of a JPEG may stay, and what they look like without the pictures in them (an allow-list)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faceblurd.imaging import jpeg_segments as js
from faceblurd.imaging.metadata import (
    BARE,
    Scrub,
    contains_picture,
    orientation_of,
    scrub_exif,
    scrub_resources,
    scrub_xmp,
    thumbnail_of,
    without_thumbnail,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

EXIF, XMP, ICC, PHOTOSHOP = b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"Photoshop 3.0\0"
_JFIF_SIZE = 14
_PICTURE = frozenset({*range(0xC0, 0xD0), js.SOS, js.DQT, 0xDC, 0xDD}) - {0xC8}
_MAX_PAYLOAD = 65_533


def orientation(data: bytes, segments: Iterable[js.Segment]) -> int:
    """Return the orientation of the first EXIF segment, the one that viewers read."""
    return next((orientation_of(payload) for payload in _exifs(data, segments)), 1)


def _exifs(data: bytes, segments: Iterable[js.Segment]) -> Iterable[bytes]:
    payloads = (segment.payload(data) for segment in segments if segment.marker == js.APP1)
    return (payload for payload in payloads if payload.startswith(EXIF))


def has_jfif(data: bytes, segments: Iterable[js.Segment]) -> bool:
    """Say whether there is a JFIF header."""
    return any(s.marker == js.APP0 and s.payload(data).startswith(b"JFIF\0") for s in segments)


def adobe_transform(data: bytes, segments: Iterable[js.Segment]) -> int | None:
    """Return the colour transform that Adobe's marker names, None without one."""
    payloads = (s.payload(data) for s in segments if s.marker == js.APP14)
    return next((p[11] for p in payloads if p.startswith(b"Adobe") and len(p) > 11), None)  # noqa: PLR2004 - its place


def kept_segments(
    data: bytes, segments: Iterable[js.Segment], *, keep_adobe: bool, scrub: Scrub = BARE
) -> list[tuple[js.Segment, bytes]]:
    """Return what may stay, with the bytes to write for it; end markers are left out."""
    listed = [segment for segment in segments if segment.marker != js.EOI]
    resources = _resources(data, listed, scrub)
    kept: list[tuple[js.Segment, bytes]] = []
    for segment in listed:
        if segment.marker in _PICTURE:
            part = data[segment.start : segment.end]
        elif _is_photoshop(data, segment):  # a block may go on in the next segment: all are written where the first was
            part, resources = resources, b""
        elif segment.marker == js.APP14 and not keep_adobe:
            part = b""
        else:
            part = _scrub(segment, segment.payload(data), scrub)
        if part:
            kept.append((segment, part))
    return kept


def _is_photoshop(data: bytes, segment: js.Segment) -> bool:
    return segment.marker == js.APP13 and data.startswith(PHOTOSHOP, segment.start + 4)


def _resources(data: bytes, segments: Iterable[js.Segment], scrub: Scrub) -> bytes:
    """Return the segments of all scrubbed Photoshop resources."""
    pieces = [s.payload(data)[len(PHOTOSHOP) :] for s in segments if _is_photoshop(data, s)]
    block = scrub_resources(b"".join(pieces), scrub)
    step = _MAX_PAYLOAD - len(PHOTOSHOP)
    return b"".join(js.build(js.APP13, PHOTOSHOP + block[i : i + step]) for i in range(0, len(block), step))


def _scrub(segment: js.Segment, payload: bytes, scrub: Scrub) -> bytes:
    """Return the segment to write for one of metadata, empty when it must go."""
    clean = _allowed(segment.marker, payload, scrub)
    return b"" if clean is None else js.build(segment.marker, clean)


def _allowed(marker: int, payload: bytes, scrub: Scrub) -> bytes | None:
    """Return what may stay of a payload, by marker and signature; None for all that is not on the list."""
    if marker == js.APP0 and payload.startswith(b"JFIF\0") and len(payload) >= _JFIF_SIZE:
        return payload[:12] + b"\0\0"
    if marker == js.APP1 and payload.startswith(EXIF):
        return scrub_exif(payload, scrub)
    if marker == js.APP1 and payload.startswith(XMP):
        packet = scrub_xmp(payload[len(XMP) :], scrub)
        return None if packet is None else XMP + packet
    plain = (
        (marker == js.APP2 and payload.startswith(ICC))
        or (marker == js.APP14 and payload.startswith(b"Adobe"))
        or (marker == js.COM and scrub.anything)
    )
    return payload if plain and not contains_picture(payload) else None


def thumbnails(data: bytes, segments: Iterable[js.Segment]) -> list[bytes]:
    """Return the thumbnails that EXIF names, the one kind of embedded picture that may stay."""
    return [found for payload in _exifs(data, segments) if (found := thumbnail_of(payload))]


def leftovers(data: bytes, segments: Iterable[js.Segment]) -> list[str]:
    """Name the metadata segments that still look like a picture, other than EXIF's thumbnail."""
    metadata = (s for s in segments if s.marker == js.COM or js.is_app(s.marker))
    return [f"APP{s.marker - js.APP0}" for s in metadata if contains_picture(_without_thumbnail(s, data))]


def _without_thumbnail(segment: js.Segment, data: bytes) -> bytes:
    payload = segment.payload(data)
    is_exif = segment.marker == js.APP1 and payload.startswith(EXIF)
    return without_thumbnail(payload) if is_exif else payload
