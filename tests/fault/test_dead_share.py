"""A share that hangs, fails, or is full: its root waits, the others go on, and it comes back by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from stand_ins import install_plugin

if TYPE_CHECKING:
    from collections.abc import Callable


LONG = tuple(pytest.param(name, marks=pytest.mark.slow) for name in ("EIO", "EBUSY", "ETIMEDOUT", "ENOTCONN"))
PATIENT = """
    import faceblurd.engine.root
    from faceblurd.plugins.hookspecs import hookimpl

    faceblurd.engine.root.STALLED_SECONDS = 3600.0

    @hookimpl
    def skip_candidate(path, size):
        return None
"""


class Desk:
    """A daemon with a root (and a mirror) on a share and one on this machine's disk."""

    def __init__(self, share: Any, folder: Path, new_service: Callable[..., Any], portraits: list[bytes]) -> None:
        self.share, self.folder, self.photos = share, folder, iter(portraits)
        for path in (share.behind / "in", share.behind / "out", folder / "in", folder / "out"):
            path.mkdir()
        on_share = {"path": f"{share.mounted}/in", "mode": "mirror", "to": f"{share.mounted}/out"}
        local = {"path": str(folder / "in"), "mode": "mirror", "to": str(folder / "out")}
        self.service = new_service(on_share, local)

    def drop(self, folder: Path, name: str) -> None:
        (folder / "in" / name).write_bytes(next(self.photos))

    def is_done(self, folder: Path, name: str) -> bool:
        return (folder / "out" / name).exists()

    def wait_done(self, folder: Path, name: str, seconds: float = 300) -> None:
        self.service.wait_for(lambda: self.is_done(folder, name), seconds=seconds, what=f"{folder.name}/{name}")

    def wait_clean(self) -> None:
        """Staging files go, at the latest when the share lets them."""
        behind = self.share.behind
        self.service.wait_for(lambda: not list(behind.rglob(".faceblurd-*")), what="an end of staging files")

    def root(self) -> dict[str, Any]:
        """What status says of the root on the share."""
        roots = {root["path"]: root for root in self.service.status()["roots"]}
        return dict(roots.get(f"{self.share.mounted}/in", {"state": "", "problems": []}))

    def wait_state(self, *states: str) -> None:
        self.service.wait_for(lambda: self.root()["state"] in states, what=f"the state {states}")

    def published(self) -> list[str]:
        return sorted(Path(line["path"]).name for line in self.service.lines("file.published"))


@pytest.fixture
def desk(share: Any, tmp_path: Path, new_service: Callable[..., Any], portraits: Callable[[int], list[bytes]]) -> Desk:
    return Desk(share, tmp_path, new_service, portraits(12))


def test_a_share_that_hangs_stops_no_other_root_and_goes_on_when_it_answers(desk: Desk) -> None:
    service, behind = desk.service, desk.share.behind
    service.start()
    desk.drop(behind, "before.jpg")
    desk.wait_done(behind, "before.jpg")
    desk.share.tell("hang")
    desk.drop(behind, "meanwhile.jpg")
    service.wait_for(lambda: desk.share.hangs, what="somebody who hangs")
    for number in range(3):
        desk.drop(desk.folder, f"local{number}.jpg")
        desk.wait_done(desk.folder, f"local{number}.jpg")
    desk.wait_state("suspended")
    assert "does not answer" in desk.root()["problems"][0]
    desk.drop(desk.folder, "later.jpg")
    desk.wait_done(desk.folder, "later.jpg")
    desk.share.tell("ok")
    desk.wait_done(behind, "meanwhile.jpg")
    desk.wait_state("scanned")
    everything = ["before.jpg", "later.jpg", "local0.jpg", "local1.jpg", "local2.jpg", "meanwhile.jpg"]
    service.wait_for(lambda: len(desk.published()) >= len(everything), what="the last line")
    assert desk.published() == everything  # each of them once
    desk.wait_clean()
    assert service.lines("file.quarantined") == []
    assert service.stop() == 0


def test_no_photo_of_another_root_waits_for_a_share_that_hangs(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even until the share is given up, which here takes an hour."""
    for name, value in install_plugin(tmp_path, "patient", PATIENT).items():
        monkeypatch.setenv(name, value)
    config = json.loads(desk.service.config.read_text())
    desk.service.config.write_text(json.dumps({**config, "hooks": {"plugins": ["patient"]}}))
    desk.service.start()
    desk.drop(desk.share.behind, "before.jpg")
    desk.wait_done(desk.share.behind, "before.jpg")
    desk.share.tell("hang")
    desk.drop(desk.share.behind, "meanwhile.jpg")
    desk.service.wait_for(lambda: desk.share.hangs, what="somebody who hangs")
    for number in range(3):  # each one alone
        desk.drop(desk.folder, f"local{number}.jpg")
        desk.wait_done(desk.folder, f"local{number}.jpg")
    assert desk.service.lines("root.suspended") == []
    desk.share.tell("ok")
    desk.wait_done(desk.share.behind, "meanwhile.jpg")


@pytest.mark.parametrize("order", ["hang in", pytest.param("hang out", marks=pytest.mark.slow)])
def test_a_share_that_hangs_at_the_start_keeps_no_other_root_from_its_work(desk: Desk, order: str) -> None:
    desk.share.tell(order)
    desk.service.start()
    desk.drop(desk.folder, "local.jpg")
    desk.wait_done(desk.folder, "local.jpg")
    desk.wait_state("suspended")
    desk.drop(desk.share.behind, "photo.jpg")
    desk.share.tell("ok")
    desk.wait_done(desk.share.behind, "photo.jpg")
    assert desk.service.stop() == 0


def test_workers_that_hang_on_a_share_do_not_take_the_places_of_others(desk: Desk) -> None:
    """There is one worker: it has a photo of the share in its hands when that hangs."""
    desk.service.start()
    desk.drop(desk.share.behind, "first.jpg")
    desk.wait_done(desk.share.behind, "first.jpg")
    for number in range(6):
        desk.drop(desk.share.behind, f"p{number}.jpg")
    desk.service.wait_for(lambda: len(desk.published()) > 2, what="some of them")
    desk.share.tell("hang")
    desk.drop(desk.folder, "local.jpg")
    desk.wait_done(desk.folder, "local.jpg")
    desk.share.tell("ok")
    for number in range(6):
        desk.wait_done(desk.share.behind, f"p{number}.jpg")
    desk.service.wait_for(lambda: len(desk.published()) >= 8, what="the last line")
    assert desk.published() == sorted(["first.jpg", "local.jpg", *(f"p{number}.jpg" for number in range(6))])
    assert desk.service.lines("file.quarantined") == []


@pytest.mark.parametrize("name", ["ESTALE", *LONG])
def test_a_share_that_fails_and_returns_loses_and_holds_nothing(desk: Desk, name: str) -> None:
    service, behind = desk.service, desk.share.behind
    service.start()
    desk.drop(behind, "before.jpg")
    desk.wait_done(behind, "before.jpg")
    desk.drop(behind, "meanwhile.jpg")
    desk.share.tell(f"errno {name}")
    desk.wait_state("suspended")
    assert "cannot be reached" in desk.root()["problems"][0]
    desk.drop(desk.folder, "local.jpg")
    desk.wait_done(desk.folder, "local.jpg")
    desk.share.tell("ok")
    desk.wait_done(behind, "meanwhile.jpg")
    assert service.lines("file.quarantined") == []
    assert (behind / "out" / "before.jpg").exists()
    desk.wait_clean()


def test_a_full_share_pauses_its_root_alone_and_room_lets_it_go_on(desk: Desk) -> None:
    service, behind = desk.service, desk.share.behind
    service.start()
    desk.share.tell("errno ENOSPC")
    desk.drop(behind, "photo.jpg")
    desk.wait_state("full")
    assert "no room for results" in desk.root()["problems"][0]
    desk.drop(desk.folder, "local.jpg")
    desk.wait_done(desk.folder, "local.jpg")
    desk.share.tell("ok")
    desk.wait_done(behind, "photo.jpg")
    assert service.lines("file.quarantined") == []
    desk.wait_clean()


def test_a_share_whose_process_died_is_suspended_and_taken_up_again_when_it_is_mounted(desk: Desk) -> None:
    service, behind = desk.service, desk.share.behind
    service.start()
    desk.drop(behind, "before.jpg")
    desk.wait_done(behind, "before.jpg")
    desk.share.die()
    desk.wait_state("suspended")
    desk.share.unmount()
    desk.drop(behind, "meanwhile.jpg")
    desk.drop(desk.folder, "local.jpg")
    desk.wait_done(desk.folder, "local.jpg")
    assert not desk.share.namespace.seen(desk.share.mounted / "out").exists(), "nothing is made below the mount point"
    desk.share.mount()
    desk.wait_done(behind, "meanwhile.jpg")
    shown = {path.name for path in (behind / "out").iterdir() if not path.name.startswith(".fuse_hidden")}
    assert shown == {"before.jpg", "meanwhile.jpg"}  # the others are FUSE's, for files that were open when it died
