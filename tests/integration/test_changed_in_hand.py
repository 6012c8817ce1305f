"""A file that changes while a worker has it: whatever the worker says of the old bytes, the new ones are looked at.

The pool is a stand-in that answers when and what the test wants; everything else is real.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from faceblurd.intake.errands import AtOnce
from faceblurd.intake.inbox import Inbox
from faceblurd.intake.scanner import Selection
from faceblurd.model import (
    Abandoned,
    BlurSpec,
    DetectionSpec,
    Entry,
    Fingerprint,
    Hashed,
    Job,
    Mode,
    Reason,
    Recipe,
    Refused,
    Report,
    Sighting,
    Source,
    State,
    Untouched,
)
from faceblurd.outlet.ledger import Ledger
from faceblurd.outlet.quarantine import Quarantine
from faceblurd.pipeline import Parts, Patience, Pipeline, RootPlan
from faceblurd.plugins.host import PluginHost
from faceblurd.workers.pool import Lost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OLD, NEW = b"the bytes that the worker read", b"a newer upload, with a face"


class Pool:
    """Takes one job at a time, and gives back what the test puts in."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.answers: list[Any] = []
        self.busy = self.restarts = 0

    idle = 1

    def warm(self, wanted: int) -> None: ...

    def submit(self, job: Job, *, source_fd: int, staging_fd: int) -> bool:
        self.jobs.append(job)
        self.idle = 0
        return True

    def answer(self, job: int, *, proceed: bool) -> None: ...

    def waitables(self) -> list[Any]:
        return []

    def collect(self, ready: object) -> list[Any]:
        answers, self.answers = self.answers, []
        self.idle = 1 if any(not isinstance(answer, Hashed) for answer in answers) else self.idle
        return answers

    def expire(self) -> list[Any]:
        return []

    def next_due(self) -> None:
        return None

    def close(self) -> None: ...


class Desk:
    def __init__(self, folder: Path) -> None:
        (folder / "root").mkdir()
        self.photo = folder / "root" / "photo.jpg"
        self.photo.write_bytes(OLD)
        self.ledger, self.pool, self.reports, self.told = Ledger(None), Pool(), list[Report](), list[str]()
        self.plan = RootPlan(
            str(folder / "root"), Mode.IN_PLACE, str(folder / "root"),
            Recipe("test", DetectionSpec((), None), BlurSpec()), Selection(("*.jpg",), ()), quiet_seconds=0.0,
            settle_max_seconds=60.0, hard_links_ok=False, keep_mtime=False, replace_others=False, take_away_held=True,
        )  # fmt: skip
        parts = Parts(
            Inbox(), AtOnce(), self.ledger, self.pool, Quarantine(self.ledger, folder / "quarantine"),  # type: ignore[arg-type]  # a stand-in
            PluginHost.load((), on_error=lambda *_: None), None, time.monotonic, self.reports.append,
            lambda event, **_: self.told.append(event),
        )  # fmt: skip
        self.pipeline = Pipeline(parts, [self.plan], Patience(4, 0.1, 1 << 20))

    def take_in_hand(self) -> Job:
        """Let the pipeline hand the photo to the pool."""
        self.pipeline.sight(Sighting(self.plan.path, "photo.jpg", Source.EVENT))
        before = len(self.pool.jobs)
        deadline = time.monotonic() + 300
        while len(self.pool.jobs) == before:
            assert time.monotonic() < deadline
            self.pipeline.step(0.05)
        return self.pool.jobs[-1]

    def answer(self, *answers: Any) -> None:
        self.pool.answers += answers
        self.pipeline.step(0)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    one = Desk(tmp_path)
    with closing(one.ledger):
        yield one
        one.pipeline.abandon()


ANSWERS: list[Callable[[int], Any]] = [
    lambda job: Untouched(job, 1),
    Abandoned,
    lambda job: Refused(job, Reason.DAMAGED, "cut", retryable=False, milliseconds=1),
    lambda job: Refused(job, Reason.CHANGED_MEANWHILE, "", retryable=True, milliseconds=1),
    lambda job: Lost(job, Reason.WORKER_CRASHED, "signal 11"),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=["untouched", "skipped", "refused", "changed", "lost"])
def test_a_newer_upload_during_the_work_is_worked_on_whatever_became_of_the_old_bytes(
    desk: Desk, answer: Callable[[int], Any]
) -> None:
    job = desk.take_in_hand()
    desk.photo.write_bytes(NEW)
    desk.pipeline.sight(Sighting(desk.plan.path, "photo.jpg", Source.EVENT))  # its only event comes now
    desk.answer(Hashed(job.id, "digest of the old"), answer(job.id))
    assert desk.reports == []
    entry = desk.ledger.entry(desk.plan.path, "photo.jpg")
    assert entry is None or entry.state not in {State.CLEAN, State.PUBLISHED, State.QUARANTINED}
    deadline = time.monotonic() + 300
    while len(desk.pool.jobs) == 1:
        assert time.monotonic() < deadline
        desk.pipeline.step(0.05)
    assert desk.pool.jobs[1].fingerprint.size == len(NEW)
    assert desk.photo.read_bytes() == NEW


def test_a_file_that_did_not_change_has_its_outcome(desk: Desk) -> None:
    job = desk.take_in_hand()
    desk.answer(Hashed(job.id, "digest"), Untouched(job.id, 1))
    assert [report.outcome.value for report in desk.reports] == ["clean"]
    assert desk.ledger.intents() == []
    assert len(desk.pipeline.waiting) == 0


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer as the kernel does on a file system that has no O_TMPFILE: staging files have names."""
    real_open = os.open

    def without_tmpfile(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)
        return real_open(path, flags, *arguments, **named)

    monkeypatch.setattr(os, "open", without_tmpfile)


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("answer", ANSWERS, ids=["untouched", "skipped", "refused", "changed", "lost"])
def test_a_staging_file_with_a_name_is_gone_and_forgotten_whatever_became_of_the_job(
    desk: Desk, answer: Callable[[int], Any]
) -> None:
    job = desk.take_in_hand()
    assert len(list(desk.photo.parent.glob(".faceblurd-*"))) == 1
    desk.answer(Hashed(job.id, "digest"), answer(job.id))
    assert list(desk.photo.parent.glob(".faceblurd-*")) == []
    assert desk.ledger.intents() == []


@pytest.mark.usefixtures("named")
def test_a_recovery_leaves_alone_what_is_in_hand(desk: Desk) -> None:
    """Its root may come back, or another file's disk fail, while a worker writes."""
    job = desk.take_in_hand()
    desk.pipeline.recover(desk.plan.path)
    assert len(list(desk.photo.parent.glob(".faceblurd-*"))) == 1
    assert len(desk.ledger.intents()) == 1
    assert "file.recovered" not in desk.told
    desk.answer(Hashed(job.id, "digest"), Untouched(job.id, 1))
    assert [report.outcome.value for report in desk.reports] == ["clean"]


def test_a_file_that_vanished_during_the_work_is_forgotten(desk: Desk) -> None:
    job = desk.take_in_hand()
    desk.photo.unlink()
    desk.answer(Hashed(job.id, "digest"), Untouched(job.id, 1))
    deadline = time.monotonic() + 300
    while len(desk.pipeline.waiting):
        assert time.monotonic() < deadline
        desk.pipeline.step(0.05)
    assert desk.reports == []
    assert desk.ledger.intents() == []


def test_a_failed_try_does_not_make_an_older_recipes_result_our_own(desk: Desk) -> None:
    """Else the next try would skip it, and it would never be blurred by the new recipe."""
    job = desk.take_in_hand()
    desk.answer(Hashed(job.id, "digest"), Untouched(job.id, 1))
    done = desk.ledger.entry(desk.plan.path, "photo.jpg")
    assert done is not None
    desk.ledger.put(replace(done, state=State.PUBLISHED, recipe="the old recipe", output_digest="digest"))
    job = desk.take_in_hand()
    desk.answer(Hashed(job.id, "digest"), Lost(job.id, Reason.WORKER_CRASHED, "signal 9"))
    assert desk.told == ["file.retried"]
    assert not desk.ledger.is_own_result("digest", desk.plan.recipe.digest)


def test_nothing_is_started_below_a_root_that_went_away_while_the_file_was_queued(desk: Desk) -> None:
    class Away:
        available, scanning, stalled, to_device = True, False, False, None
        path = desk.plan.path

        def tick(self, now: float) -> None:
            self.available = now < 0 or desk.pipeline.waiting.queued == 0

        def next_due(self) -> float:
            return float("inf")

    desk.pool.idle = 0
    desk.pipeline.roots[desk.plan.path] = Away()  # type: ignore[assignment]  # a stand-in
    desk.pipeline.sight(Sighting(desk.plan.path, "photo.jpg", Source.EVENT))
    desk.pipeline.step(0)
    assert desk.pipeline.waiting.queued == 1
    desk.pool.idle = 1
    desk.pipeline.step(0)
    assert desk.pool.jobs == []
    assert len(desk.pipeline.waiting) == 0


@pytest.mark.parametrize(("attempts", "held"), [(3, False), (4, True)])
def test_a_file_that_ended_the_daemon_at_every_try_is_held(desk: Desk, attempts: int, held: bool) -> None:
    source = Fingerprint.from_stat(desk.photo.lstat())
    entry = Entry(
        desk.plan.path, "photo.jpg", State.RETRY, desk.plan.recipe.digest, source, attempts=attempts,
        reason=Reason.INTERRUPTED, to=desk.plan.to,
    )  # fmt: skip
    desk.ledger.put(entry)
    desk.pipeline.sight(Sighting(desk.plan.path, "photo.jpg", Source.EVENT))
    deadline = time.monotonic() + 300
    while not desk.reports and not desk.pool.jobs:
        assert time.monotonic() < deadline
        desk.pipeline.step(0.05)
    assert [report.reason for report in desk.reports] == ([Reason.INTERRUPTED] if held else [])
