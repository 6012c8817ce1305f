"""What the pipeline is given, and what it remembers of a file on its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceblurd.model import MetadataPolicy, Mode, Source, State
from faceblurd.rules.decide import TRANSITIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceblurd.intake.errands import Errands
    from faceblurd.intake.inbox import Inbox
    from faceblurd.intake.scanner import Selection
    from faceblurd.model import Recipe, Report
    from faceblurd.outlet.command_hook import CommandHook
    from faceblurd.outlet.delivery import Work
    from faceblurd.outlet.ledger import Ledger
    from faceblurd.outlet.quarantine import Quarantine
    from faceblurd.plugins.host import PluginHost
    from faceblurd.rules.settle import Settling
    from faceblurd.workers.pool import Pool


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
    def keeps_attributes(self) -> bool:
        """Whether extended attributes that carry nothing stay with a result."""
        return self.recipe.metadata.policy is not MetadataPolicy.STRIP_ALL


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long a file is tried."""

    max_attempts: int
    retry_seconds: float
    max_bytes: int
    waits_for_space: bool = True  # False for a single run: better to say so than to wait for room


@dataclass(frozen=True, slots=True)
class Parts:
    """What the pipeline works with; all of it injected."""

    inbox: Inbox
    errands: Errands  # every call that may hang on a root is made by them
    ledger: Ledger
    pool: Pool
    quarantine: Quarantine
    plugins: PluginHost
    hook: CommandHook | None
    clock: Callable[[], float]
    report: Callable[[Report], None]
    tell: Callable[..., None]  # (event name, **fields) for the log


@dataclass(slots=True)
class File:
    """A file on its way, from the first sighting to the outcome."""

    plan: RootPlan
    path: str
    source: Source
    settling: Settling
    due: float
    attempts: int
    state: State = State.SETTLING
    job: int = 0
    work: Work | None = None  # belongs to the errand that is out with it, while one is
    out: bool = False  # an errand is out with what is open of it
    skipped: str = ""
    first_look: float | None = None  # when it was first opened: what it waits for a worker is not its writer's time

    @property
    def key(self) -> tuple[str, str]:
        """Root and path: what the file is known by."""
        return self.plan.path, self.path

    @property
    def absolute(self) -> str:
        """The whole path."""
        return f"{self.plan.path}/{self.path}"

    @property
    def in_place(self) -> bool:
        """Whether the result takes the file's own place."""
        return self.plan.mode is Mode.IN_PLACE

    def opened(self) -> Work:
        """Give what is open of it: whoever asks has it in hand."""
        assert self.work is not None  # noqa: S101 - see above
        return self.work

    def move(self, state: State) -> None:
        """Go to another state, legally."""
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"illegal transition {self.state} -> {state}")
        self.state = state

    def overdue(self, now: float) -> bool:
        """Tell whether it has been waited for longer than the root allows."""
        return self.first_look is not None and now - self.first_look >= self.plan.settle_max_seconds
