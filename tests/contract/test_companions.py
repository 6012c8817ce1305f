"""Resource forks beside a photo, on real files: what is removed, what is left, what is said."""

from __future__ import annotations

import asyncio
import errno
import os
import struct
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from stand_in_pool import StandInPool, services

from faceblurd.engine.intake import Intake
from faceblurd.engine.model import Log, RootPlan
from faceblurd.engine.thread import Inline
from faceblurd.ledger.ledger import Ledger
from faceblurd.model import BlurSpec, DetectionSpec, Entry, Fingerprint, Mode, Recipe, State
from faceblurd.publish import withdrawal
from faceblurd.watch.scan import Found, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    At = Callable[..., None]

FORK = struct.pack(">4sI16xHIII", b"\0\5\x16\7", 0x20000, 1, 2, 38, 5000) + b"\xff\xd8\xff" + bytes(4997)
FLAGS = struct.pack(">4sI16xHIII", b"\0\5\x16\7", 0x20000, 1, 9, 38, 32) + bytes(32)


def test_a_photos_fork_has_one_of_two_names() -> None:
    assert withdrawal.beside("a/x.jpg") == ("a/._x.jpg", "a/.AppleDouble/x.jpg")
    assert withdrawal.beside("x.jpg") == ("._x.jpg", ".AppleDouble/x.jpg")


def test_only_a_fork_with_more_than_flags_is_removed(tmp_path: Path) -> None:
    names = {"._fork.jpg": FORK, "._flags.jpg": FLAGS, "._photo.jpg": b"\xff\xd8\xff" + bytes(50), "._empty.jpg": b""}
    for name, content in names.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "elsewhere").write_bytes(FORK)
    (tmp_path / "._link.jpg").symlink_to("elsewhere")
    (tmp_path / "._folder.jpg").mkdir()
    assert withdrawal.clear(str(tmp_path), [*names, "._gone.jpg", "no/._folder.jpg"]) == ["._fork.jpg"]
    for name in ("._link.jpg", "._folder.jpg"):
        with pytest.raises(OSError, match=r"."):
            withdrawal.clear(str(tmp_path), [name])
    assert set(os.listdir(tmp_path)) == {*names, "elsewhere", "._link.jpg", "._folder.jpg"} - {"._fork.jpg"}


class Desk:
    """A root with a photo's fork, and a ledger that knows the photo's state."""

    def __init__(self, folder: Path, ledger: Ledger, state: State | None, *, in_place: bool) -> None:
        self.folder, self.told = folder, list[str]()
        mode, selection = Mode.IN_PLACE if in_place else Mode.MIRROR, Selection(("*.jpg",), (), in_place=in_place)
        plan = RootPlan(
            str(folder), mode, str(folder), Recipe("test", DetectionSpec((), None), BlurSpec()), selection,
            quiet_seconds=1e9, settle_max_seconds=60.0, hard_links_ok=False, keep_mtime=False, replace_others=False,
            take_away_held=False,
        )  # fmt: skip
        log = Log(lambda _report: None, lambda event, **_: self.told.append(event))
        self.root = Intake(plan, services(ledger, StandInPool(), folder, [plan], log=log), Inline())
        if state is not None:
            ledger.put(Entry(plan.path, "x.jpg", state, "", Fingerprint(0, 0, 0, 0, 0)))
        (folder / "._x.jpg").write_bytes(FORK)

    @property
    def fork_is_there(self) -> bool:
        return (self.folder / "._x.jpg").exists()

    async def scan(self) -> None:
        fingerprint = Fingerprint.from_stat((self.folder / "._x.jpg").lstat())
        await self.root.found(Found("._x.jpg", fingerprint, "x.jpg"))


@pytest.fixture
def at(tmp_path: Path) -> At:
    """Run a test's coroutine with a desk."""

    def run(story: Callable[[Desk], Coroutine[Any, Any, None]], state: State | None, *, in_place: bool = True) -> None:
        with closing(Ledger(None)) as ledger:

            async def main() -> None:
                await story(Desk(tmp_path, ledger, state, in_place=in_place))

            asyncio.run(main())

    return run


@pytest.mark.parametrize("state", [None, State.QUARANTINED, State.RETRY])
def test_it_stays_as_long_as_its_photo_is_not_done(at: At, state: State | None) -> None:
    async def story(desk: Desk) -> None:
        await desk.scan()
        assert desk.fork_is_there
        assert desk.root.photos == {}, "it is no photo"

    at(story, state)


def test_one_that_cannot_be_removed_is_said_once_and_tried_again(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "no")

    async def story(desk: Desk) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", refuse)
            await desk.scan()
            await desk.scan()
        await desk.scan()
        assert desk.told == ["file.companion_stays", "file.companion_removed"]
        assert not desk.fork_is_there

    at(story, State.CLEAN)


def test_one_that_stays_is_looked_into_once_until_it_changes(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    clear = withdrawal.clear
    monkeypatch.setattr(withdrawal, "clear", lambda root, paths: (looks.extend(paths), clear(root, paths))[1])

    async def story(desk: Desk) -> None:
        (desk.folder / "._x.jpg").write_bytes(FLAGS)
        await desk.scan()
        await desk.scan()
        assert looks == ["._x.jpg"]
        assert desk.fork_is_there
        (desk.folder / "._x.jpg").write_bytes(FORK)
        await desk.scan()
        assert not desk.fork_is_there

    at(story, State.CLEAN)


@pytest.mark.parametrize("state", [State.PUBLISHED, State.CLEAN])
def test_it_goes_when_its_photo_is_done_in_place(at: At, state: State) -> None:
    async def story(desk: Desk) -> None:
        entry = desk.root.services.ledger.entry(desk.root.path, "x.jpg")
        assert entry is not None
        await desk.root.aftermath.of(replace(entry, state=State.RETRY))
        assert desk.fork_is_there
        await desk.root.aftermath.of(entry)
        assert not desk.fork_is_there
        assert desk.told == ["file.companion_removed"]

    at(story, state)


def test_beside_an_original_that_stays_it_stays(at: At) -> None:
    async def story(desk: Desk) -> None:
        entry = desk.root.services.ledger.entry(desk.root.path, "x.jpg")
        assert entry is not None
        await desk.root.aftermath.of(entry)
        assert desk.fork_is_there

    at(story, State.PUBLISHED, in_place=False)
