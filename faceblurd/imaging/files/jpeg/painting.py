"""From coefficients to redacted coefficients: lay blocks out as planes, hide regions there, and quantise them again.

Each component is redacted as it is stored, with the file's own quantisation: no colour conversion, no resampling.
Blocks that no region meets keep their coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceblurd.imaging import geometry
from faceblurd.imaging.files.jpeg.areas import (
    BLOCK,
    Area,
    clusters,
    in_plane,
    touched,
    widened,
)
from faceblurd.imaging.files.jpeg.laying import lay_over
from faceblurd.imaging.files.jpeg.planes import grid, quantised, samples
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.imaging.redact.soft import Channels, Ellipse
from faceblurd.model import BlurMethod

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.jpeg.layout import Layout, Plane
    from faceblurd.model import BlurSpec, Region


@dataclass(frozen=True, slots=True)
class Blocks:
    """What was read: coefficients by (MCU, block, zigzag), and the place of each MCU of the picture among them."""

    coefficients: npt.NDArray[np.int16]
    place: npt.NDArray[np.int32]


CHROMA: Final = MappingProxyType({1: 0.5 / (1 - 0.114), 2: 0.5 / (1 - 0.299)})
"""The scale of Cb and Cr in JFIF: of blue and of red less the brightness."""


@dataclass(frozen=True, slots=True)
class Paint:
    """How to hide. `chroma`: the components that are differences of a colour from the brightness, and their scale."""

    blur: BlurSpec
    orientation: int
    chroma: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class _Patch:
    """The MCUs around some regions: their area, which of them count (indices), and where these lie in `Blocks`."""

    area: Area
    where: tuple[npt.NDArray[Any], ...]
    slots: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Sheet:
    """One component of the MCUs around some regions: whole MCUs of samples, how many of them are the picture's."""

    plane: Plane
    pixels: npt.NDArray[np.uint8]
    width: int
    height: int
    regions: tuple[Region, ...]
    blocks: slice

    def visible(self) -> npt.NDArray[np.uint8]:
        """Return the samples that belong to the picture."""
        return self.pixels[: self.height, : self.width]


def repaint(blocks: Blocks, layout: Layout, regions: Sequence[Region], paint: Paint) -> None:
    """Hide stored regions in the coefficients, in place."""
    if paint.blur.method is BlurMethod.SOFT:  # the same whichever way up
        size = layout.width, layout.height
        ellipses = [Ellipse.of(region, size, paint.blur.margin) for region in regions]
        lay_over(blocks, layout, ellipses, paint.blur.levels, paint.chroma)
        return
    areas = [touched(region, layout) for region in regions]
    for around, members in clusters(areas):
        box = widened(around, layout)
        mask = np.zeros((box.bottom - box.top, box.right - box.left), np.bool_)
        for area in (areas[member] for member in members):
            mask[area.top - box.top : area.bottom - box.top, area.left - box.left : area.right - box.left] = True
        where = mask.nonzero()
        patch = _Patch(box, where, blocks.place[box.top : box.bottom, box.left : box.right][where])
        _repaint_patch(blocks.coefficients, layout, [regions[member] for member in members], patch, paint)


def _repaint_patch(
    coefficients: npt.NDArray[np.int16], layout: Layout, regions: Sequence[Region], patch: _Patch, paint: Paint
) -> None:
    sheets: list[_Sheet] = []
    for plane in layout.planes:
        after = sheets[-1].blocks.stop if sheets else 0
        sheet = _empty_sheet(plane, layout, regions, patch.area, after=after)
        read = samples(coefficients[patch.slots, sheet.blocks].reshape(-1, BLOCK * BLOCK), plane.steps)
        cells = grid(sheet.pixels, plane.horizontal, plane.vertical)
        cells[patch.where] = read.reshape(-1, plane.vertical, plane.horizontal, BLOCK, BLOCK)
        sheets.append(sheet)
    _redact(sheets, layout, paint)
    for sheet in sheets:
        _write_back(sheet, coefficients, patch)


def _empty_sheet(
    plane: Plane, layout: Layout, regions: Sequence[Region], box: Area, *, after: int
) -> _Sheet:  # fmt: skip
    side_x, side_y = BLOCK * plane.horizontal, BLOCK * plane.vertical
    left, top = box.left * side_x, box.top * side_y
    pixels = np.zeros(((box.bottom - box.top) * side_y, (box.right - box.left) * side_x), np.uint8)
    mapped = (in_plane(region, plane, layout) for region in regions)
    local = tuple(replace(region, x=region.x - left, y=region.y - top) for region in mapped)
    width, height = min(plane.width - left, pixels.shape[1]), min(plane.height - top, pixels.shape[0])
    blocks = slice(after, after + plane.horizontal * plane.vertical)
    return _Sheet(plane, pixels, width, height, local, blocks)


def _redact(sheets: list[_Sheet], layout: Layout, paint: Paint) -> None:
    """Redact component by component; those that are colours themselves (RGB, CMYK) together: gray stays gray."""
    alike = len({(sheet.plane.horizontal, sheet.plane.vertical) for sheet in sheets}) == 1
    if len(sheets) > 1 and alike and not paint.chroma:
        stacked = np.stack([sheet.visible() for sheet in sheets], axis=2)
        _redact_pixels(stacked, sheets[0], layout, paint, Channels(inks=True))
        for channel, sheet in enumerate(sheets):
            sheet.visible()[...] = stacked[:, :, channel]
        return
    for component, sheet in enumerate(sheets):
        _redact_pixels(sheet.visible(), sheet, layout, paint, Channels(paint.chroma.get(component)))


def _redact_pixels(
    pixels: npt.NDArray[np.uint8], sheet: _Sheet, layout: Layout, paint: Paint, channels: Channels
) -> None:
    upright = [
        geometry.to_upright(region, orientation=paint.orientation, width=sheet.width, height=sheet.height)
        for region in sheet.regions
    ]
    blur = _in_samples(paint.blur, sheet.plane, layout)
    redact(geometry.upright_view(pixels, paint.orientation), upright, blur, channels)


def _in_samples(blur: BlurSpec, plane: Plane, layout: Layout) -> BlurSpec:
    """Scale the lengths of a blur to a component, by the side that was sampled less: nowhere a smaller window."""
    by = BLOCK * max(plane.horizontal / layout.mcu_width, plane.vertical / layout.mcu_height)
    stride = None if blur.stride_px is None else math.ceil(blur.stride_px * by)
    return replace(blur, pool_size_px=math.ceil(blur.pool_size_px * by), stride_px=stride)


def _write_back(sheet: _Sheet, coefficients: npt.NDArray[np.int16], patch: _Patch) -> None:
    """Quantise the blocks that a region meets; what lies beyond the picture's edge repeats it, as encoders do."""
    pixels, plane = sheet.pixels, sheet.plane
    pixels[sheet.height :] = pixels[sheet.height - 1]
    pixels[:, sheet.width :] = pixels[:, sheet.width - 1 : sheet.width]
    chosen = _met(sheet)[patch.where].reshape(len(patch.slots), -1)
    cells = grid(pixels, plane.horizontal, plane.vertical)[patch.where].reshape(len(patch.slots), -1, BLOCK, BLOCK)
    part = coefficients[patch.slots, sheet.blocks]
    part[chosen] = quantised(cells[chosen], plane.steps)
    coefficients[patch.slots, sheet.blocks] = part


def _met(sheet: _Sheet) -> npt.NDArray[np.bool_]:
    """Say by (MCU row, MCU column, block row, block column) which blocks a region meets, or nobody sees.

    The unseen ones at the picture's edge may repeat what they are next to.
    """
    rows, columns = sheet.pixels.shape[0] // BLOCK, sheet.pixels.shape[1] // BLOCK
    met = np.zeros((rows, columns), np.bool_)
    met[math.ceil(sheet.height / BLOCK) :] = True
    met[:, math.ceil(sheet.width / BLOCK) :] = True
    for region in sheet.regions:
        right, bottom = math.ceil((region.x + region.width) / BLOCK), math.ceil((region.y + region.height) / BLOCK)
        met[region.y // BLOCK : bottom, region.x // BLOCK : right] = True
    plane = sheet.plane
    return met.reshape(rows // plane.vertical, plane.vertical, -1, plane.horizontal).transpose(0, 2, 1, 3)
