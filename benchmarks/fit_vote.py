"""Fit the weights of the vote (faceblurd/imaging/detectors/vote_weights.py) to labelled photos.

    python benchmarks/fit_vote.py --people ann.json FOLDER --nobody ann.json FOLDER ... [--write FILE]

Annotations as benchmarks/accuracy.py reads them. `--people`: faces count, and what is no face does where CenterFace is
no surer than 0.35 (labels miss many a head); `--crowds`: the same, but from 0.15 on nothing that is unlabelled counts;
`--faces`: only the faces count (turned, darkened and cut copies); `--nobody`: everything found is none. Weights are
cross-validated (two folds, by photo) before they are fitted to all of it; the bars are then set by the false boxes on
the photos of nobody. Needs nothing beside faceblurd itself.
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
from faceblurd.imaging.detectors import open_detectors, vote

if TYPE_CHECKING:
    import numpy.typing as npt

SAME, HALF, HIDDEN, GROWN = 0.3, 0.5, 0.6, 0.2
RIDGE = 1.0
NORMAL_BAR = 0.25
FALSE_BOXES = {"LOW": 0.1, "NORMAL": 0.3, "HIGH": 0.7}  # of each photo of nobody
# How much what is no face weighs in each set, and how many such finds of one photo count in full.
WEIGHT = {"people": 20.0, "crowds": 20.0, "faces": 0.0, "nobody": 3.0}
UNLABELLED = {"people": 0.35, "crowds": 0.15, "faces": 0.0, "nobody": 1.0}
OF_ONE_PHOTO = 12
DOUBLED = 0.15  # overlap with a surer box of the same face, from which a box says nothing of what it would be alone
IN_A_CROWD = 1.0  # finds of nobody count again as if they stood in a crowd, with this weight


@dataclass
class Photo:
    """What was found in one photo. `label`: 1 a face, 0 none, -1 unknown."""

    role: str
    fold: int
    features: npt.NDArray[Any]
    label: npt.NDArray[Any]
    weight: npt.NDArray[Any]
    hides: npt.NDArray[Any] = field(default_factory=lambda: np.zeros((0, 0), bool))  # of each face, by each group
    small: npt.NDArray[Any] = field(default_factory=lambda: np.zeros(0, bool))


def looked_at(role: str, number: int, path: str, entry: dict[str, Any], search: Any) -> Photo:  # noqa: ANN401 - a Search
    """Search one photo and compare with its labels."""
    finds = search.finds(cv2.imread(path))
    grouped = list(vote.groups(finds))
    if not grouped:
        return Photo(role, number % 2, np.zeros((0, len(vote.FEATURES))), np.zeros(0), np.zeros(0))
    boxes = np.stack([finds[group[0], :4] for group in grouped])
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
    weight = np.where(label == 0, WEIGHT[role] * min(1, OF_ONE_PHOTO / max(1, none)), 0.3 if role == "faces" else 1.0)
    grown = np.hstack([boxes[:, :2] - GROWN * boxes[:, 2:], (1 + 2 * GROWN) * boxes[:, 2:]])
    hides = np.array([_shares(grown, face) >= HIDDEN for face in faces], bool).reshape(len(faces), len(boxes))
    return Photo(role, number % 2, described, label, weight, hides, faces[:, 3] < 16)


def _shares(boxes: npt.NDArray[Any], box: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return which share of one box lies in each of some others."""
    ends = np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:])
    sides = np.clip(ends - np.maximum(boxes[:, :2], box[:2]), 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1] / max(1e-9, box[2] * box[3]))


def fitted(photos: list[Photo]) -> npt.NDArray[Any]:
    """Return the weights and, last, the bias: ridge logistic regression by Newton's method."""
    rows, labels, weights = [], [], []
    for photo in photos:
        counts = (photo.label >= 0) & (photo.weight > 0)
        rows.append(photo.features[counts])
        labels.append(photo.label[counts])
        weights.append(photo.weight[counts])
        if photo.role == "nobody":
            crowd = photo.features[counts].copy()
            crowd[:, -1] = 0.6
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


def votes(photo: Photo, beta: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the votes of a photo's groups."""
    return np.asarray(1 / (1 + np.exp(-(photo.features @ beta[:-1] + beta[-1]))))


def report(photos: list[Photo], given: list[npt.NDArray[Any]], bar: float) -> str:
    """Say what a bar hides, and what is false."""
    parts = []
    for role in dict.fromkeys(photo.role for photo in photos):
        mine = [(photo, v >= bar) for photo, v in zip(photos, given, strict=True) if photo.role == role]
        false = sum(int(((photo.label == 0) & kept).sum()) for photo, kept in mine) / len(mine)
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
    halves = [fitted([photo for photo in photos if photo.fold != fold]) for fold in (0, 1)]
    crossed = [votes(photo, halves[photo.fold]) for photo in photos]
    beta = fitted(photos)
    own = [votes(photo, beta) for photo in photos]
    nobody = [photo.role == "nobody" for photo in photos]
    bars = {}
    for name, most in FALSE_BOXES.items():
        for title, given in (("cross-validated", crossed), ("fitted", own)):
            there = [v for v, no in zip(given, nobody, strict=True) if no]
            ordered = np.sort(np.concatenate(there))[::-1]
            bar = float(ordered[min(len(ordered) - 1, int(most * sum(nobody)))]) + 1e-6
            print(f"{name} {title}: {report(photos, given, bar)}")
        bars[name] = bar
    if options.write:
        _write(options.write, *_shifted(beta, bars))


def _shifted(beta: npt.NDArray[Any], bars: dict[str, float]) -> tuple[npt.NDArray[Any], dict[str, float]]:
    """Move all votes together, so that the bar of `normal` is a fixed one: weights of sets are no share of faces."""

    def odds(value: float) -> float:
        return float(np.log(value / (1 - value)))

    by = odds(NORMAL_BAR) - odds(bars["NORMAL"])
    moved = np.append(beta[:-1], beta[-1] + by)
    return moved, {name: float(1 / (1 + np.exp(-(odds(bar) + by)))) for name, bar in bars.items()}


def _write(path: str, beta: npt.NDArray[Any], bars: dict[str, float]) -> None:
    weights = "\n".join(f"    {value:.4f},  # {name}" for name, value in zip(vote.FEATURES, beta, strict=False))
    levels = "\n".join(f"    Sensitivity.{name}: {bar:.4f}," for name, bar in bars.items())
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            '"""The fitted numbers of the vote, as benchmarks/fit_vote.py wrote them (docs/accuracy.md)."""\n'
            "\n"
            "from __future__ import annotations\n\nfrom typing import TYPE_CHECKING, Final\n\n"
            "from faceblurd.model import Sensitivity\n\nif TYPE_CHECKING:\n    from collections.abc import Mapping\n\n"
            f"WEIGHTS: Final = (\n{weights}\n)\nBIAS: Final = {beta[-1]:.4f}\n"
            f"BARS: Final[Mapping[Sensitivity, float]] = {{\n{levels}\n}}\n"
        )


if __name__ == "__main__":
    main()
