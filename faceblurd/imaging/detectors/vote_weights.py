"""The fitted numbers of the vote, as benchmarks/fit_vote.py wrote them (docs/accuracy.md: on what)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faceblurd.model import Sensitivity

if TYPE_CHECKING:
    from collections.abc import Mapping

WEIGHTS: Final = (
    -0.0552,  # yunet
    -0.0179,  # yunet_second
    1.9207,  # centerface
    0.2917,  # centerface_second
    -0.5374,  # small
    0.0304,  # large
    0.4049,  # small_centerface
    -0.2045,  # large_centerface
    -0.2944,  # small_yunet
    0.0647,  # large_yunet
    -0.6950,  # enlarged
    0.0140,  # enlarged_centerface
    -0.7044,  # turned
    -0.7485,  # lit
    2.4227,  # crowd
)
BIAS: Final = -4.1035
BARS: Final[Mapping[Sensitivity, float]] = {
    Sensitivity.LOW: 0.7225,
    Sensitivity.NORMAL: 0.4685,
    Sensitivity.HIGH: 0.2793,
}
