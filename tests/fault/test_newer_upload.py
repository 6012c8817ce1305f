"""Somebody overwrites, replaces, deletes or renames a photo while a worker has it: the newest wins, nothing is lost.

A plugin holds the worker up right after it has read the photo, so what happens then happens between the read and the
rename, as often as the test is run.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from stand_ins import install_plugin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PLUGIN = """
    import os, time
    from faceblurd.plugins.hookspecs import hookimpl

    files = {}

    @hookimpl
    def open_detectors(recipe):  # before the sandbox, in which nothing can be opened
        for name in ("HELD_UP", "GO_ON"):
            files[name] = os.open(os.environ[name], os.O_RDWR | os.O_APPEND)
        return []

    @hookimpl
    def add_regions(image, path):
        os.write(files["HELD_UP"], b"x")
        while os.fstat(files["GO_ON"]).st_size < os.fstat(files["HELD_UP"]).st_size:
            time.sleep(0.01)
        return []
"""


class Desk:
    """A daemon whose worker stops in front of every photo, until it is told to go on."""

    def __init__(self, make: Callable[..., Any], folder: Path, mode: str) -> None:
        self.inbox = folder / "in"
        self.inbox.mkdir()
        self.results = folder / "out" if mode == "mirror" else self.inbox
        self._held_up, self._go_on, self._times = folder / "held_up", folder / "go_on", 0
        for file in (self._held_up, self._go_on):
            file.touch()
        env = {**install_plugin(folder, "slow", PLUGIN), "HELD_UP": str(self._held_up), "GO_ON": str(self._go_on)}
        target = {"to": str(self.results)} if mode == "mirror" else {}
        self.daemon = make(
            env=env, workers={"count": 1}, hooks={"plugins": ["slow"]},
            roots=[{"path": str(self.inbox), "mode": mode, "quiet_seconds": 0.2, "rescan_seconds": 1, **target}],
        )  # fmt: skip
        self.daemon.start()

    def take_in_hand(self) -> None:
        """Wait until the worker has read the next photo."""
        self._times += 1
        self.daemon.wait_for(lambda: self._held_up.stat().st_size == self._times, what="the worker")

    def go_on(self) -> None:
        """Let the worker finish this photo."""
        with self._go_on.open("ab") as file:
            file.write(b"x")

    def rest(self) -> None:
        """Wait for a scan that begins from now on, and finds nothing to do."""
        before = len(self.daemon.lines("root.scanned"))
        self.daemon.wait_for(lambda: len(self.daemon.lines("root.scanned")) >= before + 2, what="rescans")
        assert self._held_up.stat().st_size == self._times, "a photo was worked on once more"

    def published(self) -> list[str]:
        return [os.path.basename(line["path"]) for line in self.daemon.lines("file.published")]

    def shown(self) -> set[str]:
        """Every name that the results have, hidden ones too."""
        return {path.name for path in self.results.iterdir()} if self.results.exists() else set()


@pytest.fixture(params=["mirror", "in_place"])
def desk(request: pytest.FixtureRequest, daemon: Callable[..., Any], tmp_path: Path) -> Desk:
    return Desk(daemon, tmp_path, request.param)


def shows(result: bytes, photo: bytes) -> bool:
    """Tell whether a result was made of this photo: no two of `portraits` have the same number at their lower edge."""
    result_px, photo_px = (cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR) for one in (result, photo))
    return float(np.abs(result_px[200:].astype(int) - photo_px[200:]).mean()) < 2


def overwrite(path: Path, photo: bytes) -> None:
    path.write_bytes(photo)


def overwrite_slowly(path: Path, photo: bytes) -> None:
    with path.open("r+b", buffering=0) as file:
        for at in range(0, len(photo), 1000):
            file.write(photo[at : at + 1000])
        file.truncate(len(photo))


def rename_over(path: Path, photo: bytes) -> None:
    new = path.with_name("upload.tmp")
    new.write_bytes(photo)
    new.replace(path)


def delete_and_create(path: Path, photo: bytes) -> None:
    path.unlink()
    path.write_bytes(photo)


def overwrite_with_the_old_time(path: Path, photo: bytes) -> None:
    before = path.stat()
    path.write_bytes(photo)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


UPLOADS = (overwrite, overwrite_slowly, overwrite_with_the_old_time, rename_over, delete_and_create)


def test_a_newer_upload_during_the_work_is_the_one_that_is_published(
    desk: Desk, portraits: Any, face_is_hidden: Any
) -> None:
    older, newer, newest = portraits(3)
    assert shows(newest, newest)
    assert not shows(older, newest)
    for upload in UPLOADS:
        name, before = f"{upload.__name__}.jpg", desk.published()
        photo = desk.inbox / name
        photo.write_bytes(older)
        desk.take_in_hand()
        upload(photo, newer)
        desk.go_on()
        desk.take_in_hand()  # the newer one, of which there was no event since
        assert desk.published() == before
        assert desk.results == desk.inbox or name not in desk.shown()
        upload(photo, newest)
        desk.go_on()
        desk.take_in_hand()
        desk.go_on()
        desk.daemon.wait_for(lambda before=before: desk.published() != before, what="the newest")
    desk.rest()
    names = [f"{upload.__name__}.jpg" for upload in UPLOADS]
    assert desk.published() == names
    assert desk.shown() == set(names)
    for name in names:
        assert shows((desk.results / name).read_bytes(), newest), name
        assert face_is_hidden((desk.results / name).read_bytes()), name
        assert desk.results == desk.inbox or (desk.inbox / name).read_bytes() == newest
    assert desk.daemon.lines("file.quarantined") == []


def test_a_newer_upload_over_a_published_photo_replaces_the_older_result(
    desk: Desk, portraits: Any, face_is_hidden: Any
) -> None:
    first, second, third = portraits(3)
    photo, result = desk.inbox / "a.jpg", desk.results / "a.jpg"
    for upload in (first, second):
        before = len(desk.published())
        photo.write_bytes(upload)
        desk.take_in_hand()
        if upload is second:
            photo.write_bytes(third)
            desk.go_on()
            desk.take_in_hand()
            assert desk.results == desk.inbox or shows(result.read_bytes(), first)
        desk.go_on()
        desk.daemon.wait_for(lambda before=before: len(desk.published()) > before, what="a result")
    desk.rest()
    assert desk.published() == ["a.jpg", "a.jpg"]
    assert shows(result.read_bytes(), third)
    assert face_is_hidden(result.read_bytes())
    assert desk.shown() == {"a.jpg"}


def test_a_photo_that_is_deleted_during_the_work_does_not_come_back(desk: Desk, portraits: Any) -> None:
    photo, other = portraits(2)
    (desk.inbox / "a.jpg").write_bytes(photo)
    desk.take_in_hand()
    (desk.inbox / "a.jpg").unlink()
    desk.go_on()
    (desk.inbox / "b.jpg").write_bytes(other)
    desk.take_in_hand()
    desk.go_on()
    desk.daemon.wait_for(desk.published, what="the other photo")
    desk.rest()
    assert desk.published() == ["b.jpg"]
    assert desk.shown() == {"b.jpg"}
    assert {path.name for path in desk.inbox.iterdir()} == {"b.jpg"}


def test_a_photo_that_is_renamed_during_the_work_is_published_by_its_new_name_only(
    desk: Desk, portraits: Any, face_is_hidden: Any
) -> None:
    (desk.inbox / "folder").mkdir()
    names = ["b.jpg", "folder/c.jpg"]
    for name, photo in zip(names, portraits(2), strict=True):
        before = desk.published()
        (desk.inbox / "a.jpg").write_bytes(photo)
        desk.take_in_hand()
        (desk.inbox / "a.jpg").rename(desk.inbox / name)
        desk.go_on()
        desk.take_in_hand()
        desk.go_on()
        desk.daemon.wait_for(lambda before=before: desk.published() != before, what="the renamed photo")
    desk.rest()
    assert desk.published() == ["b.jpg", "c.jpg"]
    for top in (desk.inbox, desk.results):
        assert {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()} == set(names)
    for name in names:
        assert face_is_hidden((desk.results / name).read_bytes())
