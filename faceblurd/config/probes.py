"""What the machine says of a setting: folders as the disk knows them, and whether a command can be started.

Folders are asked with a deadline: a dead share must not keep the daemon from its start. A command is judged without
starting it: it might do something.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")
ANSWER_SECONDS = 5.0
Identity = tuple[int, int]
_ELF: Final = b"\x7fELF"
_HEAD_BYTES: Final = 256  # what the kernel looks at


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


def no_way_to_run(program: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Say why a program (an absolute path, or a name that PATH finds) cannot be started, and the remedy; else None."""
    path = environ.get("PATH", os.defpath)
    file = program if "/" in program else shutil.which(program, path=path)
    if file is None:
        return f"is not found in PATH ({path})", "Install it, or write its whole path."
    if os.path.isdir(file):
        return "is a folder", "Name the program in it."
    if not os.path.exists(file):
        return "is not there", "Put it there, or name another."
    if not os.access(file, os.X_OK):
        mode = os.stat(file).st_mode
        return "may not be run by this user", f"chmod {'a+rx' if not mode & 0o111 else 'o+rx'} {file}"
    return _of_script(file, path)


def _of_script(file: str, path: str) -> tuple[str, str] | None:
    """Look at the first line, by which the kernel chooses what runs the file."""
    try:
        with open(file, "rb") as opened:
            head = opened.read(_HEAD_BYTES)
    except OSError:  # may be run and not read
        return None
    if head.startswith(_ELF):
        return None
    if not head.startswith(b"#!"):
        return "is neither a program nor a script with a `#!` line", "Write `#!/bin/sh` as its first line."
    return _of_interpreter(file, head[2:].split(b"\n")[0], path)


def _of_interpreter(file: str, line: bytes, path: str) -> tuple[str, str] | None:
    if line.endswith(b"\r"):
        return "has lines that end as on Windows: its interpreter is not found", f"sed -i 's/\\r$//' {file}"
    words = [os.fsdecode(word) for word in line.split()] or [""]
    if not os.access(words[0], os.X_OK):
        return f"wants the interpreter {words[0]!r}, which cannot be run", "Install that, or correct the first line."
    wanted = next((word for word in words[1:] if not word.startswith("-")), "")
    if os.path.basename(words[0]) == "env" and wanted and "=" not in wanted and shutil.which(wanted, path=path) is None:
        return f"wants {wanted}, which is not found in PATH ({path})", "Install that, or correct the first line."
    return None
