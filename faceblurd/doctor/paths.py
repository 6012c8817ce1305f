"""What happened to one path, and why: the answer of `faceblurd explain`. Changes nothing; looks within a deadline.

Goes by the same rules as the daemon: the root, the names, the file itself, then what the ledger remembers.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from faceblurd.config.probes import ANSWER_SECONDS, within
from faceblurd.imaging.signatures import is_photo
from faceblurd.model import Fingerprint, Mode, Reason, State, printable
from faceblurd.rules.filter import MEANINGS, Candidate, LeftAlone, Why
from faceblurd.rules.side_channels import photo_of_companion
from faceblurd.watch.scan import read_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceblurd.ledger.ledger import Ledger
    from faceblurd.model import Entry
    from faceblurd.rules.filter import Selection

_SAYS = {
    State.PUBLISHED: "published: faces were hidden, or it is our own result",
    State.CLEAN: "clean: no face was found",
    State.RETRY: "tried again later",
    State.QUARANTINED: "held: nothing of it is published",
    State.RELEASED: "released: a person decided that it may stay as it is",
    State.IGNORED: "ignored: cannot be blurred, and the root says `unsupported: ignore`",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A root, as far as names go."""

    path: str
    mode: Mode
    to: str
    selection: Selection


@dataclass(slots=True)
class Answer:
    """What is known of a path. `outcome`: the ledger's state, left_alone, waiting, gone, unread, folder or outside."""

    path: str
    outcome: str = "outside"
    why: str = ""
    root: str = ""
    output: str = ""
    says: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Give the documented JSON object."""
        return asdict(self)


def explain(path: str, places: Sequence[Place], ledger: Ledger | None) -> Answer:
    """Say what became of a path and why. Raises sqlite3.Error."""
    whole = _real(path)
    answer = Answer(printable(whole))
    source = _source_of(whole, places, answer)
    place = next((one for one in places if _is_below(source, one.path)), None)
    if place is None:
        answer.says.append("lies in no root of this configuration: nobody looks at it")
        return answer
    answer.root = printable(place.path)
    name = source[len(place.path) :].lstrip("/")
    where = "blurred in place" if place.mode is Mode.IN_PLACE else f"mirrored to {printable(place.to)}"
    answer.says.append(f"lies in the root {answer.root}, {where}")
    if name:
        _judge(place, name, answer, None if ledger is None else ledger.entry(place.path, name))
    return answer


def _real(path: str) -> str:
    """Resolve the folder that a path lies in, as roots are; a share that does not answer is known by its name."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(within(ANSWER_SECONDS, partial(os.path.realpath, folder)) or folder, name)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _source_of(whole: str, places: Sequence[Place], answer: Answer) -> str:
    """Give the photo that a result in a mirror was made of; any other path as it is."""
    for place in places:
        if place.mode is Mode.MIRROR and _is_below(whole, place.to):
            source = place.path + whole[len(place.to) :]
            answer.says.append(f"is where the result of {printable(source)} goes")
            return source
    return whole


def _judge(place: Place, name: str, answer: Answer, entry: Entry | None) -> None:
    """Go the way of a photo, up to where this one stops."""
    st = _look(f"{place.path}/{name}", answer)
    if st is not None and _device_of(place.path) not in {st.st_dev, None}:
        answer.outcome, answer.why = "unread", "other_file_system"
        answer.says.append("lies on another file system than the root: not looked into; make it a root of its own")
        return
    left = _left_alone(place, name, st)
    if left is not None:
        answer.outcome, answer.why = "left_alone", left.why.value
        answer.says.append(f"left alone: {MEANINGS[left.why]}" + (f" ({left.by})" if left.by else ""))
        if place.selection.in_place and left.why is Why.FOREIGN and photo_of_companion(name) is not None:
            answer.says.append("a resource fork with more than flags in it is removed once its photo is done")
    elif st is not None and stat.S_ISDIR(st.st_mode):
        answer.outcome = "folder"
        answer.says.append("a folder that is looked into")
        return
    if entry is None:
        if left is None:
            answer.outcome = answer.outcome if st is None else "waiting"
            answer.says.append("the ledger does not know it" + (": it waits for its turn, or a scan" if st else ""))
        return
    _remember(place, name, answer, entry, st)


def _look(whole: str, answer: Answer) -> os.stat_result | None:
    try:
        st = within(ANSWER_SECONDS, partial(os.lstat, whole))
    except OSError as error:
        answer.outcome = "gone" if isinstance(error, FileNotFoundError | NotADirectoryError) else "unread"
        answer.says.append(f"cannot be looked at: {error.strerror}")
        return None
    if st is None:
        answer.outcome = "unread"
        answer.says.append(f"does not answer within {ANSWER_SECONDS:.0f} s")
    return st


def _device_of(root: str) -> int | None:
    try:
        st = within(ANSWER_SECONDS, partial(os.stat, root))
    except OSError:
        return None
    return None if st is None else st.st_dev


def _left_alone(place: Place, name: str, st: os.stat_result | None) -> LeftAlone | None:
    if st is not None and stat.S_ISDIR(st.st_mode):
        return place.selection.of_folders(name)
    verdict = place.selection.of(name)
    if not isinstance(verdict, Candidate):
        return verdict
    if st is None:
        return None
    if not stat.S_ISREG(st.st_mode):
        return LeftAlone(Why.NOT_REGULAR)
    return _by_content(place.path, name) if verdict.by_content else None


def _by_content(root: str, name: str) -> LeftAlone | None:
    try:
        head = within(ANSWER_SECONDS, partial(read_head, root, name))
    except OSError as error:
        return LeftAlone(Why.UNREADABLE, f"for you: {error.strerror}")
    return None if head is None or is_photo(head) else LeftAlone(Why.NO_PHOTO)


def _remember(place: Place, name: str, answer: Answer, entry: Entry, st: os.stat_result | None) -> None:
    """Say what the ledger knows."""
    if not answer.why:
        answer.outcome = entry.state.value
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.updated_ns / 1e9))
    answer.says.append(f"{when}: {_SAYS.get(entry.state, entry.state.value)}")
    if entry.reason is not None:
        answer.why = answer.why or entry.reason.value
        answer.says.append(f"because: {entry.reason.value}" + (f" ({entry.detail})" if entry.detail else ""))
    if entry.output_digest is not None and place.mode is Mode.MIRROR:
        _say_output(f"{place.to}/{name}", answer, left_alone=answer.outcome == "left_alone")
    if st is not None and entry.source != Fingerprint.from_stat(st) and entry.reason is not Reason.INTERRUPTED:
        answer.says.append("the file is not the one that this was said of: it changed, and will be looked at again")


def _say_output(output: str, answer: Answer, *, left_alone: bool) -> None:
    try:
        is_there = within(ANSWER_SECONDS, partial(os.path.lexists, output))
    except OSError:
        is_there = None
    answer.output = printable(output) if is_there else ""
    there = {True: "is there", False: "is not there any more", None: "cannot be looked at"}[is_there]
    answer.says.append(f"its result {printable(output)} {there}")
    if is_there and left_alone:
        answer.says.append("it stays there: remove it by hand if nobody is to see it")
