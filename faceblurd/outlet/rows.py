"""How the ledger lies on the disk: its tables, and a row as a value and back. Knows no database."""

from __future__ import annotations

import os
import struct

from faceblurd.model import Entry, Fingerprint, Intent, Reason, State, printable

SCHEMA_VERSION = 2
_ERAS = """
CREATE TABLE eras (
  id INTEGER PRIMARY KEY AUTOINCREMENT, root BLOB NOT NULL, mark TEXT NOT NULL, UNIQUE (root, mark));
"""
SCHEMA = f"""{_ERAS}
CREATE TABLE files (
  root BLOB NOT NULL, path BLOB NOT NULL, state TEXT NOT NULL, recipe TEXT NOT NULL, source BLOB NOT NULL,
  input_digest TEXT, output_digest TEXT, target BLOB, attempts INTEGER NOT NULL, reason TEXT, detail TEXT NOT NULL,
  updated_ns INTEGER NOT NULL, era INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (root, path)) WITHOUT ROWID;
CREATE INDEX files_by_output ON files (output_digest) WHERE output_digest IS NOT NULL;
CREATE INDEX files_by_state ON files (state) WHERE state IN ('retry', 'quarantined');
CREATE TABLE intents (
  token TEXT PRIMARY KEY, root BLOB NOT NULL, path BLOB NOT NULL, target BLOB NOT NULL, staging BLOB,
  source BLOB NOT NULL, recipe TEXT NOT NULL, attempts INTEGER NOT NULL, input_digest TEXT, output_digest TEXT,
  payload TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0);
"""
FROM_VERSION_1 = f"""{_ERAS}
ALTER TABLE files ADD COLUMN era INTEGER NOT NULL DEFAULT 0;
"""
_FINGERPRINT = struct.Struct("<QQQqIqI")
_SECOND_NS = 1_000_000_000
COLUMNS = "root, path, state, recipe, source, input_digest, output_digest, target, attempts, reason, detail, updated_ns"
INTENT_COLUMNS = "token, root, path, target, staging, source, recipe, attempts, input_digest, output_digest, payload"


def pack(fingerprint: Fingerprint | None) -> bytes | None:
    """Write times as seconds and nanoseconds: as one number, a time after the year 2262 has more than 64 bits."""
    if fingerprint is None:
        return None
    f = fingerprint
    times = (*divmod(f.mtime_ns, _SECOND_NS), *divmod(f.ctime_ns, _SECOND_NS))
    return _FINGERPRINT.pack(f.device, f.inode, f.size, *times)


def unpack(blob: bytes | None) -> Fingerprint | None:
    """Read what `pack` wrote."""
    if blob is None:
        return None
    device, inode, size, mtime, mtime_ns, ctime, ctime_ns = _FINGERPRINT.unpack(blob)
    return Fingerprint(device, inode, size, mtime * _SECOND_NS + mtime_ns, ctime * _SECOND_NS + ctime_ns)


def entry_of(row: tuple) -> Entry:  # type: ignore[type-arg]  # a row of mixed columns, in the order of COLUMNS
    """Read a row of files."""
    source = unpack(row[4])
    assert source is not None  # noqa: S101 - the column is NOT NULL
    reason = None if row[9] is None else Reason(row[9])
    return Entry(
        os.fsdecode(row[0]), os.fsdecode(row[1]), State(row[2]), row[3], source,
        row[5], row[6], unpack(row[7]), row[8], reason, row[10], row[11],
    )  # fmt: skip


def intent_of(row: tuple) -> Intent:  # type: ignore[type-arg]  # a row of mixed columns, in the order of INTENT_COLUMNS
    """Read a row of intents."""
    source = unpack(row[5])
    assert source is not None  # noqa: S101 - the column is NOT NULL
    staging = None if row[4] is None else os.fsdecode(row[4])
    return Intent(row[0], os.fsdecode(row[1]), os.fsdecode(row[2]), os.fsdecode(row[3]), staging, source, *row[6:])


def row_of(e: Entry, *, era: int, now_ns: int) -> tuple[object, ...]:
    """Write an entry, in the order of COLUMNS and then its era."""
    return (
        os.fsencode(e.root), os.fsencode(e.path), e.state.value, e.recipe, pack(e.source), e.input_digest,
        e.output_digest, pack(e.target), e.attempts, None if e.reason is None else e.reason.value,
        printable(e.detail), now_ns, era,
    )  # fmt: skip


def row_of_intent(i: Intent) -> tuple[object, ...]:
    """Write an intent, in the order of INTENT_COLUMNS."""
    staging = None if i.staging is None else os.fsencode(i.staging)
    return (
        i.token, os.fsencode(i.root), os.fsencode(i.path), os.fsencode(i.target), staging, pack(i.source),
        i.recipe, i.attempts, i.input_digest, i.output_digest, i.payload,
    )  # fmt: skip
