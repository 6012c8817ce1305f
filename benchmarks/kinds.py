"""Photos of the kinds that detectors find hard, made from annotated folders: benchmarks/accuracy.py measures them.

Writes OUT/KIND/ann.json and photos, so that one command shows what is hidden of each kind:

    python benchmarks/kinds.py FOLDER... --to OUT [--sorted KINDS.json]
    python benchmarks/accuracy.py OUT/* --sizes "as they are" --methods balanced

`--sorted` names what can only be sorted by eye: `{kind: {image as in ann*.json: [numbers of its faces, from 0]}}`; the
other faces of those photos do not count. Everything random is seeded: the same photos at every run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import bench
import cv2
import labelled
import numpy as np
from labelled import Labelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labelled import Box, Pixels

LEAST_LARGE_PX = 60  # a face that is enlarged has so many pixels, or it is a smear
LEAST_CUT_PX, LEAST_LEFT = 24, 0.3  # of a face that the frame cuts; of the photo that is left
SHOWN = 0.35  # a face of which less is left in the frame does not count


@dataclass(frozen=True, slots=True)
class Shot:
    """A decoded photo, with boxes of faces, and of areas that do not count."""

    picture: Pixels
    faces: tuple[Box, ...]
    ignored: tuple[Box, ...]
    quality: int = 95

    @property
    def largest(self) -> Box | None:
        """The highest face; None without any that is large enough to be enlarged."""
        return max((face for face in self.faces if face[3] >= LEAST_LARGE_PX), key=lambda face: face[3], default=None)


# --- turned


def quarters(shot: Shot, times: int) -> Shot:
    """Turn counter-clockwise by quarters, labels as well."""
    for _ in range(times):
        width = shot.picture.shape[1]
        faces, ignored = (
            tuple((y, width - x - w, h, w) for x, y, w, h in those) for those in (shot.faces, shot.ignored)
        )  # fmt: skip
        shot = replace(shot, picture=np.ascontiguousarray(np.rot90(shot.picture)), faces=faces, ignored=ignored)
    return shot


def tilted(shot: Shot, degrees: float) -> Shot:
    """Turn by any angle on a larger, gray canvas; a face's box becomes that around the turned ellipse in it."""
    height, width = shot.picture.shape[:2]
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    size = (math.ceil(width * cos + height * sin), math.ceil(width * sin + height * cos))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2

    def turned(box: Box) -> Box:
        x, y = matrix @ (box[0] + box[2] / 2, box[1] + box[3] / 2, 1.0)
        half_x, half_y = math.hypot(box[2] * cos, box[3] * sin) / 2, math.hypot(box[2] * sin, box[3] * cos) / 2
        return float(x - half_x), float(y - half_y), 2 * half_x, 2 * half_y

    gray = (labelled.CANVAS_GRAY,) * 3
    picture = cv2.warpAffine(shot.picture, matrix, size, flags=cv2.INTER_CUBIC, borderValue=gray)
    return Shot(picture, tuple(map(turned, shot.faces)), tuple(map(turned, shot.ignored)))


# --- light and quality


def lit(shot: Shot, share: float, noise: float = 3.0) -> Shot:
    """Take a share of the light, and add the noise of a sensor."""
    grain = np.random.default_rng(1).normal(0, noise, shot.picture.shape)
    return replace(shot, picture=np.clip(shot.picture * share + grain, 0, 255).astype(np.uint8))


def half_lit(shot: Shot) -> Shot:
    """Put the left half into the dark, as a stage or a window does."""
    dark, half = lit(shot, 0.15).picture, shot.picture.shape[1] // 2
    return replace(shot, picture=np.hstack([dark[:, :half], shot.picture[:, half:]]))


def hazy(shot: Shot) -> Shot:
    """Take most of the contrast: fog, or light from behind."""
    return replace(shot, picture=(shot.picture * 0.25 + 170).astype(np.uint8))


def gray(shot: Shot) -> Shot:
    """Take the colour, and store one channel."""
    return replace(shot, picture=cv2.cvtColor(shot.picture, cv2.COLOR_BGR2GRAY))


def scaled(shot: Shot, factor: float) -> Shot:
    """Scale, labels as well."""
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(shot.picture, None, fx=factor, fy=factor, interpolation=way)
    faces, ignored = (
        tuple((x * factor, y * factor, w * factor, h * factor) for x, y, w, h in those)
        for those in (shot.faces, shot.ignored)
    )
    return replace(shot, picture=picture, faces=faces, ignored=ignored)


def enlarged(shot: Shot, megapixels: float = 12) -> Shot:
    """Scale to the size that cameras write, with a little grain."""
    rows, columns = shot.picture.shape[:2]
    return lit(replace(scaled(shot, math.sqrt(megapixels * 1e6 / (rows * columns))), quality=90), 1.0, 2.0)


# --- frames


def cropped(shot: Shot, left: float, top: float, right: float, bottom: float) -> Shot:
    """Cut out a part. Of a face that is cut, the rest counts; one of which little is left does not count."""
    x, y = max(0, round(left)), max(0, round(top))
    picture = np.ascontiguousarray(shot.picture[y : max(y + 1, round(bottom)), x : max(x + 1, round(right))])
    faces: list[Box] = []
    ignored: list[Box] = []
    for box in shot.faces:
        rest = _within((box[0] - x, box[1] - y, box[2], box[3]), picture)
        if rest is not None:
            (faces if rest[2] * rest[3] >= SHOWN * box[2] * box[3] else ignored).append(rest)
    ignored += filter(None, (_within((a - x, b - y, w, h), picture) for a, b, w, h in shot.ignored))
    return Shot(picture, tuple(faces), tuple(ignored))


def _within(box: Box, picture: Pixels) -> Box | None:
    left, top = max(0.0, box[0]), max(0.0, box[1])
    right, bottom = min(picture.shape[1], box[0] + box[2]), min(picture.shape[0], box[1] + box[3])
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def cut(shot: Shot, side: int) -> Shot | None:
    """Let the frame cut a face in half: its left, its right, its chin or its forehead is gone. No other face counts.

    Of the faces that are large enough, the one whose cut leaves most of the photo.
    """
    rows, columns = shot.picture.shape[:2]

    def frame(face: Box) -> Box:
        x, y, w, h = face
        middle, half = x + w / 2, y + h / 2
        return ((middle, 0, columns, rows), (0, 0, middle, rows), (0, 0, columns, half), (0, half, columns, rows))[side]

    def left(face: Box) -> float:
        a, b, c, d = frame(face)
        return (c - a) * (d - b)

    face = max((face for face in shot.faces if face[3] >= LEAST_CUT_PX), key=left, default=None)
    if face is None or left(face) < LEAST_LEFT * rows * columns:
        return None
    others = tuple(_around(box) for box in shot.faces if box is not face)
    return cropped(replace(shot, faces=(face,), ignored=(*shot.ignored, *others)), *frame(face))


def filling(shot: Shot, height: float) -> Shot | None:
    """Let the largest face fill more than half of the frame, at a height in pixels."""
    face = shot.largest
    if face is None:
        return None
    x, y, w, h = face
    close = cropped(shot, x - w * 0.2, y - h * 0.15, x + w * 1.2, y + h * 1.15)
    return lit(scaled(close, height / h), 1.0, 2.0)


def _around(box: Box) -> Box:
    """Grow a box by half on each side: what a redaction of that face may cover, margin and all."""
    x, y, w, h = box
    return x - w / 2, y - h / 2, 2 * w, 2 * h


def bordered(shot: Shot, value: int) -> Shot:
    """Put the photo into a frame of one colour, twice as wide and high."""
    rows, columns = shot.picture.shape[:2]
    picture = np.full((2 * rows, 2 * columns, 3), value, np.uint8)
    return _pasted(replace(shot, picture=picture, faces=(), ignored=()), shot, columns // 2, rows // 2)


def _pasted(below: Shot, shot: Shot, x: int, y: int) -> Shot:
    rows, columns = shot.picture.shape[:2]
    below.picture[y : y + rows, x : x + columns] = shot.picture
    faces = (*below.faces, *labelled.moved(shot.faces, x, y))
    return replace(below, faces=faces, ignored=(*below.ignored, *labelled.moved(shot.ignored, x, y)))


# --- several photos in one


def side_by_side(shots: list[Shot]) -> Shot:
    """Put photos of one height side by side."""
    rows = max(shot.picture.shape[0] for shot in shots)
    columns = sum(shot.picture.shape[1] for shot in shots)
    made, x = Shot(np.full((rows, columns, 3), labelled.CANVAS_GRAY, np.uint8), (), ()), 0
    for shot in shots:
        made = _pasted(made, shot, x, 0)
        x += shot.picture.shape[1]
    return made


def panoramas(shots: list[Shot], height: int = 800) -> Iterator[Shot]:
    """Put photos side by side until each strip is ten times as long as high."""
    strip: list[Shot] = []
    for shot in shots:
        strip.append(scaled(shot, height / shot.picture.shape[0]))
        if sum(one.picture.shape[1] for one in strip) >= 10 * height:
            yield side_by_side(strip)
            strip = []


def lying_beside(shots: list[Shot], height: int = 900) -> Iterator[Shot]:
    """Put one large lying face beside an upright photo with several: crowds first, each with another face."""
    large = [face for shot in shots if (face := filling(shot, 500)) is not None]
    crowds = sorted((shot for shot in shots if len(shot.faces) >= 5), key=lambda shot: -len(shot.faces))
    for number, crowd in enumerate(crowds[: len(large)]):
        lying = quarters(large[number], 1 + 2 * (number % 2))
        lying = scaled(lying, min(1.0, height / lying.picture.shape[0]))
        yield side_by_side([lying, scaled(crowd, height / crowd.picture.shape[0])])


KINDS: dict[str, Callable[[Shot], Shot | None]] = {
    "plain": lambda shot: shot,
    "tilted-45": lambda shot: tilted(shot, 45),
    "tilted-minus-45": lambda shot: tilted(shot, -45),
    "turned-90": lambda shot: quarters(shot, 1),
    "turned-180": lambda shot: quarters(shot, 2),
    "turned-270": lambda shot: quarters(shot, 3),
    "dark-0.2": lambda shot: lit(shot, 0.2),
    "dark-0.1": lambda shot: lit(shot, 0.1),
    "half-dark": half_lit,
    "grain-20": lambda shot: lit(shot, 1.0, 20.0),
    "haze": hazy,
    "gray": gray,
    "jpeg-30": lambda shot: replace(shot, quality=30),
    "half-size": lambda shot: scaled(shot, 0.5),
    "12-megapixels": enlarged,
    "cut-left": lambda shot: cut(shot, 0),
    "cut-right": lambda shot: cut(shot, 1),
    "cut-chin": lambda shot: cut(shot, 2),
    "cut-forehead": lambda shot: cut(shot, 3),
    "filling-400": lambda shot: filling(shot, 400),
    "filling-1400": lambda shot: filling(shot, 1400),
    "black-margins": lambda shot: bordered(shot, 0),
    "white-margins": lambda shot: bordered(shot, 255),
}
MANY: dict[str, Callable[[list[Shot]], Iterator[Shot]]] = {"panorama": panoramas, "lying-beside-crowd": lying_beside}


def shot_of(photo: Labelled) -> Shot:
    """Decode a photo."""
    return Shot(labelled.pixels(photo.path), photo.faces, photo.ignored)


def write(kind: str, shots: list[Shot], out: str) -> None:
    """Write the photos of a kind."""
    folder = os.path.join(out, kind)
    os.makedirs(folder)
    made = []
    for number, shot in enumerate(shots):
        path = os.path.join(folder, f"{number:04}.jpg")
        labelled.save(path, shot.picture, quality=shot.quality)
        made.append(Labelled(path, shot.faces, shot.ignored))
    labelled.write_set(folder, made)
    bench.say(f"{kind}: {len(made)} photos, {sum(len(one.faces) for one in made)} faces")


def sorted_by_eye(photos: list[Labelled], chosen: dict[str, list[int]]) -> list[Shot]:
    """Take the photos that a list names; faces that it does not name do not count."""
    shots = []
    for photo in photos:
        numbers = next((those for name, those in chosen.items() if photo.path.endswith(f"/{name}")), None)
        if numbers is not None:
            faces = tuple(photo.faces[number] for number in numbers)
            others = tuple(_around(face) for number, face in enumerate(photo.faces) if number not in numbers)
            shots.append(replace(shot_of(photo), faces=faces, ignored=(*photo.ignored, *others)))
    return shots


def _photos(folders: list[str], most: int | None) -> list[Labelled]:
    return [photo for folder in folders for _, those in labelled.read_sets(folder, most) for photo in those]


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", help="folders with ann*.json and photos")
    parser.add_argument("--to", required=True, help="a new folder")
    parser.add_argument("--photos", type=int, help="at most so many photos of each set (not for --sorted)")
    parser.add_argument("--sorted", metavar="FILE", help="kinds that were sorted by eye, as JSON")
    arguments = parser.parse_args()
    os.makedirs(arguments.to)
    shots = [shot for photo in _photos(arguments.folders, arguments.photos) if (shot := shot_of(photo)).faces]
    for kind, make in KINDS.items():
        write(kind, [made for shot in shots if (made := make(shot)) is not None and made.faces], arguments.to)
    for kind, make_many in MANY.items():
        write(kind, list(make_many(shots)), arguments.to)
    if arguments.sorted is not None:
        photos = _photos(arguments.folders, None)
        with open(arguments.sorted, encoding="utf-8") as file:
            for kind, chosen in json.load(file).items():
                write(kind, sorted_by_eye(photos, chosen), arguments.to)


if __name__ == "__main__":
    main()
