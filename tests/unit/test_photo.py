"""The life of a photo, to the second: a virtual clock, a stand-in worker, everything else real."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import random
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from desk import OLD, Desk, run
from stand_in_pool import at_rest

from faceblurd.engine import intake, outcomes
from faceblurd.engine.model import RetryPolicy
from faceblurd.engine.photo import STILL_OPEN_SECONDS
from faceblurd.engine.thread import RootThread
from faceblurd.model import Entry, Fingerprint, Hashed, Job, Mode, Reason, Refused, Region, Staged, State, Untouched
from faceblurd.publish import contents
from faceblurd.rules import decide
from faceblurd.workers.job import write_whole
from faceblurd.workers.worker import Lost

if TYPE_CHECKING:
    from pathlib import Path

NEW = b"other bytes, and more of them than before"
RESULT = b"a result that hides the face"


def clean(question: Any) -> Any:
    """Answer as a worker that finds no face."""
    return Hashed(question.id, "digest") if isinstance(question, Job) else Untouched(0, 1)


@pytest.fixture(autouse=True)
def nobody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the kernel say so at once: under load it may take a moment after a close, and cost a second of the clock."""
    monkeypatch.setattr(contents, "open_for_writing", lambda _fd: False)


# --- settling


def test_a_photo_is_taken_after_its_quiet_time_exactly(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        began = desk.now
        await desk.root.hinted(["photo.jpg"])
        await desk.next_job(0)
        assert 2.0 <= desk.now - began < 2.02
        await desk.answer(Hashed(desk.pool.jobs[0].id, "digest"), Untouched(desk.pool.jobs[0].id, 1))
        assert [report.outcome.value for report in desk.reports] == ["clean"]

    run(story, tmp_path, quiet_seconds=2.0)


@pytest.mark.parametrize("hinted", [True, False])
def test_a_photo_that_changes_is_quiet_from_then_on(tmp_path: Path, hinted: bool) -> None:
    """With a hint, its quiet time starts at the change; without one, when it is looked at."""

    async def story(desk: Desk) -> None:
        began = desk.now
        await desk.root.hinted(["photo.jpg"])
        await asyncio.sleep(1.5)
        desk.photo.write_bytes(NEW)
        if hinted:
            await desk.root.hinted(["photo.jpg"])
        await desk.next_job(0)
        wanted = 3.5 if hinted else 4.0
        assert wanted <= desk.now - began < wanted + 0.02
        assert desk.pool.jobs[0].fingerprint.size == len(NEW)

    run(story, tmp_path, quiet_seconds=2.0)


def test_a_hint_that_brings_nothing_new_does_not_prolong_the_quiet_time(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        began = desk.now
        for _ in range(15):
            await desk.root.hinted(["photo.jpg"])
            await asyncio.sleep(0.1)
        await desk.next_job(0)
        assert 2.0 <= desk.now - began < 2.02

    run(story, tmp_path, quiet_seconds=2.0)


def test_a_photo_that_goes_while_it_settles_leaves_nothing(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.root.hinted(["photo.jpg"])
        desk.photo.unlink()
        await at_rest(desk.root)
        assert (desk.pool.jobs, desk.reports, desk.told, desk.ledger.intents()) == ([], [], [], [])

    run(story, tmp_path, quiet_seconds=2.0)


@pytest.mark.parametrize(("quiet", "between"), [(0.0, STILL_OPEN_SECONDS), (5.0, 5.0)])
def test_a_photo_that_is_still_open_is_looked_at_again_and_held_in_the_end(
    tmp_path: Path, quiet: float, between: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    def still_open(_fd: int) -> bool:
        looks.append(asyncio.get_running_loop().time())
        return True

    async def story(desk: Desk) -> None:
        monkeypatch.setattr(contents, "open_for_writing", still_open)
        await desk.root.hinted(["photo.jpg"])
        await at_rest(desk.root)
        assert [report.reason for report in desk.reports] == [Reason.BEING_WRITTEN]
        assert {round(later - one, 3) for one, later in itertools.pairwise(looks)} == {between}
        assert looks[-1] - looks[0] >= 12.0 > looks[-2] - looks[0]

    run(story, tmp_path, quiet_seconds=quiet, settle_max_seconds=12.0, take_away_held=False)


# --- trying again


def test_attempts_are_further_and_further_apart_and_then_the_photo_is_held(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        times: list[float] = []
        await desk.root.hinted(["photo.jpg"])
        for number in range(4):
            job = await desk.next_job(number)
            times.append(desk.now)
            await desk.answer(Lost(job.id, Reason.WORKER_CRASHED, "signal 9"))
        await at_rest(desk.root)
        assert [round(later - one) for one, later in itertools.pairwise(times)] == [10, 20, 40]
        assert [report.reason for report in desk.reports] == [Reason.WORKER_CRASHED]
        assert desk.told == ["file.retried"] * 3

    # The file has been quiet all the time: that is not waited for again.
    run(story, tmp_path, policy=RetryPolicy(4, 10.0, 1 << 20), take_away_held=False, quiet_seconds=3.0)


def test_an_earlier_runs_attempts_do_not_count_for_bytes_that_come_while_it_settles(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        source = Fingerprint.from_stat(desk.photo.lstat())
        entry = Entry(
            desk.plan.path, "photo.jpg", State.RETRY, desk.plan.recipe.digest, source, attempts=3,
            reason=Reason.WORKER_CRASHED, to=desk.plan.to,
        )  # fmt: skip
        desk.ledger.put(entry)
        await desk.root.hinted(["photo.jpg"])
        await asyncio.sleep(1)
        desk.photo.write_bytes(NEW)
        await desk.root.hinted(["photo.jpg"])
        job = await desk.next_job(0)
        await desk.answer(Lost(job.id, Reason.WORKER_CRASHED, "signal 9"))
        assert desk.details[-1]["attempts"] == 1

    run(story, tmp_path, policy=RetryPolicy(4, 10.0, 1 << 20))


def test_an_earlier_runs_attempts_are_followed_by_as_long_a_pause(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        source = Fingerprint.from_stat(desk.photo.lstat())
        entry = Entry(
            desk.plan.path, "photo.jpg", State.RETRY, desk.plan.recipe.digest, source, attempts=3,
            reason=Reason.WORKER_CRASHED, to=desk.plan.to,
        )  # fmt: skip
        desk.ledger.put(entry)
        began = desk.now
        await desk.root.hinted(["photo.jpg"])
        await desk.next_job(0)
        assert 40.0 <= desk.now - began < 40.02

    run(story, tmp_path, policy=RetryPolicy(4, 10.0, 1 << 20))


def test_a_photo_that_waits_for_a_try_takes_no_room_and_ignores_hints_that_bring_nothing_new(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        job = await desk.take_in_hand()
        await desk.answer(Lost(job.id, Reason.WORKER_CRASHED, "signal 9"))
        assert (len(desk.root.photos), len(desk.root.retries)) == (0, 1)
        await desk.root.hinted(["photo.jpg"])
        await asyncio.sleep(9.9)
        assert len(desk.pool.jobs) == 1
        await desk.next_job(1)

    run(story, tmp_path, policy=RetryPolicy(4, 10.0, 1 << 20))


def test_other_bytes_do_not_wait_for_the_old_ones_next_try(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        job = await desk.take_in_hand()
        await desk.answer(Lost(job.id, Reason.WORKER_CRASHED, "signal 9"))
        began = desk.now
        desk.photo.write_bytes(NEW)
        await desk.root.hinted(["photo.jpg"])
        again = await desk.next_job(1)
        assert desk.now - began < 0.1
        await desk.answer(Lost(again.id, Reason.WORKER_CRASHED, "signal 9"))
        assert desk.details[-1]["attempts"] == 1  # of these bytes
        assert len(desk.root.retries) == 1

    run(story, tmp_path, policy=RetryPolicy(4, 10.0, 1 << 20))


def test_a_persons_retry_does_not_wait_for_the_next_try(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        job = await desk.take_in_hand()
        await desk.answer(Lost(job.id, Reason.WORKER_CRASHED, "signal 9"))
        held = desk.root.services.quarantine.retried()
        desk.root.services.quarantine.try_again(held[0])
        began = desk.now
        await desk.root.hinted(["photo.jpg"])
        await desk.next_job(1)
        assert desk.now - began < 0.1

    run(story, tmp_path, policy=RetryPolicy(4, 10.0, 1 << 20))


def test_a_full_disk_costs_no_attempt_and_is_tried_for_as_long_as_it_takes(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        times: list[float] = []
        await desk.root.hinted(["photo.jpg"])
        for number in range(8):
            job = await desk.next_job(number)
            times.append(desk.now)
            refused = Refused(job.id, Reason.NO_SPACE, "no space left", retryable=True, milliseconds=1)
            await desk.answer(Hashed(job.id, "digest"), refused)
        assert {round(later - one) for one, later in itertools.pairwise(times)} == {decide.DISK_SECONDS}
        assert {fields["attempts"] for fields in desk.details} == {0}

    run(story, tmp_path)


def test_a_photo_whose_next_try_is_due_when_other_bytes_come_is_begun_once(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        job = await desk.take_in_hand()
        await desk.answer(Lost(job.id, Reason.WORKER_CRASHED, "signal 9"))
        desk.photo.write_bytes(NEW)
        desk.root.retries._waiting["photo.jpg"].timer.cancel()
        desk.root.retries._is_due("photo.jpg")  # its time has come
        await desk.root.consider("photo.jpg", Fingerprint.from_stat(desk.photo.lstat()), fresh=True)  # and so has this
        await desk.next_job(1)
        await desk.answer(Hashed(desk.pool.jobs[1].id, "digest"), Untouched(desk.pool.jobs[1].id, 1))
        await at_rest(desk.root)
        assert desk.failures == []
        assert len(desk.pool.jobs) == 2

    run(story, tmp_path, policy=RetryPolicy(4, 10.0, 1 << 20))


def test_a_photo_that_waits_for_its_next_try_waits_no_longer_when_other_bytes_come(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        job = await desk.take_in_hand()
        await desk.answer(Lost(job.id, Reason.WORKER_CRASHED, "signal 9"))
        assert len(desk.root.retries) == 1
        desk.photo.write_bytes(NEW)
        await desk.root.hinted(["photo.jpg"])
        assert len(desk.root.retries) == 0

    run(story, tmp_path, policy=RetryPolicy(4, 10.0, 1 << 20))


def test_a_held_photo_that_a_person_has_just_released_is_not_moved_away(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        source = Fingerprint.from_stat(desk.photo.lstat())
        held = Entry(
            desk.plan.path, "photo.jpg", State.QUARANTINED, desk.plan.recipe.digest, source, reason=Reason.DAMAGED,
            to=desk.plan.to,
        )  # fmt: skip
        for state, stays in ((State.RELEASED, True), (State.QUARANTINED, False)):
            desk.ledger.put(held)
            await desk.root.consider("photo.jpg", source, fresh=True)  # it is still where others see it
            desk.ledger.put(replace(held, state=state))
            await at_rest(desk.root)
            assert desk.photo.exists() is stays

    run(story, tmp_path)


# --- room


def test_a_fresh_photo_does_not_wait_behind_a_backfill_that_fills_its_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MAX_BACKFILL", 5)

    async def story(desk: Desk) -> None:
        desk.pool.idle = 0
        for number in range(20):
            (desk.photo.parent / f"old{number:02}.jpg").write_bytes(OLD)
        names = sorted(path.name for path in desk.photo.parent.glob("old*"))
        scan = asyncio.ensure_future(desk.root.hinted(names, fresh=False))
        await asyncio.sleep(1)
        assert (scan.done(), len(desk.root.photos)) == (False, 5)
        await desk.root.hinted(["photo.jpg"])
        await asyncio.sleep(1)
        assert len(desk.root.photos) == 6
        desk.pool.idle = 1
        desk.pool.changed()
        await scan
        await at_rest(desk.root)
        assert desk.pool.jobs[0].name.endswith("photo.jpg")  # fresh before backfill
        assert [os.path.basename(job.name) for job in desk.pool.jobs[1:]] == names

    run(story, tmp_path, answer=clean)


# --- trouble


def test_a_bug_costs_its_own_photo_which_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = outcomes.done

    def done(photo: Any, *arguments: Any, **named: Any) -> Any:
        if photo.path == "photo.jpg":
            raise RuntimeError("a bug")
        return real(photo, *arguments, **named)

    async def story(desk: Desk) -> None:
        monkeypatch.setattr(outcomes, "done", done)
        (desk.photo.parent / "other.jpg").write_bytes(NEW)
        await desk.root.hinted(["photo.jpg", "other.jpg"])
        await at_rest(desk.root)
        told = {os.path.basename(report.path): report.reason for report in desk.reports}
        assert told == {"photo.jpg": Reason.INTERNAL_ERROR, "other.jpg": None}
        assert desk.failures == []
        assert desk.ledger.intents() == []

    run(story, tmp_path, answer=clean, take_away_held=False)


def test_a_bug_beside_the_photos_is_told_and_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(desk: Desk) -> None:
        def look_at(*_: Any) -> None:
            raise KeyError("a bug")

        with monkeypatch.context() as broken:
            broken.setattr(intake, "_look_at", look_at)
            desk.root.point_at(["photo.jpg"])
            await at_rest(desk.root)
        assert (desk.failures, desk.told) == ([], ["root.trouble"])
        await desk.root.hinted(["photo.jpg"])
        await at_rest(desk.root)
        assert [report.outcome.value for report in desk.reports] == ["clean"]

    run(story, tmp_path, answer=clean)


def test_a_ledger_that_cannot_be_written_is_nobodys_fault_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(desk: Desk) -> None:
        def full(*_: Any) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        job = await desk.take_in_hand()
        monkeypatch.setattr(desk.ledger, "put", full)
        await desk.answer(Hashed(job.id, "digest"), Untouched(job.id, 1))
        assert [str(error) for error in desk.failures] == ["database or disk is full"]
        assert desk.reports == []
        assert desk.photo.read_bytes() == OLD

    run(story, tmp_path)


# --- cancelling


class _Working:
    """A worker that redacts at once."""

    def __init__(self) -> None:
        self.desk: Desk | None = None

    def __call__(self, question: Any) -> Any:
        assert self.desk is not None
        pool = self.desk.pool
        source_fd, staging_fd = pool.descriptors[-1]
        if isinstance(question, Job):
            return Hashed(question.id, contents.digest_of(source_fd))
        digest = write_whole(staging_fd, RESULT, mtime_ns=None)
        region = Region(1, 1, 2, 2, 1.0, "x")
        return Staged(pool.jobs[-1].id, (region,), digest, len(RESULT), lossless=True, note="", milliseconds=1)


@pytest.mark.parametrize("times", [100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", [Mode.IN_PLACE, Mode.MIRROR])
def test_cancelling_at_any_point_leaves_nothing_behind(tmp_path: Path, mode: Mode, times: int) -> None:
    """Each photo is cancelled after some steps of the loop; the thread is real, so points differ."""
    chance, working = random.Random(7), _Working()
    ends: set[str] = set()

    async def story(desk: Desk) -> None:
        working.desk = desk
        await _warm_up(desk)
        before = _descriptors()
        for number in range(times):
            content = f"photo {number}".encode()
            desk.photo.write_bytes(content)
            await desk.root.hinted(["photo.jpg"])
            for _ in range(chance.randrange(25)):  # so many calls of its thread are waited for
                await desk.root.run(lambda: None)
            for _ in range(chance.randrange(30)):  # and so many steps of the loop are made
                await asyncio.sleep(0)
            desk.root.cancel(in_hand=True)
            while tasks := desk.root.tasks():
                await asyncio.wait(tasks)
            await desk.root.run(lambda: None)  # what was left to the thread has been done
            assert desk.ledger.intents() == []
            assert list(tmp_path.rglob(".faceblurd-*")) == []
            assert _descriptors() == before
            ends.add(_end(desk, content))
        assert ends == {"nothing", "published"}

    run(story, tmp_path, mode=mode, thread=lambda: RootThread("files"), answer=working)


async def _warm_up(desk: Desk) -> None:
    await desk.root.hinted(["photo.jpg"])
    await at_rest(desk.root)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _end(desk: Desk, content: bytes) -> str:
    """Say how far a photo came: its result is there and recorded, or nothing is."""
    entry = desk.ledger.entry(desk.plan.path, "photo.jpg")
    target = desk.photo if desk.plan.in_place else desk.folder / "mirror" / "photo.jpg"
    is_recorded = entry is not None and entry.state is State.PUBLISHED and entry.input_digest == _digest(content)
    there = target.read_bytes()
    if is_recorded:
        assert there == RESULT
        return "published"
    assert there == (content if desk.plan.in_place else RESULT)
    return "nothing"


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=32).hexdigest()


def test_a_newer_upload_right_after_the_exchange_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its only event comes while the photo before it is still being put down."""
    working = _Working()

    async def story(desk: Desk) -> None:
        working.desk = desk
        real = outcomes.commit

        def commit(*arguments: Any, **named: Any) -> None:
            real(*arguments, **named)
            if len(desk.pool.jobs) == 1:
                desk.photo.write_bytes(NEW)
                desk.root.point_at(["photo.jpg"])

        monkeypatch.setattr(outcomes, "commit", commit)
        await desk.root.hinted(["photo.jpg"])
        await desk.next_job(1)
        await at_rest(desk.root)
        assert len(desk.pool.jobs) == 2
        assert _end(desk, NEW) == "published"

    run(story, tmp_path, answer=working)


# --- a person decides meanwhile


def _released(desk: Desk) -> Entry:
    """Write down, as `quarantine release` does, that the photo may stay as it is."""
    source = Fingerprint.from_stat(desk.photo.lstat())
    entry = Entry(desk.plan.path, "photo.jpg", State.RELEASED, desk.plan.recipe.digest, source, to=desk.plan.to)
    desk.ledger.put(entry)
    return entry


def test_a_photo_that_is_released_while_it_is_in_hand_is_not_held_again(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        job = await desk.take_in_hand()
        _released(desk)
        refused = Refused(job.id, Reason.DAMAGED, "cut", retryable=False, milliseconds=1)
        await desk.answer(Hashed(job.id, "digest"), refused)
        await at_rest(desk.root)
        found = desk.ledger.entry(desk.plan.path, "photo.jpg")
        assert found is not None
        assert found.state is State.RELEASED
        assert (desk.reports, desk.ledger.intents(), desk.photo.read_bytes()) == ([], [], OLD)

    run(story, tmp_path)


@pytest.mark.parametrize("released", [True, False])
def test_a_held_photo_that_is_released_while_it_is_moved_away_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, released: bool
) -> None:
    async def story(desk: Desk) -> None:
        take_away = desk.root.services.quarantine.take_away

        def meanwhile(entry: Entry) -> Path | None:
            if released:
                _released(desk)
            return take_away(entry)

        monkeypatch.setattr(desk.root.services.quarantine, "take_away", meanwhile)
        job = await desk.take_in_hand()
        refused = Refused(job.id, Reason.DAMAGED, "cut", retryable=False, milliseconds=1)
        await desk.answer(Hashed(job.id, "digest"), refused)
        await at_rest(desk.root)
        found = desk.ledger.entry(desk.plan.path, "photo.jpg")
        assert found is not None
        assert found.state is (State.RELEASED if released else State.QUARANTINED)
        assert desk.photo.exists() is released
        if released:
            assert found.source == Fingerprint.from_stat(desk.photo.lstat())
            assert all(one.place is None for one in desk.root.services.quarantine.held())

    run(story, tmp_path)
