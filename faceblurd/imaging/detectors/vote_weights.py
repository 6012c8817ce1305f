"""The fitted numbers of the vote, as benchmarks/fit_vote.py wrote them (docs/accuracy.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faceblurd.model import Sensitivity

if TYPE_CHECKING:
    from collections.abc import Mapping

WEIGHTS: Final = (
    -0.5049,  # yunet
    0.0848,  # yunet_second
    4.1719,  # centerface
    0.7320,  # centerface_second
    -0.3213,  # small
    -0.0792,  # large
    0.6227,  # small_centerface
    -0.5506,  # large_centerface
    -0.0480,  # small_yunet
    0.3865,  # large_yunet
    -0.4870,  # enlarged
    -0.0873,  # enlarged_centerface
    -0.5682,  # turned
    1.2978,  # lit
    -1.0493,  # beside
    -1.3711,  # inside
    0.9657,  # crowd
)
BIAS: Final = -9.8301
AGAIN: Final = (
    -0.3891,  # yunet
    -0.0289,  # yunet_second
    3.4567,  # centerface
    0.5031,  # centerface_second
    -0.5441,  # small
    0.1562,  # large
    0.7295,  # small_centerface
    -0.4764,  # large_centerface
    -0.0673,  # small_yunet
    0.2630,  # large_yunet
    -0.6025,  # enlarged
    -0.1862,  # enlarged_centerface
    0.4365,  # turned
    1.5203,  # lit
    -1.7424,  # beside
    -2.5488,  # inside
    1.0640,  # crowd
    1.3075,  # opinion
)
AGAIN_BIAS: Final = -10.6071
BARS: Final[Mapping[Sensitivity, float]] = {
    Sensitivity.LOW: 0.8533,
    Sensitivity.NORMAL: 0.2500,
    Sensitivity.HIGH: 0.0689,
}
