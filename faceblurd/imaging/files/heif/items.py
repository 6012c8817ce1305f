"""AVIF and HEIF files as what they are: a set of items (pictures, tiles, EXIF, XMP) with properties and references.

Reads them (ISO/IEC 23008-12, 14496-12) with every length and offset checked; decodes no pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from faceblurd.errors import ImageError
from faceblurd.imaging.files.heif.boxes import (
    Box,
    Fields,
    boxes,
    cut,
    damaged,
    top_boxes,
)
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

Span = tuple[int, int]

_KNOWN_IN_META = frozenset({b"hdlr", b"pitm", b"iinf", b"iref", b"iprp", b"iloc", b"idat", b"dinf", b"grpl"})
_IN_FILE, _IN_IDAT = 0, 1  # where the bytes of an item lie
_WIDE = 2  # from this version on, identifiers and counts take four bytes instead of two
_MAX_ITEMS, _MAX_EXTENTS = 20_000, 256
_MAX_VIEWS = 16  # of one scene
_MAX_PIECES = 100_000  # extents of all items, or their properties: both can be many in few bytes
_SPARE_BYTES = 16 << 20  # items may share bytes: a limit to what a hostile file makes us copy


class Property(NamedTuple):
    """A property of items. `essential`: a reader that does not know it must not show the item."""

    kind: bytes
    body: bytes
    essential: bool


@dataclass(frozen=True, slots=True)
class Item:
    """One item. `references`: kind and identifiers, in the file's order; `content_type`: of items of kind mime."""

    id: int
    kind: bytes
    hidden: bool = False
    content_type: bytes = b""
    properties: tuple[Property, ...] = ()
    references: tuple[tuple[bytes, tuple[int, ...]], ...] = ()
    data: bytes = b""

    def first(self, kind: bytes) -> bytes | None:
        """Return the body of its first property of a kind."""
        return next((p.body for p in self.properties if p.kind == kind), None)

    def targets(self, kind: bytes) -> tuple[int, ...]:
        """Return the items that it refers to in this way."""
        return tuple(target for name, ids in self.references if name == kind for target in ids)


@dataclass(frozen=True, slots=True)
class ItemFile:
    """A file. `brands`: the body of its first box; `tidy`: it holds nothing besides its items."""

    brands: bytes
    primary: int
    items: dict[int, Item]
    tidy: bool
    views: frozenset[int] = frozenset()


def read_items(data: bytes) -> ItemFile:
    """Read the structure. Raises ImageError: INCOMPLETE, DAMAGED, or UNSUPPORTED for sequences and protected files."""
    top, end = top_boxes(data)
    kinds = [one.kind for one in top]
    if end < len(data) and not {b"meta", b"mdat"} <= set(kinds):
        raise cut()
    if b"moov" in kinds:
        raise ImageError(Reason.UNSUPPORTED, "Image sequences and animations are not supported in this format")
    if kinds[:1] != [b"ftyp"] or kinds.count(b"meta") != 1:
        raise damaged("it has no list of items")
    meta = top[kinds.index(b"meta")]
    inside = boxes(data, meta.body + 4, meta.end)
    parts = {one.kind: one for one in reversed(inside)}
    if not parts.keys() >= {b"pitm", b"iinf", b"iprp", b"iloc"}:
        raise damaged("its list of items is not whole")
    spans = _spans(data, parts[b"iloc"], parts.get(b"idat"))
    items = _items(data, parts, spans)
    version, _ = (primary := _fields(data, parts[b"pitm"])).version()
    number = primary.number(4 if version else 2)
    views = _views(data, parts[b"grpl"], number) if b"grpl" in parts else frozenset()
    known_inside = len(parts) == len(inside) and parts.keys() <= _KNOWN_IN_META
    known = all(one.kind in {b"ftyp", b"meta", b"mdat"} or _is_blank(data, one) for one in top)
    stores = [one for one in (*top, *inside) if one.kind in {b"mdat", b"idat"}]
    filled = _covers(stores, (span for one in spans.values() for span in one))
    tidy = end == len(data) and known_inside and known and filled
    return ItemFile(data[top[0].body : top[0].end], number, items, tidy, views)


def _views(data: bytes, groups: Box, primary: int) -> frozenset[int]:
    """Return the other pictures of a stereo pair to which the primary one belongs."""
    found: set[int] = set()
    for group in (one for one in boxes(data, groups.body, groups.end) if one.kind == b"ster"):
        fields = _fields(data, group)
        fields.version()
        fields.number(4)
        pair = {fields.number(4) for _ in range(min(fields.number(4), _MAX_VIEWS))}
        found |= pair - {primary} if primary in pair else set()
    return frozenset(found)


def _fields(data: bytes, one: Box) -> Fields:
    return Fields(data, one.body, one.end)


def _is_blank(data: bytes, one: Box) -> bool:
    return one.kind in {b"free", b"skip"} and not any(data[one.body : one.end])


def _covers(stores: Iterable[Box], spans: Iterable[Span]) -> bool:
    """Say whether no byte of the stores belongs to no item."""
    ordered = sorted(spans)
    at, reached = 0, 0
    for store in sorted(stores, key=lambda one: one.body):
        reached = max(reached, store.body)
        while at < len(ordered) and ordered[at][0] <= reached:
            reached = max(reached, ordered[at][1])
            at += 1
        if reached < store.end:
            return False
    return True


def _items(data: bytes, parts: dict[bytes, Box], spans: dict[int, list[Span]]) -> dict[int, Item]:
    """Put together what the boxes say of each item."""
    properties = _properties(data, parts[b"iprp"])
    references = _references(data, parts[b"iref"]) if b"iref" in parts else {}
    return {
        item.id: replace(
            item,
            properties=tuple(properties.get(item.id, ())),
            references=tuple(references.get(item.id, ())),
            data=b"".join(data[start:end] for start, end in spans.get(item.id, ())),
        )
        for item in _entries(data, parts[b"iinf"])
    }


def _entries(data: bytes, iinf: Box) -> list[Item]:
    fields = _fields(data, iinf)
    version, _ = fields.version()
    fields.number(4 if version else 2)
    entries = [one for one in boxes(data, fields.position, iinf.end) if one.kind == b"infe"]
    return [_entry(_fields(data, one)) for one in entries[:_MAX_ITEMS]]


def _entry(fields: Fields) -> Item:
    version, flags = fields.version()
    if version < _WIDE:
        raise ImageError(Reason.UNSUPPORTED, "The file lists its items in an old way that is not supported")
    number = fields.number(2 if version == _WIDE else 4)
    if fields.number(2):
        raise ImageError(Reason.UNSUPPORTED, "The file is protected")
    kind, _ = fields.take(4), fields.text()
    content_type = fields.text() if kind == b"mime" else b""
    encoded = kind == b"mime" and fields.text()
    return Item(number, b"" if encoded else kind, hidden=bool(flags & 1), content_type=content_type)


def _references(data: bytes, iref: Box) -> dict[int, list[tuple[bytes, tuple[int, ...]]]]:
    fields = _fields(data, iref)
    size = 4 if fields.version()[0] else 2
    found: dict[int, list[tuple[bytes, tuple[int, ...]]]] = {}
    for one in boxes(data, fields.position, iref.end):
        inner = _fields(data, one)
        source = inner.number(size)
        targets = tuple(inner.number(size) for _ in range(inner.number(2)))
        found.setdefault(source, []).append((one.kind, targets))
    return found


def _properties(data: bytes, iprp: Box) -> dict[int, list[Property]]:
    """Return the properties of each item, in the order in which they apply."""
    inside = boxes(data, iprp.body, iprp.end)
    stores = [one for one in inside if one.kind == b"ipco"]
    if len(stores) != 1:
        raise damaged("it has no properties")
    known = [(one.kind, data[one.body : one.end]) for one in boxes(data, stores[0].body, stores[0].end)]
    found: dict[int, list[Property]] = {}
    for one in (one for one in inside if one.kind == b"ipma"):
        _associate(_fields(data, one), known, found)
        if sum(map(len, found.values())) > _MAX_PIECES:
            raise damaged("its items have too many properties")
    return found


def _associate(fields: Fields, known: list[tuple[bytes, bytes]], found: dict[int, list[Property]]) -> None:
    version, flags = fields.version()
    size = 2 if flags & 1 else 1
    top_bit = 1 << (8 * size - 1)
    for _ in range(fields.number(4)):
        mine = found.setdefault(fields.number(4 if version else 2), [])
        for _ in range(fields.number(1)):
            index = fields.number(size)
            place = index & ~top_bit
            if place > len(known):
                raise damaged("a property is missing")
            if place:
                kind, body = known[place - 1]  # each body once, whoever shares it
                mine.append(Property(kind, body, bool(index & top_bit)))


def _spans(data: bytes, iloc: Box, idat: Box | None) -> dict[int, list[Span]]:
    """Return where in the file the bytes of each item lie."""
    fields = _fields(data, iloc)
    version, _ = fields.version()
    sizes = fields.number(2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 4 if version >= _WIDE else 2
    found: dict[int, list[Span]] = {}
    left = _MAX_PIECES
    for _ in range(min(fields.number(wide), _MAX_ITEMS)):
        item = fields.number(wide)
        method = fields.number(2) & 15 if version else _IN_FILE
        start, stop = _store(method, fields.number(2), idat, len(data))
        start += fields.number(base)
        count = fields.number(2)
        left -= count
        if count > _MAX_EXTENTS or left < 0:
            raise damaged("its items lie in too many pieces")
        pieces = [_extent(fields, offset, length, index if version else 0) for _ in range(count)]
        found[item] = [_checked(start + first, size or stop - start - first, stop, data) for first, size in pieces]
    if sum(end - start for spans in found.values() for start, end in spans) > 4 * len(data) + _SPARE_BYTES:
        raise damaged("its items are larger than the file")
    return found


def _extent(fields: Fields, offset: int, length: int, index: int) -> Span:
    fields.number(index)
    return fields.number(offset), fields.number(length)


def _store(method: int, other_file: int, idat: Box | None, size: int) -> Span:
    """Return the range of bytes in which an item's offsets count."""
    if method == _IN_FILE and not other_file:
        return 0, size
    if method == _IN_IDAT and idat:
        return idat.body, idat.end
    raise ImageError(Reason.UNSUPPORTED, "The file keeps its items in a way that is not supported")


def _checked(start: int, size: int, stop: int, data: bytes) -> Span:
    if size < 0 or start + size > stop:
        if stop == len(data):
            raise ImageError(Reason.INCOMPLETE, "The file ends before its last item", retryable=True)
        raise damaged("an item ends outside of its store")
    return start, start + size
