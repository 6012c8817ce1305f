"""Renames that take nothing away, and the way back of an upload that an exchange brought out.

Must not decide which file is whose. What a file system cannot do it says by many numbers: EINVAL, EPERM, ENOSYS, and a
plain EIO for a link on a cloud that is mounted. So none of them is believed: the next simpler way is tried, and where
that succeeds, it was possible. A disk that fails, is full or read-only fails that way as well, and says so then.
"""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress

from faceblurd.model import Fingerprint
from faceblurd.rules.foreign import STAGING_PREFIX

_NOREPLACE, _EXCHANGE = 1, 2
_HERE = -100  # AT_FDCWD
MOST_NAME_BYTES = 255  # on every file system that photos lie on


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


def put_back(directory_fd: int, name: str, target: str, placed: Fingerprint) -> bool:
    """Exchange a newer upload, which an exchange left by `name`, back to the target. False: nothing has `name` now.

    Then our result lies by `name`, as we had made it (`placed`). But another upload may have taken the target's name
    meanwhile, or somebody wrote into our result, which lay there for a moment: that is the newest, goes back in its
    turn, and the other one is set aside, for nobody has read it. Or somebody moved away what we put there: then the
    name is free, and the upload takes it.
    """
    there = placed
    while True:
        coming = at(directory_fd, name)
        try:
            exchange(directory_fd, name, target)
        except FileNotFoundError:
            with suppress(FileExistsError):  # taken again just now: exchange with that
                move_no_replace(name, directory_fd, target, source_fd=directory_fd)
                return False
            continue
        out = at(directory_fd, name)
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
    move_no_replace(name, directory_fd, first + last, source_fd=directory_fd)
