"""The ledger: the same promises in a file and in memory; and for the file, what was acknowledged survives kill -9."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceblurd.errors import FaceblurdError
from faceblurd.model import Entry, Fingerprint, Intent, Reason, State
from faceblurd.outlet.ledger import Ledger, is_full
from faceblurd.outlet.rows import COLUMNS, row_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRINT = Fingerprint(1, 2, 3, 4, 5)
ENTRY = Entry(
    "/r",
    "a.jpg",
    State.PUBLISHED,
    "recipe",
    PRINT,
    input_digest="in",
    output_digest="out",
    target=replace(PRINT, size=9),
)
INTENT = Intent(
    "token", "/r", "a.jpg", "/out/a.jpg", "/out/.faceblurd-token.tmp", PRINT, "recipe", 2, "in", "out", "{}"
)


@pytest.fixture(params=["file", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "ledger.sqlite3" if request.param == "file" else None)) as one:
        yield one


def _same(found: Entry | None, expected: Entry) -> bool:
    return found is not None and replace(found, updated_ns=0) == replace(expected, updated_ns=0)


def test_an_entry_comes_back_as_it_was_put(ledger: Ledger) -> None:
    ledger.put(ENTRY)
    assert _same(ledger.entry("/r", "a.jpg"), ENTRY)
    assert ledger.entry("/r", "b.jpg") is None
    assert ledger.entry("/other", "a.jpg") is None


def test_paths_are_counted_by_state_and_again_only_after_a_change(ledger: Ledger) -> None:
    """100,000 paths take 40 ms to count: every two seconds, that alone would be 2 % of a core while nothing happens."""
    statements: list[str] = []
    ledger.put(ENTRY)
    assert ledger.counts("/r") == {State.PUBLISHED: 1}
    ledger._db.set_trace_callback(statements.append)
    assert ledger.counts("/r") == {State.PUBLISHED: 1}
    assert ledger.counts("/other") == {}
    assert ledger.counts("/other") == {}
    assert [text for text in statements if "COUNT" in text] == [next(text for text in statements if "COUNT" in text)]
    ledger.put(replace(ENTRY, path="b.jpg", state=State.CLEAN))
    assert ledger.counts("/r") == {State.PUBLISHED: 1, State.CLEAN: 1}
    ledger.forget("/r", "a.jpg")
    assert ledger.counts("/r") == {State.CLEAN: 1}


def test_what_another_process_wrote_is_counted_too(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "l")) as one, closing(Ledger(tmp_path / "l")) as other:
        assert one.counts("/r") == {}
        other.put(ENTRY)
        assert one.counts("/r") == {State.PUBLISHED: 1}


def test_a_second_put_replaces_the_first(ledger: Ledger) -> None:
    ledger.put(ENTRY)
    later = replace(ENTRY, state=State.QUARANTINED, reason=Reason.DAMAGED, detail="cut", attempts=3, target=None)
    ledger.put(later)
    assert _same(ledger.entry("/r", "a.jpg"), later)
    assert not ledger.in_state(State.PUBLISHED)


def test_a_forgotten_path_is_new(ledger: Ledger) -> None:
    ledger.put(ENTRY)
    ledger.forget("/r", "a.jpg")
    assert ledger.entry("/r", "a.jpg") is None


@pytest.mark.parametrize(
    "name", ["caf\udce9.jpg", "\udcff\udcfe", "new\nline.jpg", "it's; DROP TABLE files", "ä/ö.jpg"]
)
def test_any_name_comes_back(ledger: Ledger, name: str) -> None:
    entry = replace(ENTRY, root=f"/{name}", path=name)
    ledger.put(entry)
    assert _same(ledger.entry(f"/{name}", name), entry)
    intent = replace(INTENT, root=f"/{name}", path=name, target=f"/out/{name}", staging=f"/out/{name}.tmp")
    ledger.begin(intent)
    assert ledger.intents() == [intent]


@pytest.mark.parametrize("detail", ["/out/caf\udce9.jpg exists", "from a plugin: \ud800"])
def test_a_detail_with_undecodable_bytes_is_kept_readable(ledger: Ledger, detail: str) -> None:
    ledger.put(replace(ENTRY, detail=detail))
    found = ledger.entry("/r", "a.jpg")
    assert found is not None
    assert found.detail.encode("utf-8")
    assert "\\" in found.detail


times = st.integers(-(2**63), 2**64)  # ext4 knows times until 2446, other file systems longer
numbers = st.integers(0, 2**64 - 1)


@given(st.builds(Fingerprint, numbers, numbers, numbers, times, times))
def test_any_fingerprint_comes_back(fingerprint: Fingerprint) -> None:
    with closing(Ledger(None)) as ledger:
        ledger.put(replace(ENTRY, source=fingerprint, target=fingerprint))
        found = ledger.entry("/r", "a.jpg")
        assert found is not None
        assert (found.source, found.target) == (fingerprint, fingerprint)


def test_a_digest_is_our_output_only_in_its_root_and_under_its_recipe(ledger: Ledger) -> None:
    ledger.put(ENTRY)
    assert ledger.is_output("/r", "out", "recipe")
    assert not ledger.is_output("/r", "out", "other recipe")
    assert not ledger.is_output("/other", "out", "recipe")
    assert not ledger.is_output("/r", "in", "recipe")


def test_counts_are_by_root_and_state(ledger: Ledger) -> None:
    for name, state in (("a", State.PUBLISHED), ("b", State.PUBLISHED), ("c", State.RETRY)):
        ledger.put(replace(ENTRY, path=name, state=state))
    ledger.put(replace(ENTRY, root="/other"))
    assert ledger.counts("/r") == {State.PUBLISHED: 2, State.RETRY: 1}


def test_an_intent_is_there_until_it_ends_and_its_last_version_counts(ledger: Ledger) -> None:
    early = replace(INTENT, staging=None, input_digest=None, output_digest=None, payload="")
    ledger.begin(early)
    assert ledger.intents() == [early]
    ledger.begin(INTENT)
    assert ledger.intents() == [INTENT]
    ledger.end("token")
    assert ledger.intents() == []


def test_a_failed_transaction_leaves_nothing_of_itself(ledger: Ledger) -> None:
    ledger.begin(INTENT)

    def half_way() -> None:
        with ledger.transaction():
            ledger.put(ENTRY)
            ledger.end("token")
            ledger.outbox_add("{}")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_way()
    assert ledger.entry("/r", "a.jpg") is None
    assert ledger.intents() == [INTENT]
    assert ledger.outbox_next() is None
    ledger.put(ENTRY)  # and the next write works
    assert _same(ledger.entry("/r", "a.jpg"), ENTRY)


def test_the_outbox_gives_the_oldest_call_first(ledger: Ledger) -> None:
    for payload in ("1", "2"):
        ledger.outbox_add(payload)
    taken = []
    while (entry := ledger.outbox_next()) is not None:
        taken.append(entry.payload)
        ledger.outbox_done(entry.id)
    assert taken == ["1", "2"]


def test_a_call_that_fails_does_not_hold_up_the_others(ledger: Ledger) -> None:
    for payload in ("fails", "next"):
        ledger.outbox_add(payload)
    first = ledger.outbox_next()
    assert first is not None
    ledger.outbox_postpone(first.id)
    second = ledger.outbox_next()
    assert second is not None
    assert second.payload == "next"
    ledger.outbox_done(second.id)
    again = ledger.outbox_next()
    assert again is not None
    assert (again.payload, again.attempts) == ("fails", 1)


# --- what only a file can promise


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger")) as one:
        one.put(ENTRY)
        one.begin(INTENT)
        one.outbox_add("{}")
    with closing(Ledger(tmp_path / "ledger")) as two:
        assert _same(two.entry("/r", "a.jpg"), ENTRY)
        assert two.intents() == [INTENT]
        assert two.outbox_next() is not None


WRITER = """
import sys
from pathlib import Path
from faceblurd.model import Entry, Fingerprint, Intent, State
from faceblurd.outlet.ledger import Ledger
ledger, number = Ledger(Path(sys.argv[1])), 0
while True:
    number += 1
    source = Fingerprint(1, number, 3, 4, 5)
    ledger.begin(Intent(str(number), "/r", str(number), "/o", None, source, "R", 1))
    with ledger.transaction():
        ledger.put(Entry("/r", str(number), State.PUBLISHED, "R", source))
        ledger.end(str(number))
        ledger.outbox_add(str(number))
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9_and_nothing_is_half_there(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "ledger"], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(200)]
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged += [int(line) for line in writer.stdout.read().splitlines()]
    writer.wait()
    writer.stdout.close()
    with closing(Ledger(tmp_path / "ledger")) as ledger:
        count = ledger.counts("/r")[State.PUBLISHED]
        assert count >= max(acknowledged)
        assert all(ledger.entry("/r", str(number)) for number in acknowledged)
        assert [intent.token for intent in ledger.intents()] in ([], [str(count + 1)])
        calls = 0
        while (entry := ledger.outbox_next()) is not None:
            ledger.outbox_done(entry.id)
            calls += 1
        assert calls == count  # one transaction: the outcome, the intent's end, the hook's call


def test_a_reader_sees_what_the_writer_wrote_and_cannot_write(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger")) as writer:
        writer.put(ENTRY)
        with closing(Ledger(tmp_path / "ledger", read_only=True)) as reader:
            assert _same(reader.entry("/r", "a.jpg"), ENTRY)
            with pytest.raises(sqlite3.OperationalError):
                reader.put(ENTRY)


def test_a_write_from_another_process_is_noticed_and_an_own_one_is_not(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger")) as daemon, closing(Ledger(tmp_path / "ledger")) as command:
        before = daemon.changed_elsewhere()
        daemon.put(ENTRY)
        assert daemon.changed_elsewhere() == before
        command.put(ENTRY)
        assert daemon.changed_elsewhere() != before


def test_every_commit_is_flushed_to_the_disk(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger")) as ledger:
        settings = {
            name: ledger._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2}


@pytest.mark.parametrize("spoil", ["rubbish", "version", "missing folder"])
def test_a_ledger_that_cannot_be_used_is_an_error_with_a_remedy(tmp_path: Path, spoil: str) -> None:
    path: Any = tmp_path / "ledger"
    if spoil == "rubbish":
        path.write_bytes(b"not a database, and longer than its header would be" * 20)
    elif spoil == "version":
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA user_version=99")
    else:
        path = tmp_path / "nowhere" / "ledger"
    with pytest.raises(FaceblurdError) as caught:
        Ledger(path)
    assert caught.value.remedy


# --- a full disk, here as SQLite sees it; tests/fault/test_full_state.py fills a real one


def _fill(ledger: Ledger) -> None:
    """Let the file grow no more."""
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count={pages}")


def test_a_full_disk_is_told_from_other_errors_and_costs_nothing_that_was_there(ledger: Ledger) -> None:
    ledger.put(ENTRY)
    _fill(ledger)
    assert not ledger.has_room()

    def many() -> None:
        with ledger.transaction():
            for number in range(1000):
                ledger.put(replace(ENTRY, path=f"{number}.jpg"))

    with pytest.raises(sqlite3.OperationalError) as caught:
        many()
    assert is_full(caught.value)
    assert ledger.counts("/r") == {State.PUBLISHED: 1}
    ledger._db.execute("PRAGMA max_page_count=1000000")
    assert ledger.has_room()
    many()
    assert ledger.counts("/r") == {State.PUBLISHED: 1001}


def test_what_is_no_full_disk_is_not_taken_for_one(ledger: Ledger) -> None:
    with pytest.raises(sqlite3.OperationalError) as caught:
        ledger._db.execute("SELECT * FROM nothing")
    assert not is_full(caught.value)


VERSION_1 = """
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
PRAGMA user_version=1;
"""


def test_a_ledger_of_the_first_version_is_taken_over_with_what_it_knows(tmp_path: Path) -> None:
    """What it knows of no folder by its mark is no result that a missing photo could take along."""
    path = tmp_path / "ledger"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(VERSION_1)
        row = (*row_of(ENTRY, era=0, now_ns=7)[:-1],)
        old.execute(f"INSERT INTO files ({COLUMNS}) VALUES ({','.join('?' * len(row))})", row)  # noqa: S608 - our names
        old.commit()
    for _ in range(2):  # taken over once
        with closing(Ledger(path)) as ledger:
            assert _same(ledger.entry("/r", "a.jpg"), ENTRY)
            ledger.enter("/r", "mark")
            assert ledger.results("/r", most=10) == []
    with closing(Ledger(path)) as ledger:
        ledger.enter("/r", "mark")
        ledger.put(ENTRY)
        assert ledger.results("/r", most=10) == ["a.jpg"]
