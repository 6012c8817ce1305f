"""The scan: what is really there. Owns the walk of a root in a thread of its own.

The walk only reads directories and never a file. It posts batches to the pipeline's inbox, which is bounded, so that a
huge tree costs no memory and a dead share blocks this thread alone. Must not decide anything.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceblurd.model import Fingerprint
from faceblurd.rules.filter import ignored_directory, wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BATCH = 500


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate that the scan came upon."""

    path: str
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True)
class Batch:
    """Part of a scan of `root`, in the scanner's own order."""

    root: str
    found: tuple[Found, ...]
    number: int = 0  # of the scan, as its owner counts


@dataclass(frozen=True, slots=True)
class Finished:
    """A scan has ended. `errors` lists what could not be read, as printable text.

    `seen`: hashes of the paths that were found, where the scan was told to remember them (8 MB for 100,000); None after
    errors, since nothing follows from what was not seen then.
    """

    root: str
    directories: int
    files: int
    errors: tuple[str, ...]
    number: int = 0  # of the scan, as its owner counts
    seen: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which names are candidates."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]


class Walk:
    """One walk; counts as it goes."""

    def __init__(self, root: str, selection: Selection, stopped: Callable[[], bool]) -> None:
        """Prepare. Raises OSError when the root itself cannot be read."""
        self.root = root
        self.selection = selection
        self.stopped = stopped
        self.directories = 0
        self.files = 0
        self.errors: list[str] = []
        self.device = os.stat(root).st_dev

    def __iter__(self) -> Iterator[Found]:
        """Yield candidates; depth first, one open directory at a time, without recursion."""
        pending = [""]
        while pending and not self.stopped():
            directory = pending.pop()
            below: list[str] = []
            for entry in self._entries(directory):
                path = f"{directory}/{entry.name}" if directory else entry.name
                yield from self._visit(entry, path, below)
            pending.extend(reversed(below))

    def _entries(self, directory: str) -> list[os.DirEntry[str]]:
        self.directories += 1
        try:
            with os.scandir(f"{self.root}/{directory}" if directory else self.root) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.errors.append(f"{directory or '.'}: {error.strerror}")
            return []

    def _visit(self, entry: os.DirEntry[str], path: str, below: list[str]) -> Iterator[Found]:
        try:
            if entry.is_dir(follow_symlinks=False):
                if not ignored_directory(path, self.selection.exclude) and self._same_device(entry, path):
                    below.append(path)
            elif entry.is_file(follow_symlinks=False) and wanted(path, self.selection.include, self.selection.exclude):
                self.files += 1
                yield Found(path, Fingerprint.from_stat(entry.stat(follow_symlinks=False)))
        except FileNotFoundError:
            return  # gone since the directory was read: nothing to report
        except OSError as error:
            self.errors.append(f"{path}: {error.strerror}")

    def _same_device(self, entry: os.DirEntry[str], path: str) -> bool:
        if entry.stat(follow_symlinks=False).st_dev == self.device:
            return True
        self.errors.append(f"{path}: another file system, not looked into")
        return False


def walk(root: str, selection: Selection) -> Walk:
    """Go through the candidates of a root. Raises OSError when the root itself cannot be read."""
    return Walk(root, selection, lambda: False)


def survey(root: str, exclude: tuple[str, ...], *, stopped: Callable[[], bool]) -> Finished:
    """Count the directories that a scan would look into, until `stopped`, and what it could not."""
    looked = Walk(root, Selection((), exclude), stopped)
    # All the way: no name is a candidate.
    list(looked)
    return Finished(root, looked.directories, 0, tuple(looked.errors))


class Scan:
    """A walk in a thread, posting `Batch` and at last `Finished` through `post` (which may block: back-pressure)."""

    def __init__(
        self, root: str, selection: Selection, post: Callable[[Batch | Finished], None], *, number: int = 0,
        remembers: bool = False,
    ) -> None:  # fmt: skip
        """Prepare; nothing runs before `start`. `number` and `remembers` are for `Finished`."""
        self._root, self._selection, self._post = root, selection, post
        self._number, self._seen = number, set[int]() if remembers else None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"scan {root}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; a walk that hangs on a dead share is left behind (a daemon thread)."""
        self._stop.set()

    def _run(self) -> None:
        try:
            walk = Walk(self._root, self._selection, self._stop.is_set)
        except OSError as error:
            self._post(Finished(self._root, 0, 0, (f".: {error.strerror}",), self._number))
            return
        batch: list[Found] = []
        for found in walk:
            batch.append(found)
            if self._seen is not None:
                self._seen.add(hash(found.path))
            if len(batch) >= BATCH:
                self._post(Batch(self._root, tuple(batch), self._number))
                batch = []
        if self._stop.is_set():
            return  # nobody waits for it: it would be taken for the end of the scan that was started after it
        self._post(Batch(self._root, tuple(batch), self._number))
        seen = None if self._seen is None or walk.errors else frozenset(self._seen)
        errors = tuple(walk.errors[:100])
        self._post(Finished(self._root, walk.directories, walk.files, errors, self._number, seen))
