"""What a crash left half done: finished, undone, or kept where people see it, and then written down.

Told by the intents alone. `clear_up` works on the disk and may be done again, `record` on the ledger. Must not judge
what lies there: that is `rules.decide.on_restart`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from faceblurd.model import Entry, Fingerprint, Reason, State
from faceblurd.publish import (
    beneath,
    contents,
    renames,
)
from faceblurd.publish.staging import Target
from faceblurd.rules import decide

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from faceblurd.ledger.ledger import Ledger
    from faceblurd.model import Intent

POSTPONED, SWEPT = "postponed", "sweep"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A job that a crash interrupted, and what the ledger knew of its file before."""

    intent: Intent
    before: Entry | None


@dataclass(frozen=True, slots=True)
class ClearedUp:
    """What was done about an unfinished job. `plan` None: nothing could be done yet. `target`: what is there now."""

    job: Unfinished
    plan: decide.Finish | decide.Redo | decide.Restore | decide.SetAside | decide.Sweep | None
    target: Fingerprint | None = None


def recover(ledger: Ledger) -> list[tuple[Intent, str]]:
    """Finish or undo every job that a crash interrupted; give each with what was done, for the log."""
    return [(job.intent, record(ledger, clear_up(job))) for job in unfinished(ledger)]


def unfinished(ledger: Ledger) -> list[Unfinished]:
    """List the jobs that had begun and not ended."""
    return [Unfinished(intent, ledger.entry(intent.root, intent.path)) for intent in ledger.intents()]


def clear_up(job: Unfinished) -> ClearedUp:
    """Bring the disk in order after a crash. May hang; touches no ledger, and may be done again."""
    intent = job.intent
    if not intent.target:
        return ClearedUp(job, _sweep(intent))
    target = _target_of(intent.target)
    staging = None if intent.staging is None else _target_of(intent.staging)
    try:
        if _is_away(intent, target):
            return ClearedUp(job, None)
        if staging is not None and _are_one(staging, target):
            _remove(staging)  # linked, the first half of a rename: the second one changes ctime
        present = _fingerprint_at(target)  # before it is read: what is written into it from here on is not ours
        plan = decide.on_restart(
            target=contents.digest_at(target),
            staging=None if staging is None else contents.digest_at(staging, unless_written=True),
            replaced=_replaced(job),
            output_digest=intent.output_digest,
        )
        _carry_out(plan, target, staging, present)
    except OSError:
        return ClearedUp(job, None)  # read-only, say: the intent stays, and with it the name of the staging file
    return ClearedUp(job, plan, present if isinstance(plan, decide.Finish) else None)


def _fingerprint_at(target: Target) -> Fingerprint | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        return Fingerprint.from_stat(beneath.look(target.root, target.path))
    return None


def _is_in_place(intent: Intent) -> bool:
    return intent.target == f"{intent.root}/{intent.path}"


def _replaced(job: Unfinished) -> str | None:
    """Tell what an exchange was to bring out: in place what was read, in a mirror our own earlier result."""
    if _is_in_place(job.intent):
        return job.intent.input_digest
    return None if job.before is None else job.before.output_digest


def _are_one(staging: Target, target: Target) -> bool:
    """Tell whether two names are those of one file."""
    one, other = _fingerprint_at(staging), _fingerprint_at(target)
    return one is not None and one == other


def _sweep(intent: Intent) -> decide.Sweep | None:
    try:
        if intent.staging is not None:
            with suppress(FileNotFoundError):
                _remove(_target_of(intent.staging))
    except OSError:
        return None
    return decide.Sweep()


def _is_away(intent: Intent, target: Target) -> bool:
    """Tell whether the target's place is not mounted (yet): then nothing follows from what is not there."""
    try:
        device = os.stat(target.root).st_dev
    except FileNotFoundError:
        return True
    return _is_in_place(intent) and device != intent.source.device and contents.digest_at(target) is None


def _carry_out(
    plan: decide.Finish | decide.Redo | decide.Restore | decide.SetAside, target: Target, staging: Target | None,
    present: Fingerprint | None,
) -> None:  # fmt: skip
    if isinstance(plan, decide.Restore) and staging is not None:
        _restore(target, staging.name, present)
    if isinstance(plan, decide.SetAside) and staging is not None:
        _set_aside(target, staging.name)
    if isinstance(plan, decide.Finish):
        _sync(target)
    if staging is not None:
        with suppress(FileNotFoundError):
            _remove(staging)


def _restore(target: Target, other: str, placed: Fingerprint | None) -> None:
    """Give an upload that a crash left as `other`, in the same directory, its name back, durably.

    `placed`: our result as it was found by that name; None when there was nothing.
    """
    with _directory_of(target) as fd:
        if placed is None:
            renames.move_no_replace(other, fd, target.name, source_fd=fd)
        else:
            renames.put_back(fd, other, target.name, placed)
        os.fsync(fd)


def _set_aside(target: Target, other: str) -> None:
    """Set `other` in the same directory aside, durably."""
    with _directory_of(target) as fd:
        renames.set_aside(fd, other, target.name)
        os.fsync(fd)


def _sync(target: Target) -> None:
    """Make the name of a target durable."""
    with _directory_of(target) as fd:
        os.fsync(fd)


def _remove(target: Target) -> None:
    """See that a staging file that the ledger names is gone, durably: a crash may have come right after its unlink."""
    with _directory_of(target) as fd:
        with suppress(FileNotFoundError):
            os.unlink(target.name, dir_fd=fd)
        os.fsync(fd)


def _directory_of(target: Target) -> AbstractContextManager[int]:
    return beneath.directory(target.root, target.path.rpartition("/")[0])


def _target_of(path: str) -> Target:
    directory, _, name = path.rpartition("/")
    return Target(directory, name)


def record(ledger: Ledger, cleared: ClearedUp) -> str:
    """Write down what a crash came to: an attempt, unless the rename had happened. Give it in one word."""
    if cleared.plan is None:
        return POSTPONED
    intent, before = cleared.job.intent, cleared.job.before
    if isinstance(cleared.plan, decide.Sweep):
        ledger.end(intent.token)
        return SWEPT
    in_place = _is_in_place(intent)
    entry = Entry(
        intent.root, intent.path, State.RETRY, intent.recipe, intent.source, attempts=intent.attempts,
        reason=Reason.INTERRUPTED, to=intent.target.removesuffix(f"/{intent.path}"),
    )  # fmt: skip
    if cleared.target is not None:
        entry = replace(
            entry, state=State.PUBLISHED, source=cleared.target if in_place else intent.source, target=cleared.target,
            input_digest=intent.input_digest, output_digest=intent.output_digest, reason=None, attempts=0,
        )  # fmt: skip
    elif before is not None and not (in_place and not (before.recipe == intent.recipe and before.to == entry.to)):
        entry = replace(
            entry, target=before.target, output_digest=before.output_digest, input_digest=before.input_digest
        )
    with ledger.transaction():
        ledger.put(entry)
        ledger.end(intent.token)
        if entry.state is State.PUBLISHED and intent.payload:
            ledger.outbox_add(intent.payload)
    return type(cleared.plan).__name__.lower()
