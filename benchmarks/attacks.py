"""What an attacker does with a redacted face: recognise it, or restore it first. Used by `anonymity.py`.

Everything leans to the attacker's side: he knows the recipe, the box, the landmarks of the clear photo and, for the
inversion, the cells' values as they were before painting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from faceblurd.imaging.redact import soft
from faceblurd.imaging.redact.average_pool import average_pool, quantise, window_px
from faceblurd.model import BlurMethod

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.model import BlurSpec, Region

    Pixels = npt.NDArray[Any]

CROP_PX = 64
GRID_PX = 128
CHIP_PX = 150
THUMB_PX = 16
RIDGES = (1e-4, 1e-2, 1e-1)
NOISES = (1e-6, 1e-4, 1e-2)
FOLDS = 4
"""Parts that the people are divided into. Leaving out one person at a time would give each a mean face of his own,
which is told from the others' (84 % 'recognised' behind solid grey, redacted against redacted)."""


@dataclass(frozen=True, slots=True)
class Face:
    """One photo of one known person: pixels, the face's box, and five landmarks."""

    person: str
    pixels: Pixels
    box: Region
    landmarks: tuple[tuple[float, float], ...]


class Recogniser:
    """dlib's ResNet (99.38 % on LFW): 128 numbers for a face that was cut out by its landmarks."""

    def __init__(self) -> None:
        """Load the networks, or say what to install."""
        if find_spec("dlib") is None or find_spec("face_recognition_models") is None:
            raise SystemExit("needs dlib's networks: pip install dlib-bin face-recognition-models==0.3.0")
        import dlib  # noqa: PLC0415 - optional, and for this benchmark only

        # not imported: it asks for pkg_resources, which new installations do not have
        models = Path(str(find_spec("face_recognition_models").origin)).parent / "models"  # type: ignore[union-attr]
        self._dlib = dlib
        self._boxes = dlib.get_frontal_face_detector()
        self._points = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
        self._net = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))

    def landmarks(self, bgr: Pixels, box: Region) -> tuple[tuple[float, float], ...]:
        """Find the five landmarks of the face in `box`."""
        rgb = np.ascontiguousarray(bgr[:, :, ::-1])
        found = self._boxes(rgb, 1)
        own = self._dlib.rectangle(box.x, box.y, box.x + box.width, box.y + box.height)
        points = self._points(rgb, max(found, key=lambda r: r.area()) if found else own)
        return tuple((p.x, p.y) for p in points.parts())

    def describe(self, faces: Sequence[Face], pictures: Sequence[Pixels]) -> Pixels:
        """Give one row of 128 numbers for each picture, cut out where the clear face's landmarks are."""
        chips = [self._chip(face, bgr) for face, bgr in zip(faces, pictures, strict=True)]
        return np.array(self._net.compute_face_descriptor(chips))

    def _chip(self, face: Face, bgr: Pixels) -> Pixels:
        rectangle = self._dlib.rectangle(0, 0, bgr.shape[1] - 1, bgr.shape[0] - 1)
        points = [self._dlib.point(round(x), round(y)) for x, y in face.landmarks]
        shape = self._dlib.full_object_detection(rectangle, points)
        chip: Pixels = self._dlib.get_face_chip(np.ascontiguousarray(bgr[:, :, ::-1]), shape, CHIP_PX, 0.25)
        return chip


def recognised(probes: Pixels, gallery: Pixels, faces: Sequence[Face]) -> Pixels:
    """Say for each probe whether its nearest neighbour among the other photos is the same person."""
    distances = np.linalg.norm(probes[:, None] - gallery[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    people = np.array([face.person for face in faces])
    same: Pixels = people[distances.argmin(axis=1)] == people
    return same


def thumbnails(pictures: Sequence[Pixels]) -> Pixels:
    """Give each picture as a row of few pixels: what needs no network to be compared."""
    small = [cv2.resize(bgr, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA) for bgr in pictures]
    return np.array(small, np.float64).reshape(len(small), -1)


def crop(bgr: Pixels, region: Region, side: int = CROP_PX) -> Pixels:
    """Cut out a region, scaled to a square, as floats from 0 to 1."""
    part = bgr[region.y : region.y + region.height, region.x : region.x + region.width]
    return cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA).astype(np.float64) / 255


def pasted(bgr: Pixels, region: Region, restored: Pixels) -> Pixels:
    """Put a restored square back into the redacted picture."""
    result = bgr.copy()
    scaled = cv2.resize(restored, (region.width, region.height), interpolation=cv2.INTER_CUBIC)
    part = np.clip(scaled * 255 + 0.5, 0, 255).astype(np.uint8)
    result[region.y : region.y + region.height, region.x : region.x + region.width] = part
    return result


def folds(people: Pixels) -> Pixels:
    """Say for each face which part its person belongs to: a restoration is fitted on the people of the other parts."""
    names = np.unique(people)
    return np.searchsorted(names, people) % FOLDS


def learned(redacted: Pixels, clear: Pixels, people: Pixels, copies: int) -> Pixels:
    """Restore by ridge regression from redacted to clear crops, fitted on the other people's faces.

    `redacted` and `clear`: each face `copies` times (as it is first, then shifted and mirrored). The penalty is the
    one that comes closest to the truth.
    """
    flat, truth = redacted.reshape(len(redacted), -1), clear.reshape(len(clear), -1)
    tried = [_ridge(flat, truth, people, copies, ridge) for ridge in RIDGES]
    best = min(tried, key=lambda made: float(((made - truth[::copies]) ** 2).mean()))
    return best.reshape(-1, *clear.shape[1:])


def _ridge(flat: Pixels, truth: Pixels, people: Pixels, copies: int, ridge: float) -> Pixels:
    made = np.empty_like(truth[::copies])
    part = folds(people)
    for fold in range(FOLDS):
        known, held = np.repeat(part != fold, copies), part == fold
        mean_in, mean_out = flat[known].mean(axis=0), truth[known].mean(axis=0)
        seen = flat[known] - mean_in
        kernel = seen @ seen.T
        penalty = ridge * max(float(np.trace(kernel)) / len(kernel), 1e-9)
        weights = np.linalg.solve(kernel + penalty * np.eye(len(kernel)), truth[known] - mean_out)
        made[held] = mean_out + (flat[::copies][held] - mean_in) @ seen.T @ weights
    return made


def inverted(clear_of: Sequence[Pixels], regions: Sequence[Region], blur: BlurSpec, people: Pixels) -> Pixels:
    """Restore by inverting the known pool: the face nearest to the others' mean face that gives the seen values."""
    squares = np.array([crop(bgr, region, GRID_PX) for bgr, region in zip(clear_of, regions, strict=True)])
    part = folds(people)
    means = [squares[part != fold].mean(axis=0) for fold in range(FOLDS)]
    pairs = [_pool_matrices(region, blur) for region in regions]
    seen = [_cell_values(bgr, region, blur) for bgr, region in zip(clear_of, regions, strict=True)]
    tried = [
        np.array(
            [_nearest(values, *pair, means[fold], noise) for values, pair, fold in zip(seen, pairs, part, strict=True)]
        )
        for noise in NOISES
    ]  # fmt: skip
    best: Pixels = min(tried, key=lambda made: float(((made - squares) ** 2).mean()))
    return best


def rim_opened(clear: Pixels, hidden: Pixels, region: Region, blur: BlurSpec) -> Pixels:
    """Take the fade off a soft ellipse: where anything shines through, all of it does.

    Better than any attacker could: what is left of a pixel after rounding and compression is less than the pixel.
    """
    opened, window, cover = hidden.copy(), *_covered(hidden, region, blur)
    opened[window][cover < 1] = clear[window][cover < 1]
    return opened


def rim_alone(clear: Pixels, region: Region, blur: BlurSpec) -> Pixels:
    """Keep nothing but what shines through the rim, opened: hair, ears and neck, no clothes and no background."""
    alone, (window, cover) = np.full_like(clear, 128), _covered(clear, region, blur)
    rim = (cover > 0) & (cover < 1)
    alone[window][rim] = clear[window][rim]
    return alone


def _covered(bgr: Pixels, region: Region, blur: BlurSpec) -> tuple[Any, Pixels]:
    """Return the window of a region's ellipse, and how much of each pixel in it is covered."""
    height, width = bgr.shape[:2]
    around = 1 + math.ceil(
        blur.margin * (region.width + region.height)
    )  # a photo that goes on: nothing is cut at its edge
    moved = replace(region, x=region.x + around, y=region.y + around)
    ellipse = soft.Ellipse.of(moved, (width + 2 * around, height + 2 * around), blur.margin)
    rows, columns = ellipse.on_plane(1, 1, left=around, top=around).window(width, height)
    return (rows, columns), ellipse.on_plane(1, 1, left=around, top=around).cover(rows, columns)


def _cell_values(bgr: Pixels, region: Region, blur: BlurSpec) -> Pixels:
    part = np.ascontiguousarray(bgr[region.y : region.y + region.height, region.x : region.x + region.width])
    if blur.method is BlurMethod.SOFT:
        fill = soft.read(part, blur.levels, soft.Channels(), flat=region.flat)
        return (fill.shades[:, :, None] + np.array(fill.offsets)).clip(0, 255) / 255
    window, stride = _steps(region, blur)
    values = average_pool(part, pool_size_px=window, stride_px=stride)
    return (values if blur.levels is None else quantise(values, blur.levels)).astype(np.float64) / 255


def _steps(region: Region, blur: BlurSpec) -> tuple[int, int]:
    window = window_px(region, blur)
    return window, window if blur.stride_px is None or blur.method is BlurMethod.MOSAIC else blur.stride_px


def _pool_matrices(region: Region, blur: BlurSpec) -> tuple[Any, Any]:
    """Write the pool down as two matrices that act on GRID_PX rows and columns, each as its singular parts."""
    sides = (region.height, region.width)
    rows = [
        _halves(length) if blur.method is BlurMethod.SOFT else _rows(length, *_steps(region, blur)) for length in sides
    ]
    return tuple(
        np.linalg.svd(each @ _cover(length), full_matrices=False) for each, length in zip(rows, sides, strict=True)
    )  # type: ignore[return-value]


def _halves(length: int) -> Pixels:
    """Write down what the soft ellipse takes of a side: the means of the two halves of its middle."""
    rows = np.zeros((2, length))
    start, middle, end = length * 2 // 7, length // 2, length - length * 2 // 7
    rows[0, start:middle] = 1 / (middle - start)
    rows[1, middle:end] = 1 / (end - middle)
    return rows


def _rows(length: int, window: int, stride: int) -> Pixels:
    count = -(-length // stride)
    before = max((count - 1) * stride + window - length, 0) // 2
    rows = np.zeros((count, length))
    for index in range(count):
        start = index * stride - before
        span = slice(max(start, 0), min(start + window, length))
        rows[index, span] = 1 / (span.stop - span.start)
    return rows


def _cover(length: int) -> Pixels:
    """Return how much of each pixel every line of the grid stands for."""
    cuts = np.linspace(0, length, GRID_PX + 1)
    pixel = np.arange(length)[:, None]
    cover: Pixels = np.clip(np.minimum(pixel + 1, cuts[1:]) - np.maximum(pixel, cuts[:-1]), 0, None)
    return cover


def _nearest(values: Pixels, down: Any, across: Any, mean: Pixels, noise: float) -> Pixels:  # noqa: ANN401
    (u1, s1, v1), (u2, s2, v2) = down, across
    gain = np.multiply.outer(s1, s2)
    made = np.empty_like(mean)
    for channel in range(mean.shape[2]):
        expected = gain * (v1 @ mean[:, :, channel] @ v2.T)
        surprise = u1.T @ values[:, :, channel] @ u2 - expected
        made[:, :, channel] = mean[:, :, channel] + v1.T @ (gain / (gain**2 + noise) * surprise) @ v2
    return np.clip(made, 0, 1)
