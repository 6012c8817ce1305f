"""Puts the parts together: from a config to a pipeline that can run. Shared by the daemon and the one-shot commands.

Owns nothing that runs on its own; whoever assembles also closes.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING

from faceblurd.config.reach import ANSWER_SECONDS, Folder, within
from faceblurd.errors import AlreadyRunningError, FaceblurdError, SetupError
from faceblurd.intake.errands import AtOnce, Lanes
from faceblurd.intake.inbox import Inbox
from faceblurd.model import Mode
from faceblurd.outlet.command_hook import CommandHook
from faceblurd.outlet.quarantine import Quarantine
from faceblurd.pipeline import Parts, Patience, Pipeline, RootPlan
from faceblurd.plugins.host import PluginHost
from faceblurd.workers import messages
from faceblurd.workers.job import Setup
from faceblurd.workers.pool import Limits, Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from faceblurd.config import Config, Hooks, HooksConfig, RootConfig, Workers, WorkersConfig
    from faceblurd.intake.errands import Errands
    from faceblurd.model import Report
    from faceblurd.outlet.ledger import Ledger

MEGABYTE = 1 << 20
LEDGER_NAME = "ledger.sqlite3"
QUARANTINE_NAME = "quarantine"


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


def plan_for(config: Config, root: RootConfig) -> RootPlan:
    """Turn a root's settings into the pipeline's plan. Paths are resolved here, once."""
    from faceblurd.config import Access, Deletions, Existing, HardLinks, Mtime, OnFailure, Unsupported  # noqa: PLC0415 - pydantic: configs only

    path = str(Folder.at(root.path).real)
    keep_mtime = root.mtime is Mtime.KEEP or (root.mtime is Mtime.AUTO and root.mode is Mode.MIRROR)
    return RootPlan(
        path=path,
        mode=root.mode,
        to=path if root.to is None else str(Folder.at(root.to).real),
        recipe=config.recipe_for(root),
        selection=root.selection(),
        quiet_seconds=root.quiet_seconds,
        settle_max_seconds=root.settle_max_seconds,
        hard_links_ok=root.hard_links is HardLinks.PROCESS,
        keep_mtime=keep_mtime,
        replace_others=root.existing is Existing.REPLACE,
        take_away_held=root.on_failure is OnFailure.HOLD,
        ignore_unsupported=root.unsupported is Unsupported.IGNORE,
        follow_deletions=root.deletions is Deletions.FOLLOW,
        access_limited=root.access is Access.LIMITED,
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
    plans = [replace(plan, recipe=replace(plan.recipe, plugins=plugins.identities)) for plan in plans]
    pool = _pool(plans, workers, hooks)
    inbox, hook = Inbox(), _hook(hooks, ledger, voice)
    errands = Lanes(inbox.ring) if watches else AtOnce()
    quarantine = Quarantine(ledger, Path(os.devnull) if state_dir is None else state_dir / QUARANTINE_NAME)
    parts = Parts(inbox, errands, ledger, pool, quarantine, plugins, hook, time.monotonic, voice.report, voice.tell)
    return Assembly(Pipeline(parts, plans, patience), pool, inbox, errands, plugins, hook)


def _pool(plans: Sequence[RootPlan], workers: WorkersConfig | Workers, hooks: HooksConfig | Hooks) -> Pool:
    recipes = tuple({plan.recipe.digest: plan.recipe for plan in plans}.values())
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

    return CommandHook(
        hooks.command, timeout_seconds=hooks.timeout_seconds, max_attempts=hooks.max_attempts, outbox=ledger,
        on_problem=problem,
    )  # fmt: skip


def make_mirror(plan: RootPlan, ledger: Ledger) -> None:
    """See that the mirror's top is there. A mirror that somebody removed whole is filled again from the start.

    Single results that were removed or taken away stay away: whoever collects photos from a mirror must not get them
    again at every rescan. One that does not answer is left to its root, which waits for it.
    """
    made = within(ANSWER_SECONDS, partial(_make_folder, plan.to))
    if isinstance(made, OSError):
        raise FaceblurdError(
            f"the mirror {plan.to} cannot be made: {made.strerror}", remedy="Create it, writable for this user"
        ) from made
    if made:
        ledger.look_again(plan.path)


def _make_folder(path: str) -> bool | OSError:
    """Make a folder that is not there; say whether it was made."""
    if os.path.isdir(path):
        return False
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        return error
    return True


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
            raise FaceblurdError("a worker process does not start", remedy="Try `faceblurd blur` on one photo by hand")


def lock_state(state_dir: Path) -> int:
    """Own the state directory as long as the returned descriptor is open. Raises AlreadyRunningError."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FaceblurdError(
            f"state_dir {state_dir} cannot be used: {error.strerror}", remedy="Make it writable for this user"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise AlreadyRunningError(
            f"another faceblurd uses {state_dir}", remedy="Stop it first, or give this one a state_dir of its own"
        ) from error
    return fd


def is_running(state_dir: Path) -> bool:
    """Tell whether a daemon owns the state directory."""
    try:
        fd = os.open(state_dir / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)
