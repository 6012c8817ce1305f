"""Real faults: the daemon killed in the middle, workers that crash, hang or eat memory; and what the mirror shows."""

from __future__ import annotations

import os
import random
import signal
import textwrap
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["mirror", "in_place"])
def test_kill_9_at_five_random_moments_loses_nothing_and_leaves_nothing(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Any, face_is_hidden: Any, mode: str
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    originals = {}
    for number, photo in enumerate(portraits(300)):
        path = inbox / f"{number % 7}" / f"p{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo)
        originals[str(path)] = photo
    target = {"mode": "mirror", "to": str(out)} if mode == "mirror" else {"mode": "in_place"}
    one = daemon(roots=[{"path": str(inbox), "quiet_seconds": 0.2, **target}], workers={"retry_seconds": 1})
    chance = random.Random(20261122)
    for _ in range(5):
        done = len(one.finished())
        one.start()
        some = done + chance.randrange(1, 50)
        one.wait_for(lambda some=some: len(one.finished()) >= min(some, 290))
        time.sleep(chance.random() * 0.05)  # the random moment that is tested
        one.stop(signal.SIGKILL)
    one.start()
    while one.published() != set(originals):  # the ledger: a kill between commit and log leaves no line
        before = len(one.published())
        one.wait_for(lambda before=before: len(one.published()) > before, what="one more file published")

    for path, photo in originals.items():
        result = (out / path[len(str(inbox)) + 1 :]).read_bytes() if mode == "mirror" else _read(path)
        assert face_is_hidden(result), path
        if mode == "mirror":
            assert _read(path) == photo
    repeated = {path: seen for path, seen in one.finished().items() if len(seen) > 1}
    assert repeated == {}
    assert not list(tmp_path.rglob(".faceblurd-*"))
    assert one.stop() == 0
    assert not list(tmp_path.rglob(".faceblurd-*"))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


PLUGIN = """
    import ctypes, time
    from faceblurd.plugins.hookspecs import hookimpl

    @hookimpl
    def add_regions(image, path):
        if "segfault" in path:
            ctypes.string_at(0)
        if "hang" in path:
            while True:
                time.sleep(1)
        if "memory" in path:
            hoard = []
            while True:
                hoard.append(bytearray(50_000_000))
        return []
"""


@pytest.fixture
def misbehaving(tmp_path: Path) -> dict[str, str]:
    """A plugin, really installed on the path, that crashes, hangs or hoards for files of that name."""
    site = tmp_path / "site"
    info = site / "misbehaving-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "misbehaving.py").write_text(textwrap.dedent(PLUGIN))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[faceblurd]\nmisbehaving = misbehaving\n")
    return {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.slow
def test_only_the_files_that_crash_hang_or_hoard_are_held(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Any, misbehaving: dict[str, str]
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    photos = portraits(40)
    bad = {"segfault.jpg", "hang.jpg", "memory.jpg"}
    one = daemon(
        env=misbehaving,
        roots=[{"path": str(inbox), "mode": "mirror", "to": str(out), "quiet_seconds": 0.2}],
        workers={"count": 2, "deadline_seconds": 3, "max_attempts": 2, "retry_seconds": 0.2, "memory_limit_mb": 600},
        hooks={"plugins": ["misbehaving"]},
    )
    one.start()
    for name, photo in zip([*bad, *(f"p{n}.jpg" for n in range(37))], photos, strict=True):
        (inbox / name).write_bytes(photo)
    one.wait_for(lambda: len(one.finished()) == 40, seconds=400, what="40 outcomes")

    held = {path.rpartition("/")[2]: seen for path, seen in one.finished().items() if seen != ["published"]}
    assert set(held) == bad
    reasons = {line["path"].rpartition("/")[2]: line["reason"] for line in one.lines("file.quarantined")}
    assert reasons == {"segfault.jpg": "worker_crashed", "hang.jpg": "deadline", "memory.jpg": "out_of_memory"}
    assert {path.name for path in out.iterdir()} == {f"p{n}.jpg" for n in range(37)}
    (inbox / "after.jpg").write_bytes(portraits(41)[40])
    one.wait_for((out / "after.jpg").exists, what="the pool at work again")


def test_nothing_in_the_mirror_is_ever_partial_or_shows_a_face(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Any, face_is_hidden: Any
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    one = daemon(roots=[{"path": str(inbox), "mode": "mirror", "to": str(out), "quiet_seconds": 0.2}])
    one.start()
    photos = portraits(100)
    for number, photo in enumerate(photos):
        (inbox / f"p{number % 80}.jpg").write_bytes(photo)  # the last 20 overwrite earlier ones
    looked = 0

    def all_seen_hidden() -> bool:
        nonlocal looked
        for path in out.rglob("*"):  # every name, hidden ones too
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            looked += 1
            assert face_is_hidden(content), f"{path.name} shows a face"
        return len(one.finished()) >= 80 and not list(out.rglob(".faceblurd-*"))

    one.wait_for(all_seen_hidden, seconds=300, what="all published")
    (inbox / "p0.jpg").write_bytes(photos[1])  # a newer upload: the published one is exchanged
    one.wait_for(lambda: all_seen_hidden() and len(one.lines("file.published")) >= 81, seconds=120)
    assert looked > 80  # each file at least once while others were in the works
