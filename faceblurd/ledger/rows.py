"""How the ledger lies on the disk: its tables, and a row as a value and back. Knows no database.

A row of `files` has to be small, since a mirror may have a million: folders and recipes are numbers, digests are bytes,
and the index over results keeps eight bytes of each.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from faceblurd.model import Entry, Fingerprint, Intent, Reason, State, printable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

DAY_NS: Final = 86_400 * 1_000_000_000
SCHEMA_VERSION: Final = 3
HEADER_BYTES: Final = 100
_DIGEST_BYTES: Final = 32
_AT_REST: Final = "('retry', 'quarantined', 'released')"
_COUNTED: Final = "INSERT INTO counts VALUES (%s.root, %s.state, 1) ON CONFLICT DO UPDATE SET number = number + 1"
_UNCOUNTED: Final = "UPDATE counts SET number = number - 1 WHERE root = old.root AND state = old.state"
# No OR REPLACE: a statement that fires a trigger has its own way with conflicts count for it.
_REMEMBER: Final = """INSERT INTO former VALUES (
  old.output_digest, old.path,
  CASE WHEN old.state IN ('published', 'clean') AND old.recipe NOT IN (SELECT id FROM recipes WHERE digest = '')
    THEN old.recipe ELSE 0 END,
  %s.seen_day)
  ON CONFLICT (digest, path) DO UPDATE SET
    recipe=CASE excluded.recipe WHEN 0 THEN recipe ELSE excluded.recipe END, day=excluded.day"""
ERAS = """
CREATE TABLE eras (
  id INTEGER PRIMARY KEY AUTOINCREMENT, root BLOB NOT NULL, mark TEXT NOT NULL, UNIQUE (root, mark))
"""
_INTENTS = """
CREATE TABLE intents (
  token TEXT PRIMARY KEY, root BLOB NOT NULL, path BLOB NOT NULL, target BLOB NOT NULL, staging BLOB,
  source BLOB NOT NULL, recipe TEXT NOT NULL, attempts INTEGER NOT NULL, input_digest TEXT, output_digest TEXT,
  payload TEXT NOT NULL) WITHOUT ROWID
"""
_OUTBOX = """
CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0)
"""
FILES: Final = (
    """
CREATE TABLE folders (
  id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, mounted_at BLOB, redo INTEGER NOT NULL DEFAULT 0)
""",
    "CREATE TABLE recipes (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE)",
    # `destination`: the folder that results go to, the root itself in place. `terms`: what a held file was judged by.
    # `seen_day`: when it was last there, to a month; days since 1970.
    """
CREATE TABLE files (
  id INTEGER PRIMARY KEY, root INTEGER NOT NULL, path BLOB NOT NULL, state TEXT NOT NULL, recipe INTEGER NOT NULL,
  destination INTEGER, source BLOB NOT NULL, input_digest BLOB, output_digest BLOB, target BLOB,
  attempts INTEGER NOT NULL, reason TEXT, detail TEXT, terms TEXT, updated_ns INTEGER NOT NULL, era INTEGER NOT NULL,
  seen_day INTEGER NOT NULL, UNIQUE (root, path))
""",
    "CREATE INDEX files_by_output ON files (substr(output_digest, 1, 8)) WHERE output_digest IS NOT NULL",
    """
CREATE INDEX files_by_input ON files (substr(input_digest, 1, 8)) WHERE input_digest IS NOT NULL AND state='published'
""",
    f"CREATE INDEX files_at_rest ON files (state) WHERE state IN {_AT_REST}",
    # Kept by the database itself: to count a million rows takes 140 ms, after every photo.
    """
CREATE TABLE counts (
  root INTEGER NOT NULL, state TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (root, state)) WITHOUT ROWID
""",
    f"CREATE TRIGGER count_new AFTER INSERT ON files BEGIN {_COUNTED % ('new', 'new')}; END",
    f"CREATE TRIGGER count_gone AFTER DELETE ON files BEGIN {_UNCOUNTED}; END",
    f"""
CREATE TRIGGER count_moved AFTER UPDATE OF state ON files WHEN old.state <> new.state
BEGIN {_UNCOUNTED}; {_COUNTED % ("new", "new")}; END
""",
    # Results whose rows tell of something else by now: another mode or destination, or their photo was forgotten. They
    # may lie there still, ours to replace, and ours to leave alone in place (`recipe` 0: not known by which; what was
    # known stays so when the row was held since, or is to be done once more).
    """
CREATE TABLE former (
  digest BLOB NOT NULL, path BLOB NOT NULL, recipe INTEGER NOT NULL, day INTEGER NOT NULL, PRIMARY KEY (digest, path))
WITHOUT ROWID
""",
    f"""
CREATE TRIGGER remember_moved AFTER UPDATE OF destination ON files
WHEN old.output_digest IS NOT NULL AND old.destination IS NOT new.destination
BEGIN {_REMEMBER % "new"}; END
""",
    f"""
CREATE TRIGGER remember_gone AFTER DELETE ON files
WHEN old.output_digest IS NOT NULL AND old.destination <> old.root
BEGIN {_REMEMBER % "old"}; END
""",
)
SCHEMA: Final = (ERAS, *FILES, _INTENTS, _OUTBOX)
_FINGERPRINT = struct.Struct("<QQQqIqI")
_SMALL_FINGERPRINT = struct.Struct("<IIIIIII")
_SECOND_NS = 1_000_000_000
COLUMNS = (
    "root, path, state, recipe, destination, source, input_digest, output_digest, target, attempts, reason, detail, "
    "terms, updated_ns"
)
INTENT_COLUMNS = "token, root, path, target, staging, source, recipe, attempts, input_digest, output_digest, payload"
T = TypeVar("T", bytes, str)


def version_in(header: bytes) -> int | None:
    """Read the version from the first bytes of a ledger; None when they are none of a database (an empty one has 0).

    Source: the database file format of SQLite, "user version".
    """
    if not header:
        return 0
    return int.from_bytes(header[60:64], "big") if header.startswith(b"SQLite format 3\0") else None


def least_bytes(header: bytes) -> int:
    """Read from the first bytes of a ledger how long it must be; 0 where that is unsure.

    Source: the same, "page size", "in-header database size", which counts where both change counters agree.
    """
    if len(header) < 96 or header[24:28] != header[92:96]:  # noqa: PLR2004 - up to the second counter
        return 0
    page = int.from_bytes(header[16:18], "big")
    return (1 << 16 if page == 1 else page) * int.from_bytes(header[28:32], "big")


def state_is(state: State) -> str:
    """Write a condition that finds the few files at rest by their index: a bound value would read every row."""
    index = f" AND state IN {_AT_REST}" if f"'{state.value}'" in _AT_REST else ""
    return f"state='{state.value}'{index}"


def pack(fingerprint: Fingerprint | None) -> bytes | None:
    """Write times as seconds and nanoseconds: as one number, a time after the year 2262 has more than 64 bits."""
    if fingerprint is None:
        return None
    f = fingerprint
    numbers = (f.device, f.inode, f.size, *divmod(f.mtime_ns, _SECOND_NS), *divmod(f.ctime_ns, _SECOND_NS))
    is_small = all(0 <= number < 1 << 32 for number in numbers)
    return (_SMALL_FINGERPRINT if is_small else _FINGERPRINT).pack(*numbers)


def unpack(blob: bytes | None) -> Fingerprint | None:
    """Read what `pack` wrote."""
    if blob is None:
        return None
    layout = _SMALL_FINGERPRINT if len(blob) == _SMALL_FINGERPRINT.size else _FINGERPRINT
    device, inode, size, mtime, mtime_ns, ctime, ctime_ns = layout.unpack(blob)
    return Fingerprint(device, inode, size, mtime * _SECOND_NS + mtime_ns, ctime * _SECOND_NS + ctime_ns)


def pack_digest(digest: str | None) -> bytes | str | None:
    """Write a digest as half as many bytes; what is none stays text."""
    if digest is None or len(digest) != 2 * _DIGEST_BYTES:
        return digest
    try:
        return bytes.fromhex(digest)
    except ValueError:
        return digest


def unpack_digest(value: bytes | str | None) -> str | None:
    """Read what `pack_digest` wrote."""
    return value.hex() if isinstance(value, bytes) else value


def entry_of(row: tuple) -> Entry:  # type: ignore[type-arg]  # a row of mixed columns, in the order of COLUMNS
    """Read a row of files; folders and recipe have their names already."""
    root, path, state, recipe, to, source, input_digest, output_digest, target, attempts, reason, detail, terms, at = (
        row
    )
    fingerprint = unpack(source)
    assert fingerprint is not None  # noqa: S101 - the column is NOT NULL
    return Entry(
        root, os.fsdecode(path), State(state), recipe, fingerprint, unpack_digest(input_digest),
        unpack_digest(output_digest), fingerprint if target == b"" else unpack(target), attempts,
        None if reason is None else Reason(reason), detail or "", at, to, terms or "",
    )  # fmt: skip


def row_of(e: Entry, *, now_ns: int) -> tuple[object, ...]:
    """Write an entry, in the order of COLUMNS behind `destination`: what comes before are numbers of the ledger's."""
    target = b"" if e.target == e.source else pack(e.target)
    return (
        pack(e.source), pack_digest(e.input_digest), pack_digest(e.output_digest), target, e.attempts,
        None if e.reason is None else e.reason.value, printable(e.detail) or None, e.terms or None, now_ns,
    )  # fmt: skip


def intent_of(row: tuple) -> Intent:  # type: ignore[type-arg]  # a row of mixed columns, in the order of INTENT_COLUMNS
    """Read a row of intents."""
    source = unpack(row[5])
    assert source is not None  # noqa: S101 - the column is NOT NULL
    staging = None if row[4] is None else os.fsdecode(row[4])
    return Intent(row[0], os.fsdecode(row[1]), os.fsdecode(row[2]), os.fsdecode(row[3]), staging, source, *row[6:])


def row_of_intent(i: Intent) -> tuple[object, ...]:
    """Write an intent, in the order of INTENT_COLUMNS."""
    staging = None if i.staging is None else os.fsencode(i.staging)
    return (
        i.token, os.fsencode(i.root), os.fsencode(i.path), os.fsencode(i.target), staging, pack(i.source),
        i.recipe, i.attempts, i.input_digest, i.output_digest, i.payload,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One call of the hook that is owed: `payload` is JSON text (see `plugins.command`)."""

    id: int
    payload: str
    attempts: int


class Numbered(Generic[T]):
    """One table of `id` and name."""

    def __init__(self, connection: Callable[[], sqlite3.Connection], *, table: str, column: str) -> None:
        """Read nothing yet: the table may not be there."""
        self._db = connection
        self._insert = f"INSERT OR IGNORE INTO {table} ({column}) VALUES (?)"
        self._by_name = f"SELECT id FROM {table} WHERE {column}=?"
        self._by_id = f"SELECT {column} FROM {table} WHERE id=?"
        self._ids: dict[T, int] = {}
        self._names: dict[int, T] = {}

    def forget(self) -> None:
        """Look everything up anew: numbers were given in a transaction that failed."""
        self._ids.clear()
        self._names.clear()

    def find(self, name: T) -> int | None:
        """Give the number of a name; None when it has none."""
        if name not in self._ids:
            row = self._db().execute(self._by_name, (name,)).fetchone()
            if row is None:
                return None
            self._ids[name], self._names[row[0]] = row[0], name
        return self._ids[name]

    def number(self, name: T) -> int:
        """Give the number of a name; a new one gets one."""
        if (known := self.find(name)) is not None:
            return known
        self._db().execute(self._insert, (name,))
        found = self.find(name)
        assert found is not None  # noqa: S101 - it has just been written
        return found

    def name(self, number: int) -> T:
        """Give the name of a number."""
        if number not in self._names:
            self._names[number] = self._db().execute(self._by_id, (number,)).fetchone()[0]
        return self._names[number]
