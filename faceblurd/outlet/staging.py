"""Staging files: made beside the destination, with the source's attributes, and without a name where that is possible.

Must not give a finished file its name: that is `publisher`.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass

from faceblurd.outlet import beneath
from faceblurd.rules.naming import staging_name

_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EISDIR, errno.ENOENT})
_ACL = "system.posix_acl_access"
_PERMISSIONS = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO  # setuid and setgid were given to other bytes


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


def open_staging(target: Target, *, token: str, source_fd: int, create_mode: int | None = 0o755) -> Staging:
    """Make a staging file beside `target`, with the source's mode, owner, ACL and extended attributes.

    Where it must have a name, that is `staging_name(token)`: the caller has written it down.
    Raises OSError (ENOSPC, EROFS, EACCES ...).
    """
    directory = target.path.rpartition("/")[0]
    directory_fd = beneath.open_directory(target.root, directory, create_mode=create_mode, device=target.device)
    try:
        fd, name = _create(directory_fd, token)
    except OSError:
        os.close(directory_fd)
        raise
    staging = Staging(target, token, directory_fd, fd, name)
    try:
        copy_attributes(source_fd, fd)
    except OSError:
        staging.discard()
        raise
    return staging


def _create(directory_fd: int, token: str) -> tuple[int, str | None]:
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory_fd), None
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
    name = staging_name(token)
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=directory_fd), name


def copy_attributes(source_fd: int, staging_fd: int) -> None:
    """Give the staging file the source's owner, mode, ACL and user attributes, as far as we are allowed to.

    Only root may give files away; elsewhere the group is kept where possible, and the owner is ours. Set-user-ID,
    set-group-ID and sticky never go over: such a result would be a program that runs with *our* rights.
    """
    st = os.fstat(source_fd)
    mine = os.fstat(staging_fd)
    if (st.st_uid, st.st_gid) != (mine.st_uid, mine.st_gid):
        _chown(staging_fd, st.st_uid, st.st_gid)
    with suppress(OSError):  # what a default ACL of the directory gave it: the source has its own, or none
        os.removexattr(staging_fd, _ACL)
    os.fchmod(staging_fd, st.st_mode & _PERMISSIONS)
    with suppress(OSError):  # a file system without extended attributes
        for name in os.listxattr(source_fd):
            if name.startswith("user.") or name == _ACL:
                with suppress(OSError):
                    os.setxattr(staging_fd, name, os.getxattr(source_fd, name))


def _chown(fd: int, uid: int, gid: int) -> None:
    for owner, group in ((uid, gid), (-1, gid)):
        try:
            os.fchown(fd, owner, group)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP}:
                raise
        else:
            return
