"""The same work once: for `faceblurd blur` and `faceblurd scan`.

`blur` feeds the pipeline from its own walk, as there is room. `scan` looks after roots as the daemon does, so that none
of them can keep it from its end, and scans each of them once.
"""

from __future__ import annotations

import os
import time
from itertools import islice
from math import inf
from typing import TYPE_CHECKING

from faceblurd import assembly
from faceblurd.errors import SetupError
from faceblurd.intake.root import Pace
from faceblurd.intake.scanner import Found, walk
from faceblurd.model import Fingerprint, Mode, Watch
from faceblurd.outlet import beneath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from faceblurd.assembly import Assembly, Voice
    from faceblurd.intake.scanner import Finished
    from faceblurd.outlet.ledger import Ledger
    from faceblurd.pipeline import RootPlan

MOST_WAITING = 200
MOST_OTHERS = 100_000


def files_below(plan: RootPlan, ended: Callable[[Finished], None] = lambda _: None) -> Iterator[tuple[RootPlan, Found]]:
    """Walk a root; `ended` is told what the whole walk saw."""
    candidates = walk(plan.path, plan.selection)
    for found in candidates:
        yield plan, found
    ended(candidates.finished())


def say_unread(root: str, errors: Iterable[str], tell: Callable[..., None]) -> bool:
    """Name the places that a walk could not look into, and say whether there are any."""
    places = tuple(errors)
    for place in places:
        tell("root.unread", root=root, detail=place)
    return bool(places)


def catch_up(
    made: Assembly, plans: Sequence[RootPlan], *, ledger: Ledger, voice: Voice, stopped: Callable[[], bool]
) -> int:
    """Do all that is to do in the roots: what a crash left, what is new, and what is gone, where their mirrors follow.

    Gives the number of roots that are away, full, do not answer, or could not be looked into everywhere, which was
    told; none keeps another from its turn.
    """
    paces = [Pace(inf, Watch.SCAN, remembers=plan.mode is Mode.MIRROR, once=True) for plan in plans]
    assembly.open_roots(made, plans, paces, ledger, voice)
    roots = made.pipeline.roots.values()
    while not stopped() and not (all(root.was_scanned or root.is_away for root in roots) and made.pipeline.idle):
        _step(made)
    unread = {root.path for root in roots if say_unread(root.path, made.pipeline.unread(root.path), voice.tell)}
    return sum(root.is_away or root.path in unread for root in roots)


def one_file(plan: RootPlan, name: str) -> Iterator[tuple[RootPlan, Found]]:
    """Give a single file of a root, whatever it is called. Raises OSError when it is not there."""
    yield plan, Found(name, Fingerprint.from_stat(beneath.look(plan.path, name)))


def others_below(folder: str) -> tuple[int, str]:
    """Count the files below a folder (at most `MOST_OTHERS`), and give one of them as an example."""
    files = (name for _, _, names in os.walk(folder) for name in names)
    seen = list(islice(files, MOST_OTHERS))
    return len(seen), min(seen, default="")


def finish_in_hand(made: Assembly, seconds: float) -> None:
    """Start nothing any more, and let workers finish what they have, for a while."""
    made.pipeline.drain()
    until = time.monotonic() + seconds
    while made.pipeline.in_hand and time.monotonic() < until:
        made.pipeline.step(0.1)


def run_once(made: Assembly, candidates: Iterable[tuple[RootPlan, Found]], *, stopped: Callable[[], bool]) -> None:
    """Feed all candidates through the pipeline and return when each has its outcome.

    Raises SetupError when a detector or plugin does not load.
    """
    pipeline = made.pipeline
    for plan, found in candidates:
        pipeline.found(pipeline.plan(plan.path), found)
        while len(pipeline.waiting) >= MOST_WAITING and not stopped():
            _step(made)
        if stopped():
            return
    while not pipeline.idle and not stopped():
        _step(made)


def _step(made: Assembly) -> None:
    made.pipeline.step(0.5)
    if made.pool.cannot_start:
        raise assembly.no_worker(made.pool)
    failed = made.pipeline.setup_failed
    if failed is not None:
        raise SetupError(failed.message, remedy=failed.remedy)
