"""Places: one folder in the quarantine for each file that was moved out of its root, and what is known of the file.

A place holds `file`, and beside it `origin` (the path that it came from, as the kernel has it), `reason` (for people)
and `entry.json` (for us): enough to bring the file back by hand, without the ledger. Must not move any: `moving` does.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from faceblurd.model import Entry, Fingerprint, Reason, State, printable
from faceblurd.publish.contents import digest_at
from faceblurd.publish.staging import Target
from faceblurd.rules.foreign import split, staging_name

if TYPE_CHECKING:
    from pathlib import Path

FILE, ORIGIN, REASON, ENTRY = "file", "origin", "reason", "entry.json"
LEAVING, RETURNING = "leaving", "returning"  # a move is under way


@dataclass(frozen=True, slots=True)
class Place:
    """A file that was moved away, and what is known of it."""

    path: Path
    entry: Entry

    @property
    def file(self) -> Path:
        """Where the file lies."""
        return self.path / FILE

    @property
    def hidden(self) -> Target:
        """The name, beside the one in the root, that the file may have for a moment during a move."""
        directory, _ = split(self.entry.path)
        name = staging_name(self.path.name)
        return Target(self.entry.root, f"{directory}/{name}" if directory else name)

    @property
    def target(self) -> Target:
        """Its name in the root."""
        return Target(self.entry.root, self.entry.path)

    def digest(self) -> str | None:
        """Hash the file."""
        return digest_at(Target(str(self.path), FILE))


def every(folder: Path) -> list[Place]:
    """List the places that hold a file, oldest first. Looks at nothing but the quarantine."""
    found = (
        [path for path in folder.iterdir() if (path / FILE).exists()] if os.access(folder, os.R_OK | os.X_OK) else []
    )
    return [at(path) for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)]


def at(path: Path) -> Place:
    """Read a place that holds a file."""
    return Place(path, _entry_of(path))


def _entry_of(path: Path) -> Entry:
    """Read what is known of a file; where that was lost, its origin is enough to bring it back."""
    try:
        known = json.loads((path / ENTRY).read_bytes())
        reason = None if known["reason"] is None else Reason(known["reason"])
        return Entry(
            known["root"], known["path"], State.QUARANTINED, known["recipe"], Fingerprint(*known["source"]),
            attempts=known["attempts"], reason=reason, detail=known["detail"], to=known.get("to", ""),
            terms=known.get("terms", ""),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        root, name = str(path), FILE
        with suppress(OSError):
            root, _, name = os.fsdecode((path / ORIGIN).read_bytes()).rpartition("/")
        st = (path / FILE).lstat()  # device and inode are not what they were in the root
        return Entry(root, name, State.QUARANTINED, "", Fingerprint(0, 0, st.st_size, st.st_mtime_ns, st.st_ctime_ns))


def make(folder: Path, entry: Entry) -> Place:
    """Make an empty place; what a person and a recovery need to know is on disk at the end. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    place = Place(folder / secrets.token_hex(8), entry)
    place.path.mkdir(mode=0o700)
    try:
        _describe(place)
        fsync_directory(folder)
    except OSError:
        remove(place)
        raise
    return place


def _describe(place: Place) -> None:
    e = place.entry
    origin, why = f"{e.root}/{e.path}", "" if e.reason is None else e.reason.value
    known = {
        "root": e.root, "path": e.path, "recipe": e.recipe, "source": astuple(e.source), "attempts": e.attempts,
        "reason": why or None, "detail": e.detail, "to": e.to, "terms": e.terms,
    }  # fmt: skip
    text = f"{printable(origin)}\nwas held: {why}\n{printable(e.detail)}\n"
    write_durably(place.path / ORIGIN, os.fsencode(origin))
    write_durably(place.path / REASON, text.encode())
    write_durably(place.path / ENTRY, json.dumps(known).encode())
    write_durably(place.path / LEAVING, b"")
    fsync_directory(place.path)


def remove(place: Place) -> None:
    """Delete a place: its file first, so that none is ever left without its origin."""
    place.file.unlink(missing_ok=True)
    shutil.rmtree(place.path, ignore_errors=True)


def only_for_us(path: str, flags: int) -> int:
    """Open a new file that nobody else may read, whatever the umask is."""
    return os.open(path, flags, 0o600)


def write_durably(path: Path, content: bytes) -> None:
    """Write a small file that is on disk at the end."""
    with open(path, "wb", opener=only_for_us) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_DIRECTORY | os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
