"""The contract of the bit loop, which exists twice, in C (`native`) and in Python (`fallback`): same bits, same errors.

Imports neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self

from faceblurd.imaging.files.jpeg.huffman import MissingCodesError, SpliceError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

RUN_FIELDS: Final = 7
BAD_CODE: Final = -1
BAD_BLOCK: Final = -2
SHORT: Final = -3
RANGE: Final = -4
FILL: Final = -9
DIFFERS: Final = -10
BEHIND: Final = -11
_COMPLAINTS: Final = {
    BAD_CODE: "the scan has bits that are no code",
    BAD_BLOCK: "the scan has a block of more than 64 coefficients",
    SHORT: "the scan ends too early",
    RANGE: "the scan has coefficients out of range",
    -6: "the scan grows too much",
    -8: "a Huffman table is no prefix code",
    FILL: "the scan has fill bytes or a marker inside",
    DIFFERS: "bits beside the regions changed",
    BEHIND: "the scan has bits behind its last block",
}


@dataclass(frozen=True, slots=True)
class Walk:
    """Where an interval's wanted MCUs lie, and the bit after its last MCU.

    Each row of `runs`: first bit, bit after the last, how many MCUs, and the DC values before them (four components).
    """

    runs: npt.NDArray[np.int64]
    end: int


class Coder(Protocol):
    """Reads and writes the bits of one stream, a restart interval at a time."""

    def unstuffed(self, raw: bytes) -> bytes:
        """Take out the zero after each 0xFF. Raises SpliceError where it is missing."""

    def stuffed(self, bits: bytes) -> bytes:
        """Put in a zero after each 0xFF, which would start a marker."""

    def walk(self, bits: bytes, wanted: npt.NDArray[np.uint8], coefficients: npt.NDArray[np.int16]) -> Walk:
        """Read an interval of `len(wanted)` MCUs; those wanted go to `coefficients` (MCU, block, zigzag), zero before.

        Raises SpliceError where the bits make no sense.
        """

    def reread(self, old: bytes, walk: Walk, bits: bytes, coefficients: npt.NDArray[np.int16]) -> None:
        """Read an interval that `write` made of an old one: its runs go to `coefficients`, zero before.

        Raises SpliceError where the bits make no sense, or where any others than those of the runs changed.
        """

    def write(
        self, bits: bytes, walk: Walk, coefficients: npt.NDArray[np.int16], *, source: Self | None = None
    ) -> bytes:
        """Return the interval with `coefficients` in its runs, filled up by ones, not stuffed.

        What lies between the runs is copied; with a `source`, by whose tables the bits were written, it is recoded.
        Raises MissingCodesError when the tables lack a symbol.
        """


def complaint(code: int) -> SpliceError:
    """Translate an error of the bit loop."""
    return SpliceError(_COMPLAINTS.get(code, f"error {code} of the bit loop"))


def missing_codes(marks: npt.NDArray[np.uint8]) -> MissingCodesError:
    """Name the symbols that are marked in (component, DC or AC, symbol)."""
    dc, ac = (tuple(frozenset(map(int, part.nonzero()[0])) for part in marks[:, i]) for i in (0, 1))
    return MissingCodesError(dc, ac)
