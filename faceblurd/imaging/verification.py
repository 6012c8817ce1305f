"""Look at a result as a stranger would, before it is published: the last of the checks that keep faces in.

Opens the encoded bytes anew and trusts nothing that the encoder said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from faceblurd.errors import ImageError
from faceblurd.imaging.formats import open_image
from faceblurd.imaging.geometry import upright_view
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.formats import Encoded, Picture
    from faceblurd.model import Region

_REGION_TOLERANCE = 16.0  # levels, mean over a region: what the coarsest quantisation tables do to a smooth area
_PICTURE_TOLERANCE = 16.0


def verify(
    result: Encoded,
    *,
    picture: Picture,
    regions: Sequence[Region],
    max_pixels: int,
    intended: npt.NDArray[Any] | None = None,
) -> None:
    """Check a redacted file: what it decodes to is what was intended, in the regions above all.

    `regions` are upright; `intended` stands in for `result.intended`. Raises ImageError NOT_VERIFIED.
    """
    again = _reopened(result.data, picture, max_pixels)
    frames = result.intended or ()
    wanted = frames if intended is None else (intended,)
    if result.intended is None and intended is None:  # a splice makes no pixels: compare what decodes outside
        _verify_outside(again, picture, regions)
        return
    if len(wanted) != again.frames:
        raise _refused(f"{again.frames} frames instead of {len(wanted)}")
    for frame, array in enumerate(wanted):
        _verify_frame(again, frame, array, [r for r in regions if r.frame == frame], lossless=result.lossless)


def _verify_frame(
    again: Picture, frame: int, intended: npt.NDArray[Any], regions: Iterable[Region], *, lossless: bool
) -> None:
    """Compare one frame with what it was meant to be."""
    try:
        pixels = again.pixels(frame)
    except ImageError as error:
        raise _refused(error.message) from error
    if pixels.shape != intended.shape or pixels.dtype != intended.dtype:
        raise _refused(f"{pixels.dtype} pixels of {pixels.shape} instead of {intended.dtype} of {intended.shape}")
    if lossless:
        if not np.array_equal(pixels, intended):
            raise _refused("The pixels are not the ones that were written")
        return
    orientation = again.size_of(frame)[2]
    _compare(upright_view(pixels, orientation), upright_view(intended, orientation), regions)


def _verify_outside(again: Picture, picture: Picture, regions: Iterable[Region]) -> None:
    """Refuse a picture that differs from the one it was made of outside of the regions."""
    try:
        differs = again.pixels() != picture.pixels()
    except ImageError as error:
        raise _refused(error.message) from error
    view = upright_view(differs, picture.orientation)
    for region in regions:
        view[region.y : region.y + region.height, region.x : region.x + region.width] = False
    if differs.any():
        raise _refused("Pixels outside of the regions changed")


def verify_clean(data: bytes, *, picture: Picture, max_pixels: int) -> None:
    """Check a scrubbed copy, whose pixels were not touched: it opens and decodes. Raises ImageError NOT_VERIFIED."""
    again = _reopened(data, picture, max_pixels)
    try:
        again.preview(320)
    except ImageError as error:
        raise _refused(error.message) from error


def _reopened(data: bytes, picture: Picture, max_pixels: int) -> Picture:
    """Open the result; refuse another format, size or orientation, and embedded pictures."""
    try:
        again = open_image(data, max_pixels=max_pixels)
    except ImageError as error:
        raise _refused(error.message) from error
    facts = [(p.format, p.width, p.height, p.orientation, p.frames) for p in (picture, again)]
    if facts[0] != facts[1]:
        raise _refused(f"{facts[0]} became {facts[1]}")
    if left := again.embedded():
        raise _refused(f"Embedded pictures are left in {', '.join(left)}")
    return again


def _compare(pixels: npt.NDArray[Any], intended: npt.NDArray[Any], regions: Iterable[Region]) -> None:
    """Allow what a lossy codec does, region by region and over all."""
    if _distance(pixels, intended) > _PICTURE_TOLERANCE:
        raise _refused("The picture is not the one that was written")
    for region in regions:
        box = np.s_[region.y : region.y + region.height, region.x : region.x + region.width]
        if _distance(pixels[box], intended[box]) > _REGION_TOLERANCE:
            raise _refused(f"The region at {region.x}, {region.y} is not as it was redacted")


def _distance(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """Return the mean absolute difference."""
    return float(cv2.norm(np.ascontiguousarray(left), np.ascontiguousarray(right), cv2.NORM_L1)) / max(left.size, 1)


def _refused(message: str) -> ImageError:
    """Return the error of this module."""
    return ImageError(Reason.NOT_VERIFIED, f"The result was refused: {message}")
