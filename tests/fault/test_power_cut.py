"""A power cut at every step: each file is the original or finished, and the ledger is never ahead of the disk.

The cut is real: a loop-mounted ext4 that is shut down under us, with what was not synced lost (`lost`), or with the
journal written out (`kept`: names survive that nobody asked to sync).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("power_cuts.py")


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where no file can be mounted (no loop devices, not root)."""
    folder = tmp_path_factory.mktemp("probe")
    script = "truncate -s 8M disk && mkfs.ext4 -q -F disk && mkdir m && mount -o loop disk m && umount m"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no loop mounts here: {done.stderr.strip()}")


def _cut_at_every_step(folder: Path, mode: str, ways: str, journal: str) -> tuple[int, int, set[str]]:
    command = ["unshare", "-m", sys.executable, DRIVER, folder, mode, ways, journal]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    steps, recovery_steps, *outcomes = done.stdout.split()
    return int(steps), int(recovery_steps), set(outcomes)


@pytest.mark.parametrize("journal", ["lost", "kept"])
def test_in_place_a_power_cut_leaves_the_original_or_the_result(disk: None, tmp_path: Path, journal: str) -> None:
    steps, _, outcomes = _cut_at_every_step(tmp_path, "in_place", "", journal)
    assert outcomes == {"original", "result"}
    assert steps >= 20


@pytest.mark.slow
def test_a_ledger_on_another_disk_that_keeps_its_power_is_never_ahead(disk: None, tmp_path: Path) -> None:
    """Here nothing that the ledger syncs brings the photo's disk up to date."""
    _, _, outcomes = _cut_at_every_step(tmp_path, "in_place", "apart", "lost")
    assert outcomes == {"original", "result"}


@pytest.mark.slow
def test_in_a_mirror_a_power_cut_leaves_nothing_or_the_result(disk: None, tmp_path: Path) -> None:
    steps, _, outcomes = _cut_at_every_step(tmp_path, "mirror", "", "lost")
    assert outcomes == {"nothing", "result"}
    assert steps >= 20


def test_in_a_mirror_a_power_cut_leaves_the_older_result_or_the_newer_one(disk: None, tmp_path: Path) -> None:
    steps, _, outcomes = _cut_at_every_step(tmp_path, "mirror", "again", "lost")
    assert outcomes == {"old", "result"}
    assert steps >= 20


@pytest.mark.slow  # a series of cuts for each kind
@pytest.mark.parametrize(
    ("mode", "ways", "outcomes"),
    [
        ("in_place", "again", {"original", "result"}),
        ("in_place", "named,plain", {"original", "result"}),
        ("in_place", "named,careless", {"original", "result"}),
        ("mirror", "named,plain", {"nothing", "result"}),
        ("mirror", "named,plain,linkless", {"nothing", "result"}),
        ("mirror", "named,plain,again", {"old", "result"}),
    ],
)
def test_a_power_cut_in_the_steps_of_lesser_file_systems_leaves_nothing_half_done(
    disk: None, tmp_path: Path, mode: str, ways: str, outcomes: set[str]
) -> None:
    """Without exchange, without links, without nameless files: what NFS, exFAT and FUSE make us do."""
    steps, _, found = _cut_at_every_step(tmp_path, mode, ways, "lost")
    assert found == outcomes
    assert steps >= 20


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "journal"), [("in_place", "kept"), ("mirror", "lost")])
def test_a_staging_file_with_a_name_is_found_and_removed_after_a_power_cut(
    disk: None, tmp_path: Path, mode: str, journal: str
) -> None:
    steps, _, _ = _cut_at_every_step(tmp_path, mode, "named", journal)
    assert steps >= 20


@pytest.mark.slow
def test_a_second_power_cut_during_the_recovery_changes_nothing(disk: None, tmp_path: Path) -> None:
    _, recovery_steps, outcomes = _cut_at_every_step(tmp_path, "in_place", "recovery", "lost")
    assert outcomes == {"original", "result"}
    assert recovery_steps >= 6
