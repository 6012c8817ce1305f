"""Small pictures of a redacted photo, in place of the ones that showed its faces."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from faceblurd.imaging.geometry import scale, stored_view, upright_size
from faceblurd.imaging.redact.average_pool import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.metadata.scrub import Scrub
    from faceblurd.imaging.picture import Picture
    from faceblurd.model import BlurSpec, Region

_DECODED_PX = 640  # thumbnails are smaller than that
_MAX_PIXELS = 4_000_000
_QUALITIES = (85, 70, 50, 30, 15, 5)
_TILE_PX = 16
_SAME = 24.0  # levels RMS over a tile: cameras sharpen what they shrink (5 to 15); a face that was blurred gives 25 up
_SAME_ASPECT = 0.02


def redacted_thumbnail(
    picture: Picture, regions: Sequence[Region], blur: BlurSpec
) -> Callable[[int, int], npt.NDArray[Any]]:
    """Return what makes a thumbnail of the first frame: BGR uint8, as stored, of a width and a height.

    The picture is decoded small and redacted then, so that not all of its pixels are needed. Where the shape differs,
    black bars are added, as cameras do.
    """

    @cache
    def small() -> npt.NDArray[Any]:
        preview = picture.preview(_DECODED_PX).copy()  # it may be the picture's own pixels
        width, height = upright_size(picture.width, picture.height, orientation=picture.orientation)
        by_x, by_y = preview.shape[1] / width, preview.shape[0] / height
        redact(preview, [scale(region, by_x=by_x, by_y=by_y) for region in regions if not region.frame], blur)
        return np.ascontiguousarray(stored_view(preview, picture.orientation))

    return lambda width, height: _framed(small(), width, height)


def _framed(picture: npt.NDArray[Any], width: int, height: int) -> npt.NDArray[Any]:
    """Scale into a frame, with black bars on two sides where the shapes differ."""
    by = min(width / picture.shape[1], height / picture.shape[0])
    inner_width, inner_height = round(picture.shape[1] * by), round(picture.shape[0] * by)
    if abs(inner_width - width) <= _SAME_ASPECT * width and abs(inner_height - height) <= _SAME_ASPECT * height:
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    framed = np.zeros((height, width, 3), np.uint8)
    x, y = (width - inner_width) // 2, (height - inner_height) // 2
    inner = cv2.resize(picture, (max(inner_width, 1), max(inner_height, 1)), interpolation=cv2.INTER_AREA)
    framed[y : y + inner.shape[0], x : x + inner.shape[1]] = inner
    return framed


def replacement(old: bytes, scrub: Scrub) -> bytes | None:
    """Return what replaces a JPEG thumbnail, not longer than that; None: it goes."""
    if scrub.thumbnail is None:
        return None
    try:
        with Image.open(io.BytesIO(old), formats=("JPEG",)) as image:
            if image.width * image.height > _MAX_PIXELS:
                return None
            before = np.asarray(image.convert("RGB"))[:, :, ::-1] if scrub.clean else None
            fresh = scrub.thumbnail(image.width, image.height)
    except (OSError, SyntaxError, ValueError):  # all that Pillow's reader raises for damaged files
        return None
    if before is not None and shows_the_same(before, fresh):
        return old
    return next((made for quality in _QUALITIES if len(made := _encoded(fresh, quality)) <= len(old)), None)


def shows_the_same(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    """Say whether two small pictures agree in every tile of 16 pixels: one that differs could be a face."""
    squared = ((one.astype(np.float32) - other) ** 2).mean(axis=2)
    columns, rows = -(-one.shape[1] // _TILE_PX), -(-one.shape[0] // _TILE_PX)
    tiles = cv2.resize(squared, (columns, rows), interpolation=cv2.INTER_AREA)
    return bool(tiles.max() <= _SAME**2)


def _encoded(pixels: npt.NDArray[Any], quality: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1])).save(out, "JPEG", quality=quality, optimize=True)
    return out.getvalue()
