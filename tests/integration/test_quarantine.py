"""Held files: moved away whole, put back as they were, never over another file, never lost."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from faceblurd.errors import FaceblurdError
from faceblurd.ledger.ledger import Ledger
from faceblurd.model import Entry, Fingerprint, Reason, State, printable
from faceblurd.publish import (
    beneath,
    contents,
)
from faceblurd.publish.quarantine import Held, Quarantine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PHOTO = b"a photo that could not be made safe" * 1000
NAMES = ["photo.jpg", "deep/er/photo.jpg", "caf\udce9.jpg"]


class Desk:
    def __init__(self, folder: Path, state: Path) -> None:
        self.root, self.folder = folder / "root", state / "quarantine"
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

    def take_away(self, name: str = "photo.jpg", content: bytes = PHOTO) -> Path:
        place = self.quarantine.take_away(self.hold(name, content))
        assert place is not None
        return place

    def held(self, name: str = "photo.jpg") -> Held:
        (one,) = [one for one in self.quarantine.held() if one.entry.path == name]
        return one

    def kept(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()] if self.folder.exists() else []


@pytest.fixture(params=["one file system", "two file systems"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    state = tmp_path / "state"
    if request.param == "two file systems":
        state = Path(tempfile.mkdtemp(dir="/dev/shm"))
        if state.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("the temporary folder is in memory, too")
    one = Desk(tmp_path, state)
    with closing(one.ledger):
        yield one
    shutil.rmtree(state, ignore_errors=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_held_file_is_moved_away_and_comes_back_as_it_was(desk: Desk, name: str) -> None:
    place = desk.take_away(name)
    assert not (desk.root / name).exists()
    assert (place / "file").read_bytes() == PHOTO
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (desk.folder, place)} == {0o700}
    desk.quarantine.retry(desk.held(name))
    back = desk.root / name
    assert back.read_bytes() == PHOTO
    assert stat.S_IMODE(back.stat().st_mode) == 0o640
    assert back.stat().st_mtime_ns == 1_500_000_000_123_456_789
    assert desk.kept() == []
    assert list(desk.root.rglob(".faceblurd-*")) == []


@pytest.mark.parametrize("name", NAMES)
def test_whoever_has_nothing_but_the_folder_can_bring_a_file_back_by_hand(desk: Desk, name: str) -> None:
    place = desk.take_away(name)
    shutil.move(place / "file", os.fsdecode((place / "origin").read_bytes()))
    assert (desk.root / name).read_bytes() == PHOTO
    text = (place / "reason").read_text()
    assert "damaged" in text
    assert "cut" in text
    assert printable(str(desk.root / name)) in text


def test_a_lost_ledger_loses_no_held_file(desk: Desk, tmp_path: Path) -> None:
    entry = desk.hold()
    desk.quarantine.take_away(entry)
    with closing(Ledger(tmp_path / "another ledger")) as ledger:
        quarantine = Quarantine(ledger, desk.folder)
        (one,) = quarantine.held()
        assert one.entry == replace(entry, updated_ns=0)
        quarantine.retry(one)
        assert (desk.root / "photo.jpg").read_bytes() == PHOTO
        found = ledger.entry(entry.root, entry.path)
        assert found is not None
        assert found.state is State.RETRY


def test_what_is_known_of_a_file_may_be_damaged_and_its_origin_still_brings_it_back(desk: Desk) -> None:
    place = desk.take_away("deep/photo.jpg")
    (place / "entry.json").write_bytes(b"{")
    (one,) = [one for one in desk.quarantine.held() if one.place is not None]
    desk.quarantine.retry(one)
    assert (desk.root / "deep/photo.jpg").read_bytes() == PHOTO


def test_a_file_that_is_to_be_tried_again_starts_from_the_beginning(desk: Desk) -> None:
    entry = desk.hold()
    desk.quarantine.retry(desk.held())
    found = desk.ledger.entry(entry.root, entry.path)
    assert found is not None
    assert (found.state, found.attempts, found.reason) == (State.RETRY, 0, None)
    assert desk.quarantine.held() == []
    assert (desk.root / "photo.jpg").read_bytes() == PHOTO


@pytest.mark.parametrize("act", ["retry", "release"])
def test_a_held_file_is_never_put_back_over_another_one(desk: Desk, act: str) -> None:
    desk.take_away()
    (desk.root / "photo.jpg").write_bytes(b"a newer upload")
    with pytest.raises(FaceblurdError, match="exists again"):
        getattr(desk.quarantine, act)(desk.held())
    assert (desk.root / "photo.jpg").read_bytes() == b"a newer upload"
    assert PHOTO in [path.read_bytes() for path in desk.kept()]
    (desk.root / "photo.jpg").unlink()
    getattr(desk.quarantine, act)(desk.held())
    assert (desk.root / "photo.jpg").read_bytes() == PHOTO
    assert list(desk.root.iterdir()) == [desk.root / "photo.jpg"]


def test_a_folder_that_is_gone_is_an_error_and_the_file_stays_in_quarantine(desk: Desk) -> None:
    desk.take_away("deep/photo.jpg")
    (desk.root / "deep").rmdir()
    with pytest.raises(FaceblurdError) as caught:
        desk.quarantine.retry(desk.held("deep/photo.jpg"))
    assert caught.value.remedy
    assert PHOTO in [path.read_bytes() for path in desk.kept()]
    assert desk.quarantine.held() != []


def test_nothing_is_put_back_through_a_link(desk: Desk) -> None:
    desk.take_away("deep/photo.jpg")
    (desk.root / "deep").rmdir()
    (desk.root.parent / "elsewhere").mkdir()
    (desk.root / "deep").symlink_to(desk.root.parent / "elsewhere")
    with pytest.raises(FaceblurdError):
        desk.quarantine.release(desk.held("deep/photo.jpg"))
    assert list((desk.root.parent / "elsewhere").iterdir()) == []
    assert PHOTO in [path.read_bytes() for path in desk.kept()]


def test_nothing_is_put_back_below_an_empty_mount_point(desk: Desk) -> None:
    place = desk.take_away()
    known = json.loads((place / "entry.json").read_text())
    known["source"][0] += 1  # as the disk that is not mounted now was called
    (place / "entry.json").write_text(json.dumps(known))
    with pytest.raises(FaceblurdError, match="mounted"):
        desk.quarantine.retry(next(one for one in desk.quarantine.held() if one.place is not None))
    assert list(desk.root.iterdir()) == []
    assert PHOTO in [path.read_bytes() for path in desk.kept()]


def test_dropping_deletes_what_was_moved_away_and_leaves_what_is_in_its_root(desk: Desk) -> None:
    desk.take_away("moved.jpg")
    desk.hold("stays.jpg")
    desk.quarantine.drop(desk.held("moved.jpg"))
    desk.quarantine.drop(desk.held("stays.jpg"))
    assert desk.kept() == []
    assert (desk.root / "stays.jpg").read_bytes() == PHOTO
    assert desk.quarantine.held() == []


# --- a newer upload


def test_an_older_upload_is_still_held_when_a_newer_one_has_its_name(desk: Desk) -> None:
    """Whatever became of the newer one: the ledger has one entry for both."""
    desk.take_away(content=b"the older one")
    newer = desk.hold(content=b"the newer one")
    assert [one.place is None for one in desk.quarantine.held()] == [False, True]
    published = replace(newer, state=State.PUBLISHED, reason=None, output_digest="D", target=newer.source)
    desk.ledger.put(published)
    (older,) = desk.quarantine.held()
    with pytest.raises(FaceblurdError, match="exists again"):
        desk.quarantine.release(older)
    desk.quarantine.drop(older)
    found = desk.ledger.entry(newer.root, newer.path)
    assert found is not None
    assert replace(found, updated_ns=0) == published
    assert (desk.root / "photo.jpg").read_bytes() == b"the newer one"


def test_a_file_that_is_not_the_one_that_was_judged_is_not_taken_away(desk: Desk) -> None:
    entry = desk.hold()
    (desk.root / "photo.jpg").unlink()
    (desk.root / "photo.jpg").write_bytes(b"a newer upload")
    assert desk.quarantine.take_away(entry) is None
    assert (desk.root / "photo.jpg").read_bytes() == b"a newer upload"
    assert desk.kept() == []


@pytest.mark.parametrize("count", [1, 2])
def test_an_upload_in_the_last_moment_keeps_its_name(desk: Desk, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """It comes between the last look and the move, `count` 2: another one between the move and the way back."""
    entry, rename, uploads = desk.hold(), os.rename, []

    def upload() -> None:
        uploads.append(f"upload {len(uploads)}".encode())
        desk.root.joinpath("new").write_bytes(uploads[-1])
        os.replace(desk.root / "new", desk.root / "photo.jpg")

    def late(source: Any, target: Any, **named: Any) -> None:
        apart = desk.folder.stat().st_dev != desk.root.stat().st_dev
        if source != "photo.jpg" or apart != str(target).startswith(".faceblurd-"):
            rename(source, target, **named)  # not the one that takes the name away
            return
        if not uploads:
            upload()
        rename(source, target, **named)
        if len(uploads) < count:
            upload()

    monkeypatch.setattr(os, "rename", late)
    with suppress(OSError):
        desk.quarantine.take_away(entry)
    assert (desk.root / "photo.jpg").read_bytes() == uploads[-1]
    everything = [path.read_bytes() for path in (*desk.kept(), *desk.root.iterdir())]
    assert all(one in everything for one in uploads)
    if count == 1:
        assert list(desk.root.iterdir()) == [desk.root / "photo.jpg"]
        assert desk.kept() == []


# --- released


def test_a_released_file_goes_back_and_is_known_as_it_lies_there(desk: Desk) -> None:
    entry = desk.hold()
    desk.quarantine.take_away(entry)
    desk.quarantine.release(desk.held())
    back = desk.root / "photo.jpg"
    assert back.read_bytes() == PHOTO
    found = desk.ledger.entry(entry.root, entry.path)
    assert found is not None
    assert (found.state, found.source) == (State.RELEASED, Fingerprint.from_stat(back.lstat()))
    assert found.input_digest == hashlib.blake2b(PHOTO, digest_size=32).hexdigest()
    assert desk.quarantine.held() == []
    assert [one.entry for one in desk.quarantine.released()] == [found]
    assert desk.kept() == []


def test_a_released_file_that_a_daemon_took_away_before_that_was_written_down_is_brought_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a second hard link nobody reads the content, so nothing tells the daemon that it is released."""
    entry = desk.hold()
    desk.quarantine.take_away(entry)
    record, taken = Quarantine._record, list[Path]()

    def late(*arguments: Any) -> None:
        if not taken:
            seen = Fingerprint.from_stat((desk.root / entry.path).lstat())
            place = desk.quarantine.take_away(replace(entry, source=seen))
            assert place is not None
            taken.append(place)
        record(*arguments)

    monkeypatch.setattr(Quarantine, "_record", late)
    desk.quarantine.release(desk.held())
    assert taken
    found = desk.ledger.entry(entry.root, entry.path)
    assert found is not None
    assert (found.state, found.source) == (State.RELEASED, Fingerprint.from_stat((desk.root / entry.path).lstat()))
    assert desk.quarantine.held() == []


def test_a_file_that_cannot_go_back_is_not_released(desk: Desk) -> None:
    entry = desk.hold()
    desk.quarantine.take_away(entry)
    (desk.root / "photo.jpg").write_bytes(b"a newer upload")
    with pytest.raises(FaceblurdError, match="exists again"):
        desk.quarantine.release(desk.held())
    found = desk.ledger.entry(entry.root, entry.path)
    assert found is not None
    assert (found.state, found.source) == (State.QUARANTINED, entry.source)
    desk.ledger.forget(entry.root, entry.path)
    with pytest.raises(FaceblurdError, match="exists again"):
        desk.quarantine.release(desk.held())
    assert desk.ledger.entry(entry.root, entry.path) is None


def test_a_file_in_its_root_is_released_where_it_is(desk: Desk) -> None:
    entry = desk.hold()
    desk.quarantine.release(desk.held())
    found = desk.ledger.entry(entry.root, entry.path)
    assert found is not None
    assert (found.state, found.source, found.reason) == (State.RELEASED, entry.source, Reason.DAMAGED)
    desk.quarantine.retry(desk.quarantine.released()[0])
    assert desk.quarantine.released() == []


@pytest.mark.parametrize("when", ["before it is looked at", "while it is looked at"])
def test_a_file_that_is_moved_away_meanwhile_is_brought_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    entry, one = desk.hold(), desk.held()
    if when == "before it is looked at":
        desk.quarantine.take_away(entry)
    else:
        digest_of = contents.digest_of

        def moved(fd: int) -> str:
            if (desk.root / "photo.jpg").exists():
                desk.quarantine.take_away(entry)
            return digest_of(fd)

        monkeypatch.setattr(contents, "digest_of", moved)
    desk.quarantine.release(one)
    assert (desk.root / "photo.jpg").read_bytes() == PHOTO
    assert desk.quarantine.held() == []
    assert [known.path for known in desk.quarantine.released()] == [f"{entry.root}/{entry.path}"]


def test_a_file_that_changed_since_it_was_held_is_not_released(desk: Desk) -> None:
    desk.hold()
    one = desk.held()
    (desk.root / "photo.jpg").write_bytes(b"nobody has looked at this")
    with pytest.raises(FaceblurdError, match="changed"):
        desk.quarantine.release(one)
    (desk.root / "photo.jpg").unlink()
    with pytest.raises(FaceblurdError, match="looked at"):
        desk.quarantine.release(one)
    assert len(desk.quarantine.held()) == 1


def test_a_decision_about_what_was_looked_at_again_meanwhile_does_not_count(desk: Desk) -> None:
    entry, one = desk.hold(), desk.held()
    clean = replace(entry, state=State.CLEAN)
    desk.ledger.put(clean)
    for act in (desk.quarantine.release, desk.quarantine.retry, desk.quarantine.drop):
        with pytest.raises(FaceblurdError, match="meanwhile"):
            act(one)
    found = desk.ledger.entry(entry.root, entry.path)
    assert found is not None
    assert found.state is State.CLEAN


# --- what may go wrong


def test_a_file_that_vanished_leaves_no_empty_place(desk: Desk) -> None:
    entry = desk.hold()
    (desk.root / "photo.jpg").unlink()
    with pytest.raises(FileNotFoundError):
        desk.quarantine.take_away(entry)
    assert desk.kept() == []
    desk.quarantine.retry(desk.held())  # and nothing is in the way of another try


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
    assert {"origin", "reason", "entry.json", "quarantine"} <= set(synced)


@pytest.fixture
def fixed() -> Iterator[Callable[[Path], None]]:
    """Make a file immutable until the test is over: not even root renames it."""
    made: list[Path] = []

    def fix(path: Path) -> None:
        done = subprocess.run(["chattr", "+i", path], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no immutable files here: {done.stderr.strip()}")
        made.append(path)

    yield fix
    for path in made:
        subprocess.run(["chattr", "-i", path], check=True)


def test_a_file_that_may_not_be_moved_stays_and_leaves_no_copy(desk: Desk, fixed: Callable[[Path], None]) -> None:
    entry = desk.hold()
    fixed(desk.root / "photo.jpg")
    entry = replace(entry, source=Fingerprint.from_stat((desk.root / "photo.jpg").lstat()))  # its ctime moved
    with pytest.raises(PermissionError):
        desk.quarantine.take_away(entry)
    assert (desk.root / "photo.jpg").read_bytes() == PHOTO
    assert list(desk.root.iterdir()) == [desk.root / "photo.jpg"]
    assert desk.kept() == []


def test_a_file_that_is_written_to_while_it_is_copied_stays(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one file system nothing is copied: what is written goes along, and comes back with it."""
    entry, fsync = desk.hold(), os.fsync

    def write_meanwhile(fd: int) -> None:
        if (desk.root / "photo.jpg").exists() and os.readlink(f"/proc/self/fd/{fd}").endswith("/partial"):
            with (desk.root / "photo.jpg").open("ab") as file:
                file.write(b"more")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", write_meanwhile)
    place = desk.quarantine.take_away(entry)
    if place is None:
        assert (desk.root / "photo.jpg").read_bytes() == PHOTO + b"more"
        assert desk.kept() == []
    else:
        assert desk.folder.stat().st_dev == desk.root.stat().st_dev
        assert (place / "file").read_bytes() == PHOTO


def test_a_quarantine_without_room_leaves_the_file_and_no_half_place(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests/fault/test_quarantine_kill.py fills a real disk; here each of the small files fails in its turn."""
    entry, fsync = desk.hold(), os.fsync
    for last in range(1, 7):
        left = [last]

        def full(fd: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(fd)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                desk.quarantine.take_away(entry)
        assert (desk.root / "photo.jpg").read_bytes() == PHOTO
        assert list(desk.folder.iterdir()) == []
    assert desk.quarantine.take_away(entry) is not None


def test_a_file_that_we_may_not_read_can_be_released_by_its_looks(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the kernel's answer is given here."""
    entry = desk.hold()
    with monkeypatch.context() as patch:
        patch.setattr(beneath, "open_file", _not_allowed)
        desk.quarantine.release(desk.held())
    found = desk.ledger.entry(entry.root, entry.path)
    assert found is not None
    assert (found.state, found.source, found.input_digest) == (State.RELEASED, entry.source, None)


def _not_allowed(*_: object) -> int:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
