"""What AVIF and HEIF share: one picture, perhaps made of tiles, perhaps with alpha, and its metadata as items.

The decoder gets a file of the pictures alone, without turns, so that pixels come as stored. A result is built of items
that are known; thumbnails, depth maps, gain maps and unknown items stay behind.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from faceblurd.errors import ImageError
from faceblurd.imaging.files.codecs import check_size, zero_tail
from faceblurd.imaging.files.heif.items import read_items
from faceblurd.imaging.files.heif.looks import (
    dressed,
    image_properties,
    orientation_in,
    shown_size,
)
from faceblurd.imaging.files.heif.writer import build, scrub_item, shown_by, thumbnail_in
from faceblurd.imaging.files.still import Still
from faceblurd.imaging.metadata import BARE, contains_picture
from faceblurd.imaging.picture import Encoded
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Container

    import numpy.typing as npt

    from faceblurd.imaging.files.heif.items import Item, ItemFile
    from faceblurd.imaging.metadata import Scrub

_PICTURES = frozenset(b"av01 hvc1 hvt1 avc1 avs3 evc1 jpeg j2k1 lhv1 vvc1 unci grid iden iovl tili".split())
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
_TRANSFORMS = frozenset({b"irot", b"imir", b"clap"})
_LINKS = frozenset({b"dimg", b"auxl", b"prem", b"cdsc"})
_ZEROS = 32  # arithmetic-coded data does not end in so many; a copy that has not arrived in full does


class ItemPicture(Still):
    """One still picture. A format adds its codec: `codec`, `coding`, `decode` and `compress`."""

    format: str
    codec: ClassVar[bytes]  # the kind of the items that it decodes, and of the property that configures the decoder
    configuration: ClassVar[bytes]
    quality: ClassVar[int]
    deepest: ClassVar[int] = 8  # bits that can be written, and compared by the verification

    def __init__(self, data: bytes) -> None:
        """Read the items; refuse what could not be given back as it is."""
        self._data = data
        self._file = read_items(data)
        self._shown = closure(self._file)
        self._check_items()
        primary = self._file.items[self._file.primary]
        self._coded_size, (self.width, self.height) = shown_size(primary)
        self.orientation = orientation_in(primary)
        tile = next(item for item in self._shown if item.kind == self.codec)
        self.depth, self.subsampling = self.coding(tile.first(self.configuration) or b"")
        self.tiled = primary.kind == b"grid"
        self.premultiplied = bool(primary.targets(b"prem"))

    def _check_items(self) -> None:
        kinds = {item.kind for item in self._shown}
        if not {self.codec} <= kinds <= {self.codec, b"grid"}:
            names = ", ".join(sorted(kind.decode("latin-1") for kind in kinds))
            raise ImageError(Reason.UNSUPPORTED, f"Pictures of the kind {names} are not supported in this format")
        if others := _others(self._file):
            raise ImageError(Reason.UNSUPPORTED, f"The file shows {1 + len(others)} pictures; only one is supported")
        unfinished = any(item.kind == self.codec and zero_tail(item.data) >= _ZEROS for item in self._shown)
        if unfinished or any(item.data and not any(item.data) for item in self._file.items.values()):
            raise ImageError(Reason.INCOMPLETE, "The end of the file is only zeros", retryable=True)

    def _check_sizes(self) -> None:
        for item in self._shown:
            if item.kind == self.codec:
                self.check_coded(item)

    def check_coded(self, item: Item) -> None:
        """Refuse a coded picture whose own header contradicts the file, where the decoder does not."""

    def coding(self, configuration: bytes) -> tuple[int, str]:
        """Return the bits per sample and the sampling (`4:2:0`) that the decoder is told. Raises ImageError."""
        raise NotImplementedError

    def decode(self, data: bytes) -> npt.NDArray[Any]:
        """Decode a file without turns: gray, BGR or BGRA."""
        raise NotImplementedError

    def compress(self, pixels: npt.NDArray[Any]) -> bytes:
        """Return a file with these pixels, without metadata."""
        raise NotImplementedError

    def decoded(self) -> npt.NDArray[Any]:
        """Decode the pictures alone, without turns."""
        self._check_sizes()
        plain = [_without(item, _TRANSFORMS) for item in self._shown]
        stored = self.decode(build(self._file.brands, self._file.primary, plain))
        check_size(stored, width=self._coded_size[0], height=self._coded_size[1])
        return np.ascontiguousarray(stored[: self.height, : self.width])

    def encode(self, pixels: npt.NDArray[Any], scrub: Scrub = BARE) -> Encoded:
        """Compress anew, and give the new picture the old one's colours, turns and metadata.

        Raises ImageError UNSUPPORTED where the depth would be lost. Such a picture can still be searched and copied.
        """
        if self.depth > self.deepest:
            what = f"A face was found, and a picture of {self.depth} bits cannot be written as one in this format"
            raise ImageError(Reason.UNSUPPORTED, what)
        fresh = read_items(self.compress(pixels))
        heads = _heads(fresh)
        alpha = {one for head in heads[1:] for one in (head, *_tiles(fresh, head))}
        pictures = [
            dressed(item, like=self._shown, alpha=item.id in alpha, whole=item.id in heads) for item in closure(fresh)
        ]
        link = ((b"cdsc", (fresh.primary,)),)
        first = max(fresh.items) + 1
        metadata = (replace(item, id=first + at, references=link) for at, item in enumerate(self._metadata(scrub)))
        data = build(self._file.brands, fresh.primary, [*pictures, *metadata])
        return Encoded(data, lossless=False, note=f"the whole picture was encoded anew at quality {self.quality}")

    def scrubbed(self, scrub: Scrub = BARE) -> bytes:
        """Keep the coded pictures byte for byte; return the file itself where it holds nothing else."""
        self._check_sizes()
        kept = [*self._shown, *self._metadata(scrub)]
        same = {item.id: item for item in kept} == self._file.items
        return self._data if same and self._file.tidy else build(self._file.brands, self._file.primary, kept)

    def _metadata(self, scrub: Scrub) -> list[Item]:
        """Return the items that describe the picture, scrubbed."""
        clean = (scrub_item(item, scrub) for item in self._file.items.values())
        shown = {item.id for item in self._shown}
        return [kept for item in clean if item and (kept := _linked(item, shown)).references]

    def thumbnails(self) -> list[bytes]:
        """Return the EXIF thumbnail, which may stay once it is redacted."""
        return [thumbnail for item in self._file.items.values() if (thumbnail := thumbnail_in(item))]

    def embedded(self) -> list[str]:
        """Name the items besides the picture that look like one."""
        shown = {item.id for item in self._shown}
        others = [item for item in self._file.items.values() if item.id not in shown]
        found = [item for item in others if item.kind in _PICTURES or contains_picture(shown_by(item))]
        rest = [] if self._file.tidy else ["bytes of no item"]
        return [*(item.kind.decode("latin-1") for item in found), *rest]


def closure(file: ItemFile) -> list[Item]:
    """Return the items of which the primary picture consists: itself, its alpha and their tiles, and no more.

    Raises ImageError where one is missing or has a property without which it must not be shown.
    """
    wanted = [target for head in _heads(file) for target in (head, *_tiles(file, head))]
    if any(one not in file.items for one in wanted):
        raise ImageError(Reason.DAMAGED, "The file is damaged: a part of the picture is missing")
    unique = dict.fromkeys(wanted)
    return [_linked(image_properties(file.items[one]), unique.keys()) for one in unique]


def _heads(file: ItemFile) -> list[int]:
    """Return the primary picture and its alpha."""
    return [file.primary, *(number for number in file.items if _is_alpha(file, number))]


def _is_alpha(file: ItemFile, number: int) -> bool:
    item = file.items[number]
    return file.primary in item.targets(b"auxl") and (item.first(b"auxC") or b"")[4:].startswith(_ALPHA)


def _tiles(file: ItemFile, number: int) -> tuple[int, ...]:
    item = file.items.get(number)
    return item.targets(b"dimg") if item and item.kind == b"grid" else ()


def _others(file: ItemFile) -> list[int]:
    """Return the pictures that a viewer may show besides the primary one, and that are no other view of the same scene.

    Such a view goes, as the second picture of a JPEG does: a viewer that knows nothing of pairs shows the primary one.
    """
    parts = {target for item in file.items.values() for target in item.targets(b"dimg")}
    beside = {item.id for item in file.items.values() if item.targets(b"thmb") or item.targets(b"auxl")}
    seen = (item.id for item in file.items.values() if item.kind in _PICTURES and not item.hidden)
    return [number for number in seen if number not in parts | beside | file.views | {file.primary}]


def _linked(item: Item, kept: Container[int]) -> Item:
    """Return the item with references to items that are kept only."""
    links = ((kind, tuple(one for one in ids if one in kept)) for kind, ids in item.references if kind in _LINKS)
    return replace(item, references=tuple((kind, ids) for kind, ids in links if ids))


def _without(item: Item, kinds: frozenset[bytes]) -> Item:
    return replace(item, properties=tuple(one for one in item.properties if one.kind not in kinds))
