"""The ledger against plain dictionaries, through random histories of writes, failed transactions and restarts."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from faceblurd.ledger.ledger import Ledger
from faceblurd.model import Entry, Fingerprint, Intent, State

if TYPE_CHECKING:
    from faceblurd.ledger.rows import OutboxEntry

ROOTS = st.sampled_from(["/r", "/s", "/r/sub"])
PATHS = st.sampled_from(["a.jpg", "b/ä.jpg", "bad\udcff.jpg", "-"])
RECIPES = st.sampled_from(["R1", "R2"])
DIGESTS = st.sampled_from(["d1", "d2", None])
NUMBERS = st.integers(0, 2**64 - 1)
TIMES = st.integers(-(2**62), 2**70)
PRINTS = st.builds(Fingerprint, NUMBERS, NUMBERS, NUMBERS, TIMES, TIMES)
ENTRIES = st.builds(
    Entry,
    ROOTS,
    PATHS,
    st.sampled_from(State),
    RECIPES,
    PRINTS,
    DIGESTS,
    DIGESTS,
    st.none() | PRINTS,
    st.integers(0, 9),
    to=ROOTS | st.sampled_from(["", "/out"]),
)
TOKENS = st.sampled_from(["t1", "t2", "t3"])
INTENTS = st.builds(
    Intent, TOKENS, ROOTS, PATHS, PATHS, st.none() | PATHS, PRINTS, RECIPES, st.integers(0, 9), DIGESTS, DIGESTS
)


class FailureError(Exception):
    """What ends a transaction in the middle."""


class LedgerMachine(RuleBasedStateMachine):
    """Each rule does the same to the ledger and to the dictionaries."""

    @initialize()
    def make(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.ledger = Ledger(self.folder / "ledger.sqlite3")
        self.dead: list[Ledger] = []
        self.files: dict[tuple[str, str], Entry] = {}
        self.former: set[tuple[str, str, str]] = set()  # results that went elsewhere: digest, recipe, path
        self.intents: dict[str, Intent] = {}
        self.calls: dict[str, int] = {}
        self.number = 0

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            for ledger in (*self.dead, self.ledger):
                ledger.close()
            shutil.rmtree(self.folder)

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.ledger = Ledger(self.folder / "ledger.sqlite3")

    @rule()
    def crash(self) -> None:
        """Go on with a second connection, as after a kill: the first was never closed."""
        self.dead.append(self.ledger)
        self.ledger = Ledger(self.folder / "ledger.sqlite3")

    @rule(entry=ENTRIES, token=TOKENS)
    def crash_in_the_middle(self, entry: Entry, token: str) -> None:
        """Lose a transaction that was not committed when its process ended: the kernel takes its locks away."""
        self.ledger._db.execute("BEGIN IMMEDIATE")
        self.ledger.put(entry)
        self.ledger.end(token)
        self.ledger.close()
        self.ledger = Ledger(self.folder / "ledger.sqlite3")

    @rule(entry=ENTRIES)
    def put(self, entry: Entry) -> None:
        self.ledger.put(entry)
        self._replace(entry)

    def _replace(self, entry: Entry) -> None:
        before = self.files.get((entry.root, entry.path))
        if before is not None and before.to != entry.to:
            self._remember(before)
        self.files[entry.root, entry.path] = entry

    def _remember(self, before: Entry) -> None:
        if before.output_digest is not None:
            recipe = before.recipe if before.state in {State.PUBLISHED, State.CLEAN} else "not known"
            same = {one for one in self.former if (one[0], one[2]) == (before.output_digest, before.path)}
            if same and recipe in {"", "not known"}:  # what was known of it stays so
                return
            self.former = self.former - same | {(before.output_digest, recipe, before.path)}

    @rule(root=ROOTS, path=PATHS)
    def forget(self, root: str, path: str) -> None:
        self.ledger.forget(root, path)
        gone = self.files.pop((root, path), None)
        if gone is not None and gone.to not in {"", gone.root}:
            self._remember(gone)

    @rule(root=ROOTS)
    def look_again(self, root: str) -> None:
        self.ledger.look_again(root)
        for key, entry in self.files.items():
            if key[0] == root and entry.to != root:  # what was made in place stays our own
                self.files[key] = replace(entry, recipe="", target=None)

    @rule(intent=INTENTS)
    def begin(self, intent: Intent) -> None:
        self.ledger.begin(intent)
        self.intents[intent.token] = intent

    @rule(entry=ENTRIES, token=TOKENS)
    def record_an_outcome(self, entry: Entry, token: str) -> None:
        payload = self._payload()
        with self.ledger.transaction():
            self.ledger.put(entry)
            self.ledger.end(token)
            self.ledger.outbox_add(payload)
        self._replace(entry)
        self.intents.pop(token, None)
        self.calls[payload] = 0

    @rule(entry=ENTRIES, token=TOKENS, step=st.integers(0, 2))
    def fail_in_the_middle(self, entry: Entry, token: str, step: int) -> None:
        steps = (
            lambda: self.ledger.put(entry),
            lambda: self.ledger.end(token),
            lambda: self.ledger.outbox_add("never"),
        )
        with contextlib.suppress(FailureError), self.ledger.transaction():
            for one in steps[: step + 1]:
                one()
            raise FailureError

    @rule(fails=st.booleans())
    def call(self, *, fails: bool) -> None:
        due = self.ledger.outbox_next()
        assert self._payload_of(due) == min(self.calls, key=lambda one: (self.calls[one], int(one)), default=None)
        if due is None:
            return
        if fails:
            self.ledger.outbox_postpone(due.id)
            self.calls[due.payload] += 1
        else:
            self.ledger.outbox_done(due.id)
            del self.calls[due.payload]

    @staticmethod
    def _payload_of(due: OutboxEntry | None) -> str | None:
        return None if due is None else due.payload

    def _payload(self) -> str:
        self.number += 1
        return str(self.number)

    def _is_ours(self, digest: str, recipe: str) -> bool:
        known = [one for one in self.files.values() if one.recipe == recipe]
        done = [one for one in known if one.state in {State.PUBLISHED, State.CLEAN} or one.to == one.root]
        faces = any(one.input_digest == digest and one.state is State.PUBLISHED for one in known)
        was_made = any(one[:2] == (digest, recipe) for one in self.former)
        return (was_made or any(one.output_digest == digest for one in done)) and not faces

    @invariant()
    def it_knows_what_the_dictionaries_know(self) -> None:
        if not hasattr(self, "ledger"):
            return
        for root in ("/r", "/s", "/r/sub"):
            mine = [entry for entry in self.files.values() if entry.root == root]
            assert sum(self.ledger.counts(root).values()) == len(mine)
            for entry in mine:
                found = self.ledger.entry(root, entry.path)
                assert found is not None
                assert replace(found, updated_ns=0) == entry
            for digest in ("d1", "d2"):
                for recipe in ("R1", "R2"):
                    assert self.ledger.is_own_result(digest, recipe) == self._is_ours(digest, recipe)
        assert {intent.token: intent for intent in self.ledger.intents()} == self.intents


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


WRITER = """
import sys
from pathlib import Path
from faceblurd.model import Entry, Fingerprint, Intent, State
from faceblurd.ledger.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 10**9):
    print_ = Fingerprint(1, number, 3, 4, 5)
    ledger.begin(Intent(f"t{number}", "/r", f"{number}", "/r/a", None, print_, "R", 1))
    with ledger.transaction():
        ledger.put(Entry("/r", f"{number}", State.PUBLISHED, "R", print_))
        ledger.end(f"t{number}")
        ledger.outbox_add(f"{number}")
    print(number, flush=True)
"""


def test_a_writer_that_is_killed_at_random_moments_loses_nothing_it_said_and_leaves_nothing_half_done(
    tmp_path: Path,
) -> None:
    path, rng, number = tmp_path / "ledger.sqlite3", random.Random(5), 0
    for _ in range(12):
        said = _killed_after(path, number, rng.uniform(0, 0.05))
        ledger = Ledger(path)
        published = {int(entry.path) for entry in ledger.in_state(State.PUBLISHED)}
        calls = ledger._db.execute("SELECT COUNT(*) FROM outbox").fetchone()[0]
        begun = {int(intent.path) for intent in ledger.intents()}
        for intent in ledger.intents():
            ledger.end(intent.token)
        ledger.close()
        assert set(range(number, said + 1)) <= published
        assert published <= set(range(said + 2))  # one may be committed and not yet said
        assert calls == len(published)  # the outcome and its call stand or fall together
        assert begun <= {max(published) + 1}
        number = max(published) + 1


def _killed_after(path: Path, first: int, seconds: float) -> int:
    """Run the writer, and kill it some time after its first commit; give the last number that it said."""
    command = [sys.executable, "-c", WRITER, str(path), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline()]
        time.sleep(seconds)  # the moment of the kill is what is random here
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.readlines()
    whole = [line for line in said if line.endswith("\n")]
    return int(whole[-1])
