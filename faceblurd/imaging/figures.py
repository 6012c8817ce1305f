"""Pictures for people: a tile for each hidden region of a run, the steps of the method, recipes compared.

Opens finished results, and sources only if asked to. A tile shows the redacted box with some of its surroundings.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

from faceblurd.errors import FaceblurdError
from faceblurd.imaging.files import open_image
from faceblurd.imaging.geometry import to_upright

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.picture import Picture
    from faceblurd.model import Region


TILE_PX, CAPTION_PX, MOST_TILES = 160, 16, 600
_PAPER, _INK = (255, 255, 255), (60, 60, 60)
_WIDEST_PX = 1600  # a figure needs no more
_INCH = 4.2
_LABEL = {"facecolor": "#e4572e", "linewidth": 0, "pad": 1}


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
    result = _opened(file.output)
    size = {"orientation": result.orientation, "width": result.width, "height": result.height}
    pictures = [result] if file.source is None else [_opened(file.source), result]
    pages = [Image.fromarray(np.ascontiguousarray(one.preview(None)[:, :, ::-1])) for one in pictures]
    return [_tile(pages, to_upright(region, **size), file.output) for region in file.regions]


def _opened(path: str) -> Picture:
    with open(path, "rb") as file:
        return open_image(file.read(), max_pixels=10**9)


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


@dataclass(frozen=True, slots=True)
class Look:
    """What one recipe made of a photo: upright BGR pixels before and after, and the regions in them."""

    recipe: str
    before: npt.NDArray[np.uint8]
    after: npt.NDArray[np.uint8]
    regions: tuple[Region, ...]
    milliseconds: int


def draw_steps(look: Look, path: str) -> None:
    """Draw photo, grayscale, detections, one face before and after, and the result into an image file.

    Raises FaceblurdError when matplotlib is missing or `path` cannot be written.
    """
    before, after = _shown(look.before), _shown(look.after)
    gray = cv2.cvtColor(before, cv2.COLOR_RGB2GRAY)
    face, hidden = _largest_face(look)
    count = f"{len(look.regions)} region{'' if len(look.regions) == 1 else 's'}"
    panels: list[tuple[str, Any, bool]] = [
        ("1 photo", before, False), ("2 grayscale", gray, False), (f"3 detections: {count}", before, True),
        ("4 one face before", face, False), ("5 the same after", hidden, False),
        (f"6 result ({look.milliseconds} ms)", after, False),
    ]  # fmt: skip
    figure, axes = _new_figure(2, 3)
    for axis, (title, picture, boxes) in zip(axes.flat, panels, strict=True):
        _panel(axis, title, picture)
        if boxes:
            _boxes(axis, look)
    _save(figure, path, f"recipe {look.recipe}")


def draw_comparison(looks: Sequence[Look], path: str) -> None:
    """Draw detections and result of several recipes, a row each. Raises FaceblurdError as `draw_steps` does."""
    figure, axes = _new_figure(len(looks), 2)
    for row, look in zip(axes, looks, strict=True):
        _panel(row[0], f"{look.recipe}: {len(look.regions)} regions", _shown(look.before))
        _boxes(row[0], look)
        _panel(row[1], f"{look.recipe}: result ({look.milliseconds} ms)", _shown(look.after))
    _save(figure, path, "recipes compared")


def _new_figure(rows: int, columns: int) -> tuple[Any, Any]:
    if importlib.util.find_spec("matplotlib") is None:
        raise FaceblurdError("figures need matplotlib", remedy="pip install 'faceblurd[preview]'")
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(_INCH * columns, _INCH * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure: Any, path: str, title: str) -> None:  # noqa: ANN401 - matplotlib is optional
    figure.suptitle(title)
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise FaceblurdError(
            f"{path} cannot be written: {error}", remedy="Name a .png in a folder that exists"
        ) from error


def _panel(axis: Any, title: str, picture: npt.NDArray[Any] | None) -> None:  # noqa: ANN401 - matplotlib is optional
    axis.set_title(title, fontsize=10)
    axis.set_axis_off()
    if picture is None:
        axis.text(0.5, 0.5, "no face", ha="center", va="center")
    else:
        axis.imshow(picture, cmap="gray" if picture.ndim == 2 else None)  # noqa: PLR2004 - rows and columns


def _boxes(axis: Any, look: Look) -> None:  # noqa: ANN401 - matplotlib is optional
    from matplotlib.patches import Rectangle  # noqa: PLC0415 - an extra

    scale = _scale(look.before)
    for region in look.regions:
        x, y, width, height = (value * scale for value in (region.x, region.y, region.width, region.height))
        axis.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor="#e4572e", linewidth=1.5))
        axis.text(x, y, f"{region.score:.2f} {region.found_by}", fontsize=6, color="white", bbox=_LABEL)


def _largest_face(look: Look) -> tuple[npt.NDArray[Any] | None, npt.NDArray[Any] | None]:
    if not look.regions:
        return None, None
    region = max(look.regions, key=lambda one: one.width * one.height)
    add = max(region.width, region.height) // 4
    rows = slice(max(0, region.y - add), region.y + region.height + add)
    columns = slice(max(0, region.x - add), region.x + region.width + add)
    return _shown(look.before[rows, columns]), _shown(look.after[rows, columns])


def _scale(picture: npt.NDArray[Any]) -> float:
    return min(1.0, _WIDEST_PX / max(int(side) for side in picture.shape[:2]))


def _shown(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give RGB, no larger than a figure needs."""
    scale = _scale(picture)
    small = picture if scale == 1 else cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small[:, :, ::-1])
