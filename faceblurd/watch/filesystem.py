"""What a folder lies on, and whether it is still the folder that it was; and the top of a mirror.

The kernel tells of changes only on some file systems: on network ones inotify sees what this machine does, on FUSE
whatever its program passes on. Photos that others put there are found by scans. Source: /proc/self/mountinfo,
proc_pid_mountinfo(5). Every function here may hang on a dead share.
"""

from __future__ import annotations

import ctypes
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

_SILENT: Final = frozenset({
    "9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse", "glusterfs", "gpfs", "lustre", "ncpfs",
    "nfs", "nfs4", "ocfs2", "orangefs", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs",
})  # fmt: skip
_OCTAL: Final = re.compile(r"\\([0-7]{3})")
_MOUNTS: Final = "/proc/self/mountinfo"
_AT_EMPTY_PATH, _MAX_HANDLE = 0x1000, 128  # of name_to_handle_at(2)


def kind_under(path: str) -> str:
    """Return the type of the file system below a path, such as ext4 or nfs4; empty when the kernel does not say."""
    return kind_in(_mountinfo(), os.path.realpath(path))


def mount_point(path: str) -> str:
    """Return where the mount that a path lies on is mounted.

    os.path.ismount would not do: it takes a folder that is bound from the same disk for a plain one, and so would take
    the empty folder below it for the root when it goes.
    """
    real = os.path.realpath(path)
    found = _mount_in(_mountinfo(), real)[0]
    while not found:  # without /proc
        found, real = (real if os.path.ismount(real) else ""), os.path.dirname(real)
    return found


def _mountinfo() -> str:
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def kind_in(mountinfo: str, path: str) -> str:
    """Find the type of what is mounted closest above an absolute path."""
    return _mount_in(mountinfo, path)[1]


def _mount_in(mountinfo: str, path: str) -> tuple[str, str]:
    """Find place and type of the deepest mount above an absolute path, the last one of several at the same place."""
    found = ("", "")
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        words = fields.split(" ", 5)
        if len(words) < 5 or not rest:  # noqa: PLR2004 - the mount point is the fifth
            continue
        point = _OCTAL.sub(lambda code: chr(int(code[1], 8)), words[4]) if "\\" in words[4] else words[4]
        if (path + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(found[0]):
            found = (point, rest.split(" ", 1)[0])
    return found


def tells_of_changes(kind: str) -> bool:
    """Say whether a file system tells of every change, whoever made it."""
    return kind not in _SILENT and not kind.startswith("fuse.")


@dataclass(frozen=True, slots=True)
class RootIdentity:
    """What a root is, as opposed to what it is called: an unmounted root is a directory with the same name.

    `mark` outlives restarts, and differs for a directory that was deleted and made again, even where it got the same
    inode number (ext4: in 19 of 20 times).
    """

    device: int
    inode: int
    mount_point: str
    mark: str = ""

    @classmethod
    def of(cls, path: str) -> RootIdentity:
        """Look at a root. Raises OSError when there is no such directory, or it cannot be reached."""
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            st = os.fstat(fd)
            mark = f"{os.fstatvfs(fd).f_fsid:x}.{_handle(fd) or f'{st.st_ino:x}'}"
        finally:
            os.close(fd)
        return cls(st.st_dev, st.st_ino, mount_point(path), mark)

    def is_same_place(self, other: RootIdentity) -> bool:
        """Tell whether `other` is this root, but not the bare mount point below it.

        It may have been deleted and made again, or mounted since: a root whose disk came late is the real one.
        """
        return os.path.commonpath([self.mount_point, other.mount_point]) == self.mount_point


def _handle(fd: int) -> str:
    """Return what an NFS server knows a file by: inode and generation; empty where a file system has no such thing."""
    handle = ctypes.create_string_buffer(8 + _MAX_HANDLE)
    ctypes.c_uint.from_buffer(handle).value = _MAX_HANDLE
    call = getattr(ctypes.CDLL(None, use_errno=True), "name_to_handle_at", None)
    if call is None or call(fd, b"", handle, ctypes.byref(ctypes.c_int()), _AT_EMPTY_PATH) != 0:
        return ""
    return handle.raw[8 : 8 + ctypes.c_uint.from_buffer(handle).value].hex()


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a root and at the top of its mirror gave: an identity, or why there is none."""

    root: RootIdentity | OSError
    to: RootIdentity | OSError
    kind: str  # of file system below the root
    free_bytes: int  # for results
    empty: frozenset[str] = frozenset()  # those of the two that hold nothing
    elsewhere: str = ""  # where a name of the config leads now, if no longer to the root or its mirror


@dataclass(frozen=True, slots=True)
class Places:
    """A root and where its results go (the root itself, in place); and by which names, through symlinks, maybe."""

    path: str
    to: str
    names: tuple[str, str] | None = None


def look(places: Places) -> Look:
    """Look at a root, and where its results go."""
    path, to = places.path, places.to
    root = _identity(path)
    there = root if to == path else _identity(to)
    empty = frozenset(one for one in {path, to} if _is_empty(one))
    return Look(root, there, kind_under(path), _free(to), empty, _elsewhere(places))


def _is_empty(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is None
    except OSError:
        return False


def _elsewhere(places: Places) -> str:
    """Notice a symlink that was pointed at another folder since the config was read."""
    for name, known in zip(places.names or (), (places.path, places.to), strict=False):
        if (leads_to := os.path.realpath(name)) != known:
            return f"{name} leads to {leads_to} now, and no longer to {known}"
    return ""


def _identity(path: str) -> RootIdentity | OSError:
    try:
        return RootIdentity.of(path)
    except OSError as error:
        return error


def _free(path: str) -> int:
    """Return the bytes that may be written: none where no file can be made, since the inodes are used up."""
    try:
        there = os.statvfs(path)
    except OSError:
        return 0
    return 0 if there.f_files and not there.f_favail else there.f_bavail * there.f_frsize


@dataclass(frozen=True, slots=True)
class Mirror:
    """The top of a root's mirror. `folders`: those that were made for it, the deepest first."""

    root: str
    to: str
    folders: tuple[str, ...] = ()
    error: str | None = None

    def undo(self) -> None:
        """Remove what was made, as far as it is empty."""
        for folder in self.folders:
            with suppress(OSError):
                os.rmdir(folder)


def make(root: str, to: str, mounted_at: str) -> Mirror:
    """See that the top of a mirror is there. May hang. `mounted_at`: where its disk was mounted so far, if known.

    Where the place of that disk is bare, nothing is made: the root waits for it.
    """
    missing, above = [], to
    while not os.path.isdir(above):
        missing.append(above)
        above = os.path.dirname(above)
    if not missing or is_bare(above, mounted_at):
        return Mirror(root, to)
    made: list[str] = []
    try:
        for folder in reversed(missing):
            os.mkdir(folder)
            made.insert(0, folder)
    except OSError as error:
        return Mirror(root, to, tuple(made), error.strerror or str(error))
    return Mirror(root, to, tuple(made))


def is_bare(path: str, mounted_at: str) -> bool:
    """Tell whether a folder lies outside of the mount that it was in: its disk is not there."""
    return bool(mounted_at) and not f"{mount_point(path)}/".startswith(f"{mounted_at.rstrip('/')}/")
