"""The properties of AVIF and HEIF pictures that decide how they look: size, turns, colours."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from faceblurd.errors import ImageError
from faceblurd.imaging.files.heif.boxes import Fields, damaged
from faceblurd.imaging.geometry import upright_view
from faceblurd.imaging.metadata import contains_picture
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceblurd.imaging.files.heif.items import Item, Property

_CODING = frozenset({b"av1C", b"hvcC", b"ispe", b"pixi", b"auxC", b"a1op", b"a1lx", b"lsel"})
_LIGHT = frozenset({b"pasp", b"clli", b"mdcv", b"cclv", b"amve", b"ndwt"})
_TURNS = frozenset({b"irot", b"imir"})
_ONCE = (b"ispe", b"av1C", b"hvcC", b"auxC", b"clap", b"irot", b"imir")
_ALL = _CODING | _LIGHT | _TURNS | {b"colr", b"clap"}
_PADDING_PX = 64  # encoders pad to blocks of at most that size, and have the rest cropped
_UNSPECIFIED = b"\0\2\0\2"

Size = tuple[int, int]


def image_properties(item: Item) -> Item:
    """Return a picture with its known properties only.

    Raises ImageError: UNSUPPORTED for another essential one, DAMAGED where it is not clear which one counts.
    """
    for one in item.properties:
        if one.essential and one.kind not in _ALL:
            name = one.kind.decode("latin-1")
            raise ImageError(Reason.UNSUPPORTED, f"Pictures with the property {name} are not supported")
    kinds = [one.kind for one in item.properties]
    if twice := [kind for kind in _ONCE if kinds.count(kind) > 1]:
        raise damaged(f"a picture has the property {twice[0].decode()} twice")
    known = tuple(one for one in item.properties if one.kind in _ALL and not _hides_a_picture(one))
    return replace(item, properties=known)


def _hides_a_picture(one: Property) -> bool:
    return one.kind == b"colr" and contains_picture(one.body)


def shown_size(item: Item) -> tuple[Size, Size]:
    """Return the size of the coded picture, and of what is shown of it. Raises ImageError."""
    body = item.first(b"ispe")
    if body is None:
        raise damaged("its picture has no size")
    fields = Fields(body, 4, len(body))
    coded = fields.number(4), fields.number(4)
    crop = item.first(b"clap")
    return coded, coded if crop is None else _cropped(crop, coded)


def _cropped(clap: bytes, coded: Size) -> Size:
    """Return the visible size of a padded picture. One that hides more than padding is refused: it is not searched."""
    fields = Fields(clap, 0, len(clap))
    sizes = [(fields.number(4), fields.number(4)) for _ in range(2)]
    offsets = [(fields.signed(), fields.number(4)) for _ in range(2)]
    for (size, by), (offset, offset_by), whole in zip(sizes, offsets, coded, strict=True):
        hidden = whole * by - size
        if not by or not 0 <= hidden < _PADDING_PX * by or 2 * offset * by != -hidden * offset_by or size % by:
            raise ImageError(Reason.UNSUPPORTED, "Pictures that hide a part of themselves are not supported")
    return sizes[0][0] // sizes[0][1], sizes[1][0] // sizes[1][1]


def orientation_in(item: Item) -> int:
    """Return the turns and mirrors as an EXIF orientation, 1 to 8. EXIF itself has no say in these formats."""
    stored = np.arange(6).reshape(2, 3)
    seen = stored
    for one in item.properties:
        number = one.body[0] if one.body else 0
        if one.kind == b"irot":
            seen = np.rot90(seen, number & 3)
        elif one.kind == b"imir":
            seen = np.flip(seen, number & 1)
    return next(turn for turn in range(1, 9) if np.array_equal(upright_view(stored, turn), seen))


def dressed(item: Item, *, like: Sequence[Item], alpha: bool, whole: bool) -> Item:
    """Return a freshly coded picture that looks like the one that it replaces: its colours, and its turns if `whole`.

    `like`: the old pictures, the primary one first; `alpha`: it has no colours; `whole`: it is no tile.
    """
    old = next((one for one in like if alpha and one.first(b"auxC")), like[0])
    turns = [one for one in old.properties if whole and one.kind in _TURNS]
    if alpha:
        return replace(item, properties=(*item.properties, *turns))
    light = [one for one in old.properties if whole and one.kind in _LIGHT]
    rest = [one for one in item.properties if one.kind != b"colr" and one.kind not in _LIGHT]
    return replace(item, properties=(*rest, *_colours(item, like), *light, *turns))


def _colours(fresh: Item, like: Sequence[Item]) -> list[Property]:
    """Return the old profiles, and how the new encoder converted RGB."""
    old = [one for item in like if not item.first(b"auxC") for one in item.properties if one.kind == b"colr"]
    profiles = [one for one in old if one.body[:4] in {b"prof", b"rICC"}][:1]
    codes = next((one.body[4:8] for one in old if one.body[:4] == b"nclx"), _UNSPECIFIED if profiles else None)
    made = [one for one in fresh.properties if one.kind == b"colr" and one.body[:4] == b"nclx"][:1]
    kept = [one._replace(body=one.body[:4] + (codes or one.body[4:8]) + one.body[8:]) for one in made]
    return [*profiles, *kept]
