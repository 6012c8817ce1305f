"""A root and its mirror with photos, for the machine of the engine, and what people do to them.

A content is a word: `photo 1` shows a face, `clean 1` shows none, `bad 1` cannot be decoded, `foreign 1` was put into
the mirror by somebody; `R4(photo 1)` is what became of a photo. All files are of one size, and people may keep a file's
time. What they put into the root is promised: it must be there, or its result, at every moment.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine_disk import Disk, scandir, stat

from faceblurd.model import Mode
from faceblurd.rules.foreign import STAGING_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE = 240
UPLOADS = ["new", "over", "kept", "kept new", "anew"]
IN_THE_ROOT = ["gone", "moved", "touched", "open"]
COPIES = ["back", "copy", "copy over", "copy back"]
IN_THE_MIRROR = ["mirror", "mirror gone"]
CHANGES = [*UPLOADS, *COPIES, *IN_THE_ROOT, *IN_THE_MIRROR]


def padded(content: str) -> bytes:
    return content.encode().ljust(SIZE)


def text_of(content: bytes) -> str:
    return content.decode().rstrip()


def came_from(one: str, content: str) -> bool:
    """Tell whether `one` is `content`, or was made from it, by one redaction or several."""
    while one != content and one.endswith(")"):
        one = one.partition("(")[2][:-1]
    return one == content


@dataclass(eq=False)
class Writer:
    """A program that has a photo open for writing. `is_taken`: people replaced or removed that file meanwhile."""

    fd: int
    inode: int
    is_taken: bool = False


class World:
    """The root, its mirror, and the people who put photos into the one and change the other."""

    def __init__(self, folder: Path, mode: Mode, *, is_nameless: bool) -> None:
        self.folder, self.mode, self.disk = folder, mode, Disk(folder, is_nameless=is_nameless)
        self.root, self.mirror = folder / "root", folder / "mirror"
        self.staging_of: Callable[[], dict[str, str]] = dict  # staging names that the ledger knows, each with its path
        self.number = 0
        self.promised: dict[str, str] = {}  # what people put into the root, and expect to find there
        self.originals: dict[str, str] = {}
        self.foreign: dict[str, str] = {}  # what people put into the mirror
        self.deleted: set[str] = set()  # what people removed from it
        self.writers: list[Writer] = []
        for one in (self.root, self.mirror):
            one.mkdir()

    def close(self) -> None:
        for writer in self.writers:
            os.close(writer.fd)
        self.disk.close()

    # --- what there is

    def contents(self, folder: Path) -> dict[str, str]:
        with self.disk.acting():
            return {one.name: text_of((folder / one.name).read_bytes()) for one in scandir(folder)}

    def is_foreign(self, path: str) -> bool:
        """Tell whether people changed what the mirror has by that name."""
        if (self.mirror / path).exists():
            return path in self.foreign
        return path in self.deleted

    def _fresh(self, kind: str) -> str:
        self.number += 1
        return f"{kind} {self.number}"

    # --- what people do

    def do(self, deed: str, path: str, other: str = "c.jpg", kind: str = "photo") -> str | None:
        """Do something, if it can be done; give the path of which an event tells."""
        file, there = self.root / path, self.root / other
        with self.disk.acting():
            if deed in UPLOADS:
                self.originals[path] = self._fresh(kind)
                self._put(file, self.originals[path], deed)
            elif deed in COPIES:
                return self._copy(deed, file, there)
            elif deed in IN_THE_MIRROR and self.mode is Mode.MIRROR:
                self._change_mirror(path, is_there=deed == "mirror")
            elif deed in IN_THE_ROOT and file.exists():
                return self._change(deed, file, there)
            else:
                return None
        return path

    def _copy(self, deed: str, file: Path, there: Path) -> str | None:
        result = self.mirror / there.name
        if deed == "back" and file.name in self.originals:
            self._put(file, self.originals[file.name], "new")
        elif deed == "copy back" and self.mode is Mode.MIRROR and result.exists():
            self._put(file, text_of(result.read_bytes()), "new")
        elif deed in {"copy", "copy over"} and file.exists() and file != there:
            self._put(there, text_of(file.read_bytes()), deed)
            return there.name
        else:
            return None
        return file.name

    def _change(self, deed: str, file: Path, there: Path) -> str | None:
        if deed == "gone":
            self._forget(file.name, file)
            file.unlink()
        elif deed == "touched":
            self._stamp(file, None)
        elif deed == "open" and not self._is_swapped(file.name, file):
            self.writers.append(Writer(os.open(file, os.O_WRONLY), stat(file).st_ino))
        elif deed == "moved" and file != there:
            self._move(file, there)
            return there.name
        return file.name

    def _put(self, file: Path, content: str, how: str) -> None:
        """Upload: into the file that is there, or as a new file that takes the name."""
        is_kept = how.startswith("kept") and file.exists() and not self._is_swapped(file.name, file)
        mtime = stat(file).st_mtime_ns if is_kept else None
        if how in {"over", "kept", "copy over"} and file.exists():
            file.write_bytes(padded(content))
            self._stamp(file, mtime)
        else:
            self._take(file, *self._swapped(file.name))
            if how == "anew":
                file.unlink(missing_ok=True)
            fresh = file if how == "anew" else file.with_name(f"upload-{file.name}")
            fresh.write_bytes(padded(content))
            self.disk.created(stat(fresh).st_ino)
            self._stamp(fresh, mtime)
            if fresh != file:
                os.rename(fresh, file)
        self._promise(file.name, content)

    def _stamp(self, file: Path, mtime: int | None) -> None:
        self.disk.changed(stat(file).st_ino)
        mtime = 10**18 + self.disk.tick if mtime is None else mtime
        os.utime(file, ns=(mtime, mtime))

    def _promise(self, path: str, content: str) -> None:
        """Note what must not be lost. A copy of a result is none: it cannot be told from our own, and is made again."""
        if content.endswith(")"):
            self.promised.pop(path, None)
        else:
            self.promised[path] = content

    def _forget(self, path: str, file: Path) -> None:
        """Take a promise back if what is seen is what it was about; else that has been taken out of there by us."""
        self._take(file)
        if came_from(text_of(file.read_bytes()), self.promised.get(path, "")):
            del self.promised[path]

    def _move(self, file: Path, there: Path) -> None:
        content, promise = text_of(file.read_bytes()), self.promised.get(file.name, "")
        self._forget(file.name, file)
        self._take(there, *self._swapped(there.name))
        os.rename(file, there)
        if came_from(content, promise):
            self.promised[there.name] = promise
        else:
            self._promise(there.name, content)

    def _change_mirror(self, path: str, *, is_there: bool) -> None:
        (self.mirror / path).unlink(missing_ok=True)
        self.foreign.pop(path, None)
        if not is_there:
            self.deleted.add(path)
            return
        self.foreign[path] = self._fresh("foreign")
        (self.mirror / path).write_bytes(padded(self.foreign[path]))
        self.disk.created(stat(self.mirror / path).st_ino)
        self._stamp(self.mirror / path, None)

    # --- programs that write for long

    def _swapped(self, path: str) -> list[Path]:
        """Give what the engine may just have taken out of a path."""
        if self.mode is Mode.MIRROR:
            return []
        return [self.root / name for name, of in self.staging_of().items() if of == path]

    def _is_swapped(self, path: str, file: Path) -> bool:
        """Tell whether our result has just come there: who writes for long, or keeps its time and size, is not seen.

        That is the known gap between the exchange and the look at what it gave, of some microseconds.
        """
        is_out = any(one.exists() for one in self._swapped(path))
        return is_out and text_of(file.read_bytes()).endswith(")")

    def _take(self, *files: Path) -> None:
        """Note that people replace or remove what has these names."""
        inodes = {stat(file).st_ino for file in files if file.exists()}
        for writer in self.writers:
            writer.is_taken = writer.is_taken or writer.inode in inodes

    def finish_writing(self, kind: str) -> str | None:
        """Write the rest and close: if we took the file away from under a writer, an upload is lost."""
        writer, content = self.writers.pop(0), self._fresh(kind)
        with self.disk.acting():
            os.pwrite(writer.fd, padded(content), 0)
            os.close(writer.fd)
            names = [one.name for one in scandir(self.root) if one.inode() == writer.inode]
            assert names or writer.is_taken, "an upload was taken away from under its writer"
            for name in names:
                self._stamp(self.root / name, None)
                if not name.startswith(STAGING_PREFIX) or not writer.is_taken:
                    self.promised[self.staging_of().get(name, name)] = content
        return next((name for name in names if not name.startswith(STAGING_PREFIX)), None)

    # --- what must hold at every moment

    def check(self) -> None:
        self._nothing_is_lost(self.contents(self.root), self.staging_of())
        if self.mode is Mode.MIRROR:
            self._nobody_is_shown(self.contents(self.mirror), self.staging_of())

    def _nothing_is_lost(self, there: dict[str, str], staging: dict[str, str]) -> None:
        """What people put somewhere is there, or became what is, or waits under a name that a restart knows."""
        for path, content in list(self.promised.items()):
            if came_from(there.get(path, ""), content):
                continue
            kept = [name for name in there if _is_kept(name, path) and came_from(there[name], content)]
            if kept:  # set aside, where people see it: from now on that must not be lost
                self.promised[kept[0]] = self.promised.pop(path)
                continue
            waiting = [name for name, of in staging.items() if of == path and came_from(there.get(name, ""), content)]
            assert waiting, f"{path}: {content} is lost, there is {there}"

    def _nobody_is_shown(self, there: dict[str, str], staging: dict[str, str]) -> None:
        for name, content in there.items():
            is_begun = name in staging and content in {"", "partial"}
            assert is_begun or content.startswith(("R4(", "R8(", "clean", "foreign")), f"shown: {name} {content}"
        for path, content in self.foreign.items():
            found = [name for name in there if there[name] == content]
            assert path in found or any(staging.get(name) == path or _is_kept(name, path) for name in found), (
                f"{path}: {content} of somebody else's is gone from the mirror, there is {there}"
            )


def _is_kept(name: str, path: str) -> bool:
    return re.fullmatch(re.escape(path.removesuffix(".jpg")) + r"\.kept-[0-9a-f]+\.jpg", name) is not None
