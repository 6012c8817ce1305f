"""The one moment in which a result takes its name.

Must not decide what is published, nor write any pixels: the worker does that through the staging file's descriptor.

A staging file has no name where the file system allows it (O_TMPFILE): a killed worker or daemon then leaves nothing,
and whoever lists the folder never sees a partial file. A new target gets its name by linkat, which refuses an existing
one. An existing target is exchanged (RENAME_EXCHANGE), and what came out is looked at: if it is not what was blurred,
it is a newer upload and goes back. A stat before a plain rename would leave a race; it is the fall-back only where the
file system cannot exchange (NFS, exFAT, most FUSE), or says that it did and has renamed (FUSE that ignores the flags).
Whether it can is seen by what happens, not by error numbers (`renames`).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from faceblurd.model import Fingerprint
from faceblurd.publish import contents, renames
from faceblurd.publish.attributes import Dress, Terms, copy_attributes
from faceblurd.rules.foreign import staging_name

if TYPE_CHECKING:
    from faceblurd.publish.staging import Staging


@dataclass(frozen=True, slots=True)
class Published:
    """The result has its name, durably."""

    fingerprint: Fingerprint


_AS_IT_IS = Terms(Dress.IN_PLACE)  # a staging file has been dressed


@dataclass(frozen=True, slots=True)
class Newer:
    """The target is not what was read: somebody was faster. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Occupied:
    """The target's name is taken by a file that is not known as ours. Nothing was changed."""

    digest: str = field(default="", compare=False)  # of that file; empty: not looked at, or no file


def publish(
    staging: Staging, *, expected: Fingerprint | None, expected_digest: str | None
) -> Published | Newer | Occupied:
    """Give the finished, fsynced staging file its name. May hang on a dead share.

    `expected` is what the target is believed to be: None for nothing, else the file that was read (in place) or
    published before (mirror), with its digest. The name that the staging file may take meanwhile, `staging_name(token)`
    beside the target, must have been written down: a crash may leave it. Raises OSError; the target is then whole, old
    or new.
    """
    if expected is None:
        result: Published | Newer | Occupied = _publish_new(staging)
    elif staging.name is not None and renames.at(staging.directory_fd, staging.target.name) != expected:
        result = Newer()  # a file system without O_TMPFILE may also rename when it is told to exchange
    else:
        _give_name(staging)
        result = _exchange(staging, expected, expected_digest)
    if isinstance(result, Published):
        os.fsync(staging.directory_fd)
    return result


def _publish_new(staging: Staging) -> Published | Occupied:
    before = os.fstat(staging.fd)
    try:
        if staging.name is not None or not _linked(staging, staging.target.name):
            _give_name(staging)
            _rename_no_replace(staging)
    except FileExistsError:
        return Occupied()
    staging.placed = True
    return Published(_as_it_was(staging, before))


def _linked(staging: Staging, name: str) -> bool:
    """Give a nameless file a name; False where that cannot be. Raises FileExistsError."""
    try:
        _link(staging, name)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


def _link(staging: Staging, name: str) -> None:
    # Both dir_fds are needed: without them Python calls link(), which does not follow the /proc link (EXDEV).
    fd = staging.directory_fd
    os.link(f"/proc/self/fd/{staging.fd}", name, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=True)


def _rename_no_replace(staging: Staging) -> None:
    assert staging.name is not None  # noqa: S101 - the caller looked
    fd = staging.directory_fd
    renames.move_no_replace(staging.name, fd, staging.target.name, source_fd=fd)
    staging.name = None


def _give_name(staging: Staging) -> None:
    if staging.name is None:
        name = staging_name(staging.token)
        if not _linked(staging, name):
            _copy(staging, name)
        staging.name = name


def _copy(staging: Staging, name: str) -> None:
    """Write a nameless file once more, with a name: without /proc, or where links are refused, it would never get one.

    Raises OSError; nothing is left by that name then.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=staging.directory_fd)
    try:
        copy_attributes(staging.fd, fd, _AS_IT_IS)
        contents.copy_into(staging.fd, fd)
        os.fsync(fd)
    except OSError:
        os.close(fd)
        os.unlink(name, dir_fd=staging.directory_fd)
        raise
    os.close(staging.fd)
    staging.fd = fd


def _exchange(staging: Staging, expected: Fingerprint, expected_digest: str | None) -> Published | Newer:
    fd, name, target = staging.directory_fd, staging.name, staging.target.name
    assert name is not None  # noqa: S101 - _give_name was called
    before = os.fstat(staging.fd)
    try:
        renames.exchange(fd, name, target)
    except FileNotFoundError:
        return Newer()
    except OSError:
        if not _is_own(staging, name):  # an error, and yet it was done: only the intent tells now what lies where
            staging.name, staging.placed = None, True
            raise
        return _replace(staging, expected)
    staging.name, staging.placed = None, True  # that name is somebody else's file now: a failure must not discard it
    published = Published(_as_it_was(staging, before))
    if renames.at(fd, name) is None:  # renamed, not exchanged; `publish` has looked
        return published
    if not _is_what_was_read(fd, name, expected, expected_digest):
        left = renames.put_back(fd, name, target, Fingerprint.from_stat(before))
        os.fsync(fd)  # before anybody removes that name, or forgets it: a power cut must not find the upload there
        staging.name, staging.placed = name if left else None, False  # our own result, or an upload that was replaced
        return Newer()
    os.unlink(name, dir_fd=fd)  # one fsync for both: whichever a power cut keeps, a whole file is at the target
    return published


def _is_own(staging: Staging, name: str) -> bool:
    """Tell whether a name is (still) that of the staging file."""
    there, own = renames.at(staging.directory_fd, name), os.fstat(staging.fd)
    return there is not None and (there.device, there.inode) == (own.st_dev, own.st_ino)


def _as_it_was(staging: Staging, before: os.stat_result) -> Fingerprint:
    """Give the fingerprint of a result that has just got its name, with the size and time from before that.

    From then on anybody may write into it: what they write must differ from what is recorded.
    """
    now = Fingerprint.from_stat(os.fstat(staging.fd))
    return replace(now, size=before.st_size, mtime_ns=before.st_mtime_ns)


def _replace(staging: Staging, expected: Fingerprint) -> Published | Newer:
    """Rename over the target after a look: the best there is without RENAME_EXCHANGE."""
    fd, name, before = staging.directory_fd, staging.name, os.fstat(staging.fd)
    if renames.at(fd, staging.target.name) != expected or name is None:
        return Newer()
    os.rename(name, staging.target.name, src_dir_fd=fd, dst_dir_fd=fd)
    staging.name, staging.placed = None, True
    return Published(_as_it_was(staging, before))


def _is_what_was_read(directory_fd: int, name: str, expected: Fingerprint, digest: str | None) -> bool:
    """Compare what the exchange brought out. ctime is left out: the rename itself has just changed it.

    What cannot be opened (a link, another user's file) is not what was read.
    """
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory_fd)
    except OSError:
        return False
    try:
        st = os.fstat(fd)
        same = (st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns) == (
            expected.device, expected.inode, expected.size, expected.mtime_ns,
        )  # fmt: skip
        return (
            same
            and stat.S_ISREG(st.st_mode)
            and not contents.open_for_writing(fd)
            and (digest is None or contents.digest_of(fd) == digest)
        )
    finally:
        os.close(fd)
