"""What the ledger knows, kept true over time.

After each scan: what was seen is noted, held files that are gone are forgotten, those of which the cause was mended are
tried again, and what was last seen a year ago goes. A root that is away, or shows nothing where its disk should be,
says nothing of its files. Called by the loop in its thread.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from faceblurd.errors import FaceblurdError
from faceblurd.model import Mode, Reason, Sighting, Source, State
from faceblurd.outlet import held
from faceblurd.outlet.held import Standing
from faceblurd.outlet.migration import DAY_NS
from faceblurd.rules.filter import Candidate
from faceblurd.rules.side_channels import photo_of_companion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from faceblurd.intake.scanner import Batch, Finished
    from faceblurd.model import Entry, Fingerprint
    from faceblurd.outlet.quarantine import Held
    from faceblurd.pipeline.files import Parts, RootPlan
    from faceblurd.pipeline.waiting import Waiting

PRUNE_ROWS = 20_000  # looked at in one step of the loop: some milliseconds


class Upkeep:
    """Keeps the ledger true."""

    def __init__(
        self, parts: Parts, waiting: Waiting, plans: Mapping[str, RootPlan], look: Callable[[Iterable[Sighting]], None]
    ) -> None:
        """Use the loop's own parts. `look` has a look at paths."""
        self._p, self._waiting, self._plans, self._look = parts, waiting, plans, look
        self._scans: dict[str, tuple[int, int | None]] = {}  # by root: its scan, and the day if that is noted
        self._noted_on: dict[str, int] = {}
        self._prune_after: int | None = None
        self._prune_roots: set[str] = set()
        self._prune_day = 0
        self._tried: dict[tuple[str, str, Fingerprint], float] = {}  # mended by what a look shows, and tried again

    # --- scans

    def batch(self, batch: Batch) -> None:
        """Note which files are there, in the first whole scan of a day."""
        number, day = self._scans.get(batch.root, (None, None))
        if number != batch.number:
            today = time.time_ns() // DAY_NS
            day = None if self._noted_on.get(batch.root) == today else today
            self._scans[batch.root] = (batch.number, day)
        if day is not None and batch.found:
            paths = [one.path for one in batch.found]
            self._p.ledger.note_seen(batch.root, paths, to=self._plans[batch.root].to, day=day)

    def scanned(self, finished: Finished) -> None:
        """Look after what is held, and forget what has been gone for long, after a scan of a root that is there."""
        self._examine(finished.root)
        number, day = self._scans.get(finished.root, (None, None))
        if number == finished.number and day is not None and not finished.errors:
            self._noted_on[finished.root] = day
            self._prune_roots.add(finished.root)
            self._prune_after, self._prune_day = 0, day

    # --- what has been gone for a year

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return self._prune_after is None

    def next_due(self) -> float | None:
        """When to be called next."""
        return None if self.idle else 0.0

    def tick(self) -> None:
        """Go on for a bit."""
        if self._prune_after is not None:
            self._prune_after = self._p.ledger.prune(
                self._prune_roots, but=self._plans, day=self._prune_day, after=self._prune_after, most=PRUNE_ROWS
            )
        if self._prune_after is None:
            self._prune_roots.clear()

    # --- what is held

    def leave_other_roots(self) -> None:
        """Forget what was held, or to be tried again, in roots that the config no longer names: nobody looks there.

        Files that were moved away are listed all the same, for they are in our hands.
        """
        for entry in self._remembered():
            if entry.root not in self._plans:
                self._p.ledger.forget(entry.root, entry.path)

    def _remembered(self) -> list[Entry]:
        """List what is held, and was not moved away, or is to be tried again."""
        return [one.entry for one in self._p.quarantine.held() if one.place is None] + self._p.ledger.in_state(
            State.RETRY
        )

    def _examine(self, root: str) -> None:
        plan, now_ns, counts = self._plans[root], time.time_ns(), self._p.ledger.counts(root)
        if not (counts.get(State.QUARANTINED) or counts.get(State.RETRY)):
            return  # the usual case costs next to nothing
        entries = [
            entry for entry in self._remembered() if entry.root == root and self._waiting.get(root, entry.path) is None
        ]
        if entries:
            call = partial(_standings, root, entries, to=plan.to, now_ns=now_ns)
            self._p.errands.send(root, call, partial(self._examined, plan, entries))
        if plan.take_away_held and plan.mode is Mode.MIRROR:
            self._bring_back(plan)

    def _examined(self, plan: RootPlan, entries: list[Entry], answer: list[Standing] | OSError) -> None:
        if isinstance(answer, OSError):
            return
        still = {(entry.path, entry.source) for entry in self._remembered() if entry.root == plan.path}
        for entry, standing in zip(entries, answer, strict=True):
            if (entry.path, entry.source) not in still or self._waiting.get(plan.path, entry.path) is not None:
                continue  # looked at again, or moved away, meanwhile
            if standing is Standing.GONE or not _is_looked_at(plan, entry.path):
                self._p.ledger.forget(entry.root, entry.path)
                self._p.tell("file.forgotten", path=f"{entry.root}/{entry.path}", detail="it is not there any more")
            elif standing is Standing.MENDED and entry.state is State.QUARANTINED and self._may_try(entry):
                again = replace(entry, state=State.RETRY, attempts=0, reason=None, detail="")
                self._p.ledger.put(again)
                self._look((Sighting(entry.root, entry.path, Source.EVENT),))

    def _may_try(self, entry: Entry) -> bool:
        """Tell whether a file was not tried again lately: what a look cannot tell would come back at every scan.

        Access control that we may not give on, for one: the folder is writable for all that.
        """
        now, key = self._p.clock(), (entry.root, entry.path, entry.source)
        self._tried = {one: at for one, at in self._tried.items() if now < at + held.AGAIN_SECONDS}
        return self._tried.setdefault(key, now) == now

    # --- what was moved away

    def _bring_back(self, plan: RootPlan) -> None:
        """Put files back that were moved away, where the cause was mended. In place, others would see them."""
        for one in self._p.quarantine.held():
            if one.place is not None and one.entry.root == plan.path:
                call = partial(_put_back_if_mended, self._p, one, plan)
                self._p.errands.send(plan.path, call, partial(self._brought_back, one))

    def _brought_back(self, one: Held, answer: bool | OSError) -> None:  # noqa: FBT001 - what the errand gave
        if answer is True:
            self._p.quarantine.try_again(one)
            self._look((Sighting(one.entry.root, one.entry.path, Source.EVENT),))


def _is_looked_at(plan: RootPlan, path: str) -> bool:
    """Tell whether a path is a candidate by its name, or may be a photo by the name of a resource fork."""
    photo = photo_of_companion(path) if plan.selection.in_place else None
    return any(isinstance(plan.selection.of(one), Candidate) for one in (path, photo) if one is not None)


def _standings(root: str, entries: list[Entry], *, to: str, now_ns: int) -> list[Standing]:
    """Look at files of a root that is there. What is missing below a bare mount point is not gone."""
    found = [held.examine(one, to=to, age_seconds=(now_ns - one.updated_ns) / 1e9) for one in entries]
    device = os.stat(root).st_dev
    is_bare = Standing.GONE in found and not os.listdir(root)
    away = [is_bare and one.source.device != device for one in entries]
    return [Standing.HELD if is_away else one for is_away, one in zip(away, found, strict=True)]


def _put_back_if_mended(parts: Parts, one: Held, plan: RootPlan) -> bool:
    was_taken = one.entry.reason is Reason.TARGET_EXISTS
    if one.entry.terms == plan.terms and not (was_taken and held.is_free(plan.to, one.entry.path)):
        return False
    try:
        parts.quarantine.put_back(one)
    except FaceblurdError:
        return False
    return True
