"""The walk of a real tree: what is found, what is not followed, and how hints come into the loop."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from faceblurd.model import Fingerprint, Sighting, Source
from faceblurd.rules.filter import Why
from faceblurd.watch import events as hints_module
from faceblurd.watch import scan
from faceblurd.watch.events import Hints
from faceblurd.watch.filesystem import RootIdentity
from faceblurd.watch.scan import (
    BATCH,
    Finished,
    Heads,
    Selection,
    Walk,
    survey,
    walk,
)

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = Selection(("*.jpg",), ("private",))


def _make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def _paths(root: Path) -> list[str]:
    return [found.path for found in walk(str(root), IMAGES)]


def test_candidates_are_found_depth_first_with_their_fingerprints(tmp_path: Path) -> None:
    _make(tmp_path, "b.jpg", "a/2.jpg", "a/b/3.jpg", "z/1.jpg", "caf\udce9.jpg", "notes.txt")
    found = list(walk(str(tmp_path), IMAGES))
    assert [one.path for one in found] == ["b.jpg", "caf\udce9.jpg", "a/2.jpg", "a/b/3.jpg", "z/1.jpg"]
    assert found[0].fingerprint == Fingerprint.from_stat((tmp_path / "b.jpg").lstat())


def test_ignored_and_excluded_folders_are_not_looked_into(tmp_path: Path) -> None:
    _make(tmp_path, "@eaDir/a.jpg", "x/#recycle/a.jpg", "private/a.jpg", "x/private/y/a.jpg", "ok/a.jpg")
    assert _paths(tmp_path) == ["ok/a.jpg"]


def test_resource_forks_are_found_in_place_and_their_folders_are_not_counted_as_watched(tmp_path: Path) -> None:
    _make(tmp_path, "a.jpg", "._a.jpg", "._b.txt", "x/.AppleDouble/b.jpg", "x/.AppleDouble/.Parent")
    in_place = walk(str(tmp_path), replace(IMAGES, in_place=True))
    found = {one.path: one.companion_of for one in in_place}
    assert found == {"a.jpg": "", "._a.jpg": "a.jpg", "x/.AppleDouble/b.jpg": "x/b.jpg"}
    assert in_place.directories == 2
    mirror = walk(str(tmp_path), IMAGES)
    assert [one.path for one in mirror] == ["a.jpg"]
    assert mirror.directories == 2


def test_what_is_left_alone_is_counted_with_some_examples(tmp_path: Path) -> None:
    _make(tmp_path, *(f"{number}.txt" for number in range(30)), "private/a.jpg", ".album/a.jpg", "@eaDir/a.jpg")
    looked = walk(str(tmp_path), replace(IMAGES, hidden=False))
    assert list(looked) == []
    counts = {left.why: (left.count, len(left.examples)) for left in looked.left}
    assert counts == {
        Why.NOT_INCLUDED: (30, 20), Why.EXCLUDED: (1, 1), Why.HIDDEN: (1, 1), Why.FOREIGN: (1, 1),
    }  # fmt: skip


def test_files_of_unknown_names_are_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _make(tmp_path, "README", "locked")
    (tmp_path / "IMG_0001").write_bytes(b"\xff\xd8\xff\xe0")
    selection, known, opened = replace(IMAGES, by_content=True), Heads(), list[str]()
    real = scan.read_head

    def read(root: str, path: str) -> bytes:
        opened.append(path)
        if path == "locked":
            raise PermissionError(errno.EACCES, "no")
        return real(root, path)

    monkeypatch.setattr(scan, "read_head", read)
    for _ in range(2):
        looked = walk(str(tmp_path), selection, known)
        assert [one.path for one in looked] == ["IMG_0001"]
        assert [(left.why, left.examples) for left in looked.left] == [
            (Why.NO_PHOTO, ("README",)), (Why.UNREADABLE, ("locked",)),
        ]  # fmt: skip
        assert looked.errors == []
    assert opened.count("README") == 1
    (tmp_path / "README").write_bytes(b"\xff\xd8\xff\xe0 now")
    assert [one.path for one in walk(str(tmp_path), selection, known)] == ["IMG_0001", "README"]


def test_links_fifos_and_folders_named_like_photos_are_no_candidates(tmp_path: Path) -> None:
    _make(tmp_path, "outside/a.jpg", "root/real.jpg")
    root = tmp_path / "root"
    (root / "linked").symlink_to(tmp_path / "outside")
    (root / "link.jpg").symlink_to("real.jpg")
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "fifo.jpg")
    (root / "folder.jpg").mkdir()
    assert _paths(root) == ["real.jpg"]


def test_a_root_that_is_not_there_is_an_error_and_not_an_empty_tree(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _paths(tmp_path / "nowhere")


def _scan(root: Path) -> tuple[list[str], Finished]:
    looked, paths = walk(str(root), IMAGES), list[str]()
    while found := looked.take(BATCH):
        assert len(found) <= BATCH
        paths += [one.path for one in found]
    return paths, looked.finished()


def test_a_walk_gives_everything_as_much_as_is_asked_for_at_a_time_and_counts(tmp_path: Path) -> None:
    names = [f"{number % 7}/{number:04}.jpg" for number in range(BATCH + 30)]
    _make(tmp_path, *names)
    paths, finished = _scan(tmp_path)
    assert sorted(paths) == sorted(names)
    assert (finished.directories, finished.files, finished.errors) == (8, len(names), ())
    looked = walk(str(tmp_path), IMAGES)
    assert [len(looked.take(BATCH)) for _ in range(3)] == [BATCH, 30, 0]


def test_a_walk_reads_no_further_than_it_is_asked_to(tmp_path: Path) -> None:
    """What is not taken costs no memory, and is looked at when its turn has come."""
    _make(tmp_path, "a/1.jpg", "b/2.jpg")
    looked = walk(str(tmp_path), IMAGES)
    assert [one.path for one in looked.take(1)] == ["a/1.jpg"]
    _make(tmp_path, "b/3.jpg")
    assert [one.path for one in looked.take(BATCH)] == ["b/2.jpg", "b/3.jpg"]


def _refuse(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith(f"/{folder}"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


def test_what_cannot_be_read_is_reported_and_the_rest_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the kernel's answer is given here."""
    _make(tmp_path, "closed/a.jpg", "open/a.jpg")
    _refuse(monkeypatch, "closed")
    paths, finished = _scan(tmp_path)
    assert paths == ["open/a.jpg"]
    assert finished.errors == ("closed: Permission denied",)


def test_another_file_system_is_told_of_and_not_looked_into() -> None:
    others = tuple(f"/{name}" for name in os.listdir("/") if name != "proc")
    looked = walk("/", Selection(("*",), others))
    assert not [found.path for found in looked if found.path.startswith("proc/")]
    assert looked.errors == ["proc: another file system, not looked into"]
    assert looked.directories == 1


class Entry:
    """What scandir gives for a name, on a share that fails at the look that follows."""

    name = "b.jpg"

    def __init__(self, error: OSError) -> None:
        self._error = error

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        return False

    def is_file(self, *, follow_symlinks: bool) -> bool:
        return True

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        raise self._error


@pytest.mark.parametrize(("number", "errors"), [(errno.ENOENT, ()), (errno.EIO, ("b.jpg: Input/output error",))])
def test_a_file_that_is_gone_is_no_error_and_one_that_cannot_be_looked_at_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, errors: tuple[str, ...]
) -> None:
    _make(tmp_path, "a.jpg", "c.jpg")
    scandir = os.scandir

    def failing(path: Any) -> Any:
        with scandir(path) as entries:
            return nullcontext([*entries, Entry(OSError(number, os.strerror(number)))])

    monkeypatch.setattr(os, "scandir", failing)
    paths, finished = _scan(tmp_path)
    assert sorted(paths) == ["a.jpg", "c.jpg"]
    assert finished.errors == errors


@pytest.mark.parametrize("whole", [True, False])
def test_nothing_follows_from_what_a_walk_with_errors_did_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    _make(tmp_path, "a.jpg", "b/c.jpg")
    if not whole:
        _refuse(monkeypatch, "b")
    looked = walk(str(tmp_path), IMAGES)
    seen = frozenset(hash(one.path) for one in looked)
    assert seen == {hash(path) for path in (("a.jpg", "b/c.jpg") if whole else ("a.jpg",))}
    assert looked.finished(seen=seen).seen == (seen if whole else None)
    assert looked.finished().seen is None


def test_a_survey_counts_what_a_scan_would_look_into_until_it_is_stopped(tmp_path: Path) -> None:
    _make(tmp_path, "a.jpg", "b/c/d.jpg", "private/e.jpg")
    assert survey(str(tmp_path), IMAGES, stopped=lambda: False).directories == 3
    looks = iter([False, True])
    assert survey(str(tmp_path), IMAGES, stopped=lambda: next(looks)).directories == 1


def test_a_stopped_walk_ends_at_the_next_folder_and_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    """A root that is suspended stops its walk, which may hang in a thread of its own for long."""
    _make(tmp_path, "a/1.jpg", "b/2.jpg")
    stopped = False
    looked = Walk(str(tmp_path), replace(IMAGES, exclude=("gone",)), lambda: stopped)
    assert [one.path for one in looked.take(1)] == ["a/1.jpg"]
    stopped = True
    assert looked.take(BATCH) == []
    assert not looked.complete
    assert looked.finished().unmatched == (), "what was not looked at may be what an exclude names"


# --- the door into the loop


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _sighting(path: str) -> Sighting:
    return Sighting("/r", path, Source.EVENT)


def test_hints_of_another_thread_come_out_in_order_as_many_as_are_asked_for() -> None:
    async def main() -> None:
        hints = Hints(asyncio.get_running_loop())
        taken = asyncio.ensure_future(hints.take(3))
        await _settle()
        assert not taken.done()
        names = [f"{number}.jpg" for number in range(5)]
        thread = threading.Thread(target=lambda: [hints.put(_sighting(name)) for name in names])
        thread.start()
        thread.join()
        async with asyncio.timeout(300):
            assert await taken == names[:3]
            assert len(hints) == 2
            assert await hints.take(3) == names[3:]
            last = asyncio.ensure_future(hints.take(3))
            await _settle()
            assert not last.done()
            hints.put(_sighting("last.jpg"))
            assert await last == ["last.jpg"]

    asyncio.run(main())


def test_a_path_that_is_hinted_at_again_and_again_is_taken_out_once() -> None:
    """A file that is written in small parts, say, by a program that closes it each time."""

    async def main() -> None:
        hints = Hints(asyncio.get_running_loop())
        for name in ("a.jpg", "b.jpg", "a.jpg", "a.jpg"):
            hints.put(_sighting(name))
        assert await hints.take(200) == ["a.jpg", "b.jpg"]
        assert len(hints) == 0

    asyncio.run(main())


def test_a_flood_of_hints_wakes_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop, woken = asyncio.get_running_loop(), list[Any]()
        wake = loop.call_soon_threadsafe
        monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *call: (woken.append(call), wake(*call)))
        hints = Hints(loop)
        for number in range(1000):
            hints.put(_sighting(f"{number}.jpg"))
        assert len(woken) == 1
        assert len(await hints.take(2000)) == 1000
        await _settle()
        hints.put(_sighting("later.jpg"))
        assert len(woken) == 2

    asyncio.run(main())


def test_hints_beyond_the_bound_are_dropped_which_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints_module, "MAX_HINTS", 3)

    async def main() -> None:
        kept, flooded = (Hints(asyncio.get_running_loop()) for _ in range(2))
        for number in range(3):
            kept.put(_sighting(f"{number}.jpg"))
        for number in range(5):
            flooded.put(_sighting(f"{number}.jpg"))
        assert (len(kept), kept.dropped) == (3, False)
        assert (len(flooded), flooded.dropped) == (3, True)
        assert await flooded.take(10) == ["0.jpg", "1.jpg", "2.jpg"]
        assert await flooded.take(10) == [], "whoever takes is told, as long as it was not heeded"
        flooded.dropped = False
        flooded.put(_sighting("later.jpg"))
        assert await flooded.take(10) == ["later.jpg"]
        assert not flooded.dropped

    asyncio.run(main())


def test_a_late_hint_after_the_loops_end_is_nobodys() -> None:
    """A watcher's thread may outlive the engine: nothing is raised into it."""

    async def main() -> Hints:
        return Hints(asyncio.get_running_loop())

    hints = asyncio.run(main())
    hints.put(_sighting("a.jpg"))
    assert len(hints) == 1


def test_a_root_is_the_same_place_after_it_was_made_again_and_after_a_mount_but_not_after_an_unmount() -> None:
    bare, remade, mounted = RootIdentity(1, 2, "/"), RootIdentity(1, 3, "/"), RootIdentity(9, 2, "/srv/photos")
    assert bare.is_same_place(remade)
    assert bare.is_same_place(mounted)
    assert mounted.is_same_place(RootIdentity(10, 2, "/srv/photos"))  # another disk, or a share with a new number
    assert not mounted.is_same_place(bare)
    assert not mounted.is_same_place(RootIdentity(9, 2, "/srv/photos2"))


def test_a_file_has_no_root_identity(tmp_path: Path) -> None:
    _make(tmp_path, "a.jpg")
    with pytest.raises(NotADirectoryError):
        RootIdentity.of(str(tmp_path / "a.jpg"))
    with pytest.raises(FileNotFoundError):
        RootIdentity.of(str(tmp_path / "nowhere"))
    assert RootIdentity.of(str(tmp_path)) == RootIdentity.of(str(tmp_path))
