"""The files in hand: opened, checked, handed to a worker, and what the worker says of them."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, assert_never

from faceblurd.model import Abandoned, Fingerprint, Hashed, Job, Mode, Reason, Refused, Staged, State, Untouched
from faceblurd.outlet import beneath, delivery, publisher
from faceblurd.outlet.staging import Target
from faceblurd.pipeline.finishing import Finishing, reason_of
from faceblurd.rules import decide
from faceblurd.workers.pool import Lost

if TYPE_CHECKING:
    from faceblurd.model import JobResult
    from faceblurd.pipeline.files import File, Parts, Patience
    from faceblurd.pipeline.waiting import Waiting


class Working:
    """Knows which job is which file. Called by the loop in its thread."""

    def __init__(self, parts: Parts, waiting: Waiting, patience: Patience) -> None:
        """Use the loop's own parts."""
        self._p, self._waiting, self._patience = parts, waiting, patience
        self._finishing = Finishing(parts, waiting, patience)
        self._jobs: dict[int, File] = {}
        self._ids = itertools.count(1)

    @property
    def in_hand(self) -> int:
        """How many jobs are with workers."""
        return len(self._jobs)

    def abandon(self) -> None:
        """Give up what is in hand, without a trace; the pool has been closed."""
        try:
            for file in list(self._jobs.values()):
                self._finishing.give_back(file)
        finally:  # where the ledger is full, intents stay for the next start; descriptors and staging files must not
            for file in self._waiting:
                self._finishing.put_down(file)
            self._jobs.clear()

    # --- queued -> working

    def start(self, file: File) -> None:
        """Open a queued file and hand it to an idle worker; or settle, retry or hold it."""
        if self._keeps_crashing(file):
            detail = f"we ended {self._patience.max_attempts} times while this file was worked on"
            self._finishing.hold(file, Reason.INTERRUPTED, detail)
            return
        directory, _, name = file.path.rpartition("/")
        try:
            fd = beneath.open_file(file.plan.path, directory, name)
        except FileNotFoundError:
            self._waiting.remove(file)
            return
        except OSError as error:
            file.attempts += 1
            self._finishing.failed(file, reason_of(error), error.strerror or str(error), retryable=True)
            return
        if not self._take_in_hand(file, fd):
            os.close(fd)

    def _keeps_crashing(self, file: File) -> bool:
        """Tell whether every try ended with the end of us all (out of memory, say): a failed one is judged at once."""
        if file.attempts < self._patience.max_attempts:
            return False
        entry = self._p.ledger.entry(*file.key)
        return entry is not None and entry.reason is Reason.INTERRUPTED and entry.source == file.settling.fingerprint

    def _take_in_hand(self, file: File, fd: int) -> bool:
        """Check the open file and hand it to a worker; False leaves `fd` to the caller."""
        st, now = os.fstat(fd), self._p.clock()
        if Fingerprint.from_stat(st) != file.settling.fingerprint:
            self._waiting.settle_again(file, now=now)
            return False
        verdict = decide.on_settled(
            links=st.st_nlink, hard_links_ok=file.plan.hard_links_ok,
            open_for_writing=publisher.open_for_writing(fd), overdue=file.overdue(now),
        )  # fmt: skip
        match verdict:
            case decide.Hold():
                self._finishing.hold(file, verdict.reason, verdict.detail)
            case decide.Retry():
                self._waiting.settle_again(file, now=now)
            case decide.Start():
                return self._begin(file, fd, st.st_mtime_ns)
            case _:
                assert_never(verdict)
        return False

    def _begin(self, file: File, fd: int, mtime_ns: int) -> bool:
        plan, target = file.plan, Target(file.plan.to, file.path)
        file.attempts += 1
        origin = delivery.Origin(plan.path, file.path, file.settling.fingerprint, plan.recipe.digest, file.attempts)
        try:
            file.work = delivery.begin(self._p.ledger, origin, mode=plan.mode, target=target, source_fd=fd)
        except OSError as error:
            self._finishing.failed(file, reason_of(error), f"{target.absolute}: {error.strerror}", retryable=True)
            return False
        file.move(State.WORKING)
        file.job, file.skipped = next(self._ids), ""
        self._jobs[file.job] = file
        job = Job(
            file.job, file.absolute, plan.recipe, plan.mode, file.settling.fingerprint,
            mtime_ns if plan.keep_mtime else None, self._patience.max_bytes,
        )  # fmt: skip
        if not self._p.pool.submit(job, source_fd=fd, staging_fd=file.work.staging.fd):
            del self._jobs[file.job]
            self._finishing.give_back(file)
        return True

    # --- working -> outcome

    def heard(self, event: Hashed | JobResult | Lost) -> None:
        """Go on with the file that a worker speaks of."""
        if isinstance(event, Hashed):
            self._on_hashed(self._jobs[event.job], event)
        else:
            self._on_result(self._jobs.pop(event.job), event)

    def _on_hashed(self, file: File, hashed: Hashed) -> None:
        assert file.work is not None  # noqa: S101 - a job has its work
        file.work.digest = hashed.digest
        ledger, plan = self._p.ledger, file.plan
        entry = ledger.entry(plan.path, file.path)
        verdict = decide.on_digest(
            hashed.digest, entry, recipe=plan.recipe.digest, mode=plan.mode,
            own_output=plan.mode is Mode.IN_PLACE and ledger.is_output(plan.path, hashed.digest, plan.recipe.digest),
            target_present=entry is not None and delivery.is_published(file.work, entry),
        )  # fmt: skip
        file.skipped = verdict.why if isinstance(verdict, decide.Skip) else ""
        self._p.pool.answer(hashed.job, proceed=not file.skipped)

    def _on_result(self, file: File, result: JobResult | Lost) -> None:
        if not isinstance(result, Staged) and not self._finishing.source_is_what_was_read(file):
            self._finishing.newer(file)  # its events came while it was in hand, and will not come again
            return
        match result:
            case Staged():
                self._finishing.staged(file, result)
            case Untouched():
                self._finishing.untouched(file, result)
            case Abandoned():
                self._finishing.skipped(file)
            case Refused():
                self._finishing.refused(file, result)
            case Lost():
                self._finishing.failed(file, result.reason, result.detail, retryable=True)
            case _:
                assert_never(result)
