"""From a worker's result to an outcome: publish, record, report; or retry, or hold.

Called by the loop in its thread. Every file that leaves here is in the ledger, in the log, and in the hook's outbox.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING

from faceblurd.model import Entry, Fingerprint, Outcome, Reason, Refused, Report, Staged, State, Untouched
from faceblurd.outlet import beneath, delivery, publisher
from faceblurd.outlet.hook_process import payload_for
from faceblurd.rules import decide

if TYPE_CHECKING:
    from faceblurd.outlet.delivery import Work
    from faceblurd.pipeline.files import File, Parts, Patience
    from faceblurd.pipeline.waiting import Waiting

_REASONS = {
    errno.ENOSPC: Reason.NO_SPACE, errno.EDQUOT: Reason.NO_SPACE,
    errno.EACCES: Reason.NO_PERMISSION, errno.EPERM: Reason.NO_PERMISSION, errno.EROFS: Reason.NO_PERMISSION,
    errno.ELOOP: Reason.NOT_REGULAR, errno.EXDEV: Reason.NOT_REGULAR, errno.ENOTDIR: Reason.NOT_REGULAR,
}  # fmt: skip


def reason_of(error: OSError) -> Reason:
    """Translate the kernel's error into our word."""
    return _REASONS.get(error.errno or 0, Reason.IO_ERROR)


class Finishing:
    """Carries out what `rules.decide` says of results and failures."""

    def __init__(self, parts: Parts, waiting: Waiting, patience: Patience) -> None:
        """Use the loop's own parts."""
        self._p, self._waiting, self._patience = parts, waiting, patience

    # --- good ends

    def staged(self, file: File, staged: Staged) -> None:
        """Publish a finished staging file."""
        work = _work(file)
        if work.digest is None:  # no worker of ours stages what it has not hashed
            self.failed(file, Reason.WORKER_CRASHED, "the worker spoke out of turn", retryable=False)
            return
        file.move(State.STAGED)
        if not file.in_place and not self.source_is_what_was_read(file):
            self.newer(file)
            return
        report = self._report(file, Outcome.PUBLISHED if staged.regions else Outcome.CLEAN, staged)
        try:
            result = delivery.deliver(
                self._p.ledger, work, staged, known=self._p.ledger.entry(*file.key),
                replace_others=file.plan.replace_others, payload=self._payload(report),
            )  # fmt: skip
        except OSError as error:
            self.failed(file, reason_of(error), f"{work.target.absolute}: {error.strerror}", retryable=True)
            return
        match result:
            case publisher.Newer():
                self.newer(file)
            case publisher.Occupied():
                detail = f"{work.target.absolute} exists and is not ours: move it away, or set existing: replace"
                self.hold(file, Reason.TARGET_EXISTS, detail)
            case publisher.Published():
                self._record(file, report, target=result.fingerprint, output_digest=staged.output_digest)

    def untouched(self, file: File, result: Untouched) -> None:
        """Record a file without a face that stays as it is (in place)."""
        report = self._report(file, Outcome.CLEAN, result)
        self._record(file, report, target=file.settling.fingerprint, output_digest=None)

    def skipped(self, file: File) -> None:
        """Record that the content is known: only the fingerprint is new (touched, copied, renamed)."""
        digest, recipe = _work(file).digest, file.plan.recipe.digest
        entry = self._p.ledger.entry(*file.key)
        if entry is None or digest not in {entry.input_digest, entry.output_digest}:
            entry = Entry(*file.key, State.PUBLISHED, recipe, file.settling.fingerprint, None, digest)
        state = entry.state if entry.state in decide.DONE else State.PUBLISHED
        target = file.settling.fingerprint if file.in_place else entry.target
        now = replace(
            entry, state=state, recipe=recipe, source=file.settling.fingerprint, target=target, attempts=0, reason=None
        )
        self._commit(file, now)
        self._p.tell("file.skipped", path=file.absolute, detail=file.skipped)
        self.close(file, state)

    def _record(self, file: File, report: Report, *, target: Fingerprint, output_digest: str | None) -> None:
        """Commit an outcome and everything that follows from it at once, then say it."""
        state = State.PUBLISHED if report.outcome is Outcome.PUBLISHED else State.CLEAN
        source = target if file.in_place else file.settling.fingerprint
        entry = Entry(
            *file.key, state, file.plan.recipe.digest, source, _work(file).digest, output_digest, target
        )  # fmt: skip
        self._commit(file, entry, payload=self._payload(report))
        self.close(file, state)
        self._say(report)

    def _commit(self, file: File, entry: Entry, *, payload: str = "") -> None:
        with self._p.ledger.transaction():
            self._p.ledger.put(entry)
            if file.work is not None:
                self._p.ledger.end(file.work.intent.token)
            if payload:
                self._p.ledger.outbox_add(payload)

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
            self.hold(file, reason, detail, milliseconds=milliseconds)
            return
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
        if file.plan.take_away_held:
            self._take_away(entry)
        self._commit(file, entry, payload=self._payload(report))
        self.close(file, State.QUARANTINED)
        self._say(report)

    def _ignore(self, file: File, reason: Reason, detail: str) -> None:
        """Leave a file out without a word, as the root says; it is remembered, so that it is read once."""
        self._commit(file, self._failure_entry(file, State.IGNORED, reason, detail))
        self.close(file, State.IGNORED)

    def _take_away(self, entry: Entry) -> None:
        try:
            self._p.quarantine.take_away(entry)
        except OSError as error:
            self._p.tell("quarantine.failed", path=f"{entry.root}/{entry.path}", detail=error.strerror)

    def _failure_entry(self, file: File, state: State, reason: Reason, detail: str) -> Entry:
        """Keep what was published before (a mirror's older output is still ours to replace)."""
        before = self._p.ledger.entry(*file.key)
        entry = Entry(
            *file.key, state, file.plan.recipe.digest, file.settling.fingerprint, attempts=file.attempts,
            reason=reason, detail=detail,
        )  # fmt: skip
        if before is None or (file.in_place and before.recipe != entry.recipe):
            return entry  # in place, a result under another recipe must not count as our own output under this one
        return replace(entry, target=before.target, output_digest=before.output_digest)

    def newer(self, file: File) -> None:
        """Start over with a file that is not what was read: the newest wins."""
        self._end_intent(file)
        self.put_down(file)
        file.attempts = 0
        self._waiting.settle_again(file, now=self._p.clock())

    # --- putting down

    def give_back(self, file: File) -> None:
        """Undo a start that reached no worker, or one that a stop cut short: it counts as no attempt."""
        self._end_intent(file)
        self.put_down(file)
        file.attempts = max(0, file.attempts - 1)
        self._waiting.settle_again(file, now=self._p.clock())

    def _end_intent(self, file: File) -> None:
        if file.work is not None:
            self._p.ledger.end(file.work.intent.token)

    @staticmethod
    def put_down(file: File) -> None:
        """Close what is open of a file, and leave no staging file."""
        if file.work is not None:
            file.work.close()
            file.work = None

    def close(self, file: File, state: State) -> None:
        """Let a file go that has its outcome; if it changed in the meantime, the next event or scan brings it back."""
        self.put_down(file)
        file.move(state)
        self._waiting.remove(file)

    def source_is_what_was_read(self, file: File) -> bool:
        """Look whether the source is still the file that the worker got."""
        try:
            return Fingerprint.from_stat(beneath.look(file.plan.path, file.path)) == file.settling.fingerprint
        except OSError:
            return False

    def _report(self, file: File, outcome: Outcome, result: Staged | Untouched | None) -> Report:
        staged = result if isinstance(result, Staged) else None
        output = None if result is None else f"{file.plan.to}/{file.path}"
        return Report(
            root=file.plan.path, path=file.absolute, outcome=outcome, output=output, reason=None,
            detail="" if staged is None else staged.note, regions=() if staged is None else staged.regions,
            recipe=file.plan.recipe.name, lossless=None if staged is None else staged.lossless,
            milliseconds=0 if result is None else result.milliseconds,
        )  # fmt: skip


def _work(file: File) -> Work:
    assert file.work is not None  # noqa: S101 - whoever is called here has a file in hand
    return file.work
