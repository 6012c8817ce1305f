"""What a soak expects of a mirror that keeps results, and what its writers know of their own photos."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from soak_check import Checker
from soak_writers import World, Writer

if TYPE_CHECKING:
    from pathlib import Path


class Scene:
    """A mirrored root with one writer, and what a daemon would have put into the mirror."""

    def __init__(self, top: Path) -> None:
        self.top, self.world = top, World(top / "elsewhere")
        self.writer = Writer(self.world, top / "mirrored" / "w1", 1)
        self.path = top / "mirrored" / "w1" / "0" / "p1.jpg"
        self.result = top / "out" / "w1" / "0" / "p1.jpg"
        self.result.parent.mkdir(parents=True)

    def publish(self, *, hidden: bool = True) -> None:
        """Put what lies there now into the mirror, with a flat face."""
        content = self.path.read_bytes()
        if hidden:
            picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None
            picture[:220] = 128
            content = cv2.imencode(".jpg", picture)[1].tobytes()
        self.result.write_bytes(content)

    def checker(self, *, follow: bool = False) -> Checker:
        return Checker(self.world, self.top, follow=follow)

    def kept(self, *, held: bool = True, follow: bool = False) -> list[Path]:
        return self.checker(follow=follow).kept({str(self.path)} if held else set())


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_result_whose_photo_was_deleted_before_another_got_its_name_is_kept(scene: Scene) -> None:
    scene.writer.copy(scene.path)
    scene.publish()
    scene.writer.delete(scene.path)
    scene.writer.copy(scene.path)
    assert scene.kept() == [scene.result]
    assert scene.checker().wrong()["stale"], "it is not what should be there at the end, all the same"


def test_so_is_one_whose_photo_got_another_name(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.writer.copy(scene.path)
    scene.publish()
    monkeypatch.setattr(scene.writer, "_path", lambda: scene.path.with_name("p2.jpg"))
    scene.writer.rename(scene.path)
    scene.writer.copy(scene.path)
    assert scene.kept() == [scene.result]


def test_one_whose_photo_was_overwritten_is_stale_whatever_the_daemon_says(scene: Scene) -> None:
    scene.writer.copy(scene.path)
    scene.publish()
    scene.writer.move(scene.path)
    assert scene.kept() == []
    scene.writer.delete(scene.path)
    scene.writer.copy(scene.path)
    scene.publish()
    scene.writer.edit(scene.path)
    assert scene.kept() == [], "what it shows came after the name was free"


@pytest.mark.parametrize(("held", "follow", "hidden"), [(False, False, True), (True, True, True), (True, False, False)])
def test_none_is_kept_that_the_daemon_does_not_name_or_should_have_removed_or_that_shows_a_face(
    scene: Scene, *, held: bool, follow: bool, hidden: bool
) -> None:
    scene.writer.copy(scene.path)
    scene.publish(hidden=hidden)
    scene.writer.delete(scene.path)
    scene.writer.copy(scene.path)
    assert scene.kept(held=held, follow=follow) == []


def test_a_writer_whose_disk_came_back_does_not_take_its_whole_photo_for_the_broken_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(_path: Path, _content: bytes) -> int:
        monkeypatch.undo()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(scene.path), "write_bytes", no_room)
    with pytest.raises(OSError, match="No space"):
        scene.writer.copy(scene.path)
    assert scene.writer.copy(scene.path)
    scene.writer._clean()
    assert scene.path.exists()
    assert scene.path in scene.world.newest
