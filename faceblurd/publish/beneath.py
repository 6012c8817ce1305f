"""Files below a root, reached without ever following a symbolic link or leaving the root's file system.

Every component is opened from its parent's descriptor with O_NOFOLLOW, so that a directory swapped for a link between
two looks is refused, not followed. Works on every kernel and file system (openat2 would be one call, but needs 5.6).
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_RDONLY
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def _refuse(path: str, why: str) -> OSError:
    return OSError(errno.EXDEV, why, path)


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    if any(part in {".", ".."} for part in parts) or path.startswith("/"):
        raise _refuse(path, "leaves the root")
    return parts


def open_directory(
    root: str, path: str, *, create_mode: int | None = None, device: int | None = None,
    made: Callable[[str, int, int], None] | None = None,
) -> int:  # fmt: skip
    """Open the directory `path` beneath `root` and return its descriptor.

    With `create_mode`, missing ones are made, each made durable before anything is put into it; `made` is told of each:
    its path, its descriptor, that of the one above. `device`: what the root must lie on. Raises OSError: ENOTDIR or
    ELOOP for a link on the way, EXDEV for another file system, ENODEV for another one at the root itself.
    """
    parts = _parts(path)
    fd = os.open(root, os.O_DIRECTORY | os.O_CLOEXEC)
    if device is not None and os.fstat(fd).st_dev != device:
        os.close(fd)
        raise OSError(errno.ENODEV, "is not mounted", root)
    for depth, part in enumerate(parts):
        try:
            child, is_new = _step(fd, part, create_mode)
            if is_new and made is not None:
                _tell(made, "/".join(parts[: depth + 1]), child, fd)
        finally:
            os.close(fd)
        fd = child
    return fd


def _tell(made: Callable[[str, int, int], None], path: str, child: int, parent: int) -> None:
    try:
        made(path, child, parent)
        os.fsync(child)
    except OSError:
        os.close(child)
        raise


def _step(parent: int, name: str, create_mode: int | None) -> tuple[int, bool]:
    """Open the directory `name` in `parent`, on the same file system; say whether it is new."""
    is_new = False
    try:
        child = os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        if create_mode is None:
            raise
        is_new = _make(parent, name, create_mode)
        child = os.open(name, _DIRECTORY, dir_fd=parent)
    if os.fstat(child).st_dev != os.fstat(parent).st_dev:
        os.close(child)
        raise _refuse(name, "is on another file system than the root")
    return child, is_new


def _make(parent: int, name: str, mode: int) -> bool:
    try:
        os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:
        return False
    os.fsync(parent)
    return True


@contextmanager
def directory(root: str, path: str, *, create_mode: int | None = None) -> Iterator[int]:
    """Open the directory `path` beneath `root` for the length of a `with` block."""
    fd = open_directory(root, path, create_mode=create_mode)
    try:
        yield fd
    finally:
        os.close(fd)


def open_file(root: str, directory_path: str, name: str) -> int:
    """Open a regular file for reading and return its descriptor; never blocks on a FIFO, never follows a link.

    Raises OSError: ELOOP for a link, EXDEV for anything that is not a regular file.
    """
    with directory(root, directory_path) as parent:
        fd = os.open(name, _FILE, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _refuse(name, "is not a regular file")
    return fd


def look(root: str, path: str) -> os.stat_result:
    """Lstat `path` beneath `root`, walking as `open_file` does."""
    directory_path, _, name = path.rpartition("/")
    with directory(root, directory_path) as parent:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)


def remove_empty(root: str, path: str) -> None:
    """Remove the directory `path` beneath `root`, and those above it, as long as they are empty."""
    while path:
        above, _, name = path.rpartition("/")
        try:
            with directory(root, above) as parent:
                os.rmdir(name, dir_fd=parent)
                os.fsync(parent)
        except OSError:
            return  # not empty, or not ours to remove
        path = above
