"""The whole way of a photo on real file systems: published once, in place and into a mirror, with what it had."""

from __future__ import annotations

import stat
import struct
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OWNER, GROUP = 4321, 1234
MTIME = 1_600_000_001  # an odd second: FAT's children count in twos
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service+ep
WITH_OWNERS = ("ext4", "xfs", "btrfs", "tmpfs", "overlay", "share")
WITHOUT_OWNERS = ("exfat",)
SHARES = {"share": "", "exchanging": "exchange", "careless": "careless", "caseless": "ignore-case"}


class Place:
    """Where the photos lie: `path` for the daemon, `seen` for the test."""

    def __init__(self, path: Path, seen: Path) -> None:
        self.path, self.seen = path, seen


@pytest.fixture
def place(new_disk: Callable[..., Any], new_share: Callable[..., Any]) -> Callable[[str], Place]:
    """Mount a file system of a kind."""

    def make(kind: str) -> Place:
        if kind in SHARES:
            share = new_share(*filter(None, [SHARES[kind]]))
            return Place(share.mounted, share.namespace.seen(share.mounted))
        disk = new_disk(kind)
        disk.mount()
        return Place(disk.path, disk.seen)

    return make


def _roots(place: Place, **options: Any) -> list[dict[str, Any]]:
    for name in ("in", "mirrored"):
        (place.seen / name / "folder").mkdir(parents=True)
    return [
        {"path": f"{place.path}/in", "mode": "in_place", **options},
        {"path": f"{place.path}/mirrored", "mode": "mirror", "to": f"{place.path}/out", **options},
    ]


def _put(folder: Path, photos: list[bytes]) -> list[Path]:
    paths = [folder / "photo.jpg", folder / "folder" / "other.jpg"]
    for path, photo in zip(paths, photos, strict=True):
        path.write_bytes(photo)
    return paths


def _all(place: Place) -> dict[str, tuple[int, int, bytes]]:
    """Everything that lies there: mode, mtime and content of each file, by its path."""
    found = {}
    for path in place.seen.rglob("*"):
        st = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(st.st_mode) else b""
        found[str(path.relative_to(place.seen))] = (st.st_mode, st.st_mtime_ns, content)
    return found


@pytest.mark.parametrize("kind", [*WITH_OWNERS, *WITHOUT_OWNERS, "exchanging", "careless"])
def test_photos_are_published_once_and_a_second_look_changes_nothing(
    place: Any, new_service: Any, portraits: Any, face_is_hidden: Callable[[bytes], bool], kind: str
) -> None:
    here, photos = place(kind), portraits(2)
    service = new_service(*_roots(here))
    in_place, mirrored = _put(here.seen / "in", photos), _put(here.seen / "mirrored", photos)
    service.start()
    service.wait_for(lambda: len(service.lines("file.published")) == 4, what="four results")
    assert service.stop() == 0

    assert [path.read_bytes() for path in mirrored] == photos
    results = [*in_place, here.seen / "out" / "photo.jpg", here.seen / "out" / "folder" / "other.jpg"]
    assert all(face_is_hidden(path.read_bytes()) for path in results)
    before = _all(here)
    assert set(before) == {
        "in", "in/folder", "in/photo.jpg", "in/folder/other.jpg", "out", "out/folder", "out/photo.jpg",
        "out/folder/other.jpg", "mirrored", "mirrored/folder", "mirrored/photo.jpg", "mirrored/folder/other.jpg",
    } | ({"lost+found"} if kind == "ext4" else set())  # fmt: skip

    outcomes = ("file.published", "file.clean", "file.skipped", "file.retried", "file.quarantined")
    assert len(service.lines(*outcomes)) == 4
    assert service.scan() == 0
    assert len(service.lines(*outcomes)) == 4
    assert _all(here) == before
