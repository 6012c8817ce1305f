"""What could keep faceblurd from doing its work on this machine, each with its remedy: for `faceblurd doctor`.

Looks only: nothing is created, not even a file for a moment.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import TYPE_CHECKING, Final

from faceblurd.errors import FaceblurdError
from faceblurd.intake.filesystem import kind_under, tells_of_changes
from faceblurd.model import Mode, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from faceblurd.config import Config
    from faceblurd.config.schema import RootConfig

_PACKAGES: Final = ("opencv-python-headless", "numpy", "pillow", "watchdog", "pydantic")
_WATCH_LIMIT: Final = "/proc/sys/fs/inotify/max_user_watches"
_COUNT_AT_MOST: Final = 200_000  # directories
_NEARLY: Final = 0.8
_LITTLE, _VERY_LITTLE = 2 << 30, 200 << 20  # bytes of free space
_OLDEST: Final = 1_735_689_600  # 2025-01-01: a clock before that was never set


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` is empty where all is well."""

    level: Level
    about: str
    text: str
    remedy: str = ""


def examine(config: Config, *, start_worker: Callable[[Config], str]) -> Iterator[Finding]:
    """Look at everything. `start_worker` starts one and gives what locks it up; it raises FaceblurdError."""
    yield from _versions()
    yield _clock()
    yield _worker(config, start_worker)
    yield from _state(config)
    for root in config.roots:
        yield from _root(root)


def _versions() -> Iterator[Finding]:
    found = []
    for name in (*_PACKAGES, "pillow-heif"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    yield Finding(Level.OK, "versions", f"Python {python_version()}, {', '.join(found)}")


def _clock() -> Finding:
    year = time.gmtime().tm_year
    if time.time() < _OLDEST:
        return Finding(Level.BAD, "clock", f"says it is {year}", "Set it: retries and logs follow it")
    return Finding(Level.OK, "clock", f"says it is {year}")


def _worker(config: Config, start_worker: Callable[[Config], str]) -> Finding:
    try:
        sandbox = start_worker(config)
    except FaceblurdError as error:
        return Finding(Level.BAD, "worker", error.message, error.remedy)
    if sandbox == "off":
        text, remedy = "starts; not locked up: workers.sandbox is off", "Set workers.sandbox: auto"
        return Finding(Level.WARN, "worker", text, remedy)
    if sandbox.endswith(")"):  # the part in brackets is what is not in force
        text, remedy = (
            f"starts; locked up in part: {sandbox}",
            "Update the kernel (docs/security.md has what each knows)",
        )
        return Finding(Level.WARN, "worker", text, remedy)
    return Finding(Level.OK, "worker", f"starts, with detectors and plugins; locked up by {sandbox}")


def _state(config: Config) -> Iterator[Finding]:
    path = _existing(str(config.state_dir))
    kind = kind_under(path)
    if not tells_of_changes(kind):
        yield Finding(Level.BAD, path, f"state_dir lies on {kind}, where SQLite's locks fail", "Choose a local disk")
    elif not os.access(path, os.W_OK | os.X_OK):
        yield Finding(Level.BAD, path, "state_dir is not writable for this user", "chown it, or choose another")
    else:
        yield Finding(Level.OK, path, f"state_dir, on {kind}")
    yield _space(path)


def _root(root: RootConfig) -> Iterator[Finding]:
    path = str(root.path)
    if not os.path.isdir(path):
        yield Finding(Level.BAD, path, "is not there", "Create or mount it; its root waits meanwhile")
        return
    in_place = root.mode is Mode.IN_PLACE
    if not os.access(path, os.R_OK | os.X_OK | (os.W_OK if in_place else 0)):
        wanted = "readable and writable" if in_place else "readable"
        yield Finding(Level.BAD, path, f"is not {wanted} for this user", "Give this user, or its group, the permission")
        return
    yield _watching(path, root.watch)
    yield from _target(path if in_place or root.to is None else _existing(str(root.to)))


def _watching(path: str, watch: Watch) -> Finding:
    kind = kind_under(path)
    if watch is Watch.SCAN or (watch is Watch.AUTO and not tells_of_changes(kind)):
        return Finding(Level.OK, path, f"on {kind}, is scanned every minute", "")
    directories, limit = _directories(path), _limit()
    if limit and directories > limit * _NEARLY:
        level = Level.BAD if directories > limit else Level.WARN
        text = f"has {directories} directories, and the kernel watches {limit} for all programs of a user"
        return Finding(level, path, text, "sysctl fs.inotify.max_user_watches=1048576")
    if not tells_of_changes(kind):
        text = f"on {kind}, is watched, which does not tell of what other machines write"
        return Finding(Level.WARN, path, text, "Set watch: auto")
    return Finding(Level.OK, path, f"on {kind}, {directories} directories are watched; the limit is {limit}")


def _directories(path: str) -> int:
    count = 0
    for count, _ in enumerate(os.walk(path), start=1):
        if count >= _COUNT_AT_MOST:
            break
    return count


def _limit() -> int:
    try:
        with open(_WATCH_LIMIT, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def _target(path: str) -> Iterator[Finding]:
    """Look at where results go."""
    if not os.access(path, os.W_OK | os.X_OK):
        yield Finding(Level.BAD, path, "is not writable for this user", "Give this user, or its group, the permission")
        return
    yield Finding(Level.OK, path, f"results go there, on {kind_under(path)}{_nameless(path)}")
    yield _space(path)


def _nameless(path: str) -> str:
    """Say whether unfinished results can go without a name; opening one leaves nothing."""
    try:
        os.close(os.open(path, os.O_TMPFILE | os.O_RDWR, 0o600))
    except OSError:
        return "; unfinished ones are named .faceblurd-* there"
    return ""


def _space(path: str) -> Finding:
    free = os.statvfs(path).f_bavail * os.statvfs(path).f_frsize
    text = f"{free / (1 << 30):.1f} GB are free"
    if free < _LITTLE:
        return Finding(Level.BAD if free < _VERY_LITTLE else Level.WARN, path, text, "Make room: photos wait for it")
    return Finding(Level.OK, path, text)


def _existing(path: str) -> str:
    """Return the path, or the closest folder above it that is there."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path
