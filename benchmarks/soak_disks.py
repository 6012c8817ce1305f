"""Small disks for a soak, in a mount namespace of its own: they fill, go away and come back.

Each is an ext4 on a loop device (a tmpfs where there is none), mounted out of sight and bound to where it is used: so
it can go while files on it are open, as a lazy unmount does, and what fills it lies beside, not below, a root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

INSIDE: Final = "--inside-namespace"  # how the script knows itself
_LEAST_BYTES: Final = 512


def can_mount() -> bool:
    """Tell whether this process may make mounts for itself alone."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return _run("unshare", "-m", "true", check=False)


def go_inside() -> None:
    """Start this script again in a mount namespace of its own. Does not return."""
    unshare = shutil.which("unshare") or "unshare"
    os.execv(unshare, [unshare, "-m", sys.executable, *sys.argv, INSIDE])  # noqa: S606 - that is the point


class Disk:
    """One disk, used at `at`."""

    def __init__(self, at: Path, below: Path, megabytes: int) -> None:
        """Make it, and mount it."""
        self.at, self._back = at, below / at.name
        self._filler = self._back / "filler"
        at.mkdir()
        self._back.mkdir(parents=True)
        image = below / f"{at.name}.img"
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", image)
        if not _run("mount", "-o", "loop", image, self._back, check=False):
            _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", self._back)
        (self._back / "content").mkdir()
        self.attach()

    def attach(self) -> None:
        """Let it be there (again)."""
        _run("mount", "--bind", self._back / "content", self.at)

    def detach(self) -> None:
        """Take it away; whoever has files of it open keeps them."""
        _run("umount", "-l", self.at)

    def fill(self) -> None:
        """Take all room that is left."""
        step = 1 << 20
        with self._filler.open("ab", buffering=0) as file:
            while step >= _LEAST_BYTES:
                try:
                    file.write(b"\0" * step)
                except OSError:
                    step //= 2

    def make_room(self) -> None:
        """Give it back."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it for good."""
        _run("umount", "-l", self.at, check=False)
        _run("umount", "-l", self._back, check=False)


def _run(*command: str | Path, check: bool = True) -> bool:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.returncode == 0


def overflow(folder: Path) -> None:
    """Give the kernel more events below a root than its queue holds, with names that are no photos."""
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))
    before = folder / "name0.txt"
    with suppress(OSError):  # no room, or no disk: the next time then
        before.write_bytes(b"")
        for number in range(1, most):
            before = before.rename(folder / f"name{number}.txt")
        before.unlink()
