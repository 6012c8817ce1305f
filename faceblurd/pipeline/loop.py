"""The loop: takes sightings, lets files settle, hands them to workers, passes results on, waits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from faceblurd.intake.scanner import Batch
from faceblurd.model import Reason, Sighting, Source, State
from faceblurd.outlet import recovery
from faceblurd.pipeline.finishing import Finishing
from faceblurd.pipeline.housekeeping import Housekeeping
from faceblurd.pipeline.leftovers import Leftovers
from faceblurd.pipeline.sighting import Looking
from faceblurd.pipeline.upkeep import Upkeep
from faceblurd.pipeline.waiting import Waiting
from faceblurd.pipeline.working import Working
from faceblurd.rules import decide
from faceblurd.workers import messages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faceblurd.intake.filesystem import RootIdentity
    from faceblurd.intake.root import RootWatch
    from faceblurd.intake.scanner import Finished, Found, Left
    from faceblurd.model import Fingerprint, JobResult
    from faceblurd.outlet.recovery import ClearedUp
    from faceblurd.pipeline.files import File, Parts, Patience, RootPlan
    from faceblurd.workers.pool import Event

MOST_EVENTS_A_STEP = 200
MOST_SECONDS_A_STEP = 5.0
MOST_OF_A_ROOT = 2000  # files of a scan on their way: some 2 MB; the rest waits on the disk
LEAST_ROOM_BYTES = 1 << 16
RECOVER_SECONDS = 2.0  # before what was left half done is looked at: its disk has just failed
ABANDON_SECONDS = 3.0  # for what is under way on a root; one that hangs is left to the next start
REQUEST_SECONDS = 1.0  # how soon a `quarantine retry` from another process is noticed


class Pipeline:
    """Owns every file between sighting and outcome."""

    def __init__(self, parts: Parts, plans: Iterable[RootPlan], patience: Patience) -> None:
        """Prepare; `step` does the work."""
        self._p = parts
        self._plans = {plan.path: plan for plan in plans}
        self.roots: dict[str, RootWatch] = {}
        self.waiting = Waiting()
        self._finishing = Finishing(parts, self.waiting, self._plans, patience, self._trouble)
        self._looking = Looking(parts, self.waiting, self._plans, patience, self._available, self._finishing.take_away)
        self._housekeeping = Housekeeping(parts, self.waiting, self._plans)
        self.leftovers = Leftovers(parts, self._plans)
        self._upkeep = Upkeep(parts, self.waiting, self._plans, self._looking.at)
        self._working = Working(parts, self.waiting, self._finishing, patience)
        self._unfinished: dict[str, float] = {}  # when to look again at what could not be finished, by root
        self._postponed: set[str] = set()  # tokens of intents of which that was said
        self._next_request_check = 0.0
        self._ledger_version = -1
        self._last_scans: dict[str, Finished] = {}
        self.setup_failed: messages.SetupFailed | None = None

    def plan(self, root: str) -> RootPlan:
        """Give the plan of a root as it was assembled: its recipe counts the plugins."""
        return self._plans[root]

    @property
    def idle(self) -> bool:
        """Whether nothing is waited for, queued, in hand, or unread; roots that are away are not waited for."""
        if any(root.scanning for root in self.roots.values()) or len(self._p.inbox):
            return False
        away = {root.path for root in self.roots.values() if not root.available}
        silent = {root.path for root in self.roots.values() if root.stalled}
        files = len(self.waiting) - sum(self.waiting.count_of(root) for root in away)
        rests = not files and not self.in_hand and not self._p.errands.out(but=silent)
        own = self._housekeeping.idle and self._upkeep.idle and self.leftovers.idle
        return rests and own and self._hook_rests()

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
        self._p.inbox.clear_bell()
        self._p.errands.collect()
        self._look_after_roots(now)
        self._take_requests(now)
        self._take_sightings()
        self._looking.again()
        self._dispatch()
        self._housekeeping.tick(self._available, self._to_device)
        self.leftovers.tick()
        self._upkeep.tick()
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
        dues += [due for path, due in self._unfinished.items() if self._available(path)]
        dues += [self._housekeeping.next_due(), self._upkeep.next_due(), self.leftovers.next_due()]
        dues.append(None if self._p.hook is None else self._p.hook.next_due())
        soonest = min((due for due in dues if due is not None), default=float("inf"))
        return max(0.0, min(most_seconds, soonest - self._p.clock()))

    # --- roots

    def _look_after_roots(self, now: float) -> None:
        dropped = self._p.inbox.dropped()
        for root in self.roots.values():
            if root.path in dropped:
                self._p.tell("root.hints_lost", root=root.path, detail="too many at once: scanned instead")
                root.scan_soon()
            root.tick(now)
            if root.stalled:
                self._working.give_back(root.path)
        for path in [path for path, due in self._unfinished.items() if due <= now and self._available(path)]:
            self.recover(path)

    def _trouble(self, file: File, reason: Reason) -> None:
        """Look at a root of which a file failed, before the others do."""
        if reason is Reason.INTERRUPTED:
            self._unfinished.setdefault(file.plan.path, self._p.clock() + RECOVER_SECONDS)
        root = self.roots.get(file.plan.path)
        if root is None:
            return
        if reason is Reason.NO_SPACE:
            root.lacks_room(max(LEAST_ROOM_BYTES, 2 * file.settling.fingerprint.size))
        elif reason in {Reason.UNREACHABLE, Reason.IO_ERROR}:
            root.check_soon()

    def recover_others(self) -> None:
        """Finish or undo what a crash left below roots that left the config, and forget what is held there."""
        for root in {intent.root for intent in self._p.ledger.intents()} - set(self._plans):
            self.recover(root)
        self._upkeep.leave_other_roots()

    def arrived(self, root: str, identity: RootIdentity, to_identity: RootIdentity) -> None:
        """Take note of which folders a root and its mirror are now, and finish or undo what a crash left there."""
        self._p.ledger.enter(root, identity.mark)
        self._p.ledger.note_mounts({root: identity.mount_point, self._plans[root].to: to_identity.mount_point})
        self._housekeeping.entered(root, identity)
        self.recover(root)

    def recover(self, root: str) -> None:
        """Finish or undo what a crash left below a root that is here (again), but not what is in hand now."""
        self._unfinished.pop(root, None)
        for job in recovery.unfinished(self._p.ledger):
            if job.intent.root == root and job.intent.token not in self._finishing.live:
                self._p.errands.send(root, partial(recovery.clear_up, job), self._recovered)

    def _recovered(self, cleared: ClearedUp | OSError) -> None:
        assert not isinstance(cleared, OSError)  # noqa: S101 - it tells of them in its answer
        intent = cleared.job.intent
        what = recovery.record(self._p.ledger, cleared)
        again = what == recovery.POSTPONED and intent.token in self._postponed  # as it said 30 s ago
        if intent.target and not again:  # else nothing but a staging file was left
            self._p.tell("file.recovered", path=f"{intent.root}/{intent.path}", detail=what)
        if what == recovery.POSTPONED:
            self._postponed.add(intent.token)
            self._unfinished[intent.root] = self._p.clock() + decide.DISK_SECONDS
        elif what != recovery.SWEPT:
            self.sight(Sighting(intent.root, intent.path, Source.EVENT))

    # --- seen -> settling

    def _take_requests(self, now: float) -> None:
        """Notice what `quarantine retry` and `redo` wrote into the ledger, and at first what the last run left."""
        if now < self._next_request_check:
            return
        self._next_request_check = now + REQUEST_SECONDS
        version = self._p.ledger.changed_elsewhere()
        if version != self._ledger_version:
            self._ledger_version = version
            self._looking.at(Sighting(one.root, one.path, Source.EVENT) for one in self._p.ledger.in_state(State.RETRY))
            for path in self._p.ledger.take_redo() & set(self.roots):
                self.roots[path].forget_mounts()
                self.roots[path].scan_soon()

    def _take_sightings(self) -> None:
        events = self._p.inbox.events(MOST_EVENTS_A_STEP)
        self._looking.at(events)
        self._housekeeping.hinted(event for event in events if self._available(event.root))
        for item in self._p.inbox.scans(self._has_room_for_a_scan):
            if isinstance(item, Batch):
                self._take_batch(item)
            else:
                self._scan_finished(item)

    def _has_room_for_a_scan(self, root: str) -> bool:
        """Let a walk wait while many of its files are on their way: they are on the disk, not in our memory."""
        return self.waiting.count_of(root) < MOST_OF_A_ROOT

    def _take_batch(self, batch: Batch) -> None:
        plan = self._plans.get(batch.root)
        if plan is not None and self._available(plan.path):
            self._upkeep.batch(batch)
            for found in batch.found:
                self.found(plan, found)

    def _scan_finished(self, finished: Finished) -> None:
        root = self.roots.get(finished.root)
        if root is not None and root.scan_finished(finished, self._p.clock()):
            self._upkeep.scanned(finished)
            if finished.seen is not None:
                self.follow(finished.root, finished.seen)
        self.scanned(finished)

    def found(self, plan: RootPlan, found: Found) -> None:
        """Take on what a walk came upon."""
        if found.companion_of:
            self._finishing.companions.found(plan, found)
        else:
            self.consider(plan, found.path, found.fingerprint, Source.SCAN)

    def scanned(self, finished: Finished) -> None:
        """Say what a walk has seen, and which excludes named nothing, when that is new."""
        self._p.tell(
            "root.scanned", root=finished.root, directories=finished.directories, files=finished.files,
            errors=list(finished.errors[:5]), left_alone={left.why.value: left.count for left in finished.left},
        )  # fmt: skip
        before, self._last_scans[finished.root] = self._last_scans.get(finished.root), replace(finished, seen=None)
        if finished.unmatched and (before is None or before.unmatched != finished.unmatched):
            self._p.tell("root.exclude_unmatched", root=finished.root, detail=list(finished.unmatched))
        self.leftovers.begin(finished.root)

    def left_alone(self, root: str) -> tuple[Left, ...]:
        """Say what the last walk of a root left alone, by reason."""
        last = self._last_scans.get(root)
        return () if last is None else last.left

    def unread(self, root: str) -> tuple[str, ...]:
        """Say what the last walk of a root could not look into."""
        last = self._last_scans.get(root)
        return () if last is None else last.errors

    def follow(self, root: str, seen: frozenset[int]) -> None:
        """Follow deletions, where a root's mirror does: `seen` are the hashes of all paths that are there."""
        self._housekeeping.scanned(root, seen)

    def _to_device(self, path: str) -> int | None:
        root = self.roots.get(path)
        return None if root is None else root.to_device

    def _available(self, path: str) -> bool:
        root = self.roots.get(path)
        return root is None or root.available

    def sight(self, sighting: Sighting) -> None:
        """Have a look at a path that somebody pointed at."""
        self._looking.at((sighting,))

    def consider(self, plan: RootPlan, path: str, fingerprint: Fingerprint, source: Source) -> None:
        """Take a file on that was seen, unless it is done, held, or on its way already."""
        self._looking.consider(plan, path, fingerprint, source)

    # --- queued -> working -> outcome

    def _dispatch(self) -> None:
        if self._working.stopping:
            return
        idle = self._p.pool.idle
        if self.waiting.queued or self._working.prepared:
            self._p.pool.warm(self.waiting.queued + self._working.prepared + self._p.pool.busy)
        while self._working.wants(idle):
            file = self.waiting.pop(but=self._working.busy_roots(idle))
            if file is None:
                break
            if self._available(file.plan.path):
                self._working.start(file, to_device=self._to_device(file.plan.path))
            else:
                self.waiting.remove(file)  # nothing is written below an empty mount point
        self._working.feed(self._available)

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

    def drain(self) -> None:
        """Start nothing any more."""
        self._working.stopping = True

    def abandon(self) -> None:
        """Give up what is in hand, without a trace: no staging file, no attempt counted."""
        self.drain()
        self._p.pool.close()
        try:
            self._p.errands.finish(ABANDON_SECONDS)
            self._working.abandon()
            self._p.errands.finish(ABANDON_SECONDS)
        finally:
            self._p.errands.close()
