"""The ledger: what was done to which bytes, which jobs were started, which hook calls are due. SQLite, one writer.

WAL with `synchronous=FULL`: what was committed survives a power cut (0.2 ms a commit on an SSD; NORMAL may lose
commits). Paths are stored as bytes, since a file name need not be UTF-8. Never place it on a network share: SQLite's
locks do not work there. Must not decide anything: that is `rules.decide`.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from faceblurd.errors import FaceblurdError
from faceblurd.model import State
from faceblurd.outlet.command_hook import OutboxEntry
from faceblurd.outlet.rows import (
    COLUMNS,
    FROM_VERSION_1,
    INTENT_COLUMNS,
    SCHEMA,
    SCHEMA_VERSION,
    entry_of,
    intent_of,
    row_of,
    row_of_intent,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from faceblurd.model import Entry, Intent

_RESULT = "era=? AND target IS NOT NULL AND state IN ('published', 'clean')"
_ROOM_BYTES = 256 << 10  # some hundred files: less would be full again at once


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
            self._eras: dict[str, int] = {}
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
                self._define(SCHEMA)
        elif self._db.execute("PRAGMA user_version").fetchone()[0] == 1:
            with self.transaction():
                self._define(FROM_VERSION_1)

    def _define(self, statements: str) -> None:
        for statement in statements.split(";"):
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
        sql = f"SELECT {COLUMNS} FROM files WHERE root=? AND path=?"
        row = self._db.execute(sql, (os.fsencode(root), os.fsencode(path))).fetchone()
        return None if row is None else entry_of(row)

    def put(self, entry: Entry) -> None:
        """Insert or replace what is known of a path; the time is set here."""
        row = row_of(entry, era=self._eras.get(entry.root, 0), now_ns=time.time_ns())
        sql = f"INSERT OR REPLACE INTO files ({COLUMNS}, era) VALUES ({','.join('?' * 13)})"
        self._db.execute(sql, row)

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
        sql = f"SELECT {COLUMNS} FROM files WHERE state=? ORDER BY updated_ns"
        return [entry_of(row) for row in self._db.execute(sql, (state.value,))]

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

    # --- roots and what is gone from them

    def enter(self, root: str, mark: str) -> None:
        """Note which folder a root is from now on: what is known of another one by that name says nothing of this."""
        key = (os.fsencode(root), mark)
        self._db.execute("INSERT OR IGNORE INTO eras (root, mark) VALUES (?, ?)", key)
        self._eras[root] = self._db.execute("SELECT id FROM eras WHERE root=? AND mark=?", key).fetchone()[0]

    def results(self, root: str, *, after: str = "", below: str | None = None, most: int) -> list[str]:
        """List paths whose result was published while the root was the folder that it is now, in their order.

        `after`: those behind this path. `below`: only those in this directory.
        """
        last = b"\xff" * 5000 if below is None else os.fsencode(below) + b"0"  # the character behind the slash
        first = os.fsencode(after) if below is None else os.fsencode(below) + b"/"
        sql = f"SELECT path FROM files WHERE root=? AND path>? AND path<? AND {_RESULT} ORDER BY path LIMIT ?"
        values = (os.fsencode(root), first, last, self._eras.get(root, -1), most)
        return [os.fsdecode(path) for (path,) in self._db.execute(sql, values)]

    def result(self, root: str, path: str) -> Entry | None:
        """Look up what is known of a result as in `results`."""
        sql = f"SELECT {COLUMNS} FROM files WHERE root=? AND path=? AND {_RESULT}"
        row = self._db.execute(sql, (os.fsencode(root), os.fsencode(path), self._eras.get(root, -1))).fetchone()
        return None if row is None else entry_of(row)

    def with_output(self, root: str, digest: str) -> list[str]:
        """List the paths of a root whose result has these bytes."""
        sql = "SELECT path FROM files WHERE output_digest=? AND root=?"
        return [os.fsdecode(path) for (path,) in self._db.execute(sql, (digest, os.fsencode(root)))]

    # --- intents

    def begin(self, intent: Intent) -> None:
        """Write down, before anything happens, that a job starts (or what it has come to)."""
        sql = f"INSERT OR REPLACE INTO intents ({INTENT_COLUMNS}) VALUES ({','.join('?' * 11)})"
        self._db.execute(sql, row_of_intent(intent))

    def end(self, token: str) -> None:
        """Remove an intent that was carried out or given up."""
        self._db.execute("DELETE FROM intents WHERE token=?", (token,))

    def intents(self) -> list[Intent]:
        """List the jobs that had begun and not ended: what a crash left."""
        return [intent_of(row) for row in self._db.execute(f"SELECT {INTENT_COLUMNS} FROM intents")]

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
