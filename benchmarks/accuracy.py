"""How many faces the installed command hides, how many boxes hide none, and what is held, on labelled photos.

Every method runs once, as a user would run it, over all sets at all sizes: the photos as they are, and packed unscaled
into photos of 11 megapixels (the form of the folders is in the head of `labelled.py`). A file that did not come out
counts as shown: every face in it is not hidden. What counts as hidden and as false is in the head of `judging.py`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bench
import commands
import labelled
from judging import BINS, Tally, bin_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from labelled import Box, Labelled

AS_IS, CANVAS = "as they are", "canvas"
SIZES = (AS_IS, CANVAS)
DEFAULT = "fast,balanced,thorough,classic"


@dataclass(frozen=True, slots=True)
class Set:
    """Photos in a folder of their own, of which a command sees nothing but the photos."""

    title: str
    size: str
    photos: tuple[Labelled, ...]


def prepare(folders: Iterable[str], sizes: Sequence[str], most: int | None, into: str) -> list[Set]:
    """Copy and pack the photos of all sets below a folder."""
    sets: list[Set] = []
    for folder in folders:
        for title, photos in labelled.read_sets(folder, most):
            for size in sizes:
                place = os.path.join(into, str(len(sets)))
                os.mkdir(place)
                ready = _copied(photos, place) if size == AS_IS else _packed(title, photos, place)
                sets.append(Set(title, size, tuple(ready)))
    return sets


def _copied(photos: Iterable[Labelled], place: str) -> list[Labelled]:
    copies = []
    for number, one in enumerate(photos):
        path = os.path.join(place, f"{number}-{os.path.basename(one.path)}")
        shutil.copyfile(one.path, path)
        copies.append(labelled.Labelled(path, one.faces, one.ignored, one.holds))
    return copies


def _packed(title: str, photos: Sequence[Labelled], place: str) -> list[Labelled]:
    canvases = labelled.packed(photos, place)
    missing = len(photos) - sum(one.holds for one in canvases)
    if missing:
        bench.say(f"{title}: {missing} photos are larger than a canvas, and left out of it")
    return canvases


def judge(sets: Iterable[Set], lines: Iterable[commands.Line]) -> list[Tally]:
    """Judge what a command said and left, set by set."""
    reports = {line.said["path"]: line.said for line in lines}
    tallies = []
    for each in sets:
        tally = Tally()
        for photo in each.photos:
            _judge_photo(photo, reports.get(photo.path, {}), tally)
        tallies.append(tally)
    return tallies


def _judge_photo(photo: Labelled, report: dict[str, Any], tally: Tally) -> None:
    if not report.get("output") or not os.path.isfile(report["output"]):
        tally.add_held(photo, report.get("reason") or "no result")
        return
    tally.milliseconds.append(report["milliseconds"])
    before, after = labelled.pixels(photo.path), labelled.pixels(report["output"])
    boxes = [(one["x"], one["y"], one["width"], one["height"]) for one in report["regions"]]
    if before.shape != after.shape:
        raise SystemExit(f"{report['output']}: is not of the size of its source")
    changed = [box for box in boxes if _changed(box, before, after)]
    tally.unchanged += len(boxes) - len(changed)
    tally.add(photo, changed, before.shape[1], before.shape[0])


def _changed(box: Box, before: labelled.Pixels, after: labelled.Pixels) -> bool:
    """Say whether the middle of a box is not what it was: a box that is reported, but not redacted, hides nothing."""
    x, y, width, height = (round(value) for value in box)
    rows = slice(y + height // 4, y + max(height // 4 + 1, height * 3 // 4))
    columns = slice(x + width // 4, x + max(width // 4 + 1, width * 3 // 4))
    return bool((before[rows, columns] != after[rows, columns]).any())


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Run every method on everything; return a row for each set and method."""
    programs = commands.Commands(arguments.faceblurd, arguments.deface)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="faceblurd-accuracy-") as scratch:
        source = os.path.join(os.path.realpath(scratch), "photos")
        os.mkdir(source)
        sets = prepare(arguments.folders, arguments.sizes.split(","), arguments.photos, source)
        bench.say(f"{sum(len(one.photos) for one in sets)} photos in {len(sets)} sets")
        for method in arguments.methods.split(","):
            start, target = time.monotonic(), os.path.join(scratch, "out")
            lines = commands.run(programs.argv(method, source, target, scratch))
            seconds = time.monotonic() - start
            bench.say(f"{method}: {seconds:.0f} s")
            for each, tally in zip(sets, judge(sets, lines), strict=True):
                rows.append({"set": each.title, "size": each.size, "method": method, **tally.row()})
            shutil.rmtree(target, ignore_errors=True)
    return rows


# --- tables


def report(rows: list[dict[str, Any]], *, brief: bool) -> None:
    """Print what is hidden and what is false in brief, and a table for each set and size."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    kinds = list(dict.fromkeys((row["set"], row["size"]) for row in rows))
    by = {kind: [row for row in rows if (row["set"], row["size"]) == kind] for kind in kinds}
    shown = [those for those in by.values() if those[0]["faces"]]
    if shown:
        bench.show(
            "Hidden % of all faces / from 16 pixels",
            ("set", "photos", "faces", *methods),
            [(_name(those[0]), those[0]["photos"], those[0]["faces"], *map(_hidden, those)) for those in shown],
        )
    bench.show(
        "False boxes a photo; on canvases, per small photo in them",
        ("set", "photos", *methods),
        [(_name(those[0]), those[0]["small_photos"], *map(_false, those)) for those in by.values()],
    )
    for (title, size), those in () if brief else by.items():
        _table(title, size, those)


def _table(title: str, size: str, rows: list[dict[str, Any]]) -> None:
    first = rows[0]
    packed = "" if first["small_photos"] == first["photos"] else f" with {first['small_photos']} small ones in them"
    names = [bin_name(low, high) for low, high in BINS]
    names = [name for name in names if first["bins"][name] is not None]
    hidden = ("all, %", "from 16 px", *(f"{name} px" for name in names)) if first["faces"] else ()
    bench.show(
        f"{title}, {size}: {first['photos']} photos{packed}, {first['faces']} faces",
        ("method", *hidden, "held", "false boxes a photo", "boxes"),
        [(row["method"], *((_percent(row["hidden"]), _percent(row["hidden_from_16"]),
                            *(_percent(row["bins"][name]) for name in names)) if first["faces"] else ()),
          row["held"], row["false_per_photo"], row["boxes"]) for row in rows],
    )  # fmt: skip
    for row in rows:
        if row["held"]:
            print(f"\n{row['method']} held {', '.join(row['held_photos'])}.")
        if row["unchanged"]:
            print(f"\n{row['method']}: {row['unchanged']} boxes were reported, and nothing changed there.")


def _name(row: dict[str, Any]) -> str:
    return f"{row['set']}, {row['size']}"


def _hidden(row: dict[str, Any]) -> str:
    return f"{_percent(row['hidden'])} / {_percent(row['hidden_from_16'])}{_held(row)}"


def _false(row: dict[str, Any]) -> str:
    return f"{row['false_per_photo']:.2f}{'' if row['faces'] else _held(row)}"


def _held(row: dict[str, Any]) -> str:
    return f" ({row['held']} held)" if row["held"] else ""


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def main() -> None:
    """Run."""
    parser = bench.parser(__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", help="folders with ann*.json and photos")
    parser.add_argument("--methods", default=DEFAULT, help="recipes, RECIPE/SENSITIVITY, reference, deface")
    parser.add_argument("--sizes", default=",".join(SIZES), help="with commas")
    parser.add_argument("--photos", type=int, help="at most so many photos of each set")
    parser.add_argument("--brief", action="store_true", help="one table only")
    commands.add_options(parser)
    arguments = parser.parse_args()
    rows = measure(arguments)
    report(rows, brief=arguments.brief)
    bench.finish(arguments, {"rows": rows})


if __name__ == "__main__":
    main()
