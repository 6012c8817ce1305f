"""The disk below one folder, for the machine of the engine: what stat says, what calls do, and a point at each of them.

It is a real one, made as hard as can be. The lowest inode number that is free goes to the next file, as on ext4; no two
changes have one time, nor does it matter how fast the machine is; what no fsync has made durable is known.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

from faceblurd.ledger.ledger import Ledger
from faceblurd.publish import renames
from faceblurd.publish import staging as staging_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

stat, fstat, scandir = os.stat, os.fstat, os.scandir
_FAILS = {"_create", "fsync"}  # what a full disk refuses; without renames we would be on a lesser file system


class Crash(BaseException):
    """The process has ended."""


class Disk:
    """What stat says of the files below a folder, what calls do to them, and a point before and after each of them."""

    def __init__(self, folder: Path, *, is_nameless: bool) -> None:
        """`is_nameless`: there are files without a name (O_TMPFILE)."""
        self.folder = folder
        self.now: Callable[[], float] = lambda: 0.0
        self.at_point: Callable[[], None] = lambda: None
        self.is_acting = False  # somebody else than the engine is at it
        self.faults = 0  # so many calls fail, as on a full disk
        self.changed_at: dict[int, float] = {}  # by real inode number, as the two below
        self._numbers: dict[int, int] = {}
        self._ctimes: dict[int, int] = {}
        self.tick = 0
        self.unsynced: set[str] = set()  # names that we gave or took, and no fsync has made durable
        self._patches, self._is_nameless = ExitStack(), is_nameless
        self._arm()

    def close(self) -> None:
        self._patches.close()

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Let somebody else than the engine change the disk."""
        before, self.is_acting = self.is_acting, True
        try:
            yield
        finally:
            self.is_acting = before

    # --- what stat says

    def _told(self, st: os.stat_result) -> os.stat_result:
        if (number := self._numbers.get(st.st_ino)) is None:
            return st
        ctime, times = self._ctimes[st.st_ino], {"st_mtime_ns": st.st_mtime_ns, "st_atime_ns": st.st_atime_ns}
        return os.stat_result((st[0], number, *st[2:10]), {**times, "st_ctime_ns": ctime})

    def changed(self, inode: int) -> None:
        """Give a file a time of change that no file had before."""
        if inode in self._numbers:
            self.tick += 1
            self._ctimes[inode], self.changed_at[inode] = self.tick, self.now()

    def created(self, inode: int) -> None:
        """Give a new file the lowest number that is free."""
        self._numbers.pop(inode, None)
        alive = self._alive()
        for dead in self._numbers.keys() - alive:
            del self._numbers[dead]
        taken = set(self._numbers.values())
        self._numbers[inode] = next(number for number in range(1, len(taken) + 2) if number not in taken)
        self.changed(inode)

    def _alive(self) -> set[int]:
        found = {entry.inode() for name in ("root", "mirror") for entry in scandir(self.folder / name)}
        return found | {fstat(fd).st_ino for fd in self.open_files()}

    def open_files(self) -> list[int]:
        """List the descriptors that this process has below the folder."""
        found = []
        for fd in map(int, os.listdir("/proc/self/fd")):
            try:
                target = os.readlink(f"/proc/self/fd/{fd}")
            except OSError:
                continue  # that of the list itself
            if target.startswith(f"{self.folder}/"):
                found.append(fd)
        return found

    # --- what calls do

    def _arm(self) -> None:
        real_open = os.open

        def without_tmpfile(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(95, "no O_TMPFILE")
            return real_open(path, flags, *arguments, **options)

        if not self._is_nameless:
            self._patch(os, "open", without_tmpfile)
        self._patch(os, "stat", lambda *arguments, **options: self._told(stat(*arguments, **options)))
        self._patch(os, "fstat", lambda fd: self._told(fstat(fd)))
        for owner, name, after in (
            (os, "link", self._linked), (os, "rename", self._renamed), (renames, "renameat2", self._renamed_at),
            (os, "unlink", self._unlinked),
            (staging_files, "_create", lambda made, *_: self.created(fstat(made[0]).st_ino)),
            (Ledger, "begin", None), (Ledger, "put", None), (Ledger, "end", None),
        ):  # fmt: skip
            self._patch(owner, name, self._with_points(name, getattr(owner, name), after))
        self._patch(os, "fsync", self._with_points("fsync", lambda _fd: None, self._synced))  # only the process dies

    def _patch(self, owner: Any, name: str, function: Callable[..., Any]) -> None:
        self._patches.enter_context(mock.patch.object(owner, name, function))

    def watch(self, owner: Any, name: str, before: Callable[..., None]) -> None:
        """Have a look at each call by that name, before it is made."""
        function = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            if not self.is_acting:
                before(*arguments)
            return function(*arguments, **options)

        self._patch(owner, name, watched)

    def _with_points(self, name: str, function: Callable[..., Any], after: Callable[..., None] | None) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if not self.is_acting:
                self.at_point()
                if self.faults and name in _FAILS:
                    self.faults -= 1
                    raise OSError(28, os.strerror(28))
            result = function(*arguments, **options)
            if after is not None:
                after(result, *arguments, *options.values())
            if not self.is_acting:
                self.at_point()
            return result

        return wrapped

    def _name(self, directory: int | None, name: Any) -> str:
        """Give the whole path of a name, and note that its file has changed."""
        path = os.fspath(name) if directory is None else f"{os.readlink(f'/proc/self/fd/{directory}')}/{name}"
        if os.path.lexists(path):
            self.changed(stat(path).st_ino)
        if not self.is_acting:
            self.unsynced.add(path)
        return path

    def _linked(self, _: None, source: str, name: str, source_fd: int, fd: int, *__: bool) -> None:
        self._name(fd, name)

    def _renamed(self, _: None, old: str, new: str, fd: int | None = None, new_fd: int | None = None) -> None:
        self._name(fd, old)
        self._name(new_fd, new)

    def _renamed_at(self, _: None, fd: int, old: str, new: str, flags: int, new_fd: int | None = None) -> None:
        self._name(fd, old)
        self._name(fd if new_fd is None else new_fd, new)

    def _unlinked(self, _: None, name: Any, fd: int | None = None) -> None:
        self._name(fd, name)

    def _synced(self, _: None, fd: int) -> None:
        folder = os.readlink(f"/proc/self/fd/{fd}")
        self.unsynced = {path for path in self.unsynced if os.path.dirname(path) != folder}
