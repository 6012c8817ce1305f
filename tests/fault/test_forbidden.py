"""Where a result may not take its name: the original stays, nothing is left behind, and status says why."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OTHER = 4321


@pytest.fixture
def disk(new_disk: Callable[..., Any]) -> Any:
    disk = new_disk("ext4")
    disk.mount()
    return disk


@pytest.fixture
def flagged() -> Iterator[Callable[[Path, str], None]]:
    """Set a file's flag by chattr; it is taken away after the test."""
    done: list[tuple[Path, str]] = []

    def flag(path: Path, letter: str) -> None:
        subprocess.run(["chattr", f"+{letter}", path], check=True)
        done.append((path, letter))

    yield flag
    for path, letter in done:
        subprocess.run(["chattr", f"-{letter}", path], check=False)


def _roots(disk: Any) -> list[dict[str, Any]]:
    for name in ("in", "mirrored", "out"):
        (disk.seen / name).mkdir()
    return [
        {"path": f"{disk.path}/in", "mode": "in_place"},
        {"path": f"{disk.path}/mirrored", "mode": "mirror", "to": f"{disk.path}/out"},
    ]


def _held(service: Any, count: int) -> set[str]:
    """Wait until so many are held; give the reasons, each of which must name its file and say what is wrong."""
    service.wait_for(lambda: len(service.lines("file.quarantined")) >= count, what="held files")
    # A look may take one for mended: it is tried once more then, and held again.
    held = service.wait_for(lambda: len(found := service.status()["held"]) == count and found, what="all of them")
    assert all(one["detail"] for one in held)
    return {one["reason"] for one in held}


def _names(disk: Any) -> set[str]:
    return {str(path.relative_to(disk.seen)) for path in disk.seen.rglob("*")} - {"lost+found"}


def test_a_read_only_disk_is_waited_for(
    disk: Any, namespace: Any, new_service: Any, portraits: Any, face_is_hidden: Callable[[bytes], bool]
) -> None:
    service, photo = new_service(*_roots(disk)), portraits(1)[0]
    for name in ("in", "mirrored"):
        (disk.seen / name / "photo.jpg").write_bytes(photo)
    before = _names(disk)
    namespace.run("mount", "-o", "remount,ro", disk.path)
    service.start()
    service.wait_for(lambda: json.dumps(service.status()).count("Read-only file system") >= 2, what="the reason")
    assert _names(disk) == before
    namespace.run("mount", "-o", "remount,rw", disk.path)
    service.wait_for(lambda: len(service.lines("file.published")) == 2, what="the work, once it may be done")
    assert face_is_hidden((disk.seen / "in" / "photo.jpg").read_bytes())
    assert face_is_hidden((disk.seen / "out" / "photo.jpg").read_bytes())
    assert (disk.seen / "mirrored" / "photo.jpg").read_bytes() == photo


def test_an_immutable_file_or_folder_is_held(
    disk: Any, flagged: Any, new_service: Any, portraits: Any, face_is_hidden: Callable[[bytes], bool]
) -> None:
    """Each in a root of its own: a photo, its folder, and the folder of results, immutable or only appended to."""
    photo, cases = portraits(1)[0], {"photo-i": "photo", "photo-a": "photo", "in-i": "in", "in-a": "in", "out-i": "out"}
    roots = []
    for name, what in cases.items():
        (disk.seen / name).mkdir()
        (disk.seen / name / "photo.jpg").write_bytes(photo)
        mirror = {"mode": "mirror", "to": f"{disk.path}/{name} results"}
        roots.append({"path": f"{disk.path}/{name}", **(mirror if what == "out" else {"mode": "in_place"})})
    (disk.seen / "out-i results").mkdir()
    before = _names(disk)
    for name, what in cases.items():
        path = {"photo": f"{name}/photo.jpg", "in": name, "out": f"{name} results"}[what]
        flagged(disk.seen / path, name[-1])
    service = new_service(*roots, max_attempts=2, retry_seconds=0.1)
    service.start()
    assert _held(service, len(cases)) == {"no_permission"}
    assert service.stop() == 0
    assert {(disk.seen / name / "photo.jpg").read_bytes() for name in cases} == {photo}
    # What has got a name in a folder that is only appended to cannot lose it: the results of both attempts.
    left = _names(disk) - before
    assert len(left) == 2
    assert all(name.startswith("in-a/") and face_is_hidden((disk.seen / name).read_bytes()) for name in left)


@pytest.mark.parametrize("what", ["sticky", "closed"])
def test_another_users_photos_in_a_sticky_or_closed_folder_are_held(
    disk: Any, new_service: Any, portraits: Any, what: str
) -> None:
    roots, photo = _roots(disk), portraits(1)[0]
    service = new_service(*roots, powers=False, max_attempts=2, retry_seconds=0.1)
    for name in ("in", "mirrored"):
        (disk.seen / name / "photo.jpg").write_bytes(photo)
        os.chown(disk.seen / name / "photo.jpg", OTHER, OTHER)
    if what == "sticky":  # an older result in the way that is another user's too
        (disk.seen / "out" / "photo.jpg").write_bytes(b"another user's")
        os.chown(disk.seen / "out" / "photo.jpg", OTHER, OTHER)
    for name in ("in", "out"):
        os.chown(disk.seen / name, OTHER, OTHER)
        (disk.seen / name).chmod(0o1777 if what == "sticky" else 0o755)
    before = _names(disk)
    service.start()
    assert _held(service, 2) == ({"no_permission", "target_exists"} if what == "sticky" else {"no_permission"})
    assert service.stop() == 0
    assert (disk.seen / "in" / "photo.jpg").read_bytes() == photo
    assert (disk.seen / "in" / "photo.jpg").stat().st_uid == OTHER
    assert _names(disk) == before


def test_a_target_that_is_no_file_is_held_and_not_replaced(disk: Any, new_service: Any, portraits: Any) -> None:
    photo, mirrored = portraits(1)[0], {"a folder": disk.seen / "a folder", "a link": disk.seen / "a link"}
    for path in mirrored.values():
        path.mkdir()
        path.with_name(f"{path.name} out").mkdir()
        (path / "photo.jpg").write_bytes(photo)
    (disk.seen / "elsewhere").write_bytes(b"kept")
    (disk.seen / "a link out" / "photo.jpg").symlink_to("../elsewhere")
    (disk.seen / "a folder out" / "photo.jpg").mkdir()
    (disk.seen / "a folder out" / "photo.jpg" / "within").write_bytes(b"kept")
    before = _names(disk)
    roots = [
        {"path": f"{disk.path}/{name}", "mode": "mirror", "to": f"{disk.path}/{name} out", "existing": "replace"}
        for name in mirrored
    ]
    service = new_service(*roots)
    service.start()
    assert _held(service, 2) == {"target_exists"}
    assert service.stop() == 0
    assert _names(disk) == before
    for kept in ("elsewhere", "a folder out/photo.jpg/within"):
        assert (disk.seen / kept).read_bytes() == b"kept"
    assert (disk.seen / "a link out" / "photo.jpg").is_symlink()
    assert (disk.seen / "a folder out" / "photo.jpg").is_dir()
    assert {(path / "photo.jpg").read_bytes() for path in mirrored.values()} == {photo}
