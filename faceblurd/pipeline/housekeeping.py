"""Results in a mirror whose photo is gone: removed where the root says `deletions: follow`, else kept.

What is kept is somebody's only copy, maybe: it is remembered, so that another photo by that name does not replace it.
A photo counts as gone when its name was missing twice, a quiet time apart, in the very folder that the result was made
from. That a root, or a folder that is another one by the same name, shows nothing means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from faceblurd.intake.filesystem import RootIdentity
from faceblurd.model import Mode, Reason
from faceblurd.outlet import withdrawal
from faceblurd.outlet.staging import Target
from faceblurd.outlet.withdrawal import Withdrawal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from faceblurd.model import Entry, Sighting
    from faceblurd.pipeline.files import Parts, RootPlan
    from faceblurd.pipeline.waiting import Waiting

PAGE = 500
MOST_MISSING = 2000  # that are waited for at a time; the ledger keeps the others
AGAIN_SECONDS = 30.0


@dataclass(slots=True)
class _Search:
    """A scan's end, compared with the ledger page by page: what comes behind the path `after` is still to do."""

    seen: frozenset[int]
    after: str = ""


class Housekeeping:
    """Follows deletions. Called by the loop in its thread."""

    def __init__(self, parts: Parts, waiting: Waiting, plans: Mapping[str, RootPlan]) -> None:
        """Use the loop's own parts."""
        self._p, self._waiting = parts, waiting
        self._plans = {path: plan for path, plan in plans.items() if plan.mode is Mode.MIRROR}
        self._identities: dict[str, RootIdentity] = {}
        self._missing: dict[tuple[str, str], float] = {}  # when to look again, by root and path
        self._searches: dict[str, _Search] = {}

    def entered(self, root: str, identity: RootIdentity) -> None:
        """Forget what was missing in a root before it was this one; `tick` does it for one that is away.

        A root that cannot be watched is entered again at every look.
        """
        if self._identities.get(root) != identity:
            self._identities[root] = identity
            self._forget(root)

    def hinted(self, sightings: Iterable[Sighting]) -> None:
        """Take note of paths that may be gone: files, or whole folders. What is too much is left to the next scan."""
        ledger = self._p.ledger
        for sighting in sightings:
            if sighting.root in self._plans and len(self._missing) < MOST_MISSING:
                if ledger.result(sighting.root, sighting.path) is not None:
                    self._watch_for(sighting.root, sighting.path)
                for path in ledger.results(sighting.root, below=sighting.path, most=MOST_MISSING):
                    self._watch_for(sighting.root, path)

    def scanned(self, root: str, seen: frozenset[int]) -> None:
        """Compare what a whole scan saw with what was published."""
        if root in self._plans:
            self._searches[root] = _Search(seen)

    def next_due(self) -> float | None:
        """When to be called next."""
        if self._searches and len(self._missing) < MOST_MISSING:
            return 0.0
        return min(self._missing.values(), default=None)

    @property
    def idle(self) -> bool:
        """Whether nothing is looked for, or waited for."""
        return not self._searches and not self._missing

    def tick(self, available: Callable[[str], bool], to_device: Callable[[str], int | None]) -> None:
        """Do what is due, in roots that are there; what was missing in others is forgotten."""
        for gone in [root for root in self._known_roots() if not available(root)]:
            self._forget(gone)
        for root, search in list(self._searches.items()):
            if len(self._missing) < MOST_MISSING:
                self._search_on(root, search)
        now = self._p.clock()
        for root, path in [key for key, due in self._missing.items() if due <= now]:
            self._missing[root, path] = inf  # until the answer is there
            self._withdraw(root, path, to_device(root))

    def _known_roots(self) -> set[str]:
        return {*self._searches, *(root for root, _ in self._missing)}

    def _forget(self, root: str) -> None:
        self._searches.pop(root, None)
        for key in [key for key in self._missing if key[0] == root]:
            del self._missing[key]

    def _search_on(self, root: str, search: _Search) -> None:
        page = self._p.ledger.results(root, after=search.after, most=PAGE)
        for path in page:
            if hash(path) not in search.seen:
                self._watch_for(root, path)
        if len(page) < PAGE:
            del self._searches[root]
        else:
            search.after = page[-1]

    def _watch_for(self, root: str, path: str) -> None:
        quiet = max(self._plans[root].quiet_seconds, 0.1)
        self._missing.setdefault((root, path), self._p.clock() + quiet)

    def _withdraw(self, root: str, path: str, to_device: int | None) -> None:
        plan, identity = self._plans[root], self._identities.get(root)
        entry = self._p.ledger.result(root, path)
        if entry is None or identity is None or self._waiting.get(root, path) is not None:
            del self._missing[root, path]  # not ours, or on its way again
            return
        same = partial(_is_still, root, identity.mark)
        if not plan.follow_deletions:
            is_gone = partial(withdrawal.is_gone, entry, root_is_same=same)
            self._p.errands.send(root, is_gone, partial(self._kept, root, path))
            return
        if self._has_another_case(entry):
            self._withdrawn(root, path, Withdrawal.SHARED)
            return
        call = partial(withdrawal.withdraw, entry, Target(plan.to, path, to_device), root_is_same=same)
        self._p.errands.send(root, call, partial(self._withdrawn, root, path))

    def _has_another_case(self, entry: Entry) -> bool:
        """Tell whether a photo was renamed by case alone: in a mirror without case (exFAT) both have one result."""
        same = self._p.ledger.with_output(entry.root, entry.output_digest or "")
        return any(path != entry.path and path.casefold() == entry.path.casefold() for path in same)

    def _kept(self, root: str, path: str, gone: bool | OSError) -> None:  # noqa: FBT001 - what the errand gave
        if self._missing.pop((root, path), None) is None or gone is not True:
            return
        entry = self._p.ledger.result(root, path)
        if entry is not None and entry.reason is None:
            self._p.ledger.put(replace(entry, reason=Reason.VANISHED))

    def _withdrawn(self, root: str, path: str, answer: Withdrawal | OSError) -> None:
        if self._missing.pop((root, path), None) is None:
            return  # the root went away meanwhile
        match answer:
            case OSError():
                self._p.tell("file.not_withdrawn", path=f"{root}/{path}", detail=answer.strerror)
                self._missing[root, path] = self._p.clock() + AGAIN_SECONDS
            case Withdrawal.DONE:
                self._p.ledger.forget(root, path)
                self._p.tell("file.withdrawn", path=f"{root}/{path}", output=f"{self._plans[root].to}/{path}")
            case Withdrawal.NOT_OURS:
                self._p.ledger.forget(root, path)
                self._p.tell(
                    "file.not_withdrawn", path=f"{root}/{path}", detail="somebody changed the result: it stays"
                )
            case Withdrawal.SHARED:
                self._p.ledger.forget(root, path)
            case Withdrawal.STILL_THERE:
                pass


def _is_still(root: str, mark: str) -> bool:
    return RootIdentity.of(root).mark == mark
