"""The fitted numbers of the vote, as benchmarks/fit_vote.py wrote them (docs/accuracy.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faceblurd.model import Sensitivity

if TYPE_CHECKING:
    from collections.abc import Mapping

WEIGHTS: Final = (
    -0.0648,  # yunet
    -0.0284,  # yunet_second
    2.4872,  # centerface
    0.2032,  # centerface_second
    -0.6665,  # small
    0.3575,  # large
    0.5670,  # small_centerface
    -0.3261,  # large_centerface
    -0.3386,  # small_yunet
    0.0867,  # large_yunet
    -0.3504,  # enlarged
    -0.0521,  # enlarged_centerface
    -0.7513,  # turned
    -0.7565,  # lit
    1.8675,  # crowd
)
BIAS: Final = -6.5362
BARS: Final[Mapping[Sensitivity, float]] = {
    Sensitivity.LOW: 0.7425,
    Sensitivity.NORMAL: 0.2401,
    Sensitivity.HIGH: 0.1215,
}
