"""Lay soft ellipses over the blocks of a JPEG: `soft.lay` for coefficients.

Owns which components are filled together, and by whom: the compiled code (`laying_native`), or numpy where that is not
to be had (`laying_fallback`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from faceblurd.imaging.files.jpeg import laying_fallback, laying_native
from faceblurd.imaging.files.jpeg.covers import TOP, Covers, Surface
from faceblurd.imaging.files.jpeg.native import available
from faceblurd.imaging.files.jpeg.sheets import sheets
from faceblurd.imaging.redact.soft import Channels, fill_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from faceblurd.imaging.files.jpeg.layout import Layout
    from faceblurd.imaging.files.jpeg.painting import Blocks
    from faceblurd.imaging.redact.soft import Ellipse


def lay_over(
    blocks: Blocks, layout: Layout, ellipses: Sequence[Ellipse], levels: int | None, chroma: Mapping[int, float]
) -> None:
    """Lay ellipses of the picture over its components, in place, the largest on top; `chroma`: see `Paint`.

    Components that are colours themselves (RGB, CMYK) are filled together: gray stays gray. Otherwise, shades belong to
    the first alone, the brightness. Where components are colours of different sizes, nobody has them all.
    """
    quarters, paint = (
        (laying_native.quarters, laying_native.paint)
        if available() is None
        else (laying_fallback.quarters, laying_fallback.paint)
    )
    order = sorted(ellipses, key=lambda one: one.area)
    each = list(sheets(blocks, layout))
    alike = len({(sheet.plane.horizontal, sheet.plane.vertical) for sheet in each}) == 1
    together = len(each) > 1 and alike and not chroma
    for number, group in enumerate([each] if together else [[sheet] for sheet in each]):
        covers = Covers.of(order, group[0].plane, layout)
        if not len(covers.whole):
            continue
        shaded = together or (not number and (chroma or len(each) == 1))
        channels = Channels(inks=True) if together else Channels(chroma.get(number))
        means = np.stack([quarters(sheet, covers) for sheet in group], axis=-1)
        fill = fill_of(means, covers.flat | (not shaded), levels, channels, top=TOP)
        for channel, sheet in enumerate(group):
            paint(sheet, covers, Surface.of(fill, channel))
