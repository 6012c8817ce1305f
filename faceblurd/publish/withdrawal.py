"""What leaves: the result of a photo that is gone, and resource forks beside a photo in place once it is done.

Must not take a missing disk for a missing photo, nor remove what somebody put into a result's place.
"""

from __future__ import annotations

import os
from enum import Enum, auto
from typing import TYPE_CHECKING

from faceblurd.model import Fingerprint
from faceblurd.publish import beneath, contents
from faceblurd.rules.side_channels import APPLE_DOUBLE_FOLDER, APPLE_DOUBLE_PREFIX, companion_may_stay, is_apple_double

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from faceblurd.model import Entry
    from faceblurd.publish.staging import Target

_MOST_BYTES = 4096  # a longer one holds more than flags


class Withdrawal(Enum):
    """What became of a result whose photo seems to be gone."""

    DONE = auto()  # removed, or it was not there any more
    STILL_THERE = auto()  # the photo, or nothing can be said of it
    NOT_OURS = auto()  # somebody put other bytes there
    SHARED = auto()  # another photo has the same result


def withdraw(entry: Entry, target: Target, *, root_is_same: Callable[[], bool]) -> Withdrawal:
    """Remove the result of a photo that is gone from its mirror, and the folders that are empty then. May hang.

    `root_is_same`: asked first: in another folder by the root's name, a missing photo means nothing. Raises OSError.
    """
    if not root_is_same() or _is_there(entry):
        return Withdrawal.STILL_THERE
    directory, _, name = target.path.rpartition("/")
    os.close(beneath.open_directory(target.root, "", device=target.device))  # where it is away, nothing follows either
    try:
        with beneath.directory(target.root, directory) as fd:
            there = Fingerprint.from_stat(os.stat(name, dir_fd=fd, follow_symlinks=False))
            if there != entry.target and contents.digest_at(target) != entry.output_digest:
                return Withdrawal.NOT_OURS
            os.unlink(name, dir_fd=fd)
            os.fsync(fd)
    except (FileNotFoundError, NotADirectoryError):
        return Withdrawal.DONE
    beneath.remove_empty(target.root, directory)
    return Withdrawal.DONE


def is_gone(entry: Entry, *, root_is_same: Callable[[], bool]) -> bool:
    """Tell whether a photo is gone for certain; `root_is_same` as above. May hang, raises OSError."""
    return root_is_same() and not _is_there(entry)


def _is_there(entry: Entry) -> bool:
    """Look for anything by the name of a photo: only a clear no is a no."""
    try:
        beneath.look(entry.root, entry.path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def beside(photo: str) -> tuple[str, str]:
    """Give the paths that a photo's resource fork may have."""
    folder, slash, name = photo.rpartition("/")
    return f"{folder}{slash}{APPLE_DOUBLE_PREFIX}{name}", f"{folder}{slash}{APPLE_DOUBLE_FOLDER}/{name}"


def clear(root: str, paths: Sequence[str]) -> list[str]:
    """Remove the resource forks among these paths that hold more than flags; give those that went. May hang.

    Raises OSError for one that cannot be removed.
    """
    return [path for path in paths if _clear(root, path)]


def _clear(root: str, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    try:
        fd = beneath.open_file(root, folder, name)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        content = os.pread(fd, _MOST_BYTES + 1, 0)
        if not is_apple_double(content) or companion_may_stay(content):
            return False
        with beneath.directory(root, folder) as parent:
            if not os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=parent, follow_symlinks=False)):
                return False  # another one has the name now: the next scan looks
            os.unlink(name, dir_fd=parent)
            os.fsync(parent)
    finally:
        os.close(fd)
    return True
