"""Which file system lies below a folder, and whether it tells of changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from faceblurd.watch import filesystem
from faceblurd.watch.filesystem import (
    Places,
    RootIdentity,
    kind_in,
    kind_under,
    look,
    mount_point,
    tells_of_changes,
)

if TYPE_CHECKING:
    from pathlib import Path

MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:25 / /srv/photos rw - nfs4 server:/photos rw,vers=4.2
31 30 0:26 / /srv/photos/local rw - btrfs /dev/sdb rw
32 21 0:27 / /mnt/Card\\040Reader rw master:3 propagate_from:1 - fuse.sshfs camera: rw
33 21 0:28 / /mnt/twice rw - ext4 /dev/sdc rw
34 33 0:29 / /mnt/twice rw - cifs //nas/photos rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home", "ext4"),
        ("/srv/photos", "nfs4"),
        ("/srv/photos/2026/party", "nfs4"),
        ("/srv/photos/local/x", "btrfs"),
        ("/srv/photos-old", "ext4"),
        ("/mnt/Card Reader/DCIM", "fuse.sshfs"),
        ("/mnt/twice/x", "cifs"),
    ],
)
def test_the_deepest_and_last_mount_counts(path: str, kind: str) -> None:
    assert kind_in(MOUNTS, path) == kind


def test_an_empty_table_says_nothing() -> None:
    assert kind_in("", "/srv") == ""


def test_this_machine_has_a_proc() -> None:
    assert kind_under("/proc/self") == "proc"
    assert mount_point("/proc/self/fd") == "/proc"


def test_without_a_table_a_mount_point_is_found_by_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "_MOUNTS", "/nowhere")
    assert kind_under("/proc/self") == ""
    assert mount_point("/proc/sys/fs") == "/proc"
    assert mount_point("/") == "/"


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.rclone", "virtiofs"])
def test_network_and_fuse_are_silent(kind: str) -> None:
    assert not tells_of_changes(kind)


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "xfs", "zfs", "tmpfs", "overlay", "fuseblk", ""])
def test_local_ones_tell(kind: str) -> None:
    assert tells_of_changes(kind)


def test_a_folder_without_a_handle_is_known_by_its_inode() -> None:
    """/proc has no handles, as some FUSE shares: name_to_handle_at(2) says EOPNOTSUPP."""
    identity = RootIdentity.of("/proc/self/fd")
    assert identity.mark.endswith(f".{identity.inode:x}")
    assert identity.mount_point == "/proc"


def test_a_link_that_was_pointed_at_another_folder_is_noticed(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    link = tmp_path / "inbox"
    link.symlink_to("one")
    places = Places(str(tmp_path / "one"), str(tmp_path / "one"), (str(link), str(link)))
    assert look(places).elsewhere == ""
    link.unlink()
    link.symlink_to("other")
    assert look(places).elsewhere == f"{link} leads to {tmp_path / 'other'} now, and no longer to {tmp_path / 'one'}"


def test_an_empty_folder_is_told_from_one_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".hidden").touch()
    assert look(Places(str(tmp_path / "in"), str(tmp_path / "out"))).empty == {str(tmp_path / "in")}
