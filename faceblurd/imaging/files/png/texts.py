"""The texts of a PNG: inflated with a bound, and without pictures, people and places that may not stay."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

from faceblurd.errors import ImageError
from faceblurd.imaging.files.png import profile as png_profile
from faceblurd.imaging.metadata import Scrub, contains_picture, scrub_xmp, thumbnail_of, without_thumbnail
from faceblurd.imaging.metadata.wording import holds_keywords, is_field_of, lies_in_branch
from faceblurd.model import Reason

if TYPE_CHECKING:
    from faceblurd.imaging.files.png.chunks import Chunk

_XMP = b"XML:com.adobe.xmp\0"
_XMP_MARKS = (b"<?xpacket", b"<x:xmpmeta", b"<rdf:RDF", b"<x:xapmeta")
_PROFILE = b"Raw profile type "  # ImageMagick's: EXIF, XMP and IPTC in hexadecimal
_MAX_TEXT = 16 << 20  # of all texts and profiles together, inflated: each is searched for pictures several times


def check(chunks: list[Chunk]) -> None:
    """Refuse texts that inflate to more than anybody wrote, before any of them is looked at."""
    left = _MAX_TEXT
    for chunk in chunks:
        packed = _packed(chunk)
        if packed is None:
            continue
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
    if text is None or text == text_of(chunk):
        return chunk if text is not None else None
    keyword, _, rest = chunk.body.partition(b"\0")
    if chunk.kind == b"zTXt":
        return replace(chunk, body=keyword + b"\0\0" + zlib.compress(text))
    if chunk.kind == b"tEXt":
        return replace(chunk, body=keyword + b"\0" + text)
    language, translated = rest[2:].split(b"\0", 2)[:2]
    body = zlib.compress(text) if rest[:1] == b"\1" else text
    return replace(chunk, body=b"\0".join((keyword + b"\0" + rest[:1], language, translated, body)))


def thumbnail_in(chunk: Chunk) -> bytes | None:
    """Return the EXIF thumbnail, also of EXIF in a text."""
    if chunk.kind == b"eXIf":
        return thumbnail_of(chunk.body)
    text = text_of(chunk) if chunk.body.startswith(_PROFILE) else None
    return png_profile.thumbnail_in(text) if text else None


def shown_by(chunk: Chunk) -> bytes:
    """Return what of a chunk has to be free of pictures: its text, or its bytes but for EXIF's thumbnail."""
    if chunk.kind == b"eXIf":
        return without_thumbnail(chunk.body)
    text = text_of(chunk)
    profile = png_profile.without_thumbnail_in(text) if text and chunk.body.startswith(_PROFILE) else None
    return profile or text or chunk.body


def text_of(chunk: Chunk) -> bytes | None:
    """Return the text of tEXt, zTXt or iTXt, or the profile of iCCP, inflated; None where there is none."""
    packed = _packed(chunk)
    if packed is not None:
        return _inflate(packed)
    _, _, rest = chunk.body.partition(b"\0")
    if chunk.kind == b"iTXt":
        parts = rest[2:].split(b"\0", 2)
        return parts[2] if len(parts) == 3 else None  # noqa: PLR2004 - language, translated keyword, text
    return rest if chunk.kind == b"tEXt" else None


def _packed(chunk: Chunk) -> bytes | None:
    """Return what is compressed in a chunk other than rows; None where nothing is."""
    if chunk.kind not in {b"zTXt", b"iTXt", b"iCCP"}:
        return None
    _, _, rest = chunk.body.partition(b"\0")
    if chunk.kind != b"iTXt":
        return rest[1:]
    parts = rest[2:].split(b"\0", 2)
    return parts[2] if rest[:1] == b"\x01" and len(parts) == 3 else None  # noqa: PLR2004 - as in `text_of`


def _inflate(body: bytes) -> bytes | None:
    """Inflate with a bound; None beyond it, and for what does not inflate."""
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(body, _MAX_TEXT)
    except zlib.error:
        return None
    return text if inflater.eof else None
