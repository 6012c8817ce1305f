"""What a file holds, told by its digest, and whether somebody is about to change it.

Must not trust a name: a file is read through a descriptor, or found beneath its root without following a link.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from typing import TYPE_CHECKING

from faceblurd.publish import beneath

if TYPE_CHECKING:
    from faceblurd.publish.staging import Target

_CHUNK = 1 << 20
_NO_TIMES = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


def digest_of(fd: int) -> str:
    """Hash a whole open file (BLAKE2b, 32 bytes, as the worker does)."""
    digest, offset = hashlib.blake2b(digest_size=32), 0
    while chunk := os.pread(fd, _CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def copy_into(source_fd: int, fd: int) -> None:
    """Write all that an open file holds into another, empty one, and give that its times if it may have them.

    Raises OSError.
    """
    st, offset = os.fstat(source_fd), 0
    while chunk := os.pread(source_fd, _CHUNK, offset):
        view = memoryview(chunk)
        while view:
            view = view[os.write(fd, view) :]
        offset += len(chunk)
    set_time(fd, st.st_mtime_ns)


def set_time(fd: int, mtime_ns: int) -> None:
    """Set when a file was changed; on some shares nobody may, and the time stays what it is."""
    try:
        os.utime(fd, ns=(mtime_ns, mtime_ns))
    except OSError as error:
        if error.errno not in _NO_TIMES:
            raise


def digest_at(target: Target, *, unless_written: bool = False) -> str | None:
    """Hash the regular file at a target; None when there is none, empty when there is something that we cannot read.

    `unless_written`: empty as well while some program has it open for writing, since the bytes say nothing then.
    """
    directory, _, name = target.path.rpartition("/")
    try:
        fd = beneath.open_file(target.root, directory, name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return ""
    try:
        return "" if unless_written and open_for_writing(fd) else digest_of(fd)
    finally:
        os.close(fd)


def open_for_writing(fd: int) -> bool:
    """Tell whether some program has the file open for writing (or mapped), by asking for a read lease.

    The kernel refuses the lease then (EAGAIN). Where leases do not work (foreign owner without CAP_LEASE, network file
    systems) the answer is no. The lease is given back at once; SIGIO must be ignored by the caller's process, since an
    opener in between would raise it.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
