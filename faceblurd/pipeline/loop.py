"""The loop: takes sightings, lets files settle, hands them to workers, passes results on, waits."""

from __future__ import annotations

import stat
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from faceblurd.intake.scanner import Batch
from faceblurd.model import Fingerprint, Sighting, Source, State
from faceblurd.outlet import beneath
from faceblurd.pipeline.waiting import Waiting
from faceblurd.pipeline.working import Working
from faceblurd.rules import decide, settle
from faceblurd.rules import filter as names
from faceblurd.workers import messages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faceblurd.intake.root import RootWatch
    from faceblurd.intake.scanner import Finished
    from faceblurd.model import JobResult
    from faceblurd.pipeline.files import Parts, Patience, RootPlan
    from faceblurd.workers.pool import Event

MOST_EVENTS_A_STEP = 200
MOST_SECONDS_A_STEP = 5.0
REQUEST_SECONDS = 1.0  # how soon a `quarantine retry` from another process is noticed
MOST_BACK_OFF_SECONDS = 300.0


class Pipeline:
    """Owns every file between sighting and outcome."""

    def __init__(self, parts: Parts, plans: Iterable[RootPlan], patience: Patience) -> None:
        """Prepare; `step` does the work."""
        self._p, self._patience = parts, patience
        self._plans = {plan.path: plan for plan in plans}
        self.roots: dict[str, RootWatch] = {}
        self.waiting = Waiting()
        self._working = Working(parts, self.waiting, patience)
        self._next_request_check = 0.0
        self._ledger_version = -1
        self.setup_failed: messages.SetupFailed | None = None
        self.stopping = False

    def plan(self, root: str) -> RootPlan:
        """Give the plan of a root as it was assembled: its recipe counts the plugins."""
        return self._plans[root]

    @property
    def idle(self) -> bool:
        """Whether nothing is waited for, queued, in hand, or unread."""
        scanning = any(root.scanning for root in self.roots.values())
        return not len(self.waiting) and not len(self._p.inbox) and not scanning and self._hook_rests()

    def _hook_rests(self) -> bool:
        """Whether no hook call runs or is due now; one that waits for its next try is in the outbox."""
        hook = self._p.hook
        if hook is None or hook.idle:
            return True
        due = hook.next_due()
        return not hook.running and due is not None and due > self._p.clock() + 1

    # --- the loop

    def step(self, most_seconds: float = MOST_SECONDS_A_STEP) -> None:
        """Do what is due, then wait for the next thing to happen."""
        now = self._p.clock()
        for root in self.roots.values():
            root.tick(now)
        self._take_requests(now)
        self._take_sightings()
        self._take_timers()
        self._dispatch()
        if self._p.hook is not None:
            self._p.hook.tick(self._p.clock())
        self._wait(most_seconds)

    def _wait(self, most_seconds: float) -> None:
        waitables = [self._p.inbox.fd, *self._p.pool.waitables()]
        if self._p.hook is not None:
            waitables.extend(self._p.hook.waitables())
        ready = wait(waitables, self._seconds_to_wait(most_seconds))
        for event in (*self._p.pool.collect(ready), *self._p.pool.expire()):
            self._on_pool(event)

    def _seconds_to_wait(self, most_seconds: float) -> float:
        dues = [self._p.pool.next_due(), self.waiting.next_due()]
        dues += [root.next_due() for root in self.roots.values()]
        dues.append(None if self._p.hook is None else self._p.hook.next_due())
        soonest = min((due for due in dues if due is not None), default=float("inf"))
        return max(0.0, min(most_seconds, soonest - self._p.clock()))

    def _take_requests(self, now: float) -> None:
        """Notice what `quarantine retry` wrote into the ledger, and at the first call what the last run left."""
        if now < self._next_request_check:
            return
        self._next_request_check = now + REQUEST_SECONDS
        version = self._p.ledger.changed_elsewhere()
        if version != self._ledger_version:
            self._ledger_version = version
            for entry in self._p.ledger.in_state(State.RETRY):
                self.sight(Sighting(entry.root, entry.path, Source.EVENT))

    # --- seen -> settling

    def _take_sightings(self) -> None:
        self._p.inbox.clear_bell()
        for sighting in self._p.inbox.events(MOST_EVENTS_A_STEP):
            self.sight(sighting)
        item = self._p.inbox.scan()
        if isinstance(item, Batch):
            plan = self._plans.get(item.root)
            if plan is not None and self._available(plan):
                for found in item.found:
                    self.consider(plan, found.path, found.fingerprint, Source.SCAN)
        elif item is not None:
            self._scan_finished(item)

    def _scan_finished(self, finished: Finished) -> None:
        root = self.roots.get(finished.root)
        if root is not None:
            root.scan_finished(finished, self._p.clock())
        self._p.tell(
            "root.scanned", root=finished.root, directories=finished.directories, files=finished.files,
            errors=list(finished.errors[:5]),
        )  # fmt: skip

    def _available(self, plan: RootPlan) -> bool:
        root = self.roots.get(plan.path)
        return root is None or root.available

    def sight(self, sighting: Sighting) -> None:
        """Have a look at a path that somebody pointed at."""
        plan = self._plans.get(sighting.root)
        if plan is None or not self._available(plan):
            return
        if not names.wanted(sighting.path, plan.selection.include, plan.selection.exclude):
            return
        fingerprint = self._fingerprint(plan, sighting.path)
        if fingerprint is not None:
            self.consider(plan, sighting.path, fingerprint, sighting.source)

    def _fingerprint(self, plan: RootPlan, path: str) -> Fingerprint | None:
        """Look at a file; None when there is none, or nothing that is followed (link, FIFO, other file system)."""
        try:
            st = beneath.look(plan.path, path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._p.tell("file.unreachable", path=f"{plan.path}/{path}", detail=error.strerror)
            return None
        return Fingerprint.from_stat(st) if stat.S_ISREG(st.st_mode) else None

    def consider(self, plan: RootPlan, path: str, fingerprint: Fingerprint, source: Source) -> None:
        """Take a file on that is there, unless it is done, held, or on its way already."""
        now = self._p.clock()
        file = self.waiting.get(plan.path, path)
        if file is not None:
            self.waiting.hinted(file, fingerprint, source, now=now)
            return
        verdict = decide.on_sight(
            fingerprint, self._p.ledger.entry(plan.path, path), recipe=plan.recipe.digest,
            ignores_unsupported=plan.ignore_unsupported, takes_away=plan.take_away_held,
        )  # fmt: skip
        if isinstance(verdict, decide.TakeAway):
            self._working.take_away(verdict.entry)
            return
        if isinstance(verdict, decide.Skip) or self._p.plugins.skip_candidate(f"{plan.path}/{path}", fingerprint.size):
            return
        pause = 0.0
        if verdict.attempts:
            seconds = self._patience.retry_seconds
            pause = settle.back_off(attempts=verdict.attempts, base_seconds=seconds, most_seconds=MOST_BACK_OFF_SECONDS)
        file = self.waiting.add(plan, path, fingerprint, source, now=now, pause_seconds=pause)
        file.attempts = verdict.attempts
        self._p.pool.warm(1)  # it starts while the file settles

    # --- settling -> queued

    def _take_timers(self) -> None:
        now = self._p.clock()
        for file in self.waiting.due(now):
            fingerprint = self._fingerprint(file.plan, file.path) if self._available(file.plan) else None
            if fingerprint is None:
                self.waiting.remove(file)  # gone; or its root is, and the scan after its return finds it again
            else:
                self.waiting.judge(file, fingerprint, now=now)

    # --- queued -> working -> outcome

    def _dispatch(self) -> None:
        if self.stopping or not self.waiting.queued:
            return
        self._p.pool.warm(self.waiting.queued + self._p.pool.busy)
        while self._p.pool.idle:
            file = self.waiting.pop()
            if file is None:
                return
            if self._available(file.plan):
                self._working.start(file)
            else:
                self.waiting.remove(file)  # nothing is written below an empty mount point

    def _on_pool(self, event: Event | JobResult) -> None:
        match event:
            case messages.Ready():
                return
            case messages.SetupFailed():
                self.setup_failed = event
            case _:
                self._working.heard(event)

    # --- the end

    @property
    def in_hand(self) -> int:
        """How many jobs are with workers."""
        return self._working.in_hand

    def abandon(self) -> None:
        """Give up what is in hand, without a trace: no staging file, no attempt counted."""
        self._p.pool.close()
        self._working.abandon()
