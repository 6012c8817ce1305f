"""From the configuration to plans: what is to be done with the photos of each root."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

from faceblurd import __version__
from faceblurd.config.probes import Folder
from faceblurd.engine.model import Named, RetryPolicy, RootPlan
from faceblurd.model import Mode

if TYPE_CHECKING:
    from faceblurd.config.defaults import Workers
    from faceblurd.config.schema import Config, RootConfig, WorkersConfig

MEGABYTE = 1 << 20
MTIME_STEP_NS = 2_000_000_000
"""How much newer than its original a result in place is: noticed by whatever backs up or syncs (FAT counts in steps of
2 s), and older than whatever a person does to the original afterwards, on whichever device."""


def plans_for(config: Config) -> list[RootPlan]:
    """Turn the roots of a config into plans. Paths are resolved here, once, and side by side."""
    named = [path for root in config.roots for path in (root.path, root.to or root.path)]
    real = [str(folder.real) for folder in Folder.each(named)]
    return [
        _plan(config, root, real[2 * at], real[2 * at + 1] if root.to else "") for at, root in enumerate(config.roots)
    ]


def plan_for(config: Config, root: RootConfig) -> RootPlan:
    """Turn one root's settings into a plan."""
    return plans_for(config.model_copy(update={"roots": (root,)}))[0]


def _plan(config: Config, root: RootConfig, path: str, to: str) -> RootPlan:
    # Here, since pydantic is for configs only.
    from faceblurd.config.schema import (  # noqa: PLC0415
        Access,
        Deletions,
        Existing,
        HardLinks,
        Mtime,
        OnFailure,
        Unsupported,
    )

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


def retry_policy_of(workers: WorkersConfig) -> RetryPolicy:
    """How often and how long a file is tried, by the config."""
    return RetryPolicy(workers.max_attempts, workers.retry_seconds, workers.max_file_mb * MEGABYTE)


def terms_of(plan: RootPlan, workers: WorkersConfig | Workers) -> str:
    """Sum up whatever may hold a file beside the recipe: what was held under other terms is tried again.

    A newer faceblurd, or one with another decoder installed, may know better.
    """
    whole = (
        __version__, find_spec("pillow_heif") is not None, plan.hard_links_ok, plan.replace_others,
        plan.ignore_unsupported, plan.settle_max_seconds, plan.recipe.verify, workers.deadline_seconds,
        workers.memory_limit_mb, workers.max_attempts, workers.max_file_mb, workers.sandbox,
    )  # fmt: skip
    return hashlib.blake2b(repr(whole).encode(), digest_size=8).hexdigest()
