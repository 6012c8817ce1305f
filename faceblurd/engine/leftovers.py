"""Results in a mirror whose photo is left alone today: excluded since, or known for a server's own by a newer version.

They stay (an exclude may be a slip of the pen, and a mirror is no place to delete in), but never in silence. Looked for
once after each start and reload.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from faceblurd.rules.filter import LeftAlone

if TYPE_CHECKING:
    from faceblurd.engine.intake import Intake
    from faceblurd.engine.services import Services

PAGE = 500
MAX_EXAMPLES = 20


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
