"""Where the documents and the example configuration are that come with us: the help must not point to nothing."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path


def installed(name: str) -> str:
    """Find a file of ours by its place below the folder that the package is installed into (`share/...`).

    In a clone, that is where it lies in the tree. Gives the bare name of what is nowhere.
    """
    try:
        known = files("faceblurd") or []
    except PackageNotFoundError:
        known = []
    places = [Path(os.fspath(file.locate())) for file in known if str(file).endswith(name)]
    tree = Path(__file__).resolve().parents[2]
    file = name.rpartition("/")[2]
    places += [tree / "docs" / file, tree / file]
    return next((str(place.resolve()) for place in places if place.is_file()), file)
