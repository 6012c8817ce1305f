"""What the daemon says of its roots and workers, as plain values for `faceblurd status`. Changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faceblurd.model import State, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faceblurd.outlet.ledger import Ledger
    from faceblurd.pipeline import Pipeline, RootPlan
    from faceblurd.workers.pool import Pool


def of_workers(pool: Pool) -> dict[str, Any]:
    """Tell how the workers are."""
    return {"busy": pool.busy, "restarts": pool.restarts, "sandbox": pool.sandbox}


def of_roots(pipeline: Pipeline, plans: Iterable[RootPlan], ledger: Ledger, now: float) -> list[dict[str, Any]]:
    """Tell how every root is; `now` in monotonic seconds."""
    return [_of_root(pipeline, plan, ledger, now) for plan in plans if plan.path in pipeline.roots]


def _of_root(pipeline: Pipeline, plan: RootPlan, ledger: Ledger, now: float) -> dict[str, Any]:
    root = pipeline.roots[plan.path]
    files = [file for file in pipeline.waiting if file.plan.path == plan.path]
    oldest = min((file.settling.first_seen for file in files), default=None)
    counts = {state.value: number for state, number in ledger.counts(plan.path).items()}
    return {
        "path": plan.path,
        "mode": plan.mode.value,
        "to": plan.to,
        "state": root.state.value,
        "problems": list(root.problems),
        "scanning": root.scanning,
        "settling": sum(file.state is State.SETTLING for file in files),
        "queued": sum(file.state is State.QUEUED for file in files),
        "working": sum(file.state in {State.WORKING, State.STAGED} for file in files),
        "retrying": sum(file.state is State.RETRY for file in files),
        "oldest_waiting_seconds": None if oldest is None else round(now - oldest),
        "counts": counts,
        **_of_left_alone(pipeline, plan.path),
    }


def of_last_scans(pipeline: Pipeline, plans: Iterable[RootPlan]) -> list[dict[str, Any]]:
    """Tell what single scans of the roots left alone."""
    return [{"path": plan.path, **_of_left_alone(pipeline, plan.path)} for plan in plans]


def _of_left_alone(pipeline: Pipeline, root: str) -> dict[str, Any]:
    """Tell what was left alone, and results whose photo is left alone today."""
    search = pipeline.leftovers.found.get(root)
    count, examples = (0, []) if search is None else (search.count, search.examples)
    return {
        "left_alone": [
            {"why": left.why.value, "count": left.count, "examples": [printable(path) for path in left.examples]}
            for left in pipeline.left_alone(root)
        ],
        "excluded_results": {"count": count, "examples": [printable(path) for path in examples]},
    }
