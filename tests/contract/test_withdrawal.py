"""A result whose photo is gone leaves the mirror, and nothing else does."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from faceblurd.model import Entry, Fingerprint, State
from faceblurd.publish.staging import Target
from faceblurd.publish.withdrawal import Withdrawal, withdraw

if TYPE_CHECKING:
    from pathlib import Path

RESULT = b"the result"


class Desk:
    """A root without the photo any more, and a mirror with its result."""

    def __init__(self, folder: Path) -> None:
        self.root, self.mirror = folder / "in", folder / "out"
        self.root.mkdir()
        (self.mirror / "day").mkdir(parents=True)
        self.result = self.mirror / "day" / "photo.jpg"
        self.result.write_bytes(RESULT)
        self.entry = Entry(
            str(self.root), "day/photo.jpg", State.PUBLISHED, "R", Fingerprint(1, 2, 3, 4, 5),
            output_digest=hashlib.blake2b(RESULT, digest_size=32).hexdigest(),
            target=Fingerprint.from_stat(self.result.lstat()),
        )  # fmt: skip

    def withdraw(self, *, same: bool = True, device: int | None = None) -> Withdrawal:
        target = Target(str(self.mirror), "day/photo.jpg", device)
        return withdraw(self.entry, target, root_is_same=lambda: same)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_the_result_goes_with_the_folder_that_is_empty_then(desk: Desk) -> None:
    assert desk.withdraw() is Withdrawal.DONE
    assert list(desk.mirror.iterdir()) == []
    assert desk.mirror.is_dir()


def test_a_folder_with_something_else_in_it_stays(desk: Desk) -> None:
    (desk.mirror / "day" / "other.jpg").touch()
    assert desk.withdraw() is Withdrawal.DONE
    assert [path.name for path in (desk.mirror / "day").iterdir()] == ["other.jpg"]


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_whatever_has_the_photos_name_keeps_the_result(desk: Desk, what: str) -> None:
    (desk.root / "day").mkdir()
    photo = desk.root / "day" / "photo.jpg"
    {"file": photo.touch, "folder": photo.mkdir, "link": lambda: photo.symlink_to("nowhere")}[what]()
    assert desk.withdraw() is Withdrawal.STILL_THERE
    assert desk.result.read_bytes() == RESULT


def test_in_another_folder_by_the_roots_name_nothing_follows_from_what_is_missing(desk: Desk) -> None:
    assert desk.withdraw(same=False) is Withdrawal.STILL_THERE
    assert desk.result.exists()


def test_a_photo_behind_a_link_is_no_photo(desk: Desk) -> None:
    """It is not followed when photos are looked for either."""
    (desk.root / "elsewhere").mkdir()
    (desk.root / "elsewhere" / "photo.jpg").touch()
    (desk.root / "day").symlink_to("elsewhere")
    assert desk.withdraw() is Withdrawal.DONE
    assert not desk.result.exists()


@pytest.mark.parametrize("gone", ["result", "folder", "a file in the folder's place"])
def test_a_result_that_is_not_there_is_as_good_as_withdrawn(desk: Desk, gone: str) -> None:
    desk.result.unlink()
    if gone != "result":
        desk.result.parent.rmdir()
    if gone.startswith("a file"):
        desk.result.parent.write_bytes(b"somebody's")
    assert desk.withdraw() is Withdrawal.DONE
    if gone.startswith("a file"):
        assert desk.result.parent.read_bytes() == b"somebody's"


def test_what_somebody_put_into_its_place_stays(desk: Desk) -> None:
    desk.result.write_bytes(b"somebody's own")
    assert desk.withdraw() is Withdrawal.NOT_OURS
    assert desk.result.read_bytes() == b"somebody's own"


def test_the_same_bytes_are_ours_whatever_the_disk_calls_them(desk: Desk) -> None:
    """Numbers of files are others after a mount, on btrfs and FUSE."""
    desk.entry = replace(desk.entry, target=Fingerprint(1, 2, 3, 4, 5))
    assert desk.withdraw() is Withdrawal.DONE
    assert not desk.result.exists()


def test_a_mirror_that_is_not_mounted_is_an_error_and_loses_nothing(desk: Desk) -> None:
    with pytest.raises(OSError, match="not mounted"):
        desk.withdraw(device=desk.mirror.stat().st_dev + 1)
    assert desk.result.exists()
