"""Folders as the disk knows them, asked with a deadline: a dead share must not keep the daemon from its start."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
ANSWER_SECONDS = 5.0
Identity = tuple[int, int]


def begin(call: Callable[[], T]) -> Callable[[float], T | None]:
    """Make a call in a thread that nobody waits for at the end; return how to wait for its answer (None: not yet)."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(call())
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
            errors.append(error)

    thread = threading.Thread(target=run, name="looks at a folder", daemon=True)
    thread.start()

    def wait(seconds: float) -> T | None:
        thread.join(seconds)
        if errors:
            raise errors[0]
        return answers[0] if answers else None

    return wait


def within(seconds: float, call: Callable[[], T]) -> T | None:
    """Give what `call` gives, or None if it takes longer (it is left behind then); raise what it raises."""
    return begin(call)(seconds)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder by its real path, and by the identities of itself and of those above it, where they can be seen."""

    real: Path
    identities: tuple[Identity | None, ...]

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> Folder:
        """Look at a folder; one that does not answer is known by its name."""
        seen = within(ANSWER_SECONDS, lambda: cls._seen(path))
        return cls(Path(os.path.abspath(path)), (None,)) if seen is None else seen

    @classmethod
    def _seen(cls, path: str | os.PathLike[str]) -> Folder:
        real = Path(os.path.realpath(path))
        return cls(real, tuple(_identity(step) for step in (real, *real.parents)))

    def is_inside(self, other: Folder) -> bool:
        """Tell whether it is `other` or below it, through symlinks and bind mounts, and if neither exists yet."""
        if self.real.is_relative_to(other.real):
            return True
        return other.identities[0] is not None and other.identities[0] in self.identities


def _identity(path: Path) -> Identity | None:
    try:
        found = path.stat()
    except OSError:  # away for now, or not ours to see: then its name has to do
        return None
    return found.st_dev, found.st_ino
