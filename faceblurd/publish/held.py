"""Whether a held file is still there, and whether what held it has been mended. Looks only, and may hang on a share.

What the file itself shows (a chmod, another link removed) needs no look: its change time says that it is a new one.
"""

from __future__ import annotations

import os
import stat
from enum import Enum, auto
from fcntl import ioctl
from typing import TYPE_CHECKING, Final

from faceblurd.model import Reason
from faceblurd.publish import beneath
from faceblurd.rules.foreign import split

if TYPE_CHECKING:
    from faceblurd.model import Entry

AGAIN_SECONDS: Final = 3600.0
_FS_IOC_GETFLAGS, _FIXED = 0x80086601, 0x10 | 0x20  # immutable, append-only


class Standing(Enum):
    """How a held file stands."""

    HELD = auto()
    GONE = auto()
    MENDED = auto()  # what held it is so no more: worth another try


def examine(entry: Entry, *, to: str, age_seconds: float) -> Standing:
    """Look at a file in its root, held or to be tried again. `to`: where its result goes; `age_seconds`: since when."""
    try:
        beneath.look(entry.root, entry.path)
    except (FileNotFoundError, NotADirectoryError):
        return Standing.GONE
    except OSError:
        return Standing.HELD
    return Standing.MENDED if _is_mended(entry, to, age_seconds) else Standing.HELD


def is_free(to: str, path: str) -> bool:
    """Tell whether nothing has the name of a result."""
    try:
        os.stat(to)
        beneath.look(to, path)
    except (FileNotFoundError, NotADirectoryError):
        return os.path.isdir(to)
    except OSError:
        return False
    return False


def _is_mended(entry: Entry, to: str, age_seconds: float) -> bool:
    match entry.reason:
        case Reason.TARGET_EXISTS:
            return is_free(to, entry.path)
        case Reason.NO_PERMISSION:
            return _may_be_done(entry, to)
        case Reason.IO_ERROR | Reason.PLUGIN_FAILED:  # nothing to look at: the disk, or what a plugin asks
            return age_seconds >= AGAIN_SECONDS
    return False


def _may_be_done(entry: Entry, to: str) -> bool:
    directory, name = split(entry.path)
    try:
        fd = beneath.open_file(entry.root, directory, name)
        os.close(fd)
        with beneath.directory(to, _deepest(to, directory)) as parent:
            return _may_write(parent) and (to != entry.root or _may_be_replaced(parent, name))
    except OSError:
        return False


def _deepest(to: str, directory: str) -> str:
    """Give the deepest folder on the way to a result that is there."""
    while directory:
        try:
            with beneath.directory(to, directory):
                return directory
        except (FileNotFoundError, NotADirectoryError):
            directory = directory.rpartition("/")[0]
    return directory


def _may_write(parent: int) -> bool:
    here = f"/proc/self/fd/{parent}"
    return os.access(here, os.W_OK | os.X_OK) and not _is_fixed(parent)


def _may_be_replaced(parent: int, name: str) -> bool:
    """Tell whether a file of this folder may be exchanged: not where it is immutable, or the folder is sticky."""
    folder, st = os.fstat(parent), os.stat(name, dir_fd=parent, follow_symlinks=False)
    if folder.st_mode & stat.S_ISVTX and os.geteuid() not in {0, folder.st_uid, st.st_uid}:
        return False
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    try:
        return not _is_fixed(fd)
    finally:
        os.close(fd)


def _is_fixed(fd: int) -> bool:
    try:
        flags = ioctl(fd, _FS_IOC_GETFLAGS, b"\0" * 8)
    except OSError:  # this file system knows no such thing
        return False
    return bool(int.from_bytes(flags[:4], "little") & _FIXED)
