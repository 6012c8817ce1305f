"""One file's way to its name: intent, staging, publish, ledger, in the order that a crash cannot break.

intent -> staging -> (worker) -> output digest committed -> rename -> directory fsync -> outcome committed, intent gone.
`recovery` undoes or finishes what a crash left. Must not choose *whether* to publish; `rules.decide` does.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from faceblurd.model import Fingerprint, Intent, Mode, Reason, Refused, Staged
from faceblurd.publish import (
    attributes,
    beneath,
    contents,
    publisher,
)
from faceblurd.publish.attributes import Dress, Terms
from faceblurd.publish.staging import open_staging
from faceblurd.rules import decide
from faceblurd.rules.foreign import staging_name

if TYPE_CHECKING:
    from faceblurd.ledger.ledger import Ledger
    from faceblurd.model import Entry
    from faceblurd.publish.publisher import Newer, Occupied, Published
    from faceblurd.publish.staging import Staging, Target


@dataclass(slots=True)
class Work:
    """A file in hand: its open source, its staging file, and the intent that the ledger holds."""

    mode: Mode
    target: Target
    source_fd: int
    staging: Staging
    intent: Intent
    digest: str | None = None
    mtime_ns: int | None = None  # of the result; None: the time when it was made
    is_unfinished: bool = False  # in place, but not for sure: the intent stays, for what is done after a crash

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
        return present == known.target or contents.digest_at(self.target) == known.output_digest


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


def terms_of(mode: Mode, *, keeps_user: bool = True, limited: bool = True) -> Terms:
    """Say how the results of a root are dressed."""
    return Terms(Dress.MIRROR if mode is Mode.MIRROR else Dress.IN_PLACE, keeps_user, limited)


def stage(intent: Intent, *, mode: Mode, target: Target, source_fd: int, terms: Terms | None = None) -> Work:
    """Make the staging file of a written intent. May hang. Raises OSError; `source_fd` stays the caller's then."""
    staging = open_staging(
        target, token=intent.token, source_fd=source_fd, terms=terms or terms_of(mode), source_root=intent.root
    )  # fmt: skip
    return Work(mode, target, source_fd, staging, intent)


def pass_on(work: Work, digest: str, job: int) -> Staged | Refused:
    """Write the source, which is our own result, into the staging file as it is, durably. May hang.

    `digest`: of the bytes of which the ledger says so; no others are passed on, whatever a worker read.
    """
    try:
        contents.copy_into(work.source_fd, work.staging.fd)
        contents.set_time(work.staging.fd, time.time_ns() if work.mtime_ns is None else work.mtime_ns)
        os.fsync(work.staging.fd)
        copied = contents.digest_of(work.staging.fd)
    except OSError as error:
        reason, detail = decide.reason_of(error.errno), error.strerror or str(error)
        return Refused(job, reason, detail, retryable=True, milliseconds=0)
    if copied != digest:
        return Refused(job, Reason.CHANGED_MEANWHILE, "changed while it was read", retryable=True, milliseconds=0)
    size, note = work.intent.source.size, "is our own result already"
    return Staged(job, (), digest, size, lossless=True, note=note, milliseconds=0)


def holds(work: Work, digest: str) -> bool:
    """Tell whether the staging file has the bytes that a worker said it has. May hang."""
    return contents.digest_of(work.staging.fd) == digest


def write_down(ledger: Ledger, work: Work, staged: Staged, *, payload: str) -> None:
    """Commit what is about to take the target's name. `payload`: the hook's object, for a restart right after it."""
    work.intent = replace(
        work.intent, input_digest=work.digest, output_digest=staged.output_digest, payload=payload
    )  # fmt: skip
    ledger.begin(work.intent)


def deliver(
    work: Work, staged: Staged, *, known: Entry | None, replace_others: bool, ours: str = ""
) -> Published | Newer | Occupied:
    """Publish a staged result that was written down. May hang; touches no ledger.

    `known` is the ledger's entry of this path, `ours` the digest of another file that may be replaced. In a mirror, a
    source that is no longer what was read publishes nothing.
    Raises OSError; the target is then whole, old or new, and the intent tells a restart what to do.
    """
    if work.mode is Mode.MIRROR and not is_what_was_read(work.intent):
        return publisher.Newer()
    # NFS and FUSE keep a replaced file that is still open under a hidden name: un-blurred, and for good if we crash.
    work.close_source()
    expected, digest = _expected(work, known)
    result = publisher.publish(work.staging, expected=expected, expected_digest=digest)
    if isinstance(result, publisher.Occupied):
        return _occupied(work, staged, replace_others=replace_others, ours=ours)
    return result


def is_what_was_read(intent: Intent) -> bool:
    """Look whether the source is still the file that the worker got."""
    try:
        return Fingerprint.from_stat(beneath.look(intent.root, intent.path)) == intent.source
    except OSError:
        return False


def as_read(work: Work) -> Fingerprint | None:
    """Give what the source is known by, while it is what the worker got; else None."""
    return work.intent.source if is_what_was_read(work.intent) else None


def leave_as_it_is(work: Work, *, keeps_user: bool) -> Fingerprint | None:
    """Do what is left to do for a photo in place that needs no other bytes; None if it is not what was read.

    Attributes that may carry a picture or a name go. Gives what the photo is known by afterwards. Raises OSError.
    """
    if (source := as_read(work)) is None or work.mode is Mode.MIRROR:
        return source
    return attributes.strip(work.source_fd, source, keeps_user=keeps_user)


def is_kept(known: Entry) -> bool:
    """Tell whether a result is that of a photo which went away: another one by its name must not replace it."""
    return known.reason is Reason.VANISHED


def _expected(work: Work, known: Entry | None) -> tuple[Fingerprint | None, str | None]:
    """Tell what the target ought to be now: the file that was read, our own earlier result, or nothing."""
    if work.mode is Mode.IN_PLACE:
        return work.intent.source, work.digest
    if known is None or is_kept(known) or not work.has_result(known):
        return None, None
    return work.target_fingerprint(), known.output_digest


def _occupied(work: Work, staged: Staged, *, replace_others: bool, ours: str) -> Published | Newer | Occupied:
    """Look at the file that has the target's name: the same result counts as done, another one is not overwritten."""
    present = work.target_fingerprint()
    if present is None:
        return publisher.Newer()
    digest = contents.digest_at(work.target)
    if digest == staged.output_digest:
        os.fsync(work.staging.directory_fd)  # an earlier try may have failed right before this
        return publisher.Published(present)
    if not digest or not (replace_others or digest == ours):  # a folder, a link: `replace` is for files
        return publisher.Occupied(digest or "")
    return publisher.publish(work.staging, expected=present, expected_digest=None if replace_others else ours)


def sweep_later(ledger: Ledger, intent: Intent) -> None:
    """Remember a staging file that could not be removed; nothing else is left to do of its job."""
    ledger.begin(replace(intent, target="", output_digest=None))
