"""Paths below a root: what another process does meanwhile, and other file systems."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from faceblurd.publish import beneath

if TYPE_CHECKING:
    from pathlib import Path


def test_another_file_system_below_the_root_is_refused_and_no_descriptor_stays_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError) as caught:
        beneath.open_directory("/", "proc")
    assert caught.value.errno == errno.EXDEV
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_directory_that_somebody_else_makes_at_the_same_moment_is_used(tmp_path: Path) -> None:
    root = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "day").mkdir(mode=0o700)
    beneath._make(root, "day", 0o755)
    os.close(root)
    assert (tmp_path / "day").stat().st_mode & 0o777 == 0o700


def test_a_root_on_another_file_system_than_it_must_be_is_not_mounted_and_nothing_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="not mounted") as caught:
        beneath.open_directory(str(tmp_path), "day", create_mode=0o755, device=tmp_path.stat().st_dev + 1)
    assert caught.value.errno == errno.ENODEV
    assert list(tmp_path.iterdir()) == [], "nothing is made below an empty mount point"
    assert len(os.listdir("/proc/self/fd")) <= before
