"""One root: permissions, owners, file system, watches, its clock, and where its results go.

May hang for as long as the root's file system does: the caller waits with a deadline.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from faceblurd.doctor.finding import Finding, Level, existing, no_way_to_write, space
from faceblurd.model import Mode, Watch, printable
from faceblurd.watch.filesystem import kind_under, tells_of_changes
from faceblurd.watch.scan import survey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faceblurd.config.schema import RootConfig

# The second is a container's own.
WATCH_LIMITS: Final = ("/proc/sys/fs/inotify/max_user_watches", "/proc/sys/user/max_inotify_watches")
_COUNT_SECONDS: Final = 3.0
_NEARLY: Final = 0.8
_LOOK_AT: Final = 2_000  # entries of the root's top
_CAP_CHOWN, _CAP_FOWNER = 0, 3
_SKEW_SECONDS: Final = 60.0


def examine(root: RootConfig) -> Iterator[Finding]:
    """Look at one root."""
    path = str(root.path)
    try:
        yield from _examine(root, path)
    except OSError as error:  # a share that went away and answers with errors: ESTALE, EIO, ENOTCONN
        remedy = "Mount it again; its root waits meanwhile"
        yield Finding(Level.BAD, path, f"cannot be looked at: {error.strerror}", remedy)


def _examine(root: RootConfig, path: str) -> Iterator[Finding]:
    if not _is_directory(path):
        yield Finding(Level.BAD, path, "is not there", "Create or mount it; its root waits meanwhile")
        return
    in_place = root.mode is Mode.IN_PLACE
    if not os.access(path, os.R_OK | os.X_OK):
        yield Finding(Level.BAD, path, "is not readable for this user", "Give this user, or its group, the permission")
        return
    yield from _directories(path, root)
    yield from _top(path, in_place=in_place)
    if not in_place and root.on_failure == "hold" and (why := no_way_to_write(path)[0]):
        text = f"{why}: held photos cannot be moved out of it"
        yield Finding(Level.WARN, path, text, "Give this user the permission, or set on_failure: leave")
    yield from _target(path if in_place or root.to is None else existing(str(root.to)))


def _is_directory(path: str) -> bool:
    """Tell it, but let other errors out than that nothing is there (os.path.isdir says no to ESTALE, too)."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False


# --- watches


def _directories(path: str, root: RootConfig) -> Iterator[Finding]:
    """Look for some seconds at whether every directory can be read and watched."""
    until = time.monotonic() + _COUNT_SECONDS
    found = survey(path, root.selection(), stopped=lambda: time.monotonic() > until)
    more_than = "more than " if time.monotonic() > until else ""
    yield _watching(path, root.watch, found.directories, f"{more_than}{found.directories} directories")
    if found.errors:
        text = f"{len(found.errors)} places below it are not looked into, first {printable(found.errors[0])}"
        yield Finding(Level.WARN, path, text, "Give this user the permission, exclude them, or make them roots")


def _watching(path: str, watch: Watch, directories: int, counted: str) -> Finding:
    kind = kind_under(path)
    if watch is Watch.SCAN or (watch is Watch.AUTO and not tells_of_changes(kind)):
        return Finding(Level.OK, path, f"on {kind}, is scanned every minute", "")
    limit = min(filter(None, map(number_in, WATCH_LIMITS)), default=0)
    if limit and directories > limit * _NEARLY:
        level = Level.BAD if directories > limit else Level.WARN
        text = f"has {counted}, and the kernel watches {limit} for all programs of a user"
        return Finding(level, path, text, f"sysctl fs.inotify.max_user_watches={max(1_048_576, 4 * directories)}")
    if not tells_of_changes(kind):
        text = f"on {kind}, is watched, which does not tell of what other machines write"
        return Finding(Level.WARN, path, text, "Set watch: auto")
    return Finding(Level.OK, path, f"on {kind}, {counted} are watched; the limit is {limit}")


def number_in(path: str) -> int:
    """Read a number that the kernel shows; 0 when it does not."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


# --- what lies at the top


@dataclass(slots=True)
class _Files:
    """What was seen of the regular files at the top of a root."""

    files: int = 0
    foreign: int = 0
    unreadable: int = 0
    newest: float = 0.0


def _top(path: str, *, in_place: bool) -> Iterator[Finding]:
    seen = _look_at_files(path)
    of = f"of {seen.files} files at its top"
    if seen.unreadable:
        text, remedy = f"{seen.unreadable} {of} are not readable for this user", "chmod g+r, or a default ACL"
        yield Finding(Level.WARN, path, f"{text}: they will be held", remedy)
    if in_place and seen.foreign:
        yield from _foreign(path, f"{seen.foreign} {of} belong to others")
    ahead = seen.newest - time.time()
    if ahead > _SKEW_SECONDS:
        text = f"has a file from the future, by {ahead:.0f} s: this clock or its server's is wrong"
        yield Finding(Level.WARN, path, text, "Let both machines follow one time server (timedatectl set-ntp true)")


def _foreign(path: str, text: str) -> Iterator[Finding]:
    """Say what follows from files of other owners for results that take their places."""
    if _sticky_for_us(path):
        remedy = f"chmod -t {path}, or give the service CAP_FOWNER (AmbientCapabilities=)"
        yield Finding(Level.BAD, path, f"is sticky, and {text}: they cannot be replaced, and will be held", remedy)
    if not _may(_CAP_CHOWN):
        remedy = "Give the service CAP_CHOWN (AmbientCapabilities=), or let uploads belong to this user"
        yield Finding(Level.WARN, path, f"{text}: the results will belong to this user", remedy)


def _look_at_files(path: str) -> _Files:
    seen = _Files()
    with os.scandir(path) as entries:
        for entry in islice(entries, _LOOK_AT):
            with suppress(FileNotFoundError):
                st = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(st.st_mode):
                    seen.files += 1
                    seen.foreign += st.st_uid != os.geteuid()
                    seen.unreadable += not os.access(entry.path, os.R_OK, follow_symlinks=True)
                    seen.newest = max(seen.newest, st.st_mtime)
    return seen


def _sticky_for_us(path: str) -> bool:
    st = os.stat(path)
    return bool(st.st_mode & stat.S_ISVTX) and st.st_uid != os.geteuid() and not _may(_CAP_FOWNER)


def _may(capability: int) -> bool:
    """Tell whether this process has a capability (capabilities(7) has the numbers)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        effective = next((line.split()[1] for line in file if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> capability & 1)


# --- where results go


def _target(path: str) -> Iterator[Finding]:
    why, remedy = no_way_to_write(path)
    if why:
        yield Finding(Level.BAD, path, why, remedy)
        return
    yield Finding(Level.OK, path, f"results go there, on {kind_under(path)}{_nameless(path)}")
    yield from space(path)


def _nameless(path: str) -> str:
    """Say whether unfinished results can go without a name; opening one leaves nothing."""
    try:
        os.close(os.open(path, os.O_TMPFILE | os.O_RDWR, 0o600))
    except OSError:
        return "; unfinished ones are named .faceblurd-* there"
    return ""
