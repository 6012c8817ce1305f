"""The kernel's watches of one root, as a tree: which directories are watched, and what each is called now.

Owns the watches. Watches what the scanner looks into and nothing else: no ignored directory, no link, no other file
system. A watched directory's parent is watched too, up to the root, so that its every move is heard of.

watchdog's reader of inotify (`InotifyFD`) is used, its `InotifyWatchGroup` is not: that watches ignored directories and
other file systems, keeps on watching what was moved out of the root and reports it under its old path, looks through
all paths for each directory that moves, and counts a directory that it may not read as watched.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, Mask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchdog.observers.inotify_c import InotifyFD, WatchCallback, WatchDescriptor

    from faceblurd.rules.filter import Selection

# Lean on purpose: with opens, reads and attributes in it, our own walk drowns the queue above 10,000 directories.
_CONTENT: Final = Mask(
    InotifyConstants.IN_CREATE | InotifyConstants.IN_CLOSE_WRITE | InotifyConstants.IN_MOVE | InotifyConstants.IN_DELETE
)
_ROOT_MASK: Final = Mask(
    _CONTENT | InotifyConstants.IN_ONLYDIR | InotifyConstants.IN_MOVE_SELF | InotifyConstants.IN_DELETE_SELF
)
_MASK: Final = Mask(_CONTENT | InotifyConstants.IN_ONLYDIR | InotifyConstants.IN_DONT_FOLLOW)


@dataclass(slots=True, eq=False)
class Directory:
    """A watched directory: its name in its parent, so that a subtree that moves is renamed at its top alone."""

    name: bytes
    parent: Directory | None
    wd: WatchDescriptor | None = None
    below: dict[bytes, Directory] = field(default_factory=dict)

    def path_of(self, name: bytes) -> bytes:
        """Give the path of something in it, relative to the root."""
        parts, at = [name], self
        while at.parent is not None:
            parts.append(at.name)
            at = at.parent
        return b"/".join(reversed(parts))

    @property
    def above(self) -> Iterator[Directory]:
        """Give its parent, and so on up to the root."""
        at = self.parent
        while at is not None:
            yield at
            at = at.parent


class Watches:
    """All watches of one root. Not for two threads at once."""

    def __init__(self, root: str, selection: Selection, reader: InotifyFD, callback: WatchCallback) -> None:
        """Prepare; `callback` is told of every event."""
        self._top, self._selection = os.fsencode(root).rstrip(b"/"), selection
        self._reader, self._callback = reader, callback
        self._device = -1
        self._by_wd: dict[WatchDescriptor, Directory] = {}
        self.root = Directory(b"", None)
        self.problem = ""  # why a directory is not watched that should be
        self.closed = False  # set from another thread: a walk that is under way ends

    def __len__(self) -> int:
        """How many directories the kernel watches."""
        return len(self._by_wd)

    def at(self, wd: WatchDescriptor) -> Directory | None:
        """Give the directory that an event is about; None when it is none of ours any more."""
        return self._by_wd.get(wd)

    def watch_root(self) -> None:
        """Watch the root, which may be a link. Raises OSError."""
        top = self._top or b"/"
        self._device = os.stat(top).st_dev
        self.root.wd = self._ask(self.root, top, _ROOT_MASK)
        self._by_wd[self.root.wd] = self.root

    def watch(self, parent: Directory, name: bytes) -> Directory | None:
        """Watch a directory in a watched one; None when it must not or cannot be watched, or is gone again."""
        path = parent.path_of(name)
        if self._selection.of_folder(os.fsdecode(path)) is not None:
            return None
        try:
            whole = self._top + b"/" + path
            return self._adopt(Directory(name, parent), whole) if os.lstat(whole).st_dev == self._device else None
        except OSError as error:
            self._note(path, error)
            return None

    def _adopt(self, found: Directory, whole: bytes) -> Directory | None:
        """Watch what was found. The kernel gives a known watch for a known directory: then it was moved here."""
        wd = self._ask(found, whole, _MASK)
        known = self._by_wd.get(wd)
        if known is not None:
            self._reader.remove_callbacks([(wd, CallbackId(id(found)))])  # one is enough
            if known in found.above:
                return None  # mounted below itself
            self._take_out(known)
            known.name, known.parent = found.name, found.parent
            found = known
        found.wd = wd
        self._by_wd[wd] = found
        self._put_in(found)
        return found

    def _ask(self, directory: Directory, whole: bytes, mask: Mask) -> WatchDescriptor:
        callback_id = CallbackId(id(directory))
        wd = self._reader.add_callback(whole, mask, self._callback, callback_id)
        if wd < 0:  # watchdog passes over EACCES and keeps a watch -1
            self._reader.remove_callbacks([(wd, callback_id)])
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return wd

    def _put_in(self, directory: Directory) -> None:
        assert directory.parent is not None  # noqa: S101 - only the root has none, and it is above all that is found
        replaced = directory.parent.below.get(directory.name)
        if replaced is not None and replaced is not directory:
            self.drop(replaced)
        directory.parent.below[directory.name] = directory

    @staticmethod
    def _take_out(directory: Directory) -> None:
        if directory.parent is not None and directory.parent.below.get(directory.name) is directory:
            del directory.parent.below[directory.name]

    def walk(self, top: Directory) -> Iterator[bytes]:
        """Watch all directories below a watched one; yield the paths of what else is there."""
        pending = [top]
        while pending and not self.closed:
            directory = pending.pop()
            for name, is_directory in self._entries(directory):
                if not is_directory:
                    yield directory.path_of(name)
                elif (child := self.watch(directory, name)) is not None:
                    pending.append(child)

    def _entries(self, directory: Directory) -> list[tuple[bytes, bool]]:
        path = directory.path_of(b"")
        try:
            with os.scandir(self._top + b"/" + path) as entries:
                return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except OSError as error:
            self._note(path, error)
            return []

    def _note(self, path: bytes, error: OSError) -> None:
        """Remember why a directory is not watched, unless it is not there any more, or is a file or a link now."""
        if error.errno == errno.ENOSPC:
            self.problem = "raise the watch limit"
        elif error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            self.problem = f"{os.fsdecode(path)}: {error.strerror}"

    def drop(self, directory: Directory) -> None:
        """Watch a directory no longer, nor what is below it."""
        self._take_out(directory)
        gone = [directory]
        for one in gone:  # grows as it goes
            gone.extend(one.below.values())
        callbacks = [(one.wd, CallbackId(id(one))) for one in gone if one.wd is not None]
        self._reader.remove_callbacks(callbacks)
        for wd, _ in callbacks:
            self._by_wd.pop(wd, None)
