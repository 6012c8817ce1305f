"""Staging files: made beside the destination, dressed as the result will be, and without a name where that is possible.

Must not give a finished file its name: that is `publisher`.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from faceblurd.publish import beneath
from faceblurd.publish.attributes import (
    WHOLE,
    Dress,
    Terms,
    copy_attributes,
    dress_folder,
    mode_for_others,
)
from faceblurd.rules.foreign import staging_name


@dataclass(frozen=True, slots=True)
class Target:
    """Where a result goes: `path` beneath `root` (the watched root in place, the tree's top for a mirror).

    `device`: the file system that `root` must show, so that nothing is written below an empty mount point.
    """

    root: str
    path: str
    device: int | None = None

    @property
    def absolute(self) -> str:
        """The whole path."""
        return f"{self.root}/{self.path}"

    @property
    def name(self) -> str:
        """The last component."""
        return self.path.rpartition("/")[2]


@dataclass(slots=True)
class Staging:
    """An open staging file in the target's directory. `name` is None while it has none.

    `placed`: it has taken the target's place. After an error, only the intent knows then what lies where.
    """

    target: Target
    token: str
    directory_fd: int
    fd: int
    name: str | None
    placed: bool = False

    def close(self) -> None:
        """Close both descriptors; a file without a name is gone with them."""
        for fd in (self.fd, self.directory_fd):
            if fd >= 0:
                os.close(fd)
        self.fd = self.directory_fd = -1

    def discard(self) -> None:
        """Leave no trace: remove the name, if it has one, and close. Raises OSError when the name stays.

        Durably: the intent that tells of the name ends after this, and a power cut must not bring it back.
        """
        try:
            if self.name is not None:
                with suppress(FileNotFoundError):
                    os.unlink(self.name, dir_fd=self.directory_fd)
                os.fsync(self.directory_fd)
                self.name = None
        finally:
            self.close()


def open_staging(
    target: Target, *, token: str, source_fd: int, terms: Terms = WHOLE, create_mode: int | None = 0o777,
    source_root: str | None = None,
) -> Staging:  # fmt: skip
    """Make a staging file beside `target`, dressed by `terms`.

    Where it must have a name, that is `staging_name(token)`: the caller has written it down. New folders of a mirror
    are no more open than those of the same path beneath `source_root`. Raises OSError (ENOSPC, EROFS, EACCES ...).
    """
    directory, in_mirror = target.path.rpartition("/")[0], terms.dress is Dress.MIRROR
    made = partial(_dress_folder, source_root if terms.limited else None) if in_mirror else None
    directory_fd = beneath.open_directory(
        target.root, directory, create_mode=create_mode, device=target.device, made=made
    )  # fmt: skip
    try:
        # A default ACL counts as far as the mode at the creation allows.
        fd, name = _create(directory_fd, token, 0o666 if in_mirror else 0o600)
    except OSError:
        os.close(directory_fd)
        raise
    staging = Staging(target, token, directory_fd, fd, name)
    try:
        copy_attributes(source_fd, fd, terms, folder_fd=directory_fd)
    except OSError:
        staging.discard()
        raise
    return staging


def _dress_folder(source_root: str | None, path: str, fd: int, above_fd: int) -> None:
    dress_folder(fd, above_fd, None if source_root is None else _mode_of_folder(source_root, path))


def _mode_of_folder(source_root: str, path: str) -> int | None:
    try:
        with beneath.directory(source_root, path) as fd:
            return mode_for_others(fd)
    except FileNotFoundError:
        return None  # it has just gone: its photo is not published either
    except OSError:
        return stat.S_IRWXU


def _create(directory_fd: int, token: str, mode: int) -> tuple[int, str | None]:
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode, dir_fd=directory_fd), None
    except OSError:
        pass  # whatever it is: where a file cannot be made at all, the next call says why
    name = staging_name(token)
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, mode, dir_fd=directory_fd), name
