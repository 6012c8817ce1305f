"""When a file is taken as wholly written. Pure: times are monotonic seconds, given by the caller.

A file has settled when its fingerprint (with ctime) stood still for the quiet time. Nothing is said here of its
content: the worker checks the container, and an unfinished one comes back for another round.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faceblurd.model import Fingerprint


@dataclass(frozen=True, slots=True)
class Settling:
    """A file that is waited for: its last fingerprint, since when it stands still, since when we know it."""

    fingerprint: Fingerprint
    still_since: float
    first_seen: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again at `until`."""

    settling: Settling
    until: float


@dataclass(frozen=True, slots=True)
class Settled:
    """The file stood still for the quiet time."""

    settling: Settling


def begin(fingerprint: Fingerprint, *, now: float, quiet_seconds: float) -> Wait:
    """Start to wait for a file that was just seen."""
    return Wait(Settling(fingerprint, now, now), now + quiet_seconds)


def look(settling: Settling, fingerprint: Fingerprint, *, now: float, quiet_seconds: float) -> Wait | Settled:
    """Judge a file by its present fingerprint."""
    if fingerprint != settling.fingerprint:
        changed = replace(settling, fingerprint=fingerprint, still_since=now)
        return Wait(changed, now + quiet_seconds)
    due = settling.still_since + quiet_seconds
    return Settled(settling) if now >= due else Wait(settling, due)


def back_off(*, attempts: int, base_seconds: float, most_seconds: float) -> float:
    """Give the seconds to wait before the next try: doubling with each attempt, up to a bound."""
    return float(min(most_seconds, base_seconds * 2 ** max(0, min(attempts, 32) - 1)))
