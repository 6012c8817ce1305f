"""What a file has beside its bytes: owner, mode, ACLs and extended attributes, from a photo to its result.

Must not open a result to more people than its photo was open to: what cannot be kept is an error.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from faceblurd.rules import access
from faceblurd.rules.side_channels import ACCESS_CONTROL, POSIX_ACL, SELINUX, decides_access, may_stay

if TYPE_CHECKING:
    from faceblurd.model import Fingerprint

_DEFAULT_ACL = "system.posix_acl_default"
_PERMISSIONS = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO  # setuid and setgid were given to other bytes
_SELINUX_RUNS = "/sys/fs/selinux/enforce"
_ABSENT = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
_NOT_OURS_TO_SET = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


class Dress(Enum):
    """What a new file gets of the one that it is made from."""

    WHOLE = auto()  # a moved file: everything
    IN_PLACE = auto()  # a result in a photo's place: who may read it, and the attributes that may stay
    MIRROR = auto()  # a result in a mirror: what a new file there gets


@dataclass(frozen=True, slots=True)
class Terms:
    """How a new file is dressed. `keeps_user`: extended attributes that may stay do.

    `limited`: in a mirror, others get no more than the photo gives them.
    """

    dress: Dress = Dress.WHOLE
    keeps_user: bool = True
    limited: bool = True


WHOLE = Terms()


def copy_attributes(source_fd: int, fd: int, terms: Terms = WHOLE, *, folder_fd: int = -1) -> None:
    """Dress a new file: owner, mode, access control, extended attributes, as far as we are allowed to.

    Only root may give files away; elsewhere the group is kept where possible, and the owner is ours. Set-user-ID,
    set-group-ID and sticky never go over: such a result would be a program that runs with *our* rights. `folder_fd`:
    the folder that the file is in, for a mirror. Raises OSError; EPERM where the access control cannot be kept.
    """
    match terms.dress:
        case Dress.MIRROR:
            _dress_for_mirror(source_fd, fd, folder_fd, limited=terms.limited)
        case Dress.IN_PLACE:
            _keep_access(source_fd, fd)
        case Dress.WHOLE:
            _keep_access_or_close(source_fd, fd)
    if terms.keeps_user:
        _keep_user_attributes(source_fd, fd, whole=terms.dress is Dress.WHOLE)


# --- in place


def _keep_access(source_fd: int, fd: int) -> None:
    st = os.fstat(source_fd)
    _chown(fd, st.st_uid, st.st_gid)
    now = os.fstat(fd)
    owner_kept, group_kept = now.st_uid == st.st_uid, now.st_gid == st.st_gid
    acl = _value(source_fd, POSIX_ACL)
    if acl is None:
        with suppress(OSError):  # what a default ACL of the directory gave it
            os.removexattr(fd, POSIX_ACL)
        mode = st.st_mode & _PERMISSIONS
        os.fchmod(fd, access.without_former(mode, owner_kept=owner_kept, group_kept=group_kept))
    else:  # sets the mode as well
        _set(fd, POSIX_ACL, _without_former(acl, owner_kept=owner_kept, group_kept=group_kept))
    for name, value in _access_control(source_fd).items():
        _set(fd, name, value)


def _access_control(fd: int) -> dict[str, bytes]:
    """Read what decides who may read a file beside its mode and POSIX ACL: what is known, and what is listed."""
    listed: list[str] = []
    with suppress(OSError):  # a file system without extended attributes
        listed = os.listxattr(fd)
    named = {name: _value(fd, name) for name in (*ACCESS_CONTROL, *listed) if name != POSIX_ACL and _may_be_acl(name)}
    return {name: value for name, value in named.items() if value is not None and decides_access(name, value)}


def _may_be_acl(name: str) -> bool:
    return name in ACCESS_CONTROL or "acl" in name.lower()


def _keep_access_or_close(source_fd: int, fd: int) -> None:
    """Do so for a file that is moved away for good reason: what cannot be kept leaves it to its owner alone."""
    try:
        _keep_access(source_fd, fd)
    except PermissionError:
        with suppress(OSError):
            os.removexattr(fd, POSIX_ACL)
        os.fchmod(fd, os.fstat(source_fd).st_mode & stat.S_IRWXU)


def _without_former(acl: bytes, *, owner_kept: bool, group_kept: bool) -> bytes:
    try:
        return access.acl_without_former(acl, owner_kept=owner_kept, group_kept=group_kept)
    except ValueError as error:  # from a program that plays file system (FUSE): the kernel's own are valid
        raise PermissionError(errno.EPERM, f"its access control ({POSIX_ACL}) cannot be read") from error


def _value(fd: int, name: str) -> bytes | None:
    try:
        return os.getxattr(fd, name)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return None


def _set(fd: int, name: str, value: bytes) -> None:
    """Set what decides who may read a file, unless it is so already. Raises PermissionError."""
    if _value(fd, name) == value:
        return
    try:
        os.setxattr(fd, name, value)
    except OSError as error:
        if error.errno not in {errno.EACCES, *_NOT_OURS_TO_SET}:
            raise
        if name == SELINUX and not os.path.exists(_SELINUX_RUNS):
            return  # a label that nobody asks for; where somebody does, a file without one is closed to all but few
        why = f"its access control ({name}) cannot be kept: {error.strerror}; give the service CAP_SYS_ADMIN, or mirror"
        raise PermissionError(errno.EPERM, why) from error


def _chown(fd: int, uid: int, gid: int) -> None:
    mine = os.fstat(fd)
    if (mine.st_uid, mine.st_gid) == (uid, gid):
        return
    for owner, group in ((uid, gid), (-1, gid)):
        try:
            os.fchown(fd, owner, group)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP}:
                raise
        else:
            return


# --- in a mirror


def _dress_for_mirror(source_fd: int, fd: int, folder_fd: int, *, limited: bool) -> None:
    """Give what any new file in the folder gets: its group if it is set-group-ID, its default ACL if it has one."""
    st, folder = os.fstat(source_fd), os.fstat(folder_fd)
    source_mode = mode_for_others(source_fd) if limited else None
    has_acl = _value(folder_fd, _DEFAULT_ACL) is not None
    _chown(fd, st.st_uid, -1 if has_acl or folder.st_mode & stat.S_ISGID else st.st_gid)
    if has_acl:
        _limit_acl(fd, source_mode)
        return
    belongs = os.fstat(fd).st_gid == folder.st_gid
    _chmod(fd, access.file_mode(folder.st_mode, source_mode, of_folders_group=belongs))


def mode_for_others(fd: int) -> int:
    """Say what group and others may do with a file or folder, as a mode. Raises OSError."""
    mode = stat.S_IMODE(os.fstat(fd).st_mode) & _PERMISSIONS
    try:
        ntacl = next((value for name, value in _access_control(fd).items() if name.upper().endswith("NTACL")), None)
        return access.as_seen_by_others(mode, _value(fd, POSIX_ACL), ntacl)
    except ValueError:  # a file system of somebody's own
        return mode & stat.S_IRWXU


def dress_folder(fd: int, above_fd: int, source_mode: int | None) -> None:
    """Give a new folder of a mirror what the one above it gives; `source_mode`: limited by it. Raises OSError."""
    above, made = os.fstat(above_fd), os.fstat(fd)
    if _value(above_fd, _DEFAULT_ACL) is not None:
        _limit_acl(fd, source_mode)
        return
    mode = access.folder_mode(above.st_mode, source_mode, of_aboves_group=made.st_gid == above.st_gid)
    if mode == stat.S_IMODE(made.st_mode) & _PERMISSIONS:
        return
    try:
        os.setxattr(fd, POSIX_ACL, access.plain_acl(mode))  # the unit lets nobody name the set-group-ID bit in a mode
    except OSError:
        _chmod(fd, mode | made.st_mode & stat.S_ISGID)


def _limit_acl(fd: int, source_mode: int | None) -> None:
    """Limit what a default ACL gave to a new file or folder; without named users and groups it is a mode."""
    if source_mode is None:
        return
    with suppress(ValueError):
        if (acl := _value(fd, POSIX_ACL)) is not None:
            os.setxattr(fd, POSIX_ACL, access.limited_acl(acl, source_mode))
            return
    _chmod(fd, access.limited(stat.S_IMODE(os.fstat(fd).st_mode), source_mode))


def _chmod(fd: int, mode: int) -> None:
    """Set a mode, where the file system has any: exFAT and some shares say EPERM."""
    if stat.S_IMODE(os.fstat(fd).st_mode) == mode:
        return
    try:
        os.fchmod(fd, mode)
    except OSError as error:
        if error.errno not in _NOT_OURS_TO_SET:
            raise


# --- extended attributes


def _user_attributes(fd: int) -> dict[str, bytes | None]:
    """Read the attributes of the user's; None for a value that cannot be read."""
    found: dict[str, bytes | None] = {}
    with suppress(OSError):  # a file system without extended attributes
        found = {name: None for name in os.listxattr(fd) if name.startswith("user.")}
    for name in found:
        with suppress(OSError):
            found[name] = os.getxattr(fd, name)
    return found


def _keep_user_attributes(source_fd: int, fd: int, *, whole: bool) -> None:
    for name, value in _user_attributes(source_fd).items():
        if value is not None and (whole or may_stay(name, value)):
            with suppress(OSError):
                os.setxattr(fd, name, value)


def strip(fd: int, expected: Fingerprint, *, keeps_user: bool) -> Fingerprint:
    """Remove from a photo that stays as it is the attributes that may not; return what it is known by afterwards.

    Raises OSError (EACCES, EPERM, EROFS ...) that names the attribute.
    """
    for name, value in _user_attributes(fd).items():
        if value is not None and (decides_access(name, value) or (keeps_user and may_stay(name, value))):
            continue
        try:
            os.removexattr(fd, name)
        except OSError as error:
            raise OSError(error.errno, f"the attribute {name} cannot be removed: {error.strerror}") from error
    # From here on, whatever somebody writes must differ from what is recorded.
    return replace(expected, ctime_ns=os.fstat(fd).st_ctime_ns)
