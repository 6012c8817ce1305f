"""The end of a result whose photo is gone: it leaves the mirror, and nothing else does.

Must not take a missing disk for a missing photo, nor remove what somebody put into a result's place.
"""

from __future__ import annotations

import os
from enum import Enum, auto
from typing import TYPE_CHECKING

from faceblurd.model import Fingerprint
from faceblurd.outlet import beneath, contents

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceblurd.model import Entry
    from faceblurd.outlet.staging import Target


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
