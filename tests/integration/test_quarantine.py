"""Held files: moved away whole, put back as they were, never over another file, never lost."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from faceblurd.errors import FaceblurdError
from faceblurd.model import Entry, Fingerprint, Reason, State
from faceblurd.outlet.ledger import Ledger
from faceblurd.outlet.quarantine import Quarantine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PHOTO = b"a photo that could not be made safe" * 1000
NAMES = ["photo.jpg", "deep/er/photo.jpg", "caf\udce9.jpg"]


class Desk:
    def __init__(self, folder: Path) -> None:
        self.root, self.folder = folder / "root", folder / "state" / "quarantine"
        self.ledger = Ledger(folder / "ledger")
        self.quarantine = Quarantine(self.ledger, self.folder)

    def hold(self, name: str = "photo.jpg", content: bytes = PHOTO) -> Entry:
        """Put a file into the root, with its entry as held."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o640)
        os.utime(path, ns=(1_500_000_000_123_456_789, 1_500_000_000_123_456_789))
        fingerprint = Fingerprint.from_stat(path.lstat())
        entry = Entry(
            str(self.root), name, State.QUARANTINED, "R", fingerprint, attempts=4, reason=Reason.DAMAGED, detail="cut"
        )
        self.ledger.put(entry)
        return entry

    def kept(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()] if self.folder.exists() else []


@pytest.fixture(params=["one file system", "two file systems"])
def desk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    if request.param == "two file systems":
        _part_the_file_systems(monkeypatch)
    one = Desk(tmp_path)
    with closing(one.ledger):
        yield one


def _part_the_file_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer as the kernel does when the state directory is on another disk than the root."""
    rename, link = os.rename, os.link

    def apart(source: Any, target: Any) -> bool:
        return ("quarantine" in os.fsdecode(source)) != ("quarantine" in os.fsdecode(target))

    def rename_within(source: Any, target: Any, **named: Any) -> None:
        if apart(source, target):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target, **named)

    def link_within(source: Any, target: Any, **named: Any) -> None:
        if apart(source, target) and not os.path.lexists(_absolute(target, named.get("dst_dir_fd"))):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target, **named)

    monkeypatch.setattr(os, "rename", rename_within)
    monkeypatch.setattr(os, "link", link_within)


def _absolute(path: Any, directory_fd: int | None) -> str:
    return os.fsdecode(path) if directory_fd is None else f"/proc/self/fd/{directory_fd}/{os.fsdecode(path)}"


@pytest.mark.parametrize("name", NAMES)
def test_a_held_file_is_moved_away_and_comes_back_as_it_was(desk: Desk, name: str) -> None:
    entry = desk.hold(name)
    place = desk.quarantine.take_away(entry)
    assert not (desk.root / name).exists()
    assert (place / "file").read_bytes() == PHOTO
    assert stat.S_IMODE(desk.folder.stat().st_mode) == 0o700
    desk.quarantine.retry(entry)
    back = desk.root / name
    assert back.read_bytes() == PHOTO
    assert stat.S_IMODE(back.stat().st_mode) == 0o640
    assert back.stat().st_mtime_ns == 1_500_000_000_123_456_789
    assert desk.kept() == []
    assert list(desk.root.rglob(".faceblurd-*")) == []


def test_a_file_that_is_to_be_tried_again_starts_from_the_beginning(desk: Desk) -> None:
    entry = desk.hold()
    assert [one.path for one in desk.quarantine.held()] == ["photo.jpg"]
    desk.quarantine.retry(entry)
    found = desk.ledger.entry(entry.root, entry.path)
    assert found is not None
    assert (found.state, found.attempts, found.reason) == (State.RETRY, 0, None)
    assert desk.quarantine.held() == []
    assert (desk.root / "photo.jpg").read_bytes() == PHOTO


def test_a_held_file_is_never_put_back_over_another_one(desk: Desk) -> None:
    entry = desk.hold()
    desk.quarantine.take_away(entry)
    (desk.root / "photo.jpg").write_bytes(b"a newer upload")
    with pytest.raises(FaceblurdError, match="exists again"):
        desk.quarantine.retry(entry)
    assert (desk.root / "photo.jpg").read_bytes() == b"a newer upload"
    assert PHOTO in [path.read_bytes() for path in desk.kept()]
    assert desk.quarantine.held() != []


def test_a_folder_that_is_gone_is_an_error_and_the_file_stays_in_quarantine(desk: Desk) -> None:
    entry = desk.hold("deep/photo.jpg")
    desk.quarantine.take_away(entry)
    (desk.root / "deep").rmdir()
    with pytest.raises(FaceblurdError) as caught:
        desk.quarantine.retry(entry)
    assert caught.value.remedy
    assert PHOTO in [path.read_bytes() for path in desk.kept()]
    assert desk.quarantine.held() != []


def test_dropping_deletes_what_was_moved_away_and_leaves_what_is_in_its_root(desk: Desk) -> None:
    moved, stays = desk.hold("moved.jpg"), desk.hold("stays.jpg")
    desk.quarantine.take_away(moved)
    desk.quarantine.drop(moved)
    desk.quarantine.drop(stays)
    assert desk.kept() == []
    assert (desk.root / "stays.jpg").read_bytes() == PHOTO
    assert desk.quarantine.held() == []


def test_a_file_that_vanished_leaves_no_empty_place(desk: Desk) -> None:
    entry = desk.hold()
    (desk.root / "photo.jpg").unlink()
    with pytest.raises(FileNotFoundError):
        desk.quarantine.take_away(entry)
    assert desk.kept() == []
    desk.quarantine.retry(entry)  # and nothing is in the way of another try


def test_a_failed_copy_leaves_the_file_in_its_root(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = desk.hold()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "rename", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EXDEV, "apart")))
    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(OSError, match="No space"):
        desk.quarantine.take_away(entry)
    assert (desk.root / "photo.jpg").read_bytes() == PHOTO
    monkeypatch.undo()
    desk.quarantine.retry(entry)
    assert (desk.root / "photo.jpg").read_bytes() == PHOTO


def test_a_linked_folder_is_not_followed(desk: Desk) -> None:
    desk.hold("real/photo.jpg")
    (desk.root / "linked").symlink_to("real")
    entry = Entry(str(desk.root), "linked/photo.jpg", State.QUARANTINED, "R", Fingerprint(1, 2, 3, 4, 5))
    with pytest.raises(OSError, match=r"."):
        desk.quarantine.take_away(entry)
    assert (desk.root / "real" / "photo.jpg").exists()


def test_what_was_moved_and_where_from_is_on_disk_before_the_name_is_gone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, fsync, synced = desk.hold(), os.fsync, []

    def note(fd: int) -> None:
        if (desk.root / "photo.jpg").exists():
            synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    desk.quarantine.take_away(entry)
    assert {"origin", "quarantine"} <= set(synced)
