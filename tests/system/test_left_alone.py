"""What is looked at and what is left alone, with the installed command; and that it says so."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# So that permissions count also where the tests run as root.
ORDINARY = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


class Place:
    """An inbox with one small photo to put into it, its mirror, and the command."""

    def __init__(self, folder: Path, photo: bytes, command: Callable[..., Any], detectors: dict[str, Any]) -> None:
        self.folder, self._photo, self._command, self._detectors = folder, photo, command, detectors
        self.inbox, self.out, self.config = folder / "in", folder / "out", folder / "config.yaml"
        self.inbox.mkdir()

    def put(self, *names: str) -> None:
        for name in names:
            (self.inbox / name).parent.mkdir(parents=True, exist_ok=True)
            (self.inbox / name).write_bytes(self._photo)

    def configure(self, mode: str = "mirror", **settings: Any) -> None:
        root = {"path": str(self.inbox), "mode": mode, "quiet_seconds": 0.1, **settings}
        if mode == "mirror":
            root["to"] = str(self.out)
        workers = {"count": 1}
        content = {"state_dir": str(self.folder / "state"), **self._detectors, "workers": workers, "roots": [root]}
        self.config.write_text(json.dumps(content), encoding="utf-8")

    def run(self, *arguments: str, around: list[str] | None = None) -> Any:
        return self._command(*arguments, around=around or [])

    def scan(self, **options: Any) -> Any:
        return self.run("scan", "--config", str(self.config), **options)

    def explain(self, *paths: Path) -> list[dict[str, Any]]:
        done = self.run("explain", "--config", str(self.config), "--json", *map(str, paths))
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def published(self) -> set[str]:
        return {str(path.relative_to(self.out)) for path in self.out.rglob("*") if path.is_file()}

    def changed(self, name: str) -> bool:
        return (self.inbox / name).read_bytes() != self._photo


@pytest.fixture
def place(tmp_path: Path, portraits: Any, command: Callable[..., Any], cheapest: dict[str, Any]) -> Place:
    return Place(tmp_path, portraits(1)[0], command, cheapest)


def _event(done: Any, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def test_photos_of_any_name_come_out_and_what_is_left_alone_is_counted_by_reason(place: Place) -> None:
    odd = {"x.jpg ", "x.jpg_large", "IMG_0001", "x.jpg~", "album/x.THM"}
    place.put(*odd, ".recycle/r.jpg", ".album/h.jpg", "drafts/d.jpg")
    (place.inbox / "README").write_text("BMW and other cars")
    (place.inbox / "notes.txt").write_text("notes")
    (place.inbox / "raw").write_bytes(b"FUJIFILMCCD-RAW 0201" + bytes(600))
    (place.inbox / "link.jpg").symlink_to("x.jpg~")
    place.configure(exclude=["drafts/**"])
    done = place.scan()
    assert "1 excluded by the config (drafts/d.jpg)" in place.run("status", "--config", str(place.config)).stdout
    assert done.returncode == 3  # the raw one is held
    assert [line["path"] for line in _event(done, "file.quarantined")] == [str(place.inbox / "raw")]
    assert place.published() == odd
    (scanned,) = _event(done, "root.scanned")
    assert scanned["left_alone"] == dict.fromkeys(
        ("excluded", "hidden_folder", "no_photo", "not_regular", "other_kind", "server_files"), 1
    )
    expected = {
        "IMG_0001": ("published", ""), ".recycle/r.jpg": ("left_alone", "server_files"),
        ".album/h.jpg": ("left_alone", "hidden_folder"), "drafts/d.jpg": ("left_alone", "excluded"),
        "README": ("left_alone", "no_photo"), "notes.txt": ("left_alone", "other_kind"),
        "link.jpg": ("left_alone", "not_regular"), "raw": ("quarantined", "unsupported"), "gone.jpg": ("gone", ""),
    }  # fmt: skip
    answers = place.explain(*(place.inbox / name for name in expected), place.out / "IMG_0001", place.folder)
    assert [(one["outcome"], one["why"]) for one in answers[:-2]] == list(expected.values())
    assert (answers[-2]["outcome"], answers[-2]["output"]) == ("published", str(place.out / "IMG_0001"))
    assert answers[-1]["outcome"] == "outside"


def test_a_photo_that_nobody_has_looked_at_yet_waits(place: Place) -> None:
    place.put("x.jpg")
    place.configure()
    assert place.explain(place.inbox / "x.jpg")[0]["outcome"] == "waiting"


def test_a_photo_of_an_odd_name_that_arrives_is_seen_at_once(
    daemon: Any, cheapest: Any, tmp_path: Path, portraits: Any
) -> None:
    (tmp_path / "in").mkdir()
    root = {"path": str(tmp_path / "in"), "mode": "mirror", "to": str(tmp_path / "out"), "quiet_seconds": 0.2}
    one = daemon(roots=[{**root, "rescan_seconds": 3600}], **cheapest, workers={"count": 1})
    one.start()
    one.wait_for(lambda: one.lines("root.scanned"), what="the first scan")
    (tmp_path / "in" / "README").write_text("no photo")
    (tmp_path / "in" / "IMG_0001").write_bytes(portraits(1)[0])
    one.wait_for((tmp_path / "out" / "IMG_0001").exists, what="the photo")
    assert os.listdir(tmp_path / "out") == ["IMG_0001"]


def test_hidden_folders_and_recycle_bins_are_looked_into_in_place_but_no_snapshots(place: Place) -> None:
    place.put(*(names := (".album/h.jpg", ".recycle/r.jpg", ".snapshot/s.jpg")))
    place.configure("in_place")
    assert place.scan().returncode == 0
    assert [place.changed(name) for name in names] == [True, True, False]


@pytest.mark.slow
def test_excludes_that_match_nothing_are_named_and_results_of_what_is_excluded_later_are(place: Place) -> None:
    place.put("drafts/d.jpg", "x.jpg")
    place.configure(exclude=["draft/**"])
    checked = place.run("check-config", str(place.config))
    assert checked.returncode == 0
    assert "draft/**" in checked.stderr
    done = place.scan()
    assert [line["detail"] for line in _event(done, "root.exclude_unmatched")] == [["draft/**"]]
    assert place.published() == {"drafts/d.jpg", "x.jpg"}
    place.configure(exclude=["drafts/**"])
    done = place.scan()
    assert _event(done, "root.exclude_unmatched") == []
    assert [line["detail"] for line in _event(done, "root.excluded_results")] == [["drafts/d.jpg"]]
    (answer,) = place.explain(place.inbox / "drafts" / "d.jpg")
    assert any("remove it by hand" in line for line in answer["says"])


@pytest.mark.skipif(bool(ORDINARY) and shutil.which("setpriv") is None, reason="needs setpriv")
def test_a_folder_that_cannot_be_read_is_named_and_the_rest_is_done(place: Place) -> None:
    place.put("x.jpg", "locked/y.jpg")
    (place.inbox / "locked").chmod(0)
    place.configure()
    done = place.scan(around=ORDINARY)
    assert done.returncode == 1
    assert [line["detail"] for line in _event(done, "root.unread")] == ["locked: Permission denied"]
    assert place.published() == {"x.jpg"}
    once = place.run("blur", str(place.inbox), "--to", str(place.folder / "out2"), around=ORDINARY)
    assert once.returncode == 1
    assert "locked" in once.stderr
    (place.inbox / "locked").chmod(0o755)


def test_so_is_one_on_another_file_system(place: Place) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts")
    place.put("x.jpg")
    (place.inbox / "disk").mkdir()
    place.configure()
    mount = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none {place.inbox}/disk && exec "$@"', "sh"]
    if subprocess.run([*mount, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("mounts are not possible here")
    done = place.scan(around=mount)
    assert done.returncode == 1
    assert [line["detail"] for line in _event(done, "root.unread")] == ["disk: another file system, not looked into"]


# --- resource forks


def _apple_double(number: int, content: bytes) -> bytes:
    return struct.pack(">4sI16xHIII", b"\0\5\x16\7", 0x20000, 1, number, 38, len(content)) + content


def test_in_place_the_resource_fork_of_a_photo_goes_once_it_is_done(place: Place, portraits: Any) -> None:
    place.put("x.jpg", "y.jpg", "sub/z.jpg", "sub/._z.jpg")  # the last is a photo in truth
    fork = _apple_double(2, portraits(1)[0])
    (place.inbox / "._x.jpg").write_bytes(fork)
    (place.inbox / "._y.jpg").write_bytes(_apple_double(9, bytes(32)))  # the colour of a label
    (place.inbox / "._other.txt").write_bytes(fork)
    (place.inbox / "sub" / ".AppleDouble").mkdir()
    (place.inbox / "sub" / ".AppleDouble" / "z.jpg").write_bytes(fork)
    place.configure("in_place")
    assert place.scan().returncode == 0
    left = {str(path.relative_to(place.inbox)) for path in place.inbox.rglob("*") if path.is_file()}
    assert left == {"x.jpg", "y.jpg", "sub/z.jpg", "sub/._z.jpg", "._y.jpg", "._other.txt"}
    assert place.changed("sub/._z.jpg")
    (place.inbox / "._x.jpg").write_bytes(fork)  # the Mac's next visit
    done = place.scan()
    assert [line["path"] for line in _event(done, "file.companion_removed")] == [str(place.inbox / "._x.jpg")]
    assert not (place.inbox / "._x.jpg").exists()


def test_in_a_mirror_no_resource_fork_is_touched_or_published(place: Place, portraits: Any) -> None:
    place.put("x.jpg", ".AppleDouble/x.jpg")
    (place.inbox / "._x.jpg").write_bytes(_apple_double(2, portraits(1)[0]))
    place.configure(hidden_folders="look")
    assert place.scan().returncode == 0
    assert place.published() == {"x.jpg"}
    assert (place.inbox / "._x.jpg").exists()
