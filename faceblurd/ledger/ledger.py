"""The ledger: what was done to which bytes, which jobs were started, which hook calls are due. SQLite, one writer.

Paths are stored as bytes, since a file name need not be UTF-8. Must not decide anything: that is `rules.decide`.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from faceblurd.ledger.database import PATIENT_SECONDS, Database
from faceblurd.ledger.rows import (
    COLUMNS,
    DAY_NS,
    INTENT_COLUMNS,
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
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from faceblurd.model import Entry, Intent

_RESULT = "era=? AND target IS NOT NULL AND state IN ('published', 'clean')"
# A mirror's photo that failed under another recipe keeps the digest of its earlier result: it is still ours to replace.
_MADE_BY_THAT_RECIPE = "AND (state IN ('published', 'clean') OR destination=root)"
_SAME = "substr({0}, 1, 8)=substr(?, 1, 8) AND {0}=? AND {0} IS NOT NULL"  # so that it is found by its index
_SAME_OUTPUT = _SAME.format("output_digest")
_PUT = f"{COLUMNS}, era, seen_day"
_CHANGED = ", ".join(f"{column}=excluded.{column}" for column in _PUT.split(", ")[2:])
GONE_DAYS, SEEN_DAYS = 365, 30  # what is there is noted once a month: a million rows are not written every day


class Ledger(Database):
    """What is known, in one file (or in memory, for a single `faceblurd blur`)."""

    def __init__(
        self, path: Path | None, *, read_only: bool = False, owned: bool = True, busy_seconds: float = PATIENT_SECONDS
    ) -> None:
        """Open or create it, as `Database` says."""
        super().__init__(path, read_only=read_only, owned=owned, busy_seconds=busy_seconds)
        self._eras: dict[str, int] = {}

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
            *row_of(entry, now_ns=now_ns), self._eras.get(entry.root, 0), now_ns // DAY_NS,
        )  # fmt: skip
        places = ",".join("?" * len(values))
        sql = f"INSERT INTO files ({_PUT}) VALUES ({places}) ON CONFLICT (root, path) DO UPDATE SET {_CHANGED}"
        self._db.execute(sql, values)

    def forget(self, root: str, path: str) -> None:
        """Remove a path, so that its file is looked at as new."""
        self._db.execute("DELETE FROM files WHERE root=? AND path=?", (self._folder(root), os.fsencode(path)))

    def look_again(self, root: str) -> None:
        """Let every file of a root be published anew: its mirror was removed. What was made in place stays our own."""
        sql = "UPDATE files SET recipe=?, target=NULL WHERE root=? AND destination IS NOT root"
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
