"""Look at a result as a stranger would, before it is published: the last of the checks that keep faces in.

Opens the encoded bytes anew, works out for itself what they should show, from the original and the regions, and trusts
nothing that redaction or encoder said. Two kinds of doubt: a region is not hidden as it should be, which can be mended
by hiding it better; or the file is not what was meant, which nobody can mend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from faceblurd.errors import ImageError
from faceblurd.imaging import geometry
from faceblurd.imaging.files import open_image
from faceblurd.imaging.files.jpeg import JpegPicture, spliced
from faceblurd.imaging.files.jpeg.huffman import SpliceError
from faceblurd.imaging.geometry import upright_view
from faceblurd.imaging.metadata.scrub import Scrub
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.imaging.redact.remains import TILE_PX, shown, shows_what_was
from faceblurd.imaging.redact.thumbnail import redacted_thumbnail, replacement
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.picture import Encoded, Picture
    from faceblurd.imaging.second_look import SecondLook
    from faceblurd.model import BlurSpec, Region

_TOLERANCE: Final = 16.0  # levels, mean over a picture: what the coarsest quantisation does to it
_BLED_PX: Final = 6  # how far colours of half the size bleed over a border
_SPEAKS: Final = 0.05  # of a picture, at least, lies outside of the regions where that is asked for a codec's noise
_STRIP_ROWS: Final = 256  # compared at a time: differences of a whole picture would take as much memory as its pixels
_LOOKED_AT_PX: Final = 24  # of a region's shorter side, at least, in what the second look sees
_REDUCTIONS: Final = (8, 4, 2, 1)


@dataclass(frozen=True, slots=True)
class Examined:
    """A result, opened anew; the regions that are not hidden as they should be; those in which a face is found."""

    picture: Picture
    unlike: list[Region] = field(default_factory=list)
    found: list[Region] = field(default_factory=list)


def verify(
    result: Encoded, *, picture: Picture, regions: Sequence[Region], blur: BlurSpec, max_pixels: int
) -> Picture:  # fmt: skip
    """Return a redacted file, made of `picture`, as opened anew. Raises ImageError NOT_VERIFIED for any doubt."""
    examined = examine(result, picture=picture, regions=regions, blur=blur, max_pixels=max_pixels)
    if examined.unlike:
        raise unlike(examined.unlike)
    return examined.picture


def unlike(regions: Sequence[Region]) -> ImageError:
    """Return the error for regions that are not hidden as they should be."""
    first = regions[0]
    where = f"at {first.x}, {first.y} of {first.width} x {first.height} pixels"
    return refused(f"The region {where} is not hidden as it should be")


def examine(
    result: Encoded,
    *,
    picture: Picture,
    regions: Sequence[Region],
    blur: BlurSpec,
    max_pixels: int,
    look: SecondLook | None = None,
) -> Examined:
    """Check a redacted file, made of `picture`: name the regions that must be hidden better.

    `regions`: the upright boxes that were to be hidden. In them is what hiding them gives, and no more than a redaction
    may leave, unless it is weak by the user's own wish; outside of them, a lossless result has no other pixel. Raises
    ImageError NOT_VERIFIED where anything else is wrong.
    """
    again = reopened(result.data, picture, max_pixels)
    wanted = _inside(picture, picture.with_copies(regions))
    _check_thumbnails(picture, again, wanted, blur)
    examined = Examined(again)
    if result.lossless and isinstance(picture, JpegPicture) and isinstance(again, JpegPicture):
        _examine_blocks(examined, picture, again, wanted, blur, look)
        return examined
    for frame in range(again.frames):
        mine = [region for region in wanted if region.frame == frame]
        _look_again(examined, mine, blur, look, frame)
        examined.unlike.extend(_examine_pixels(picture, again, frame, mine, blur, lossless=result.lossless))
    return examined


def _inside(picture: Picture, regions: Iterable[Region]) -> list[Region]:
    """Cut regions to their frames."""
    cut = []
    for region in regions:
        width, height, orientation = picture.size_of(region.frame)
        width, height = geometry.upright_size(width, height, orientation=orientation)
        cut.append(geometry.clip(region, width=width, height=height))
    return [region for region in cut if region]


# --- JPEG, where only the blocks of the regions are new


def _examine_blocks(
    examined: Examined, picture: JpegPicture, again: JpegPicture, regions: list[Region], blur: BlurSpec,
    look: SecondLook | None,
) -> None:  # fmt: skip
    """Compare blocks and bits; other pixels only where the bits say nothing of them."""
    worth = look.worth(regions, blur) if look else []
    by = _reduction(worth)
    try:
        found = spliced.check(picture, again, regions, blur, by=by)
        if not found.same_bits:
            _compare_outside(picture.pixels(), again.pixels(), found.changed)
    except SpliceError as error:
        raise refused(str(error)) from error
    except ImageError as error:
        raise refused(error.message) from error
    examined.unlike.extend(found.unlike)
    if look and worth:
        size = (math.ceil(again.height / by), math.ceil(again.width / by))
        whole = np.zeros((*size, 3), np.uint8)
        whole[: found.seen.shape[0], : found.seen.shape[1]] = found.seen[: size[0], : size[1]]
        _search(examined, np.ascontiguousarray(upright_view(whole, again.orientation)), worth, look, 1 / by)


def _reduction(regions: Iterable[Region]) -> int:
    """Return by how much a picture may be reduced to be searched for these regions."""
    least = min((min(one.width, one.height) for one in regions), default=_LOOKED_AT_PX * _REDUCTIONS[0])
    return next((by for by in _REDUCTIONS if least >= by * _LOOKED_AT_PX), 1)


# --- all that is compared pixel by pixel


def _examine_pixels(
    picture: Picture, again: Picture, frame: int, regions: list[Region], blur: BlurSpec, *, lossless: bool
) -> list[Region]:
    """Return the regions of a frame that are not what hiding them gives; refuse a difference anywhere else."""
    after, before = _pixels(again, frame), _pixels(picture, frame)
    if before.shape != after.shape or before.dtype != after.dtype:
        raise refused(f"{after.dtype} pixels of {after.shape} instead of {before.dtype} of {before.shape}")
    orientation = picture.size_of(frame)[2]
    meant = before.copy() if regions else before
    redact(upright_view(meant, orientation), regions, blur, picture.channels_of(frame))
    more = [] if blur.allow_weak else shown(upright_view(meant, orientation), regions, blur)
    if regions:
        picture.fitted(meant, before, regions)
    noise = 0.0
    if lossless:
        _compare_outside(meant, after, regions, orientation)
    elif _distance(after, meant) > _TOLERANCE:
        raise refused("The picture is not the one that was written")
    else:
        noise = _noise(after, meant, regions, orientation)
    views = tuple(upright_view(array, orientation) for array in (before, meant, after))
    if lossless:
        return [one for one in regions if one in more or not np.array_equal(views[1][_box(one)], views[2][_box(one)])]
    return [one for one in regions if one in more or _is_wrong(views, _box(one), noise)]


def _box(region: Region) -> tuple[slice, slice]:
    return np.s_[region.y : region.y + region.height, region.x : region.x + region.width]


def _pixels(picture: Picture, frame: int) -> npt.NDArray[Any]:
    try:
        return picture.pixels(frame)
    except ImageError as error:
        raise refused(error.message) from error


def _is_wrong(views: tuple[npt.NDArray[Any], ...], box: tuple[slice, slice], noise: float) -> bool:
    """Say whether a region shows what was there, or something else than what was meant; `noise`: of the codec.

    Where few pixels hold it, the colours around it may have bled into all of them.
    """
    before, meant, after = (view[box] for view in views)
    far = min(after.shape[:2]) >= TILE_PX and _distance(after, meant) > _TOLERANCE + 2 * noise
    inner = tuple(slice(min(_BLED_PX, side // 4), side - min(_BLED_PX, side // 4)) for side in after.shape[:2])
    return far or shows_what_was(before[inner], meant[inner], after[inner], noise=noise)


def _compare_outside(
    before: npt.NDArray[Any], after: npt.NDArray[Any], regions: Iterable[Region], orientation: int = 1
) -> None:
    """Refuse a picture that differs from another one outside of the regions, strip by strip."""
    if before.shape != after.shape or before.dtype != after.dtype:
        raise refused(f"{after.dtype} pixels of {after.shape} instead of {before.dtype} of {before.shape}")
    inside = np.zeros(before.shape[:2], np.bool_)
    for region in regions:
        upright_view(inside, orientation)[_box(region)] = True
    for top in range(0, len(before), _STRIP_ROWS):
        strip = slice(top, top + _STRIP_ROWS)
        if np.array_equal(before[strip], after[strip]):
            continue
        differs = (before[strip] != after[strip]).reshape(*inside[strip].shape, -1).any(axis=2)
        if (differs & ~inside[strip]).any():
            raise refused("Pixels outside of the regions changed")


def _distance(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """Return the mean absolute difference, in levels of 8 bits."""
    total = float(cv2.norm(np.ascontiguousarray(left), np.ascontiguousarray(right), cv2.NORM_L1))
    return total / max(left.size, 1) / (np.iinfo(left.dtype).max / 255)


def _noise(
    after: npt.NDArray[Any], meant: npt.NDArray[Any], regions: Iterable[Region], orientation: int
) -> float:  # fmt: skip
    """Return what the codec adds: the distance outside of the regions, where what is wrong in them has no say.

    Of the whole picture where nearly all of it is regions.
    """
    outside = np.ones(after.shape[:2], np.uint8)
    for region in regions:
        upright_view(outside, orientation)[_box(region)] = 0
    count = int(np.count_nonzero(outside))
    if count < _SPEAKS * outside.size:
        return _distance(after, meant)
    total = float(cv2.norm(np.ascontiguousarray(after), np.ascontiguousarray(meant), cv2.NORM_L1, outside))
    return total / (count * after.size / outside.size) / (np.iinfo(after.dtype).max / 255)


# --- what else a viewer may show


def _look_again(examined: Examined, regions: list[Region], blur: BlurSpec, look: SecondLook | None, frame: int) -> None:
    """Search a frame for the faces that were hidden in it."""
    worth = look.worth(regions, blur) if look else []
    if not look or not worth:
        return
    longest = max(examined.picture.size_of(frame)[:2])
    try:
        bgr = examined.picture.preview(math.ceil(longest / _reduction(worth)), frame)
    except ImageError as error:
        raise refused(error.message) from error
    _search(examined, bgr, worth, look, max(bgr.shape[:2]) / longest)


def _search(examined: Examined, bgr: npt.NDArray[Any], worth: list[Region], look: SecondLook, by: float) -> None:
    examined.found.extend(look.found_again(bgr, [(one, geometry.scale(one, by_x=by, by_y=by)) for one in worth]))


def _check_thumbnails(picture: Picture, again: Picture, regions: Sequence[Region], blur: BlurSpec) -> None:
    """Refuse an embedded thumbnail that is not what the redacted picture gives."""
    left = again.thumbnails()
    if not left:
        return
    scrub = Scrub(thumbnail=redacted_thumbnail(picture, regions, blur))
    made = [replacement(old, scrub) for old in picture.thumbnails()]
    if any(thumbnail.rstrip(b"\0") not in made for thumbnail in left):  # filled up to the old one's length
        raise refused("An embedded thumbnail is not one of the redacted picture")


def verify_clean(data: bytes, *, picture: Picture, max_pixels: int) -> None:
    """Check a scrubbed copy, whose pixels were not touched: it opens and decodes. Raises ImageError NOT_VERIFIED.

    The picture in a JPEG is the very bytes that were searched, and needs no other decode.
    """
    again = reopened(data, picture, max_pixels)
    if isinstance(picture, JpegPicture) and isinstance(again, JpegPicture):
        if picture.coded() != again.coded():
            raise refused("The picture is not the one that was searched")
        return
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
    if isinstance(again, JpegPicture) and again.whole != data:
        raise refused("Bytes are left behind the end of the picture")
    return again


def refused(message: str) -> ImageError:
    """Return the error for a result that must not be published."""
    return ImageError(Reason.NOT_VERIFIED, f"The result was refused: {message}")
