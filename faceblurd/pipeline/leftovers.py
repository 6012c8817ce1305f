"""Results in a mirror whose photo is left alone today: excluded since, or known for a server's own by a newer version.

They stay (an exclude may be a slip of the pen, and a mirror is no place to delete in), but never in silence. Looked for
once after each start and reload.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from faceblurd.model import Mode
from faceblurd.rules.filter import LeftAlone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from faceblurd.pipeline.files import Parts, RootPlan

PAGE = 500
MOST_EXAMPLES = 20


@dataclass(slots=True)
class Search:
    """The search in one root: what comes behind the path `after` is still to do, unless it is `done`."""

    after: str = ""
    done: bool = False
    count: int = 0
    examples: list[str] = field(default_factory=list)


class Leftovers:
    """Called by the loop in its thread."""

    def __init__(self, parts: Parts, plans: Mapping[str, RootPlan]) -> None:
        """Use the loop's own parts."""
        self._p = parts
        self._plans = {path: plan for path, plan in plans.items() if plan.mode is Mode.MIRROR}
        self.found: dict[str, Search] = {}

    def begin(self, root: str) -> None:
        """Look through a root's results, if that was not done since the start."""
        if root in self._plans:
            self.found.setdefault(root, Search())

    @property
    def idle(self) -> bool:
        """Whether nothing is looked for; what an errand is out for, the errands know."""
        return all(search.done for search in self.found.values())

    def next_due(self) -> float | None:
        """When to be called next."""
        return 0.0 if any(not search.done for search in self.found.values()) else None

    def tick(self) -> None:
        """Look at one page of each root's results."""
        for root, search in self.found.items():
            if not search.done:
                self._page(self._plans[root], search)

    def _page(self, plan: RootPlan, search: Search) -> None:
        page = self._p.ledger.results(plan.path, after=search.after, most=PAGE)
        search.after, search.done = (page[-1] if page else ""), len(page) < PAGE
        left = [path for path in page if isinstance(plan.selection.of(path), LeftAlone)]
        if left or search.done:
            look = partial(_those_there, plan.to, left)
            self._p.errands.send(plan.path, look, partial(self._looked, plan.path, search, done=search.done))

    def _looked(self, root: str, search: Search, there: list[str] | OSError, *, done: bool) -> None:
        if isinstance(there, OSError):
            return
        search.count += len(there)
        search.examples = [*search.examples, *there][:MOST_EXAMPLES]
        if done and search.count:  # answers come in order: this is the last
            self._p.tell("root.excluded_results", root=root, count=search.count, detail=search.examples)


def _those_there(to: str, paths: list[str]) -> list[str]:
    """Give those of a mirror's results that are there. May hang."""
    return [path for path in paths if os.path.lexists(f"{to}/{path}")]
