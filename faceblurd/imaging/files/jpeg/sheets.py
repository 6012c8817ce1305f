"""The blocks of one component among the coefficients that were read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from faceblurd.imaging.files.jpeg.areas import BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from faceblurd.imaging.files.jpeg.covers import Ints
    from faceblurd.imaging.files.jpeg.layout import Layout, Plane
    from faceblurd.imaging.files.jpeg.painting import Blocks


@dataclass(frozen=True, slots=True)
class Sheet:
    """Where each block of one component stands."""

    coefficients: npt.NDArray[np.int16]
    slots: npt.NDArray[np.int32]  # by row and column of MCUs
    first: int
    plane: Plane

    @property
    def seen(self) -> tuple[int, int]:
        """Rows and columns of blocks of which anything belongs to the picture."""
        return -(-self.plane.height // BLOCK), -(-self.plane.width // BLOCK)

    @property
    def whole(self) -> tuple[int, int]:
        """Rows and columns of blocks, with those that only fill up the last MCUs."""
        return self.slots.shape[0] * self.plane.vertical, self.slots.shape[1] * self.plane.horizontal

    def places(self, rows: Ints, columns: Ints) -> tuple[Ints, Ints]:
        """Return the indices of blocks in the coefficients."""
        plane = self.plane
        slots = self.slots[rows // plane.vertical, columns // plane.horizontal].astype(np.intp)
        return slots, self.first + rows % plane.vertical * plane.horizontal + columns % plane.horizontal


def sheets(blocks: Blocks, layout: Layout) -> Iterator[Sheet]:
    """Give the components one after the other."""
    first = 0
    for plane in layout.planes:
        yield Sheet(blocks.coefficients, blocks.place, first, plane)
        first += plane.horizontal * plane.vertical
