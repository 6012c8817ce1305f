"""The ledger: what was done to which bytes, which jobs were started, which hook calls are due. SQLite, one writer.

WAL with `synchronous=FULL`: what was committed survives a power cut (0.2 ms a commit on an SSD; NORMAL may lose
commits). Paths are stored as bytes, since a file name need not be UTF-8. Never place it on a network share: SQLite's
locks do not work there. Must not decide anything: that is `rules.decide`.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from faceblurd.errors import FaceblurdError
from faceblurd.model import Entry, Fingerprint, Intent, Reason, State, printable
from faceblurd.outlet.command_hook import OutboxEntry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE files (
  root BLOB NOT NULL, path BLOB NOT NULL, state TEXT NOT NULL, recipe TEXT NOT NULL, source BLOB NOT NULL,
  input_digest TEXT, output_digest TEXT, target BLOB, attempts INTEGER NOT NULL, reason TEXT, detail TEXT NOT NULL,
  updated_ns INTEGER NOT NULL, PRIMARY KEY (root, path)) WITHOUT ROWID;
CREATE INDEX files_by_output ON files (output_digest) WHERE output_digest IS NOT NULL;
CREATE INDEX files_by_state ON files (state) WHERE state IN ('retry', 'quarantined');
CREATE TABLE intents (
  token TEXT PRIMARY KEY, root BLOB NOT NULL, path BLOB NOT NULL, target BLOB NOT NULL, staging BLOB,
  source BLOB NOT NULL, recipe TEXT NOT NULL, attempts INTEGER NOT NULL, input_digest TEXT, output_digest TEXT,
  payload TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0);
"""
_FINGERPRINT = struct.Struct("<QQQqIqI")
_ROOM_BYTES = 256 << 10  # some hundred files: less would be full again at once
_SECOND_NS = 1_000_000_000
_COLUMNS = (
    "root, path, state, recipe, source, input_digest, output_digest, target, attempts, reason, detail, updated_ns"
)
_INTENT_COLUMNS = "token, root, path, target, staging, source, recipe, attempts, input_digest, output_digest, payload"


def _pack(fingerprint: Fingerprint | None) -> bytes | None:
    """Write times as seconds and nanoseconds: as one number, a time after the year 2262 has more than 64 bits."""
    if fingerprint is None:
        return None
    f = fingerprint
    times = (*divmod(f.mtime_ns, _SECOND_NS), *divmod(f.ctime_ns, _SECOND_NS))
    return _FINGERPRINT.pack(f.device, f.inode, f.size, *times)


def _unpack(blob: bytes | None) -> Fingerprint | None:
    if blob is None:
        return None
    device, inode, size, mtime, mtime_ns, ctime, ctime_ns = _FINGERPRINT.unpack(blob)
    return Fingerprint(device, inode, size, mtime * _SECOND_NS + mtime_ns, ctime * _SECOND_NS + ctime_ns)


def _entry(row: tuple) -> Entry:  # type: ignore[type-arg]  # a row of mixed columns, in the order of _COLUMNS
    source = _unpack(row[4])
    assert source is not None  # noqa: S101 - the column is NOT NULL
    reason = None if row[9] is None else Reason(row[9])
    return Entry(
        os.fsdecode(row[0]), os.fsdecode(row[1]), State(row[2]), row[3], source,
        row[5], row[6], _unpack(row[7]), row[8], reason, row[10], row[11],
    )  # fmt: skip


def _intent(row: tuple) -> Intent:  # type: ignore[type-arg]  # a row of mixed columns, in the order of _INTENT_COLUMNS
    source = _unpack(row[5])
    assert source is not None  # noqa: S101 - the column is NOT NULL
    staging = None if row[4] is None else os.fsdecode(row[4])
    return Intent(row[0], os.fsdecode(row[1]), os.fsdecode(row[2]), os.fsdecode(row[3]), staging, source, *row[6:])


def _keep_to_ourselves(path: Path) -> None:
    """See that nobody else reads the file, whatever the umask is: it tells who was where. SQLite's others follow it."""
    with suppress(OSError):  # SQLite says what is wrong with it
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for suffix in ("", "-wal", "-shm"):
        with suppress(OSError):
            os.chmod(f"{path}{suffix}", 0o600)


def is_full(error: sqlite3.Error) -> bool:
    """Tell whether a write failed because the disk is full."""
    return error.sqlite_errorcode == sqlite3.SQLITE_FULL


class Ledger:
    """The database in one file (or in memory, for a single `faceblurd blur`)."""

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        """Open or create it; `read_only` for other processes that only look (status)."""
        self._counts: dict[str, dict[State, int]] = {}
        self._counted_at = (-1, -1)
        name = ":memory:" if path is None else f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        try:
            if path is not None and not read_only:
                _keep_to_ourselves(path)
            self._db = sqlite3.connect(name, uri=True, isolation_level=None, timeout=10.0)
            if not read_only:
                self._prepare()
            self._check_version(name)
        except sqlite3.DatabaseError as error:
            raise FaceblurdError(
                f"the ledger {name} cannot be used: {error}",
                remedy="Move it away: every photo is then looked at once more",
            ) from error

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
            with self.transaction():
                for statement in SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _check_version(self, name: str) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA_VERSION:
            raise FaceblurdError(
                f"the ledger {name} has version {version}, this faceblurd knows {SCHEMA_VERSION}",
                remedy="Install the faceblurd that wrote it, or move the ledger away",
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is written inside one commit; an exception rolls it back."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # a full disk has rolled it back already
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the database; everything is committed already."""
        self._db.close()

    def has_room(self) -> bool:
        """Tell whether it can be written, by writing."""
        try:
            with self.transaction():
                self._db.execute("CREATE TABLE room (x)")
                self._db.execute("INSERT INTO room VALUES (zeroblob(?))", (_ROOM_BYTES,))
                self._db.execute("DROP TABLE room")
        except sqlite3.OperationalError:
            return False
        return True

    def changed_elsewhere(self) -> int:
        """Give a number that changes when another process (quarantine retry) wrote."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    # --- files

    def entry(self, root: str, path: str) -> Entry | None:
        """Look a path up."""
        sql = f"SELECT {_COLUMNS} FROM files WHERE root=? AND path=?"
        row = self._db.execute(sql, (os.fsencode(root), os.fsencode(path))).fetchone()
        return None if row is None else _entry(row)

    def put(self, entry: Entry) -> None:
        """Insert or replace what is known of a path; the time is set here."""
        e = entry
        values = (
            os.fsencode(e.root), os.fsencode(e.path), e.state.value, e.recipe, _pack(e.source), e.input_digest,
            e.output_digest, _pack(e.target), e.attempts, None if e.reason is None else e.reason.value,
            printable(e.detail), time.time_ns(),
        )  # fmt: skip
        self._db.execute(f"INSERT OR REPLACE INTO files ({_COLUMNS}) VALUES ({','.join('?' * 12)})", values)

    def forget(self, root: str, path: str) -> None:
        """Remove a path, so that its file is looked at as new."""
        self._db.execute("DELETE FROM files WHERE root=? AND path=?", (os.fsencode(root), os.fsencode(path)))

    def look_again(self, root: str) -> None:
        """Let every file of a root be published anew: its mirror was removed."""
        self._db.execute("UPDATE files SET recipe='', target=NULL WHERE root=?", (os.fsencode(root),))

    def is_output(self, root: str, digest: str, recipe: str) -> bool:
        """Tell whether `digest` is one of our own results in this root under this recipe."""
        sql = "SELECT 1 FROM files WHERE output_digest=? AND root=? AND recipe=? LIMIT 1"
        return self._db.execute(sql, (digest, os.fsencode(root), recipe)).fetchone() is not None

    def in_state(self, state: State) -> list[Entry]:
        """List the paths in a state, oldest first."""
        sql = f"SELECT {_COLUMNS} FROM files WHERE state=? ORDER BY updated_ns"
        return [_entry(row) for row in self._db.execute(sql, (state.value,))]

    def counts(self, root: str) -> dict[State, int]:
        """Count the paths of a root by state; anew only after a change, since it reads all of them."""
        version = (self._db.total_changes, self.changed_elsewhere())
        if version != self._counted_at:
            self._counts, self._counted_at = {}, version
        if root not in self._counts:
            sql = "SELECT state, COUNT(*) FROM files WHERE root=? GROUP BY state"
            rows = self._db.execute(sql, (os.fsencode(root),))
            self._counts[root] = {State(state): count for state, count in rows}
        return self._counts[root]

    # --- intents

    def begin(self, intent: Intent) -> None:
        """Write down, before anything happens, that a job starts (or what it has come to)."""
        i = intent
        staging = None if i.staging is None else os.fsencode(i.staging)
        values = (
            i.token, os.fsencode(i.root), os.fsencode(i.path), os.fsencode(i.target), staging, _pack(i.source),
            i.recipe, i.attempts, i.input_digest, i.output_digest, i.payload,
        )  # fmt: skip
        self._db.execute(f"INSERT OR REPLACE INTO intents ({_INTENT_COLUMNS}) VALUES ({','.join('?' * 11)})", values)

    def end(self, token: str) -> None:
        """Remove an intent that was carried out or given up."""
        self._db.execute("DELETE FROM intents WHERE token=?", (token,))

    def intents(self) -> list[Intent]:
        """List the jobs that had begun and not ended: what a crash left."""
        return [_intent(row) for row in self._db.execute(f"SELECT {_INTENT_COLUMNS} FROM intents")]

    # --- outbox of the command hook

    def outbox_add(self, payload: str) -> None:
        """Queue one hook call; part of the transaction that records the outcome."""
        self._db.execute("INSERT INTO outbox (payload) VALUES (?)", (payload,))

    def outbox_next(self) -> OutboxEntry | None:
        """Give the call with the fewest attempts, oldest first: one that fails does not hold up the others."""
        row = self._db.execute("SELECT id, payload, attempts FROM outbox ORDER BY attempts, id LIMIT 1").fetchone()
        return None if row is None else OutboxEntry(*row)

    def outbox_done(self, entry_id: int) -> None:
        """Remove a call that succeeded, or was given up."""
        self._db.execute("DELETE FROM outbox WHERE id=?", (entry_id,))

    def outbox_postpone(self, entry_id: int) -> None:
        """Count a failed attempt."""
        self._db.execute("UPDATE outbox SET attempts=attempts+1 WHERE id=?", (entry_id,))
