"""Defaults that are needed without a config too, and how many cores this process may use. No pydantic."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

_WRITTEN = "jpg jpeg jpe jfif png apng webp avif tif tiff bmp gif heic heif hif"
_RAW = "dng cr2 cr3 crw nef nrw arw sr2 srf orf rw2 rwl raf pef srw x3f mrw kdc dcr erf mef mos iiq 3fr fff gpr"
_HELD = f"{_RAW} psd jp2 jxl"
IMAGE_GLOBS: Final = tuple(f"*.{extension}" for extension in f"{_WRITTEN} {_HELD}".split())
"""What is looked at by default: what can be blurred, and photos that are held as unsupported rather than overlooked.

HEIC is among the latter while its extra is not installed."""


@dataclass(frozen=True, slots=True)
class Workers:
    """The processes that do the work, and what one file may cost (config.example.yaml has units and reasons)."""

    count: int | Literal["auto"] = "auto"
    deadline_seconds: float = 120.0
    memory_limit_mb: int = 1500
    recycle_after_files: int = 500
    idle_seconds: float = 60.0
    max_attempts: int = 4
    retry_seconds: float = 5.0
    stop_seconds: float = 10.0
    max_file_mb: int = 512
    max_megapixels: int = 200
    sandbox: Literal["auto", "off"] = "auto"

    def process_count(self) -> int:
        """Return how many workers may run: for `auto`, as many as the cores that this process may use."""
        return cores() if isinstance(self.count, str) else self.count


@dataclass(frozen=True, slots=True)
class Hooks:
    """Plugins by name, and a command that runs after every file."""

    plugins: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    timeout_seconds: float = 30.0
    max_attempts: int = 5


def cores(proc: Path = Path("/proc/self")) -> int:
    """Return how many cores may be used, at least one. `proc`: what the kernel says of this process."""
    quota = min(_quotas(proc), default=math.inf)
    allowed = len(os.sched_getaffinity(0))
    return max(1, allowed if quota >= allowed else math.ceil(quota))


def _quotas(proc: Path) -> Iterator[float]:
    """Give the quota, in cores, of each control group that this process is in, and of those above it."""
    for mounted, group in _groups(proc):
        folder = mounted / group
        for one in (folder, *folder.parents):
            with suppress(OSError, ValueError, ZeroDivisionError):  # no such control here, or "max"
                yield _quota_of(one)
            if one == mounted:
                break


def _quota_of(folder: Path) -> float:
    version_2 = folder / "cpu.max"
    if version_2.exists():
        quota, period = version_2.read_text("ascii").split()
    else:
        quota = (folder / "cpu.cfs_quota_us").read_text("ascii")
        period = (folder / "cpu.cfs_period_us").read_text("ascii")
    if int(quota) < 0:  # no limit, in version 1
        raise ValueError(quota)
    return int(quota) / int(period)


def _groups(proc: Path) -> Iterator[tuple[Path, str]]:
    """Give where each hierarchy with the control `cpu` is mounted, and this process's group below that."""
    try:
        lines = (proc / "cgroup").read_text("utf-8", "surrogateescape").splitlines()
        mounts = (proc / "mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return
    groups = {controls: group for _, controls, group in (line.split(":", 2) for line in lines)}
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        top, place = before.split()[3:5]
        kind, _, options = after.split(maxsplit=2)
        if kind == "cgroup2" and "" in groups:
            yield Path(_unescaped(place)), _below(groups[""], top)
        elif kind == "cgroup" and "cpu" in options.split()[-1].split(","):
            group = next((group for controls, group in groups.items() if "cpu" in controls.split(",")), "/")
            yield Path(_unescaped(place)), _below(group, top)


def _below(group: str, top: str) -> str:
    """Give a group's path below a mount that shows the hierarchy from `top` on only, as a container's does."""
    inside = group.removeprefix(top.rstrip("/")) if f"{group}/".startswith(f"{top.rstrip('/')}/") else ""
    return "" if "/.." in inside else inside.strip("/")


def _unescaped(place: str) -> str:
    return place.replace("\\040", " ")
