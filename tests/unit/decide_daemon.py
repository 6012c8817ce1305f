"""A model of the daemon: the real rules, the real queue and the real ledger, and every step around them in its order.

Follows `pipeline.loop`, `pipeline.working` and `pipeline.finishing`; `decide_outlet` follows the outlet. A job is a
generator that stops before each step: there a person may do something, or the process may end. `WORKER` steps of
several jobs mix; a `PARENT` step is followed by the others of the same job, as in the one thread that works on a root's
disk. At an `ANSWER`, what that thread has done waits to be written down by the pipeline's own.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from decide_outlet import ANSWER, PARENT, WORKER, Job, Outlet
from decide_waiting import Waiting

from faceblurd.model import Entry, Fingerprint, Intent, Mode, Reason, Source, State
from faceblurd.rules import decide, settle

if TYPE_CHECKING:
    from collections.abc import Generator

    from decide_waiting import File
    from decide_world import Inode, World

    from faceblurd.engine.model import RootPlan
    from faceblurd.ledger.ledger import Ledger

    Steps = Generator[str, str, None]

MAX_ATTEMPTS, RETRY_SECONDS = 3, 5.0
tokens = itertools.count(1)


class Daemon(Outlet):
    """One run, from the recovery to a stop or a crash."""

    def __init__(self, world: World, ledger: Ledger, plan: RootPlan, *, named_staging: bool) -> None:
        self.world, self.ledger, self.plan, self.named_staging = world, ledger, plan, named_staging
        self.in_place = plan.mode is Mode.IN_PLACE
        self.waiting = Waiting()
        self.jobs: list[Steps] = []
        self.at: dict[int, str] = {}
        self.open: list[Job] = []
        self.worked = 0
        self.seen: list[tuple[str, Fingerprint, Source]] = []  # looks whose answers were not handed over yet
        self.recover_at: float | None = None  # what could not be finished
        self.broken = False  # a step has failed: the end of the history would hide how
        self._launch(self._recover())

    # --- steps

    def _launch(self, steps: Steps) -> None:
        self.jobs.append(steps)
        self._advance(steps, "")

    def _advance(self, steps: Steps, fault: str) -> None:
        try:
            self.at[id(steps)] = steps.send(fault) if fault or id(steps) in self.at else next(steps)
        except StopIteration:
            self.jobs.remove(steps)
            self.at.pop(id(steps), None)
        except AssertionError:
            self.broken = True
            raise

    def step(self, number: int, fault: str) -> None:
        """Go on with one job; one that the parent is at goes first."""
        busy = [steps for steps in self.jobs if self.at[id(steps)] == PARENT]
        self._advance(busy[0] if busy else self.jobs[number % len(self.jobs)], fault or "ok")

    def crash(self) -> None:
        """End at once: descriptors are closed, nothing else happens."""
        for job in self.open:
            self.world.let_go(job.staging)
            self.world.let_go(job.inode)
        self.open.clear()
        self.jobs.clear()

    def stop(self) -> None:
        """End in order: what is in hand is given back without a trace. Not in the middle of a parent's step."""
        for job in list(self.open):
            self.ledger.end(job.intent.token)
            self._put_down(job)
        self.jobs.clear()

    @property
    def idle(self) -> bool:
        return not self.jobs and not len(self.waiting) and not self.seen and self.recover_at is None

    @property
    def publishing(self) -> bool:
        return PARENT in self.at.values()

    @property
    def answering(self) -> bool:
        return ANSWER in self.at.values()

    # --- pipeline.loop

    def _recover(self) -> Steps:
        in_hand = {job.intent.token for job in self.open}
        self.recover_at = None
        for intent in self.ledger.intents():
            if intent.token in in_hand:
                continue
            if (yield from self._recover_one(intent)):
                self.look(intent.path, Source.EVENT)
            else:
                self.recover_at = self.world.now + decide.DISK_SECONDS
        for entry in self.ledger.in_state(State.RETRY):
            self.look(entry.path, Source.EVENT)

    def look(self, path: str, source: Source) -> None:
        """Look at a path; by the time that the answer is there, it may be another file."""
        fingerprint = self.world.print_at(self.world.source, path)
        if fingerprint is not None:
            self.seen.append((path, fingerprint, source))

    def collect(self) -> None:
        """Take the answers of the looks."""
        while self.seen:
            self._consider(*self.seen.pop(0))

    def _consider(self, path: str, fingerprint: Fingerprint, source: Source) -> None:
        file = self.waiting.get(path)
        if file is not None:
            self.waiting.hinted(file, fingerprint, source, now=self.world.now)
            return
        verdict = decide.on_sight(
            fingerprint, self.ledger.entry(self.plan.path, path), recipe=self._recipe, to=self.plan.to
        )
        if isinstance(verdict, decide.Skip):
            return
        pause = 0.0
        if verdict.attempts:
            pause = settle.back_off(attempts=verdict.attempts, base_seconds=RETRY_SECONDS, most_seconds=300.0)
        file = self.waiting.add(self.plan, path, fingerprint, source, now=self.world.now, pause_seconds=pause)
        file.attempts = verdict.attempts

    @property
    def _recipe(self) -> str:
        return self.plan.recipe.digest

    def take_timers(self) -> None:
        world = self.world
        if self.recover_at is not None and self.recover_at <= world.now:
            self._launch(self._recover())
        for file in self.waiting.due(world.now):
            fingerprint = world.print_at(world.source, file.path)
            if fingerprint is None:
                self.waiting.remove(file)
                continue
            self.waiting.judge(file, fingerprint, now=world.now)
            if file.state is State.QUEUED:
                still = world.now - world.source[file.path].changed_at
                assert still >= self.plan.quiet_seconds, f"taken {still} s after it changed"

    def dispatch(self) -> None:
        while len(self.jobs) < 2 and not self.publishing:
            file = self.waiting.pop()
            if file is None:
                return
            self._launch(self._start(file))

    # --- pipeline.working

    def _start(self, file: File) -> Steps:
        entry = self.ledger.entry(*file.key)
        crashed = entry is not None and entry.reason is Reason.INTERRUPTED
        if file.attempts >= MAX_ATTEMPTS and crashed and entry.source == file.settling.fingerprint:
            self._hold(file, None, Reason.INTERRUPTED)
            return
        inode = self.world.source.get(file.path)
        if inode is None:
            self.waiting.remove(file)
            return
        if self.world.print_of(inode) != file.settling.fingerprint:
            self.waiting.settle_again(file, now=self.world.now)
            return
        file.first_look = self.world.now if file.first_look is None else file.first_look
        verdict = decide.on_settled(
            links=1, hard_links_ok=False, open_for_writing=inode.writers > 0, overdue=file.overdue(self.world.now)
        )
        if isinstance(verdict, decide.Hold):
            self._hold(file, None, verdict.reason)
        elif isinstance(verdict, decide.Retry):
            self.waiting.settle_again(file, now=self.world.now)
        else:
            yield from self._work_on(file, inode)

    def _work_on(self, file: File, inode: Inode) -> Steps:
        world = self.world
        file.attempts += 1
        token = f"t{next(tokens)}"
        name = f".faceblurd-{token}.tmp"
        print_ = file.settling.fingerprint
        intent = Intent(
            token, self.plan.path, file.path, f"{self.plan.to}/{file.path}", f"{self.plan.to}/{name}", print_,
            self._recipe, file.attempts,
        )  # fmt: skip
        world.hold(inode)
        self.ledger.begin(intent)
        staging = world.make("partial")
        world.hold(staging)
        job = Job(file, inode, print_, intent, staging, None)
        self.open.append(job)
        fault = yield PARENT
        if fault == "no space":
            self.ledger.end(token)
            self._put_down(job)
            self._failed(file, None, Reason.NO_SPACE, retryable=True)
            return
        if self.named_staging:
            world.link(name, staging)
            world.sync()
            job.name = name
        file.move(State.WORKING)
        yield from self._worker(job)

    def _worker(self, job: Job) -> Steps:
        """What the worker does, and `Working.heard`."""
        world, file = self.world, job.file
        self.worked += 1
        fault = yield WORKER
        if fault == "lost":
            yield from self._not_staged(job, self._failed, Reason.WORKER_CRASHED, retryable=True)
            return
        if world.print_of(job.inode) != job.fingerprint:
            self._newer(job)
            return
        content = job.digest = job.inode.content
        yield WORKER
        entry = self.ledger.entry(*file.key)
        own = self.in_place and self.ledger.is_own_result(content, self._recipe)
        verdict = decide.on_digest(
            content, entry, recipe=self._recipe, mode=self.plan.mode, to=self.plan.to, own_output=own,
            target_present=not self.in_place and entry is not None and self._has_result(entry),
        )  # fmt: skip
        if isinstance(verdict, decide.Skip):
            assert self.in_place or file.path in world.target, "skipped, and nothing is in the mirror"
            yield WORKER
            yield from self._not_staged(job, self._skipped)
            return
        assert not own, "our own output is blurred again under the same recipe"
        fault = yield WORKER
        if fault == "lost":
            yield from self._not_staged(job, self._failed, Reason.WORKER_CRASHED, retryable=True)
        elif content.startswith("bad "):
            yield from self._not_staged(job, self._failed, Reason.DAMAGED, retryable=False)
        elif content.startswith("clean ") and self.in_place:
            yield from self._not_staged(job, self._record, State.CLEAN, None)
        else:
            job.output = content if content.startswith("clean ") else f"{self._recipe}({content})"
            world.write(job.staging, job.output, mtime=job.fingerprint.mtime_ns)
            yield WORKER
            yield from self._staged(job)

    def _not_staged(self, job: Job, end: object, *arguments: object, **options: object) -> Steps:
        still = self._source_is_what_was_read(job)
        yield ANSWER
        if still:
            end(job.file, job, *arguments, **options)  # type: ignore[operator]
        else:
            self._newer(job)

    # --- pipeline.finishing

    def _staged(self, job: Job) -> Steps:
        file = job.file
        file.move(State.STAGED)
        published = yield from self._deliver(job, self.ledger.entry(*file.key))
        yield ANSWER
        if published == "newer":
            self._newer(job)
        elif published == "occupied":
            self._hold(file, job, Reason.TARGET_EXISTS)
        else:
            state = State.CLEAN if job.output.startswith("clean ") else State.PUBLISHED
            self._record(file, job, state, job.output, target=published)

    def _skipped(self, file: File, job: Job) -> None:
        entry = self.ledger.entry(*file.key)
        if entry is None or job.digest not in {entry.input_digest, entry.output_digest}:
            entry = Entry(*file.key, State.PUBLISHED, self._recipe, job.fingerprint, None, job.digest)
        state = decide.state_of_known(entry, job.digest)
        self._commit(
            job,
            replace(
                entry, state=state, recipe=self._recipe, source=job.fingerprint, attempts=0, reason=None,
                target=job.fingerprint if self.in_place else entry.target, to=self.plan.to,
            ),
        )  # fmt: skip
        self._close(file, job, state)

    def _record(
        self, file: File, job: Job, state: State, output: str | None, target: Fingerprint | None = None
    ) -> None:
        """Commit a good end. The ledger is never ahead of the disk."""
        assert self.world.durable >= job.change, "recorded before the directory was durable"
        target = target or job.fingerprint
        source = target if self.in_place else job.fingerprint
        entry = Entry(*file.key, state, self._recipe, source, job.digest, output, target, to=self.plan.to)
        self._commit(job, entry)
        self._close(file, job, state)

    def _failed(self, file: File, job: Job | None, reason: Reason, *, retryable: bool) -> None:
        plan = decide.on_failure(
            reason, retryable=retryable, attempts=file.attempts, max_attempts=MAX_ATTEMPTS,
            retry_seconds=RETRY_SECONDS, overdue=file.overdue(self.world.now),
        )  # fmt: skip
        if isinstance(plan, decide.Hold):
            self._hold(file, job, reason)
            return
        if reason in decide.NOT_THE_FILES_FAULT:
            file.attempts = max(0, file.attempts - 1)
        self._commit(job, self._failure_entry(file, State.RETRY, reason))
        if job is not None:
            self._put_down(job)
        self.waiting.retry_at(file, self.world.now + plan.after_seconds)

    def _hold(self, file: File, job: Job | None, reason: Reason) -> None:
        self._commit(job, self._failure_entry(file, State.QUARANTINED, reason))
        self._close(file, job, State.QUARANTINED)

    def _failure_entry(self, file: File, state: State, reason: Reason) -> Entry:
        before = self.ledger.entry(*file.key)
        entry = Entry(
            *file.key, state, self._recipe, file.settling.fingerprint, attempts=file.attempts, reason=reason,
            to=self.plan.to,
        )  # fmt: skip
        if before is None or (self.in_place and before.recipe != entry.recipe):
            return entry
        return replace(entry, target=before.target, output_digest=before.output_digest)

    def _newer(self, job: Job) -> None:
        self.ledger.end(job.intent.token)
        self._put_down(job)
        job.file.attempts = 0
        self.waiting.settle_again(job.file, now=self.world.now)

    def _commit(self, job: Job | None, entry: Entry) -> None:
        with self.ledger.transaction():
            self.ledger.put(entry)
            if job is not None:
                self.ledger.end(job.intent.token)

    def _put_down(self, job: Job) -> None:
        """`Staging.discard`: only what nobody needs is removed."""
        if job.name is not None and job.name in self.world.target:
            self._unlink(job.name, {job.output, job.digest})
            self.world.sync()
        self.open.remove(job)
        self.world.let_go(job.staging)
        self.world.let_go(job.inode)

    def _close(self, file: File, job: Job | None, state: State) -> None:
        if job is not None:
            self._put_down(job)
        file.move(state)
        self.waiting.remove(file)
