"""Photos for the benchmarks: from a folder, scaled to a size, or made up. Nothing of them is kept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
QUALITY = 92
GRAIN = 3.0
SAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "demo", "astronaut.jpg")
"""The photo that comes with faceblurd: one face, in the public domain."""


def in_folder(folder: str, most: int) -> list[str]:
    """List at most `most` photos of a folder, evenly chosen, in the order of their names."""
    found = sorted(name for name in os.listdir(folder) if name.lower().endswith(EXTENSIONS))
    if not found:
        raise SystemExit(f"{folder}: no photos there")
    step = max(1.0, len(found) / most)
    return [os.path.join(folder, found[int(index * step)]) for index in range(min(most, len(found)))]


def scaled(path: str, megapixels: float) -> npt.NDArray[Any]:
    """Read a photo and scale it. Grain is added: a smooth enlargement would decode and encode too quickly."""
    picture = cv2.imread(path, cv2.IMREAD_COLOR)
    if picture is None:
        raise SystemExit(f"{path}: does not decode")
    factor = (megapixels * 1e6 / (picture.shape[0] * picture.shape[1])) ** 0.5
    size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
    return grained(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA))


def grained(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Add the noise of a sensor, the same at every run."""
    noise = np.random.default_rng(1).normal(0, GRAIN, picture.shape[:2]).astype(np.float32)
    return np.clip(picture + noise[:, :, None], 0, 255).astype(np.uint8)


def save_jpeg(path: str, picture: npt.NDArray[Any]) -> None:
    """Write a JPEG as a camera does."""
    if not cv2.imwrite(path, picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY]):
        raise SystemExit(f"{path}: cannot be written")
