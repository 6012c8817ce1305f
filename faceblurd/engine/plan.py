"""What is to be done with the photos of a root, as plain values made from the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceblurd.model import MetadataPolicy, Mode

if TYPE_CHECKING:
    from faceblurd.intake.scanner import Selection
    from faceblurd.model import Recipe


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
