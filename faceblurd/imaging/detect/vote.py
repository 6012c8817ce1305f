"""One vote on what both networks saw, at all scales and in every light: whether it is a face.

A logistic function of a few features of each group of finds that mean the same thing; what it leaves in doubt is looked
at again, and voted on anew with that opinion. Its weights were fitted by benchmarks/fit_vote.py, which says how; they
stand in `vote_weights`. Sees no pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from faceblurd.imaging.detect.vote_weights import (
    AGAIN,
    AGAIN_BIAS,
    BARS,
    BIAS,
    WEIGHTS,
)
from faceblurd.model import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    Finds = npt.NDArray[np.float32]

__all__ = ["BARS", "COLUMNS", "faces", "features", "groups", "without_doubles"]

COLUMNS: Final = ("x", "y", "width", "height", "score", "network", "scale", "quarters", "lit")
"""Of a row of finds; network: 0 for YuNet, 1 for CenterFace."""

SCORE, NETWORK, SCALE, QUARTERS, LIT = 4, 5, 6, 7, 8
_SAME_LOOK: Final = 0.4  # overlap (intersection over union) from which two finds of one look are one
_SAME_FACE: Final = 0.35
_LEAST: Final = (0.5, 0.1)  # what YuNet, or CenterFace, must score at least for a group to begin with
_TRUSTED: Final = 0.1  # CenterFace's boxes fit better: its score counts for so much more in the choice of the box
_MOST_GROUPS: Final = 3000  # noise has more, and no photo of people
_DOUBLE: Final = 0.45
_SILENCE, _CERTAINTY = 0.03, 0.97  # scores beyond these say no more
_ABOUT: Final = 0.1  # a difference of scores that says nothing
_SURE: Final = 0.35
_LIKE, _NEAR, _ENOUGH, _SMALL_PX = 1.7, (0.5, 12.0), 3, 24.0  # see `_crowd`
_SURELY: Final = 0.997  # from here on nothing is in doubt
_MOST_AGAIN: Final = 40  # so many are looked at again, the least sure first: crowds have hundreds
NAMES: Final = ("yunet", "centerface")


def faces(
    finds: Finds, *, bar: float, again: Callable[[Finds], npt.NDArray[np.float64]] | None = None
) -> list[Region]:  # fmt: skip
    """Return what is a face, surest first: its best box, rounded outward; the score is the vote, from 0 to 1.

    `again` gives a second score of finds, NaN for those of which it says nothing. It is asked for what is no more than
    likely, and is one feature more.
    """
    grouped = list(groups(finds))
    if not grouped:
        return []
    best = np.stack([finds[group[0]] for group in grouped])
    described = features(finds, grouped)
    votes = first(described)
    asked = doubtful(votes, bar)
    if again and len(asked):
        second = _logistic(with_opinions(described[asked], again(best[asked])) @ np.array(AGAIN) + AGAIN_BIAS)
        votes[asked] = np.where(np.isnan(second), votes[asked], second)
    boxes = best[:, :4]
    order = [int(index) for index in np.argsort(-votes, kind="stable") if votes[index] >= bar]
    kept: list[int] = []
    for index in order:
        if not kept or overlaps(boxes[kept], boxes[index]).max() < _DOUBLE:
            kept.append(index)
    return [_region(finds, grouped[index], boxes[index], float(votes[index])) for index in kept]


def first(described: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the votes on some groups, without a second opinion."""
    return _logistic(described @ np.array(WEIGHTS) + BIAS)


def doubtful(votes: npt.NDArray[np.float64], bar: float) -> npt.NDArray[np.intp]:
    """Return which votes reach the bar, and are worth a second look all the same: the least sure first."""
    order = np.argsort(votes, kind="stable")
    return order[(votes[order] >= bar) & (votes[order] < _SURELY)][:_MOST_AGAIN]


def with_opinions(described: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Add second opinions to the features of some groups, as log-odds above silence."""
    return np.hstack([described, np.array([[_odds(float(score))] for score in scores])])


def _logistic(odds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-odds)))


def groups(finds: Finds) -> Iterator[npt.NDArray[np.intp]]:
    """Gather the finds that mean one thing, around the best, then around the best of the rest; the best comes first."""
    worth = finds[:, SCORE] + _TRUSTED * finds[:, NETWORK]
    order = np.argsort(-worth, kind="stable")
    free = np.ones(len(finds), np.bool_)
    begins = finds[:, SCORE] >= np.where(finds[:, NETWORK] > 0, _LEAST[1], _LEAST[0])
    from_left = np.argsort(finds[:, 0], kind="stable")
    lefts = finds[from_left, 0]
    count = 0
    for index in order:
        if free[index] and begins[index] and count < _MOST_GROUPS:
            left, width = finds[index, 0], finds[index, 2]
            # What overlaps so much begins no further to the left than its own width allows, and ends the same way.
            start, end = np.searchsorted(lefts, (left - width / _SAME_FACE, left + width))
            there = from_left[start:end]
            there = there[free[there]]
            near = there[overlaps(finds[there, :4], finds[index, :4]) >= _SAME_FACE]
            near = np.sort(near[near != index])
            free[near] = free[index] = False
            count += 1
            yield np.concatenate([[index], near])


def without_doubles(finds: Finds) -> Finds:
    """Keep the best of what one look of one network found in one place."""
    looks = np.unique(finds[:, NETWORK:], axis=0)
    kept = [np.zeros((0, finds.shape[1]), np.float32)]
    for look in looks:
        own = finds[(finds[:, NETWORK:] == look).all(axis=1)]
        kept.append(own[_best(own)])
    return np.vstack(kept)


def _best(own: Finds) -> list[int]:
    import cv2  # noqa: PLC0415 - loaded already, and not by those who read the weights

    corners = own[:, :4].astype(float)
    chosen = cv2.dnn.NMSBoxes(corners.tolist(), own[:, SCORE].astype(float).tolist(), 0.0, _SAME_LOOK)
    return [int(index) for index in np.asarray(chosen).reshape(-1)]


FEATURES: Final = (
    "yunet", "yunet_second", "centerface", "centerface_second", "small", "large", "small_centerface",
    "large_centerface", "small_yunet", "large_yunet", "enlarged", "enlarged_centerface", "turned", "lit", "beside",
    "inside", "crowd",
)  # fmt: skip


def features(finds: Finds, grouped: list[npt.NDArray[np.intp]]) -> npt.NDArray[np.float64]:
    """Describe each group: a row of `FEATURES`.

    Scores enter as log-odds above silence, the best and the second best over the scales. `small` and `large`: how many
    times the face would have to be doubled or halved to be 16 pixels; `enlarged`: how many times the photo was doubled
    where it was seen best; `turned` and `lit`: 1 where only such a look shows it; `beside`, `inside`: see `_shaded`;
    `crowd`: see `_crowd`.
    """
    rows = np.array([_described(finds[group]) for group in grouped])
    boxes = np.stack([finds[group[0], :4] for group in grouped]).astype(float)
    y1, y2, c1, c2, enlarged, turned, lit, best = rows.T
    doublings = np.log2(np.sqrt(boxes[:, 2] * boxes[:, 3]) / 16)
    small, large = np.maximum(-doublings, 0), np.maximum(doublings, 0)
    columns = (
        y1, y2, c1, c2, small, large, small * c1, large * c1, small * y1, large * y1, enlarged, enlarged * c1,
        turned, lit, *_shaded(boxes, best), _crowd(boxes, best),
    )  # fmt: skip
    return np.stack(columns, axis=1)


def _described(group: Finds) -> tuple[float, ...]:
    """Give what `features` needs of one group: four log-odds, three hints, and CenterFace's best score."""
    seen: tuple[dict[float, float], dict[float, float]] = ({}, {})  # by network: the best score at each scale
    plain = most = 0.0
    for row in group.tolist():
        score, scale = row[SCORE], row[SCALE]
        own = seen[int(row[NETWORK])]
        own[scale] = max(score, own.get(scale, 0.0))
        most = max(most, score)
        if not row[QUARTERS] and not row[LIT]:
            plain = max(plain, score)
    odds: list[float] = []
    best, scale = 0.0, 1.0
    for network, own in enumerate(seen):
        by_scale = sorted((score, at) for at, score in own.items())
        odds += [_odds(by_scale[-1][0]) if by_scale else 0.0, _odds(by_scale[-2][0]) if len(by_scale) > 1 else 0.0]
        if by_scale:  # CenterFace's, where it saw anything
            best, scale = by_scale[-1][0] * network, by_scale[-1][1]
    hidden = plain < most - _ABOUT
    turned, lit = (float(hidden and group[0, column] > 0) for column in (QUARTERS, LIT))
    return (*odds, math.log2(min(max(scale, 1), 8)), turned, lit, best)


def _odds(score: float) -> float:
    """Return the log-odds of a score, shifted so that silence is 0."""
    score = min(max(score, _SILENCE), _CERTAINTY)
    return math.log(score / (1 - score)) - math.log(_SILENCE / (1 - _SILENCE))


def _crowd(boxes: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Say from 0 to 1 how much a small face stands among others: tiny ones are blurred, but seldom alone.

    Three sure faces of like size within a dozen of their sizes make 1, where the face has 12 pixels or fewer; from 24
    pixels on it is 0, since hands beside faces would count as well.
    """
    size = np.sqrt(boxes[:, 2] * boxes[:, 3])
    middle = boxes[:, :2] + boxes[:, 2:4] / 2
    others = np.zeros(len(boxes))
    for other in np.flatnonzero(scores >= _SURE):
        ratio = size[other] / size
        away = np.hypot(*(middle - middle[other]).T) / size
        others += (ratio < _LIKE) & (ratio > 1 / _LIKE) & (away < _NEAR[1]) & (away > _NEAR[0])
    small = np.clip(np.log2(_SMALL_PX / size), 0, 1)
    return np.asarray(np.minimum(others, _ENOUGH) / _ENOUGH * small)


def _shaded(boxes: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Say how much each box overlaps a surer face (intersection over union), and which share of it lies inside one.

    Shoulders, collars and hands beside a face look a little like one.
    """
    shaded = np.zeros((2, len(boxes)))
    areas = boxes[:, 2] * boxes[:, 3]
    for other in np.flatnonzero(scores >= _SURE):
        ends = np.minimum(boxes[:, :2] + boxes[:, 2:], boxes[other, :2] + boxes[other, 2:])
        sides = np.clip(ends - np.maximum(boxes[:, :2], boxes[other, :2]), 0, None)
        shared = sides[:, 0] * sides[:, 1] * (scores < scores[other])
        shaded = np.maximum(shaded, [shared / (areas + areas[other] - shared), shared / areas])
    return shaded


def overlaps(boxes: Finds, box: Finds) -> npt.NDArray[np.float32]:
    """Return the intersection over union of each of some boxes (x, y, width, height) with one."""
    ends = np.minimum(boxes[:, :2] + boxes[:, 2:4], box[:2] + box[2:4])
    sides = np.clip(ends - np.maximum(boxes[:, :2], box[:2]), 0, None)
    shared = sides[:, 0] * sides[:, 1]
    ratio: npt.NDArray[np.float32] = shared / np.maximum(
        boxes[:, 2] * boxes[:, 3] + box[2] * box[3] - shared, np.float32(1e-9)
    )
    return ratio


def _region(finds: Finds, group: npt.NDArray[np.intp], box: Finds, score: float) -> Region:
    """Round a box outward."""
    left, top = math.floor(box[0]), math.floor(box[1])
    right, bottom = math.ceil(box[0] + box[2]), math.ceil(box[1] + box[3])
    heard = sorted({int(network) for network in finds[group, NETWORK]})
    found_by = "+".join(NAMES[network] for network in heard)
    return Region(x=left, y=top, width=right - left, height=bottom - top, score=round(score, 4), found_by=found_by)
