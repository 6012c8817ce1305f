"""What the ledger knows of one root, kept true over time.

After each scan: what was seen is noted, held files that are gone are forgotten, those of which the cause was mended are
tried again. A root that is away, or shows nothing where its disk should be, says nothing of its files. What was last
seen a year ago goes (`prune`).
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from faceblurd.errors import FaceblurdError
from faceblurd.ledger.rows import DAY_NS
from faceblurd.model import Entry, Reason, State
from faceblurd.publish import held
from faceblurd.publish.held import Standing
from faceblurd.rules.filter import Candidate
from faceblurd.rules.side_channels import photo_of_companion

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from faceblurd.engine.intake import Intake
    from faceblurd.engine.model import RootPlan, Services
    from faceblurd.model import Fingerprint
    from faceblurd.publish.quarantine import Held, Quarantine
    from faceblurd.watch.scan import Found

PRUNE_ROWS = 20_000  # looked at in one go: some milliseconds


class Upkeep:
    """Keeps what the ledger knows of one root true."""

    def __init__(self, root: Intake, services: Services) -> None:
        """Nothing was noted yet."""
        self._root, self._s = root, services
        self._noted_on: int | None = None
        self._tried: dict[tuple[str, Fingerprint], float] = {}  # mended by what a look shows, and tried again

    # --- scans

    def day_to_note(self) -> int | None:
        """Give the day, for a scan that notes which files are there: the first whole one of a day."""
        today = time.time_ns() // DAY_NS
        return None if self._noted_on == today else today

    def note(self, found: Sequence[Found], day: int | None) -> None:
        """Note that files are there."""
        if day is not None and found:
            plan = self._root.plan
            self._s.ledger.note_seen(plan.path, [one.path for one in found], to=plan.to, day=day)

    async def scanned(self, day: int | None, *, is_whole: bool) -> None:
        """Look after what is held, and forget what has been gone for long, after a scan of a root that is there."""
        await self._examine()
        if day is not None and is_whole:
            self._noted_on = day
            await prune({self._root.path}, self._s, day=day)

    # --- what is held

    def _remembered(self) -> list[Entry]:
        """List what is held here, and was not moved away, or is to be tried again; not what is on its way."""
        return [
            entry
            for entry in remembered(self._s)
            if entry.root == self._root.path and entry.path not in self._root.photos
        ]

    async def _examine(self) -> None:
        plan, now_ns, counts = self._root.plan, time.time_ns(), self._s.ledger.counts(self._root.path)
        if not (counts.get(State.QUARANTINED) or counts.get(State.RETRY)):
            return  # the usual case costs next to nothing
        if entries := self._remembered():
            standings = await self._root.run(partial(_standings, plan.path, entries, to=plan.to, now_ns=now_ns))
            still = {(entry.path, entry.source) for entry in self._remembered()}
            for entry, standing in zip(entries, standings, strict=True):
                if (entry.path, entry.source) in still:  # else it was looked at again, or moved away, meanwhile
                    await self._examined(entry, standing)
        if plan.take_away_held and not plan.in_place:
            await self._bring_back()

    async def _examined(self, entry: Entry, standing: Standing) -> None:
        if standing is Standing.GONE or not _is_looked_at(self._root.plan, entry.path):
            self._s.ledger.forget(entry.root, entry.path)
            self._s.log.event("file.forgotten", path=f"{entry.root}/{entry.path}", detail="it is not there any more")
        elif standing is Standing.MENDED and entry.state is State.QUARANTINED and self._may_try(entry):
            self._s.ledger.put(replace(entry, state=State.RETRY, attempts=0, reason=None, detail=""))
            await self._root.hinted([entry.path])

    def _may_try(self, entry: Entry) -> bool:
        """Tell whether a file was not tried again lately: what a look cannot tell would come back at every scan.

        Access control that we may not give on, for one: the folder is writable for all that.
        """
        now, key = asyncio.get_running_loop().time(), (entry.path, entry.source)
        self._tried = {one: at for one, at in self._tried.items() if now < at + held.AGAIN_SECONDS}
        return self._tried.setdefault(key, now) == now

    # --- what was moved away

    async def _bring_back(self) -> None:
        """Put files back that were moved away, where the cause was mended. In place, others would see them."""
        for one in self._s.quarantine.held():
            is_ours = one.place is not None and one.entry.root == self._root.path
            put_back = partial(_put_back_if_mended, self._s.quarantine, one, self._root.plan)
            if is_ours and await self._root.run(put_back):
                self._s.quarantine.try_again(one)
                await self._root.hinted([one.entry.path])


def remembered(s: Services) -> list[Entry]:
    """List what is held, and was not moved away, or is to be tried again, of all roots."""
    held_here = [one.entry for one in s.quarantine.held() if one.place is None]
    return held_here + s.ledger.in_state(State.RETRY)


def leave_other_roots(s: Services) -> None:
    """Forget what was held, or to be tried again, in roots that the config no longer names: nobody looks there.

    Files that were moved away are listed all the same, for they are in our hands.
    """
    for entry in remembered(s):
        if entry.root not in s.roots:
            s.ledger.forget(entry.root, entry.path)


async def prune(roots: Collection[str], s: Services, *, day: int) -> None:
    """Forget what was last seen a year ago, in these roots and in those that have left the config."""
    after: int | None = 0
    while after is not None:
        after = s.ledger.prune(roots, but=s.roots, day=day, after=after, most=PRUNE_ROWS)
        await asyncio.sleep(0)


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


def _put_back_if_mended(quarantine: Quarantine, one: Held, plan: RootPlan) -> bool:
    was_taken = one.entry.reason is Reason.TARGET_EXISTS
    if one.entry.terms == plan.terms and not (was_taken and held.is_free(plan.to, one.entry.path)):
        return False
    try:
        quarantine.put_back(one)
    except FaceblurdError:
        return False
    return True
