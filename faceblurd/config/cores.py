"""How many cores this process may use: its affinity, and the quota of its container (control groups, both versions).

A quota lets a process run on every core, and stops all of its threads once its time is used up: eight workers in a
container of two cores would take the memory of eight and do the work of two.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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
