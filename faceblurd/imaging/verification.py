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
from faceblurd.imaging.remains import shown
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.formats import Encoded, Picture
    from faceblurd.model import BlurSpec, Region

_REGION_TOLERANCE = 16.0  # levels, mean over a region: what the coarsest quantisation tables do to a smooth area
_PICTURE_TOLERANCE = 16.0
_STRIP_ROWS = 256  # compared at a time: differences of a whole picture would take as much memory as its pixels


def verify(
    result: Encoded,
    *,
    picture: Picture,
    regions: Sequence[Region],
    blur: BlurSpec,
    max_pixels: int,
) -> Picture:
    """Check a redacted file, made of `picture`, and return it as opened anew.

    `regions`: the upright boxes that were to be hidden. What the file decodes to is what was intended; outside of the
    regions, a lossless result has no other pixel; inside, no detail is left, unless the blur is weak by the user's own
    wish. Raises ImageError NOT_VERIFIED.
    """
    again = reopened(result.data, picture, max_pixels)
    if result.intended is not None and len(result.intended) != again.frames:
        raise refused(f"{again.frames} frames instead of {len(result.intended)}")
    reported = regions if result.regions is None else result.regions
    for frame in range(again.frames):
        before, after, orientation = _pixels(picture, frame), _pixels(again, frame), picture.size_of(frame)[2]
        changed = [region for region in reported if region.frame == frame]
        if result.intended is not None:
            _compare(after, result.intended[frame], changed, orientation=orientation, lossless=result.lossless)
        if result.lossless:
            _compare_outside(before, after, changed, orientation)
        if not blur.allow_weak:
            asked = [region for region in regions if region.frame == frame]
            _look_inside(before, after, asked, blur, orientation)
    return again


def _pixels(picture: Picture, frame: int) -> npt.NDArray[Any]:
    try:
        return picture.pixels(frame)
    except ImageError as error:
        raise refused(error.message) from error


def _compare(
    pixels: npt.NDArray[Any], intended: npt.NDArray[Any], regions: Iterable[Region], *, orientation: int, lossless: bool
) -> None:
    """Compare one frame with what was meant; allow what a lossy codec does, region by region and over all."""
    if pixels.shape != intended.shape or pixels.dtype != intended.dtype:
        raise refused(f"{pixels.dtype} pixels of {pixels.shape} instead of {intended.dtype} of {intended.shape}")
    if lossless:
        if not np.array_equal(pixels, intended):
            raise refused("The pixels are not the ones that were written")
        return
    if _distance(pixels, intended) > _PICTURE_TOLERANCE:
        raise refused("The picture is not the one that was written")
    one, other = upright_view(pixels, orientation), upright_view(intended, orientation)
    for region in regions:
        box = np.s_[region.y : region.y + region.height, region.x : region.x + region.width]
        if _distance(one[box], other[box]) > _REGION_TOLERANCE:
            raise refused(f"The region at {region.x}, {region.y} is not as it was redacted")


def _compare_outside(
    before: npt.NDArray[Any], after: npt.NDArray[Any], regions: Iterable[Region], orientation: int
) -> None:
    """Refuse a picture that differs from the one it was made of outside of the regions, strip by strip."""
    if before.shape != after.shape or before.dtype != after.dtype:
        raise refused(f"{after.dtype} pixels of {after.shape} instead of {before.dtype} of {before.shape}")
    height, width = before.shape[:2]
    inside = np.zeros((height, width), np.bool_)
    view = upright_view(inside, orientation)
    for region in regions:
        view[region.y : region.y + region.height, region.x : region.x + region.width] = True
    for top in range(0, height, _STRIP_ROWS):
        strip = slice(top, top + _STRIP_ROWS)
        if np.array_equal(before[strip], after[strip]):
            continue
        differs = (before[strip] != after[strip]).reshape(*inside[strip].shape, -1).any(axis=2)
        if (differs & ~inside[strip]).any():
            raise refused("Pixels outside of the regions changed")


def _look_inside(
    before: npt.NDArray[Any], after: npt.NDArray[Any], regions: Sequence[Region], blur: BlurSpec, orientation: int
) -> None:
    if left := shown(before, after, regions, blur=blur, orientation=orientation):
        size = f"{left.width} x {left.height}"
        raise refused(f"The region at {left.x}, {left.y} of {size} pixels still shows what it had")


def verify_clean(data: bytes, *, picture: Picture, max_pixels: int) -> None:
    """Check a scrubbed copy, whose pixels were not touched: it opens and decodes. Raises ImageError NOT_VERIFIED."""
    again = reopened(data, picture, max_pixels)
    try:
        again.preview(320)
    except ImageError as error:
        raise refused(error.message) from error


def reopened(data: bytes, picture: Picture, max_pixels: int) -> Picture:
    """Open the result; refuse another format, size, orientation or number of frames, and embedded pictures.

    Raises ImageError NOT_VERIFIED.
    """
    try:
        again = open_image(data, max_pixels=max_pixels)
    except ImageError as error:
        raise refused(error.message) from error
    facts = [(p.format, p.width, p.height, p.orientation, p.frames) for p in (picture, again)]
    if facts[0] != facts[1]:
        raise refused(f"{facts[0]} became {facts[1]}")
    if left := again.embedded():
        raise refused(f"Embedded pictures are left in {', '.join(left)}")
    return again


def _distance(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """Return the mean absolute difference, in levels of 8 bits."""
    total = float(cv2.norm(np.ascontiguousarray(left), np.ascontiguousarray(right), cv2.NORM_L1))
    return total / max(left.size, 1) / (np.iinfo(left.dtype).max / 255)


def refused(message: str) -> ImageError:
    """Return the error for a result that must not be published."""
    return ImageError(Reason.NOT_VERIFIED, f"The result was refused: {message}")
