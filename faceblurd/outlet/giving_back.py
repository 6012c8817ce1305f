"""An upload that came out of an exchange gets its name back, or one beside it.

Nobody has read it: it must not be removed, whatever others do to either name meanwhile.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from faceblurd.outlet import renames
from faceblurd.rules.naming import STAGING_PREFIX

if TYPE_CHECKING:
    from faceblurd.model import Fingerprint

MOST_NAME_BYTES = 255  # on every file system that photos lie on


def put_back(directory_fd: int, name: str, target: str, placed: Fingerprint) -> bool:
    """Exchange a newer upload, which an exchange left by `name`, back to the target. False: nothing has `name` now.

    Then our result lies by `name`, as we had made it (`placed`). But another upload may have taken the target's name
    meanwhile, or somebody wrote into our result, which lay there for a moment: that is the newest, goes back in its
    turn, and the other one is set aside, for nobody has read it. Or somebody moved away what we put there: then the
    name is free, and the upload takes it.
    """
    there = placed
    while True:
        coming = renames.at(directory_fd, name)
        try:
            renames.exchange(directory_fd, name, target)
        except FileNotFoundError:
            with suppress(FileExistsError):  # taken again just now: exchange with that
                renames.move_no_replace(name, directory_fd, target, source_fd=directory_fd)
                return False
            continue
        out = renames.at(directory_fd, name)
        if out is None or coming is None or _is_still(out, there):
            break
        there = coming
    if out is not None and not _is_still(out, placed):
        set_aside(directory_fd, name, target)
        return False
    return out is not None


def _is_still(now: Fingerprint, before: Fingerprint) -> bool:
    """Compare what another file or a write changes; a rename changes ctime alone."""
    return (now.inode, now.size, now.mtime_ns) == (before.inode, before.size, before.mtime_ns)


def set_aside(directory_fd: int, name: str, target: str) -> None:
    """Give what lies by a staging file's name one beside the target that people, and we, can see."""
    stem, dot, suffix = target.rpartition(".")
    token = name.removeprefix(STAGING_PREFIX).partition(".")[0]
    first, last = stem or suffix, f".kept-{token}{dot}{suffix if stem else ''}"
    while len(os.fsencode(first + last)) > MOST_NAME_BYTES:
        first = first[:-1]
    renames.move_no_replace(name, directory_fd, first + last, source_fd=directory_fd)
