"""The engine's own words: what is to be done with the photos of a root, and a photo on its way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from faceblurd.model import MetadataPolicy, Mode, State, Watch
from faceblurd.rules.decide import TRANSITIONS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from faceblurd.engine.hooks import Hooks
    from faceblurd.engine.turns import Ticket, Turns
    from faceblurd.ledger.ledger import Ledger
    from faceblurd.model import Fingerprint, Recipe, Report
    from faceblurd.plugins.host import PluginHost
    from faceblurd.publish.quarantine import Quarantine
    from faceblurd.rules.settle import Settling
    from faceblurd.watch.scan import Selection
    from faceblurd.workers.pool import Pool


class RootState(StrEnum):
    """How well a root is seen."""

    STARTING = "starting"
    WATCHING = "watching"
    SCANNED = "scanned"  # by scans alone: its file system does not tell of changes, or the config wants it so
    DEGRADED = "degraded"  # not every directory is watched: rescans find the rest
    SUSPENDED = "suspended"
    FULL = "full"  # no room for results


@dataclass(frozen=True, slots=True)
class Pace:
    """How new photos are noticed, and the seconds between full scans."""

    rescan_seconds: float
    watch: Watch = Watch.AUTO
    once: bool = False  # one whole scan, and nothing after it


@dataclass(frozen=True, slots=True)
class Named:
    """A root, and where its results go, as the config names them: through symlinks, maybe."""

    path: str
    to: str


@dataclass(frozen=True, slots=True)
class Remedies:
    """What to do about a name in the mirror that is taken: by a file that is not ours, or by another photo's result."""

    occupied: str = "Move it away, or set existing: replace"
    clash: str = "Rename one of them"


@dataclass(frozen=True, slots=True)
class RootPlan:
    """What is to be done with the files of one root."""

    path: str
    mode: Mode
    to: str  # the tree's top: the root itself in place
    recipe: Recipe
    selection: Selection
    quiet_seconds: float
    settle_max_seconds: float
    hard_links_ok: bool
    keep_mtime: bool  # else: the time when the result was made
    replace_others: bool
    take_away_held: bool
    ignore_unsupported: bool = False
    follow_deletions: bool = False  # a mirror loses the results of photos that are gone
    access_limited: bool = True  # in a mirror, others get no more than the photo gives them
    mtime_step_ns: int = 0  # what is added to a time that is kept
    named: Named | None = None
    terms: str = ""  # the settings that may hold a file: one that was held under others is tried again
    remedies: Remedies = Remedies()

    @property
    def in_place(self) -> bool:
        """Whether results take the place of their photos."""
        return self.mode is Mode.IN_PLACE

    @property
    def keeps_attributes(self) -> bool:
        """Whether extended attributes that carry nothing stay with a result."""
        return self.recipe.metadata.policy is not MetadataPolicy.STRIP_ALL


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long a photo is tried."""

    max_attempts: int
    backoff_seconds: float
    max_bytes: int
    waits_for_space: bool = True  # False for a single run: better to say so than to wait for room


@dataclass(eq=False, slots=True)
class Photo:
    """A photo on its way: what others may ask of it. All else are local variables of its coroutine."""

    plan: RootPlan
    path: str
    settling: Settling
    ticket: Ticket
    quiet_until: float
    since: float = 0.0  # when a worker took it
    attempts: int = 0  # on these very bytes
    state: State = State.SETTLING
    first_look: float | None = None  # when it was first opened: what it waits for a worker is not its writer's time
    hint: asyncio.Future[Fingerprint] | None = None  # while it naps
    was_hinted: bool = False  # while it did not: somebody has to look again when it has left

    @property
    def key(self) -> tuple[str, str]:
        """Root and path: what the photo is known by."""
        return self.plan.path, self.path

    @property
    def absolute(self) -> str:
        """The whole path."""
        return f"{self.plan.path}/{self.path}"

    @property
    def fingerprint(self) -> Fingerprint:
        """What it looked like when it was last looked at."""
        return self.settling.fingerprint

    @property
    def in_hand(self) -> bool:
        """Whether a worker has it, or its result is being published."""
        return self.state in {State.WORKING, State.STAGED}

    def move(self, state: State) -> None:
        """Go to another state. Raises AssertionError for a move that is not in the table: a bug."""
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"illegal transition {self.state} -> {state}")
        self.state = state

    def overdue(self, now: float) -> bool:
        """Tell whether it has been waited for longer than the root allows."""
        return self.first_look is not None and now - self.first_look >= self.plan.settle_max_seconds


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
