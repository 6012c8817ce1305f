"""Both moves of a held file, out of its root into a place and back, and what a crash left of them.

Whoever is killed in between, the file lies in its root or in its place (in both, for a moment), whole; neither move
takes or covers a newer upload. Knows no ledger, decides nothing.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from faceblurd.model import Fingerprint
from faceblurd.publish import (
    beneath,
    places,
    publisher,
    renames,
)
from faceblurd.publish.attributes import copy_attributes
from faceblurd.publish.contents import copy_into, digest_at
from faceblurd.publish.places import (
    FILE,
    LEAVING,
    RETURNING,
    Place,
)
from faceblurd.publish.staging import open_staging
from faceblurd.rules.foreign import split

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from faceblurd.model import Entry


@contextmanager
def _beside(entry: Entry) -> Iterator[tuple[int, str]]:
    """Open the directory of a file beneath its root; give it with the file's name."""
    directory, name = split(entry.path)
    with beneath.directory(entry.root, directory) as parent:
        yield parent, name


def take_away(folder: Path, entry: Entry) -> Path | None:
    """Move the file of `entry` out of its root into a place of its own, durably, and return that.

    None: another file has its name by now (a newer upload), and keeps it. Raises OSError; the file is then in its root.
    """
    place = places.make(folder, entry)
    try:
        with _beside(entry) as (parent, name):
            moved = _move_out(parent, name, place)
    except OSError:
        if not place.file.exists():  # else the file is in both places, or here only: `recover` looks which
            places.remove(place)
        raise
    if not moved:
        places.remove(place)
        return None
    (place.path / LEAVING).unlink()
    return place.path


def _move_out(parent: int, name: str, place: Place) -> bool:
    """Rename, or across file systems copy, fsync and unlink. False: it is not the file that was judged; it stays."""
    if Fingerprint.from_stat(os.stat(name, dir_fd=parent, follow_symlinks=False)) != place.entry.source:
        return False
    try:
        os.rename(name, place.file, src_dir_fd=parent)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return _copy_out(parent, name, place)
    places.fsync_directory(place.path)
    os.fsync(parent)
    return _is_judged(place.file.lstat(), place.entry) or not _give_back(place, parent, name)


def _is_judged(st: os.stat_result, entry: Entry) -> bool:
    """Compare without the change time, which a rename sets."""
    judged = entry.source
    return (st.st_ino, st.st_size, st.st_mtime_ns) == (judged.inode, judged.size, judged.mtime_ns)


def _give_back(place: Place, parent: int, name: str) -> bool:
    """Give a newer upload its name again that was taken along; False when a still newer one has it."""
    try:
        renames.move_no_replace(str(place.file), parent, name)
    except FileExistsError:
        return False
    os.fsync(parent)
    return True


def _copy_out(parent: int, name: str, place: Place) -> bool:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=parent)
    try:
        _copy_durably(fd, place.path / "partial")
        if Fingerprint.from_stat(os.fstat(fd)) != place.entry.source:
            return False
        os.rename(place.path / "partial", place.file)
        places.fsync_directory(place.path)
        return _unlink_judged(parent, name, place)
    finally:
        os.close(fd)


def _unlink_judged(parent: int, name: str, place: Place) -> bool:
    """Remove the name of what was copied: aside first, since whoever uploads in between must not lose that."""
    hidden = split(place.hidden.path)[1]
    try:
        os.rename(name, hidden, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:
        place.file.unlink()  # it is still where it was: the copy would stand in its way back
        raise
    if _is_judged(os.stat(hidden, dir_fd=parent, follow_symlinks=False), place.entry):
        os.unlink(hidden, dir_fd=parent)
        os.fsync(parent)
        return True
    # FileExistsError if a still newer one has the name: the newer one then waits under the other, for `recover`.
    renames.move_no_replace(hidden, parent, name, source_fd=parent)
    os.fsync(parent)
    return False


def _copy_durably(source_fd: int, path: Path) -> None:
    """Copy content, owner, mode, ACL, extended attributes and times; all of it is on disk at the end."""
    with open(path, "xb", opener=places.only_for_us) as copy:
        copy_into(source_fd, copy.fileno())
        copy_attributes(source_fd, copy.fileno())
        os.fsync(copy.fileno())


# --- and back


def put_back(place: Place) -> Fingerprint:
    """Give a file its name in the root again, durably, never over another one; return what it is known by there.

    Raises OSError (FileExistsError: the name is taken); the file is then in its place.
    """
    places.write_durably(place.path / RETURNING, b"")
    try:
        with _beside(place.entry) as (parent, name):
            fingerprint = _move_back(place, parent, name)
    except BaseException:
        (place.path / RETURNING).unlink(missing_ok=True)
        raise
    places.remove(place)
    return fingerprint


def _move_back(place: Place, parent: int, name: str) -> Fingerprint:
    fd = os.open(place.file, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        renames.move_no_replace(str(place.file), parent, name)
        os.fsync(parent)
        return Fingerprint.from_stat(os.fstat(fd))
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    finally:
        os.close(fd)
    return _copy_back(place)


def _copy_back(place: Place) -> Fingerprint:
    fd = os.open(place.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        staging = open_staging(place.target, token=place.path.name, source_fd=fd, create_mode=None)
        try:
            copy_into(fd, staging.fd)
            os.fsync(staging.fd)
            result = publisher.publish(staging, expected=None, expected_digest=None)
        finally:
            staging.discard()
    finally:
        os.close(fd)
    if isinstance(result, publisher.Published):
        return result.fingerprint
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), place.target.absolute)


# --- after a crash


def recover(folder: Path) -> None:
    """Finish or undo the moves that a crash interrupted. Must not run while a file is being taken away."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if not (path / FILE).exists():
            shutil.rmtree(path, ignore_errors=True)  # not moved yet, back already, or dropped
        elif (path / LEAVING).exists() or (path / RETURNING).exists():
            with suppress(OSError):  # its root is away, say: the next start looks again
                _settle(places.at(path))


def _settle(place: Place) -> None:
    leaving = (place.path / LEAVING).exists()
    with _beside(place.entry) as (parent, name):
        if leaving and not _has_judged_content(place):
            _give_back(place, parent, name)
        else:
            _clear_hidden(place, parent, name, leaving=leaving)
        if not place.file.exists() or _is_in_both(place):
            os.fsync(parent)  # we may have ended right before this
            places.remove(place)
            return
    for mark in (LEAVING, RETURNING):
        (place.path / mark).unlink(missing_ok=True)


def _has_judged_content(place: Place) -> bool:
    """Compare what renames and copies keep: a bind mount on the same disk makes us copy, so the inode says nothing."""
    st, judged = place.file.lstat(), place.entry.source
    return (st.st_size, st.st_mtime_ns) == (judged.size, judged.mtime_ns)


def _is_in_both(place: Place) -> bool:
    """Tell whether the root has the same bytes: the file never left, or is back."""
    digest = place.digest()
    return bool(digest) and digest_at(place.target) == digest


def _clear_hidden(place: Place, parent: int, name: str, *, leaving: bool) -> None:
    found = digest_at(place.hidden)
    if found is None:
        return
    hidden = split(place.hidden.path)[1]
    if leaving and found != place.digest():  # a newer upload that its name was taken from
        renames.move_no_replace(hidden, parent, name, source_fd=parent)
    else:
        os.unlink(hidden, dir_fd=parent)
    os.fsync(parent)
