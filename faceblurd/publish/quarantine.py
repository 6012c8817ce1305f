"""Files that could not be made safe: what is held, why, where it lies, and what a person decides about it.

Owns the held and the released entries of the ledger and, for roots with `on_failure: hold`, a folder (mode 0700) that
the files are moved into, so that an un-blurred photo does not stay where it is shown. Deletes only what it is told to.
"""

from __future__ import annotations

import errno
import os
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from faceblurd.errors import FaceblurdError
from faceblurd.model import Entry, Fingerprint, State, printable
from faceblurd.publish import (
    beneath,
    contents,
    moving,
    places,
)
from faceblurd.rules.foreign import split

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from faceblurd.ledger.ledger import Ledger
    from faceblurd.publish.places import Place


@dataclass(frozen=True, slots=True)
class Held:
    """A held file. `place`: where it was moved to; None while it lies in its root."""

    entry: Entry
    place: Place | None

    @property
    def path(self) -> str:
        """Where it came from, and goes back to."""
        return f"{self.entry.root}/{self.entry.path}"


class Quarantine:
    """The held files of one state directory."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        """Use `folder` for files that are moved; it is made when the first one is."""
        self._ledger = ledger
        self._folder = folder

    def held(self) -> list[Held]:
        """List what is held, oldest first; never looks into a root.

        What was moved away counts as held whatever the ledger says of its path: a newer upload may have taken that.
        """
        away = [Held(place.entry, place) for place in places.every(self._folder)]
        moved = {(one.entry.root, one.entry.path, one.entry.source) for one in away}
        known = self._ledger.in_state(State.QUARANTINED)
        return away + [Held(entry, None) for entry in known if (entry.root, entry.path, entry.source) not in moved]

    def retried(self) -> list[Held]:
        """List what is to be tried again."""
        return [Held(entry, None) for entry in self._ledger.in_state(State.RETRY)]

    def released(self) -> list[Held]:
        """List what a person released."""
        return [Held(entry, None) for entry in self._ledger.in_state(State.RELEASED)]

    def take_away(self, entry: Entry) -> Path | None:
        """Move a held file out of its root (`moving.take_away`). Knows no ledger, so any thread may call it."""
        return moving.take_away(self._folder, entry)

    # --- a person's decisions

    def retry(self, one: Held) -> None:
        """Let the daemon try again, from the start; a file that was moved away goes back first."""
        self.put_back(one)
        self.try_again(one)

    def put_back(self, one: Held) -> None:
        """Give a file that was moved away its name again. Knows no ledger, so any thread may call it."""
        if one.place is not None:
            _put_back(one, one.place)

    def undo(self, folder: Path) -> Fingerprint:
        """Put back what was just taken away; return what it is known by there. Knows no ledger. Raises OSError."""
        return moving.put_back(places.at(folder))

    def try_again(self, one: Held) -> None:
        """Write down that a file in its root is to be tried again."""
        self._record(one, lambda known: replace(known, state=State.RETRY, attempts=0, reason=None, detail=""))

    def release(self, one: Held) -> None:
        """Let the file be as it is, un-blurred, in its place in the root, until its content changes.

        Remembered only when it is there: whoever is killed before leaves a file that is looked at, and held, again.
        A daemon that sees it before that is written down may have taken it away again: then it is brought back again.
        """
        if one.place is None:
            try:
                fingerprint, digest = _look_closely(one)
            except FaceblurdError:
                one = self._as_it_lies_now(one)
                if one.place is None:
                    raise
            else:
                one = self._as_it_lies_now(one)
        if one.place is not None:
            digest = one.place.digest() or None
            fingerprint = _put_back(one, one.place)
        why = replace(one.entry, state=State.RELEASED, source=fingerprint, input_digest=digest, attempts=0)
        self._record(one, lambda known: _keeping(why, known))
        again = self._as_it_lies_now(replace(one, entry=why, place=None))
        if again.place is not None:
            self.release(again)

    def _as_it_lies_now(self, one: Held) -> Held:
        """Find a file that was in its root when it was listed, and was moved away since."""
        away = (other for other in self.held() if other.place is not None and other.path == one.path)
        return next((other for other in away if other.entry.source == one.entry.source), one)

    def drop(self, one: Held) -> None:
        """Stop to care. A file in its root stays, and is looked at again when it changes; one moved here is deleted."""
        if one.place is None:
            self._record(one, lambda known: replace(known, state=State.VANISHED))
            return
        known = self._ledger.entry(one.entry.root, one.entry.path)
        if known is not None and known.state is State.QUARANTINED and known.source == one.entry.source:
            self._ledger.forget(known.root, known.path)
        places.remove(one.place)

    def _record(self, one: Held, change: Callable[[Entry], Entry]) -> None:
        """Write a decision down: about a file in its root only if it still stands as it was listed."""
        with self._ledger.transaction():
            known = self._ledger.entry(one.entry.root, one.entry.path)
            if one.place is None and known != one.entry:
                raise FaceblurdError(
                    f"{printable(one.path)} was looked at again meanwhile", remedy="See `faceblurd quarantine list`"
                )
            self._ledger.put(change(known or one.entry))


def _keeping(entry: Entry, known: Entry) -> Entry:
    """Keep what is known of an earlier result of this path: it is still ours to replace."""
    return replace(entry, recipe=known.recipe, target=known.target, output_digest=known.output_digest, to=known.to)


def _put_back(one: Held, place: Place) -> Fingerprint:
    """Give a moved file its name again. Raises FaceblurdError; the file is then where it was."""
    try:
        _refuse_bare_mount_point(one.entry)
        return moving.put_back(place)
    except FileExistsError as error:
        raise FaceblurdError(
            f"{printable(one.path)} exists again",
            remedy=f"Move it away first, or drop the held file ({place.file}) by that name",
        ) from error
    except OSError as error:
        raise FaceblurdError(
            f"{printable(one.path)} cannot be put back: {error.strerror}", remedy=f"The file is {place.file}"
        ) from error


def _refuse_bare_mount_point(entry: Entry) -> None:
    """Raise OSError when the root's disk is not there: what is put below a mount point is hidden when it is back."""
    moved = entry.source.device not in {0, os.stat(entry.root).st_dev}  # 0: not known
    if moved and not os.listdir(entry.root):
        raise OSError(errno.ENODEV, "its folder is empty, and on another file system than it was: is it mounted?")


def _look_closely(one: Held) -> tuple[Fingerprint, str | None]:
    """Give fingerprint and digest (None: not readable) of a file in its root, if it is still the one that was held."""
    directory, name = split(one.entry.path)
    try:
        try:
            fd = beneath.open_file(one.entry.root, directory, name)
        except PermissionError:
            found, digest = Fingerprint.from_stat(beneath.look(one.entry.root, one.entry.path)), None
        else:
            with closing(os.fdopen(fd, "rb")):
                digest = contents.digest_of(fd)
                found = Fingerprint.from_stat(os.fstat(fd))
    except OSError as error:
        raise FaceblurdError(
            f"{printable(one.path)} cannot be looked at: {error.strerror}", remedy="Drop it if it is gone for good"
        ) from error
    if found != one.entry.source:
        raise FaceblurdError(
            f"{printable(one.path)} has changed since it was held", remedy="Let the daemon look at it again"
        )
    return found, digest
