"""The same work once: for `faceblurd blur` and `faceblurd scan`.

`blur` feeds photos from its own walk, as there is room; a folder that does not answer is given up. `scan` looks after
roots as the daemon does, so that none of them can keep it from its end, and scans each of them once.
"""

from __future__ import annotations

import asyncio
import os
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from faceblurd.engine import plans
from faceblurd.engine.engine import Engine
from faceblurd.engine.model import Log, Pace
from faceblurd.ledger.ledger import Ledger
from faceblurd.model import Fingerprint, Watch
from faceblurd.publish import beneath
from faceblurd.watch.scan import Found, walk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence

    from faceblurd.config.schema import Config
    from faceblurd.engine.intake import Intake
    from faceblurd.engine.model import RootPlan
    from faceblurd.engine.thread import Thread
    from faceblurd.watch.scan import Finished

T = TypeVar("T")
MAX_WAITING, BATCH = 200, 50
SILENT_SECONDS = 20.0  # a disk that sleeps is there after 10
MAX_OTHERS = 100_000
LOOK_SECONDS = 0.1  # between two looks whether all is done


async def unless_stopped(work: Coroutine[None, None, T], engine: Engine, stop: asyncio.Event) -> T | None:
    """Await a single run's work; None when it was stopped.

    Raises what the engine failed with, FaceblurdError when no worker starts.
    """
    under_way = asyncio.ensure_future(work)
    others = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(engine.pool.given_up())]
    try:
        waits: set[asyncio.Future[Any]] = {under_way, *others, engine.failed}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if engine.failed.done():
            engine.failed.result()
        if under_way.done():
            return under_way.result()
        if others[1].done():
            raise engine.pool.no_worker()
        return None
    finally:
        for one in (under_way, *others):
            one.cancel()


async def catch_up(engine: Engine, log: Log) -> int:
    """Do all that is to do in the roots: what a crash left, what is new, and what is gone, where their mirrors follow.

    Gives the number of roots that are away, full, do not answer, or could not be looked into everywhere, which was
    told; none keeps another from its turn.
    """
    engine.open_roots([Pace(inf, Watch.SCAN, once=True) for _ in engine.plans])
    roots = engine.roots.values()
    await _rest(roots)
    if engine.services.hooks is not None:
        await engine.services.hooks.rest()
    unread = {one.path for one in roots if one.scans.last and say_unread(one.path, one.scans.last.errors, log)}
    return sum(root.is_away or root.path in unread for root in roots)


async def each(thread: Thread, files: Iterator[Found]) -> AsyncIterator[Found]:
    """Give what a walk finds, made in a thread. Raises OSError, also when that is given up."""
    while some := await thread.run(lambda: list(islice(files, BATCH))):
        for one in some:
            yield one


async def take_on(engine: Engine, folder: Intake, found: Found) -> None:
    """Take on a photo of a single run, when there is room for it."""
    await folder.found(found)
    while engine.on_their_way >= MAX_WAITING:
        await _some_progress(engine.folders.values())


async def finish(engine: Engine) -> None:
    """Return when each photo of a single run has its outcome."""
    await _rest(engine.folders.values())
    if engine.services.hooks is not None:
        await engine.services.hooks.rest()


async def _rest(intakes: Iterable[Intake]) -> None:
    """Wait until nothing is on its way any more."""
    while any(one.is_busy for one in intakes):
        await _some_progress(intakes)


async def _some_progress(intakes: Iterable[Intake]) -> None:
    """Wait until one of the photos has its outcome, or for a moment."""
    tasks = {task for one in intakes for task in one.tasks()}
    if tasks:
        await asyncio.wait(tasks, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.sleep(LOOK_SECONDS)


async def try_worker(config: Config, planned: Sequence[RootPlan]) -> str:
    """Start one worker with all recipes and plugins; give what of its sandbox is in force.

    Raises SetupError when something does not load, FaceblurdError when no worker starts.
    """
    silent = Log(report=lambda _: None, event=lambda *_, **__: None)
    engine = Engine(
        planned, workers=config.workers, hooks=config.hooks, ledger=Ledger(None), state_dir=None,
        policy=plans.retry_policy_of(config.workers), log=silent,
    )  # fmt: skip
    try:
        await engine.pool.ready()
        return engine.pool.sandbox
    finally:
        await engine.close()


def say_unread(root: str, errors: Iterable[str], log: Log) -> bool:
    """Name the places that a walk could not look into, and say whether there are any."""
    places = tuple(errors)
    for place in places:
        log.event("root.unread", root=root, detail=place)
    return bool(places)


def files_below(plan: RootPlan, ended: list[Finished]) -> Iterator[Found]:
    """Walk a root; `ended` gets what the whole walk saw."""
    candidates = walk(plan.path, plan.selection)
    yield from candidates
    ended.append(candidates.finished())


def one_file(plan: RootPlan, name: str) -> Iterator[Found]:
    """Give a single file of a root, whatever it is called. Raises OSError when it is not there."""
    yield Found(name, Fingerprint.from_stat(beneath.look(plan.path, name)))


def others_below(folder: str) -> tuple[int, str]:
    """Count the files below a folder (at most `MAX_OTHERS`), and give one of them as an example."""
    files = (name for _, _, names in os.walk(folder) for name in names)
    seen = list(islice(files, MAX_OTHERS))
    return len(seen), min(seen, default="")
