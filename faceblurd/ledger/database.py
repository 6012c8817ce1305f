"""The ledger's file: opened, brought up to date, written in transactions, and what is said when it cannot be.

WAL with `synchronous=FULL`: what was committed survives a power cut (0.2 ms a commit on an SSD; NORMAL may lose
commits). Never place it on a network share: SQLite's locks do not work there. Knows nothing of what is in its rows.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from faceblurd.errors import FaceblurdError, LedgerVersionError
from faceblurd.ledger import rows
from faceblurd.ledger.rows import SCHEMA_VERSION, Numbered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ROOM_BYTES = 256 << 10  # some hundred files: less would be full again at once
PATIENT_SECONDS = 60.0  # for a backup that has it locked, where nothing else could be done meanwhile
BUSY_SECONDS = 5.0  # for the daemon, which then pauses, and keeps its watchdog fed
# What of version 1 is not in version 2.
_TO_2: Final = (rows.ERAS, "ALTER TABLE files ADD COLUMN era INTEGER NOT NULL DEFAULT 0")
# Version 2 did not write down where results went. In place, a result was its own source; of a mirror it stays unknown.
_COPY: Final = """
INSERT INTO files (root, path, state, recipe, destination, source, input_digest, output_digest, target, attempts,
                   reason, detail, updated_ns, era, seen_day)
SELECT f.id, o.path, o.state, r.id, CASE WHEN o.target = o.source THEN f.id END, small(o.source),
       digest(o.input_digest), digest(o.output_digest), CASE WHEN o.target = o.source THEN x'' ELSE small(o.target) END,
       o.attempts, o.reason, nullif(o.detail, ''), o.updated_ns, o.era, ?
FROM old_files o JOIN folders f ON f.path = o.root JOIN recipes r ON r.digest = o.recipe
"""


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


def is_locked(error: sqlite3.Error) -> bool:
    """Tell whether another program (a backup, say) has the ledger locked."""
    return error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _remedy(error: sqlite3.Error) -> str:
    if is_locked(error):
        return "Wait until the program that has it locked (a backup?) is done"
    return "Move it away: every photo is then looked at once more"


@contextmanager
def locks_are_told() -> Iterator[None]:
    """Turn another program's lock into a FaceblurdError, for commands that do not wait for its end."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if not is_locked(error):
            raise
        raise FaceblurdError(f"the ledger cannot be written: {error}", remedy=_remedy(error)) from error


class Database:
    """The database in one file (or in memory, for a single `faceblurd blur`)."""

    def __init__(
        self, path: Path | None, *, read_only: bool = False, owned: bool = True, busy_seconds: float = PATIENT_SECONDS
    ) -> None:
        """Open or create it; `read_only` for other processes that only look (status).

        `owned`: nobody else has it open, so that one of an older version may be brought up to date. `busy_seconds`: how
        long another program's lock is waited for. Raises FaceblurdError when it cannot be used, LedgerVersionError when
        another version has to.
        """
        name = ":memory:" if path is None else f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        self._folders = Numbered[bytes](lambda: self._db, table="folders", column="path")
        self._recipes = Numbered[str](lambda: self._db, table="recipes", column="digest")
        try:
            if path is not None and not read_only:
                _keep_to_ourselves(path)
            self._db = sqlite3.connect(name, uri=True, isolation_level=None, timeout=PATIENT_SECONDS)
            if not read_only:
                self._prepare(owned=owned)
            self._check_version(name)
            self._db.execute(f"PRAGMA busy_timeout={round(busy_seconds * 1000)}")
        except sqlite3.DatabaseError as error:
            shown = path or name
            raise FaceblurdError(f"the ledger {shown} cannot be used: {error}", remedy=_remedy(error)) from error

    def _prepare(self, *, owned: bool) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        version = self._version()
        if version == 0:
            with self.transaction():
                _create(self._db)
                self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        elif version < SCHEMA_VERSION and owned:
            with self.transaction():
                _upgrade(self._db, version)
                self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            _shrink(self._db)

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _check_version(self, name: str) -> None:
        version = self._version()
        if version > SCHEMA_VERSION:
            raise LedgerVersionError(name, version, SCHEMA_VERSION)
        if version < SCHEMA_VERSION:
            raise FaceblurdError(
                f"the ledger {name} is of an older version ({version}, this is {SCHEMA_VERSION})",
                remedy="Restart the service, or run `faceblurd scan`: that brings it up to date",
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
            self._folders.forget()
            self._recipes.forget()
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


# --- versions


def _create(db: sqlite3.Connection) -> None:
    """Make the tables of a new ledger. Inside of the caller's transaction."""
    for statement in rows.SCHEMA:
        db.execute(statement)


def _upgrade(db: sqlite3.Connection, version: int) -> None:
    """Bring the tables of an older version up to date. Inside of the caller's transaction."""
    for statement in _TO_2 if version == 1 else ():
        db.execute(statement)
    for index in ("files_by_output", "files_by_state"):
        db.execute(f"DROP INDEX {index}")
    db.execute("ALTER TABLE files RENAME TO old_files")
    for statement in rows.FILES:
        db.execute(statement)
    db.execute("INSERT INTO folders (path) SELECT DISTINCT root FROM old_files")
    db.execute("INSERT INTO recipes (digest) SELECT DISTINCT recipe FROM old_files")
    db.create_function("small", 1, lambda blob: rows.pack(rows.unpack(blob)), deterministic=True)
    db.create_function("digest", 1, rows.pack_digest, deterministic=True)
    db.execute(_COPY, (time.time_ns() // rows.DAY_NS,))
    db.execute("DROP TABLE old_files")


def _shrink(db: sqlite3.Connection) -> None:
    """Give the room of the old tables back to the disk, if there is room to do it."""
    with suppress(sqlite3.OperationalError):
        db.execute("VACUUM")
