"""Puts the parts together: from a config to a pipeline that can run. Shared by the daemon and the one-shot commands.

Owns nothing that runs on its own; whoever assembles also closes.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING

from faceblurd import __version__
from faceblurd.config.programs import no_way_to_run
from faceblurd.config.reach import ANSWER_SECONDS, Folder, side_by_side
from faceblurd.errors import FaceblurdError, SetupError
from faceblurd.intake import mirror
from faceblurd.intake.errands import AtOnce, Lanes
from faceblurd.intake.inbox import Inbox
from faceblurd.intake.root import Outside, RootWatch
from faceblurd.model import Mode
from faceblurd.outlet.command_hook import CommandHook
from faceblurd.outlet.quarantine import Quarantine
from faceblurd.pipeline import Named, Parts, Patience, Pipeline, RootPlan
from faceblurd.plugins.host import PluginHost
from faceblurd.state_files import QUARANTINE_NAME
from faceblurd.workers import messages
from faceblurd.workers.job import Setup
from faceblurd.workers.pool import Limits, Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from faceblurd.config import Config, Hooks, HooksConfig, RootConfig, Workers, WorkersConfig
    from faceblurd.intake.errands import Errands
    from faceblurd.intake.mirror import Mirror
    from faceblurd.intake.root import Pace
    from faceblurd.model import Report
    from faceblurd.outlet.ledger import Ledger

MEGABYTE = 1 << 20
MTIME_STEP_NS = 2_000_000_000
"""How much newer than its original a result in place is: noticed by whatever backs up or syncs (FAT counts in steps of
2 s), and older than whatever a person does to the original afterwards, on whichever device."""


@dataclass(frozen=True, slots=True)
class Voice:
    """Where what happens is said: one call per finished file, one for everything else."""

    report: Callable[[Report], None]
    tell: Callable[..., None]


@dataclass(frozen=True, slots=True)
class Assembly:
    """A pipeline with what must be closed after it."""

    pipeline: Pipeline
    pool: Pool
    inbox: Inbox
    errands: Errands
    plugins: PluginHost
    hook: CommandHook | None

    def close(self) -> None:
        """Stop what runs; what was in hand leaves no trace."""
        for root in self.pipeline.roots.values():
            root.stop()
        try:
            self.pipeline.abandon()
        finally:
            if self.hook is not None:
                self.hook.close()
            self.inbox.close()


def plans_for(config: Config) -> list[RootPlan]:
    """Turn the roots of a config into the pipeline's plans. Paths are resolved here, once, and side by side."""
    named = [path for root in config.roots for path in (root.path, root.to or root.path)]
    real = [str(folder.real) for folder in Folder.each(named)]
    return [
        _plan(config, root, real[2 * at], real[2 * at + 1] if root.to else "") for at, root in enumerate(config.roots)
    ]


def plan_for(config: Config, root: RootConfig) -> RootPlan:
    """Turn one root's settings into the pipeline's plan."""
    return plans_for(config.model_copy(update={"roots": (root,)}))[0]


def _plan(config: Config, root: RootConfig, path: str, to: str) -> RootPlan:
    from faceblurd.config import Access, Deletions, Existing, HardLinks, Mtime, OnFailure, Unsupported  # noqa: PLC0415 - pydantic: configs only

    return RootPlan(
        path=path,
        mode=root.mode,
        to=to or path,
        recipe=config.recipe_for(root),
        selection=root.selection(),
        quiet_seconds=root.quiet_seconds,
        settle_max_seconds=root.settle_max_seconds,
        hard_links_ok=root.hard_links is HardLinks.PROCESS,
        keep_mtime=root.mtime is not Mtime.NOW,
        mtime_step_ns=MTIME_STEP_NS if root.mtime is Mtime.AUTO and root.mode is Mode.IN_PLACE else 0,
        replace_others=root.existing is Existing.REPLACE,
        take_away_held=root.on_failure is OnFailure.HOLD,
        ignore_unsupported=root.unsupported is Unsupported.IGNORE,
        follow_deletions=root.deletions is Deletions.FOLLOW,
        access_limited=root.access is Access.LIMITED,
        named=Named(str(root.path), str(root.to or root.path)),
    )


def patience_of(workers: WorkersConfig) -> Patience:
    """How often and how long a file is tried, by the config."""
    return Patience(workers.max_attempts, workers.retry_seconds, workers.max_file_mb * MEGABYTE)


def assemble(  # noqa: PLR0913 - the composition root: every part is named once, here
    plans: Sequence[RootPlan],
    *,
    workers: WorkersConfig | Workers,
    hooks: HooksConfig | Hooks,
    ledger: Ledger,
    state_dir: Path | None,
    patience: Patience,
    voice: Voice,
    watches: bool = False,
) -> Assembly:
    """Build a pipeline and its parts. Raises SetupError for a plugin that does not load. No process runs yet.

    `watches`: for a daemon, whose roots must not wait for one another.
    """
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # contents.open_for_writing holds a lease for a moment

    def plugin_failed(plugin: str, hook: str, error: BaseException) -> None:
        voice.tell("plugin.failed", plugin=plugin, hook=hook, detail=f"{type(error).__name__}: {error}")

    plugins = PluginHost.load(hooks.plugins, on_error=plugin_failed)
    # With its version: another version of a plugin may see other faces, so every photo is looked at again.
    plans = [
        replace(plan, recipe=replace(plan.recipe, plugins=plugins.identities), terms=_terms(plan, workers))
        for plan in plans
    ]
    pool = _pool(plans, workers, hooks)
    inbox, hook = Inbox(), _hook(hooks, ledger, voice)
    errands = Lanes(inbox.ring) if watches else AtOnce()
    quarantine = Quarantine(ledger, Path(os.devnull) if state_dir is None else state_dir / QUARANTINE_NAME)
    parts = Parts(inbox, errands, ledger, pool, quarantine, plugins, hook, time.monotonic, voice.report, voice.tell)
    return Assembly(Pipeline(parts, plans, patience), pool, inbox, errands, plugins, hook)


def _terms(plan: RootPlan, workers: WorkersConfig | Workers) -> str:
    """Sum up whatever may hold a file beside the recipe: what was held under other terms is tried again.

    A newer faceblurd, or one with another decoder installed, may know better.
    """
    whole = (
        __version__, find_spec("pillow_heif") is not None, plan.hard_links_ok, plan.replace_others,
        plan.ignore_unsupported, plan.settle_max_seconds, plan.recipe.verify, workers.deadline_seconds,
        workers.memory_limit_mb, workers.max_attempts, workers.max_file_mb, workers.sandbox,
    )  # fmt: skip
    return hashlib.blake2b(repr(whole).encode(), digest_size=8).hexdigest()


def _pool(plans: Sequence[RootPlan], workers: WorkersConfig | Workers, hooks: HooksConfig | Hooks) -> Pool:
    recipes = tuple(dict.fromkeys(plan.recipe for plan in plans))
    setup = Setup(recipes, hooks.plugins, workers.memory_limit_mb * MEGABYTE, os.getpid(), workers.sandbox == "auto")
    limits = Limits(
        workers.process_count(), workers.deadline_seconds, workers.recycle_after_files, workers.idle_seconds
    )  # fmt: skip
    return Pool(setup, limits, clock=time.monotonic)


def _hook(hooks: HooksConfig | Hooks, ledger: Ledger, voice: Voice) -> CommandHook | None:
    if not hooks.command:
        return None

    def problem(detail: str) -> None:
        voice.tell("hook.failed", detail=detail)

    if (found := no_way_to_run(hooks.command[0], os.environ)) is not None:
        problem(f"{hooks.command[0]} {found[0]}. {found[1]}")  # at the start already, not with the first photo
    return CommandHook(
        hooks.command, timeout_seconds=hooks.timeout_seconds, max_attempts=hooks.max_attempts, outbox=ledger,
        on_problem=problem,
    )  # fmt: skip


def open_roots(made: Assembly, plans: Iterable[RootPlan], paces: Iterable[Pace], ledger: Ledger, voice: Voice) -> None:
    """Begin to watch or to scan the roots, each as far as it answers."""
    made.pipeline.recover_others()
    for plan, pace in zip(plans, paces, strict=True):

        def tell(event: str, detail: str, path: str = plan.path) -> None:
            voice.tell(event, root=path, detail=detail)

        arrived = partial(made.pipeline.arrived, plan.path)
        outside = Outside(made.inbox, made.errands, tell, arrived, ledger.mounted_at)
        names = None if plan.named is None else (plan.named.path, plan.named.to)
        made.pipeline.roots[plan.path] = RootWatch(
            plan.path, plan.selection, to=plan.to, pace=pace, outside=outside, names=names
        )


def make_mirrors(plans: Iterable[RootPlan], ledger: Ledger) -> None:
    """See that the mirrors' tops are there. One that somebody removed whole is filled again from the start.

    Single results that were removed or taken away stay away: whoever collects photos from a mirror must not get them
    again at every rescan. One that does not answer is left to its root, which waits for it. Raises FaceblurdError when
    one cannot be made; then none was.
    """
    fill_new(make_folders(calls_for(plans, ledger)), ledger)


def calls_for(plans: Iterable[RootPlan], ledger: Ledger) -> list[Callable[[], Mirror]]:
    """Give the calls that make the mirrors' tops: each may hang, and touches no ledger."""
    mirrored = [plan for plan in plans if plan.mode is Mode.MIRROR]
    return [partial(mirror.make, plan.path, plan.to, ledger.mounted_at(plan.to)) for plan in mirrored]


def make_folders(calls: Sequence[Callable[[], Mirror]]) -> list[Mirror]:
    """Make the mirrors' tops side by side. Raises FaceblurdError when one cannot be made; then none was."""
    made = [one for one in side_by_side(calls, seconds=ANSWER_SECONDS) if one is not None]
    for failed in (one for one in made if one.error is not None):
        undo(made)
        raise FaceblurdError(
            f"the mirror {failed.to} cannot be made: {failed.error}", remedy="Create it, writable for this user"
        )
    return made


def undo(mirrors: Iterable[Mirror]) -> None:
    """Remove the folders that were made for a configuration that is not taken over."""
    for one in mirrors:
        one.undo()


def fill_new(mirrors: Iterable[Mirror], ledger: Ledger) -> None:
    """Have all photos published anew whose mirror has just been made."""
    for one in mirrors:
        if one.folders:
            ledger.look_again(one.root)


def wait_until_ready(pool: Pool, *, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Start a worker and wait for it: detectors, engines and plugins load there; SetupError when one does not."""
    pool.warm(1)
    while True:
        meanwhile()
        for event in (*pool.collect(wait(pool.waitables(), 0.2)), *pool.expire()):
            match event:
                case messages.Ready():
                    return
                case messages.SetupFailed():
                    raise SetupError(event.message, remedy=event.remedy)
        if not pool.waitables():
            raise no_worker(pool)


def no_worker(pool: Pool) -> FaceblurdError:
    """Say that no worker starts, and why."""
    return FaceblurdError(
        f"a worker process does not start: {pool.why_not_started}",
        remedy="See what it wrote on stderr (of a service: journalctl -u faceblurd)",
    )
