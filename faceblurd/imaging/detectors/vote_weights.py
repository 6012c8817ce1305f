"""The fitted numbers of the vote, as benchmarks/fit_vote.py wrote them (docs/accuracy.md: on what)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faceblurd.model import Sensitivity

if TYPE_CHECKING:
    from collections.abc import Mapping

WEIGHTS: Final = (
    -0.0615,  # yunet
    0.0511,  # yunet_second
    1.9217,  # centerface
    0.2823,  # centerface_second
    -0.5747,  # small
    0.0394,  # large
    0.4227,  # small_centerface
    -0.2013,  # large_centerface
    -0.2919,  # small_yunet
    0.0551,  # large_yunet
    -0.6480,  # enlarged
    -0.0116,  # enlarged_centerface
    -0.9466,  # turned
    -0.7257,  # lit
    2.4318,  # crowd
)
BIAS: Final = -4.1132
BARS: Final[Mapping[Sensitivity, float]] = {
    Sensitivity.LOW: 0.7155,
    Sensitivity.NORMAL: 0.4600,
    Sensitivity.HIGH: 0.2814,
}
