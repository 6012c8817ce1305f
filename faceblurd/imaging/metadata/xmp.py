"""Take pictures, people and places out of an XMP packet with a real XML parser; every other byte stays.

The parser finds where elements and attributes lie in the source bytes, and those ranges are cut out: nothing is
written anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.parsers import expat

from faceblurd.imaging.metadata import wording
from faceblurd.imaging.metadata.embedded import contains_picture
from faceblurd.imaging.metadata.scrub import BARE, Scrub
from faceblurd.imaging.metadata.wording import PICTURE_NAMESPACES, PICTURES, Property

_TAG = re.compile(rb"<[^\s/>]+((?:\s+[^\s=/>]+\s*=\s*(?:\"[^\"]*\"|'[^']*'))*)\s*/?>")
_ATTRIBUTE = re.compile(rb"\s+([^\s=/>]+)\s*=\s*(?:\"[^\"]*\"|'[^']*')")
_DECLARED = re.compile(rb"\A(?:\xef\xbb\xbf)?<\?xml[^>]*\?>\s*")
_ALL = ("http://www.w3.org/1999/02/22-rdf-syntax-ns#", "RDF")
_LANGUAGE = "http://www.w3.org/XML/1998/namespace lang"
_LARGEST = 16 << 20  # bytes, 10 s: photo editors with thousands of strokes of a brush write one
_UNSAFE = (b"<!DOCTYPE", b"<!ENTITY")  # XMP has no use for them, and entities may grow without end


def scrub_xmp(packet: bytes, scrub: Scrub = BARE) -> bytes | None:
    """Return the packet without what may not stay; None when all of it must go: it is too large or does not parse."""
    if not scrub.anything or len(packet) > _LARGEST:
        return None
    coding = _coding(packet)
    if coding:
        return _scrub_coded(packet, coding, scrub)
    start, end = packet.find(b"<"), packet.rfind(b">") + 1
    body = packet[start:end]
    if not body or any(word in body for word in _UNSAFE) or contains_picture(packet[:start] + packet[end:]):
        return None
    finder = _Finder(body, scrub)
    try:
        finder.run()
    except (expat.ExpatError, LookupError):
        return None
    scrubbed = packet[:start] + _without(body, finder.cuts) + packet[end:]
    return None if contains_picture(scrubbed) else scrubbed


def _coding(packet: bytes) -> str:
    """Name the encoding of a packet in which a letter takes two bytes or four; empty for all others."""
    head = packet[:4]
    found = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"<\0\0\0": "utf-32-le", b"\0\0\0<": "utf-32-be"}
    found |= {b"<\0" + head[2:]: "utf-16-le", b"\0<" + head[2:]: "utf-16-be"} if head not in found else {}
    return found.get(head) or ("utf-16" if head[:2] in {b"\xff\xfe", b"\xfe\xff"} else "")


def _scrub_coded(packet: bytes, coding: str, scrub: Scrub) -> bytes | None:
    """Scrub a packet as UTF-8, which the search for tags can read, and write it back in its own encoding."""
    size = 4 if "32" in coding else 2
    try:
        text = packet[: len(packet) // size * size].decode(coding)
    except UnicodeDecodeError:
        return None
    plain = _DECLARED.sub(b"", text.encode(), count=1)
    scrubbed = scrub_xmp(plain, scrub)
    if scrubbed is None or scrubbed == plain:
        return packet if scrubbed is not None else None
    return scrubbed.decode().encode(coding)


def _without(body: bytes, cuts: list[tuple[int, int]]) -> bytes:
    """Cut ranges out; a range inside another one goes with it."""
    parts: list[bytes] = []
    position = 0
    for start, end in sorted(cuts):
        if start >= position:
            parts.append(body[position:start])
        position = max(position, end)
    return b"".join([*parts, body[position:]])


@dataclass(slots=True)
class _Element:
    """An element that is open. `is_translation`: free text in some language."""

    start: int
    name: Property
    is_translation: bool
    texts: list[str] = field(default_factory=list)
    must_go: bool = False


class _Finder:
    """Walks the packet and notes the byte ranges to cut."""

    def __init__(self, body: bytes, scrub: Scrub) -> None:
        self.cuts: list[tuple[int, int]] = []
        self._scrub = scrub
        self._body = body
        self._open: list[_Element] = []
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.ordered_attributes = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        self._parser = parser

    def run(self) -> None:
        self._parser.Parse(self._body, True)  # noqa: FBT003 - expat takes no keyword here

    def _start(self, name: str, attributes: list[str]) -> None:
        start = self._parser.CurrentByteIndex
        element = _Element(start, _split(name), is_translation=_LANGUAGE in attributes[::2])
        self._open.append(element)
        tag = _TAG.match(self._body, start)
        if tag is None:
            element.must_go = bool(attributes)  # none could be cut out
            return
        sources = (m for m in _ATTRIBUTE.finditer(self._body, *tag.span(1)) if not m[1].startswith(b"xmlns"))
        for source, key, value in zip(sources, attributes[::2], attributes[1::2], strict=False):
            namespace, local = _split(key)
            if self._must_go(namespace, local) or self._is_unwanted(local, value):
                self.cuts.append(source.span())
            element.must_go |= (
                self._is_below(1) and wording.names_a_node(local) and wording.is_branch(value, self._scrub)
            )

    def _text(self, text: str) -> None:
        self._open[-1].texts.append(text)

    def _end(self, _name: str) -> None:
        element = self._open.pop()
        local, text = element.name[1], "".join(element.texts)
        named = local if not element.is_translation else ""
        if element.must_go or self._must_go(*element.name) or self._is_unwanted(named, text):
            self.cuts.append((element.start, self._element_end(element.start)))
        if self._is_below(1) and wording.names_a_node(local) and wording.is_branch(text, self._scrub):
            self._open[-1].must_go = True  # the node of a keyword, with all below it

    def _is_below(self, levels: int) -> bool:
        """Say whether there is an element so many levels above the innermost one, other than the root (rdf:RDF)."""
        return len(self._open) > levels and self._open[-1 - levels].name != _ALL

    def _must_go(self, namespace: str, local: str) -> bool:
        """Say whether a property must go, whatever its value."""
        is_picture = local in PICTURES.get(namespace, ()) or namespace in PICTURE_NAMESPACES
        is_place = not self._scrub.location and wording.is_schema_of_places(namespace)
        return is_picture or is_place or wording.is_field_of(local, self._scrub)

    def _is_unwanted(self, local: str, text: str) -> bool:
        """Say whether a value is a picture, or a keyword that lies in a branch of people or places."""
        if not text:
            return False
        return contains_picture(text.encode()) or (
            wording.holds_keywords(local) and wording.lies_in_branch(text, self._scrub)
        )

    def _element_end(self, start: int) -> int:
        """Return where the element that the parser is leaving ends in the source."""
        tag = _TAG.match(self._body, start)
        if tag and tag[0].endswith(b"/>"):  # the parser stands behind it, perhaps at its parent's end tag
            return tag.end()
        return self._body.index(b">", self._parser.CurrentByteIndex) + 1


def _split(name: str) -> Property:
    """Return namespace and local name."""
    namespace, _, local = name.rpartition(" ")
    return namespace, local
