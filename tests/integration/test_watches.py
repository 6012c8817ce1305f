"""Which directories are watched, as the kernel counts them: those that the scanner looks into, whatever moves."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from watchdog.observers.inotify_c import InotifyEvent, InotifyFD, WatchCallback, WatchDescriptor

from faceblurd.watch.events import Watcher
from faceblurd.watch.scan import Finished, Selection, walk
from faceblurd.watch.watches import Watches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SELECTION = Selection(("*",), ("private",))
IGNORED = ("@eaDir", ".stversions", "#recycle", "private")


class Watched:
    """A root in a folder of its own, watched; and what was reported."""

    def __init__(self, folder: Path, wait: Callable[..., Any]) -> None:
        self.root, self.outside, self._wait = folder / "root", folder / "outside", wait
        self.seen: list[str] = []
        self.markers = 0
        self.watcher = Watcher(str(self.root), SELECTION, lambda sighting: self.seen.append(sighting.path))

    def make(self, *paths: str) -> None:
        for path in paths:
            (self.root / path).mkdir(parents=True)

    def settle(self) -> list[str]:
        """Wait until everything so far was reported; return and forget it."""
        self.markers += 1
        marker = f"marker-{self.markers}"
        (self.root / marker).touch()
        self._wait(lambda: self.seen.count(marker) == 2, what="the marker, made and closed")
        (self.root / marker).unlink()
        self._wait(lambda: self.seen.count(marker) == 3, what="the marker's end")
        seen = [path for path in self.seen if not path.startswith("marker-")]
        self.seen.clear()
        return seen

    def counts(self) -> tuple[int, int, int]:
        """How many directories the watcher says, the kernel says, and the scan says."""
        return self.watcher.watched_directories, _in_kernel(), _scanned(self.root).directories


def _in_kernel() -> int:
    count = 0
    for name in os.listdir("/proc/self/fdinfo"):
        with suppress(FileNotFoundError), open(f"/proc/self/fdinfo/{name}", encoding="ascii") as file:
            count += sum(line.startswith("inotify wd:") for line in file)
    return count


def _scanned(root: Path) -> Finished:
    looked = walk(str(root), SELECTION)
    list(looked)
    return looked.finished()


@pytest.fixture
def new(tmp_path: Path, wait_until: Callable[..., Any]) -> Iterator[Watched]:
    """Give a root that is not watched yet."""
    one = Watched(tmp_path, wait_until)
    one.root.mkdir()
    one.outside.mkdir()
    yield one
    one.watcher.stop()


@pytest.fixture
def watched(new: Watched) -> Watched:
    new.watcher.start()
    return new


@pytest.mark.parametrize("name", IGNORED)
def test_ignored_directories_get_no_watches_at_the_start(new: Watched, name: str) -> None:
    new.make(f"{name}/deep", f"a/{name}/deep", "a/b")
    new.watcher.start()
    assert new.counts() == (3, 3, 3)
    (new.root / "a" / name / "deep" / "x.jpg").touch()
    assert new.settle() == []


@pytest.mark.parametrize("name", IGNORED)
def test_ignored_directories_get_no_watches_when_they_come_later(watched: Watched, name: str) -> None:
    tree = watched.outside / "tree"
    (tree / name / "deep").mkdir(parents=True)
    (tree / name / "x.jpg").touch()
    (tree / "y.jpg").touch()
    watched.make(f"a/{name}/deep")
    tree.rename(watched.root / "tree")
    (watched.root / "a" / name / "deep" / "z.jpg").touch()
    assert set(watched.settle()) == {"tree/y.jpg"}
    assert watched.counts() == (3, 3, 3)


def test_a_directory_renamed_to_an_ignored_name_is_left_alone_until_it_is_named_back(new: Watched) -> None:
    new.make("deep/er")
    new.watcher.start()
    (new.root / "deep").rename(new.root / "#recycle")
    (new.root / "#recycle" / "er" / "x.jpg").touch()
    assert new.settle() == ["deep"]
    assert new.counts() == (1, 1, 1)
    (new.root / "#recycle").rename(new.root / "deep")
    assert set(new.settle()) == {"deep/er/x.jpg"}
    (new.root / "deep" / "er" / "y.jpg").touch()
    assert set(new.settle()) == {"deep/er/y.jpg"}
    assert new.counts() == (3, 3, 3)


def test_a_tree_that_left_is_reported_once_by_its_old_name_and_never_again(new: Watched) -> None:
    new.make("a/b/c")
    new.watcher.start()
    (new.root / "a").rename(new.outside / "a")
    (new.outside / "a" / "b" / "x.jpg").touch()
    (new.outside / "a" / "b" / "d").mkdir()
    (new.outside / "a" / "b" / "d" / "y.jpg").touch()
    assert new.settle() == ["a"]
    assert new.counts() == (1, 1, 1)


def test_a_renamed_tree_is_reported_under_both_names_and_watched_under_the_new_one(new: Watched) -> None:
    new.make("a/b/c", "to")
    (new.root / "a" / "b" / "x.jpg").touch()
    new.watcher.start()
    (new.root / "a").rename(new.root / "to" / "z")
    assert set(new.settle()) == {"a", "to/z/b/x.jpg"}
    (new.root / "to" / "z" / "b" / "c" / "y.jpg").touch()
    assert set(new.settle()) == {"to/z/b/c/y.jpg"}
    assert new.counts() == (5, 5, 5)


def test_deleted_and_moved_files_and_directories_are_reported_by_the_name_that_they_had(new: Watched) -> None:
    new.make("gone/deep")
    for name in ("deleted.jpg", "moved.jpg", "away.jpg", "gone/deep/x.jpg"):
        (new.root / name).touch()
    new.watcher.start()
    (new.root / "deleted.jpg").unlink()
    (new.root / "moved.jpg").rename(new.root / "there.jpg")
    (new.root / "away.jpg").rename(new.outside / "away.jpg")
    shutil.rmtree(new.root / "gone")
    seen = new.settle()
    assert seen == ["deleted.jpg", "moved.jpg", "there.jpg", "away.jpg", "gone/deep/x.jpg", "gone/deep", "gone"]
    assert new.counts() == (1, 1, 1)


def test_a_root_that_is_renamed_is_no_longer_trusted_and_nothing_is_reported_under_its_old_name(
    new: Watched, wait_until: Callable[..., Any]
) -> None:
    new.make("a")
    new.watcher.start()
    new.root.rename(new.outside / "root")
    (new.outside / "root" / "x.jpg").touch()
    (new.outside / "root" / "a" / "y.jpg").touch()
    wait_until(lambda: not new.watcher.healthy, what="the loss")
    new.watcher.stop()  # hears what is in hand to its end
    assert new.seen == []


def test_a_root_may_be_a_link(new: Watched, wait_until: Callable[..., Any]) -> None:
    new.make("a")
    link = new.outside / "link"
    link.symlink_to(new.root)
    new.watcher = Watcher(str(link), SELECTION, lambda sighting: new.seen.append(sighting.path))
    new.watcher.start()
    (new.root / "a" / "x.jpg").touch()
    wait_until(lambda: "a/x.jpg" in new.seen)


def _shake(watched: Watched, chance: random.Random, steps: int) -> None:
    """Make, move, take out, bring in and remove directories by chance."""
    names = ("a", "b", "c", "d", "@eaDir")
    for _ in range(steps):
        inside = [Path(top) for top, _, _ in os.walk(watched.root)]
        one, other = chance.choice(inside), chance.choice(inside) / chance.choice(names)
        away = watched.outside / chance.choice(names)
        action = chance.randrange(6)
        with suppress(OSError):  # not every choice is possible
            if action < 2:
                other.mkdir()
            elif action == 2:
                os.makedirs(other / "a" / "b")
            elif one == watched.root:
                continue
            elif action == 3:
                one.rename(other)
            elif action == 4:
                away.rename(other) if away.exists() else one.rename(away)
            else:
                shutil.rmtree(one)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_moves_exactly_what_the_scan_finds_is_watched_under_its_name(watched: Watched, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(5):
        _shake(watched, chance, 60)
        watched.settle()
        ours, kernel, scan = watched.counts()
        assert ours == kernel == scan
        wanted = set()
        for top, below, _ in os.walk(watched.root):
            below[:] = [name for name in below if name != "@eaDir"]
            path = Path(top, f"x{len(wanted)}.jpg")
            path.write_bytes(b"x")  # touch alone tells of no writing
            wanted.add(str(path.relative_to(watched.root)))
        assert set(watched.settle()) == wanted
    assert watched.watcher.failures == 0
    assert watched.watcher.problem == ""


def test_a_walk_that_comes_before_the_events_gives_what_moved_its_new_name_and_forgets_what_left(new: Watched) -> None:
    new.make("a/x/deep", "b", "c/deep")
    reader = InotifyFD()  # not started: no event is ever heard of
    watches = Watches(str(new.root), SELECTION, reader, _Deaf())
    watches.watch_root()
    assert list(watches.walk(watches.root)) == []
    wd = watches.root.below[b"a"].below[b"x"].wd
    (new.root / "a" / "x").rename(new.root / "b" / "y")
    (new.root / "c").rename(new.outside / "c")
    new.make("c")
    (new.root / "b" / "y" / "deep" / "z.jpg").touch()
    assert list(watches.walk(watches.root)) == [b"b/y/deep/z.jpg"]
    assert len(watches) == _in_kernel() == _scanned(new.root).directories == 6
    assert watches.root.below[b"a"].below == {}
    assert wd is not None
    moved = watches.at(wd)
    assert moved is not None
    assert moved.path_of(b"n") == b"b/y/n"
    reader.start()
    reader.stop()
    reader.join()


class _Deaf(WatchCallback):
    """Takes every event for nothing."""

    def on_event(self, event: InotifyEvent) -> None:
        pass

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        pass

    def on_queue_overflow(self) -> None:
        pass


# The rest needs another user or mounts: in a process of its own.

SCRIPT = """
import os, subprocess, sys, time
from faceblurd.watch.scan import Selection, walk
from faceblurd.watch.events import Watcher

root, seen = sys.argv[1], []
selection = Selection(("*",), ())

def wait(condition):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, (seen, watcher.watched_directories, watcher.problem)
        time.sleep(0.02)

def scanned():
    looked = walk(root, selection)
    list(looked)
    return looked.finished()

def touch(path):
    with open(os.path.join(root, path), "w"):
        pass

watcher = Watcher(root, selection, lambda sighting: seen.append(sighting.path))
{body}
watcher.stop()
print("good")
"""

UNREADABLE = """
os.umask(0)
os.mkdir(f"{root}/open"), os.makedirs(f"{root}/shut/deep")
os.chmod(root, 0o755)
os.chown(f"{root}/shut", 12345, 12345), os.chmod(f"{root}/shut", 0o700)
os.chown(root, 65534, 65534), os.chown(f"{root}/open", 65534, 65534)
os.setgroups([]), os.setgid(65534), os.setuid(65534)
watcher.start()
assert watcher.watched_directories == 2, watcher.watched_directories
assert watcher.problem == "shut: Permission denied", watcher.problem
assert scanned().directories == 3
os.makedirs(f"{root}/open/new/deep")
touch("open/new/deep/x.jpg")
wait(lambda: "open/new/deep/x.jpg" in seen)
os.mkdir(f"{root}/late", 0o000)
wait(lambda: watcher.problem == "late: Permission denied")
assert watcher.watched_directories == 4
os.chmod(f"{root}/late", 0o755)
watcher.watch_missing()
assert watcher.watched_directories == 5
assert watcher.problem == "shut: Permission denied"
touch("late/y.jpg")
wait(lambda: "late/y.jpg" in seen)
assert watcher.healthy
"""

MOUNTED = """
os.makedirs(f"{root}/disk"), os.makedirs(f"{root}/a/again")
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", f"{root}/disk"], check=True)
subprocess.run(["mount", "--bind", root, f"{root}/a/again"], check=True)
os.mkdir(f"{root}/disk/deep")
watcher.start()
assert watcher.watched_directories == 2  # not the disk, and what is bound below itself only once
assert watcher.problem == ""
touch("disk/deep/x.jpg"), touch("a/y.jpg")
wait(lambda: "a/y.jpg" in seen)
assert not [path for path in seen if path.startswith("disk")]
assert watcher.healthy
"""

UNMOUNTED = """
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root], check=True)
os.mkdir(f"{root}/a")
watcher.start()
assert watcher.watched_directories == 2
subprocess.run(["umount", root], check=True)
wait(lambda: not watcher.healthy)
assert seen == [], seen
"""

LIMITED = """
with open("/proc/sys/user/max_inotify_watches", "w") as limit:
    limit.write("5")
os.makedirs(f"{root}/a/b/c/d/e/f")
watcher.start()
assert watcher.watched_directories == 5
assert watcher.problem == "raise the watch limit"
assert watcher.healthy
touch("a/b/c/x.jpg")
wait(lambda: "a/b/c/x.jpg" in seen)
with open("/proc/sys/user/max_inotify_watches", "w") as limit:
    limit.write("50")
watcher.watch_missing()
assert watcher.watched_directories == scanned().directories == 7
assert watcher.problem == ""
touch("a/b/c/d/e/f/y.jpg")
wait(lambda: "a/b/c/d/e/f/y.jpg" in seen)
"""


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that another user gets to: pytest shuts the one above `tmp_path` whenever it starts anywhere."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize(
    ("body", "around"),
    [
        pytest.param(UNREADABLE, ["env"], id="unreadable"),
        pytest.param(MOUNTED, ["unshare", "-m"], id="mounted"),
        pytest.param(UNMOUNTED, ["unshare", "-m"], id="unmounted"),
        pytest.param(LIMITED, ["unshare", "-U", "-r"], id="limited"),
    ],
)
def test_what_cannot_or_must_not_be_watched_is_not_counted(open_to_all: Path, body: str, around: list[str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else and to mount")
    (open_to_all / "root").mkdir()
    command = [*around, sys.executable, "-c", SCRIPT.replace("{body}", body), open_to_all / "root"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.stdout == "good\n", done.stderr
