"""Thousands of files wait: what arrives now comes first, no root starves, and the parent's memory stays small.

The worker stops in front of each file until it is told to go on (a plugin), so what is counted is how many of the
backlog were done meanwhile. No time is: how fast the machine is, or how busy, changes nothing.
"""

from __future__ import annotations

import json
import os
import textwrap
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES, FOLDERS = 2000, 200
A_FEW = 12  # of the backlog: what was in hand or made ready, and its turns
MOST_PARENT_BYTES = 150_000_000

PLUGIN = """
    import os, time
    from faceblurd.plugins.hookspecs import hookimpl

    files = {}

    @hookimpl
    def open_detectors(recipe):  # before the sandbox, in which nothing can be opened
        for name in ("STOPPED", "TOLD"):
            files[name] = os.open(os.environ[name], os.O_RDWR | os.O_APPEND)
        return []

    @hookimpl
    def add_regions(image, path):
        os.write(files["STOPPED"], b"x")
        while os.fstat(files["TOLD"]).st_size < os.fstat(files["STOPPED"]).st_size:
            time.sleep(0.002)
        return []
"""


def _tiny(number: int) -> bytes:
    """A picture that no other number gives."""
    pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def _fill(root: Path, files: int, folders: int, *, start: int = 0) -> None:
    for number in range(files):
        folder = root / f"{number * folders // files:03}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05}.png").write_bytes(_tiny(start + number))


class Backlog:
    """A daemon with one worker on the roots `a` and `b`; the worker stands in front of the first file."""

    def __init__(self, daemon: Callable[..., Any], folder: Path, a: int, b: int) -> None:
        self.folder, self._stopped, self._told, self._steps = folder, folder / "stopped", folder / "told", 0
        self._queued: list[Any] = []
        for file in (self._stopped, self._told):
            file.touch()
        self.backlogs = {folder / "a": a, folder / "b": b}
        for root in self.backlogs:
            root.mkdir()
        _fill(folder / "a", a, max(1, FOLDERS * a // FILES))
        _fill(folder / "b", b, max(1, FOLDERS * b // FILES), start=a)
        site = folder / "site"
        (site / "slow-1.0.dist-info").mkdir(parents=True)
        (site / "slow.py").write_text(textwrap.dedent(PLUGIN))
        (site / "slow-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
        (site / "slow-1.0.dist-info" / "entry_points.txt").write_text("[faceblurd]\nslow = slow\n")
        self.daemon = daemon(
            env={
                "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]),
                "STOPPED": str(self._stopped), "TOLD": str(self._told),
            },
            roots=[
                {"path": str(root), "mode": "mirror", "to": f"{root}-out", "quiet_seconds": 0.2}
                for root in self.backlogs
            ],
            workers={"count": 1, "deadline_seconds": 3600}, hooks={"plugins": ["slow"]},
        )  # fmt: skip
        self.daemon.start()
        self.daemon.wait_for(self._stands, what="the worker in front of the first file")
        self.daemon.wait_for(self._all_wait, what="the whole backlog")

    def status(self, root: Path) -> dict[str, Any]:
        """What the daemon last said of a root, nothing before that."""
        with suppress(OSError, ValueError):
            told = json.loads((self.daemon.state_dir / "status.json").read_text())["roots"]
            return next((dict(one) for one in told if one["path"] == str(root)), {})
        return {}

    def _all_wait(self) -> bool:
        """Whether every root was scanned as far as there is room for, and what it has waits for the worker."""
        roots = [(self.status(root), files) for root, files in self.backlogs.items()]
        before, self._queued = self._queued, [root.get("queued") for root, _ in roots]
        ended = all(root and not root["scanning"] for root, _ in roots) or before == self._queued
        return ended and all(root and not root["settling"] and (root["queued"] or not files) for root, files in roots)

    def _stands(self) -> bool:
        return self._stopped.stat().st_size > self._told.stat().st_size

    def step(self) -> None:
        """Let the worker do one file; wait until it stands in front of the next, and nothing settles any more."""
        with self._told.open("ab") as told:
            told.write(b"x")
        self._steps += 1
        self.daemon.wait_for(self._stands, what="the next file in hand")
        self.daemon.wait_for(self._nothing_settles, what="an end of the settling")

    def _nothing_settles(self) -> bool:
        """By a status that knows of every step."""
        roots = [self.status(root) for root in self.backlogs]
        done = sum(sum(root["counts"].values()) for root in roots if root)
        return done >= self._steps and not any(root["settling"] for root in roots if root)

    def let_go(self) -> None:
        """Let the worker do whatever comes."""
        os.truncate(self._told, 1 << 30)

    def done(self, folder: Path) -> int:
        """Count the tiny files below a folder that have an outcome."""
        return sum(path.startswith(f"{folder}/") and path.endswith(".png") for path in self.daemon.finished())

    def done_meanwhile(self, path: Path, content: bytes, *, below: Path) -> int:
        """Bring a photo; return how many tiny files below a folder were done until it was published."""
        root = self.folder / path.relative_to(self.folder).parts[0]
        result = self.folder / f"{root.name}-out" / path.relative_to(root)
        sentinel = root / f"after {path.stem}.txt.jpg"
        queued, earlier = self.queued(root), self.done(below)
        path.write_bytes(content)
        sentinel.write_bytes(_tiny(path.stat().st_mtime_ns))  # an event that comes after that of the photo
        self.daemon.wait_for(lambda: self.queued(root) > queued and self._nothing_settles(), what="it in the queue")
        while not result.exists():
            assert self.done(below) - earlier < 10 * A_FEW, "it waits behind the backlog"
            self.step()
        self.daemon.wait_for(lambda: str(path) in self.daemon.finished(), what=f"{path.name} published")
        return self.done(below) - earlier

    def queued(self, root: Path) -> int:
        return int(self.status(root).get("queued", 0))


def _results(folder: Path) -> int:
    """Count the tiny results in a mirror: cheaper than to read the log again and again."""
    return sum(1 for _ in folder.rglob("*.png"))


@pytest.fixture
def start(daemon: Callable[..., Any], tmp_path: Path) -> Callable[[int, int], Backlog]:
    """Begin with a backlog of so many files in the roots `a` and `b`."""
    return lambda a, b: Backlog(daemon, tmp_path, a, b)


def test_a_new_photo_is_published_before_the_backlog(
    start: Callable[[int, int], Backlog], tmp_path: Path, portraits: Any, face_is_hidden: Any
) -> None:
    one = start(FILES, 0)
    for number, photo in enumerate(portraits(3)):
        path = tmp_path / "a" / f"new{number}.jpg"
        assert one.done_meanwhile(path, photo, below=tmp_path / "a") < A_FEW
        assert face_is_hidden((tmp_path / "a-out" / path.name).read_bytes())
    assert one.queued(tmp_path / "a") > FILES // 2, "there was no backlog any more"


def test_a_waiting_file_that_is_replaced_is_a_new_photo(start: Callable[[int, int], Backlog], tmp_path: Path) -> None:
    one = start(FILES, 0)
    last = tmp_path / "a" / f"{FOLDERS - 1:03}" / f"{FILES - 1:05}.png"
    assert last.exists()
    assert one.done_meanwhile(last, _tiny(FILES + 1), below=tmp_path / "a") < A_FEW


@pytest.mark.slow
def test_a_flood_in_one_root_does_not_hold_up_a_photo_in_another(
    start: Callable[[int, int], Backlog], tmp_path: Path, portraits: Any
) -> None:
    one = start(FILES // 2, FILES // 2)
    flood = tmp_path / "a" / "flood"
    _fill(tmp_path / "flood", 600, 10, start=2 * FILES)
    (tmp_path / "flood").rename(flood)
    while one.done(flood) < 3:  # it is at work
        one.step()
    assert one.done_meanwhile(tmp_path / "b" / "new.jpg", portraits(1)[0], below=flood) < A_FEW
    assert one.done(flood) < 600, "there was no flood any more"


@pytest.mark.slow
def test_a_small_root_does_not_wait_for_a_large_one(start: Callable[[int, int], Backlog], tmp_path: Path) -> None:
    one = start(FILES - 200, 200)
    small = tmp_path / "b"
    one.let_go()
    for number in range(1, 201):  # each within the deadline: a slow machine has the time that it needs
        one.daemon.wait_for(lambda number=number: _results(tmp_path / "b-out") >= number, what="one more of them")
    one.daemon.wait_for(lambda: one.done(small) == 200, what="all of the small root")
    order = [path.startswith(f"{small}/") for path in one.daemon.finished()]
    last = max(at for at, is_small in enumerate(order) if is_small)
    assert 50 < last - 199 < 600 + A_FEW  # both went on, at a third of the other's pace at least
    with open(f"/proc/{one.daemon.pid}/status", encoding="ascii") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    assert peak < MOST_PARENT_BYTES
