"""Put newly compressed rows into a TIFF file: every tag that does not describe the rows stays byte for byte.

The rows go where the old ones were, or to the end when they need more room; a new directory goes to the end. Nothing
else moves, so the offsets in EXIF, GPS and maker's notes stay valid.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from faceblurd.errors import ImageError
from faceblurd.imaging.files.tiff.layout import TiffLayout
from faceblurd.imaging.metadata.exif import STRIP_SIZES, STRIPS
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from faceblurd.imaging.files.tiff.page import Span, TiffPage

# Size, depth, compression and its options, photometric, fill order, strips, samples, planes, predictor, tiles, format.
_LAYOUT = frozenset({
    256, 257, 258, 259, 262, 266, STRIPS, 277, 278, STRIP_SIZES, 284, 292, 293, 317, 320, 322, 323, 324, 325, 338, 339,
})  # fmt: skip
_LIMIT = 2**32 - 1
_EXTRAS = (338, 339)  # what a fourth sample means, and the sample format: not every encoder writes them
_PREDICTOR, _PALETTE = 317, 320


def with_rows(scrubbed: bytes, fresh: Mapping[int, bytes]) -> bytes:
    """Return a scrubbed file with rows and layout tags of other files, of one page each, by number of the page.

    Their rows have its byte order. Raises ImageError TOO_LARGE.
    """
    content, link = bytearray(scrubbed), 4
    for number, old in enumerate(TiffLayout(scrubbed, check_tail=False).chain):
        link = _replace(content, old, fresh[number], link) if number in fresh else old.ifd.link
    if len(content) > _LIMIT:
        raise ImageError(Reason.TOO_LARGE, "The TIFF would be larger than its offsets can say")
    return bytes(content)


def _replace(content: bytearray, old: TiffPage, data: bytes, link: int) -> int:
    """Replace a page, whose offset is written at `link`. Return where the next page's offset is written."""
    new = TiffLayout(data, check_tail=False).chain[0]
    for start, end in old.rows:
        content[start:end] = bytes(end - start)
    room = _room(content, old.rows)
    offsets = _write(content, [data[start:end] for start, end in new.rows], room)
    return _write_directory(content, old, new, offsets, link)


def _room(content: bytearray, rows: list[Span]) -> Span:
    """Return the span that the old rows leave free. Rows at the end of the file are cut off: room without end."""
    spans = sorted(rows)
    start, end = spans[0]
    for following, stop in spans[1:]:
        if following > end + 1:  # something lies between the strips
            break
        end = stop
    if end < len(content):
        return start, end
    del content[start:]
    return start, _LIMIT


def _write(content: bytearray, strips: list[bytes], room: Span) -> list[int]:
    """Write strips one behind the other, on even offsets; those that do not fit go to the end. Return the offsets."""
    offsets: list[int] = []
    position, end = room
    for strip in strips:
        position += position % 2
        if position < len(content) and position + len(strip) > end:
            position = len(content) + len(content) % 2
        content.extend(bytes(max(position - len(content), 0)))
        content[position : position + len(strip)] = strip
        offsets.append(position)
        position += len(strip)
    content.extend(bytes(len(content) % 2))
    return offsets


def _write_directory(content: bytearray, old: TiffPage, new: TiffPage, offsets: list[int], link: int) -> int:
    """Append a directory of the old tags and the new layout, and let the link before it name it."""
    order = old.order
    same = {*_EXTRAS, *({_PREDICTOR} if old.predictor == new.predictor else ())}
    if old.depths == new.depths:
        same.add(_PALETTE)
    records = {tag: old.record(tag) for tag in old.tags - (_LAYOUT - same)}
    for tag in new.tags & _LAYOUT - records.keys():
        kind, values = (4, offsets) if tag == STRIPS else new.integers(tag)
        packed = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)  # noqa: PLR2004 - SHORT
        if len(packed) > 4:  # noqa: PLR2004 - a value that does not fit into its tag
            where = len(content)
            content.extend(packed + bytes(len(packed) % 2))
            packed = struct.pack(order + "I", where)
        records[tag] = struct.pack(order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    start, end = old.directory
    content[start:end] = bytes(end - start)
    struct.pack_into(order + "I", content, link, len(content))
    body = b"".join(records[tag] for tag in sorted(records))
    content.extend(struct.pack(order + "H", len(records)) + body + struct.pack(order + "I", old.ifd.next))
    return len(content) - 4
