"""What every photo is given: one object, spelled out, made where the parts are put together (`composition`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceblurd.engine.hooks import Hooks
    from faceblurd.engine.model import RetryPolicy
    from faceblurd.engine.turns import Turns
    from faceblurd.model import Report
    from faceblurd.outlet.ledger import Ledger
    from faceblurd.outlet.quarantine import Quarantine
    from faceblurd.plugins.host import PluginHost
    from faceblurd.workers.pool import Pool


@dataclass(frozen=True, slots=True)
class Log:
    """Where what happens is said: one `report` for each finished file, one `event` (name, fields) for all else."""

    report: Callable[[Report], None]
    event: Callable[..., None]


@dataclass(frozen=True, slots=True)
class Services:
    """All of it is injected, and used in asyncio's thread alone."""

    ledger: Ledger  # called directly: a commit takes 0.2 ms. A full disk, or a lock, is a sqlite3.Error at any call
    pool: Pool
    turns: Turns
    quarantine: Quarantine
    plugins: PluginHost
    hooks: Hooks | None
    policy: RetryPolicy
    log: Log
    roots: frozenset[str]  # of the configuration
    fail: Callable[[BaseException], None]  # what no photo can be blamed for: whoever runs the engine deals with it
