"""One file's way through the outlet: intent, staging, publish, ledger, in the order that a crash cannot break.

intent -> staging -> (worker) -> output digest committed -> rename -> directory fsync -> outcome committed, intent gone.
Also undoes or finishes what a crash left. Must not choose *whether* to publish; `rules.decide` does.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
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


POSTPONED = "postponed"


@dataclass(slots=True)
class Work:
    """A file in hand: its open source, its staging file, and the intent that the ledger holds."""

    mode: Mode
    target: Target
    fingerprint: Fingerprint
    source_fd: int
    staging: Staging
    intent: Intent
    digest: str | None = None

    def close(self) -> None:
        """Close what is open and leave no staging file."""
        self.staging.discard()
        self.close_source()

    def close_source(self) -> None:
        """Close the source: it has been read."""
        if self.source_fd >= 0:
            os.close(self.source_fd)
            self.source_fd = -1


@dataclass(frozen=True, slots=True)
class Origin:
    """Which file a work is about, and which attempt it is."""

    root: str
    path: str
    fingerprint: Fingerprint
    recipe: str
    attempts: int


def begin(ledger: Ledger, origin: Origin, *, mode: Mode, target: Target, source_fd: int) -> Work:
    """Write the intent down, then make the staging file. Raises OSError; `source_fd` stays the caller's then."""
    token = secrets.token_hex(8)
    # Written down before it exists: where a staging file must have a name, a crash leaves it.
    staging_path = f"{target.absolute.rpartition('/')[0]}/{staging_name(token)}"
    intent = Intent(
        token,
        origin.root,
        origin.path,
        target.absolute,
        staging_path,
        origin.fingerprint,
        origin.recipe,
        origin.attempts,
    )
    ledger.begin(intent)
    try:
        staging = open_staging(target, token=token, source_fd=source_fd)
    except OSError:
        ledger.end(token)
        raise
    return Work(mode, target, origin.fingerprint, source_fd, staging, intent)


def deliver(
    ledger: Ledger, work: Work, staged: Staged, *, known: Entry | None, replace_others: bool, payload: str
) -> Published | Newer | Occupied:
    """Publish a staged result. `known` is the ledger's entry of this path; nothing is recorded as published here.

    `payload` is the hook's object, for a restart right after the rename.

    Raises OSError; the target is then whole, old or new, and the intent tells a restart what to do.
    """

    def write_down(staging_path: str | None) -> None:
        work.intent = replace(
            work.intent, staging=staging_path, input_digest=work.digest, output_digest=staged.output_digest,
            payload=payload,
        )  # fmt: skip
        ledger.begin(work.intent)

    # NFS and FUSE keep a replaced file that is still open under a hidden name: un-blurred, and for good if we crash.
    work.close_source()
    expected, digest = _expected(work, known)
    result = publisher.publish(work.staging, expected=expected, expected_digest=digest, before_rename=write_down)
    if isinstance(result, publisher.Occupied):
        return _occupied(work, staged, write_down if replace_others else None)
    return result


def _expected(work: Work, known: Entry | None) -> tuple[Fingerprint | None, str | None]:
    """Tell what the target ought to be now: the file that was read, our own earlier result, or nothing."""
    if work.mode is Mode.IN_PLACE:
        return work.fingerprint, work.digest
    if known is None or not is_published(work, known):
        return None, None
    return _fingerprint_of(work), known.output_digest


def is_published(work: Work, known: Entry) -> bool:
    """Tell whether the result that `known` tells of is still at the target: by its fingerprint, or else by its bytes.

    The numbers of devices and files may be others after a mount (btrfs, FUSE, exFAT), and ctime moves when NFS or FUSE
    at last drops the hidden name of a staging file: the result is ours for all that.
    """
    present = _fingerprint_of(work)
    if present is None or known.output_digest is None:
        return False
    return present == known.target or digest_at(work.target) == known.output_digest


def _fingerprint_of(work: Work) -> Fingerprint | None:
    with suppress(FileNotFoundError):
        st = os.stat(work.target.name, dir_fd=work.staging.directory_fd, follow_symlinks=False)
        return Fingerprint.from_stat(st)
    return None


def _occupied(
    work: Work, staged: Staged, before_rename: Callable[[str | None], None] | None
) -> Published | Newer | Occupied:
    """Look at the file that has the target's name: the same result counts as done, another one is not overwritten.

    `before_rename`: None when other people's files are not to be replaced.
    """
    present = _fingerprint_of(work)
    if present is None:
        return publisher.Newer()
    digest = digest_at(work.target)
    if digest == staged.output_digest:
        os.fsync(work.staging.directory_fd)  # an earlier try may have failed right before this
        return publisher.Published(present)
    if before_rename is None or digest == "":  # a folder, a link: `replace` is for files
        return publisher.Occupied()
    return publisher.publish(work.staging, expected=present, expected_digest=None, before_rename=before_rename)


def digest_at(target: Target) -> str | None:
    """Hash the regular file at a target; None when there is none, empty when there is something that we cannot read."""
    directory, _, name = target.path.rpartition("/")
    try:
        fd = beneath.open_file(target.root, directory, name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return ""
    try:
        return publisher.digest_of(fd)
    finally:
        os.close(fd)


def recover(ledger: Ledger) -> list[tuple[Intent, str]]:
    """Finish or undo every job that a crash interrupted; give each with what was done, for the log."""
    return [(intent, _recover_one(ledger, intent)) for intent in ledger.intents()]


def _recover_one(ledger: Ledger, intent: Intent) -> str:
    target = _target_of(intent.target)
    staging = None if intent.staging is None else _target_of(intent.staging)
    before = ledger.entry(intent.root, intent.path)
    try:
        if _is_away(intent, target):
            return POSTPONED
        plan = decide.on_restart(
            target=digest_at(target),
            staging=None if staging is None else digest_at(staging),
            replaced=frozenset({intent.input_digest, None if before is None else before.output_digest}),
            output_digest=intent.output_digest,
        )
        _carry_out(plan, target, staging)
    except OSError:
        return POSTPONED  # read-only, say: the intent stays, and with it the name of the staging file
    _record_recovery(ledger, intent, plan, target)
    return type(plan).__name__.lower()


def _is_away(intent: Intent, target: Target) -> bool:
    """Tell whether the target's place is not mounted (yet): then nothing follows from what is not there."""
    try:
        device = os.stat(target.root).st_dev
    except FileNotFoundError:
        return True
    in_place = intent.target == f"{intent.root}/{intent.path}"
    return in_place and device != intent.source.device and digest_at(target) is None


def _carry_out(plan: decide.Finish | decide.Redo | decide.Restore, target: Target, staging: Target | None) -> None:
    if isinstance(plan, decide.Restore) and staging is not None:
        publisher.exchange(target, staging.name)
    if isinstance(plan, decide.Finish):
        publisher.sync(target)
    if staging is not None:
        with suppress(FileNotFoundError):
            publisher.remove(staging)


def _record_recovery(
    ledger: Ledger, intent: Intent, plan: decide.Finish | decide.Redo | decide.Restore, target: Target
) -> None:
    """Write down what a crash came to: an attempt, unless the rename had happened."""
    before = ledger.entry(intent.root, intent.path)
    in_place = intent.target == f"{intent.root}/{intent.path}"
    entry = Entry(
        intent.root, intent.path, State.RETRY, intent.recipe, intent.source, attempts=intent.attempts,
        reason=Reason.INTERRUPTED,
    )  # fmt: skip
    if isinstance(plan, decide.Finish) and intent.output_digest is not None:
        st = beneath.look(target.root, target.path)
        present = Fingerprint.from_stat(st)
        entry = replace(
            entry, state=State.PUBLISHED, source=present if in_place else intent.source, target=present,
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


def _target_of(path: str) -> Target:
    directory, _, name = path.rpartition("/")
    return Target(directory, name)
