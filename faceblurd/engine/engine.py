"""All that works on photos, put together from plans and settings: made, opened, drained and closed as one.

The composition root of everything below it. The daemon has one engine at a time, and a second one while it reloads.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from faceblurd.config.probes import no_way_to_run
from faceblurd.engine import upkeep
from faceblurd.engine.hooks import Hooks
from faceblurd.engine.intake import Intake
from faceblurd.engine.model import Log, Services
from faceblurd.engine.plans import MEGABYTE, terms_of
from faceblurd.engine.thread import RootThread
from faceblurd.engine.turns import Turns
from faceblurd.model import State
from faceblurd.plugins.host import PluginHost
from faceblurd.publish.quarantine import Quarantine
from faceblurd.state_files import QUARANTINE_NAME
from faceblurd.workers.job import Setup
from faceblurd.workers.pool import Limits, Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from faceblurd.config.defaults import Hooks as HooksSettings
    from faceblurd.config.defaults import Workers as WorkersSettings
    from faceblurd.config.schema import HooksConfig, WorkersConfig
    from faceblurd.engine.model import Pace, RetryPolicy, RootPlan
    from faceblurd.engine.root import Root
    from faceblurd.engine.thread import Thread
    from faceblurd.ledger.ledger import Ledger

CLOSE_SECONDS = 3.0  # for what is under way on a root; one that hangs is left to the next start
REQUEST_SECONDS = 1.0  # how soon a `quarantine retry` from another process is noticed
STUCK_SECONDS = 60.0  # on top of a photo's deadline, before it counts as stuck


class Engine:
    """Made inside a running loop, and used by it alone."""

    def __init__(  # noqa: PLR0913 - the composition root: every part is named once, here
        self, plans: Sequence[RootPlan], *, workers: WorkersConfig | WorkersSettings,
        hooks: HooksConfig | HooksSettings, ledger: Ledger, state_dir: Path | None, policy: RetryPolicy, log: Log,
        threads: Callable[[str], Thread] = RootThread,
    ) -> None:  # fmt: skip
        """Put it together; no process and no thread runs yet. Raises SetupError for a plugin that does not load."""
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # contents.open_for_writing holds a lease for a moment

        def plugin_failed(plugin: str, hook: str, error: BaseException) -> None:
            log.event("plugin.failed", plugin=plugin, hook=hook, detail=f"{type(error).__name__}: {error}")

        plugins = PluginHost.load(hooks.plugins, on_error=plugin_failed)
        # With its version: another version of a plugin may see other faces, so every photo is looked at again.
        self.plans = [
            replace(plan, recipe=replace(plan.recipe, plugins=plugins.identities), terms=terms_of(plan, workers))
            for plan in plans
        ]
        self.pool = _pool(self.plans, workers, hooks)
        turns = Turns(self.pool)
        self.pool.changed = turns.admit
        folder = Path(os.devnull) if state_dir is None else state_dir / QUARANTINE_NAME
        self.services = Services(
            ledger, self.pool, turns, Quarantine(ledger, folder), plugins, _hooks(hooks, ledger, log), policy, log,
            frozenset(plan.path for plan in plans), self._fail,
        )  # fmt: skip
        self.roots: dict[str, Root] = {}
        self.folders: dict[str, Intake] = {}  # of a single run: photos are given to them, nothing is watched
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._threads = threads
        self._tasks: set[asyncio.Task[None]] = set()

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    def plan(self, root: str) -> RootPlan:
        """Give the plan of a root as it was put together: its recipe counts the plugins."""
        return next(plan for plan in self.plans if plan.path == root)

    # --- opening

    def open_roots(self, paces: Iterable[Pace]) -> None:
        """Begin to watch, or to scan, the roots, each as far as it answers."""
        from faceblurd.engine.root import Root  # noqa: PLC0415 - watchdog: 40 ms that `blur` does not need

        self._recover_others()
        for plan, pace in zip(self.plans, paces, strict=True):
            root = self.roots[plan.path] = Root(plan, self.services, pace, self._threads)
            self._run(root.look_after())
        self._run(self._take_requests())
        self._run_hooks()

    def open_folders(self, threads: Callable[[str], Thread]) -> None:
        """Be ready for the photos of a single run."""
        for plan in self.plans:
            self.folders[plan.path] = Intake(plan, self.services, threads(f"files of {plan.path}"))
        self._run_hooks()

    def _run_hooks(self) -> None:
        if self.services.hooks is not None:
            self._run(self.services.hooks.run())

    def _recover_others(self) -> None:
        """Finish or undo what a crash left below roots that left the config, and forget what is held there."""
        ledger, some = self.services.ledger, self.plans[0]
        for path in {intent.root for intent in ledger.intents()} - self.services.roots:
            other = Intake(replace(some, path=path), self.services, self._threads(f"files of {path}"))
            self._run(other.recovery.run())
        upkeep.leave_other_roots(self.services)

    async def _take_requests(self) -> None:
        """Notice what `quarantine retry` and `redo` wrote into the ledger, and at first what the last run left."""
        ledger, seen = self.services.ledger, -1
        while True:
            if (version := ledger.changed_elsewhere()) != seen:
                seen = version
                retried = ledger.in_state(State.RETRY)
                for root in self.roots.values():
                    root.point_at([one.path for one in retried if one.root == root.path])
                for path in ledger.take_redo() & set(self.roots):
                    self.roots[path].forget_mounts()
                    self.roots[path].scan_soon()
            await asyncio.sleep(REQUEST_SECONDS)

    def _run(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._watched(coroutine))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: coroutine.close())  # of one that is cancelled before it began

    async def _watched(self, coroutine: Coroutine[None, None, None]) -> None:
        try:
            await coroutine
        except Exception as error:  # noqa: BLE001 - isolation point: told to whoever runs the engine
            self._fail(error)

    # --- what is on its way

    def _intakes(self) -> list[Intake]:
        return [*self.roots.values(), *self.folders.values()]

    @property
    def on_their_way(self) -> int:
        """How many photos are on their way, or due later."""
        return sum(len(one.photos) + len(one.retries) for one in self._intakes())

    @property
    def in_hand(self) -> int:
        """How many photos workers have, or are being published."""
        return sum(photo.in_hand for one in self._intakes() for photo in one.photos.values())

    def moves(self) -> bool:
        """Tell whether photos move, or rightly wait: for the service's watchdog."""
        late = asyncio.get_running_loop().time() - self.pool.limits.deadline_seconds - STUCK_SECONDS
        stuck = any(
            photo.in_hand and photo.since < late
            for one in self.roots.values() if not one.stalled for photo in one.photos.values()
        )  # fmt: skip
        return not stuck and all(root.alive for root in self.roots.values())

    # --- the end

    async def drain(self, seconds: float) -> None:
        """Begin nothing any more, and let workers finish what they have, for a while."""
        self.services.turns.close()
        for one in self._intakes():
            one.cancel(in_hand=False)
        until = asyncio.get_running_loop().time() + seconds
        while tasks := {task for one in self._intakes() for task in one.tasks_in_hand()}:
            left = until - asyncio.get_running_loop().time()
            if left <= 0 or not (await asyncio.wait(tasks, timeout=left, return_when="FIRST_COMPLETED"))[0]:
                return

    async def close(self) -> None:
        """Stop what runs; what was in hand leaves no trace, but for what hangs with its root."""
        self.services.turns.close()
        tasks = set(self._tasks)
        for one in self._intakes():
            one.close()
            tasks |= one.tasks()
        for task in self._tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
        await self.pool.close()
        for one in self._intakes():
            one.thread.close()
        if self.failed.done():
            self.failed.exception()
        else:
            self.failed.cancel()


def _pool(
    plans: Sequence[RootPlan], workers: WorkersConfig | WorkersSettings, hooks: HooksConfig | HooksSettings
) -> Pool:
    recipes = tuple(dict.fromkeys(plan.recipe for plan in plans))
    setup = Setup(recipes, hooks.plugins, workers.memory_limit_mb * MEGABYTE, os.getpid(), workers.sandbox == "auto")
    limits = Limits(
        workers.process_count(), workers.deadline_seconds, workers.recycle_after_files, workers.idle_seconds
    )  # fmt: skip
    return Pool(setup, limits)


def _hooks(hooks: HooksConfig | HooksSettings, ledger: Ledger, log: Log) -> Hooks | None:
    if not hooks.command:
        return None

    def problem(detail: str) -> None:
        log.event("hook.failed", detail=detail)

    if (found := no_way_to_run(hooks.command[0], os.environ)) is not None:
        problem(f"{hooks.command[0]} {found[0]}. {found[1]}")  # at the start already, not with the first photo
    return Hooks(
        hooks.command, timeout_seconds=hooks.timeout_seconds, max_attempts=hooks.max_attempts, outbox=ledger,
        on_problem=problem,
    )  # fmt: skip
