"""Colours of which a file has a few only: which one is nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def rgba(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Turn BGR or BGRA pixels into RGBA."""
    if pixels.shape[2] == 4:  # noqa: PLR2004 - with opacity
        return pixels[:, :, [2, 1, 0, 3]]
    opaque = np.full((*pixels.shape[:2], 4), 255, np.uint8)
    opaque[:, :, :3] = pixels[:, :, ::-1]
    return opaque


def nearest(colours: npt.NDArray[np.uint8], table: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the index of the closest entry of a table (Nx4, RGBA, at most 256) for each colour (Mx4), flat.

    Pixels (HxWx3, BGR) may be given as well.
    """
    four = rgba(colours) if colours.ndim == 3 else colours  # noqa: PLR2004 - rows, columns, channels
    distinct, where = np.unique(np.ascontiguousarray(four).view(np.uint32).reshape(-1), return_inverse=True)
    want = distinct.view(np.uint8).reshape(-1, 1, 4).astype(np.int32)
    closest = ((want - table[None].astype(np.int32)) ** 2).sum(axis=2).argmin(axis=1).astype(np.uint8)
    found: npt.NDArray[np.uint8] = closest[where.reshape(-1)]
    return found
