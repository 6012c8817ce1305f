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

from faceblurd.errors import FaceblurdError, LedgerVersionError
from faceblurd.ledger import migration
from faceblurd.ledger.rows import (
    COLUMNS,
    INTENT_COLUMNS,
    SCHEMA_VERSION,
    Numbered,
    OutboxEntry,
    entry_of,
    intent_of,
    pack_digest,
    row_of,
    row_of_intent,
    state_is,
)
from faceblurd.model import State

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from faceblurd.model import Entry, Intent

_RESULT = "era=? AND target IS NOT NULL AND state IN ('published', 'clean')"
# A mirror's photo that failed under another recipe keeps the digest of its earlier result: it is still ours to replace.
_MADE_BY_THAT_RECIPE = "AND (state IN ('published', 'clean') OR destination=root)"
_SAME = "substr({0}, 1, 8)=substr(?, 1, 8) AND {0}=? AND {0} IS NOT NULL"  # so that it is found by its index
_SAME_OUTPUT = _SAME.format("output_digest")
_ROOM_BYTES = 256 << 10  # some hundred files: less would be full again at once
PATIENT_SECONDS = 60.0  # for a backup that has it locked, where nothing else could be done meanwhile
BUSY_SECONDS = 5.0  # for the daemon, which then pauses, and keeps its watchdog fed
_PUT = f"{COLUMNS}, era, seen_day"
_CHANGED = ", ".join(f"{column}=excluded.{column}" for column in _PUT.split(", ")[2:])
GONE_DAYS, SEEN_DAYS = 365, 30  # what is there is noted once a month: a million rows are not written every day


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


class Ledger:
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
        self._eras: dict[str, int] = {}
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
                migration.create(self._db)
                self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        elif version < SCHEMA_VERSION and owned:
            with self.transaction():
                migration.upgrade(self._db, version)
                self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            migration.shrink(self._db)

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

    # --- files

    def entry(self, root: str, path: str) -> Entry | None:
        """Look a path up."""
        sql = f"SELECT {COLUMNS} FROM files WHERE root=? AND path=?"
        row = self._db.execute(sql, (self._folder(root), os.fsencode(path))).fetchone()
        return None if row is None else self._entry_of(row)

    def _folder(self, path: str) -> int | None:
        return self._folders.find(os.fsencode(path))

    def _entry_of(self, row: tuple) -> Entry:  # type: ignore[type-arg]  # a row in the order of COLUMNS
        root, path, state, recipe, to, *rest = row
        destination = "" if to is None else os.fsdecode(self._folders.name(to))
        return entry_of((
            os.fsdecode(self._folders.name(root)), path, state, self._recipes.name(recipe), destination, *rest,
        ))  # fmt: skip

    def put(self, entry: Entry) -> None:
        """Insert or replace what is known of a path; the time is set here."""
        now_ns = time.time_ns()
        values = (
            self._folders.number(os.fsencode(entry.root)), os.fsencode(entry.path), entry.state.value,
            self._recipes.number(entry.recipe), self._folders.number(os.fsencode(entry.to)) if entry.to else None,
            *row_of(entry, now_ns=now_ns), self._eras.get(entry.root, 0), now_ns // migration.DAY_NS,
        )  # fmt: skip
        places = ",".join("?" * len(values))
        sql = f"INSERT INTO files ({_PUT}) VALUES ({places}) ON CONFLICT (root, path) DO UPDATE SET {_CHANGED}"
        self._db.execute(sql, values)

    def forget(self, root: str, path: str) -> None:
        """Remove a path, so that its file is looked at as new."""
        self._db.execute("DELETE FROM files WHERE root=? AND path=?", (self._folder(root), os.fsencode(path)))

    def look_again(self, root: str) -> None:
        """Let every file of a root be published anew: its mirror was removed."""
        sql = "UPDATE files SET recipe=?, target=NULL WHERE root=?"
        self._db.execute(sql, (self._recipes.number(""), self._folder(root)))

    def is_own_result(self, digest: str, recipe: str) -> bool:
        """Tell whether `digest` is one of our results under this recipe, in whichever root it was made.

        Not where these bytes are known as a source, too, in which the same recipe found faces.
        """
        values = (digest, self._recipes.find(recipe))
        sql = "SELECT 1 FROM former WHERE digest=? AND recipe=? LIMIT 1"
        was_made = self._db.execute(sql, (pack_digest(digest), values[1])).fetchone() is not None
        made = was_made or self._has("output_digest", *values, and_is=_MADE_BY_THAT_RECIPE)
        return made and not self._has("input_digest", *values, and_is="AND state='published'")

    def made(self, path: str, digest: str) -> bool:
        """Tell whether we once published these bytes by this path, below whichever folder."""
        packed, name = pack_digest(digest), os.fsencode(path)
        sql = f"SELECT 1 FROM files WHERE {_SAME_OUTPUT} AND path=? LIMIT 1"
        if self._db.execute(sql, (packed, packed, name)).fetchone() is not None:
            return True
        sql = "SELECT 1 FROM former WHERE digest=? AND path=?"
        return self._db.execute(sql, (packed, name)).fetchone() is not None

    def _has(self, column: str, digest: str, recipe: int | None, *, and_is: str = "") -> bool:
        packed = pack_digest(digest)
        sql = f"SELECT 1 FROM files WHERE {_SAME.format(column)} AND recipe=? {and_is} LIMIT 1"
        return self._db.execute(sql, (packed, packed, recipe)).fetchone() is not None

    def in_state(self, state: State) -> list[Entry]:
        """List the paths in a state, oldest first."""
        sql = f"SELECT {COLUMNS} FROM files WHERE {state_is(state)} ORDER BY updated_ns, id"
        return [self._entry_of(row) for row in self._db.execute(sql)]

    def counts(self, root: str) -> dict[State, int]:
        """Count the paths of a root by state."""
        sql = "SELECT state, number FROM counts WHERE root=? AND number > 0"
        return {State(state): number for state, number in self._db.execute(sql, (self._folder(root),))}

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
        values = (self._folder(root), first, last, self._eras.get(root, -1), most)
        return [os.fsdecode(path) for (path,) in self._db.execute(sql, values)]

    def result(self, root: str, path: str) -> Entry | None:
        """Look up what is known of a result as in `results`."""
        sql = f"SELECT {COLUMNS} FROM files WHERE root=? AND path=? AND {_RESULT}"
        values = (self._folder(root), os.fsencode(path), self._eras.get(root, -1))
        row = self._db.execute(sql, values).fetchone()
        return None if row is None else self._entry_of(row)

    def with_output(self, root: str, digest: str) -> list[str]:
        """List the paths of a root whose result has these bytes."""
        sql = f"SELECT path FROM files WHERE {_SAME_OUTPUT} AND root=?"
        packed = pack_digest(digest)
        return [os.fsdecode(path) for (path,) in self._db.execute(sql, (packed, packed, self._folder(root)))]

    def note_mounts(self, mounts: Mapping[str, str]) -> None:
        """Note where the disks of folders are mounted."""
        for path, mounted_at in mounts.items():
            number, where = self._folders.number(os.fsencode(path)), os.fsencode(mounted_at)
            sql = "UPDATE folders SET mounted_at=? WHERE id=? AND mounted_at IS NOT ?"
            self._db.execute(sql, (where, number, where))

    def mounted_at(self, path: str) -> str:
        """Tell where the disk of a folder was mounted when it was last there; empty: not known."""
        row = self._db.execute("SELECT mounted_at FROM folders WHERE path=?", (os.fsencode(path),)).fetchone()
        return "" if row is None or row[0] is None else os.fsdecode(row[0])

    # --- done once more, because a person says so

    def redo(self, folder: str, path: str = "") -> int:
        """Let a photo, or all of a folder, be done once more; give how many. `folder`: a root or where results went.

        In a mirror every result is made anew. In place there is no original left: each file is looked at again, and
        what is our own result stays. A whole root is also taken as it is, whatever disk was mounted there before.
        """
        top, name = self._folder(folder), os.fsencode(path)
        here = "(root=? OR destination=?)" + (" AND (path=? OR (path>? AND path<?))" if path else "")
        values = (top, top, *((name, name + b"/", name + b"0") if path else ()))
        where = f"{here} AND state<>'released'"
        with self.transaction():
            roots = f"SELECT DISTINCT root FROM files WHERE {where} UNION SELECT id FROM folders WHERE id=? AND ?"
            found = [root for (root,) in self._db.execute(roots, (*values, top, not path))]
            again = f"UPDATE files SET recipe=?, target=NULL WHERE {where} AND destination IS NOT root"
            number = self._db.execute(again, (self._recipes.number(""), *values)).rowcount
            look = f"UPDATE files SET source=zeroblob(28) WHERE {where} AND destination IS root"
            number += self._db.execute(look, values).rowcount
            for root in found:
                self._db.execute("UPDATE folders SET redo=1 WHERE id=?", (root,))
            if not path:
                places = f"id=? OR id IN (SELECT destination FROM files WHERE {here})"
                self._db.execute(f"UPDATE folders SET mounted_at=NULL WHERE {places}", (top, *values))
        return number

    def take_redo(self) -> set[str]:
        """Take out the roots of which something is to be done once more."""
        roots = {os.fsdecode(path) for (path,) in self._db.execute("SELECT path FROM folders WHERE redo")}
        if roots:
            self._db.execute("UPDATE folders SET redo=0 WHERE redo")
        return roots

    def folders(self) -> list[str]:
        """List all roots and destinations that are known."""
        return [os.fsdecode(path) for (path,) in self._db.execute("SELECT path FROM folders")]

    # --- what is there, and what is gone for a year

    def note_seen(self, root: str, paths: Iterable[str], *, to: str, day: int) -> None:
        """Note that paths are there on a `day` (since 1970), once a month.

        Where their results went is noted for what an older version did: to the same place as now, `to`.
        """
        folder, destination = self._folder(root), self._folders.number(os.fsencode(to))
        sql = (
            "UPDATE files SET seen_day=?, destination=coalesce(destination, ?) WHERE root=? AND path=? "
            "AND (seen_day NOT BETWEEN ? AND ? OR destination IS NULL)"
        )
        rows = [(day, destination, folder, os.fsencode(path), day - SEEN_DAYS, day) for path in paths]
        with self.transaction():
            self._db.executemany(sql, rows)

    def prune(self, roots: Collection[str], *, but: Collection[str], day: int, after: int, most: int) -> int | None:
        """Forget what was last seen a year before `day`, in `roots` and in those that are not in `but`.

        Looks at `most` rows from number `after` on; gives where to go on, None at the end.
        """
        last = after + most
        known = ([self._folder(root) for root in one] for one in (roots, but))
        mine, others = ([number for number in one if number is not None] for one in known)
        places = [",".join("?" * len(one)) for one in (mine, others)]
        sql = (
            f"DELETE FROM files WHERE id > ? AND id <= ? AND seen_day < ? "
            f"AND (root IN ({places[0]}) OR root NOT IN ({places[1]}))"
        )
        self._db.execute(sql, (after, last, day - GONE_DAYS - SEEN_DAYS, *mine, *others))
        if self._db.execute("SELECT 1 FROM files WHERE id > ? LIMIT 1", (last,)).fetchone() is not None:
            return last
        self._db.execute("DELETE FROM former WHERE day < ?", (day - GONE_DAYS - SEEN_DAYS,))
        return None

    def with_result(self, digest: str, to: str) -> list[tuple[str, str]]:
        """List root and path of all photos whose result, below `to`, has these bytes."""
        sql = f"SELECT root, path FROM files WHERE {_SAME_OUTPUT} AND (destination=? OR destination IS NULL)"
        packed = pack_digest(digest)
        rows = self._db.execute(sql, (packed, packed, self._folder(to)))
        return [(os.fsdecode(self._folders.name(root)), os.fsdecode(path)) for root, path in rows]

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
