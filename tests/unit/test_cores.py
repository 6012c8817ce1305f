"""How many cores count: affinity, and the quotas of control groups of both versions, as the kernel shows them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from faceblurd.config.defaults import Workers, cores

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def _process(folder: Path, groups: str, *mounts: str) -> Path:
    """Lay down what /proc/self shows of a process; `{}` in a mount is the folder where hierarchies are."""
    proc = folder / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(groups)
    (proc / "mountinfo").write_text("".join(f"{mount.format(folder)}\n" for mount in mounts))
    return proc


def _write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


V2 = "30 23 0:26 / {}/cg rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 30 0:28 {top} {{}}/cg/cpu rw - cgroup cgroup rw,cpu,cpuacct"


@pytest.mark.parametrize(("limit", "expected"), [("150000 100000", 2), ("max 100000", 8), ("50000 100000", 1)])
@pytest.mark.usefixtures("eight")
def test_a_quota_of_version_2_counts_in_whole_cores(tmp_path: Path, limit: str, expected: int) -> None:
    proc = _process(tmp_path, "0::/\n", V2)  # as in a container of its own
    _write(tmp_path / "cg", cpu__max=f"{limit}\n")
    assert cores(proc) == expected


@pytest.mark.usefixtures("eight")
def test_the_narrowest_quota_of_all_groups_above_counts(tmp_path: Path) -> None:
    proc = _process(tmp_path, "0::/system.slice/faceblurd.service\n", V2)
    _write(tmp_path / "cg" / "system.slice" / "faceblurd.service", cpu__max="max 100000\n")
    _write(tmp_path / "cg" / "system.slice", cpu__max="300000 100000\n")
    assert cores(proc) == 3


@pytest.mark.parametrize("top", ["/", "/docker/abc"])
@pytest.mark.usefixtures("eight")
def test_a_quota_of_version_1_counts_also_where_a_container_sees_only_its_own_group(tmp_path: Path, top: str) -> None:
    proc = _process(tmp_path, "5:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n0::/\n", V1.format(top=top))
    inside = tmp_path / "cg" / "cpu" / ("docker/abc" if top == "/" else "")
    _write(inside, cpu__cfs_quota_us="200000\n", cpu__cfs_period_us="100000\n")
    assert cores(proc) == 2
    _write(inside, cpu__cfs_quota_us="-1\n")
    assert cores(proc) == 8


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert cores(tmp_path / "nothing") == len(os.sched_getaffinity(0))
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert Workers().process_count() == 1
    finally:
        os.sched_setaffinity(0, allowed)
