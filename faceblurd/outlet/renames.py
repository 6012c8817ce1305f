"""Renames that take nothing away: to a name that is free, or one file for another.

Must not decide which file is whose. What a file system cannot do it says by many numbers: EINVAL, EPERM, ENOSYS, and a
plain EIO for a link on a cloud that is mounted. So none of them is believed: the next simpler way is tried, and where
that succeeds, it was possible. A disk that fails, is full or read-only fails that way as well, and says so then.
"""

from __future__ import annotations

import ctypes
import errno
import os

from faceblurd.model import Fingerprint

_NOREPLACE, _EXCHANGE = 1, 2
_HERE = -100  # AT_FDCWD


def exchange(directory_fd: int, name: str, other: str) -> None:
    """Let two files in a directory change names. Raises OSError: FileNotFoundError, or whatever says that it cannot."""
    renameat2(directory_fd, name, other, _EXCHANGE)


def move_no_replace(source: str, directory_fd: int, name: str, *, source_fd: int = _HERE) -> None:
    """Rename `source` (beneath `source_fd`, or absolute) to `name`, never over another file.

    Raises OSError: FileExistsError, or EXDEV for another file system.
    """
    try:
        renameat2(source_fd, source, name, _NOREPLACE, directory_fd)
    except FileExistsError:
        raise
    except OSError:
        _link_or_rename(source, None if source_fd == _HERE else source_fd, name, directory_fd)


def _link_or_rename(source: str, source_fd: int | None, name: str, directory_fd: int) -> None:
    """Give a file a name in two steps; where there are no links, after a look. Raises FileExistsError."""
    try:
        os.link(source, name, src_dir_fd=source_fd, dst_dir_fd=directory_fd, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        if at(directory_fd, name) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
        os.rename(source, name, src_dir_fd=source_fd, dst_dir_fd=directory_fd)
    else:
        os.unlink(source, dir_fd=source_fd)


def at(directory_fd: int, name: str) -> Fingerprint | None:
    """Look at what has a name now."""
    try:
        return Fingerprint.from_stat(os.stat(name, dir_fd=directory_fd, follow_symlinks=False))
    except FileNotFoundError:
        return None


def renameat2(directory_fd: int, old: str, new: str, flags: int, new_fd: int | None = None) -> None:
    """Call it as the kernel has it. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    call = getattr(libc, "renameat2", None)  # glibc 2.28, musl 1.2.? - else the fall-back
    if call is None:  # pragma: no cover - a C library from before 2018
        raise OSError(errno.ENOSYS, "no renameat2 in the C library")
    to_fd = directory_fd if new_fd is None else new_fd
    if call(directory_fd, os.fsencode(old), to_fd, os.fsencode(new), flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), new)
