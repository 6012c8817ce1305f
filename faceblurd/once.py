"""The same work once: `faceblurd blur` and `faceblurd scan`. No watcher; the walk feeds the pipeline as it has room."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from faceblurd.errors import SetupError
from faceblurd.intake.filesystem import RootIdentity
from faceblurd.intake.scanner import Found, walk
from faceblurd.model import Fingerprint
from faceblurd.outlet import beneath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from faceblurd.assembly import Assembly
    from faceblurd.intake.scanner import Finished
    from faceblurd.pipeline import RootPlan

MOST_WAITING = 200


@dataclass(slots=True)
class Tally:
    """What a walk saw: hashes of paths, and its end, None until it is there."""

    seen: set[int] = field(default_factory=set)
    end: Finished | None = None


def files_below(plan: RootPlan, tally: Tally | None = None) -> Iterator[tuple[RootPlan, Found]]:
    """Walk a root."""
    candidates = walk(plan.path, plan.selection)
    for found in candidates:
        if tally is not None:
            tally.seen.add(hash(found.path))
        yield plan, found
    if tally is not None:
        tally.end = candidates.finished()


def say_unread(tally: Tally, tell: Callable[..., None]) -> bool:
    """Name the places that a walk could not look into, and say whether there are any."""
    if tally.end is None:
        return False
    for error in tally.end.errors:
        tell("root.unread", root=tally.end.root, detail=error)
    return bool(tally.end.errors)


def catch_up(made: Assembly, plan: RootPlan, *, tell: Callable[..., None], stopped: Callable[[], bool]) -> bool:
    """Do all that is to do in a root: what a crash left, what is new, and what is gone, where its mirror follows.

    False: not all of it could be looked into, which was told.
    """
    tally = Tally()
    made.pipeline.arrived(plan.path, RootIdentity.of(plan.path))
    run_once(made, files_below(plan, tally), stopped=stopped)
    if tally.end is None:
        return True  # stopped
    made.pipeline.scanned(tally.end)
    if not tally.end.errors:
        made.pipeline.follow(plan.path, frozenset(tally.seen))
    run_once(made, (), stopped=stopped)
    return not say_unread(tally, tell)


def one_file(plan: RootPlan, name: str) -> Iterator[tuple[RootPlan, Found]]:
    """Give a single file of a root, whatever it is called. Raises OSError when it is not there."""
    yield plan, Found(name, Fingerprint.from_stat(beneath.look(plan.path, name)))


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
    failed = made.pipeline.setup_failed
    if failed is not None:
        raise SetupError(failed.message, remedy=failed.remedy)
