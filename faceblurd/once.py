"""The same work once: `faceblurd blur` and `faceblurd scan`. No watcher; the walk feeds the pipeline as it has room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faceblurd.errors import SetupError
from faceblurd.intake.scanner import Found, walk
from faceblurd.model import Fingerprint, Source
from faceblurd.outlet import beneath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from faceblurd.assembly import Assembly
    from faceblurd.pipeline import RootPlan

MOST_WAITING = 200


def files_below(plan: RootPlan) -> Iterator[tuple[RootPlan, Found]]:
    """Walk a root."""
    for found in walk(plan.path, plan.selection):
        yield plan, found


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
