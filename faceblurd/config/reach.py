"""Folders as the disk knows them, asked with a deadline: a dead share must not keep the daemon from its start."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


def side_by_side(calls: Sequence[Callable[[], T]], *, seconds: float) -> list[T | None]:
    """Make calls that may hang at the same time, and wait for all of them together: None for those that take longer."""
    waits = [begin(call) for call in calls]
    until = time.monotonic() + seconds
    return [wait(max(0.0, until - time.monotonic())) for wait in waits]


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder by its real path, and by the identities of itself and of those above it, where they can be seen."""

    real: Path
    identities: tuple[Identity | None, ...]

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> Folder:
        """Look at a folder; one that does not answer is known by its name."""
        return cls.each((path,))[0]

    @classmethod
    def each(cls, paths: Sequence[str | os.PathLike[str]]) -> list[Folder]:
        """Look at folders as `at` does, at all of them within the time for one."""
        seen = side_by_side([partial(cls._seen, path) for path in paths], seconds=ANSWER_SECONDS)
        unseen = (cls(Path(os.path.abspath(path)), (None,)) for path in paths)
        return [by_name if found is None else found for by_name, found in zip(unseen, seen, strict=True)]

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
