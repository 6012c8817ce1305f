"""The contact sheet: one page with a tile for each hidden region of a run, to see at a glance what was hidden.

Opens finished results, and sources only where it is told to. Tiles show the redacted box with some of its surroundings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from faceblurd.errors import FaceblurdError
from faceblurd.imaging.formats import open_image
from faceblurd.imaging.geometry import to_upright

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faceblurd.model import Region

TILE_PX, CAPTION_PX, MOST_TILES = 160, 16, 600
_PAPER, _INK = (255, 255, 255), (60, 60, 60)


@dataclass(frozen=True, slots=True)
class Shown:
    """One finished file: its result, its source (None: do not show the original), and its regions as stored."""

    output: str
    source: str | None
    regions: tuple[Region, ...]


def draw_sheet(files: Iterable[Shown], path: str) -> int:
    """Draw the page into `path` and return the number of tiles; FaceblurdError when it cannot be written."""
    tiles = [tile for file in files for tile in _tiles(file)][:MOST_TILES]
    if not tiles:
        return 0
    width, height = max(tile.width for tile in tiles), TILE_PX + CAPTION_PX
    columns = max(1, min(len(tiles), math.ceil(math.sqrt(len(tiles) * height / width))))
    page = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height), _PAPER)
    for number, tile in enumerate(tiles):
        page.paste(tile, (number % columns * width, number // columns * height))
    try:
        page.save(path)
    except (OSError, ValueError) as error:
        raise FaceblurdError(
            f"{path} cannot be written: {error}", remedy="Name a .png in a folder that exists"
        ) from error
    return len(tiles)


def _tiles(file: Shown) -> list[Image.Image]:
    pages = [_upright(name) for name in (file.source, file.output) if name is not None]
    return [_tile(pages, region, file.output) for region in _upright_regions(file)]


def _upright(path: str) -> Image.Image:
    with open(path, "rb") as file:
        picture = open_image(file.read(), max_pixels=10**9)
    return Image.fromarray(np.ascontiguousarray(picture.preview(None)[:, :, ::-1]))


def _upright_regions(file: Shown) -> list[Region]:
    with open(file.output, "rb") as output:
        picture = open_image(output.read(), max_pixels=10**9)
    return [
        to_upright(region, orientation=picture.orientation, width=picture.width, height=picture.height)
        for region in file.regions
    ]


def _tile(pages: list[Image.Image], region: Region, output: str) -> Image.Image:
    add = max(region.width, region.height) // 3
    box = (region.x - add, region.y - add, region.x + region.width + add, region.y + region.height + add)
    tile = Image.new("RGB", (TILE_PX * len(pages), TILE_PX + CAPTION_PX), _PAPER)
    for number, page in enumerate(pages):
        crop = page.crop(box)
        crop.thumbnail((TILE_PX - 4, TILE_PX - 4))
        tile.paste(crop, (number * TILE_PX + (TILE_PX - crop.width) // 2, (TILE_PX - crop.height) // 2))
    name = output.rpartition("/")[2].encode("ascii", "replace").decode()
    ImageDraw.Draw(tile).text((4, TILE_PX), f"{name[-20:]} {region.score:.2f}", fill=_INK)
    return tile
