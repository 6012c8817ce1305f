"""`deletions: follow`: the mirror loses the results of photos that are gone, and never because of a folder that is."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Desk:
    """A daemon with a mirror that follows, and one with a mirror that keeps; photos lie in both."""

    def __init__(self, daemon: Callable[..., Any], folder: Path, portraits: list[bytes], **more: Any) -> None:
        self.photos, self.sources, self.out = portraits, folder / "in", folder / "out"
        self.sources.mkdir()
        config: dict[str, Any] = {"path": str(self.sources), "mode": "mirror", "to": str(self.out)}
        config |= {"quiet_seconds": 0.3, "rescan_seconds": 2, "deletions": "follow", **more}
        self.daemon = daemon(roots=[config], workers={"count": 1}, logging={"format": "json"})

    def put(self, *names: str) -> None:
        for number, name in enumerate(names):
            (self.sources / name).parent.mkdir(parents=True, exist_ok=True)
            (self.sources / name).write_bytes(self.photos[number])

    def shown(self) -> list[str]:
        return sorted(str(path.relative_to(self.out)) for path in self.out.rglob("*") if path.is_file())

    def wait_shown(self, *names: str, seconds: float = 40) -> None:
        self.daemon.wait_for(lambda: self.shown() == sorted(names), seconds=seconds, what=f"just {names}")

    def wait_scans(self, count: int) -> None:
        """Wait for whole scans from now on."""
        before = len(self.daemon.lines("root.scanned"))
        self.daemon.wait_for(lambda: len(self.daemon.lines("root.scanned")) >= before + count, what="scans")


@pytest.fixture
def desk(daemon: Callable[..., Any], tmp_path: Path, portraits: Callable[[int], list[bytes]]) -> Desk:
    return Desk(daemon, tmp_path, portraits(5))


@pytest.mark.parametrize("watch", ["inotify", "scan"])
def test_a_deleted_a_renamed_and_a_moved_photo_are_followed(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Callable[[int], list[bytes]], watch: str
) -> None:
    desk = Desk(daemon, tmp_path, portraits(5), watch=watch)
    desk.put("a/1.jpg", "a/2.jpg", "a/b/3.jpg", "4.jpg", "5.jpg")
    desk.daemon.start()
    desk.wait_shown("a/1.jpg", "a/2.jpg", "a/b/3.jpg", "4.jpg", "5.jpg")
    (desk.sources / "4.jpg").unlink()
    (desk.sources / "a" / "2.jpg").rename(desk.sources / "two.jpg")
    (desk.sources / "a" / "b").rename(desk.sources / "c")
    desk.wait_shown("a/1.jpg", "two.jpg", "c/3.jpg", "5.jpg")
    desk.daemon.wait_for(lambda: not (desk.out / "a" / "b").exists(), what="the end of the empty folder")
    shutil.rmtree(desk.sources / "a")
    desk.wait_shown("two.jpg", "c/3.jpg", "5.jpg")
    desk.daemon.wait_for(lambda: sorted(os.listdir(desk.out)) == ["5.jpg", "c", "two.jpg"], what="no empty folder")


def test_what_was_deleted_while_the_daemon_did_not_run_is_followed_at_the_next_start(desk: Desk) -> None:
    desk.put("1.jpg", "2.jpg", "3.jpg")
    desk.daemon.start()
    desk.wait_shown("1.jpg", "2.jpg", "3.jpg")
    desk.daemon.stop()
    (desk.sources / "1.jpg").unlink()
    (desk.sources / "2.jpg").rename(desk.sources / "two.jpg")
    desk.daemon.start()
    desk.wait_shown("two.jpg", "3.jpg")


@pytest.mark.parametrize("while_running", [True, False])
def test_a_root_that_was_deleted_and_made_again_keeps_what_its_mirror_has(desk: Desk, while_running: bool) -> None:
    """ext4 gives the new folder the number of the old one: it is another folder all the same."""
    desk.put("1.jpg", "2.jpg")
    desk.daemon.start()
    desk.wait_shown("1.jpg", "2.jpg")
    if not while_running:
        desk.daemon.stop()
    shutil.rmtree(desk.sources)
    desk.sources.mkdir()
    desk.put("3.jpg")
    if not while_running:
        desk.daemon.start()
    desk.wait_shown("1.jpg", "2.jpg", "3.jpg")
    desk.wait_scans(3)
    assert desk.shown() == ["1.jpg", "2.jpg", "3.jpg"]
    (desk.sources / "3.jpg").unlink()
    desk.wait_shown("1.jpg", "2.jpg")  # this one was seen in the folder that is there now


def test_an_emptied_root_is_followed(desk: Desk) -> None:
    desk.put("1.jpg", "a/2.jpg")
    desk.daemon.start()
    desk.wait_shown("1.jpg", "a/2.jpg")
    shutil.rmtree(desk.sources / "a")
    (desk.sources / "1.jpg").unlink()
    desk.wait_shown()
    assert desk.out.is_dir()


def test_a_photo_that_is_written_anew_never_leaves_the_mirror_without_it_for_long(desk: Desk) -> None:
    desk.put("1.jpg")
    desk.daemon.start()
    desk.wait_shown("1.jpg")
    (desk.sources / "1.jpg").unlink()
    (desk.sources / "1.jpg").write_bytes(desk.photos[4])  # as programs do that replace a file
    desk.daemon.wait_for(lambda: len(desk.daemon.lines("file.published")) == 2, what="the new one")
    desk.wait_scans(2)
    assert desk.shown() == ["1.jpg"]
    assert desk.daemon.lines("file.withdrawn") == []


def test_a_result_that_somebody_changed_and_a_file_of_others_stay(desk: Desk) -> None:
    desk.put("1.jpg", "2.jpg")
    desk.daemon.start()
    desk.wait_shown("1.jpg", "2.jpg")
    (desk.out / "1.jpg").write_bytes(b"edited by hand")
    (desk.out / "album.html").write_bytes(b"not ours")
    for name in ("1.jpg", "2.jpg"):
        (desk.sources / name).unlink()
    desk.daemon.wait_for(lambda: desk.daemon.lines("file.withdrawn"), what="the one")
    desk.daemon.wait_for(lambda: desk.daemon.lines("file.not_withdrawn"), what="the other")
    desk.wait_scans(2)
    assert (desk.out / "1.jpg").read_bytes() == b"edited by hand"
    assert sorted(path.name for path in desk.out.iterdir()) == ["1.jpg", "album.html"]
    assert len(desk.daemon.lines("file.not_withdrawn")) == 1


def test_keep_is_the_default_and_keeps(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Callable[[int], list[bytes]]
) -> None:
    desk = Desk(daemon, tmp_path, portraits(2), deletions="keep")
    desk.put("1.jpg", "2.jpg")
    desk.daemon.start()
    desk.wait_shown("1.jpg", "2.jpg")
    (desk.sources / "1.jpg").unlink()
    (desk.sources / "2.jpg").rename(desk.sources / "two.jpg")
    desk.wait_shown("1.jpg", "2.jpg", "two.jpg")
    desk.wait_scans(2)
    assert desk.shown() == ["1.jpg", "2.jpg", "two.jpg"]


def test_a_single_scan_follows_too_and_says_when_a_root_is_away(desk: Desk) -> None:
    desk.put("1.jpg", "a/2.jpg", "3.jpg")
    scan = ["scan", "--config", str(desk.daemon.config_path)]
    assert desk.daemon.run(*scan).returncode == 0
    assert desk.shown() == ["1.jpg", "3.jpg", "a/2.jpg"]
    (desk.sources / "a" / "2.jpg").unlink()
    (desk.sources / "1.jpg").rename(desk.sources / "one.jpg")
    assert desk.daemon.run(*scan).returncode == 0
    assert desk.shown() == ["3.jpg", "one.jpg"]
    desk.sources.rename(desk.sources.with_name("away"))
    done = desk.daemon.run(*scan)
    assert done.returncode == 1
    assert "root.suspended" in done.stderr
    assert desk.shown() == ["3.jpg", "one.jpg"]


def test_a_rename_by_case_keeps_the_one_result_that_a_mirror_without_case_has(
    new_share: Callable[..., Any], new_service: Callable[..., Any], tmp_path: Path,
    portraits: Callable[[int], list[bytes]],
) -> None:  # fmt: skip
    share, sources = new_share("ignore-case"), tmp_path / "in"
    sources.mkdir()
    (share.behind / "out").mkdir()
    (sources / "IMG.JPG").write_bytes(portraits(1)[0])
    root = {"path": str(sources), "mode": "mirror", "to": f"{share.mounted}/out", "deletions": "follow"}
    service = new_service(root)
    service.start()
    service.wait_for(lambda: len(service.lines("file.published")) == 1, what="the photo")
    (sources / "IMG.JPG").rename(sources / "img.jpg")
    service.wait_for(lambda: len(service.lines("file.published")) == 2, what="the renamed photo")
    before = len(service.lines("root.scanned"))
    service.wait_for(lambda: len(service.lines("root.scanned")) >= before + 3, what="scans")
    assert [path.name.lower() for path in (share.behind / "out").iterdir()] == ["img.jpg"]
    assert service.lines("file.quarantined") == []
