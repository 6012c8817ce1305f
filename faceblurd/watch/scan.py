"""The walk of a root: what is really there.

Reads directories, and of files that no name tells about the first bytes, once. Whoever walks takes as much as there is
room for, so that a huge tree costs no memory. May hang on a dead share. Must not decide anything.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from faceblurd.imaging.signatures import HEAD_BYTES, is_photo
from faceblurd.model import Fingerprint
from faceblurd.rules import globs
from faceblurd.rules.filter import Candidate, LeftAlone, Selection, Why
from faceblurd.rules.side_channels import APPLE_DOUBLE_FOLDER, photo_of_companion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
MOST_KNOWN = 200_000
"""Files that are no photos and are remembered as such: 16 MB. What is beyond is read at each scan."""


__all__ = ["BATCH", "Finished", "Found", "Left", "Selection", "Walk", "survey", "walk"]

BATCH = 500
MOST_EXAMPLES = 20
MOST_ERRORS = 100


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate that the scan came upon; or, with `companion_of`, the resource fork of one."""

    path: str
    fingerprint: Fingerprint
    companion_of: str = ""


@dataclass(frozen=True, slots=True)
class Left:
    """How many paths were left alone for one reason (a folder counts once), and some of them."""

    why: Why
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """A scan has ended. `errors` lists what could not be read, as printable text.

    `seen`: hashes of the paths that were found, where the scan was told to remember them (8 MB for 100,000); None after
    errors, since nothing follows from what was not seen then. `left`: what was left alone. `unmatched`: the excludes
    that named nothing.
    """

    root: str
    directories: int
    files: int
    errors: tuple[str, ...]
    seen: frozenset[int] | None = None
    left: tuple[Left, ...] = ()
    unmatched: tuple[str, ...] = ()


@dataclass(slots=True)
class _Tally:
    """What was left alone for one reason."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


class Walk:
    """One walk; counts as it goes."""

    def __init__(
        self, root: str, selection: Selection, stopped: Callable[[], bool], heads: Heads | None = None
    ) -> None:
        """Prepare. `heads` knows what was looked into before. Raises OSError when the root itself cannot be read."""
        self.root = root
        self.selection = selection
        self.stopped = stopped
        self.directories = 0
        self.files = 0
        self.complete = False
        self.errors: list[str] = []
        self.unmatched = list(selection.exclude)
        self.device = os.stat(root).st_dev
        self._left: dict[Why, _Tally] = {}
        self._heads = Heads() if heads is None else heads
        self._candidates = iter(self)

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
        self.complete = not pending

    def take(self, most: int) -> list[Found]:
        """Go on, and give the next candidates; fewer than `most` at the end."""
        return list(islice(self._candidates, most))

    def finished(self, *, seen: frozenset[int] | None = None) -> Finished:
        """Sum up what was seen. Excludes are only judged by a whole walk."""
        return Finished(
            self.root, self.directories, self.files, tuple(self.errors[:MOST_ERRORS]),
            None if self.errors else seen, self.left, tuple(self.unmatched) if self.complete else (),
        )  # fmt: skip

    @property
    def left(self) -> tuple[Left, ...]:
        """What was left alone, by reason."""
        return tuple(Left(why, tally.count, tuple(tally.examples)) for why, tally in sorted(self._left.items()))

    def _leave(self, why: Why, path: str) -> None:
        tally = self._left.setdefault(why, _Tally())
        tally.count += 1
        if len(tally.examples) < MOST_EXAMPLES:
            tally.examples.append(path)

    def _entries(self, directory: str) -> list[os.DirEntry[str]]:
        self.directories += directory.rpartition("/")[2] != APPLE_DOUBLE_FOLDER  # those are not watched
        try:
            with os.scandir(f"{self.root}/{directory}" if directory else self.root) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.errors.append(f"{directory or '.'}: {error.strerror}")
            return []

    def _visit(self, entry: os.DirEntry[str], path: str, below: list[str]) -> Iterator[Found]:
        try:
            is_folder = entry.is_dir(follow_symlinks=False)
            if self.unmatched:
                self._note_excludes(path, is_folder=is_folder)
            if is_folder:
                if self._enters(entry, path):
                    below.append(path)
            elif not entry.is_file(follow_symlinks=False):
                self._leave(Why.NOT_REGULAR, path)
            elif (photo := photo_of_companion(path)) is not None:
                yield from self._companion(entry, path, photo)
            else:
                yield from self._file(entry, path)
        except FileNotFoundError:
            return  # gone since the directory was read: nothing to report
        except OSError as error:
            self.errors.append(f"{path}: {error.strerror}")

    def _note_excludes(self, path: str, *, is_folder: bool) -> None:
        """Strike out the excludes that name a path, or what may be in a folder."""
        named = (path, f"{path}/") if is_folder else (path,)
        self.unmatched = [one for one in self.unmatched if not any(globs.matches(name, (one,)) for name in named)]

    def _enters(self, entry: os.DirEntry[str], path: str) -> bool:
        left = self.selection.of_folder(path)
        if left is None:
            return self._same_device(entry, path)
        self._leave(left.why, path)
        return self.selection.in_place and entry.name == APPLE_DOUBLE_FOLDER and left.why is Why.FOREIGN

    def _file(self, entry: os.DirEntry[str], path: str) -> Iterator[Found]:
        verdict = self.selection.of_file(path)
        if isinstance(verdict, LeftAlone):
            self._leave(verdict.why, path)
            return
        fingerprint = Fingerprint.from_stat(entry.stat(follow_symlinks=False))
        if verdict.by_content and (why := self._heads.why_not(self.root, path, fingerprint)) is not None:
            self._leave(why, path)
            return
        self.files += 1
        yield Found(path, fingerprint)

    def _companion(self, entry: os.DirEntry[str], path: str, photo: str) -> Iterator[Found]:
        if not self.selection.in_place or not isinstance(self.selection.of_file(photo), Candidate):
            self._leave(Why.FOREIGN, path)
            return
        fingerprint = Fingerprint.from_stat(entry.stat(follow_symlinks=False))
        is_photo = self._heads.why_not(self.root, path, fingerprint) is None  # whatever its name wants to say
        yield Found(path, fingerprint, "" if is_photo else photo)

    def _same_device(self, entry: os.DirEntry[str], path: str) -> bool:
        if entry.stat(follow_symlinks=False).st_dev == self.device:
            return True
        self.errors.append(f"{path}: another file system, not looked into")
        return False


def walk(root: str, selection: Selection, heads: Heads | None = None) -> Walk:
    """Go through the candidates of a root. Raises OSError when the root itself cannot be read."""
    return Walk(root, selection, lambda: False, heads)


def survey(root: str, selection: Selection, *, stopped: Callable[[], bool]) -> Finished:
    """Count the directories that a scan would look into, until `stopped`, and what it could not; open no file."""
    looked = Walk(root, Selection((), selection.exclude, hidden=selection.hidden), stopped)
    # All the way: no name is a candidate.
    list(looked)
    return looked.finished()


def read_head(root: str, path: str) -> bytes:
    """Read the first bytes of a regular file; nothing of anything else. Raises OSError.

    A folder above that was swapped for a link shows another file's: whoever works on the file opens it more carefully.
    """
    fd = os.open(f"{root}/{path}", _FILE)
    try:
        return os.pread(fd, HEAD_BYTES, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


class Heads:
    """Remembers which files are no photos, so that each is opened once."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._no_photos: set[int] = set()

    def why_not(self, root: str, path: str, fingerprint: Fingerprint) -> Why | None:
        """Say why a file is no candidate by its first bytes; None when it begins like a photo."""
        key = hash((path, fingerprint))
        if key in self._no_photos:
            return Why.NO_PHOTO
        try:
            found = is_photo(read_head(root, path))
        except FileNotFoundError:
            return Why.NO_PHOTO
        except OSError:
            return Why.UNREADABLE
        if not found and len(self._no_photos) < MOST_KNOWN:
            self._no_photos.add(key)
        return None if found else Why.NO_PHOTO
