"""Resource forks beside a photo, on real files: what is removed, what is left, what is said."""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Any

import pytest
from faceblurd.intake.errands import AtOnce
from faceblurd.pipeline.companions import Companions

from faceblurd.intake.scanner import Found
from faceblurd.model import Entry, Fingerprint, State
from faceblurd.outlet import companions

if TYPE_CHECKING:
    from pathlib import Path

FORK = struct.pack(">4sI16xHIII", b"\0\5\x16\7", 0x20000, 1, 2, 38, 5000) + b"\xff\xd8\xff" + bytes(4997)
FLAGS = struct.pack(">4sI16xHIII", b"\0\5\x16\7", 0x20000, 1, 9, 38, 32) + bytes(32)


def test_a_photos_fork_has_one_of_two_names() -> None:
    assert companions.beside("a/x.jpg") == ("a/._x.jpg", "a/.AppleDouble/x.jpg")
    assert companions.beside("x.jpg") == ("._x.jpg", ".AppleDouble/x.jpg")


def test_only_a_fork_with_more_than_flags_is_removed(tmp_path: Path) -> None:
    names = {"._fork.jpg": FORK, "._flags.jpg": FLAGS, "._photo.jpg": b"\xff\xd8\xff" + bytes(50), "._empty.jpg": b""}
    for name, content in names.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "elsewhere").write_bytes(FORK)
    (tmp_path / "._link.jpg").symlink_to("elsewhere")
    (tmp_path / "._folder.jpg").mkdir()
    assert companions.clear(str(tmp_path), [*names, "._gone.jpg", "no/._folder.jpg"]) == ["._fork.jpg"]
    for name in ("._link.jpg", "._folder.jpg"):
        with pytest.raises(OSError, match=r"."):
            companions.clear(str(tmp_path), [name])
    assert set(os.listdir(tmp_path)) == {*names, "elsewhere", "._link.jpg", "._folder.jpg"} - {"._fork.jpg"}


class Desk:
    """What the pipeline gives, as far as it is used here."""

    def __init__(self, root: Path, state: State | None) -> None:
        self.root, self.state, self.told = root, state, list[str]()
        self.errands, self.ledger, self.path, self.selection = AtOnce(), self, str(root), self
        self.in_place = True

    def entry(self, root: str, path: str) -> Entry | None:
        return None if self.state is None else Entry(root, path, self.state, "", Fingerprint(0, 0, 0, 0, 0))

    def tell(self, event: str, **_: Any) -> None:
        self.told.append(event)

    def scan(self, one: Companions) -> None:
        st = (self.root / "._x.jpg").lstat()
        one.found(self, Found("._x.jpg", Fingerprint.from_stat(st), "x.jpg"))  # type: ignore[arg-type]  # a stand-in


@pytest.mark.parametrize("state", [None, State.QUARANTINED, State.RETRY])
def test_it_stays_as_long_as_its_photo_is_not_done(tmp_path: Path, state: State | None) -> None:
    (tmp_path / "._x.jpg").write_bytes(FORK)
    desk = Desk(tmp_path, state)
    desk.scan(Companions(desk))  # type: ignore[arg-type]  # a stand-in
    assert (tmp_path / "._x.jpg").exists()


def test_one_that_cannot_be_removed_is_said_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "._x.jpg").write_bytes(FORK)
    desk = Desk(tmp_path, State.CLEAN)
    one = Companions(desk)  # type: ignore[arg-type]  # a stand-in

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "no")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        desk.scan(one)
        desk.scan(one)
    desk.scan(one)
    assert desk.told == ["file.companion_stays", "file.companion_removed"]
    assert not (tmp_path / "._x.jpg").exists()
