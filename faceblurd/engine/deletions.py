"""Results in a mirror whose photo is gone: removed where the root says `deletions: follow`, else kept.

What is kept is somebody's only copy, maybe: it is remembered, so that another photo by that name does not replace it.
A photo counts as gone when its name was missing twice, a quiet time apart, in the very folder that the result was made
from. That a root, or a folder that is another one by the same name, shows nothing means nothing.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from faceblurd.model import Reason
from faceblurd.publish import withdrawal
from faceblurd.publish.staging import Target
from faceblurd.publish.withdrawal import Withdrawal
from faceblurd.rules.filter import LeftAlone
from faceblurd.watch.filesystem import RootIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faceblurd.engine.intake import Intake
    from faceblurd.engine.model import Services
    from faceblurd.model import Entry

PAGE = 500
MAX_MISSING = 2000  # that are waited for at a time; the ledger keeps the others
AGAIN_SECONDS = 30.0
MAX_EXAMPLES = 20


class Deletions:
    """Follows the deletions of one root that has a mirror. `run` does the work."""

    def __init__(self, root: Intake, services: Services) -> None:
        """Nothing is missing yet."""
        self._root, self._s = root, services
        self._identity: RootIdentity | None = None
        self._missing: dict[str, float] = {}  # when to look again, by path
        self._searched: tuple[frozenset[int], str] | None = None  # what a scan saw, and behind which path to go on
        self._news = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Whether nothing is looked for, or waited for."""
        return self._searched is None and not self._missing

    def entered(self, identity: RootIdentity) -> None:
        """Forget what was missing in the root before it was this one."""
        if self._identity != identity:
            self._identity = identity
            self.forget()

    def forget(self) -> None:
        """Forget what is missing: the root is away, and says nothing."""
        self._searched = None
        self._missing.clear()

    def hinted(self, paths: Iterable[str]) -> None:
        """Take note of paths that may be gone: files, or whole folders. What is too much is left to the next scan."""
        ledger, root = self._s.ledger, self._root.path
        for path in paths:
            if len(self._missing) < MAX_MISSING:
                if ledger.result(root, path) is not None:
                    self._watch_for(path)
                for one in ledger.results(root, below=path, most=MAX_MISSING):
                    self._watch_for(one)

    def scanned(self, seen: frozenset[int]) -> None:
        """Compare what a whole scan saw (hashes of paths) with what was published."""
        self._searched = (seen, "")
        self._news.set()

    async def run(self) -> None:
        """Do what is due, until cancelled."""
        while True:
            self._search_on()
            now = asyncio.get_running_loop().time()
            due = [path for path, at in self._missing.items() if at <= now]
            for path in due:
                await self._follow(path)
            if not due:
                await self._rest()

    async def _rest(self) -> None:
        if self._searched is not None and len(self._missing) < MAX_MISSING:
            await asyncio.sleep(0)  # the next page; others have their turn
            return
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(self._missing.values(), default=None)):
                await self._news.wait()

    def _search_on(self) -> None:
        """Look at one page of what was published."""
        if self._searched is None or len(self._missing) >= MAX_MISSING:
            return
        seen, after = self._searched
        page = self._s.ledger.results(self._root.path, after=after, most=PAGE)
        for path in page:
            if hash(path) not in seen:
                self._watch_for(path)
        self._searched = (seen, page[-1]) if len(page) == PAGE else None

    def _watch_for(self, path: str) -> None:
        quiet = max(self._root.plan.quiet_seconds, 0.1)
        self._missing.setdefault(path, asyncio.get_running_loop().time() + quiet)
        self._news.set()

    async def _follow(self, path: str) -> None:
        """Look again for a photo that was missing, and deal with its result if it still is."""
        entry, identity = self._s.ledger.result(self._root.path, path), self._identity
        if entry is None or identity is None or path in self._root.photos or not self._root.available:
            self._missing.pop(path, None)  # not ours, on its way again, or nothing can be said
            return
        same = partial(_is_still, self._root.path, identity.mark)
        if not self._root.plan.follow_deletions:
            await self._keep(entry, partial(withdrawal.is_gone, entry, root_is_same=same))
        elif self._has_another_case(entry):
            self._withdrawn(path, Withdrawal.SHARED)
        else:
            target = Target(self._root.plan.to, path, self._root.to_device)
            try:
                answer = await self._root.run(partial(withdrawal.withdraw, entry, target, root_is_same=same))
            except OSError as error:
                if path in self._missing:
                    self._s.log.event("file.not_withdrawn", path=f"{entry.root}/{path}", detail=error.strerror)
                    self._missing[path] = asyncio.get_running_loop().time() + AGAIN_SECONDS
            else:
                self._withdrawn(path, answer)

    def _has_another_case(self, entry: Entry) -> bool:
        """Tell whether a photo was renamed by case alone: in a mirror without case (exFAT) both have one result."""
        same = self._s.ledger.with_output(entry.root, entry.output_digest or "")
        return any(path != entry.path and path.casefold() == entry.path.casefold() for path in same)

    async def _keep(self, entry: Entry, is_gone: partial[bool]) -> None:
        try:
            gone = await self._root.run(is_gone)
        except OSError:
            gone = False
        if self._missing.pop(entry.path, None) is None or not gone:
            return
        now = self._s.ledger.result(entry.root, entry.path)
        if now is not None and now.reason is None:
            self._s.ledger.put(replace(now, reason=Reason.VANISHED))

    def _withdrawn(self, path: str, answer: Withdrawal) -> None:
        if self._missing.pop(path, None) is None or answer is Withdrawal.STILL_THERE:
            return  # or the root went away meanwhile
        plan, event = self._root.plan, self._s.log.event
        self._s.ledger.forget(plan.path, path)
        if answer is Withdrawal.DONE:
            event("file.withdrawn", path=f"{plan.path}/{path}", output=f"{plan.to}/{path}")
        elif answer is Withdrawal.NOT_OURS:
            detail = "somebody changed the result: it stays"
            event("file.not_withdrawn", path=f"{plan.path}/{path}", detail=detail)


def _is_still(root: str, mark: str) -> bool:
    return RootIdentity.of(root).mark == mark


@dataclass(frozen=True, slots=True)
class Leftovers:
    """How many there are, and some of them."""

    count: int = 0
    examples: tuple[str, ...] = ()


async def search(root: Intake, s: Services) -> Leftovers:
    """Look through a root's results, and tell of those that are left over."""
    after, found, plan = "", Leftovers(), root.plan
    while page := s.ledger.results(plan.path, after=after, most=PAGE):
        after = page[-1]
        left = [path for path in page if isinstance(plan.selection.of(path), LeftAlone)]
        there = await root.run(partial(_those_there, plan.to, left))
        found = Leftovers(found.count + len(there), (*found.examples, *there)[:MAX_EXAMPLES])
    if found.count:
        s.log.event("root.excluded_results", root=plan.path, count=found.count, detail=list(found.examples))
    return found


def _those_there(to: str, paths: list[str]) -> list[str]:
    """Give those of a mirror's results that are there. May hang."""
    return [path for path in paths if os.path.lexists(f"{to}/{path}")]
