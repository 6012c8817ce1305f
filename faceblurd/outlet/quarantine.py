"""Files that could not be made safe: what is held, why, and how it comes back.

Owns the held entries of the ledger and, for roots with `on_failure: hold`, a folder (mode 0700) that the files are
moved into, so that an un-blurred photo does not stay where it is shown. Nothing is deleted without being told to.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from faceblurd.errors import FaceblurdError
from faceblurd.model import Entry, State, printable
from faceblurd.outlet import beneath
from faceblurd.outlet.staging import copy_attributes

if TYPE_CHECKING:
    from faceblurd.outlet.ledger import Ledger


class Quarantine:
    """The held files of one state directory."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        """Use `folder` for files that are moved; it is made when the first one is."""
        self._ledger = ledger
        self._folder = folder

    def held(self) -> list[Entry]:
        """List what is held, oldest first."""
        return self._ledger.in_state(State.QUARANTINED)

    def take_away(self, entry: Entry) -> Path:
        """Move the file of `entry` out of its root into the folder; durable before the name in the root is gone."""
        place = self._folder / secrets.token_hex(8)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.mkdir(mode=0o700)
        directory, _, name = entry.path.rpartition("/")
        try:
            _write_durably(place / "origin", os.fsencode(f"{entry.root}/{entry.path}"))
            _fsync_directory(self._folder)
            with beneath.directory(entry.root, directory) as parent:
                _move(parent, name, place / "file")
        except OSError:
            if not (place / "file").exists():  # else the file is in both places, or here only
                shutil.rmtree(place)
            raise
        return place

    def retry(self, entry: Entry) -> None:
        """Let the daemon try again, from the start; a file that was moved away goes back first."""
        place = self._place_of(entry)
        if place is not None:
            try:
                _put_back(place, Path(entry.root, entry.path))
            except OSError as error:
                raise FaceblurdError(
                    f"{printable(f'{entry.root}/{entry.path}')} cannot be put back: {error.strerror}",
                    remedy=f"The file is {place / 'file'}",
                ) from error
        self._ledger.put(replace(entry, state=State.RETRY, attempts=0, reason=None, detail=""))

    def drop(self, entry: Entry) -> None:
        """Stop to care. A file in its root stays, and is looked at again when it changes; one moved here is deleted."""
        place = self._place_of(entry)
        if place is not None:
            shutil.rmtree(place)
            self._ledger.forget(entry.root, entry.path)
        else:
            self._ledger.put(replace(entry, state=State.VANISHED))

    def _place_of(self, entry: Entry) -> Path | None:
        origin = os.fsencode(f"{entry.root}/{entry.path}")
        if not self._folder.is_dir():
            return None
        for place in self._folder.iterdir():
            with suppress(FileNotFoundError):
                if (place / "origin").read_bytes() == origin:
                    return place
        return None


def _move(parent_fd: int, name: str, place: Path) -> None:
    """Rename, or across file systems copy, fsync and unlink."""
    try:
        os.rename(name, place, src_dir_fd=parent_fd)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        try:
            _copy(parent_fd, name, place)
            os.unlink(name, dir_fd=parent_fd)
        except OSError:
            place.unlink(missing_ok=True)  # the file is still where it was: half a copy would stand in its way back
            raise
    _fsync_directory(place.parent)
    os.fsync(parent_fd)


def _copy(parent_fd: int, name: str, place: Path) -> None:
    source_fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=parent_fd)
    with os.fdopen(source_fd, "rb") as source:
        _copy_durably(source, place)
    _fsync_directory(place.parent)


def _copy_durably(source: BinaryIO, path: Path) -> None:
    """Copy content, owner, mode, ACL, extended attributes and times; all of it is on disk at the end."""
    st = os.fstat(source.fileno())
    with path.open("xb") as copy:
        os.fchmod(copy.fileno(), 0o600)
        shutil.copyfileobj(source, copy)
        copy.flush()
        copy_attributes(source.fileno(), copy.fileno())
        os.utime(copy.fileno(), ns=(st.st_atime_ns, st.st_mtime_ns))
        os.fsync(copy.fileno())


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _put_back(place: Path, origin: Path) -> None:
    """Give a moved file its place again; never over another file."""
    with beneath.directory(str(origin.parent), "") as parent:
        try:
            os.link(place / "file", origin.name, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError as error:
            raise FaceblurdError(
                f"{origin} exists again", remedy="Move it away first, or drop the held file"
            ) from error
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy_back(place / "file", origin)
        os.fsync(parent)
    shutil.rmtree(place)


def _copy_back(source: Path, origin: Path) -> None:
    partial = origin.with_name(f".faceblurd-{secrets.token_hex(8)}.tmp")
    try:
        with source.open("rb") as held:
            _copy_durably(held, partial)
        os.link(partial, origin)
    finally:
        partial.unlink(missing_ok=True)


def _fsync_directory(path: Path) -> None:
    fd = os.open(path, os.O_DIRECTORY | os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
