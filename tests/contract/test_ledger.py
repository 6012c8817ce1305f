"""The ledger: the same promises in a file and in memory; and for the file, what was acknowledged survives kill -9."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceblurd.errors import FaceblurdError, LedgerVersionError
from faceblurd.ledger.database import is_full, is_locked
from faceblurd.ledger.ledger import Ledger
from faceblurd.ledger.rows import DAY_NS, state_is
from faceblurd.model import Entry, Fingerprint, Intent, Reason, State

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


def test_to_count_paths_by_state_reads_none_of_them(ledger: Ledger) -> None:
    """A million paths took 140 ms to count, after every photo."""
    for name, state in (("a.jpg", State.PUBLISHED), ("b.jpg", State.CLEAN), ("c.jpg", State.RETRY)):
        ledger.put(replace(ENTRY, path=name, state=state))
    ledger.put(replace(ENTRY, path="c.jpg", state=State.CLEAN))
    assert ledger.counts("/r") == {State.PUBLISHED: 1, State.CLEAN: 2}
    assert ledger.counts("/other") == {}
    ledger.forget("/r", "a.jpg")
    assert ledger.counts("/r") == {State.CLEAN: 2}
    for sql in ("SELECT state, number FROM counts WHERE root=1 AND number > 0",):
        assert "files" not in _plan_of(ledger, sql)


@pytest.mark.parametrize("state", [State.RETRY, State.QUARANTINED, State.RELEASED])
def test_the_few_files_at_rest_are_found_without_reading_the_many_that_are_done(ledger: Ledger, state: State) -> None:
    assert "INDEX files_at_rest" in _plan_of(ledger, f"SELECT * FROM files WHERE {state_is(state)}")  # noqa: S608 - ours


def _plan_of(ledger: Ledger, sql: str) -> str:
    return str(ledger._db.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall())


def test_a_million_photos_are_known_by_at_most_300_bytes_each(tmp_path: Path) -> None:
    """20,000 here, in the order of a walk that 40 roots' folders shuffle; benchmarks/ledger.py makes the million."""
    rng, path = random.Random(7), tmp_path / "ledger"
    with closing(Ledger(path)) as ledger:
        names = [f"2024/{number % 40:02}/IMG_{number:06}.jpg" for number in range(20_000)]
        with ledger.transaction():
            for name in names:
                source = Fingerprint(64_769, rng.randrange(1 << 24), rng.randrange(1 << 23), _moment(rng), _moment(rng))
                target = replace(source, inode=rng.randrange(1 << 24), ctime_ns=_moment(rng))
                ledger.put(
                    Entry(
                        "/srv/photos/inbox", name, State.PUBLISHED, "0123456789abcdef", source, rng.randbytes(32).hex(),
                        rng.randbytes(32).hex(), target, to="/srv/photos/blurred",
                    )
                )  # fmt: skip
    assert path.stat().st_size / len(names) <= 300


def _moment(rng: random.Random) -> int:
    return rng.randrange(1_500_000_000, 1_800_000_000) * 10**9 + rng.randrange(10**9)


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


@settings(deadline=None)
@given(st.builds(Fingerprint, numbers, numbers, numbers, times, times))
def test_any_fingerprint_comes_back(fingerprint: Fingerprint) -> None:
    with closing(Ledger(None)) as ledger:
        ledger.put(replace(ENTRY, source=fingerprint, target=fingerprint))
        found = ledger.entry("/r", "a.jpg")
        assert found is not None
        assert (found.source, found.target) == (fingerprint, fingerprint)


def test_a_digest_is_our_result_in_every_root_under_its_recipe(ledger: Ledger) -> None:
    ledger.put(ENTRY)
    assert ledger.is_own_result("out", "recipe")
    assert not ledger.is_own_result("out", "other recipe")
    assert not ledger.is_own_result("in", "recipe")
    assert not ledger.is_own_result("never seen", "recipe")


def test_bytes_in_which_the_recipe_found_faces_are_no_result_of_it(ledger: Ledger) -> None:
    ledger.put(ENTRY)
    ledger.put(replace(ENTRY, path="b.jpg", input_digest="out", output_digest="third"))
    assert not ledger.is_own_result("out", "recipe")
    ledger.put(replace(ENTRY, path="b.jpg", input_digest="out", output_digest="out", state=State.CLEAN))
    assert ledger.is_own_result("out", "recipe")


def test_a_result_in_place_is_known_also_after_its_root_was_a_mirror_for_a_while(ledger: Ledger) -> None:
    ledger.put(replace(ENTRY, to="/r"))
    ledger.put(replace(ENTRY, to="/out", state=State.CLEAN, input_digest="out", output_digest="scrubbed"))
    assert ledger.is_own_result("out", "recipe")
    assert ledger.made("a.jpg", "out")
    assert not ledger.is_own_result("out", "other recipe")


def test_a_root_may_change_to_and_fro(ledger: Ledger) -> None:
    for to in ("/out", "/r", "/out", "/new", "/out", "/r"):
        ledger.put(replace(ENTRY, to=to))
    assert ledger.made("a.jpg", "out")
    assert ledger.is_own_result("out", "recipe")


def test_by_which_recipe_a_result_was_made_stays_known_when_it_is_held_or_to_be_done_once_more(ledger: Ledger) -> None:
    in_place = replace(ENTRY, to="/r")
    held = replace(ENTRY, state=State.QUARANTINED, reason=Reason.TARGET_EXISTS, input_digest=None)
    for to in ("/out", "/new"):  # held in one mirror, and in the next
        ledger.put(in_place)
        ledger.put(replace(held, to=to))
    ledger.put(replace(held, to="/third"))
    assert ledger.is_own_result("out", "recipe")

    copied = replace(ENTRY, to="/out", state=State.CLEAN, input_digest="out")
    ledger.put(copied)
    ledger.redo("/r")
    ledger.put(replace(held, to="/new"))
    assert ledger.is_own_result("out", "recipe")


def test_a_result_of_a_forgotten_photo_is_ours_to_replace_by_its_path_alone(ledger: Ledger) -> None:
    ledger.put(replace(ENTRY, to="/out"))
    assert ledger.made("a.jpg", "out")
    ledger.forget("/r", "a.jpg")
    assert ledger.made("a.jpg", "out")
    assert not ledger.made("b.jpg", "out")


def test_the_earlier_result_of_a_photo_that_failed_under_a_new_recipe_is_no_result_of_that(ledger: Ledger) -> None:
    ledger.put(replace(ENTRY, state=State.RETRY, recipe="new", to="/out"))
    assert not ledger.is_own_result("out", "new")


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
from faceblurd.ledger.ledger import Ledger
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


OLD_TABLES = """
CREATE TABLE files (
  root BLOB NOT NULL, path BLOB NOT NULL, state TEXT NOT NULL, recipe TEXT NOT NULL, source BLOB NOT NULL,
  input_digest TEXT, output_digest TEXT, target BLOB, attempts INTEGER NOT NULL, reason TEXT, detail TEXT NOT NULL,
  updated_ns INTEGER NOT NULL, {era} PRIMARY KEY (root, path)) WITHOUT ROWID;
CREATE INDEX files_by_output ON files (output_digest) WHERE output_digest IS NOT NULL;
CREATE INDEX files_by_state ON files (state) WHERE state IN ('retry', 'quarantined');
CREATE TABLE intents (
  token TEXT PRIMARY KEY, root BLOB NOT NULL, path BLOB NOT NULL, target BLOB NOT NULL, staging BLOB,
  source BLOB NOT NULL, recipe TEXT NOT NULL, attempts INTEGER NOT NULL, input_digest TEXT, output_digest TEXT,
  payload TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0);
"""
OLD_ERAS = """
CREATE TABLE eras (
  id INTEGER PRIMARY KEY AUTOINCREMENT, root BLOB NOT NULL, mark TEXT NOT NULL, UNIQUE (root, mark));
INSERT INTO eras (root, mark) VALUES (CAST('/mirrored' AS BLOB), 'mark');
"""
IN, OUT = "1a" * 32, "2b" * 32


def _old_print(number: int) -> bytes:
    """Write device, inode, size and two times as the first two versions did."""
    return struct.pack("<QQQqIqI", 1, number, 3, 1_700_000_000, 4, 2**35, 5)


def _old_ledger(path: Path, *, version: int) -> None:
    """Make a ledger as version 1 or 2 left it: one photo in a mirror, one in place, one held, one job, one call."""
    with closing(sqlite3.connect(path)) as old:
        old.executescript(OLD_TABLES.format(era="era INTEGER NOT NULL DEFAULT 0," if version > 1 else ""))
        old.executescript(OLD_ERAS if version > 1 else "")
        many = [
            (b"/mirrored", b"a\xff.jpg", "published", "R", _old_print(1), IN, OUT, _old_print(2), 0, None, "", 7),
            (b"/in-place", b"b.jpg", "published", "R", _old_print(3), IN, OUT, _old_print(3), 0, None, "", 8),
            (b"/in-place", b"c.jpg", "quarantined", "R", _old_print(4), None, None, None, 4, "damaged", "cut", 9),
        ]
        for row in many:
            old.execute(f"INSERT INTO files ({OLD_COLUMNS}) VALUES ({','.join('?' * len(row))})", row)  # noqa: S608 - ours
        if version > 1:
            old.execute("UPDATE files SET era=1 WHERE root=CAST('/mirrored' AS BLOB)")
        job = ("t", b"/in-place", b"d.jpg", b"/in-place/d.jpg", None, _old_print(5), "R", 1, None, None, "{}")
        old.execute(f"INSERT INTO intents VALUES ({','.join('?' * len(job))})", job)  # noqa: S608 - ours
        old.execute("INSERT INTO outbox (payload) VALUES ('call')")
        old.execute(f"PRAGMA user_version={version}")
        old.commit()


OLD_COLUMNS = (
    "root, path, state, recipe, source, input_digest, output_digest, target, attempts, reason, detail, updated_ns"
)


@pytest.mark.parametrize("version", [1, 2])
def test_a_ledger_of_an_older_version_is_taken_over_with_what_it_knows(tmp_path: Path, version: int) -> None:
    """What it knows of no folder by its mark is no result that a missing photo could take along."""
    path = tmp_path / "ledger"
    _old_ledger(path, version=version)
    for _ in range(2):  # taken over once
        with closing(Ledger(path)) as ledger:
            mirrored, in_place = ledger.entry("/mirrored", "a\udcff.jpg"), ledger.entry("/in-place", "b.jpg")
            assert mirrored is not None
            assert in_place is not None
            assert (mirrored.input_digest, mirrored.output_digest, mirrored.to) == (IN, OUT, "")
            assert mirrored.source == Fingerprint(1, 1, 3, 1_700_000_000 * 10**9 + 4, 2**35 * 10**9 + 5)
            assert mirrored.target is not None
            assert mirrored.target.inode == 2
            assert (in_place.to, in_place.target) == ("/in-place", in_place.source)
            assert ledger.counts("/in-place") == {State.PUBLISHED: 1, State.QUARANTINED: 1}
            assert [(one.path, one.reason, one.detail) for one in ledger.in_state(State.QUARANTINED)] == [
                ("c.jpg", Reason.DAMAGED, "cut")
            ]
            assert ledger.is_own_result(OUT, "R")
            ledger.enter("/mirrored", "mark")
            assert ledger.results("/mirrored", most=10) == (["a\udcff.jpg"] if version > 1 else [])
            assert [intent.path for intent in ledger.intents()] == ["d.jpg"]
            call = ledger.outbox_next()
            assert call is not None
            assert call.payload == "call"


def test_where_an_older_versions_results_went_is_noted_when_they_are_seen(tmp_path: Path) -> None:
    _old_ledger(tmp_path / "ledger", version=2)
    with closing(Ledger(tmp_path / "ledger")) as ledger:
        for root, path in (("/mirrored", "a\udcff.jpg"), ("/in-place", "b.jpg")):
            ledger.note_seen(root, [path, "unknown.jpg"], to="/out", day=20_000)
        found = [ledger.entry("/mirrored", "a\udcff.jpg"), ledger.entry("/in-place", "b.jpg")]
        assert [None if one is None else one.to for one in found] == ["/out", "/in-place"]


def test_an_older_ledger_that_somebody_else_may_have_open_is_left_as_it_is(tmp_path: Path) -> None:
    _old_ledger(tmp_path / "ledger", version=2)
    for options in ({"owned": False}, {"read_only": True}):
        with pytest.raises(FaceblurdError, match="older version") as caught:
            Ledger(tmp_path / "ledger", **options)
        assert "faceblurd scan" in caught.value.remedy
    with closing(sqlite3.connect(tmp_path / "ledger")) as same:
        assert same.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_newer_ledger_ends_the_start_for_good(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger").close()
    with closing(sqlite3.connect(tmp_path / "ledger")) as other:
        other.execute("PRAGMA user_version=99")
    with pytest.raises(LedgerVersionError, match="newer") as caught:
        Ledger(tmp_path / "ledger")
    assert caught.value.exit_code == 78


# --- what is gone for a year


def _known(ledger: Ledger, *, root: str = "/r") -> set[str]:
    return {one.path for state in State for one in ledger.in_state(state) if one.root == root}


def test_what_was_not_seen_for_a_year_goes_and_what_is_there_stays(ledger: Ledger) -> None:
    for name in ("gone.jpg", "there.jpg"):
        ledger.put(replace(ENTRY, path=name))
    today = time.time_ns() // DAY_NS
    ledger.note_seen("/r", ["there.jpg"], to="/out", day=today + 400)
    assert ledger.prune(["/r"], but=["/r"], day=today + 390, after=0, most=100) is None
    assert _known(ledger) == {"gone.jpg", "there.jpg"}
    assert ledger.prune(["/r"], but=["/r"], day=today + 400, after=0, most=100) is None
    assert _known(ledger) == {"there.jpg"}
    assert ledger.counts("/r") == {State.PUBLISHED: 1}


def test_a_root_that_was_not_walked_loses_nothing_and_one_that_left_the_config_does(ledger: Ledger) -> None:
    for root in ("/walked", "/away", "/left"):
        ledger.put(replace(ENTRY, root=root))
    year_later = time.time_ns() // DAY_NS + 400
    ledger.prune(["/walked"], but=["/walked", "/away"], day=year_later, after=0, most=100)
    assert [ledger.counts(root) for root in ("/walked", "/away", "/left")] == [{}, {State.PUBLISHED: 1}, {}]


def test_a_million_rows_are_pruned_in_steps(ledger: Ledger) -> None:
    for number in range(25):
        ledger.put(replace(ENTRY, path=f"{number}"))
    year_later, after, steps = time.time_ns() // DAY_NS + 400, 0, 0
    while after is not None:
        left = ledger.counts("/r").get(State.PUBLISHED, 0)
        after = ledger.prune(["/r"], but=["/r"], day=year_later, after=after, most=10)
        steps += 1
        assert left - ledger.counts("/r").get(State.PUBLISHED, 0) <= 10
    assert (steps, ledger.counts("/r")) == (3, {})


def test_a_wall_clock_that_jumped_back_takes_nothing_along(ledger: Ledger) -> None:
    ledger.put(ENTRY)
    ledger.note_seen("/r", ["a.jpg"], to="/out", day=30_000)
    ledger.note_seen("/r", ["a.jpg"], to="/out", day=20_000)  # where it should have been all the time
    ledger.prune(["/r"], but=["/r"], day=20_001, after=0, most=100)
    assert _known(ledger) == {"a.jpg"}


# --- another program's lock


def test_a_lock_of_another_program_is_told_from_other_errors(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger")) as ledger, closing(sqlite3.connect(tmp_path / "ledger")) as other:
        ledger._db.execute("PRAGMA busy_timeout=0")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            ledger.put(ENTRY)
        assert is_locked(caught.value)
        assert not is_full(caught.value)
        assert not ledger.has_room()
        other.execute("ROLLBACK")
        assert ledger.has_room()
        ledger.put(ENTRY)
