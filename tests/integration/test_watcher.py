"""The watcher on real inotify: every way in which a file arrives, and what happens when events are lost."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, WatchDescriptor

from faceblurd.model import Sighting, Source
from faceblurd.watch.events import Watcher
from faceblurd.watch.scan import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EVERYTHING = Selection(("*",), ())


class Seen(list[Sighting]):
    """Sightings as they come in; fails on the names it is told to."""

    breaks_on = ""

    def __call__(self, sighting: Sighting) -> None:
        if self.breaks_on and self.breaks_on in sighting.path:
            raise RuntimeError("a bug in the handler")
        self.append(sighting)

    @property
    def paths(self) -> set[str]:
        return {sighting.path for sighting in self}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "deep").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    return tmp_path / "root"


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def watcher(root: Path, seen: Seen) -> Iterator[Watcher]:
    one = Watcher(str(root), EVERYTHING, seen)
    one.start()
    yield one
    one.stop()


def _slow_write(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(3):
            file.write(b"part")
            file.flush()


def _rsync_style(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.Ab12Cd")
    temporary.write_bytes(b"x")
    temporary.rename(path)


def _from_outside(path: Path) -> None:
    _elsewhere(path).write_bytes(b"x")
    _elsewhere(path).rename(path)


def _hard_link(path: Path) -> None:
    _elsewhere(path).write_bytes(b"x")
    os.link(_elsewhere(path), path)


def _elsewhere(path: Path) -> Path:
    """Give a path beside the root."""
    root = next(parent for parent in path.parents if parent.name == "root")
    return root.parent / "outside" / path.name


def _copy(path: Path) -> None:
    _elsewhere(path).write_bytes(b"x")
    shutil.copy(_elsewhere(path), path)


@pytest.mark.parametrize("arrive", [_slow_write, _rsync_style, _from_outside, _hard_link, _copy])
@pytest.mark.parametrize("name", ["photo.jpg", "deep/photo.jpg", "caf\udce9.jpg", "new\nline.jpg"])
def test_every_way_to_arrive_is_seen(
    watcher: Watcher, seen: Seen, root: Path, wait_until: Callable[..., Any], arrive: Callable[[Path], None], name: str
) -> None:
    arrive(root / name)
    wait_until(lambda: name in seen.paths, what=name)
    assert all(sighting.root == str(root) and sighting.source is Source.EVENT for sighting in seen)
    assert watcher.healthy


def test_a_rewritten_and_a_touched_file_are_seen_again(
    watcher: Watcher, seen: Seen, root: Path, wait_until: Callable[..., Any]
) -> None:
    for action in (
        lambda: (root / "a.jpg").write_bytes(b"x"),
        lambda: _edit(root / "a.jpg"),
        lambda: _touch(root / "a.jpg"),
    ):
        seen.clear()
        action()
        wait_until(lambda: "a.jpg" in seen.paths)


def _touch(path: Path) -> None:
    """As the command does it: open for writing, write nothing."""
    path.open("ab").close()


def _edit(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"y")


def test_a_tree_that_is_moved_in_and_one_that_is_made_at_once_are_seen_whole(
    watcher: Watcher, seen: Seen, root: Path, wait_until: Callable[..., Any]
) -> None:
    tree = root.parent / "outside" / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "one.jpg").write_bytes(b"1")
    (tree / "a" / "b" / "two.jpg").write_bytes(b"2")
    shutil.copytree(tree, root / "made")
    tree.rename(root / "moved")
    expected = {f"{where}/{name}" for where in ("made", "moved") for name in ("one.jpg", "a/b/two.jpg")}
    wait_until(lambda: expected <= seen.paths, what=str(expected))


def test_a_tree_that_is_renamed_is_seen_under_its_new_name(
    watcher: Watcher, seen: Seen, root: Path, wait_until: Callable[..., Any]
) -> None:
    (root / "deep" / "a.jpg").write_bytes(b"x")
    (root / "deep").rename(root / "renamed")
    wait_until(lambda: "renamed/a.jpg" in seen.paths)
    (root / "renamed" / "b.jpg").write_bytes(b"x")
    wait_until(lambda: "renamed/b.jpg" in seen.paths)


def test_a_linked_folder_is_not_followed(
    watcher: Watcher, seen: Seen, root: Path, wait_until: Callable[..., Any]
) -> None:
    (root / "linked").symlink_to(root.parent / "outside")
    (root.parent / "outside" / "secret.jpg").write_bytes(b"x")
    (root / "last.jpg").write_bytes(b"x")
    wait_until(lambda: "last.jpg" in seen.paths)
    assert "linked/secret.jpg" not in seen.paths


def test_a_bug_in_the_handler_is_counted_and_does_not_end_the_watching(
    watcher: Watcher, seen: Seen, root: Path, wait_until: Callable[..., Any]
) -> None:
    seen.breaks_on = "bad"
    (root / "bad.jpg").write_bytes(b"x")
    wait_until(lambda: watcher.failures)
    (root / "good.jpg").write_bytes(b"x")
    wait_until(lambda: "good.jpg" in seen.paths)
    assert watcher.healthy


def test_every_directory_is_counted(watcher: Watcher, root: Path, wait_until: Callable[..., Any]) -> None:
    assert watcher.watched_directories == 2
    (root / "deep" / "er").mkdir()
    wait_until(lambda: watcher.watched_directories == 3)


def test_a_deleted_root_is_noticed_even_when_it_is_made_again(
    watcher: Watcher, root: Path, wait_until: Callable[..., Any]
) -> None:
    shutil.rmtree(root)
    root.mkdir()
    wait_until(lambda: not watcher.healthy, what="the loss")


def test_a_root_that_is_not_there_cannot_be_watched(tmp_path: Path, seen: Seen) -> None:
    one = Watcher(str(tmp_path / "nowhere"), EVERYTHING, seen)
    with pytest.raises(OSError, match="No such file"):
        one.start()
    assert not one.healthy
    one.stop()


def test_a_stopped_watcher_is_not_healthy_and_leaves_no_descriptor(
    root: Path, seen: Seen, wait_until: Callable[..., Any]
) -> None:
    def once() -> int:
        one = Watcher(str(root), EVERYTHING, seen)
        one.start()
        assert one.healthy
        one.stop()
        one.stop()
        assert not one.healthy
        assert one.watched_directories == 0
        return len(os.listdir("/proc/self/fd"))

    first = once()
    assert all(once() == first for _ in range(3))


FLOOD = """
import os, sys, time
from faceblurd.watch.scan import Selection
from faceblurd.watch.events import Watcher

if __name__ == "__main__":
    seen = []
    watcher = Watcher(sys.argv[1], Selection(("*",), ()), seen.append)
    watcher.start()
    print("ready", flush=True)
    sys.stdin.readline()
    deadline = time.monotonic() + 300
    while watcher.healthy and time.monotonic() < deadline:
        time.sleep(0.02)
    print("lost" if not watcher.healthy else "healthy", len(seen), flush=True)
    watcher.stop()
"""


def test_lost_events_are_noticed(tmp_path: Path) -> None:
    """Stop the reader as a whole, overflow its queue, let it go on."""
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as limit:
        room = int(limit.read())
    if room > 70_000:
        pytest.skip(f"the queue holds {room} events: too many files for a quick test")
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "flood.py").write_text(FLOOD)
    reader = subprocess.Popen(
        [sys.executable, tmp_path / "flood.py", root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None
    assert reader.stdin is not None
    assert reader.stdout.readline() == "ready\n"
    reader.send_signal(signal.SIGSTOP)
    one = os.open(root / "a", os.O_CREAT | os.O_WRONLY)
    os.close(one)
    for number in range(room):  # each rename is two events, and no two in a row are alike
        os.rename(root / ("a" if number % 2 == 0 else "b"), root / ("b" if number % 2 == 0 else "a"))
    reader.send_signal(signal.SIGCONT)
    told, _ = reader.communicate("go\n", timeout=400)
    assert told.startswith("lost"), told


def test_folders_that_took_each_others_names_do_not_hang_the_stop(
    watcher: Watcher, root: Path, seen: Seen, wait_until: Callable[..., Any]
) -> None:
    for name in ("one", "two"):
        (root / name).mkdir()
        (root / name / f"{name}.jpg").write_bytes(b"x")
    wait_until(lambda: {"one/one.jpg", "two/two.jpg"} <= seen.paths, what="both photos")
    one, two = os.fsencode(root / "one"), os.fsencode(root / "two")
    assert ctypes.CDLL(None).renameat2(-100, one, -100, two, 2) == 0  # RENAME_EXCHANGE
    (root / "one" / "late.jpg").write_bytes(b"x")
    wait_until(
        lambda: "two/one.jpg" in seen.paths and seen.paths & {"one/late.jpg", "two/late.jpg"}, what="the exchange"
    )
    watcher.stop()  # KeyError with watchdog 7.1.0, and a second stop then waits for ever


# --- what its reader may still have in hand


def _event(wd: int, name: str) -> InotifyEvent:
    return InotifyEvent(WatchDescriptor(wd), InotifyConstants.IN_CLOSE_WRITE, 0, os.fsencode(name))


def test_an_event_of_a_directory_that_has_left_is_nobodys(watcher: Watcher, seen: Seen) -> None:
    watcher._listener.on_event(_event(999_999, "left.jpg"))  # type: ignore[union-attr]
    assert seen == []
    assert watcher.failures == 0
    assert watcher.healthy


def test_an_event_that_comes_after_the_stop_or_the_end_of_the_root_is_not_reported(
    watcher: Watcher, seen: Seen, root: Path, wait_until: Callable[..., Any]
) -> None:
    listener, wd = watcher._listener, watcher._listener.watches.root.wd  # type: ignore[union-attr]
    listener.on_event(_event(wd, "before.jpg"))
    assert seen.paths == {"before.jpg"}
    root.rename(root.with_name("renamed"))
    wait_until(lambda: not watcher.healthy, what="the loss")
    listener.on_event(_event(wd, "after.jpg"))  # the name that it would be reported by is not its name any more
    watcher.stop()
    listener.on_event(_event(wd, "after.jpg"))
    assert seen.paths == {"before.jpg"}


def test_a_bug_of_ours_is_counted_and_the_next_event_is_heard(
    watcher: Watcher, seen: Seen, root: Path, wait_until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_wd: WatchDescriptor) -> None:
        raise RuntimeError("a bug of ours")

    with monkeypatch.context() as patch:
        patch.setattr(watcher._listener.watches, "at", fail)  # type: ignore[union-attr]
        (root / "bad.jpg").write_bytes(b"x")
        wait_until(lambda: watcher.failures)
    wait_until(lambda: ((root / "good.jpg").write_bytes(b"x"), "good.jpg" in seen.paths)[1])
    assert watcher.healthy


def test_a_watcher_that_never_started_watches_nothing_and_can_be_stopped(root: Path, seen: Seen) -> None:
    one = Watcher(str(root), EVERYTHING, seen)
    for _ in range(2):
        one.stop()
        one.watch_missing()
    assert (one.healthy, one.watched_directories, one.failures, one.problem) == (False, 0, 0, "")
