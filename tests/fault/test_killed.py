"""The daemon killed in the middle; workers that crash, hang, hoard or are killed; what the mirror shows meanwhile."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from stand_ins import install_plugin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


# 300 photos took 70 s alone on two cores, and over 600 s beside five other test runs: all of it was photos that wait
# for a worker, at some 0.4 s of computing each. A third of them leaves room for every kill.
PHOTOS = 100


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("mode", ["mirror", "in_place"])
def test_kill_9_at_five_random_moments_loses_nothing_and_leaves_nothing(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Any, face_is_hidden: Any, mode: str
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    originals = {}
    for number, photo in enumerate(portraits(PHOTOS)):
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
        some = done + chance.randrange(1, 17)
        one.wait_for(lambda some=some: len(one.finished()) >= min(some, PHOTOS - 10))
        time.sleep(chance.random() * 0.05)  # the random moment that is tested
        one.stop(signal.SIGKILL)
    one.start()
    while (done := one.published()) != set(originals):  # the ledger: a kill between commit and log leaves no line
        one.wait_for(lambda done=done: len(one.published()) > len(done), what="one more file published")

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
    import ctypes, signal, time
    from faceblurd.plugins.hookspecs import hookimpl

    @hookimpl
    def add_regions(image, path):
        if "segfault" in path:
            ctypes.string_at(0)
        if "kill" in path:
            signal.raise_signal(signal.SIGKILL)
        if "hang" in path:
            while True:
                pass
        if "sleep" in path:
            time.sleep(3600)
        if "memory" in path:
            hoard = []
            while True:
                hoard.append(bytearray(50_000_000))
        return []
"""
REASONS = {
    "segfault.jpg": ("worker_crashed", "the worker was ended by signal 11"),
    "kill.jpg": ("worker_crashed", "the worker was ended by signal 9"),
    "hang.jpg": ("deadline", "took longer than workers.deadline_seconds"),
    "sleep.jpg": ("deadline", "took longer than workers.deadline_seconds"),
    "memory.jpg": ("out_of_memory", "needs more memory than workers.memory_limit_mb (or ulimit -v) allows"),
}


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_only_the_files_that_crash_hang_or_hoard_are_held(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Any
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    photos = portraits(41)
    one = daemon(
        env=install_plugin(tmp_path, "misbehaving", PLUGIN),
        roots=[{"path": str(inbox), "mode": "mirror", "to": str(out), "quiet_seconds": 0.2}],
        workers={"count": 2, "deadline_seconds": 30, "max_attempts": 3, "retry_seconds": 0.2, "memory_limit_mb": 600},
        hooks={"plugins": ["misbehaving"]},
    )
    one.start()
    good = [f"p{number}.jpg" for number in range(40 - len(REASONS))]
    for name, photo in zip([*REASONS, *good], photos[:40], strict=True):
        (inbox / name).write_bytes(photo)
    one.wait_for(lambda: len(one.finished()) == 40, seconds=400, what="40 outcomes")

    held = {os.path.basename(line["path"]): (line["reason"], line["detail"]) for line in one.lines("file.quarantined")}
    assert held == REASONS
    retries = Counter(os.path.basename(line["path"]) for line in one.lines("file.retried"))
    assert retries == Counter(dict.fromkeys(REASONS, 2)), "three attempts each, and none for the others"
    assert {path.name for path in out.iterdir()} == set(good)
    assert [seen for path, seen in one.finished().items() if os.path.basename(path) in good] == [["published"]] * len(
        good
    )
    (inbox / "after.jpg").write_bytes(photos[40])
    one.wait_for((out / "after.jpg").exists, what="the pool at work again")
    assert len(one.lines("daemon.started")) == 1
    assert one.stop() == 0


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_workers_that_somebody_kills_cost_another_try_and_no_photo(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Any, face_is_hidden: Any
) -> None:
    inbox, in_place, out = (tmp_path / name for name in ("in", "in_place", "out"))
    inbox.mkdir()
    in_place.mkdir()
    roots = [{"path": str(inbox), "mode": "mirror", "to": str(out)}, {"path": str(in_place), "mode": "in_place"}]
    one = daemon(
        roots=[{**root, "quiet_seconds": 0.2} for root in roots],
        workers={"count": 2, "max_attempts": 100, "retry_seconds": 0.1},
    )
    one.start()
    for number, photo in enumerate(portraits(30)):
        for root in (inbox, in_place):
            (root / f"p{number}.jpg").write_bytes(photo)

    def lost() -> int:
        return sum(line["reason"] == "worker_crashed" for line in one.lines("file.retried"))

    while lost() < 5:  # workers that had a photo in hand; others were idle, or about to start
        done = len(one.finished())
        one.wait_for(
            lambda done=done: len(one.finished()) > done and _kill_a_busy_worker(one.pid), what="a busy worker"
        )
    one.wait_for(lambda: len(one.finished()) == 60, what="60 outcomes")

    assert [seen for seen in one.finished().values() if seen != ["published"]] == []
    for results in (out, in_place):
        assert {path.name for path in results.iterdir()} == {f"p{number}.jpg" for number in range(30)}
        assert all(face_is_hidden(path.read_bytes()) for path in results.iterdir())
    assert len(one.lines("daemon.started")) == 1
    assert one.stop() == 0


def _kill_a_busy_worker(daemon: int) -> bool:
    """Kill a worker that computes right now; False when none does."""
    with open(f"/proc/{daemon}/task/{daemon}/children", encoding="ascii") as children:
        pids = [int(pid) for pid in children.read().split()]
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            if stat.read().rpartition(")")[2].split()[0] == "R":
                os.kill(pid, signal.SIGKILL)
                return True
    return False


def test_nothing_in_the_mirror_is_ever_partial_or_shows_a_face(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Any, face_is_hidden: Any
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    one = daemon(roots=[{"path": str(inbox), "mode": "mirror", "to": str(out), "quiet_seconds": 0.2}])
    one.start()
    photos = portraits(60)
    for number, photo in enumerate(photos):
        (inbox / f"p{number % 48}.jpg").write_bytes(photo)  # the last 12 overwrite earlier ones
    looked, hidden = 0, set[bytes]()

    def all_seen_hidden() -> bool:
        nonlocal looked
        for path in out.rglob("*"):  # every name, hidden ones too
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            looked += 1
            assert content in hidden or face_is_hidden(content), f"{path.name} shows a face"
            hidden.add(content)  # the same bytes need no second look
        return len(one.finished()) >= 48 and not list(out.rglob(".faceblurd-*"))

    one.wait_for(all_seen_hidden, seconds=500, what="all published")
    (inbox / "p0.jpg").write_bytes(photos[1])  # a newer upload: the published one is exchanged
    one.wait_for(lambda: all_seen_hidden() and len(one.lines("file.published")) >= 49)
    assert looked > 48  # each file at least once while others were in the works
