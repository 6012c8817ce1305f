"""Publishing: the same promises with nameless staging files, with named ones, and without RENAME_EXCHANGE."""

from __future__ import annotations

import errno
import itertools
import os
import re
import secrets
import stat
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from faceblurd.model import Fingerprint
from faceblurd.publish import (
    beneath,
    contents,
    publisher,
    renames,
)
from faceblurd.publish.publisher import Newer, Occupied, Published
from faceblurd.publish.staging import Staging, Target, open_staging
from faceblurd.rules.foreign import staging_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ORIGINAL, RESULT, UPLOAD = b"the original", b"the result, without faces", b"a newer upload"


WAYS = [
    "nameless", "nameless, no links", "nameless, no exchange, no links", "named", "named, no exchange",
    "named, no exchange, no links",
]  # fmt: skip


@pytest.fixture(params=[*WAYS, "named, no exchange, no links, EIO"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the file system lets us stage: as ext4 does, without O_TMPFILE, renameat2 (NFS), or links (exFAT).

    Some say EIO to what they cannot do, as clouds do that are mounted.
    """
    if "nameless" not in request.param:
        _refuse_nameless_files(monkeypatch)
    if "no exchange" in request.param:
        monkeypatch.setattr(renames, "renameat2", _refuse(errno.EIO if "EIO" in request.param else errno.EINVAL))
    if "no links" in request.param:
        monkeypatch.setattr(os, "link", _refuse(errno.EIO if "EIO" in request.param else errno.EPERM))
    return str(request.param)


def _refuse(number: int) -> Callable[..., None]:
    """Answer as the kernel does where a call is not possible."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def _refuse_nameless_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer as the kernel does on a file system that has no O_TMPFILE."""
    real_open = os.open

    def without_tmpfile(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)
        return real_open(path, flags, *arguments, **named)

    monkeypatch.setattr(os, "open", without_tmpfile)


@dataclass
class Desk:
    """A root with one original, and what a test does there."""

    root: Path
    sources: list[int] = field(default_factory=list)
    stagings: list[Staging] = field(default_factory=list)

    @property
    def photo(self) -> Path:
        return self.root / "in" / "photo.jpg"

    def stage(self, path: str = "in/photo.jpg", content: bytes = RESULT) -> Staging:
        """Stage a result for `path`, with the attributes of the original."""
        source = os.open(self.photo, os.O_RDONLY)
        self.sources.append(source)
        staging = open_staging(Target(str(self.root), path), token=secrets.token_hex(8), source_fd=source)
        self.stagings.append(staging)
        os.pwrite(staging.fd, content, 0)
        os.fsync(staging.fd)
        return staging

    def fingerprint(self) -> Fingerprint:
        return Fingerprint.from_stat(self.photo.lstat())

    def digest(self, path: Path) -> str:
        fd = os.open(path, os.O_RDONLY)
        self.sources.append(fd)
        return contents.digest_of(fd)

    def publish(
        self, staging: Staging, *, expected: Fingerprint | None = None, digest: str | None = None
    ) -> Published | Newer | Occupied:
        result = publisher.publish(staging, expected=expected, expected_digest=digest)
        staging.discard()
        return result

    def hidden(self) -> list[str]:
        return [path.name for path in self.root.rglob(".faceblurd-*")]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "photo.jpg").write_bytes(ORIGINAL)
    one = Desk(tmp_path)
    yield one
    for staging in one.stagings:
        staging.discard()
    for fd in one.sources:
        os.close(fd)


# --- a new target


def test_a_new_target_appears_whole_and_nothing_else_stays(way: str, desk: Desk) -> None:
    result = desk.publish(desk.stage("out/deep/er/photo.jpg"))
    published = desk.root / "out/deep/er/photo.jpg"
    assert published.read_bytes() == RESULT
    assert isinstance(result, Published)
    assert result.fingerprint == Fingerprint.from_stat(published.lstat())
    assert desk.photo.read_bytes() == ORIGINAL
    assert desk.hidden() == []


def test_a_nameless_staging_file_is_seen_by_nobody(desk: Desk) -> None:
    desk.stage("out/photo.jpg")
    assert os.listdir(desk.root / "out") == []


def test_an_occupied_target_is_never_overwritten(way: str, desk: Desk) -> None:
    staging = desk.stage("in/other.jpg")
    (desk.root / "in" / "other.jpg").write_bytes(UPLOAD)
    assert desk.publish(staging) == Occupied()
    assert (desk.root / "in" / "other.jpg").read_bytes() == UPLOAD
    assert desk.hidden() == []


@pytest.mark.parametrize("kind", ["link", "dangling link", "directory", "fifo"])
def test_a_target_that_is_no_file_is_not_replaced(way: str, desk: Desk, kind: str) -> None:
    staging, target = desk.stage("in/other.jpg"), desk.root / "in" / "other.jpg"
    makers: dict[str, Callable[[], None]] = {
        "link": lambda: target.symlink_to(desk.photo),
        "dangling link": lambda: target.symlink_to("nowhere"),
        "directory": target.mkdir,
        "fifo": lambda: os.mkfifo(target),
    }
    makers[kind]()
    before = stat.S_IFMT(target.lstat().st_mode)
    assert desk.publish(staging) == Occupied()
    assert stat.S_IFMT(target.lstat().st_mode) == before
    assert desk.photo.read_bytes() == ORIGINAL
    assert desk.hidden() == []


def test_a_discarded_staging_file_leaves_nothing(way: str, desk: Desk) -> None:
    staging = desk.stage("out/photo.jpg")
    staging.discard()
    staging.discard()
    assert os.listdir(desk.root / "out") == []


# --- an existing target


def test_the_file_that_was_read_is_replaced(way: str, desk: Desk) -> None:
    result = desk.publish(desk.stage(), expected=desk.fingerprint(), digest=desk.digest(desk.photo))
    assert desk.photo.read_bytes() == RESULT
    assert isinstance(result, Published)
    assert result.fingerprint == desk.fingerprint()
    assert os.listdir(desk.root / "in") == ["photo.jpg"]


def _overwrite(photo: Path) -> None:
    photo.write_bytes(UPLOAD)


def _rename_over(photo: Path, content: bytes = UPLOAD) -> None:
    upload = photo.with_name("upload.tmp")
    upload.write_bytes(content)
    upload.rename(photo)


def _link_over(photo: Path) -> None:
    elsewhere = photo.parent.parent / "elsewhere.jpg"
    elsewhere.write_bytes(UPLOAD)
    photo.unlink()
    photo.symlink_to(elsewhere)


@pytest.mark.parametrize("upload", [_overwrite, _rename_over, _link_over])
def test_a_newer_upload_wins(way: str, desk: Desk, upload: Callable[[Path], None]) -> None:
    expected, digest = desk.fingerprint(), desk.digest(desk.photo)
    staging = desk.stage()
    upload(desk.photo)
    before = desk.photo.lstat()
    assert desk.publish(staging, expected=expected, digest=digest) == Newer()
    assert desk.photo.read_bytes() == UPLOAD
    assert desk.photo.lstat().st_ino == before.st_ino
    assert desk.photo.lstat().st_mtime_ns == before.st_mtime_ns
    assert desk.hidden() == []


def test_other_bytes_with_the_same_size_inode_and_mtime_are_a_newer_upload(desk: Desk) -> None:
    expected, digest = desk.fingerprint(), desk.digest(desk.photo)
    staging = desk.stage()
    desk.photo.write_bytes(ORIGINAL.upper())
    os.utime(desk.photo, ns=(expected.mtime_ns, expected.mtime_ns))
    assert desk.publish(staging, expected=expected, digest=digest) == Newer()
    assert desk.photo.read_bytes() == ORIGINAL.upper()


def test_a_file_that_somebody_is_about_to_write_is_not_replaced(desk: Desk) -> None:
    expected, digest = desk.fingerprint(), desk.digest(desk.photo)
    staging = desk.stage()
    with desk.photo.open("r+b") as uploader:
        assert desk.publish(staging, expected=expected, digest=digest) == Newer()
        uploader.write(UPLOAD)
    assert desk.photo.read_bytes() == UPLOAD


def test_a_file_that_was_deleted_meanwhile_does_not_come_back(way: str, desk: Desk) -> None:
    expected, staging = desk.fingerprint(), desk.stage()
    desk.photo.unlink()
    assert desk.publish(staging, expected=expected) == Newer()
    assert os.listdir(desk.root / "in") == []


def test_a_newer_upload_that_cannot_be_read_is_put_back_and_not_deleted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for another user's file of mode 0600; root may read that, so the kernel's answer is given here."""
    expected, staging, real_open = desk.fingerprint(), desk.stage(), os.open
    _rename_over(desk.photo)

    def refuse(path: Any, *arguments: Any, **named: Any) -> int:
        if str(path).startswith(".faceblurd-"):
            raise PermissionError(errno.EACCES, "no", path)
        return real_open(path, *arguments, **named)

    monkeypatch.setattr(os, "open", refuse)
    assert desk.publish(staging, expected=expected) == Newer()
    assert desk.photo.read_bytes() == UPLOAD
    assert desk.hidden() == []


def test_an_error_after_the_exchange_deletes_neither_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, staging = desk.fingerprint(), desk.stage()

    def fail(_fd: int) -> str:
        raise OSError(errno.EIO, "disk error")

    monkeypatch.setattr(contents, "digest_of", fail)
    with pytest.raises(OSError, match="disk error"):
        publisher.publish(staging, expected=expected, expected_digest="x")
    assert staging.placed  # from here on only the intent tells what lies where
    staging.discard()
    assert ORIGINAL in {path.read_bytes() for path in (desk.root / "in").iterdir()}


def test_a_disk_that_fails_at_the_exchange_leaves_the_original(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, staging = desk.fingerprint(), desk.stage()
    monkeypatch.setattr(renames, "renameat2", _refuse(errno.EIO))
    monkeypatch.setattr(os, "rename", _refuse(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        publisher.publish(staging, expected=expected, expected_digest=None)
    assert not staging.placed
    staging.discard()
    assert desk.photo.read_bytes() == ORIGINAL
    assert desk.hidden() == []


def test_an_exchange_that_was_made_in_spite_of_an_error_is_left_to_the_recovery(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, staging, exchange = desk.fingerprint(), desk.stage(), renames.renameat2

    def lose_the_answer(*arguments: Any) -> None:
        exchange(*arguments)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(renames, "renameat2", lose_the_answer)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        publisher.publish(staging, expected=expected, expected_digest=None)
    assert staging.placed
    staging.discard()
    assert desk.photo.read_bytes() == RESULT
    assert [path.read_bytes() for path in desk.root.rglob(".faceblurd-*")] == [ORIGINAL]


def test_a_file_that_can_get_no_name_for_a_full_disk_leaves_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = desk.stage("in/new.jpg")
    monkeypatch.setattr(os, "link", _refuse(errno.ENOENT))  # as without /proc
    monkeypatch.setattr(contents, "copy_into", _refuse(errno.ENOSPC))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        publisher.publish(staging, expected=None, expected_digest=None)
    assert not staging.placed
    staging.discard()
    assert desk.hidden() == []
    assert not (desk.root / "in" / "new.jpg").exists()


def test_a_file_system_that_renames_when_it_is_told_to_exchange_has_published(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As FUSE shares do that ignore the flags."""
    _refuse_nameless_files(monkeypatch)
    expected, staging = desk.fingerprint(), desk.stage()

    def ignore_flags(fd: int, old: str, new: str, _flags: int, new_fd: int | None = None) -> None:
        os.rename(old, new, src_dir_fd=fd, dst_dir_fd=fd if new_fd is None else new_fd)

    monkeypatch.setattr(renames, "renameat2", ignore_flags)
    result = desk.publish(staging, expected=expected)
    assert result == Published(desk.fingerprint())
    assert desk.photo.read_bytes() == RESULT
    assert desk.hidden() == []


def test_without_an_exchange_the_last_look_is_right_before_the_rename(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse_nameless_files(monkeypatch)
    expected, staging = desk.fingerprint(), desk.stage()

    def upload_and_refuse(*_: object) -> None:
        _rename_over(desk.photo)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(renames, "renameat2", upload_and_refuse)
    assert desk.publish(staging, expected=expected) == Newer()
    assert desk.photo.read_bytes() == UPLOAD
    assert desk.hidden() == []


@pytest.fixture
def at_exchange(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, Callable[[], object]]], None]:
    """Have something happen right before the Nth rename, as others may at any time: 2 is the one that puts back."""

    def arm(happening: dict[int, Callable[[], object]]) -> None:
        exchange, numbers = renames.renameat2, itertools.count(1)

        def busy(*arguments: Any) -> None:
            happening.pop(next(numbers), lambda: None)()
            exchange(*arguments)

        monkeypatch.setattr(renames, "renameat2", busy)

    return arm


NEWEST = b"the newest upload"


def _everything(desk: Desk) -> dict[str, bytes]:
    """What a person finds in the folder, the token in a name left out."""
    found = {path.name: path.read_bytes() for path in (desk.root / "in").iterdir()}
    return {re.sub(r"kept-[0-9a-f]+", "kept", name): content for name, content in found.items()}


def test_of_two_uploads_during_one_publish_the_newest_wins_and_the_other_is_kept(
    desk: Desk, at_exchange: Callable[..., None]
) -> None:
    """The second one takes the name between our two exchanges. Nobody has read the first: it is not ours to remove."""
    expected, staging = desk.fingerprint(), desk.stage()
    _rename_over(desk.photo)
    at_exchange({2: lambda: _rename_over(desk.photo, NEWEST)})
    assert desk.publish(staging, expected=expected) == Newer()
    assert _everything(desk) == {"photo.jpg": NEWEST, "photo.kept.jpg": UPLOAD}


def test_an_upload_stays_when_its_name_is_moved_away_and_taken_again(
    desk: Desk, at_exchange: Callable[..., None]
) -> None:
    """Who renamed the photo meant the upload, and replaced nothing."""
    expected, staging = desk.fingerprint(), desk.stage()
    _rename_over(desk.photo)

    def move_and_upload() -> None:
        desk.photo.rename(desk.root / "in" / "renamed.jpg")
        desk.photo.write_bytes(NEWEST)

    at_exchange({2: move_and_upload})
    assert desk.publish(staging, expected=expected) == Newer()
    assert _everything(desk) == {"photo.jpg": NEWEST, "renamed.jpg": RESULT, "photo.kept.jpg": UPLOAD}


def test_an_upload_whose_free_name_is_taken_at_that_very_moment_goes_aside_for_it(
    desk: Desk, at_exchange: Callable[..., None]
) -> None:
    expected, staging = desk.fingerprint(), desk.stage()
    _rename_over(desk.photo)
    at_exchange({2: desk.photo.unlink, 3: lambda: _rename_over(desk.photo, NEWEST)})
    assert desk.publish(staging, expected=expected) == Newer()
    assert _everything(desk) == {"photo.jpg": NEWEST, "photo.kept.jpg": UPLOAD}


def test_what_is_written_into_a_result_does_not_cost_an_upload(desk: Desk, at_exchange: Callable[..., None]) -> None:
    """Somebody overwrites the photo, which is our result for a moment, while an upload that came out waits."""
    expected, staging = desk.fingerprint(), desk.stage()
    _rename_over(desk.photo)
    at_exchange({2: lambda: desk.photo.write_bytes(NEWEST)})
    assert desk.publish(staging, expected=expected) == Newer()
    assert _everything(desk) == {"photo.jpg": NEWEST, "photo.kept.jpg": UPLOAD}


def test_an_upload_that_is_still_written_keeps_a_name_whatever_happens_to_the_result(
    desk: Desk, at_exchange: Callable[..., None]
) -> None:
    """One program has the photo open, another one overwrites it between our two exchanges, the first one goes on."""
    expected, staging = desk.fingerprint(), desk.stage()
    with desk.photo.open("r+b") as writer:
        at_exchange({2: lambda: desk.photo.write_bytes(NEWEST)})
        assert desk.publish(staging, expected=expected) == Newer()
        writer.write(UPLOAD)
    assert _everything(desk) == {"photo.jpg": NEWEST, "photo.kept.jpg": UPLOAD}


def test_what_is_written_into_an_upload_while_it_is_put_back_is_the_newest(
    desk: Desk, at_exchange: Callable[..., None]
) -> None:
    """The upload is back, a second one has come out, and somebody overwrites the first before they change places."""
    expected, staging = desk.fingerprint(), desk.stage()
    _rename_over(desk.photo)
    at_exchange({2: lambda: _rename_over(desk.photo, b"a second one"), 3: lambda: desk.photo.write_bytes(NEWEST)})
    assert desk.publish(staging, expected=expected) == Newer()
    assert _everything(desk) == {"photo.jpg": NEWEST, "photo.kept.jpg": b"a second one"}


def test_an_upload_whose_name_is_moved_away_while_it_is_put_back_keeps_it(
    desk: Desk, at_exchange: Callable[..., None]
) -> None:
    """Somebody renames the photo between our two exchanges, and so takes our result for the upload."""
    expected, staging = desk.fingerprint(), desk.stage()
    _rename_over(desk.photo)
    at_exchange({2: lambda: desk.photo.rename(desk.root / "in" / "renamed.jpg")})
    assert desk.publish(staging, expected=expected) == Newer()
    assert _everything(desk) == {"photo.jpg": UPLOAD, "renamed.jpg": RESULT}


@pytest.mark.parametrize("uploads", [1, 2])
def test_an_upload_is_back_for_good_before_anybody_forgets_its_other_name(
    desk: Desk, at_exchange: Callable[..., None], monkeypatch: pytest.MonkeyPatch, uploads: int
) -> None:
    """A power cut after the intent has ended must not find it by a hidden name, nor any other file by one."""
    expected, staging, fsync, synced = desk.fingerprint(), desk.stage(), os.fsync, list[dict[str, bytes]]()
    _rename_over(desk.photo)
    at_exchange({2: lambda: _rename_over(desk.photo, NEWEST)} if uploads == 2 else {})

    def note(fd: int) -> None:
        synced.append(_everything(desk))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    assert desk.publish(staging, expected=expected) == Newer()
    assert all(names["photo.jpg"] == (UPLOAD if uploads == 1 else NEWEST) for names in synced)
    assert len(synced) == (2 if uploads == 1 else 1)  # back, and then our result's name removed; or set aside
    assert synced[-1] == _everything(desk)
    assert desk.hidden() == []


def test_an_upload_that_may_not_be_back_for_good_is_left_to_the_restart(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other name must not be removed: after a power cut the upload may lie there."""
    expected, staging = desk.fingerprint(), desk.stage()
    _rename_over(desk.photo)

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "disk error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk error"):
        publisher.publish(staging, expected=expected, expected_digest=None)
    assert staging.placed
    staging.discard()
    assert _everything(desk) == {"photo.jpg": UPLOAD, staging_name(staging.token): RESULT}


# --- names


def test_the_only_other_name_that_is_ever_used_is_the_one_that_was_written_down(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    renameat2, seen = renames.renameat2, list[list[str]]()

    def note(*arguments: Any) -> None:
        seen.append(os.listdir(desk.root / "in"))
        renameat2(*arguments)

    monkeypatch.setattr(renames, "renameat2", note)
    staging = desk.stage()
    publisher.publish(staging, expected=desk.fingerprint(), expected_digest=None)
    assert [sorted(names) for names in seen] == [[staging_name(staging.token), "photo.jpg"]]
    assert os.listdir(desk.root / "in") == ["photo.jpg"]


def test_the_directory_is_synced_after_the_name_is_there(way: str, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, synced = os.fsync, []

    def note(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            synced.append(desk.photo.read_bytes())
        fsync(fd)

    staging = desk.stage()
    monkeypatch.setattr(os, "fsync", note)
    desk.publish(staging, expected=desk.fingerprint())
    assert synced == [RESULT]


# --- attributes


def test_mode_and_extended_attributes_are_the_originals(way: str, desk: Desk) -> None:
    desk.photo.chmod(0o640)
    try:
        os.setxattr(desk.photo, "user.mime_type", b"image/jpeg")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    desk.publish(desk.stage(), expected=desk.fingerprint())
    assert stat.S_IMODE(desk.photo.stat().st_mode) == 0o640
    assert os.getxattr(desk.photo, "user.mime_type") == b"image/jpeg"


def test_a_time_that_was_set_on_the_staging_file_is_published(way: str, desk: Desk) -> None:
    staging = desk.stage()
    os.utime(staging.fd, ns=(1_234_567_890_123_456_789, 1_234_567_890_123_456_789))
    desk.publish(staging, expected=desk.fingerprint())
    assert desk.photo.stat().st_mtime_ns == 1_234_567_890_123_456_789


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_is_the_originals(way: str, desk: Desk) -> None:
    os.chown(desk.photo, 12345, 23456)
    desk.publish(desk.stage(), expected=desk.fingerprint())
    assert (desk.photo.stat().st_uid, desk.photo.stat().st_gid) == (12345, 23456)


def _acl(path: Path) -> str:
    return subprocess.run(["getfacl", "-cn", path], capture_output=True, text=True, check=True).stdout


def _set_acl(*arguments: Any) -> None:
    try:
        subprocess.run(["setfacl", *arguments], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no ACLs here: {error}")


def test_the_acl_is_the_originals(way: str, desk: Desk) -> None:
    _set_acl("-m", "u:12345:r", desk.photo)
    before = _acl(desk.photo)
    desk.publish(desk.stage(), expected=desk.fingerprint())
    assert _acl(desk.photo) == before
    assert "user:12345:r--" in before


def test_a_default_acl_of_the_folder_opens_the_result_to_nobody_new(way: str, desk: Desk) -> None:
    desk.photo.chmod(0o640)
    _set_acl("-d", "-m", "u:12345:rwx", desk.photo.parent)
    before = _acl(desk.photo)
    desk.publish(desk.stage(), expected=desk.fingerprint())
    assert _acl(desk.photo) == before


# --- only beneath the root


def test_a_linked_folder_is_not_written_into(way: str, desk: Desk) -> None:
    outside = desk.root.parent / f"{desk.root.name}-outside"
    outside.mkdir()
    (desk.root / "linked").symlink_to(outside)
    with pytest.raises(OSError, match=r"."):
        desk.stage("linked/photo.jpg")
    assert os.listdir(outside) == []


@pytest.mark.parametrize("path", ["../escaped.jpg", "in/../../escaped.jpg", "/etc/escaped.jpg", "in/./x/../y.jpg"])
def test_a_path_that_leaves_the_root_is_refused(desk: Desk, path: str) -> None:
    with pytest.raises(OSError, match=r"."):
        desk.stage(path)


def test_a_fifo_a_link_and_a_folder_are_not_opened_and_do_not_block(desk: Desk) -> None:
    os.mkfifo(desk.root / "in" / "fifo.jpg")
    (desk.root / "in" / "link.jpg").symlink_to("photo.jpg")
    (desk.root / "in" / "folder.jpg").mkdir()
    for name in ("fifo.jpg", "link.jpg", "folder.jpg"):
        with pytest.raises(OSError, match=r"."):
            os.close(beneath.open_file(str(desk.root), "in", name))


def test_an_opened_file_is_that_file(desk: Desk) -> None:
    fd = beneath.open_file(str(desk.root), "in", "photo.jpg")
    desk.sources.append(fd)
    assert os.read(fd, 99) == ORIGINAL


def test_no_descriptor_is_leaked_by_successes_and_refusals(way: str, desk: Desk) -> None:
    def once(number: int) -> None:
        desk.publish(desk.stage(f"out/{number}.jpg"))
        desk.publish(desk.stage(f"out/{number}.jpg"))
        for path in ("../x.jpg", "in/photo.jpg/x.jpg"):
            with pytest.raises(OSError, match=r"."):
                desk.stage(path)
        while desk.sources:
            os.close(desk.sources.pop())

    once(0)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(1, 6):
        once(number)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_file_open_for_writing_is_known_and_one_open_for_reading_is_not(desk: Desk) -> None:
    fd = os.open(desk.photo, os.O_RDONLY)
    desk.sources.append(fd)
    assert not contents.open_for_writing(fd)
    with desk.photo.open("r+b"):
        assert contents.open_for_writing(fd)
    assert not contents.open_for_writing(fd)


def test_what_cannot_be_read_has_a_digest_like_nothing_else(desk: Desk) -> None:
    (desk.root / "in" / "link.jpg").symlink_to("photo.jpg")
    assert contents.digest_at(Target(str(desk.root), "in/link.jpg")) == ""
    assert contents.digest_at(Target(str(desk.root), "in/absent.jpg")) is None
    assert contents.digest_at(Target(str(desk.root), "in/photo.jpg/x.jpg")) is None
    assert contents.digest_at(Target(str(desk.root), "in/photo.jpg")) == desk.digest(desk.photo)


@pytest.mark.parametrize("call", ["open", "fchown"])
def test_a_staging_file_that_cannot_be_made_whole_leaves_no_file_and_no_descriptor(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A disk without free inodes, and one where the owner has used up his quota."""
    if call == "fchown":
        os.chown(desk.photo, 4711, 4711) if os.getuid() == 0 else pytest.skip("only root gives files away")
    source, real_open = os.open(desk.photo, os.O_RDONLY), os.open
    desk.sources.append(source)
    before = len(os.listdir("/proc/self/fd"))

    def full(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE or flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return real_open(path, flags, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full if call == "open" else _refuse(errno.EDQUOT))
        with pytest.raises(OSError, match=r".") as caught:
            open_staging(Target(str(desk.root), "in/photo.jpg"), token=secrets.token_hex(8), source_fd=source)
    assert caught.value.errno == (errno.ENOSPC if call == "open" else errno.EDQUOT)
    assert len(os.listdir("/proc/self/fd")) <= before
    assert desk.hidden() == []


@pytest.mark.parametrize("group_allowed", [True, False])
def test_who_may_not_give_files_away_keeps_the_group_where_that_is_possible(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, *, group_allowed: bool
) -> None:
    if os.getuid() != 0:
        pytest.skip("the photo must be somebody else's")
    os.chown(desk.photo, 4711, 4712)
    fchown = os.fchown

    def as_others(fd: int, uid: int, gid: int) -> None:
        if uid != -1 or not group_allowed:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        fchown(fd, uid, gid)

    monkeypatch.setattr(os, "fchown", as_others)
    assert isinstance(desk.publish(desk.stage("out/photo.jpg")), Published)
    result = (desk.root / "out" / "photo.jpg").stat()
    assert (result.st_uid, result.st_gid) == (0, 4712 if group_allowed else os.getgid())


def test_attributes_that_are_the_systems_stay_behind(desk: Desk) -> None:
    os.setxattr(desk.photo, "user.mime_type", b"a party")
    try:
        os.setxattr(desk.photo, "trusted.overlay.opaque", b"y")
    except OSError as error:
        pytest.skip(f"no such attribute here: {error}")
    desk.publish(desk.stage("out/photo.jpg"))
    assert os.listxattr(desk.root / "out" / "photo.jpg") == ["user.mime_type"]


@pytest.mark.parametrize("name", ["p" * 251 + ".jpg", "é" * 125 + ".jpg", "x" * 255])
def test_an_upload_by_the_longest_of_names_can_be_set_aside(desk: Desk, name: str) -> None:
    hidden = staging_name("0011223344556677")
    (desk.root / "in" / hidden).write_bytes(UPLOAD)
    fd = os.open(desk.root / "in", os.O_RDONLY | os.O_DIRECTORY)
    renames.set_aside(fd, hidden, name)
    os.close(fd)
    (kept,) = [path for path in (desk.root / "in").iterdir() if ".kept-0011223344556677" in path.name]
    assert kept.read_bytes() == UPLOAD
    assert kept.suffix == (".jpg" if name.endswith(".jpg") else ".kept-0011223344556677")
    assert name.startswith(kept.name.partition(".kept-")[0])
