"""The files in hand: opened, checked, handed to a worker, and what the worker says of them."""

from __future__ import annotations

import itertools
import os
from collections import Counter, deque
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, assert_never

from faceblurd.model import Abandoned, Fingerprint, Hashed, Job, Mode, Reason, Refused, Staged, State, Untouched
from faceblurd.outlet import beneath, contents, delivery
from faceblurd.outlet.staging import Target
from faceblurd.rules import decide
from faceblurd.workers.pool import Lost

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceblurd.model import JobResult
    from faceblurd.outlet.delivery import Work
    from faceblurd.pipeline.files import File, Parts, Patience
    from faceblurd.pipeline.finishing import Finishing
    from faceblurd.pipeline.waiting import Waiting


@dataclass(frozen=True, slots=True)
class _Opened:
    """A source that was opened, and what the kernel says of it."""

    fd: int
    st: os.stat_result
    open_for_writing: bool


def _open(root: str, path: str) -> _Opened:
    directory, _, name = path.rpartition("/")
    fd = beneath.open_file(root, directory, name)
    return _Opened(fd, os.fstat(fd), contents.open_for_writing(fd))


class Working:
    """Knows which job is which file. Called in the loop's thread; calls that may hang are made by the root's."""

    def __init__(self, parts: Parts, waiting: Waiting, finishing: Finishing, patience: Patience) -> None:
        """Use the loop's own parts."""
        self._p, self._waiting, self._finishing, self._patience = parts, waiting, finishing, patience
        self._jobs: dict[int, File] = {}
        self._ids = itertools.count(1)
        self._starting: Counter[str] = Counter()  # files that are being opened, by root
        self._ready: deque[tuple[File, int]] = deque()  # opened and staged, with their mtime: the next idle worker's
        self.stopping = False

    @property
    def in_hand(self) -> int:
        """How many jobs are with workers."""
        return len(self._jobs)

    @property
    def prepared(self) -> int:
        """How many files are opened, or about to be."""
        return len(self._ready) + self._starting.total()

    def wants(self, idle: int) -> bool:
        """Say whether there are more idle workers than files for them."""
        return idle > len(self._ready)

    def busy_roots(self, idle: int) -> set[str]:
        """List the roots that open enough files for all idle workers: one that hangs must not take every place."""
        return {root for root, number in self._starting.items() if number >= idle}

    def abandon(self) -> None:
        """Give up what is in hand, without a trace; the pool has been closed, and errands that hang are left alone."""
        files = [*self._jobs.values(), *(file for file, _ in self._ready)]
        self._jobs.clear()
        self._ready.clear()
        try:
            for file in files:
                self._finishing.give_back(file)
        finally:  # where the ledger is full, intents stay for the next start; descriptors and staging files must not
            for file in self._waiting:
                if not file.out:
                    self._finishing.put_down(file)

    def give_back(self, root: str) -> None:
        """Take the jobs of a root that does not answer from their workers, which wait for it too."""
        for job, file in list(self._jobs.items()):
            if file.plan.path == root and not file.out:
                del self._jobs[job]
                self._p.pool.cancel(job)
                self._finishing.give_back(file)

    # --- queued -> working

    def start(self, file: File, *, to_device: int | None) -> None:
        """Open a queued file and hand it to an idle worker; or settle, retry or hold it."""
        if self._keeps_crashing(file):
            detail = f"we ended {self._patience.max_attempts} times while this file was worked on"
            self._finishing.hold(file, Reason.INTERRUPTED, detail)
            return
        self._starting[file.plan.path] += 1
        target = Target(file.plan.to, file.path, to_device)
        self._p.errands.send(file.plan.path, partial(_open, *file.key), partial(self._opened, file, target))

    def _keeps_crashing(self, file: File) -> bool:
        """Tell whether every try ended with the end of us all (out of memory, say): a failed one is judged at once."""
        if file.attempts < self._patience.max_attempts:
            return False
        entry = self._p.ledger.entry(*file.key)
        return entry is not None and entry.reason is Reason.INTERRUPTED and entry.source == file.settling.fingerprint

    def _opened(self, file: File, target: Target, answer: _Opened | OSError) -> None:
        self._starting[file.plan.path] -= 1
        if isinstance(answer, FileNotFoundError):
            self._waiting.remove(file)
        elif isinstance(answer, OSError):
            file.attempts += 1
            reason, detail = decide.reason_of(answer.errno), answer.strerror or str(answer)
            if reason is Reason.BEING_WRITTEN:
                detail = "some program keeps the file to itself (it has a lease)"
            self._finishing.failed(file, reason, detail, retryable=True)
        elif self.stopping:
            os.close(answer.fd)
        elif self._may_start(file, answer):
            self._stage(file, target, answer)
        else:
            os.close(answer.fd)

    def _may_start(self, file: File, opened: _Opened) -> bool:
        """Check the open file; False when it has to settle, or is held."""
        now = self._p.clock()
        file.first_look = now if file.first_look is None else file.first_look
        if Fingerprint.from_stat(opened.st) != file.settling.fingerprint:
            self._waiting.settle_again(file, now=now)
            return False
        entry = self._p.ledger.entry(*file.key)
        is_released = entry is not None and decide.is_released_for(entry, file.plan.to)
        if entry is not None and is_released and entry.source == file.settling.fingerprint:
            self._waiting.remove(file)  # seen before `quarantine release` had written it down
            return False
        verdict = decide.on_settled(
            links=opened.st.st_nlink, hard_links_ok=file.plan.hard_links_ok,
            open_for_writing=opened.open_for_writing, overdue=file.overdue(now),
        )  # fmt: skip
        match verdict:
            case decide.Hold():
                self._finishing.hold(file, verdict.reason, verdict.detail)
            case decide.Retry():
                self._waiting.settle_again(file, now=now)
            case decide.Start():
                return True
            case _:
                assert_never(verdict)
        return False

    def _stage(self, file: File, target: Target, opened: _Opened) -> None:
        plan = file.plan
        file.attempts += 1
        origin = delivery.Origin(*file.key, file.settling.fingerprint, plan.recipe.digest, file.attempts)
        intent = delivery.intend(self._p.ledger, origin, target)
        self._finishing.live.add(intent.token)
        file.move(State.WORKING)
        file.out = True
        self._starting[plan.path] += 1
        terms = delivery.terms_of(plan.mode, keeps_user=plan.keeps_attributes, limited=plan.access_limited)
        make = partial(delivery.stage, intent, mode=plan.mode, target=target, source_fd=opened.fd, terms=terms)

        def staged(answer: Work | OSError) -> None:
            self._starting[plan.path] -= 1
            file.out = False
            if isinstance(answer, OSError):
                self._finishing.sweep(file, intent)
                os.close(opened.fd)
                detail = f"{target.absolute}: {answer.strerror}"
                self._finishing.failed(file, decide.reason_of(answer.errno), detail, retryable=True)
                return
            file.work = answer
            self._ready.append((file, opened.st.st_mtime_ns))

        self._p.errands.send(plan.path, make, staged)

    def feed(self, available: Callable[[str], bool]) -> None:
        """Hand files that are ready to idle workers."""
        while self._ready and self._p.pool.idle and not self.stopping:
            file, mtime_ns = self._ready.popleft()
            if not available(file.plan.path) or not self._submit(file, mtime_ns):
                self._finishing.give_back(file)

    def _submit(self, file: File, mtime_ns: int) -> bool:
        plan, work = file.plan, file.opened()
        file.job, file.skipped = next(self._ids), ""
        job = Job(
            file.job, file.absolute, plan.recipe, plan.mode, file.settling.fingerprint,
            mtime_ns + plan.mtime_step_ns if plan.keep_mtime else None, self._patience.max_bytes,
        )  # fmt: skip
        if not self._p.pool.submit(job, source_fd=work.source_fd, staging_fd=work.staging.fd):
            return False
        self._jobs[file.job] = file
        return True

    # --- working -> outcome

    def heard(self, event: Hashed | JobResult | Lost) -> None:
        """Go on with the file that a worker speaks of; one that was taken from it has none."""
        file = self._jobs.get(event.job)
        if file is None:
            return
        if isinstance(event, Hashed):
            self._on_hashed(file, event)
            return
        del self._jobs[event.job]
        self._on_result(file, event)

    def _on_hashed(self, file: File, hashed: Hashed) -> None:
        work = file.opened()
        work.digest = hashed.digest
        ledger, plan = self._p.ledger, file.plan
        entry = ledger.entry(*file.key)
        own = plan.mode is Mode.IN_PLACE and ledger.is_own_result(hashed.digest, plan.recipe.digest)

        def judged(present: bool | OSError | None) -> None:  # noqa: FBT001 - what the errand gave
            verdict = decide.on_digest(
                hashed.digest, entry, recipe=plan.recipe.digest, mode=plan.mode, to=plan.to, own_output=own,
                target_present=present is True,
            )  # fmt: skip
            file.skipped = verdict.why if isinstance(verdict, decide.Skip) else ""
            self._p.pool.answer(hashed.job, proceed=not file.skipped)

        if plan.mode is Mode.MIRROR and entry is not None:
            self._p.errands.send(plan.path, partial(work.has_result, entry), judged)
        else:
            judged(None)

    def _on_result(self, file: File, result: JobResult | Lost) -> None:
        if isinstance(result, Staged):
            self._finishing.staged(file, result)
            return

        def looked(answer: Fingerprint | OSError | None) -> None:
            if isinstance(answer, Fingerprint):
                file.settling = replace(file.settling, fingerprint=answer)
                self._on_other_result(file, result)
            elif answer is None:
                self._finishing.newer(file)  # its events came while it was in hand, and will not come again
            else:
                reason = decide.reason_of(answer.errno)
                self._finishing.failed(file, reason, answer.strerror or str(answer), retryable=True)

        stays = isinstance(result, Untouched | Abandoned) and file.skipped != decide.RELEASED
        look = partial(delivery.leave_as_it_is, keeps_user=file.plan.keeps_attributes) if stays else delivery.as_read
        self._p.errands.send(file.plan.path, partial(look, file.opened()), looked)

    def _on_other_result(self, file: File, result: Untouched | Abandoned | Refused | Lost) -> None:
        match result:
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
