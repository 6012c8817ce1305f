"""A file that changes while a worker has it: whatever the worker says of the old bytes, the new ones are looked at.

The pool is a stand-in that answers when and what the test wants; everything else is real.
"""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from desk import Desk, run
from stand_in_pool import at_rest

from faceblurd.model import (
    Abandoned,
    Entry,
    Fingerprint,
    Hashed,
    Reason,
    Refused,
    State,
    Untouched,
)
from faceblurd.workers.worker import Lost

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    At = Callable[[Callable[[Desk], Coroutine[Any, Any, None]]], None]

NEW = b"a newer upload, with a face"


@pytest.fixture
def at(tmp_path: Path) -> At:
    """Run a test's coroutine with a desk."""
    return lambda story: run(story, tmp_path) and None


ANSWERS: list[Callable[[int], Any]] = [
    lambda job: Untouched(job, 1),
    Abandoned,
    lambda job: Refused(job, Reason.DAMAGED, "cut", retryable=False, milliseconds=1),
    lambda job: Refused(job, Reason.CHANGED_MEANWHILE, "", retryable=True, milliseconds=1),
    lambda job: Lost(job, Reason.WORKER_CRASHED, "signal 11"),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=["untouched", "skipped", "refused", "changed", "lost"])
def test_a_newer_upload_during_the_work_is_worked_on_whatever_became_of_the_old_bytes(
    at: At, answer: Callable[[int], Any]
) -> None:
    async def story(desk: Desk) -> None:
        job = await desk.take_in_hand()
        desk.photo.write_bytes(NEW)
        await desk.root.hinted(["photo.jpg"])  # its only event comes now
        await desk.answer(Hashed(job.id, "digest of the old"), answer(job.id))
        assert desk.reports == []
        entry = desk.ledger.entry(desk.plan.path, "photo.jpg")
        assert entry is None or entry.state not in {State.CLEAN, State.PUBLISHED, State.QUARANTINED}
        while len(desk.pool.jobs) == 1:
            await asyncio.sleep(0.1)
        assert desk.pool.jobs[1].fingerprint.size == len(NEW)
        assert desk.photo.read_bytes() == NEW

    at(story)


def test_a_file_that_did_not_change_has_its_outcome(at: At) -> None:
    async def story(desk: Desk) -> None:
        job = await desk.take_in_hand()
        await desk.answer(Hashed(job.id, "digest"), Untouched(job.id, 1))
        assert [report.outcome.value for report in desk.reports] == ["clean"]
        assert desk.ledger.intents() == []
        assert not desk.root.is_busy

    at(story)


@pytest.mark.parametrize("answer", ANSWERS, ids=["untouched", "skipped", "refused", "changed", "lost"])
def test_a_newer_upload_after_the_last_comparison_is_worked_on_although_the_photo_is_still_on_its_way(
    at: At, answer: Callable[[int], Any]
) -> None:
    async def story(desk: Desk) -> None:
        job = await desk.take_in_hand()
        live_on, uploaded = desk.root.aftermath.of, asyncio.Event()

        async def upload(*_: Any) -> None:
            if not uploaded.is_set():
                uploaded.set()
                desk.photo.write_bytes(NEW)
                await desk.root.hinted(["photo.jpg"])  # its only event comes now

        async def ended(entry: Entry) -> None:
            await upload()
            await live_on(entry)

        desk.root.aftermath.of = ended  # type: ignore[method-assign]
        await desk.answer(Hashed(job.id, "digest of the old"), answer(job.id))
        await upload()  # where it is tried again
        while len(desk.pool.jobs) == 1:
            await asyncio.sleep(0.1)
        assert desk.pool.jobs[1].fingerprint.size == len(NEW)
        await desk.answer(Hashed(job.id + 1, "digest"), Untouched(job.id + 1, 1))
        await at_rest(desk.root)
        assert len(desk.pool.jobs) == 2

    at(story)


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
    at: At, answer: Callable[[int], Any]
) -> None:
    async def story(desk: Desk) -> None:
        job = await desk.take_in_hand()
        assert len(list(desk.photo.parent.glob(".faceblurd-*"))) == 1
        await desk.answer(Hashed(job.id, "digest"), answer(job.id))
        assert list(desk.photo.parent.glob(".faceblurd-*")) == []
        assert desk.ledger.intents() == []

    at(story)


@pytest.mark.usefixtures("named")
def test_a_recovery_leaves_alone_what_is_in_hand(at: At) -> None:
    """Its root may come back, or another file's disk fail, while a worker writes."""

    async def story(desk: Desk) -> None:
        job = await desk.take_in_hand()
        await desk.root.recovery.run()
        assert len(list(desk.photo.parent.glob(".faceblurd-*"))) == 1
        assert len(desk.ledger.intents()) == 1
        assert "file.recovered" not in desk.told
        await desk.answer(Hashed(job.id, "digest"), Untouched(job.id, 1))
        assert [report.outcome.value for report in desk.reports] == ["clean"]

    at(story)


def test_a_file_that_vanished_during_the_work_is_forgotten(at: At) -> None:
    async def story(desk: Desk) -> None:
        job = await desk.take_in_hand()
        desk.photo.unlink()
        await desk.answer(Hashed(job.id, "digest"), Untouched(job.id, 1))
        await at_rest(desk.root)
        assert desk.reports == []
        assert desk.ledger.intents() == []

    at(story)


def test_a_failed_try_does_not_make_an_older_recipes_result_our_own(at: At) -> None:
    """Else the next try would skip it, and it would never be blurred by the new recipe."""

    async def story(desk: Desk) -> None:
        job = await desk.take_in_hand()
        await desk.answer(Hashed(job.id, "digest"), Untouched(job.id, 1))
        done = desk.ledger.entry(desk.plan.path, "photo.jpg")
        assert done is not None
        desk.ledger.put(replace(done, state=State.PUBLISHED, recipe="the old recipe", output_digest="digest"))
        job = await desk.take_in_hand()
        await desk.answer(Hashed(job.id, "digest"), Lost(job.id, Reason.WORKER_CRASHED, "signal 9"))
        assert desk.told == ["file.retried"]
        assert not desk.ledger.is_own_result("digest", desk.plan.recipe.digest)

    at(story)


def test_nothing_is_started_below_a_root_that_went_away_while_the_file_was_queued(at: At) -> None:
    async def story(desk: Desk) -> None:
        desk.pool.idle = 0
        await desk.root.hinted(["photo.jpg"])
        while desk.root.services.turns.waiting == 0:
            await asyncio.sleep(0.1)
        desk.root.cancel(in_hand=False)  # as a root does that is suspended
        desk.pool.idle = 1
        desk.pool.changed()
        await at_rest(desk.root)
        assert desk.pool.jobs == []

    at(story)


@pytest.mark.parametrize(("attempts", "held"), [(3, False), (4, True)])
def test_a_file_that_ended_the_daemon_at_every_try_is_held(at: At, attempts: int, held: bool) -> None:
    async def story(desk: Desk) -> None:
        source = Fingerprint.from_stat(desk.photo.lstat())
        entry = Entry(
            desk.plan.path, "photo.jpg", State.RETRY, desk.plan.recipe.digest, source, attempts=attempts,
            reason=Reason.INTERRUPTED, to=desk.plan.to,
        )  # fmt: skip
        desk.ledger.put(entry)
        await desk.root.hinted(["photo.jpg"])
        while not desk.reports and not desk.pool.jobs:
            await asyncio.sleep(0.1)
        assert [report.reason for report in desk.reports] == ([Reason.INTERRUPTED] if held else [])

    at(story)
