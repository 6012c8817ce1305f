"""The fitted numbers of the vote, as benchmarks/fit_vote.py wrote them (docs/accuracy.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faceblurd.model import Sensitivity

if TYPE_CHECKING:
    from collections.abc import Mapping

WEIGHTS: Final = (
    -0.6883,  # yunet
    0.1689,  # yunet_second
    4.8762,  # centerface
    0.4506,  # centerface_second
    0.8538,  # small
    0.4913,  # large
    0.3655,  # small_centerface
    -0.8029,  # large_centerface
    -0.0284,  # small_yunet
    0.4590,  # large_yunet
    -0.5503,  # enlarged
    -0.1627,  # enlarged_centerface
    -0.1833,  # turned
    0.5117,  # lit
    -1.5739,  # beside
    -1.8602,  # inside
    1.9758,  # crowd
)
BIAS: Final = -11.4200
BARS: Final[Mapping[Sensitivity, float]] = {
    Sensitivity.LOW: 0.8697,
    Sensitivity.NORMAL: 0.2500,
    Sensitivity.HIGH: 0.0531,
}
