"""What the daemon says of its roots and workers, as plain values for `faceblurd status`. Changes nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from faceblurd.engine.deletions import Leftovers
from faceblurd.model import State, printable

if TYPE_CHECKING:
    from faceblurd.engine.engine import Engine
    from faceblurd.engine.root import Root
    from faceblurd.ledger.ledger import Ledger
    from faceblurd.workers.pool import Pool


def of_workers(pool: Pool) -> dict[str, Any]:
    """Tell how the workers are."""
    return {"busy": pool.busy, "restarts": pool.restarts, "sandbox": pool.sandbox}


def of_roots(engine: Engine, ledger: Ledger) -> list[dict[str, Any]]:
    """Tell how every root is."""
    now = asyncio.get_running_loop().time()
    return [_of_root(root, ledger, now) for root in engine.roots.values()]


def _of_root(root: Root, ledger: Ledger, now: float) -> dict[str, Any]:
    photos, plan = root.photos.values(), root.plan
    seen = [photo.settling.first_seen for photo in photos] + list(root.retries.first_seen())
    return {
        "path": plan.path,
        "mode": plan.mode.value,
        "to": plan.to,
        "state": root.state.value,
        "problems": list(root.problems),
        "scanning": root.scans.running,
        "settling": sum(photo.state is State.SETTLING for photo in photos),
        "queued": sum(photo.state is State.QUEUED for photo in photos),
        "working": sum(photo.in_hand for photo in photos),
        "retrying": len(root.retries),
        "oldest_waiting_seconds": round(now - min(seen)) if seen else None,
        "counts": {state.value: number for state, number in ledger.counts(plan.path).items()},
        **_of_left_alone(root),
    }


def of_last_scans(engine: Engine) -> list[dict[str, Any]]:
    """Tell what single scans of the roots left alone."""
    return [{"path": root.path, **_of_left_alone(root)} for root in engine.roots.values()]


def _of_left_alone(root: Root) -> dict[str, Any]:
    """Tell what was left alone, and results whose photo is left alone today."""
    left = () if root.scans.last is None else root.scans.last.left
    found = root.scans.leftovers or Leftovers()
    return {
        "left_alone": [
            {"why": one.why.value, "count": one.count, "examples": [printable(path) for path in one.examples]}
            for one in left
        ],
        "excluded_results": {"count": found.count, "examples": [printable(path) for path in found.examples]},
    }
