"""From a worker's result to an outcome: publish, record, report; or retry, or hold.

Called by the loop in its thread. Every file that leaves here is in the ledger, in the log, and in the hook's outbox.
"""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from faceblurd.model import (
    Entry,
    Fingerprint,
    Outcome,
    Reason,
    Refused,
    Report,
    Sighting,
    Source,
    Staged,
    State,
    Untouched,
)  # fmt: skip
from faceblurd.outlet import delivery, publisher
from faceblurd.outlet.hook_process import payload_for
from faceblurd.pipeline.companions import Companions
from faceblurd.rules import decide

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from faceblurd.model import Intent
    from faceblurd.outlet.publisher import Newer, Occupied, Published
    from faceblurd.pipeline.files import File, Parts, Patience, RootPlan
    from faceblurd.pipeline.waiting import Waiting


class Finishing:
    """Carries out what `rules.decide` says of results and failures."""

    def __init__(
        self, parts: Parts, waiting: Waiting, plans: Mapping[str, RootPlan], patience: Patience,
        trouble: Callable[[File, Reason], None],
    ) -> None:  # fmt: skip
        """Use the loop's own parts. `trouble` is told of what will be tried again, and why."""
        self._p, self._waiting, self._plans = parts, waiting, plans
        self._patience, self._trouble = patience, trouble
        self.companions = Companions(parts)
        self.live: set[str] = set()  # tokens of intents that are being carried out: a recovery leaves them alone
        self._stuck: dict[str, str | None] = {}  # held files that could not be moved away, and why

    # --- good ends

    def staged(self, file: File, staged: Staged) -> None:
        """Publish a finished staging file: write down what it is, then give it its name, then record that."""
        work = file.opened()
        if work.digest is None:  # no worker of ours stages what it has not hashed
            self.failed(file, Reason.WORKER_CRASHED, "the worker spoke out of turn", retryable=False)
            return
        file.move(State.STAGED)
        report = self._report(file, Outcome.PUBLISHED if staged.regions else Outcome.CLEAN, staged)
        delivery.write_down(self._p.ledger, work, staged, payload=self._payload(report))
        self._deliver(file, report, staged)

    def _deliver(
        self, file: File, report: Report, staged: Staged, *, ours: str = "", over_others: bool = False
    ) -> None:
        known = self._p.ledger.entry(*file.key)
        file.out = True
        self._p.errands.send(
            file.plan.path,
            partial(delivery.deliver, file.opened(), staged, known=known, replace_others=over_others, ours=ours),
            partial(self._delivered, file, report, staged, over_others),
        )

    def _delivered(
        self, file: File, report: Report, staged: Staged, over_others: bool,  # noqa: FBT001 - bound by position above
        result: Published | Newer | Occupied | OSError,
    ) -> None:  # fmt: skip
        file.out = False
        target = file.opened().target.absolute
        match result:
            case OSError() if file.opened().staging.placed:
                self._half_done(file, f"{target}: {result.strerror}")
            case OSError():
                reason = decide.reason_of(result.errno)
                self.failed(file, reason, f"{target}: {result.strerror}", retryable=True)
            case publisher.Newer():
                self.newer(file)
            case publisher.Occupied():
                self._occupied(file, report, staged, result.digest, over_others=over_others)
            case publisher.Published():
                self._record(file, report, target=result.fingerprint, output_digest=staged.output_digest)

    def _occupied(self, file: File, report: Report, staged: Staged, digest: str, *, over_others: bool) -> None:
        """Replace what has the result's name if that is ours or the config says so; else hold the photo.

        What another photo of today's roots has become is never replaced, and the result of one that is gone only by
        `existing: replace`.
        """
        known, other = self._p.ledger.entry(*file.key), self._whose(file, digest)
        is_earlier = known is not None and delivery.is_kept(known)
        if other is None and not is_earlier and self._p.ledger.made(file.path, digest):
            self._deliver(file, report, staged, ours=digest)  # before this root, or its mode, was what it is
            return
        if other is None and file.plan.replace_others and not over_others:
            self._deliver(file, report, staged, over_others=True)
            return
        whose = "is the result of an earlier photo by this name" if is_earlier else "exists and is not ours"
        why = f"{whose}. {file.plan.remedies.occupied}"
        if other is not None:  # two folders, or two cases of a name: `replace` is no leave to lose one of them
            why = f"is the result of {other}. {file.plan.remedies.clash}"
        self.hold(file, Reason.TARGET_EXISTS, f"{file.opened().target.absolute} {why}")

    def _whose(self, file: File, digest: str) -> str | None:
        """Find the other photo whose result has the file's name in the mirror, by that result's digest."""
        of_this = _folded(file.path)
        for root, path in self._p.ledger.with_result(digest, file.plan.to):
            if (root, path) != file.key and root in self._plans and _folded(path) == of_this:
                return f"{root}/{path}"
        return None

    def _half_done(self, file: File, detail: str) -> None:
        """Leave a file whose result took its place, but not for sure, to what is done after a crash."""
        self._p.tell("file.unfinished", path=file.absolute, detail=detail)
        self.live.discard(file.opened().intent.token)
        self.put_down(file)
        self._waiting.remove(file)
        self._trouble(file, Reason.INTERRUPTED)

    def untouched(self, file: File, result: Untouched) -> None:
        """Record a file without a face that stays as it is (in place)."""
        report = self._report(file, Outcome.CLEAN, result)
        self._record(file, report, target=file.settling.fingerprint, output_digest=None)

    def skipped(self, file: File) -> None:
        """Record that the content is known: only the fingerprint is new (touched, copied, renamed)."""
        digest, recipe = file.opened().digest, file.plan.recipe.digest
        entry = self._p.ledger.entry(*file.key)
        if entry is None or digest not in {entry.input_digest, entry.output_digest}:
            entry = Entry(*file.key, State.PUBLISHED, recipe, file.settling.fingerprint, None, digest)  # our own
        state = decide.state_of_known(entry, digest)
        target = file.settling.fingerprint if file.in_place else entry.target
        now = replace(
            entry, state=state, recipe=recipe, source=file.settling.fingerprint, target=target, attempts=0, reason=None,
            to=file.plan.to, terms="",
        )  # fmt: skip
        self._commit(file, now)
        self._p.tell("file.skipped", path=file.absolute, detail=file.skipped)
        self.close(file, state)
        if state in decide.DONE:
            self.companions.of(file.plan, file.path)

    def _record(self, file: File, report: Report, *, target: Fingerprint, output_digest: str | None) -> None:
        """Commit an outcome and everything that follows from it at once, then say it."""
        state = State.PUBLISHED if report.outcome is Outcome.PUBLISHED else State.CLEAN
        source = target if file.in_place else file.settling.fingerprint
        entry = Entry(
            *file.key, state, file.plan.recipe.digest, source, file.opened().digest, output_digest, target,
            to=file.plan.to,
        )  # fmt: skip
        self._commit(file, entry, payload=self._payload(report))
        self.close(file, state)
        self._say(report)
        self.companions.of(file.plan, file.path)

    def _commit(self, file: File, entry: Entry, *, payload: str = "") -> None:
        """Write an entry. The intent ends with it, unless a staging file still has the name that it tells of."""
        with self._p.ledger.transaction():
            self._p.ledger.put(entry)
            if file.work is not None and file.work.staging.name is None:
                self._end(file.work.intent)
            if payload:
                self._p.ledger.outbox_add(payload)

    def _end(self, intent: Intent) -> None:
        self._p.ledger.end(intent.token)
        self.live.discard(intent.token)

    def _payload(self, report: Report) -> str:
        return "" if self._p.hook is None else payload_for(report)

    def _say(self, report: Report) -> None:
        self._p.report(report)
        self._p.plugins.file_finished(report)

    # --- bad ends

    def refused(self, file: File, refused: Refused) -> None:
        """Deal with a worker's no."""
        if refused.reason is Reason.CHANGED_MEANWHILE:
            self.newer(file)
            return
        self.failed(
            file, refused.reason, refused.detail, retryable=refused.retryable, milliseconds=refused.milliseconds
        )

    def failed(self, file: File, reason: Reason, detail: str, *, retryable: bool, milliseconds: int = 0) -> None:
        """Retry later, or hold."""
        now = self._p.clock()
        plan = decide.on_failure(
            reason, retryable=retryable, attempts=file.attempts, max_attempts=self._patience.max_attempts,
            retry_seconds=self._patience.retry_seconds, overdue=file.overdue(now),
            waits_for_space=self._patience.waits_for_space,
        )  # fmt: skip
        if isinstance(plan, decide.Hold):
            if reason in decide.NOT_THE_FILES_FAULT:
                self._trouble(file, reason)  # the next file would only fail, too
            self.hold(file, reason, detail, milliseconds=milliseconds)
            return
        if reason in decide.NOT_THE_FILES_FAULT and self._patience.waits_for_space:
            file.attempts = max(0, file.attempts - 1)  # a single run counts them, or it would never end
        self._trouble(file, reason)
        entry = self._failure_entry(file, State.RETRY, reason, detail)
        self._commit(file, entry)
        self.put_down(file)
        self._waiting.retry_at(file, now + plan.after_seconds)
        self._p.tell(
            "file.retried", path=file.absolute, reason=reason.value, detail=detail, attempts=file.attempts,
            after_seconds=plan.after_seconds,
        )  # fmt: skip

    def hold(self, file: File, reason: Reason, detail: str, *, milliseconds: int = 0) -> None:
        """Do not publish: remember why, and show it everywhere."""
        if reason is Reason.UNSUPPORTED and file.plan.ignore_unsupported:
            self._ignore(file, reason, detail)
            return
        entry = self._failure_entry(file, State.QUARANTINED, reason, detail)
        outcome = Outcome.UNSUPPORTED if reason is Reason.UNSUPPORTED else Outcome.HELD
        report = replace(self._report(file, outcome, None), reason=reason, detail=detail, milliseconds=milliseconds)
        # Written down before it is moved: what a crash leaves in its root is held, and the next scan moves it.
        self._commit(file, entry, payload=self._payload(report))
        self.close(file, State.QUARANTINED)
        if file.plan.take_away_held and reason not in decide.NOT_THE_FILES_FAULT:
            self.take_away(entry)
        self._say(report)

    def _ignore(self, file: File, reason: Reason, detail: str) -> None:
        """Leave a file out without a word, as the root says; it is remembered, so that it is read once."""
        self._commit(file, self._failure_entry(file, State.IGNORED, reason, detail))
        self.close(file, State.IGNORED)

    def take_away(self, entry: Entry) -> None:
        """Move a held file out of sight. Where that fails it stays, which is said once; every scan tries again."""
        self._p.errands.send(entry.root, partial(self._p.quarantine.take_away, entry), partial(self._taken_away, entry))

    def _taken_away(self, entry: Entry, place: Path | OSError | None) -> None:
        path = f"{entry.root}/{entry.path}"
        if isinstance(place, OSError) and not isinstance(place, FileNotFoundError):
            if self._stuck.get(path) != place.strerror:
                self._p.tell("quarantine.failed", path=path, detail=place.strerror)
            self._stuck[path] = place.strerror
            return
        self._stuck.pop(path, None)
        if place is None:  # a newer upload has the name: its events came while the older one was in hand
            self._p.inbox.put_event(Sighting(entry.root, entry.path, Source.EVENT))

    def _failure_entry(self, file: File, state: State, reason: Reason, detail: str) -> Entry:
        """Keep what was published before (a mirror's older output is still ours to replace)."""
        before = self._p.ledger.entry(*file.key)
        entry = Entry(
            *file.key, state, file.plan.recipe.digest, file.settling.fingerprint, attempts=file.attempts,
            reason=reason, detail=detail, to=file.plan.to, terms=file.plan.terms,
        )  # fmt: skip
        if before is None or delivery.is_kept(before):
            return entry
        if file.in_place and not (before.recipe == entry.recipe and before.to == entry.to):
            return entry  # in place, a result under another recipe must not count as our own output under this one
        return replace(entry, target=before.target, output_digest=before.output_digest)

    def newer(self, file: File) -> None:
        """Start over with a file that is not what was read: the newest wins."""
        self.put_down(file, ends_intent=True)
        file.attempts = 0
        self._waiting.settle_again(file, now=self._p.clock())

    # --- putting down

    def give_back(self, file: File) -> None:
        """Undo a start that reached no worker, or one that a stop cut short: it counts as no attempt."""
        self.put_down(file, ends_intent=True)
        file.attempts = max(0, file.attempts - 1)
        self._waiting.settle_again(file, now=self._p.clock())

    def put_down(self, file: File, *, ends_intent: bool = False) -> None:
        """Close what is open of a file, and leave no staging file; the intent tells of its name until it is gone."""
        work, file.work = file.work, None
        if work is None:
            return
        named, intent = work.staging.name is not None, work.intent

        def closed(answer: OSError | None) -> None:
            if isinstance(answer, OSError) and named:
                self.sweep(file, intent)
            elif named or ends_intent:
                self._end(intent)

        self._p.errands.send(file.plan.path, work.close, closed)

    def sweep(self, file: File, intent: Intent) -> None:
        """Remember that a staging file may be left, whose disk has just failed."""
        delivery.sweep_later(self._p.ledger, intent)
        self.live.discard(intent.token)
        self._trouble(file, Reason.INTERRUPTED)

    def close(self, file: File, state: State) -> None:
        """Let a file go that has its outcome; if it changed in the meantime, the next event or scan brings it back."""
        self.put_down(file)
        file.move(state)
        self._waiting.remove(file)

    def _report(self, file: File, outcome: Outcome, result: Staged | Untouched | None) -> Report:
        staged = result if isinstance(result, Staged) else None
        output = None if result is None else f"{file.plan.to}/{file.path}"
        return Report(
            root=file.plan.path, path=file.absolute, outcome=outcome, output=output, reason=None,
            detail="" if staged is None else staged.note, regions=() if staged is None else staged.regions,
            recipe=file.plan.recipe.name, lossless=None if staged is None else staged.lossless,
            milliseconds=0 if result is None else result.milliseconds,
        )  # fmt: skip


def _folded(path: str) -> str:
    """Give a path as a file system sees it that tells neither cases nor Unicode forms apart."""
    return unicodedata.normalize("NFC", path).casefold()
