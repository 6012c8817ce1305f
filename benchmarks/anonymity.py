"""How anonymous is a redacted face? Re-identification, re-detection and restoration, for each way to redact.

Takes a folder with `ann.json`: [{"image": path, "identity": name}, ...], one face a photo. For every redaction and
face height: naive (redacted against clear photos), parrot (redacted against photos that were redacted alike), the same
after a restoration that was fitted on other people, and how often a detector still finds a face.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import attacks
import bench
import cv2
import numpy as np

from faceblurd.config.recipes import BLURS, BUILTIN_RECIPES, DEFAULT_RECIPE
from faceblurd.imaging.detect import open_detectors, open_glance
from faceblurd.imaging.geometry import clip, grow, scale
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.model import BlurMethod, BlurSpec, HaarSpec, NetworksSpec, Region, Shape

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from faceblurd.imaging.detect import Detector

    Pixels = attacks.Pixels

HEIGHTS = (60, 150, 400, 1000)
"""Of YuNet and CenterFace: what scores as high is found again."""
COPIES = 4
"""Samples of one face for the learned restoration: as it is, shifted, and both mirrored."""
DEFAULT = BUILTIN_RECIPES[DEFAULT_RECIPE].blur
POOL, MOSAIC, GREY = (BLURS[method] for method in (BlurMethod.AVERAGE_POOL, BlurMethod.MOSAIC, BlurMethod.SOLID))
SLIDING = replace(POOL, stride_px=1, levels=None, pool_size_px=2)
CELLS = replace(MOSAIC, levels=None, pool_size_px=2)

REDACTIONS: dict[str, BlurSpec | None] = {
    "none": None,
    "solid grey": GREY,
    "default": DEFAULT,
    "classic": BUILTIN_RECIPES["classic"].blur,
}
"""Measured at every height."""
FLAT = "default, flat"
VARIANTS: dict[str, BlurSpec | None] = {
    FLAT: DEFAULT,
    "default, 12 levels": replace(DEFAULT, levels=12),
    "default, all levels": replace(DEFAULT, levels=None),
    "default, margin 0.2": replace(DEFAULT, margin=0.2),
    "default, margin 0.1": replace(DEFAULT, margin=0.1),
    "solid grey, ellipse": replace(GREY, shape=Shape.ELLIPSE),
    "average pool": POOL,
    "average pool, ellipse": replace(POOL, shape=Shape.ELLIPSE),
    "average pool, window 0.33": replace(POOL, pool_face_fraction=0.334),
    "average pool, window 0.2": replace(POOL, pool_face_fraction=0.2),
    "average pool, 16 levels": replace(POOL, levels=16),
    "average pool, all levels": replace(POOL, levels=None),
    "average pool, no margin": replace(POOL, margin=0.0),
    "average pool, sliding": replace(POOL, stride_px=1),
    "sliding 0.5, all levels": SLIDING,
    "sliding 0.25, all levels": replace(SLIDING, pool_face_fraction=0.25),
    "mosaic of 1 cell": MOSAIC,
    "mosaic of 3 cells": replace(MOSAIC, pool_face_fraction=0.334),
    "mosaic of 5 cells": replace(MOSAIC, pool_face_fraction=0.2),
    "mosaic of 7 cells": replace(MOSAIC, pool_face_fraction=1 / 7, pool_size_px=2),
    "mosaic of 15 cells, all levels": replace(CELLS, pool_face_fraction=1 / 15),
}
"""Measured at one height: they scale with the face."""
VARIANTS_AT = 150
SOLID = "solid grey"


class Study:
    """The photos at one size, and what an attacker makes of them."""

    def __init__(self, faces: Sequence[attacks.Face], recogniser: attacks.Recogniser, finders: list[Detector]) -> None:
        """Describe the clear photos once."""
        self._faces = faces
        self._recogniser = recogniser
        self._finders = finders
        self._people = np.array([face.person for face in faces])
        self._clear = recogniser.describe(faces, [face.pixels for face in faces])

    def measure(self, blur: BlurSpec | None) -> dict[str, list[bool]]:
        """Try every attack on one redaction; one truth value a face for each."""
        pictures = [redacted(face.pixels, face.box, blur) for face in self._faces]
        seen = self._recogniser.describe(self._faces, pictures)
        found = {"naive": self._naive(seen), "parrot": self._same(seen)}
        found["pixels"] = self._same(attacks.thumbnails(pictures))
        for finder in self._finders:
            found[f"found by {finder.name.partition(':')[0]}"] = [
                refound(finder, bgr, face.box) for bgr, face in zip(pictures, self._faces, strict=True)
            ]
        if blur is not None:
            found["learned"] = self._naive(self._recogniser.describe(self._faces, self._learned(pictures, blur)))
        if blur is not None and blur.method is BlurMethod.SOFT:
            found |= self._rim(pictures, blur)
        if blur is not None and _has_cells(blur):
            found["inverted"] = self._naive(self._recogniser.describe(self._faces, self._inverted(pictures, blur)))
        return found

    def _naive(self, rows: Pixels) -> list[bool]:
        same: list[bool] = attacks.recognised(rows, self._clear, self._faces).tolist()
        return same

    def _same(self, rows: Pixels) -> list[bool]:
        same: list[bool] = attacks.recognised(rows, rows, self._faces).tolist()
        return same

    def _learned(self, pictures: Sequence[Pixels], blur: BlurSpec) -> list[Pixels]:
        samples = [sample for index, face in enumerate(self._faces) for sample in variants(face, blur, index)]
        hidden, clear = (np.array(crops) for crops in zip(*samples, strict=True))
        restored = attacks.learned(hidden, clear, self._people, COPIES)
        return self._pasted(pictures, restored, blur)

    def _inverted(self, pictures: Sequence[Pixels], blur: BlurSpec) -> list[Pixels]:
        regions = [region_of(face.pixels, face.box, blur) for face in self._faces]
        clear = [face.pixels for face in self._faces]
        return self._pasted(pictures, attacks.inverted(clear, regions, blur, self._people), blur)

    def _rim(self, pictures: Sequence[Pixels], blur: BlurSpec) -> dict[str, list[bool]]:
        """Look at what shines through: with the fade taken off, and the bare rim without what is around it."""
        regions = [grow(face.box, blur.margin) for face in self._faces]
        pairs = list(zip(self._faces, pictures, regions, strict=True))
        opened = [attacks.rim_opened(face.pixels, hidden, region, blur) for face, hidden, region in pairs]
        alone = [attacks.rim_alone(face.pixels, region, blur) for face, _, region in pairs]
        seen, bare = (self._recogniser.describe(self._faces, these) for these in (opened, alone))
        return {"rim": self._naive(seen), "rim, parrot": self._same(seen), "bare rim": self._same(bare)}

    def _pasted(self, pictures: Sequence[Pixels], restored: Pixels, blur: BlurSpec) -> list[Pixels]:
        regions = [region_of(face.pixels, face.box, blur) for face in self._faces]
        return [attacks.pasted(*each) for each in zip(pictures, regions, restored, strict=True)]


def _has_cells(blur: BlurSpec) -> bool:
    return blur.method is BlurMethod.SOFT or (blur.method is not BlurMethod.SOLID and blur.shape is Shape.BOX)


def region_of(bgr: Pixels, box: Region, blur: BlurSpec) -> Region:
    """Give what is hidden of a face: its box with the margin, as far as there is a photo."""
    region = clip(grow(box, blur.margin), width=bgr.shape[1], height=bgr.shape[0])
    return box if region is None else region


def redacted(bgr: Pixels, box: Region, blur: BlurSpec | None) -> Pixels:
    """Hide a face in a copy. For an ellipse there has to be a picture around the region, or it is hidden whole."""
    if blur is None:
        return bgr
    around = 1 + math.ceil(blur.margin * max(box.width, box.height)) if blur.shape is Shape.ELLIPSE else 0
    result = cv2.copyMakeBorder(bgr, around, around, around, around, cv2.BORDER_REPLICATE)
    moved = replace(box, x=box.x + around, y=box.y + around)
    redact(result, [region_of(result, moved, blur)], blur)
    return result[around : around + bgr.shape[0], around : around + bgr.shape[1]]


def variants(face: attacks.Face, blur: BlurSpec, seed: int) -> list[tuple[Pixels, Pixels]]:
    """Give pairs of redacted and clear crops of one face: as it is first, then shifted, then both mirrored."""
    by = np.random.default_rng(seed).uniform(-0.04, 0.04, 2)
    shift = replace(
        face.box, x=face.box.x + round(by[0] * face.box.width), y=face.box.y + round(by[1] * face.box.height)
    )
    pairs = []
    for box in (face.box, shift):
        region = region_of(face.pixels, box, blur)
        hidden = redacted(face.pixels, box, blur)
        pairs.append((attacks.crop(hidden, region), attacks.crop(face.pixels, region)))
    return pairs + [(hidden[:, ::-1], clear[:, ::-1]) for hidden, clear in pairs]


def refound(finder: Detector, bgr: Pixels, box: Region) -> bool:
    """Say whether a detector sees a face whose middle lies in the box."""
    middles = ((found.x + found.width / 2 - box.x, found.y + found.height / 2 - box.y) for found in finder.detect(bgr))
    return any(0 < x < box.width and 0 < y < box.height for x, y in middles)


def read_faces(folder: str, recogniser: attacks.Recogniser) -> list[attacks.Face]:
    """Read the photos, and find box and landmarks of each (clear) face."""
    with open(os.path.join(folder, "ann.json"), encoding="utf-8") as file:
        entries = json.load(file)
    finder = open_glance(NetworksSpec())
    faces = []
    for entry in entries:
        bgr = cv2.imread(os.path.join(folder, entry["image"]), cv2.IMREAD_COLOR)
        found = [] if bgr is None else finder.detect(bgr)
        if not found:
            bench.say(f"{entry['image']}: no face found, left out")
            continue
        box = max(found, key=lambda region: region.score)
        faces.append(attacks.Face(entry["identity"], bgr, box, recogniser.landmarks(bgr, box)))
    return faces


def resized(face: attacks.Face, height: int) -> attacks.Face:
    """Scale a photo until its face is `height` pixels high."""
    by = height / face.box.height
    kind = cv2.INTER_AREA if by < 1 else cv2.INTER_CUBIC
    bgr = cv2.resize(face.pixels, None, fx=by, fy=by, interpolation=kind)
    box = scale(face.box, by_x=by, by_y=by)
    return attacks.Face(face.person, bgr, box, tuple((x * by, y * by) for x, y in face.landmarks))


def interval(hits: int, of: int) -> tuple[float, float]:
    """Give Wilson's 95 % interval in per cent."""
    z, share = 1.96, hits / of
    middle = (share + z * z / 2 / of) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / 4 / of / of) / (1 + z * z / of)
    return 100 * (middle - half), 100 * (middle + half)


def chance(faces: Sequence[attacks.Face]) -> float:
    """Give the per cent that a blind guess among the other photos hits."""
    counts = Counter(face.person for face in faces)
    return 100 * sum(n * (n - 1) for n in counts.values()) / len(faces) / (len(faces) - 1)


def finders() -> list[Detector]:
    """Open the reference's detector, YuNet at a glance, and both networks as the default recipe has them."""
    both = open_detectors(BUILTIN_RECIPES[DEFAULT_RECIPE].detection)
    return [open_glance(HaarSpec()), open_glance(NetworksSpec()), *both]


def cell(found: dict[str, list[bool]], key: str) -> str:
    """Write one share as per cent."""
    return f"{100 * sum(found[key]) / len(found[key]):.0f}" if key in found else "-"


def table(height: int, results: dict[str, dict[str, list[bool]]], faces: Sequence[attacks.Face]) -> None:
    """Print one face height."""
    found = sorted({key for result in results.values() for key in result if key.startswith("found")})
    rims = ["rim", "rim, parrot", "bare rim"]
    keys = ["naive", "parrot", "pixels", "learned", "inverted", *rims, *found]
    rows = [[name, *(cell(result, key) for key in keys)] for name, result in results.items()]
    rows.append(["chance", *(f"{chance(faces):.0f}" for _ in keys if _ not in found), *("-" for _ in found)])
    bench.show(f"Faces of {height} px height, per cent of {len(faces)}", ["redaction", *keys], rows)


def summary(results: dict[str, dict[str, list[bool]]]) -> dict[str, Any]:
    """Give shares with their intervals, and the difference to solid grey in points."""
    told: dict[str, Any] = {}
    for name, result in results.items():
        told[name] = {}
        for key, hits in result.items():
            share = 100 * sum(hits) / len(hits)
            told[name][key] = {"percent": share, "interval": interval(sum(hits), len(hits))}
            base = results.get(SOLID, {}).get(key.replace("inverted", "learned"))
            if base is not None:
                told[name][key]["over_solid"] = share - 100 * sum(base) / len(base)
    return told


def run(arguments: argparse.Namespace) -> None:
    """Measure every redaction at every height."""
    recogniser = attacks.Recogniser()
    originals = read_faces(arguments.folder, recogniser)
    opened = [] if arguments.no_detection else finders()
    everything = {}
    for height in arguments.heights:
        faces = [resized(face, height) for face in originals]
        study = Study(faces, recogniser, opened)
        flat_study = Study([replace(face, box=replace(face.box, flat=True)) for face in faces], recogniser, opened)
        results = {}
        for name, blur in (REDACTIONS | (VARIANTS if height == VARIANTS_AT else {})).items():
            start = time.monotonic()
            results[name] = (flat_study if name == FLAT else study).measure(blur)
            shares = ", ".join(f"{key} {cell(results[name], key)}" for key in results[name])
            bench.say(f"{height} px, {name}: {shares} ({time.monotonic() - start:.0f} s)")
        table(height, results, faces)
        everything[str(height)] = summary(results)
    bench.finish(arguments, {"faces": len(originals), "chance": chance(originals), "heights": everything})


def main() -> None:
    """Read the command line."""
    parser = bench.parser(__doc__ or "")
    parser.add_argument("folder", help="photos with ann.json")
    parser.add_argument("--heights", type=int, nargs="+", default=list(HEIGHTS), help="of the faces, in pixels")
    parser.add_argument("--no-detection", action="store_true", help="leave the search for redacted faces out")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
