"""What the doctor says, and what it measures of any folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LITTLE, _VERY_LITTLE = 2 << 30, 200 << 20  # bytes of free space
_FEW_INODES, _VERY_FEW_INODES = 10_000, 1_000


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` is empty where all is well."""

    level: Level
    about: str
    text: str
    remedy: str = ""


def space(path: str) -> Iterator[Finding]:
    """Look at the free bytes and inodes of the file system below a folder. Raises OSError."""
    st = os.statvfs(path)
    free = st.f_bavail * st.f_frsize
    text = f"{free / (1 << 30):.1f} GB are free"
    yield _judged(path, text, free, little=_LITTLE, very_little=_VERY_LITTLE)
    if st.f_files:  # btrfs, say, makes them as it goes
        text = f"{st.f_favail} more files can be made"
        inodes = _judged(path, text, st.f_favail, little=_FEW_INODES, very_little=_VERY_FEW_INODES)
        yield from () if inodes.level is Level.OK else (inodes,)


def _judged(path: str, text: str, free: int, *, little: int, very_little: int) -> Finding:
    if free >= little:
        return Finding(Level.OK, path, text)
    return Finding(Level.BAD if free < very_little else Level.WARN, path, text, "Make room: photos wait for it")


def existing(path: str) -> str:
    """Return the path, or the closest folder above it that is there."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def no_way_to_write(path: str) -> tuple[str, str]:
    """Say why this user cannot write into a folder, and the remedy; empty when it can."""
    if os.access(path, os.W_OK | os.X_OK):
        return "", ""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return "is mounted read-only", "Mount it read-write (in a systemd unit: ReadWritePaths=)"
    return "is not writable for this user", "Give this user, or its group, the permission"
