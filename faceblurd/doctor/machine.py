"""What all roots share: versions, clock, a worker and its sandbox, networks, state, inotify instances, the hook."""

from __future__ import annotations

import os
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version, release
from typing import TYPE_CHECKING, Final

from faceblurd.config.probes import no_way_to_run
from faceblurd.doctor.finding import Finding, Level, existing, no_way_to_write, space
from faceblurd.doctor.roots import number_in
from faceblurd.errors import FaceblurdError, LedgerVersionError
from faceblurd.imaging.detect import runtime, weights
from faceblurd.ledger.rows import (
    HEADER_BYTES,
    SCHEMA_VERSION,
    least_bytes,
    version_in,
)
from faceblurd.model import Watch
from faceblurd.state_files import LEDGER_NAME
from faceblurd.watch.filesystem import kind_under, tells_of_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from faceblurd.config.schema import Config

_PACKAGES: Final = (
    "faceblurd", "opencv-python-headless", "onnxruntime", "numpy", "pillow", "watchdog", "pydantic", "pillow-heif",
)  # fmt: skip
_INSTANCE_LIMIT: Final = "/proc/sys/fs/inotify/max_user_instances"
_OLDEST: Final = 1_735_689_600  # 2025-01-01: a clock before that was never set


def examine(config: Config, start_worker: Callable[[Config], str]) -> Iterator[Finding]:
    """Look at everything but the roots."""
    yield _versions()
    yield _clock()
    yield _worker(config, start_worker)
    yield from _networks()
    yield from _state(config)
    yield from _instances(config)
    yield from _hook(config)


def _hook(config: Config) -> Iterator[Finding]:
    if config.hooks.command:
        program = config.hooks.command[0]
        found = no_way_to_run(program, os.environ)
        if found is None:
            yield Finding(Level.OK, "hook", f"{program} can be run")
        else:
            yield Finding(Level.BAD, "hook", f"{program} {found[0]}", found[1])


def _versions() -> Finding:
    found = [f"Linux {release()}", f"Python {python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return Finding(Level.OK, "versions", ", ".join(found))


def _clock() -> Finding:
    year = time.gmtime().tm_year
    if time.time() < _OLDEST:
        return Finding(Level.BAD, "clock", f"says it is {year}", "Set it (timedatectl set-ntp true): logs follow it")
    return Finding(Level.OK, "clock", f"says it is {year}")


def _worker(config: Config, start_worker: Callable[[Config], str]) -> Finding:
    try:
        sandbox = start_worker(config)
    except FaceblurdError as error:
        return Finding(Level.BAD, "worker", error.message, error.remedy)
    if sandbox == "off":
        text, remedy = "starts; its sandbox is off: workers.sandbox says so", "Set workers.sandbox: auto"
        return Finding(Level.WARN, "worker", text, remedy)
    if sandbox.endswith(")"):  # the part in brackets is what is not in force
        text, remedy = (
            f"starts; parts of its sandbox are missing: {sandbox}",
            "Update the kernel (docs/security.md has what each knows)",
        )
        return Finding(Level.WARN, "worker", text, remedy)
    return Finding(Level.OK, "worker", f"starts, with detectors and plugins; sandbox: {sandbox}")


def _networks() -> Iterator[Finding]:
    """Say whether the networks' weights are the tested ones, and what they run on."""
    for one in weights.ALL:
        try:
            weights.read(one)
        except weights.WeightsError as error:
            yield Finding(Level.BAD, "networks", str(error), weights.REMEDY)
        else:
            yield Finding(Level.OK, "networks", f"{one.name}: {weights.FOLDER / one.file}, the tested file")
    try:
        yield Finding(Level.OK, "networks", f"run on {runtime.described()}")
    except ImportError as error:
        yield Finding(Level.BAD, "networks", f"ONNX Runtime does not load: {error}", weights.REMEDY)


def _state(config: Config) -> Iterator[Finding]:
    path = existing(str(config.state_dir))
    kind, why = kind_under(path), no_way_to_write(path)[0]
    if not tells_of_changes(kind):
        yield Finding(Level.BAD, path, f"state_dir lies on {kind}, where SQLite's locks fail", "Choose a local disk")
    elif why:
        yield Finding(Level.BAD, path, f"state_dir {why}", "chown it, or choose another")
    else:
        yield Finding(Level.OK, path, f"state_dir, on {kind}")
    yield from _ledger(config.state_dir / LEDGER_NAME)
    yield from space(path)


def _ledger(path: Path) -> Iterator[Finding]:
    """Look at the ledger's first bytes only: to open it would create files, and lock it for a moment."""
    try:
        with path.open("rb") as file:
            header, size = file.read(HEADER_BYTES), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return
    except OSError as error:
        text, remedy = f"the ledger cannot be read: {error.strerror}", "chown it to this user"
        yield Finding(Level.BAD, str(path), text, remedy)
        return
    version, anew = version_in(header), "Move it away: every photo is then looked at once more"
    if version is None:
        yield Finding(Level.BAD, str(path), "is no ledger", anew)
    elif size < least_bytes(header):
        yield Finding(Level.BAD, str(path), f"the ledger is cut: {size} of {least_bytes(header)} bytes", anew)
    elif version > SCHEMA_VERSION:
        newer = LedgerVersionError(str(path), version, SCHEMA_VERSION)
        yield Finding(Level.BAD, str(path), newer.message, newer.remedy)
    else:
        yield Finding(Level.OK, str(path), f"the ledger, version {version}")


def _instances(config: Config) -> Iterator[Finding]:
    """Each watched root takes an inotify instance, of which a user has 128 by default."""
    limit, used = number_in(_INSTANCE_LIMIT), _instances_in_use()
    needed = sum(root.watch is not Watch.SCAN for root in config.roots)
    if not limit or not needed:
        return
    text = f"{used} of {limit} inotify instances of this user are in use, and the roots need {needed}"
    if used + needed > limit:
        remedy = (
            f"sysctl fs.inotify.max_user_instances={max(512, 4 * limit)} (a faceblurd that runs has its own already)"
        )
        yield Finding(Level.WARN, "watches", text, remedy)
    else:
        yield Finding(Level.OK, "watches", text)


def _instances_in_use() -> int:
    """Count the inotify instances of this user's processes, as far as they let us look."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == os.geteuid():
                count += sum(os.readlink(fd) == "anon_inode:inotify" for fd in (process / "fd").iterdir())
        except OSError:  # ended meanwhile, or not ours to see
            continue
    return count
