"""The same work once: `faceblurd blur` and `faceblurd scan`. No watcher; the walk feeds the pipeline as it has room."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from faceblurd.errors import SetupError
from faceblurd.intake.filesystem import RootIdentity
from faceblurd.intake.scanner import Found, walk
from faceblurd.model import Fingerprint, Source
from faceblurd.outlet import beneath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from faceblurd.assembly import Assembly
    from faceblurd.pipeline import RootPlan

MOST_WAITING = 200


@dataclass(slots=True)
class Tally:
    """What a walk saw: hashes of paths. `complete`: it came to its end without an error, the rest is gone."""

    seen: set[int] = field(default_factory=set)
    complete: bool = False


def files_below(plan: RootPlan, tally: Tally | None = None) -> Iterator[tuple[RootPlan, Found]]:
    """Walk a root."""
    candidates = walk(plan.path, plan.selection)
    for found in candidates:
        if tally is not None:
            tally.seen.add(hash(found.path))
        yield plan, found
    if tally is not None:
        tally.complete = not candidates.errors


def catch_up(made: Assembly, plan: RootPlan, *, stopped: Callable[[], bool]) -> None:
    """Do all that is to do in a root: what a crash left, what is new, and what is gone, where its mirror follows."""
    tally = Tally()
    made.pipeline.arrived(plan.path, RootIdentity.of(plan.path))
    run_once(made, files_below(plan, tally), stopped=stopped)
    if tally.complete:
        made.pipeline.follow(plan.path, frozenset(tally.seen))
        run_once(made, (), stopped=stopped)


def one_file(plan: RootPlan, name: str) -> Iterator[tuple[RootPlan, Found]]:
    """Give a single file of a root, whatever it is called. Raises OSError when it is not there."""
    yield plan, Found(name, Fingerprint.from_stat(beneath.look(plan.path, name)))


def run_once(made: Assembly, candidates: Iterable[tuple[RootPlan, Found]], *, stopped: Callable[[], bool]) -> None:
    """Feed all candidates through the pipeline and return when each has its outcome.

    Raises SetupError when a detector or plugin does not load.
    """
    pipeline = made.pipeline
    for plan, found in candidates:
        pipeline.consider(pipeline.plan(plan.path), found.path, found.fingerprint, Source.SCAN)
        while len(pipeline.waiting) >= MOST_WAITING and not stopped():
            _step(made)
        if stopped():
            return
    while not pipeline.idle and not stopped():
        _step(made)


def _step(made: Assembly) -> None:
    made.pipeline.step(0.5)
    failed = made.pipeline.setup_failed
    if failed is not None:
        raise SetupError(failed.message, remedy=failed.remedy)
