"""The life of one photo, from top to bottom: settle, open, stage, work, publish, report.

One coroutine a photo. What it holds is held by `async with`, and cancelling it (a stop, a root that has gone) puts all
of that down: no staging file, no descriptor, no intent is left. A hint does not cancel it: it ends the photo's nap;
during the work, when publishing compares, it is kept for a look after the end. Whatever may hang is called in the
root's own thread (`root.run`). Steps that must not be left half done run `to_the_end`. Decisions are pure
(`rules.decide`, `.settle`).
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, assert_never

from faceblurd.engine import outcomes, taken
from faceblurd.engine.holding import opened, staged
from faceblurd.engine.outcomes import Again, End, Gone, Retry
from faceblurd.engine.thread import to_the_end
from faceblurd.model import Abandoned, Fingerprint, Hashed, Job, Outcome, Reason, Refused, Staged, State, Untouched
from faceblurd.publish import delivery, publisher
from faceblurd.rules import decide, settle

if TYPE_CHECKING:
    from faceblurd.engine.intake import Intake
    from faceblurd.engine.model import Photo, Services
    from faceblurd.engine.outcomes import Result
    from faceblurd.model import JobResult
    from faceblurd.publish.delivery import Work
    from faceblurd.workers.worker import Lost

STILL_OPEN_SECONDS = 1.0
_jobs = count(1)


async def live(photo: Photo, root: Intake, s: Services) -> None:
    """Take one photo from its first sighting to its outcome, and tell it. A retry is written down, and begins anew."""
    while isinstance(result := await attempt(photo, root, s), Again):
        photo.move(State.SETTLING)
        photo.quiet_until = _now() + max(STILL_OPEN_SECONDS, photo.plan.quiet_seconds)
    match result:
        case Gone():
            root.trouble(result.reason, photo.fingerprint.size)
        case Retry():
            photo.move(State.RETRY)
            root.retry(photo, result.after_seconds)
            root.trouble(result.reason, photo.fingerprint.size)
        case End(entry, report):
            photo.move(entry.state)
            if report is not None:
                s.log.report(report)
                s.plugins.file_finished(report)
            await root.aftermath.of(entry)
        case _:
            assert_never(result)


async def attempt(photo: Photo, root: Intake, s: Services) -> Result:
    """Try once: settle, open, stage, work, publish."""
    if not await settled(photo, root, s):
        return Gone()
    photo.move(State.QUEUED)
    async with AsyncExitStack() as held:
        async with s.turns.turn(photo.ticket):
            work = await prepared(photo, root, s, held)
        if not isinstance(work, delivery.Work):
            return work
        result, why_skipped = await work_on(photo, work, root, s)
        if isinstance(result, Staged):
            photo.move(State.STAGED)
            return await to_the_end(publish(photo, work, result, root, s))
        return await to_the_end(conclude(photo, work, result, root, s, why_skipped))


async def settled(photo: Photo, root: Intake, s: Services) -> bool:
    """Wait until the file has been quiet for as long as its root asks; False when it is gone, or cannot be reached."""
    while True:
        seen = await nap(photo)
        try:
            seen = seen or await root.run(partial(root.look, photo.path))
        except OSError as error:
            s.log.event("file.unreachable", path=photo.absolute, detail=error.strerror)
            return False
        if seen is None:
            return False
        if seen != photo.fingerprint:
            photo.attempts = 0  # other bytes, a new start
        verdict = settle.look(photo.settling, seen, now=_now(), quiet_seconds=photo.plan.quiet_seconds)
        photo.settling = verdict.settling
        if isinstance(verdict, settle.Settled):
            return True
        photo.quiet_until = verdict.until


async def nap(photo: Photo) -> Fingerprint | None:
    """Sleep until the photo is to be looked at again; a hint that it has changed ends that early, and is given."""
    photo.hint = asyncio.get_running_loop().create_future()
    try:
        async with asyncio.timeout_at(photo.quiet_until):
            return await photo.hint
    except TimeoutError:
        return None
    finally:
        photo.hint = None


async def prepared(  # noqa: PLR0911 - each way out says which
    photo: Photo, root: Intake, s: Services, held: AsyncExitStack
) -> Work | Result:
    """Open the photo and make its staging file, both for as long as `held`; or say why it is not worked on."""
    entry, now = s.ledger.entry(*photo.key), _now()
    if outcomes.ended_us_too_often(photo, entry, s):
        detail = f"faceblurd stopped unexpectedly {s.policy.max_attempts} times while working on this file"
        return outcomes.held(photo, None, s, Reason.INTERRUPTED, detail)
    try:
        source = await held.enter_async_context(opened(photo, root))
    except FileNotFoundError:
        return Gone()
    except OSError as error:
        photo.attempts += 1
        return outcomes.not_reached(photo, None, error, s, now=now)
    photo.first_look = now if photo.first_look is None else photo.first_look
    if Fingerprint.from_stat(source.st) != photo.fingerprint:
        return Again()
    if outcomes.is_released(entry, photo.fingerprint, photo.plan.to):
        return Gone()  # seen before `quarantine release` had written it down
    match verdict := decide.on_settled(
        links=source.st.st_nlink, hard_links_ok=photo.plan.hard_links_ok, open_for_writing=source.open_for_writing,
        overdue=photo.overdue(now),
    ):  # fmt: skip
        case decide.Hold():
            return outcomes.held(photo, None, s, verdict.reason, verdict.detail)
        case decide.Retry():
            return Again()
        case decide.Start():
            photo.attempts += 1
        case _:
            assert_never(verdict)
    try:
        return await held.enter_async_context(staged(photo, root, source, s))
    except OSError as error:
        detail = f"{photo.plan.to}/{photo.path}: {error.strerror}"
        return outcomes.failed(photo, None, s, decide.reason_of(error.errno), detail, now=now)


async def work_on(photo: Photo, work: Work, root: Intake, s: Services) -> tuple[JobResult | Lost, str]:
    """Give the photo to a worker: what became of it, and why it was skipped, if it was."""
    plan = photo.plan
    job = Job(
        next(_jobs), photo.absolute, plan.recipe, plan.mode, photo.fingerprint, work.mtime_ns, s.policy.max_bytes
    )  # fmt: skip
    async with s.pool.worker() as worker:
        photo.move(State.WORKING)
        photo.since = _now()
        answer = await worker.begin(
            job, source_fd=work.source_fd, staging_fd=work.staging.fd, within_seconds=s.pool.limits.deadline_seconds
        )  # fmt: skip
        if not isinstance(answer, Hashed):
            return answer, ""
        work.digest = answer.digest
        verdict = await judged(photo, work, answer.digest, root, s)
        end = await worker.go_on(proceed=isinstance(verdict, decide.Start))
    if isinstance(verdict, decide.PassOn) and isinstance(end, Abandoned):
        return await root.run(partial(delivery.pass_on, work, answer.digest, job.id)), ""
    return end, verdict.why if isinstance(verdict, decide.Skip) else ""


async def judged(
    photo: Photo, work: Work, digest: str, root: Intake, s: Services
) -> decide.Start | decide.Skip | decide.PassOn:
    """Ask whether there is anything to do about a photo with this content."""
    plan, entry, is_present = photo.plan, s.ledger.entry(*photo.key), False
    if not plan.in_place and entry is not None:
        try:
            is_present = await root.run(partial(work.has_result, entry))
        except OSError:
            is_present = False
    # In a mirror, a plugin may ask for more by the photo's name than it did where the result was made.
    may_be_own = plan.in_place or not s.plugins.adds_regions
    own = may_be_own and s.ledger.is_own_result(digest, plan.recipe.digest)
    return decide.on_digest(
        digest, entry, recipe=plan.recipe.digest, mode=plan.mode, to=plan.to, own_output=own, target_present=is_present
    )  # fmt: skip


async def publish(photo: Photo, work: Work, result: Staged, root: Intake, s: Services) -> Result:
    """Write down the digest, then exchange and fsync, then record: the order is what survives a power cut."""
    try:
        is_as_told = await root.run(partial(delivery.holds, work, result.output_digest))
    except OSError as error:
        return outcomes.not_published(photo, work, error, s, now=_now())
    if not is_as_told:  # or bytes of somebody else's would be our own from now on
        detail = "the worker wrote something else than it said"
        return outcomes.failed(photo, work, s, Reason.WORKER_CRASHED, detail, now=_now())
    report = outcomes.report_of(photo, Outcome.PUBLISHED if result.regions else Outcome.CLEAN, result)
    delivery.write_down(s.ledger, work, result, payload=outcomes.payload(report, s))
    step, was_over_others = partial(delivery.deliver, work, result, replace_others=False), False
    while True:
        try:
            published = await root.run(partial(step, known=s.ledger.entry(*photo.key)))
        except OSError as error:
            return outcomes.not_published(photo, work, error, s, now=_now())
        match published:
            case publisher.Newer():
                return outcomes.newer(photo)
            case publisher.Published(fingerprint):
                return outcomes.done(photo, work, report, s, target=fingerprint, digest=result.output_digest)
            case publisher.Occupied(digest):
                over = taken.judge(photo.path, digest, photo.plan, s, was_over_others=was_over_others)
            case _:
                assert_never(published)
        if isinstance(over, taken.Keep):
            return outcomes.held(photo, work, s, Reason.TARGET_EXISTS, f"{work.target.absolute} {over.why}")
        was_over_others = was_over_others or not over.only
        step = partial(delivery.deliver, work, result, replace_others=not over.only, ours=over.only)


async def conclude(
    photo: Photo,
    work: Work,
    result: Untouched | Abandoned | Refused | Lost,
    root: Intake,
    s: Services,
    why_skipped: str,
) -> Result:
    """Record what needs no publishing; a file that is no longer what was read is a new one."""
    stays = isinstance(result, Untouched | Abandoned) and why_skipped != decide.RELEASED
    look = partial(delivery.leave_as_it_is, keeps_user=photo.plan.keeps_attributes) if stays else delivery.as_read
    try:
        fingerprint = await root.run(partial(look, work))
    except OSError as error:
        return outcomes.not_reached(photo, work, error, s, now=_now())
    if fingerprint is None:  # its hints came while it was in hand, and will not come again
        return outcomes.newer(photo)
    photo.settling = replace(photo.settling, fingerprint=fingerprint)
    return outcomes.unpublished(photo, work, result, s, now=_now(), why_skipped=why_skipped)


def _now() -> float:
    return asyncio.get_running_loop().time()
