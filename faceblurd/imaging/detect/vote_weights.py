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
    -0.2457,  # yunet
    0.0999,  # yunet_second
    3.1234,  # centerface
    0.6039,  # centerface_second
    -0.7028,  # small
    0.0942,  # large
    0.9867,  # small_centerface
    -0.3979,  # large_centerface
    -0.2661,  # small_yunet
    0.1651,  # large_yunet
    -0.3563,  # enlarged
    -0.2049,  # enlarged_centerface
    0.7013,  # turned
    1.4068,  # lit
    -2.7786,  # beside
    -4.5221,  # inside
    1.0641,  # crowd
    1.2184,  # opinion
)
AGAIN_BIAS: Final = -10.5557
BARS: Final[Mapping[Sensitivity, float]] = {
    Sensitivity.LOW: 0.8533,
    Sensitivity.NORMAL: 0.2500,
    Sensitivity.HIGH: 0.0689,
}
