"""The texts of a PNG: inflated with a bound, and without pictures, people and places that may not stay."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from faceblurd.errors import ImageError
from faceblurd.imaging.files.png import profile as png_profile
from faceblurd.imaging.metadata import Scrub, contains_picture, scrub_xmp, thumbnail_of, without_thumbnail
from faceblurd.imaging.metadata.wording import holds_keywords, is_field_of, lies_in_branch
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faceblurd.imaging.files.png.chunks import Chunk

_XMP = b"XML:com.adobe.xmp\0"
_XMP_MARKS = (b"<?xpacket", b"<x:xmpmeta", b"<rdf:RDF", b"<x:xapmeta")
_PROFILE = b"Raw profile type "  # ImageMagick's: EXIF, XMP and IPTC in hexadecimal
_MAX_TEXT = 16 << 20  # of all texts and profiles together, inflated: each is searched for pictures several times


def check(chunks: list[Chunk]) -> None:
    """Refuse texts that inflate to too much, before any of them is searched. Raises ImageError TOO_LARGE."""
    left = _MAX_TEXT
    for packed in (parts.body for chunk in chunks if (parts := _parts(chunk)) and parts.packed):
        try:
            left -= len(zlib.decompressobj().decompress(packed, left))
        except zlib.error:
            continue
        if left <= 0:
            raise ImageError(Reason.TOO_LARGE, f"The texts of the PNG inflate to more than {_MAX_TEXT >> 20} MB")


def scrubbed(chunk: Chunk, scrub: Scrub) -> Chunk | None:
    """Return a text chunk without pictures, people and places that may not stay; None for any other chunk."""
    text = text_of(chunk)
    keyword = chunk.body.partition(b"\0")[0]
    if text is None or is_field_of(re.split(r"[:.]", keyword.decode("latin-1"))[-1], scrub):
        return None
    if keyword.startswith(_PROFILE):
        return _with_text(chunk, png_profile.scrubbed(keyword[len(_PROFILE) :], text, scrub))
    if keyword + b"\0" == _XMP or any(mark in text for mark in _XMP_MARKS):
        return _with_text(chunk, scrub_xmp(text, scrub))
    unwanted = holds_keywords(keyword.decode("latin-1")) and any(
        lies_in_branch(word, scrub) for word in re.split("[,;\n]", text.decode("utf-8", "replace"))
    )
    return None if unwanted or contains_picture(text) else chunk


def _with_text(chunk: Chunk, text: bytes | None) -> Chunk | None:
    """Return a text chunk with another text; the chunk itself where it is the same."""
    parts = _parts(chunk)
    if text is None or parts is None or text == text_of(chunk):
        return None if text is None else chunk
    return replace(chunk, body=parts.head + (zlib.compress(text) if parts.packed else text))


def thumbnail_in(chunk: Chunk) -> bytes | None:
    """Return the EXIF thumbnail, also of EXIF in a text."""
    if chunk.kind == b"eXIf":
        return thumbnail_of(chunk.body)
    text = text_of(chunk) if chunk.body.startswith(_PROFILE) else None
    return png_profile.thumbnail_in(text) if text else None


def shown_by(chunk: Chunk) -> bytes:
    """Return the part of a chunk that must hold no picture: its text, or its bytes without EXIF's thumbnail."""
    if chunk.kind == b"eXIf":
        return without_thumbnail(chunk.body)
    text = text_of(chunk)
    profile = png_profile.without_thumbnail_in(text) if text and chunk.body.startswith(_PROFILE) else None
    return profile or text or chunk.body


def with_pictures(chunks: Iterable[Chunk], *, besides: frozenset[bytes]) -> list[str]:
    """Name the chunks that still look like a picture, other than those of some kinds."""
    others = (chunk for chunk in chunks if chunk.kind not in besides)
    return [chunk.kind.decode("latin-1") for chunk in others if contains_picture(shown_by(chunk))]


def text_of(chunk: Chunk) -> bytes | None:
    """Return the text of tEXt, zTXt or iTXt, or the profile of iCCP, inflated; None where there is none."""
    parts = _parts(chunk)
    if parts is None:
        return None
    return _inflate(parts.body) if parts.packed else parts.body


class _Parts(NamedTuple):
    """What stands before the text of a chunk, its text, and whether that is compressed."""

    head: bytes
    body: bytes
    packed: bool


def _parts(chunk: Chunk) -> _Parts | None:
    keyword, _, rest = chunk.body.partition(b"\0")
    match chunk.kind:
        case b"tEXt":
            return _Parts(keyword + b"\0", rest, packed=False)
        case b"zTXt" | b"iCCP":
            return _Parts(keyword + b"\0\0", rest[1:], packed=True)
        case b"iTXt" if rest[2:].count(b"\0") > 1:  # behind the flags: language, translated keyword, text
            language, translated, text = rest[2:].split(b"\0", 2)
            head = b"\0".join((keyword, rest[:1], language, translated, b""))
            return _Parts(head, text, packed=rest[:1] == b"\1")
    return None


def _inflate(body: bytes) -> bytes | None:
    """Inflate with a bound; None beyond it, and for what does not inflate."""
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(body, _MAX_TEXT)
    except zlib.error:
        return None
    return text if inflater.eof else None
