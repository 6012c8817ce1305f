"""What to do with a file: pure functions from what is known to a plan; only the engine carries plans out.

A skip asks what lies there now: bytes of which the ledger says that they are our result, or that nothing need be done
about them, under the current recipe, mode and destination; or the fingerprint that was recorded with that. Marks inside
a file never cause one: anyone could set them.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from faceblurd.model import Entry, Fingerprint, Mode, Reason, State
from faceblurd.rules.settle import back_off

TRANSITIONS: dict[State, frozenset[State]] = {
    State.SEEN: frozenset({State.SETTLING, State.QUARANTINED, State.VANISHED}),
    State.SETTLING: frozenset({State.SETTLING, State.QUEUED, State.QUARANTINED, State.RETRY, State.VANISHED}),
    State.QUEUED: frozenset({State.SETTLING, State.WORKING, State.QUARANTINED, State.RETRY, State.VANISHED}),
    State.WORKING: frozenset(
        {State.STAGED, State.PUBLISHED, State.CLEAN, State.SETTLING, State.RETRY}
        | {State.QUARANTINED, State.RELEASED, State.IGNORED, State.VANISHED}
    ),
    State.STAGED: frozenset({State.PUBLISHED, State.CLEAN, State.SETTLING, State.RETRY, State.QUARANTINED}),
    State.RETRY: frozenset({State.SETTLING, State.QUARANTINED, State.VANISHED}),
    State.PUBLISHED: frozenset({State.SEEN}),
    State.CLEAN: frozenset({State.SEEN}),
    State.QUARANTINED: frozenset({State.SEEN}),
    State.RELEASED: frozenset({State.SEEN}),
    State.IGNORED: frozenset({State.SEEN}),
    State.VANISHED: frozenset({State.SEEN}),
}
DISK_SECONDS = 30.0
NOT_THE_FILES_FAULT = frozenset({Reason.NO_SPACE, Reason.UNREACHABLE})
"""The disk or the share is at fault: trying again costs a file no attempt, and goes on for as long as it takes."""
_PASSING = NOT_THE_FILES_FAULT | {Reason.BEING_WRITTEN}
_REASONS = {
    errno.ENOSPC: Reason.NO_SPACE, errno.EDQUOT: Reason.NO_SPACE,
    errno.EACCES: Reason.NO_PERMISSION, errno.EPERM: Reason.NO_PERMISSION, errno.EROFS: Reason.NO_PERMISSION,
    errno.EAGAIN: Reason.BEING_WRITTEN,  # somebody has a lease on the file, as Samba for a client that writes
    errno.ELOOP: Reason.NOT_REGULAR, errno.EXDEV: Reason.NOT_REGULAR, errno.ENOTDIR: Reason.NOT_REGULAR,
    **dict.fromkeys(
        (errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ECONNABORTED,
         errno.ECONNRESET, errno.ECONNREFUSED, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH,
         errno.ESHUTDOWN, errno.EREMOTEIO),
        Reason.UNREACHABLE,
    ),
}  # fmt: skip
RELEASED = "released"
"""Why a file is skipped that a person let be: nothing of it changes."""
DONE = frozenset({State.PUBLISHED, State.CLEAN})
_AT_REST = {
    State.PUBLISHED: "done", State.CLEAN: "done", State.VANISHED: "dropped", State.IGNORED: "ignored",
    State.RELEASED: RELEASED,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Start:
    """Take the file on. `attempts` were made already on these very bytes."""

    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Skip:
    """Nothing to do, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class PassOn:
    """Our own result in a mirror's source: copy it as it is, for what hid its faces may look like one."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Do not publish; remember why."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class TakeAway:
    """Held, and still where it is shown: a crash or a full disk kept it there."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after some seconds."""

    after_seconds: float


def on_sight(  # noqa: PLR0911, PLR0913 - a list of cases, and what a file is judged by
    fingerprint: Fingerprint,
    entry: Entry | None,
    *,
    recipe: str,
    to: str,
    terms: str = "",
    ignores_unsupported: bool = False,
    takes_away: bool = False,
) -> Start | Skip | TakeAway:
    """Judge a path by lstat alone: the fast path that lets 20,000 finished files cost no read.

    `to`: where results go, the root itself in place. `terms`: the settings that may hold a file; one that was held
    under others is tried again. `takes_away`: held files are moved out of this root.
    """
    if entry is None or entry.source != fingerprint:
        return Start()
    if entry.state is State.RELEASED:
        return Skip(RELEASED) if is_released_for(entry, to) else Start()
    if entry.recipe != recipe or not entry.fits(to):
        return Start()
    if entry.state is State.IGNORED and not ignores_unsupported:  # the config no longer says so
        return Start()
    if entry.state in _AT_REST:
        return Skip(_AT_REST[entry.state])
    if entry.state is State.QUARANTINED and entry.reason not in _PASSING:
        return _held(entry, terms, takes_away=takes_away)
    return Start(entry.attempts)


def _held(entry: Entry, terms: str, *, takes_away: bool) -> Start | Skip | TakeAway:
    if entry.terms != terms:
        return Start()
    return TakeAway(entry) if takes_away else Skip("held")


def is_released_for(entry: Entry, to: str) -> bool:
    """Tell whether a file was released, and may rest: under every recipe, not when its root became an in-place one.

    A person decided about its bytes, not about how we look at them; and that it may stay where it was, which was not
    said of a folder whose photos others see.
    """
    return entry.state is State.RELEASED and (not entry.to or (entry.to == entry.root) == (to == entry.root))


def on_settled(*, links: int, hard_links_ok: bool, open_for_writing: bool, overdue: bool) -> Start | Retry | Hold:
    """Judge a settled file by what fstat and a lease say of it."""
    if links > 1 and not hard_links_ok:
        return Hold(Reason.HARD_LINK, f"{links} hard links: another name would keep the face")
    if open_for_writing and overdue:
        return Hold(Reason.BEING_WRITTEN, "some program still has the file open for writing")
    return Retry(0) if open_for_writing else Start()


def on_digest(  # noqa: PLR0913 - what a file is judged by
    digest: str, entry: Entry | None, *, recipe: str, mode: Mode, to: str, own_output: bool, target_present: bool
) -> Start | Skip | PassOn:
    """Judge a file by its content's digest, before anything is decoded.

    `own_output`: the ledger lists the digest as a result under this recipe, of whatever root. `target_present`: what
    was published for this path is in `to` now, unchanged.
    """
    if mode is Mode.IN_PLACE and own_output:
        return Skip("own output")
    work = PassOn() if own_output else Start()
    if entry is None or entry.input_digest != digest:
        return work
    if is_released_for(entry, to):
        return Skip(RELEASED)  # touched, or seen before `release` had written it down
    if entry.state not in DONE or entry.recipe != recipe:
        return work
    if mode is Mode.IN_PLACE:  # these bytes came back: one that needed nothing was touched, or an original was put back
        return Skip("same content") if entry.to == to and _needed_nothing(entry) else Start()
    return Skip("same content") if target_present else work


def _needed_nothing(entry: Entry) -> bool:
    """Tell whether a file in place stayed as it was: one that was scrubbed has a result of its own."""
    return entry.state is State.CLEAN and entry.output_digest is None


def state_of_known(entry: Entry, digest: str | None) -> State:
    """Tell what a file is whose content was known (`on_digest` said skip)."""
    if entry.state in DONE or (entry.state is State.RELEASED and entry.input_digest == digest):
        return entry.state
    return State.PUBLISHED


def on_failure(  # noqa: PLR0913 - what a failure is judged by
    reason: Reason,
    *,
    retryable: bool,
    attempts: int,
    max_attempts: int,
    retry_seconds: float,
    overdue: bool,
    waits_for_space: bool = True,
) -> Retry | Hold:
    """Judge a failed attempt. `overdue`: the file has been incomplete for longer than `settle_max_seconds`."""
    if reason in NOT_THE_FILES_FAULT and waits_for_space:
        return Retry(DISK_SECONDS)  # however long it takes
    again = retryable and attempts < max_attempts
    if reason is Reason.INCOMPLETE or (reason is Reason.BEING_WRITTEN and not overdue):
        again = not overdue
    if not again:
        return Hold(reason, "")
    return Retry(back_off(attempts=attempts, base_seconds=retry_seconds, most_seconds=300.0))


def reason_of(code: int | None) -> Reason:
    """Translate the kernel's error number into our word. EIO may be one bad file or a whole disk: tried a while."""
    return _REASONS.get(code or 0, Reason.IO_ERROR)


@dataclass(frozen=True, slots=True)
class Finish:
    """The rename happened before the crash: record it."""


@dataclass(frozen=True, slots=True)
class Redo:
    """Nothing was published, or only the original is there: remove the staging file, look at the source again."""


@dataclass(frozen=True, slots=True)
class Restore:
    """The exchange happened, and what came out is not what was blurred: put the newer upload back."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A staging file could not be removed when its job was over: remove it now."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """An upload that nobody has read lies under the staging file's name, another one at the target: show it."""


def on_restart(
    *, target: str | None, staging: str | None, replaced: str | None, output_digest: str | None
) -> Finish | Redo | Restore | SetAside:
    """Judge an unfinished job by the digests that target and staging have now (None: there is no such file).

    `replaced`: what the target was to be before the exchange, the source or our own earlier result.
    """
    is_unread = output_digest is not None and staging is not None and staging not in {output_digest, replaced}
    if target != output_digest or output_digest is None:
        if is_unread:
            return Restore() if target is None else SetAside()
        return Redo()
    return Restore() if is_unread else Finish()
