"""What becomes of a photo, written down: the ledger's entry, the hook's call and the report, in one transaction.

Each function returns an `End` or `Again` for `engine.photo`, which is the only caller. Must not touch the photo's root.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from faceblurd.model import (
    Abandoned,
    Entry,
    Fingerprint,
    Outcome,
    Reason,
    Refused,
    Report,
    Staged,
    State,
    Untouched,
)
from faceblurd.plugins.command import payload_for
from faceblurd.publish import delivery
from faceblurd.rules import decide
from faceblurd.workers.worker import Lost

if TYPE_CHECKING:
    from faceblurd.engine.model import Photo, Services
    from faceblurd.publish.delivery import Work


@dataclass(frozen=True, slots=True)
class End:
    """A photo's way has ended, as its entry in the ledger says."""

    entry: Entry
    report: Report | None = None  # what to tell the log, the plugins and the hook


@dataclass(frozen=True, slots=True)
class Retry:
    """An attempt failed; the next is due after some seconds."""

    after_seconds: float
    reason: Reason


@dataclass(frozen=True, slots=True)
class Again:
    """The photo is not what was seen, or still open: it settles once more."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The photo is not there any more, or is left to what is done after a crash."""

    reason: Reason = Reason.VANISHED


Result = End | Retry | Again | Gone


# --- good ends


def done(photo: Photo, work: Work, report: Report, s: Services, *, target: Fingerprint, digest: str | None) -> End:
    """Record a photo that was published, or is clean. `target`: what its result is known by; `digest`: the result's."""
    plan = photo.plan
    entry = Entry(
        *photo.key, State.PUBLISHED if report.outcome is Outcome.PUBLISHED else State.CLEAN, plan.recipe.digest,
        target if plan.in_place else photo.fingerprint, work.digest, digest, target, to=plan.to,
    )  # fmt: skip
    commit(entry, work, s, report)
    return End(entry, report)


def skipped(photo: Photo, work: Work, why: str, s: Services) -> End:
    """Record that the content is known: only the fingerprint is new (touched, copied, renamed)."""
    plan, recipe = photo.plan, photo.plan.recipe.digest
    entry = s.ledger.entry(*photo.key)
    if entry is None or work.digest not in {entry.input_digest, entry.output_digest}:
        entry = Entry(*photo.key, State.PUBLISHED, recipe, photo.fingerprint, None, work.digest)  # our own
    entry = replace(
        entry, state=decide.state_of_known(entry, work.digest), recipe=recipe, source=photo.fingerprint,
        target=photo.fingerprint if plan.in_place else entry.target, attempts=0, reason=None, to=plan.to, terms="",
    )  # fmt: skip
    commit(entry, work, s)
    s.log.event("file.skipped", path=photo.absolute, detail=why)
    return End(entry)


def unpublished(
    photo: Photo, work: Work, answer: Untouched | Abandoned | Refused | Lost, s: Services, *, now: float,
    why_skipped: str,
) -> Result:  # fmt: skip
    """Record what a worker made no result of."""
    match answer:
        case Untouched():
            report = report_of(photo, Outcome.CLEAN, answer)
            return done(photo, work, report, s, target=photo.fingerprint, digest=None)
        case Abandoned():
            return skipped(photo, work, why_skipped, s)
        case Refused(reason=Reason.CHANGED_MEANWHILE):
            return newer(photo)
        case Refused():
            return failed(
                photo, work, s, answer.reason, answer.detail, now=now, retryable=answer.retryable,
                milliseconds=answer.milliseconds,
            )  # fmt: skip
        case Lost():
            return failed(photo, work, s, answer.reason, answer.detail, now=now)
        case _:
            assert_never(answer)


# --- bad ends


def newer(photo: Photo) -> Again:
    """Start over with a file that is not what was read: the newest wins."""
    photo.attempts = 0
    return Again()


def ended_us_too_often(photo: Photo, entry: Entry | None, s: Services) -> bool:
    """Tell whether the daemon itself ended during every attempt, for instance because memory ran out.

    An attempt that failed is judged at once.
    """
    if photo.attempts < s.policy.max_attempts or entry is None:
        return False
    return entry.reason is Reason.INTERRUPTED and entry.source == photo.fingerprint


def not_reached(photo: Photo, work: Work | None, error: OSError, s: Services, *, now: float) -> Result:
    """Record that a photo cannot be opened, or looked at."""
    reason, detail = decide.reason_of(error.errno), error.strerror or str(error)
    if reason is Reason.BEING_WRITTEN:
        detail = "some program keeps the file to itself (it has a lease)"
    return failed(photo, work, s, reason, detail, now=now)


def not_published(photo: Photo, work: Work, error: OSError, s: Services, *, now: float) -> Result:
    """Try again later; or leave a result that is in place, but may not survive a power cut, to recovery."""
    detail = f"{work.target.absolute}: {error.strerror}"
    if work.staging.placed:
        work.is_unfinished = True
        s.log.event("file.unfinished", path=photo.absolute, detail=detail)
        return Gone(Reason.INTERRUPTED)
    return failed(photo, work, s, decide.reason_of(error.errno), detail, now=now)


def failed(  # noqa: PLR0913 - what a failure is judged by
    photo: Photo, work: Work | None, s: Services, reason: Reason, detail: str, *, now: float, retryable: bool = True,
    milliseconds: int = 0,
) -> End | Retry | Gone:  # fmt: skip
    """Record a failed attempt: try again later, or hold."""
    verdict = decide.on_failure(
        reason, retryable=retryable, attempts=photo.attempts, max_attempts=s.policy.max_attempts,
        retry_seconds=s.policy.backoff_seconds, overdue=photo.overdue(now), waits_for_space=s.policy.waits_for_space,
    )  # fmt: skip
    if isinstance(verdict, decide.Hold):
        return held(photo, work, s, reason, detail, milliseconds=milliseconds)
    if reason in decide.NOT_THE_FILES_FAULT and s.policy.waits_for_space:
        photo.attempts = max(0, photo.attempts - 1)  # a single run counts them, or it would never end
    commit(_failure(photo, s, State.RETRY, reason, detail), work, s)
    s.log.event(
        "file.retried", path=photo.absolute, reason=reason.value, detail=detail, attempts=photo.attempts,
        after_seconds=verdict.after_seconds,
    )  # fmt: skip
    return Retry(verdict.after_seconds, reason)


def held(
    photo: Photo, work: Work | None, s: Services, reason: Reason, detail: str, *, milliseconds: int = 0
) -> End | Gone:
    """Record a photo that is not published, and why; or leave out what the root does not want to hear of."""
    if reason is Reason.UNSUPPORTED and photo.plan.ignore_unsupported:  # remembered, so that it is read once
        entry = _failure(photo, s, State.IGNORED, reason, detail)
        commit(entry, work, s)
        return End(entry)
    entry = _failure(photo, s, State.QUARANTINED, reason, detail)
    outcome = Outcome.UNSUPPORTED if reason is Reason.UNSUPPORTED else Outcome.HELD
    report = replace(report_of(photo, outcome), reason=reason, detail=detail, milliseconds=milliseconds)
    return End(entry, report) if commit(entry, work, s, report) else Gone()


def _failure(photo: Photo, s: Services, state: State, reason: Reason, detail: str) -> Entry:
    """Keep what was published before: a mirror's older output is still ours to replace."""
    before, plan = s.ledger.entry(*photo.key), photo.plan
    entry = Entry(
        *photo.key, state, plan.recipe.digest, photo.fingerprint, attempts=photo.attempts, reason=reason,
        detail=detail, to=plan.to, terms=plan.terms,
    )  # fmt: skip
    if before is None or delivery.is_kept(before):
        return entry
    if plan.in_place and not (before.recipe == entry.recipe and before.to == entry.to):
        return entry  # in place, a result under another recipe must not count as our own output under this one
    return replace(entry, target=before.target, output_digest=before.output_digest)


# --- what all of them do


def is_released(entry: Entry | None, fingerprint: Fingerprint, to: str) -> bool:
    """Tell whether a person has released just this file."""
    return entry is not None and entry.source == fingerprint and decide.is_released_for(entry, to)


def commit(entry: Entry, work: Work | None, s: Services, report: Report | None = None) -> bool:
    """Write an entry, with the hook's call. The intent ends with it, unless a staging file still has its name.

    False: what was to be held, a person has released meanwhile, and that stands.
    """
    hooks = None if report is None else s.hooks
    with s.ledger.transaction():
        if work is not None and work.staging.name is None:
            s.ledger.end(work.intent.token)
        known = s.ledger.entry(entry.root, entry.path) if entry.state is State.QUARANTINED else None
        if is_released(known, entry.source, entry.to):
            return False
        s.ledger.put(entry)
        if report is not None and hooks is not None:
            s.ledger.outbox_add(payload_for(report))
    if hooks is not None:
        hooks.wake()
    return True


def payload(report: Report, s: Services) -> str:
    """Give the hook's object for an intent; empty without a hook."""
    return "" if s.hooks is None else payload_for(report)


def report_of(photo: Photo, outcome: Outcome, result: Staged | Untouched | None = None) -> Report:
    """Make the report of an outcome."""
    staged, plan = result if isinstance(result, Staged) else None, photo.plan
    return Report(
        root=plan.path, path=photo.absolute, outcome=outcome,
        output=None if result is None else f"{plan.to}/{photo.path}", reason=None,
        detail="" if staged is None else staged.note, regions=() if staged is None else staged.regions,
        recipe=plan.recipe.name, lossless=None if staged is None else staged.lossless,
        milliseconds=0 if result is None else result.milliseconds,
    )  # fmt: skip
