"""Ledgers of older versions: brought to the tables of `rows`, with all that they know."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from faceblurd.ledger import rows

if TYPE_CHECKING:
    import sqlite3

DAY_NS: Final = 86_400 * 1_000_000_000

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


def create(db: sqlite3.Connection) -> None:
    """Make the tables of a new ledger. Inside of the caller's transaction."""
    for statement in rows.SCHEMA:
        db.execute(statement)


def upgrade(db: sqlite3.Connection, version: int) -> None:
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
    db.execute(_COPY, (time.time_ns() // DAY_NS,))
    db.execute("DROP TABLE old_files")


def shrink(db: sqlite3.Connection) -> None:
    """Give the room of the old tables back to the disk, if there is room to do it."""
    import sqlite3  # noqa: PLC0415 - the error's name only

    with suppress(sqlite3.OperationalError):
        db.execute("VACUUM")
