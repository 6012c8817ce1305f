"""The top of a mirror: made where it is not there, but never below the mount point of a disk that is away."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

from faceblurd.intake.filesystem import mount_point


@dataclass(frozen=True, slots=True)
class Mirror:
    """The top of a root's mirror. `folders`: those that were made for it, the deepest first."""

    root: str
    to: str
    folders: tuple[str, ...] = ()
    error: str | None = None

    def undo(self) -> None:
        """Remove what was made, as far as it is empty."""
        for folder in self.folders:
            with suppress(OSError):
                os.rmdir(folder)


def make(root: str, to: str, mounted_at: str) -> Mirror:
    """See that the top of a mirror is there. May hang. `mounted_at`: where its disk was mounted so far, if known.

    Where the place of that disk is bare, nothing is made: the root waits for it.
    """
    missing, above = [], to
    while not os.path.isdir(above):
        missing.append(above)
        above = os.path.dirname(above)
    if not missing or is_bare(above, mounted_at):
        return Mirror(root, to)
    made: list[str] = []
    try:
        for folder in reversed(missing):
            os.mkdir(folder)
            made.insert(0, folder)
    except OSError as error:
        return Mirror(root, to, tuple(made), error.strerror or str(error))
    return Mirror(root, to, tuple(made))


def is_bare(path: str, mounted_at: str) -> bool:
    """Tell whether a folder lies outside of the mount that it was in: its disk is not there."""
    return bool(mounted_at) and not f"{mount_point(path)}/".startswith(f"{mounted_at.rstrip('/')}/")
