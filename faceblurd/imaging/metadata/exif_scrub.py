"""Scrub EXIF blocks (a small TIFF inside another file) in place: pictures, and places where they are not wanted.

No offset moves, so maker's notes stay valid. A block that does not parse is replaced by one that holds the orientation
only. The thumbnail is the one picture that may stay, redacted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faceblurd.errors import ImageError
from faceblurd.imaging import jpeg_segments
from faceblurd.imaging.metadata import exif
from faceblurd.imaging.metadata.embedded import contains_picture, wipe_pictures
from faceblurd.imaging.metadata.exif import (
    Entry,
    Ifd,
    TiffBlock,
    bare,
    each_byte_once,
    minimal,
    orientation_of,
)
from faceblurd.imaging.metadata.photoshop import scrub_iptc, scrub_resources
from faceblurd.imaging.metadata.scrub import BARE, Scrub
from faceblurd.imaging.metadata.tags import (
    GEOGRAPHIC,
    LOOKS,
    PROFILE,
    WINDOWS_KEYWORDS,
    blank_names,
    may_stay,
)
from faceblurd.imaging.metadata.wording import lies_in_branch
from faceblurd.imaging.metadata.xmp import scrub_xmp
from faceblurd.imaging.redact.thumbnail import replacement

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROWS = ((exif.STRIPS, exif.STRIP_SIZES), (exif.TILES, exif.TILE_SIZES))
_PICTURES = ((exif.JPEG_OFFSET, exif.JPEG_SIZE), *_ROWS)
_MAX_IFDS = 64  # that hold pictures; a block with more is not trusted

Span = tuple[int, int]


def scrub_exif(block: bytes, scrub: Scrub = BARE) -> bytes:
    """Return an EXIF block (with or without its `Exif` prefix) of the same length, without pictures.

    A block that does not parse, or still holds a picture, becomes a short one with the orientation only.
    """
    prefix = block[: len(block) - len(bare(block))]
    short = prefix + minimal(orientation_of(block))
    if not scrub.anything:
        return short
    try:
        tiff = TiffBlock(bare(block))
        start, end = _scrub(tiff, scrub)
        values = each_byte_once(_values(tiff))
    except ValueError:
        return short
    for first, last in values:
        wipe_pictures(tiff.content, first, min(last, start) if first < start else last)
    wipe_pictures(tiff.content, 0, start)
    wipe_pictures(tiff.content, end)
    scrubbed = prefix + bytes(tiff.content)
    return short if contains_picture(without_thumbnail(scrubbed)) else scrubbed


def thumbnail_of(block: bytes) -> bytes | None:
    """Return the JPEG thumbnail that the second directory names, None when there is none that is sound."""
    span = _span_in(block)
    return bare(block)[slice(*span)] if span else None


def without_thumbnail(block: bytes) -> bytes:
    """Return the block with zeros in the place of its thumbnail: any picture that is left should not be there."""
    start, end = _span_in(block) or (0, 0)
    content = bare(block)
    return content[:start] + bytes(end - start) + content[end:]


def _span_in(block: bytes) -> Span | None:
    try:
        tiff = TiffBlock(bare(block))
        return _thumbnail_span(tiff, tiff.first())
    except ValueError:
        return None


def _thumbnail_span(tiff: TiffBlock, first: Ifd) -> Span | None:
    """Return where the JPEG lies that the second directory names: a whole one, outside of both directories.

    Raises ValueError where a directory makes no sense.
    """
    if not first.next:
        return None
    second = tiff.ifd(first.next)
    starts, sizes = (tiff.integers_or_none(second.entries.get(tag)) for tag in (exif.JPEG_OFFSET, exif.JPEG_SIZE))
    if len(starts) != 1 or len(sizes) != 1:
        return None
    start, end = starts[0], starts[0] + sizes[0]
    apart = all(end <= ifd.start or start >= ifd.link + 4 for ifd in (first, second))
    try:
        whole = start >= 8 and jpeg_segments.scan(bytes(tiff.content), start, end)[-1].end <= end  # noqa: PLR2004
    except ImageError:
        return None
    return (start, end) if whole and apart and end <= len(tiff.content) else None


def _scrub(tiff: TiffBlock, scrub: Scrub) -> Span:
    """Scrub what the directories name; return where the redacted thumbnail lies, an empty range without one."""
    first = tiff.first()
    span = _thumbnail_span(tiff, first)
    fresh = replacement(bytes(tiff.content[slice(*span)]), scrub) if span else None
    _wipe_named(tiff, first, _PICTURES)
    if fresh is None:
        _wipe_chain(tiff, first, {first.start})
    else:
        second = tiff.ifd(first.next)
        _wipe_named(tiff, second, _ROWS)
        _wipe_chain(tiff, second, {first.start, second.start})
    wipe_children(tiff, first)
    scrub_payloads(tiff, tiff.first(), scrub)
    keep_known(tiff, first.start, scrub)
    if not scrub.location:
        strip_location(tiff, first.start)
    if fresh is None or span is None:
        return 0, 0
    tiff.content[slice(*span)] = fresh.ljust(span[1] - span[0], b"\0")
    return span


def _values(tiff: TiffBlock) -> list[Span]:
    """Return where the values of the first directory and of those below it lie."""
    entries = (entry for ifd in tiff.directories(tiff.first().start) for entry in ifd.entries.values())
    return [(entry.value, entry.value + entry.size) for entry in entries]


def keep_known(tiff: TiffBlock, start: int, scrub: Scrub) -> None:
    """Take unknown tags out of a directory and those below it; under `strip_all` every tag but the looks."""
    for known in tiff.directories(start):
        ifd = tiff.ifd(known.start)
        if known.entries and not ifd.entries:
            raise ValueError("a directory was wiped by another one, or by itself")
        below = ifd.start != start
        kept = {tag for tag, entry in ifd.entries.items() if _is_known(tiff, entry, scrub, below=below)}
        if kept != ifd.entries.keys():
            tiff.keep(ifd, kept)


def _is_known(tiff: TiffBlock, entry: Entry, scrub: Scrub, *, below: bool) -> bool:
    stays = scrub.anything and may_stay(entry.tag, entry.size, below=below)
    unwanted = entry.tag in GEOGRAPHIC and not scrub.location
    if entry.tag == PROFILE and tiff.bytes_of(entry)[36:40] != b"acsp":
        return False  # no colour profile
    return not unwanted and (stays or entry.tag in LOOKS) and not _lists_people(tiff, entry, scrub)


def _lists_people(tiff: TiffBlock, entry: Entry, scrub: Scrub) -> bool:
    """Say whether the keywords of Windows lie in a branch of people, or of places."""
    if entry.tag != WINDOWS_KEYWORDS:
        return False
    value = tiff.bytes_of(entry)  # Windows and ExifTool write it little-endian always, others in the block's order
    texts = (value.decode(coding, "replace") for coding in ("utf-16-le", "utf-16-be"))
    return any(lies_in_branch(word, scrub) for text in texts for word in text.split(";"))


def _wipe_chain(tiff: TiffBlock, last: Ifd, seen: set[int]) -> None:
    """End the chain of directories at `last`, and wipe all that followed."""
    start = last.next
    tiff.blank(last.link, 4)
    while start and start not in seen:
        seen.add(start)
        if len(seen) > _MAX_IFDS:
            raise ValueError("too many directories")
        start = _wipe_directory(tiff, start)


def wipe_children(tiff: TiffBlock, first: Ifd) -> None:
    """Wipe the sub-directories, which hold pictures, and take out their tag; `first` is stale then."""
    if entry := first.entries.get(exif.SUB_IFDS):
        children = set(tiff.integers_or_none(entry))
        if len(children) > _MAX_IFDS:
            raise ValueError("too many sub-directories")
        for child in children:
            _wipe_directory(tiff, child)
        _remove_value(tiff, first, exif.SUB_IFDS)


def _blank_names(tiff: TiffBlock, start: int) -> None:
    for note in (ifd.entries.get(exif.MAKER_NOTE) for ifd in tiff.directories(start)):
        if note:
            blank_names(tiff, note.value, min(note.value + note.size, len(tiff.content)))


def scrub_payloads(tiff: TiffBlock, ifd: Ifd, scrub: Scrub) -> None:
    """Scrub the XMP, the Photoshop resources, the IPTC and the maker's note of a directory, in place."""
    if not scrub.names:
        _blank_names(tiff, ifd.start)
    if entry := ifd.entries.get(exif.XMP):
        tiff.replace(entry, scrub_xmp(tiff.bytes_of(entry), scrub), b" ")
    if entry := ifd.entries.get(exif.RESOURCES):
        tiff.replace(entry, scrub_resources(tiff.bytes_of(entry), scrub), b"\0")
    if entry := ifd.entries.get(exif.IPTC):
        tiff.replace(entry, scrub_iptc(tiff.bytes_of(entry), scrub), b"\0")


def strip_location(tiff: TiffBlock, start: int) -> None:
    """Take out what a directory names of GPS, and the maker's note: nobody knows where makers write places."""
    first = tiff.ifd(start)
    for child in tiff.integers_or_none(first.entries.get(exif.EXIF_IFD))[:1]:
        try:
            _remove_value(tiff, tiff.ifd(child), exif.MAKER_NOTE)
        except ValueError:
            continue
    for child in tiff.integers_or_none(first.entries.get(exif.GPS_IFD))[:1]:
        _wipe_directory(tiff, child, values=True)
    if exif.GPS_IFD in first.entries:
        tiff.remove(first, exif.GPS_IFD)


def _remove_value(tiff: TiffBlock, ifd: Ifd, tag: int) -> None:
    if entry := ifd.entries.get(tag):
        tiff.blank(entry.value, entry.size)
        tiff.remove(ifd, tag)


def _wipe_directory(tiff: TiffBlock, start: int, *, values: bool = False) -> int:
    """Wipe a directory with its pictures, or its `values`; return the next one's offset, 0 when it does not parse."""
    try:
        ifd = tiff.ifd(start)
    except ValueError:
        return 0
    if values:
        tiff.blank_all((entry.value, entry.size) for entry in ifd.entries.values())
    else:
        _wipe_named(tiff, ifd, _PICTURES)
    tiff.blank(ifd.start, ifd.link + 4 - ifd.start)
    return ifd.next


def _wipe_named(tiff: TiffBlock, ifd: Ifd, kinds: Iterable[tuple[int, int]]) -> None:
    """Blank the bytes of the pictures that a directory names."""
    for kind in kinds:
        named = [ifd.entries.get(tag) for tag in kind]
        if any(entry and entry.count > exif.MOST_VALUES for entry in named):
            raise ValueError("too many strips")
        starts, lengths = (tiff.integers_or_none(entry) for entry in named)
        tiff.blank_all(zip(starts, lengths, strict=False))
