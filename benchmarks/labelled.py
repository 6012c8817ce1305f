"""Labelled photos: read from annotated folders, and packed unscaled into photos of the size that cameras write.

A folder holds files `ann*.json`: lists of `{"image": path, "faces": [[x, y, width, height], ...], "ignore": [...]}` in
pixels of the image as stored. `ignore`: areas where neither a miss nor a find counts. Judges nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    Pixels = npt.NDArray[Any]
    Box = tuple[float, float, float, float]

CANVAS_SIZE = (4000, 2800)
CANVAS_QUALITY = 95
CANVAS_GRAY = 127


@dataclass(frozen=True, slots=True)
class Labelled:
    """A photo, the boxes of its faces, and areas that do not count. `holds`: how many photos were packed into it."""

    path: str
    faces: tuple[Box, ...]
    ignored: tuple[Box, ...] = ()
    holds: int = 1


def read_sets(folder: str, most: int | None = None) -> Iterator[tuple[str, list[Labelled]]]:
    """Give each set of a folder: its title and at most `most` of its photos, evenly chosen."""
    names = [name for name in sorted(os.listdir(folder)) if name.startswith("ann") and name.endswith(".json")]
    if not names:
        raise SystemExit(f"{folder}: no ann*.json there")
    for name in names:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            entries = json.load(file)
        part = name[len("ann") : -len(".json")].strip("_")
        title = "/".join(filter(None, [os.path.basename(os.path.normpath(folder)), part]))
        step = 1.0 if most is None else max(1.0, len(entries) / most)
        chosen = [entries[int(at * step)] for at in range(min(len(entries), most or len(entries)))]
        yield title, [_labelled(folder, entry) for entry in chosen]


def _labelled(folder: str, entry: dict[str, Any]) -> Labelled:
    path = os.path.normpath(os.path.join(folder, entry["image"]))
    return Labelled(path, boxes(entry.get("faces", [])), boxes(entry.get("ignore", [])), entry.get("holds", 1))


def boxes(those: Iterable[Sequence[float]]) -> tuple[Box, ...]:
    """Make boxes of lists of four numbers."""
    return tuple((float(x), float(y), float(w), float(h)) for x, y, w, h in those)


def write_set(folder: str, photos: Iterable[Labelled]) -> None:
    """Write `ann.json` for photos that lie in a folder."""
    entries = [
        {"image": os.path.relpath(one.path, folder), "faces": one.faces, "ignore": one.ignored, "holds": one.holds}
        for one in photos
    ]
    with open(os.path.join(folder, "ann.json"), "w", encoding="utf-8") as file:
        json.dump(entries, file, indent=1)


def pixels(path: str) -> Pixels:
    """Decode a photo as stored, in colour."""
    array = cv2.imread(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if array is None:
        raise SystemExit(f"{path}: does not decode")
    return array


def moved(those: Iterable[Box], x: float, y: float) -> tuple[Box, ...]:
    """Move boxes."""
    return tuple((left + x, top + y, width, height) for left, top, width, height in those)


def shelves(sizes: Sequence[tuple[int, int]], width: int, height: int) -> list[tuple[int, int, int]]:
    """Place rectangles side by side in rows, in the order given: the canvas, x and y of each.

    All must fit: none is wider than `width` or higher than `height`.
    """
    spots, canvas, x, y, row = [], 0, 0, 0, 0
    for across, down in sizes:
        if x + across > width:
            x, y, row = 0, y + row, 0
        if y + down > height:
            canvas, x, y, row = canvas + 1, 0, 0, 0
        spots.append((canvas, x, y))
        x, row = x + across, max(row, down)
    return spots


def packed(photos: Sequence[Labelled], folder: str, size: tuple[int, int] = CANVAS_SIZE) -> list[Labelled]:
    """Pack photos, unscaled, into few large ones in a folder; photos without faces, too. Larger ones are left out."""
    pictures = [(one, picture) for one in photos if (picture := _fitting(one, size)) is not None]
    pictures.sort(key=lambda pair: -pair[1].shape[0])  # the highest first: rows waste least
    spots = shelves([picture.shape[1::-1] for _, picture in pictures], *size)
    made = []
    placed = [(one, picture, at, x, y) for (one, picture), (at, x, y) in zip(pictures, spots, strict=True)]
    for number in range(spots[-1][0] + 1 if spots else 0):
        here = [(one, picture, x, y) for one, picture, at, x, y in placed if at == number]
        path = os.path.join(folder, f"canvas-{number}.jpg")
        canvas = np.full((size[1], size[0], 3), CANVAS_GRAY, np.uint8)
        for _, picture, x, y in here:
            canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
        save(path, canvas, quality=CANVAS_QUALITY)
        faces = tuple(box for one, _, x, y in here for box in moved(one.faces, x, y))
        ignored = tuple(box for one, _, x, y in here for box in moved(one.ignored, x, y))
        made.append(Labelled(path, faces, ignored, holds=len(here)))
    return made


def _fitting(one: Labelled, size: tuple[int, int]) -> Pixels | None:
    picture = pixels(one.path)
    return picture if picture.shape[1] <= size[0] and picture.shape[0] <= size[1] else None


def save(path: str, picture: Pixels, *, quality: int) -> None:
    """Write a JPEG."""
    if not cv2.imwrite(path, picture, [cv2.IMWRITE_JPEG_QUALITY, quality]):
        raise SystemExit(f"{path}: cannot be written")
