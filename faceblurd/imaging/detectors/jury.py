"""Weigh what networks find at low scores: over their passes, over each other, and over the faces beside.

A face is seen again at another size and by another network; a leopard's spot seldom is. That separates better than
any threshold on a single score (docs/accuracy.md has the figures, and what did not pay). Pure: sees no pixels.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from faceblurd.model import Sensitivity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.detectors.passes import Candidate

FLOOR: Final = 0.06  # the score from which a pass is heard
_SAME_FACE: Final = 0.3  # overlap (intersection over union) from which two finds mean one face
_VOICES: Final = 3  # so many passes make a full vote
_SINGLE: Final = 2.7  # one pass alone counts for 1/2.7 of its score: a face that fills the frame is seen by one only
_LIKE: Final = 1.6  # two faces are of like size up to this ratio
_COMPANY_PX: Final = 64  # larger faces score high by themselves


@dataclass(frozen=True, slots=True)
class Bar:
    """What a weight must reach: alone; in company (a face of like size that reached `strong`)."""

    alone: float
    company: float
    strong: float


# Chosen with benchmarks/accuracy.py on 219 photos: `NORMAL` stays below half a false positive per photo without people.
BARS: Final[Mapping[frozenset[str], Mapping[Sensitivity, Bar]]] = {
    frozenset({"yunet"}): {
        Sensitivity.LOW: Bar(alone=0.45, company=0.40, strong=0.6),
        Sensitivity.NORMAL: Bar(alone=0.30, company=0.15, strong=0.6),
        Sensitivity.HIGH: Bar(alone=0.20, company=0.10, strong=0.4),
    },
    frozenset({"centerface"}): {
        Sensitivity.LOW: Bar(alone=0.35, company=0.30, strong=0.6),
        Sensitivity.NORMAL: Bar(alone=0.20, company=0.15, strong=0.5),
        Sensitivity.HIGH: Bar(alone=0.12, company=0.08, strong=0.4),
    },
    frozenset({"yunet", "centerface"}): {
        Sensitivity.LOW: Bar(alone=0.30, company=0.25, strong=0.6),
        Sensitivity.NORMAL: Bar(alone=0.19, company=0.10, strong=0.5),
        Sensitivity.HIGH: Bar(alone=0.14, company=0.08, strong=0.4),
    },
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One face: the box that scored best, its weight from 0 to 1, and the networks that saw it."""

    box: Candidate
    weight: float
    networks: tuple[str, ...]


def judge(candidates: Sequence[Candidate], passes: Mapping[str, int], sensitivity: Sensitivity) -> list[Verdict]:
    """Return the faces, heaviest first. `passes`: how many passes each network made, also of those that saw nothing."""
    bar = BARS[frozenset(passes)][sensitivity]
    weighed = [_weigh(group, passes) for group in _groups(candidates, least=bar.company)]
    weighed.sort(key=lambda one: -one.weight)
    strong = [one for one in weighed if one.weight >= bar.strong]
    return [one for one in weighed if one.weight >= (bar.company if _has_company(one, strong) else bar.alone)]


def _groups(candidates: Iterable[Candidate], *, least: float) -> Iterator[list[Candidate]]:
    """Gather what means the same face: around the best find, then around the best of the rest.

    Ends at `least`, since no group weighs more than its best find: noise gives thousands that are worse.
    """
    import numpy as np  # noqa: PLC0415 - the parent checks configs through this package

    rest = sorted(candidates, key=lambda one: -one.score)
    boxes = np.array([(one.x, one.y, one.width, one.height) for one in rest], float).reshape(-1, 4)
    free = np.ones(len(rest), bool)
    for index, best in enumerate(rest):
        if best.score < least:
            return
        if free[index]:
            near = free & (_overlaps(boxes, boxes[index]) >= _SAME_FACE)
            near[index] = True
            free &= ~near
            yield [best, *(rest[i] for i in np.flatnonzero(near) if i != index)]


def _weigh(group: list[Candidate], passes: Mapping[str, int]) -> Verdict:
    """Average over the networks what each makes of the group."""
    scores: dict[str, dict[int, float]] = defaultdict(dict)
    for one in group:
        of_network = scores[one.network]
        of_network[one.pass_number] = max(one.score, of_network.get(one.pass_number, 0.0))
    weights = [_vote(list(scores[name].values()), made) for name, made in passes.items() if name in scores]
    return Verdict(group[0], sum(weights) / len(passes), tuple(name for name in passes if name in scores))


def _vote(scores: list[float], passes: int) -> float:
    """Average the best three passes; those that saw nothing count as 0."""
    best = sorted(scores, reverse=True)[:_VOICES]
    return max(sum(best) / min(_VOICES, passes), best[0] / _SINGLE)


def _has_company(one: Verdict, strong: Iterable[Verdict]) -> bool:
    size = _size(one.box)
    if size >= _COMPANY_PX:
        return False
    return any(size / _LIKE <= _size(other.box) <= size * _LIKE for other in strong if other is not one)


def _size(box: Candidate) -> float:
    return max(box.width, box.height)


def _overlaps(boxes: npt.NDArray[Any], box: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the intersection over union of each of some boxes (x, y, width, height) with one."""
    import numpy as np  # noqa: PLC0415 - as above

    ends = np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:])
    sides = np.clip(ends - np.maximum(boxes[:, :2], box[:2]), 0, None)
    shared = sides[:, 0] * sides[:, 1]
    ratio: npt.NDArray[Any] = shared / np.maximum(boxes[:, 2] * boxes[:, 3] + box[2] * box[3] - shared, 1e-9)
    return ratio
