"""One file's way through the outlet: intent, staging, publish, ledger, in the order that a crash cannot break.

intent -> staging -> (worker) -> output digest committed -> rename -> directory fsync -> outcome committed, intent gone.
Also undoes or finishes what a crash left. Must not choose *whether* to publish; `rules.decide` does.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from faceblurd.model import Entry, Fingerprint, Intent, Mode, Reason, Staged, State
from faceblurd.outlet import beneath, publisher
from faceblurd.outlet.staging import Target, open_staging
from faceblurd.rules import decide
from faceblurd.rules.naming import staging_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceblurd.outlet.ledger import Ledger
    from faceblurd.outlet.publisher import Newer, Occupied, Published
    from faceblurd.outlet.staging import Staging


POSTPONED, SWEPT = "postponed", "sweep"


@dataclass(slots=True)
class Work:
    """A file in hand: its open source, its staging file, and the intent that the ledger holds."""

    mode: Mode
    target: Target
    source_fd: int
    staging: Staging
    intent: Intent
    digest: str | None = None

    def target_fingerprint(self) -> Fingerprint | None:
        """Look at what has the target's name now; None when there is nothing."""
        with suppress(FileNotFoundError):
            st = os.stat(self.target.name, dir_fd=self.staging.directory_fd, follow_symlinks=False)
            return Fingerprint.from_stat(st)
        return None

    def close(self) -> None:
        """Close what is open and leave no staging file. Raises OSError when one stays: then it is for `sweep_later`."""
        try:
            self.staging.discard()
        finally:
            self.close_source()

    def close_source(self) -> None:
        """Close the source: it has been read."""
        if self.source_fd >= 0:
            os.close(self.source_fd)
            self.source_fd = -1

    def has_result(self, known: Entry) -> bool:
        """Tell whether the result that `known` tells of is still at the target: by its fingerprint, or by its bytes.

        The numbers of devices and files may be others after a mount (btrfs, FUSE, exFAT), and ctime moves when NFS or
        FUSE at last drops the hidden name of a staging file: the result is ours for all that.
        """
        present = self.target_fingerprint()
        if present is None or known.output_digest is None:
            return False
        return present == known.target or digest_at(self.target) == known.output_digest


@dataclass(frozen=True, slots=True)
class Origin:
    """Which file a work is about, and which attempt it is."""

    root: str
    path: str
    fingerprint: Fingerprint
    recipe: str
    attempts: int


def intend(ledger: Ledger, origin: Origin, target: Target) -> Intent:
    """Write down that a job starts, and the name that its staging file may take: a crash may leave one."""
    token = secrets.token_hex(8)
    staging_path = f"{target.absolute.rpartition('/')[0]}/{staging_name(token)}"
    intent = Intent(
        token, origin.root, origin.path, target.absolute, staging_path, origin.fingerprint, origin.recipe,
        origin.attempts,
    )  # fmt: skip
    ledger.begin(intent)
    return intent


def stage(intent: Intent, *, mode: Mode, target: Target, source_fd: int) -> Work:
    """Make the staging file of a written intent. May hang. Raises OSError; `source_fd` stays the caller's then."""
    staging = open_staging(target, token=intent.token, source_fd=source_fd)
    return Work(mode, target, source_fd, staging, intent)


def write_down(ledger: Ledger, work: Work, staged: Staged, *, payload: str) -> None:
    """Commit what is about to take the target's name. `payload`: the hook's object, for a restart right after it."""
    work.intent = replace(
        work.intent, input_digest=work.digest, output_digest=staged.output_digest, payload=payload
    )  # fmt: skip
    ledger.begin(work.intent)


def deliver(work: Work, staged: Staged, *, known: Entry | None, replace_others: bool) -> Published | Newer | Occupied:
    """Publish a staged result that was written down. May hang; touches no ledger.

    `known` is the ledger's entry of this path. In a mirror, a source that is no longer what was read publishes nothing.
    Raises OSError; the target is then whole, old or new, and the intent tells a restart what to do.
    """
    if work.mode is Mode.MIRROR and not is_what_was_read(work.intent):
        return publisher.Newer()
    # NFS and FUSE keep a replaced file that is still open under a hidden name: un-blurred, and for good if we crash.
    work.close_source()
    expected, digest = _expected(work, known)
    result = publisher.publish(work.staging, expected=expected, expected_digest=digest)
    if isinstance(result, publisher.Occupied):
        return _occupied(work, staged, replace_others=replace_others)
    return result


def is_what_was_read(intent: Intent) -> bool:
    """Look whether the source is still the file that the worker got."""
    try:
        return Fingerprint.from_stat(beneath.look(intent.root, intent.path)) == intent.source
    except OSError:
        return False


def _expected(work: Work, known: Entry | None) -> tuple[Fingerprint | None, str | None]:
    """Tell what the target ought to be now: the file that was read, our own earlier result, or nothing."""
    if work.mode is Mode.IN_PLACE:
        return work.intent.source, work.digest
    if known is None or not work.has_result(known):
        return None, None
    return work.target_fingerprint(), known.output_digest


def _occupied(work: Work, staged: Staged, *, replace_others: bool) -> Published | Newer | Occupied:
    """Look at the file that has the target's name: the same result counts as done, another one is not overwritten."""
    present = work.target_fingerprint()
    if present is None:
        return publisher.Newer()
    digest = digest_at(work.target)
    if digest == staged.output_digest:
        os.fsync(work.staging.directory_fd)  # an earlier try may have failed right before this
        return publisher.Published(present)
    if not replace_others or digest == "":  # a folder, a link: `replace` is for files
        return publisher.Occupied()
    return publisher.publish(work.staging, expected=present, expected_digest=None)


class Withdrawal(Enum):
    """What became of a result whose photo seems to be gone."""

    DONE = auto()  # removed, or it was not there any more
    STILL_THERE = auto()  # the photo, or nothing can be said of it
    NOT_OURS = auto()  # somebody put other bytes there
    SHARED = auto()  # another photo has the same result


def withdraw(entry: Entry, target: Target, *, root_is_same: Callable[[], bool]) -> Withdrawal:
    """Remove the result of a photo that is gone from its mirror, and the folders that are empty then. May hang.

    `root_is_same`: asked first: in another folder by the root's name, a missing photo means nothing. Raises OSError.
    """
    if not root_is_same() or _is_there(entry):
        return Withdrawal.STILL_THERE
    directory, _, name = target.path.rpartition("/")
    os.close(beneath.open_directory(target.root, "", device=target.device))  # where it is away, nothing follows either
    try:
        with beneath.directory(target.root, directory) as fd:
            there = Fingerprint.from_stat(os.stat(name, dir_fd=fd, follow_symlinks=False))
            if there != entry.target and digest_at(target) != entry.output_digest:
                return Withdrawal.NOT_OURS
            os.unlink(name, dir_fd=fd)
            os.fsync(fd)
    except (FileNotFoundError, NotADirectoryError):
        return Withdrawal.DONE
    beneath.remove_empty(target.root, directory)
    return Withdrawal.DONE


def _is_there(entry: Entry) -> bool:
    """Look for anything by the name of a photo: only a clear no is a no."""
    try:
        beneath.look(entry.root, entry.path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def digest_at(target: Target, *, unless_written: bool = False) -> str | None:
    """Hash the regular file at a target; None when there is none, empty when there is something that we cannot read.

    `unless_written`: empty as well while some program has it open for writing, since the bytes say nothing then.
    """
    directory, _, name = target.path.rpartition("/")
    try:
        fd = beneath.open_file(target.root, directory, name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return ""
    try:
        return "" if unless_written and publisher.open_for_writing(fd) else publisher.digest_of(fd)
    finally:
        os.close(fd)


def sweep_later(ledger: Ledger, intent: Intent) -> None:
    """Remember a staging file that could not be removed; nothing else is left to do of its job."""
    ledger.begin(replace(intent, target="", output_digest=None))


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
        present = _fingerprint_at(target)  # before it is read: what is written into it from here on is not ours
        plan = decide.on_restart(
            target=digest_at(target),
            staging=None if staging is None else digest_at(staging, unless_written=True),
            replaced=frozenset({intent.input_digest, None if job.before is None else job.before.output_digest}),
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


def _sweep(intent: Intent) -> decide.Sweep | None:
    try:
        if intent.staging is not None:
            with suppress(FileNotFoundError):
                publisher.remove(_target_of(intent.staging))
    except OSError:
        return None
    return decide.Sweep()


def _is_away(intent: Intent, target: Target) -> bool:
    """Tell whether the target's place is not mounted (yet): then nothing follows from what is not there."""
    try:
        device = os.stat(target.root).st_dev
    except FileNotFoundError:
        return True
    in_place = intent.target == f"{intent.root}/{intent.path}"
    return in_place and device != intent.source.device and digest_at(target) is None


def _carry_out(
    plan: decide.Finish | decide.Redo | decide.Restore | decide.SetAside, target: Target, staging: Target | None,
    present: Fingerprint | None,
) -> None:  # fmt: skip
    if isinstance(plan, decide.Restore) and staging is not None:
        publisher.restore(target, staging.name, present)
    if isinstance(plan, decide.SetAside) and staging is not None:
        publisher.set_aside(target, staging.name)
    if isinstance(plan, decide.Finish):
        publisher.sync(target)
    if staging is not None:
        with suppress(FileNotFoundError):
            publisher.remove(staging)


def record(ledger: Ledger, cleared: ClearedUp) -> str:
    """Write down what a crash came to: an attempt, unless the rename had happened. Give it in one word."""
    if cleared.plan is None:
        return POSTPONED
    intent, before = cleared.job.intent, cleared.job.before
    if isinstance(cleared.plan, decide.Sweep):
        ledger.end(intent.token)
        return SWEPT
    in_place = intent.target == f"{intent.root}/{intent.path}"
    entry = Entry(
        intent.root, intent.path, State.RETRY, intent.recipe, intent.source, attempts=intent.attempts,
        reason=Reason.INTERRUPTED,
    )  # fmt: skip
    if cleared.target is not None:
        entry = replace(
            entry, state=State.PUBLISHED, source=cleared.target if in_place else intent.source, target=cleared.target,
            input_digest=intent.input_digest, output_digest=intent.output_digest, reason=None, attempts=0,
        )  # fmt: skip
    elif before is not None and not (in_place and before.recipe != intent.recipe):
        entry = replace(
            entry, target=before.target, output_digest=before.output_digest, input_digest=before.input_digest
        )
    with ledger.transaction():
        ledger.put(entry)
        ledger.end(intent.token)
        if entry.state is State.PUBLISHED and intent.payload:
            ledger.outbox_add(intent.payload)
    return type(cleared.plan).__name__.lower()


def _target_of(path: str) -> Target:
    directory, _, name = path.rpartition("/")
    return Target(directory, name)
