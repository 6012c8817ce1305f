"""Fit the weights of the vote (faceblurd/imaging/detect/vote_weights.py) to labelled photos.

    python benchmarks/fit_vote.py --people ann.json FOLDER --nobody ann.json FOLDER ... [--write FILE]

Annotations as benchmarks/accuracy.py reads them. `--people`: faces count, and what is no face does (heads that nobody
labelled belong under `ignore`, or the vote learns that heads are nobody); `--crowds`: the same, but what CenterFace
gives 0.15 and nobody labelled counts neither way; `--faces`: only the faces count (turned, darkened and cut copies);
`--nobody`: everything found is none. Two votes are fitted to the same finds: the first, and the one with a second
opinion. Both are cross-validated (two folds, by photo) before they are fitted to all of it; they are then moved to
the bar by the false boxes on the photos of nobody. Needs nothing beside faceblurd itself.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from faceblurd.config.recipes import builtin_recipe
from faceblurd.imaging.detect import open_detectors, vote

if TYPE_CHECKING:
    import numpy.typing as npt

SAME, HALF, HIDDEN, GROWN = 0.3, 0.5, 0.6, 0.2
RIDGE = 1.0
NORMAL_BAR = 0.25
FALSE_BOXES = {"LOW": 0.1, "NORMAL": 0.3, "HIGH": 0.7}  # of each photo of nobody, after the first vote
LEFT = 0.13  # after the second one, of those that have an opinion, at the bar of `normal`
# How much what is no face weighs in each set, and how many such finds of one photo count in full.
WEIGHT = {"people": 20.0, "crowds": 20.0, "faces": 0.0, "nobody": 3.0}
UNLABELLED = {"people": 1.0, "crowds": 0.15, "faces": 0.0, "nobody": 1.0}
WORTH = 0.005  # what the installed vote calls less likely is not looked at again, and not fitted to opinions
TINY_PX, TINY = 13, 0.3  # faces below this size weigh less: whoever finds each of them takes every knob for one
OF_ONE_PHOTO = 12
DOUBLED = 0.15  # overlap with a surer box of the same face, from which a box says nothing of what it would be alone
IN_A_CROWD = 1.0  # finds of nobody count again as if they stood in a crowd, with this weight


@dataclass
class Photo:
    """What was found in one photo. `label`: 1 a face, 0 none, -1 unknown.

    `again`: the features with a second opinion, NaN where none was asked. `holds`: how many photos were packed into it.
    """

    role: str
    fold: int
    features: npt.NDArray[Any]
    again: npt.NDArray[Any]
    label: npt.NDArray[Any]
    weight: npt.NDArray[Any]
    hides: npt.NDArray[Any] = field(default_factory=lambda: np.zeros((0, 0), bool))  # of each face, by each group
    small: npt.NDArray[Any] = field(default_factory=lambda: np.zeros(0, bool))
    holds: int = 1


def looked_at(role: str, number: int, path: str, entry: dict[str, Any], search: Any) -> Photo:  # noqa: ANN401 - a Search
    """Search one photo and compare with its labels."""
    seen = search.look(cv2.imread(path))
    finds = seen.finds
    grouped = list(vote.groups(finds))
    if not grouped:
        rows = np.zeros((0, len(vote.FEATURES) + 1))
        return Photo(role, number % 2, rows[:, 1:], rows, np.zeros(0), np.zeros(0), holds=entry.get("holds", 1))
    best = np.stack([finds[group[0]] for group in grouped])
    boxes = best[:, :4]
    faces = np.array(entry["faces"], np.float32).reshape(-1, 4)
    known = np.array([*entry["faces"], *entry.get("ignore", [])], np.float32).reshape(-1, 4)
    meets = np.array([vote.overlaps(faces, box).max(initial=0.0) for box in boxes])
    mostly = np.array([_shares(known, box).max(initial=0.0) for box in boxes])
    sure = np.array([finds[group][finds[group][:, vote.NETWORK] > 0, vote.SCORE].max(initial=0.0) for group in grouped])
    label = np.where(meets >= SAME, 1, np.where((mostly >= HALF) | (meets >= 0.2) | (sure >= UNLABELLED[role]), -1, 0))
    described = vote.features(finds, grouped)
    beside, inside = (described[:, vote.FEATURES.index(name)] for name in ("beside", "inside"))
    label[(label == 1) & ((beside > DOUBLED) | (inside > HALF))] = -1
    none = np.count_nonzero(label == 0)
    is_tiny = (np.sqrt(boxes[:, 2] * boxes[:, 3]) < TINY_PX) & (role != "faces")
    weight = np.where(label == 0, WEIGHT[role] * min(1, OF_ONE_PHOTO / max(1, none)), np.where(is_tiny, TINY, 1.0))
    grown = np.hstack([boxes[:, :2] - GROWN * boxes[:, 2:], (1 + 2 * GROWN) * boxes[:, 2:]])
    hides = np.array([_shares(grown, face) >= HIDDEN for face in faces], bool).reshape(len(faces), len(boxes))
    worth = vote.first(described) >= WORTH
    again = np.full((len(boxes), len(vote.FEATURES) + 1), np.nan)
    if worth.any():
        again[worth] = vote.with_opinions(described[worth], search.again(best[worth], seen))
    return Photo(role, number % 2, described, again, label, weight, hides, faces[:, 3] < 16, entry.get("holds", 1))


def _shares(boxes: npt.NDArray[Any], box: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return which share of one box lies in each of some others."""
    ends = np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:])
    sides = np.clip(ends - np.maximum(boxes[:, :2], box[:2]), 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1] / max(1e-9, box[2] * box[3]))


def fitted(photos: list[Photo], what: str) -> npt.NDArray[Any]:
    """Return the weights and, last, the bias: ridge logistic regression by Newton's method. `what`: see `Photo`."""
    rows, labels, weights = [], [], []
    for photo in photos:
        features = getattr(photo, what)
        counts = (photo.label >= 0) & (photo.weight > 0) & ~np.isnan(features).any(axis=1)
        rows.append(features[counts])
        labels.append(photo.label[counts])
        weights.append(photo.weight[counts])
        if photo.role == "nobody":
            crowd = features[counts].copy()
            crowd[:, vote.FEATURES.index("crowd")] = 0.6
            rows.append(crowd)
            labels.append(photo.label[counts])
            weights.append(photo.weight[counts] * IN_A_CROWD)
    x = np.hstack([np.vstack(rows), np.ones((sum(map(len, rows)), 1))])
    y, w = np.concatenate(labels), np.concatenate(weights)
    ridge = np.diag([RIDGE] * (x.shape[1] - 1) + [1e-6])
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        slope = x.T @ (w * (p - y)) + ridge @ beta
        beta = beta - np.linalg.solve((x * (w * p * (1 - p))[:, None]).T @ x + ridge, slope)
    return beta


def votes(photo: Photo, beta: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
    """Return the votes of a photo's groups; 0 where there is no second opinion: the report counts them as dropped."""
    return np.nan_to_num(1 / (1 + np.exp(-(getattr(photo, what) @ beta[:-1] + beta[-1]))))


def report(photos: list[Photo], given: list[npt.NDArray[Any]], bar: float) -> str:
    """Say what a bar hides, and what is false."""
    parts = []
    for role in dict.fromkeys(photo.role for photo in photos):
        mine = [(photo, v >= bar) for photo, v in zip(photos, given, strict=True) if photo.role == role]
        count = sum(photo.holds for photo, _ in mine)
        false = sum(int(((photo.label == 0) & kept).sum()) for photo, kept in mine) / count
        hidden = [hit for photo, kept in mine for hit in (photo.hides & kept).any(axis=1)]
        large = [h for p, k in mine for h, s in zip((p.hides & k).any(axis=1), p.small, strict=True) if not s]
        shown = f"{100 * np.mean(hidden):.1f} / {100 * np.mean(large):.1f} hidden, " if hidden else ""
        parts.append(f"{role}: {shown}{false:.2f} false a photo")
    return f"bar {bar:.3f}  " + "; ".join(parts)


def main() -> None:
    """Read the sets, fit, report, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for role in WEIGHT:
        parser.add_argument(f"--{role}", nargs=2, action="append", default=[], metavar=("ANN", "FOLDER"))
    parser.add_argument("--recipe", default="balanced")
    parser.add_argument("--write", help="the file to write")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    search = open_detectors(builtin_recipe(options.recipe).detection)[0]
    photos = []
    for role in WEIGHT:
        for listed, folder in getattr(options, role):
            with open(listed, encoding="utf-8") as file:
                entries = json.load(file)
            photos += [
                looked_at(role, number, os.path.join(folder, entry["image"]), entry, search)
                for number, entry in enumerate(entries)
            ]
    first, bars = _fit(photos, "features", FALSE_BOXES)
    second, _ = _fit(photos, "again", {"NORMAL": LEFT})
    if options.write:
        _write(options.write, first, second, bars)


def _fit(photos: list[Photo], what: str, most: dict[str, float]) -> tuple[npt.NDArray[Any], dict[str, float]]:
    """Cross-validate, fit, report; return the weights, and the bar for so many false boxes on each photo of nobody.

    All votes are moved together, so that the bar of `normal` is a fixed one: weights of sets are no share of faces.
    """
    halves = [fitted([photo for photo in photos if photo.fold != fold], what) for fold in (0, 1)]
    beta = fitted(photos, what)
    crossed = [votes(photo, halves[photo.fold], what) for photo in photos]
    own = [votes(photo, beta, what) for photo in photos]
    bars = {}
    for name, boxes in most.items():
        for title, given in (("cross-validated", crossed), ("fitted", own)):
            there = [v for v, photo in zip(given, photos, strict=True) if photo.role == "nobody"]
            count = sum(photo.holds for photo in photos if photo.role == "nobody")
            ordered = np.sort(np.concatenate(there))[::-1]
            bars[name] = float(ordered[min(len(ordered) - 1, int(boxes * count))]) + 1e-6
            print(f"{what}, {name} {title}: {report(photos, given, bars[name])}")
    by = _odds(NORMAL_BAR) - _odds(bars["NORMAL"])
    moved = {name: float(1 / (1 + np.exp(-(_odds(bar) + by)))) for name, bar in bars.items()}
    return np.append(beta[:-1], beta[-1] + by), moved


def _odds(value: float) -> float:
    return float(np.log(value / (1 - value)))


def _write(path: str, first: npt.NDArray[Any], second: npt.NDArray[Any], bars: dict[str, float]) -> None:
    weights, again = (
        "\n".join(f"    {value:.4f},  # {name}" for name, value in zip((*vote.FEATURES, "opinion"), beta, strict=False))
        for beta in (first[:-1], second[:-1])
    )
    levels = "\n".join(f"    Sensitivity.{name}: {bar:.4f}," for name, bar in bars.items())
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            '"""The fitted numbers of the vote, as benchmarks/fit_vote.py wrote them (docs/accuracy.md)."""\n'
            "\n"
            "from __future__ import annotations\n\nfrom typing import TYPE_CHECKING, Final\n\n"
            "from faceblurd.model import Sensitivity\n\nif TYPE_CHECKING:\n    from collections.abc import Mapping\n\n"
            f"WEIGHTS: Final = (\n{weights}\n)\nBIAS: Final = {first[-1]:.4f}\n"
            f"AGAIN: Final = (\n{again}\n)\nAGAIN_BIAS: Final = {second[-1]:.4f}\n"
            f"BARS: Final[Mapping[Sensitivity, float]] = {{\n{levels}\n}}\n"
        )


if __name__ == "__main__":
    main()
