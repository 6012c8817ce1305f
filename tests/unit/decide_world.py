"""A model of a disk with photos on it, for the state machine of the rules: inodes, two trees, and what people do.

A content is a word: `photo 3` shows a face, `clean 4` shows none, `bad 5` cannot be decoded; `R1(photo 3)` is what
became of a photo under the recipe R1. Digests are the contents themselves. All files have the same size. A change of
an inode gives it a new ctime (never the same twice), a touch or a write a new mtime, unless the writer sets the old
one. The lowest free inode number is taken by the next new file, as on ext4. What we do to a directory is durable
after its fsync; a power cut takes back any number of the last changes before that. What people do is durable at once,
and makes our own earlier changes so.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from faceblurd.model import Fingerprint, Mode

SIZE = 1000


def is_finished(content: str, recipe: str) -> bool:
    return content.startswith((f"{recipe}(", "clean "))


def is_photo(content: str) -> bool:
    """Tell whether a face can be seen."""
    return content.startswith("photo ")


@dataclass(eq=False, slots=True)
class Inode:
    number: int
    content: str
    mtime: int
    ctime: int
    changed_at: float
    held: int = 0  # open descriptors
    writers: int = 0
    taken_away_by_people: bool = False
    foreign: bool = False  # somebody put it into the mirror
    free: bool = False


Tree = dict[str, Inode]


@dataclass(frozen=True, slots=True)
class _Before:
    """What a change of the target's tree can be taken back to."""

    names: Tree
    ctimes: dict[str, int]
    swapped: dict[str, str]
    deleted: set[str]


class World:
    def __init__(self, mode: Mode) -> None:
        self.mode, self.now = mode, 0.0
        self.source: Tree = {}
        self.target: Tree = self.source if mode is Mode.IN_PLACE else {}
        self.promised: dict[str, str] = {}  # what people put into the root, and expect to find there, blurred or not
        self.deleted: set[str] = set()  # what people removed from the mirror
        self.swapped: dict[str, str] = {}  # staging name -> path, while an exchange has brought something out
        self.changes = self.durable = 0  # of the target's tree, by us
        self._unsynced: list[_Before] = []
        self._tick, self._numbers, self._free = 0, 0, list[int]()

    # --- inodes

    def make(self, content: str) -> Inode:
        if self._free:
            number = heapq.heappop(self._free)
        else:
            self._numbers += 1
            number = self._numbers
        inode = Inode(number, content, 0, 0, self.now)
        self.change(inode, mtime=self._tick + 1)
        return inode

    def change(self, inode: Inode, *, mtime: int | None = None) -> None:
        self._tick += 1
        inode.ctime, inode.changed_at = self._tick, self.now
        inode.mtime = inode.mtime if mtime is None else mtime

    def write(self, inode: Inode, content: str, *, mtime: int | None = None) -> None:
        inode.content = content
        self.change(inode, mtime=self._tick + 1 if mtime is None else mtime)

    @staticmethod
    def print_of(inode: Inode) -> Fingerprint:
        return Fingerprint(1, inode.number, SIZE, inode.mtime, inode.ctime)

    def print_at(self, tree: Tree, path: str) -> Fingerprint | None:
        return self.print_of(tree[path]) if path in tree else None

    def hold(self, inode: Inode) -> None:
        inode.held += 1

    def let_go(self, inode: Inode) -> None:
        inode.held -= 1
        self._free_if_gone(inode)

    def _free_if_gone(self, inode: Inode) -> None:
        named = any(inode in tree.values() for tree in self._trees())
        if not inode.held and not named and not inode.free:
            inode.free = True
            heapq.heappush(self._free, inode.number)

    def _trees(self) -> list[Tree]:
        return [self.source, self.target, *(before.names for before in self._unsynced)]

    def is_foreign(self, path: str) -> bool:
        """Tell whether people changed what the mirror has by that name."""
        return self.target[path].foreign if path in self.target else path in self.deleted

    # --- what we do to the target's tree; nothing of it is durable before `sync`

    def link(self, name: str, inode: Inode) -> None:
        self._note()
        self.target[name] = inode
        self.deleted.discard(name)
        self.change(inode)

    def unlink(self, name: str) -> None:
        self._note()
        inode = self.target.pop(name)
        self.swapped.pop(name, None)
        self._free_if_gone(inode)

    def rename(self, old: str, new: str) -> None:
        """Rename where there is nothing yet (RENAME_NOREPLACE)."""
        assert new not in self.target, f"renamed over {new}"
        self._note()
        self.target[new] = self.target.pop(old)
        self.swapped.pop(old, None)
        self.deleted.discard(new)
        self.change(self.target[new])

    def set_aside(self, name: str, path: str) -> None:
        """Show an upload beside the path that it came out of; what was promised of that path may be this."""
        kept = f"{path} kept {name}"
        content = self.target[name].content
        self.rename(name, kept)
        if self.promised.get(path) == content and (path not in self.target or self.target[path].content != content):
            self.promised[kept] = self.promised.pop(path)

    def exchange(self, name: str, path: str) -> None:
        self._note()
        self.target[name], self.target[path] = self.target[path], self.target[name]
        self.swapped[name] = path
        for one in (name, path):
            self.change(self.target[one])

    def _note(self) -> None:
        ctimes = {name: inode.ctime for name, inode in self.target.items()}
        self._unsynced.append(_Before(dict(self.target), ctimes, dict(self.swapped), set(self.deleted)))
        self.changes += 1

    def sync(self) -> None:
        old, self._unsynced = self._unsynced, []
        self.durable = self.changes
        for inode in (inode for before in old for inode in before.names.values()):
            self._free_if_gone(inode)

    def cut_power(self, lost: int) -> None:
        """Take the last `lost` changes back that no fsync has made durable."""
        if lost and self._unsynced:
            before = self._unsynced[max(0, len(self._unsynced) - lost)]
            self.target.clear()
            self.target.update(before.names)
            self.swapped, self.deleted = before.swapped, before.deleted
            for name, ctime in before.ctimes.items():
                self.target[name].ctime = ctime
        self.sync()

    # --- what people do

    def put(self, path: str, content: str, *, over: bool, keep_mtime: bool) -> None:
        """Upload: into the file that is there, or as a new file that takes the name."""
        self.sync()
        old = self.source.get(path)
        mtime = old.mtime if old is not None and keep_mtime else None
        if old is not None and over:
            self.write(old, content, mtime=mtime)
        else:
            self.source[path] = new = self.make(content)
            self.change(new, mtime=mtime)
            if old is not None:
                old.taken_away_by_people = True
                self._free_if_gone(old)
            for name in [name for name, of in self.swapped.items() if of == path and name in self.source]:
                self.source[name].taken_away_by_people = True  # what we took out is replaced as well
        self._promise(path, content)

    def _promise(self, path: str, content: str) -> None:
        """Note what must not be lost. A copy of a result is none: it cannot be told from our own, and is made again."""
        if content.endswith(")"):
            self.promised.pop(path, None)
        else:
            self.promised[path] = content

    def delete(self, path: str) -> None:
        self.sync()
        inode = self.source.pop(path)
        inode.taken_away_by_people = True
        self._free_if_gone(inode)
        self.promised.pop(path, None)

    def move(self, old: str, new: str) -> None:
        self.sync()
        over, inode = self.source.get(new), self.source.pop(old)
        self.source[new] = inode
        self.change(inode)
        self.promised.pop(old, None)
        self._promise(new, inode.content)
        if over is not None:
            over.taken_away_by_people = True
            self._free_if_gone(over)

    def touch(self, path: str) -> None:
        self.change(self.source[path], mtime=self._tick + 1)

    def finish_writing(self, inode: Inode, content: str) -> None:
        """Write the rest and close: if we took the file away from under a writer, an upload is lost."""
        self.sync()
        self.write(inode, content)
        inode.writers -= 1
        names = [name for name, one in self.source.items() if one is inode]
        assert names or inode.taken_away_by_people, "an upload was taken away from under its writer"
        for name in names:
            if name not in self.swapped or not inode.taken_away_by_people:
                self.promised[self.swapped.get(name, name)] = content
        self.let_go(inode)

    def change_mirror(self, path: str, content: str | None) -> None:
        """Delete somebody's copy in the mirror, or put another file into its place."""
        self.sync()
        old = self.target.pop(path, None)
        if content is not None:
            self.target[path] = self.make(content)
            self.target[path].foreign = True
        else:
            self.deleted.add(path)
        if old is not None:
            self._free_if_gone(old)
