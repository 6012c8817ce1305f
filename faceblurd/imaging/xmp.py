"""Take pictures, people and places out of an XMP packet with a real XML parser; every other byte stays.

The parser finds where elements and attributes lie in the source bytes, and those ranges are cut out: nothing is
written anew.
"""

from __future__ import annotations

import re
from xml.parsers import expat

from faceblurd.imaging.embedded import contains_picture
from faceblurd.imaging.scrub import BARE, Scrub
from faceblurd.imaging.xmp_properties import (
    BRANCHES,
    PEOPLE,
    PICTURE_NAMESPACES,
    PICTURES,
    PLACES,
    TREES,
    Property,
    tells_a_place,
)

_TAG = re.compile(rb"<[^\s/>]+((?:\s+[^\s=/>]+\s*=\s*(?:\"[^\"]*\"|'[^']*'))*)\s*/?>")
_ATTRIBUTE = re.compile(rb"\s+([^\s=/>]+)\s*=\s*(?:\"[^\"]*\"|'[^']*')")
_UNSAFE = (b"<!DOCTYPE", b"<!ENTITY")  # no XMP writer uses them, and they make a parser explode


def scrub_xmp(packet: bytes, scrub: Scrub = BARE) -> bytes | None:
    """Return the packet without what may not stay, or None when it must go whole (it carries a picture unsoundly)."""
    if not scrub.anything:
        return None
    body = packet.rstrip(b"\0")
    if any(word in body for word in _UNSAFE):
        return None
    finder = _Finder(body, scrub)
    try:
        finder.run()
    except expat.ExpatError:
        return None if contains_picture(packet) or _mentions(body, scrub) else packet
    scrubbed = _without(body, finder.cuts) + packet[len(body) :]
    return None if contains_picture(scrubbed) else scrubbed


def _mentions(body: bytes, scrub: Scrub) -> bool:
    """Say whether a packet that does not parse mentions a schema of which something would have to go."""
    unwanted = (*(() if scrub.names else PEOPLE), *(() if scrub.location else PLACES))
    return any(namespace.encode() in body for namespace, _ in unwanted) or (not scrub.location and b"GPS" in body)


def _without(body: bytes, cuts: list[tuple[int, int]]) -> bytes:
    """Cut ranges out; a range inside another one goes with it."""
    parts: list[bytes] = []
    position = 0
    for start, end in sorted(cuts):
        if start >= position:
            parts.append(body[position:start])
        position = max(position, end)
    return b"".join([*parts, body[position:]])


class _Finder:
    """Walks the packet and notes the byte ranges to cut."""

    def __init__(self, body: bytes, scrub: Scrub) -> None:
        self.cuts: list[tuple[int, int]] = []
        self._scrub = scrub
        self._body = body
        self._open: list[tuple[int, Property, list[str]]] = []  # start, name, its own text
        self._trees = 0  # of those, the ones that hold keywords: to look at all of them took a minute, 100,000 deep
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.ordered_attributes = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        self._parser = parser

    def run(self) -> None:
        """Parse it all. Raises expat.ExpatError."""
        self._parser.Parse(self._body, True)  # noqa: FBT003 - expat takes no keyword here

    def _start(self, name: str, attributes: list[str]) -> None:
        start = self._parser.CurrentByteIndex
        self._open.append((start, _split(name), []))
        self._trees += _split(name) in TREES
        tag = _TAG.match(self._body, start)
        if tag is None:
            return
        sources = (m for m in _ATTRIBUTE.finditer(self._body, *tag.span(1)) if not m[1].startswith(b"xmlns"))
        for source, key, value in zip(sources, attributes[::2], attributes[1::2], strict=False):
            if self._must_go(*_split(key)) or contains_picture(value.encode()):
                self.cuts.append(source.span())

    def _text(self, text: str) -> None:
        self._open[-1][2].append(text)

    def _end(self, _name: str) -> None:
        start, name, texts = self._open.pop()
        self._trees -= name in TREES
        text = "".join(texts)
        if self._must_go(*name) or self._names_a_person(name, text) or contains_picture(text.encode()):
            self.cuts.append((start, self._element_end(start)))

    def _must_go(self, namespace: str, local: str) -> bool:
        """Say whether a property must go, whatever its value."""
        name = (namespace, local)
        return (
            name in PICTURES
            or namespace in PICTURE_NAMESPACES
            or (not self._scrub.names and name in PEOPLE)
            or (not self._scrub.location and tells_a_place(namespace, local))
        )

    def _names_a_person(self, name: Property, text: str) -> bool:
        """Say whether an item of a tree of keywords lies in its branch of people."""
        if self._scrub.names or name[1] != "li" or not self._trees:
            return False
        return re.split(r"[|/]", text.strip().casefold(), maxsplit=1)[0] in BRANCHES

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
