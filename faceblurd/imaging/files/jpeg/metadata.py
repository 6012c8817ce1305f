"""Which segments of a JPEG may stay, and what they look like without the pictures in them (an allow-list)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from faceblurd.imaging import jpeg_segments as js
from faceblurd.imaging import metadata
from faceblurd.imaging.metadata import BARE, Scrub

if TYPE_CHECKING:
    from collections.abc import Iterable

EXIF, XMP, ICC, PHOTOSHOP = b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"Photoshop 3.0\0"
_JFIF_SIZE, _EXIF_PREFIX = 14, 6
_APP3, _APP12 = 0xE3, 0xEC
_META = (b"Meta\0\0", b"META\0\0")  # Kodak's: a second EXIF block
_MAKERS = {  # what cameras wrote before EXIF had a place for it, and Photoshop's quality: text and numbers
    js.APP0: re.compile(rb"(?:II|MM).{4}HEAPJPGM", re.DOTALL),
    _APP12: re.compile(rb"Ducky|.{0,99}\[picture info\]", re.DOTALL),
}
_TIFF_HEADERS = (b"II*\0", b"MM\0*")
PICTURE = frozenset({*range(0xC0, 0xD0), js.SOS, js.DQT, js.DNL, js.DRI}) - {0xC8}
_MAX_PAYLOAD = 65_533


def orientation(data: bytes, segments: Iterable[js.Segment]) -> int:
    """Return the orientation of the first EXIF block, the one that viewers read."""
    return next((metadata.orientation_of(block) for block in _exif_blocks(data, segments).values()), 1)


def _is_exif(data: bytes, segment: js.Segment) -> bool:
    return segment.marker == js.APP1 and data.startswith(EXIF, segment.start + 4)


def _exif_blocks(data: bytes, segments: Iterable[js.Segment]) -> dict[js.Segment, bytes]:
    """Return the EXIF blocks by their first segment: one without a header goes on with the block before it."""
    pieces: dict[js.Segment, list[bytes]] = {}
    for segment in segments:
        if _is_exif(data, segment):
            payload = segment.payload(data)
            if not pieces or payload.startswith(_TIFF_HEADERS, _EXIF_PREFIX):
                pieces[segment] = [payload]
            else:
                pieces[next(reversed(pieces))].append(payload[_EXIF_PREFIX:])
    return {segment: b"".join(several) for segment, several in pieces.items()}


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
    resources, blocks = _resources(data, listed, scrub), _exif_blocks(data, listed)
    kept: list[tuple[js.Segment, bytes]] = []
    for segment in listed:
        if segment.marker in PICTURE:
            part = data[segment.start : segment.end]
        elif _is_photoshop(data, segment):  # a block may go on in later segments: it is written where the first was
            part, resources = resources, b""
        elif _is_exif(data, segment):  # the same
            block = metadata.scrub_exif(blocks[segment], scrub) if segment in blocks else b""
            part = _split(js.APP1, block[:_EXIF_PREFIX], block[_EXIF_PREFIX:])
        elif segment.marker == js.APP14 and not keep_adobe:
            part = b""
        else:
            clean = _allowed(segment.marker, segment.payload(data), scrub)
            part = b"" if clean is None else js.build(segment.marker, clean)
        if part:
            kept.append((segment, part))
    return kept


def _is_photoshop(data: bytes, segment: js.Segment) -> bool:
    return segment.marker == js.APP13 and data.startswith(PHOTOSHOP, segment.start + 4)


def _resources(data: bytes, segments: Iterable[js.Segment], scrub: Scrub) -> bytes:
    """Return the segments of all scrubbed Photoshop resources."""
    pieces = [s.payload(data)[len(PHOTOSHOP) :] for s in segments if _is_photoshop(data, s)]
    return _split(js.APP13, PHOTOSHOP, metadata.scrub_resources(b"".join(pieces), scrub))


def _split(marker: int, prefix: bytes, content: bytes) -> bytes:
    """Return as many segments as the content needs, each with the prefix."""
    step = _MAX_PAYLOAD - len(prefix)
    return b"".join(js.build(marker, prefix + content[i : i + step]) for i in range(0, len(content), step))


def _allowed(marker: int, payload: bytes, scrub: Scrub) -> bytes | None:
    """Return what may stay of a payload, by marker and signature; None for all that is not on the list."""
    if marker == js.APP0 and payload.startswith(b"JFIF\0") and len(payload) >= _JFIF_SIZE:
        return payload[:12] + b"\0\0"
    if marker == js.APP1 and payload.startswith(XMP):
        packet = metadata.scrub_xmp(payload[len(XMP) :], scrub)
        return None if packet is None else XMP + packet
    if marker == _APP3 and payload.startswith(_META):
        return payload[:_EXIF_PREFIX] + metadata.scrub_exif(payload[_EXIF_PREFIX:], scrub) if scrub.anything else None
    plain = (
        (marker == js.APP2 and payload.startswith(ICC))
        or (marker == js.APP14 and payload.startswith(b"Adobe"))
        or (scrub.anything and (marker == js.COM or (marker in _MAKERS and bool(_MAKERS[marker].match(payload)))))
    )
    return payload if plain and not metadata.contains_picture(payload) else None


def thumbnails(data: bytes, segments: Iterable[js.Segment]) -> list[bytes]:
    """Return the thumbnails that EXIF names, the one kind of embedded picture that may stay."""
    return [found for block in _exif_blocks(data, segments).values() if (found := metadata.thumbnail_of(block))]


def leftovers(data: bytes, segments: Iterable[js.Segment]) -> list[str]:
    """Name the metadata segments that still look like a picture, other than EXIF's thumbnail."""
    listed = [s for s in segments if s.marker == js.COM or js.is_app(s.marker)]
    others = [(f"APP{s.marker - js.APP0}", s.payload(data)) for s in listed if not _is_exif(data, s)]
    blocks = (("EXIF", metadata.without_thumbnail(block)) for block in _exif_blocks(data, listed).values())
    return [name for name, content in (*others, *blocks) if metadata.contains_picture(content)]
