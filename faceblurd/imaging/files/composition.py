"""Lay the frames of an animation over each other, by the rules that GIF89a and the PNG specification state.

A decoder of whole animations is not used: Pillow 13 fills with background colours that no browser shows, takes a gray
palette of one frame for the one of all, and forgets what APNG's `previous` restores. It decodes single layers here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt


class Disposal(Enum):
    """What becomes of a layer's area before the next one is drawn."""

    KEEP = auto()
    CLEAR = auto()
    RESTORE = auto()


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoded picture, BGRA. `replaces`: its transparency counts, too; `alone`: it is no part of the animation."""

    pixels: npt.NDArray[np.uint8]
    left: int = 0
    top: int = 0
    disposal: Disposal = Disposal.KEEP
    replaces: bool = False
    alone: bool = False


class Canvas:
    """Composes frames in their order; to go back is to start over."""

    def __init__(self, width: int, height: int, layer: Callable[[int], Layer]) -> None:
        self._shape, self._layer = (height, width, 4), layer
        self._start_over()

    def _start_over(self) -> None:
        self._at = -1
        self._shown = self._next = np.zeros(self._shape, np.uint8)

    def composed(self, frame: int) -> npt.NDArray[np.uint8]:
        """Return a frame as it looks, BGRA; what is fully transparent has no colour. Raises ImageError."""
        if frame < self._at:
            self._start_over()
        while self._at < frame:
            self._draw(self._layer(self._at + 1))
            self._at += 1
        return self._shown

    def _draw(self, layer: Layer) -> None:
        """Draw a layer; keep what the next one is drawn on."""
        height, width = layer.pixels.shape[:2]
        area = np.s_[layer.top : layer.top + height, layer.left : layer.left + width]
        before = self._next
        self._shown = before.copy()
        fresh = layer.pixels if layer.replaces else laid_over(layer.pixels, before[area])
        self._shown[area] = np.where(fresh[:, :, 3:] > 0, fresh, 0)
        if layer.alone or layer.disposal is Disposal.RESTORE:
            return
        self._next = self._shown
        if layer.disposal is Disposal.CLEAR:
            self._next = self._shown.copy()
            self._next[area] = 0


def laid_over(above: npt.NDArray[np.uint8], below: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Blend BGRA over BGRA of the same size, colours not multiplied by the opacity."""
    out = np.where(above[:, :, 3:] > 0, above, below)
    mixed = (above[:, :, 3] > 0) & (above[:, :, 3] < 255) & (below[:, :, 3] > 0)  # noqa: PLR2004 - opaque
    if mixed.any():
        one, other = above[mixed].astype(np.uint32), below[mixed].astype(np.uint32)
        weight, rest = one[:, 3:] * 255, other[:, 3:] * (255 - one[:, 3:])
        total = weight + rest
        out[mixed, :3] = (one[:, :3] * weight + other[:, :3] * rest + total // 2) // total
        out[mixed, 3] = ((total + 127) // 255)[:, 0]
    return out
