"""The daemon's own account of itself, for `faceblurd status`: a small JSON file in the state directory.

Replaced atomically and only when something changed, so that a sleeping disk may sleep. Never names what is in a photo.
"""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

NAME = "status.json"


class StatusFile:
    """Writes the file."""

    def __init__(self, state_dir: Path) -> None:
        """Remember where it is; nothing is written yet."""
        self._path = state_dir / NAME
        self._last = ""

    def write(self, content: dict[str, Any]) -> None:
        """Replace the file if `content` is new. Raises OSError."""
        text = json.dumps(content, indent=1)
        if text == self._last:
            return
        try:
            self._replace(text)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._overwrite(text)
        self._last = text

    def _replace(self, text: str) -> None:
        partial = self._path.with_suffix(".tmp")
        with open(partial, "w", encoding="utf-8", opener=_only_for_us) as file:
            file.write(text)
        os.replace(partial, self._path)

    def _overwrite(self, text: str) -> None:
        """Say that the disk is full on a full disk: the old file's blocks are there; a reader may see half."""
        with self._path.open("r+", encoding="utf-8") as file:
            file.write(text)
            file.truncate()

    def remove(self) -> None:
        """Remove the file: no daemon runs any more."""
        self._path.unlink(missing_ok=True)


def _only_for_us(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_status(state_dir: Path) -> dict[str, Any]:
    """Read what a daemon last said of itself; empty when none did."""
    try:
        content = json.loads((state_dir / NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
