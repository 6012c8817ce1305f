"""Real file systems for the tests of faults, on loop devices, mounted in a namespace that goes away with the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Namespace

# What makes each, and the least size it takes. Images are sparse: they cost what is written.
MAKERS = {
    "ext4": (["mkfs.ext4", "-q", "-F", "-m", "0"], "32M"),
    "xfs": (["mkfs.xfs", "-q"], "300M"),
    "btrfs": (["mkfs.btrfs", "-q"], "128M"),
    "exfat": (["mkfs.exfat"], "32M"),
}
EXFAT = "mount.exfat-fuse"  # kernels without a driver of their own; many have one, but not all


class Disk:
    """A file system at `path` as processes in the namespace see it, and at `seen` as the test does."""

    def __init__(self, kind: str, path: Path, namespace: Namespace) -> None:
        self.kind, self.path, self._namespace = kind, path, namespace
        self._image = path.with_name(f"{path.name}.img")
        self._fuse: subprocess.Popen[bytes] | None = None
        path.mkdir()

    @property
    def seen(self) -> Path:
        return self._namespace.seen(self.path)

    def mount(self, options: str = "defaults", size: str = "") -> None:
        """Make it, where it was not made before, and mount it."""
        if self.kind == "tmpfs":
            self._namespace.run("mount", "-t", "tmpfs", "-o", f"{options},size={size or '64m'}", "none", self.path)
        elif self.kind == "overlay":
            self._mount_overlay()
        else:
            self._make(size)
            mount = self._mount_exfat if self.kind == "exfat" else self._mount_loop
            mount(options)

    def _make(self, size: str) -> None:
        command, least = MAKERS[self.kind]
        _need(command[0])
        if not self._image.exists():
            with self._image.open("wb") as image:
                image.truncate(int((size or least)[:-1]) << 20)
            subprocess.run([*command, self._image], check=True, stdout=subprocess.DEVNULL)

    def _mount_loop(self, options: str) -> None:
        self._namespace.run("mount", "-o", f"loop,{options}", self._image, self.path)

    def _mount_exfat(self, _options: str) -> None:
        _need(EXFAT)
        device = self._namespace.run("losetup", "-f", "--show", self._image).strip()
        # In the foreground, and gone with us: its process would keep the namespace and the mount.
        arguments = ["setpriv", "--pdeathsig", "KILL", EXFAT, "-d", device, self.path]
        self._fuse = subprocess.Popen(
            [*self._namespace.inside, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 300
        while f" {self.path} " not in self._namespace.mounts:
            assert self._fuse.poll() is None, f"{EXFAT} ended"
            assert time.monotonic() < deadline, f"{EXFAT} did not mount"
            time.sleep(0.02)
        self._namespace.run("losetup", "-d", device)  # from here on it goes with the mount

    def _mount_overlay(self) -> None:
        """Lay a tmpfs over a folder of the machine's own disk, as containers do."""
        layers = self.path.with_name("layers")
        below = self.path.with_name("below")
        for folder in (layers, below):
            folder.mkdir(exist_ok=True)
        self._namespace.run("mount", "-t", "tmpfs", "none", layers)
        self._namespace.run("mkdir", layers / "upper", layers / "work")
        options = f"lowerdir={below},upperdir={layers}/upper,workdir={layers}/work"
        self._namespace.run("mount", "-t", "overlay", "-o", options, "none", self.path)

    def unmount(self) -> None:
        self._namespace.run("umount", self.path)
        if self._fuse is not None:
            self._fuse.wait(300)

    def close(self) -> None:
        if self._fuse is not None:
            self._fuse.kill()
            self._fuse.wait()


def _need(tool: str) -> None:
    if shutil.which(tool) is None:
        assert not os.environ.get("CI"), f"{tool} is missing: .ci/run installs it"
        pytest.skip(f"no {tool} here")
