"""The scan of a real tree: what is found, what is not followed, and what happens when nobody listens any more."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from faceblurd.intake.inbox import SCAN_BATCHES, Inbox

from faceblurd.intake import heads
from faceblurd.intake import inbox as inbox_module
from faceblurd.intake.filesystem import RootIdentity
from faceblurd.intake.heads import Heads
from faceblurd.intake.scanner import BATCH, Batch, Finished, Scan, Selection, survey, walk
from faceblurd.model import Fingerprint, Sighting, Source
from faceblurd.rules.filter import Why

if TYPE_CHECKING:
    from collections.abc import Callable
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
    real = heads.read_head

    def read(root: str, path: str) -> bytes:
        opened.append(path)
        if path == "locked":
            raise PermissionError(errno.EACCES, "no")
        return real(root, path)

    monkeypatch.setattr(heads, "read_head", read)
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
    posted: list[Batch | Finished] = []
    done = threading.Event()

    def post(item: Batch | Finished) -> None:
        posted.append(item)
        if isinstance(item, Finished):
            done.set()

    Scan(str(root), IMAGES, post).start()
    assert done.wait(300)
    *batches, last = posted
    assert isinstance(last, Finished)
    assert all(isinstance(batch, Batch) and len(batch.found) <= BATCH for batch in batches)
    return [found.path for batch in batches if isinstance(batch, Batch) for found in batch.found], last


def test_a_scan_posts_everything_in_batches_and_counts(tmp_path: Path) -> None:
    names = [f"{number % 7}/{number:04}.jpg" for number in range(BATCH + 30)]
    _make(tmp_path, *names)
    paths, finished = _scan(tmp_path)
    assert sorted(paths) == sorted(names)
    assert (finished.directories, finished.files, finished.errors) == (8, len(names), ())


def test_a_scan_of_a_missing_root_says_so(tmp_path: Path) -> None:
    paths, finished = _scan(tmp_path / "nowhere")
    assert paths == []
    assert "No such file" in finished.errors[0]


def test_what_cannot_be_read_is_reported_and_the_rest_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the kernel's answer is given here."""
    _make(tmp_path, "closed/a.jpg", "open/a.jpg")
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
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


@pytest.mark.parametrize("remembers", [True, False])
def test_a_scan_remembers_what_it_saw_where_it_is_told_to_and_nothing_was_missed(
    tmp_path: Path, remembers: bool
) -> None:
    _make(tmp_path, "a.jpg", "b/c.jpg")
    posted: list[Batch | Finished] = []

    def run() -> Finished:
        scan = Scan(str(tmp_path), IMAGES, posted.append, number=7, remembers=remembers)
        scan.start()
        scan._thread.join(300)
        assert isinstance(posted[-1], Finished)
        return posted[-1]

    finished = run()
    assert finished.number == 7
    assert finished.seen == (frozenset({hash("a.jpg"), hash("b/c.jpg")}) if remembers else None)


def test_a_survey_counts_what_a_scan_would_look_into_until_it_is_stopped(tmp_path: Path) -> None:
    _make(tmp_path, "a.jpg", "b/c/d.jpg", "private/e.jpg")
    assert survey(str(tmp_path), IMAGES, stopped=lambda: False).directories == 3
    looks = iter([False, True])
    assert survey(str(tmp_path), IMAGES, stopped=lambda: next(looks)).directories == 1


def test_a_stopped_scan_does_not_say_that_it_finished(tmp_path: Path, wait_until: Callable[..., Any]) -> None:
    """It would be taken for the end of the scan that was started after it."""
    _make(tmp_path, *(f"{number}.jpg" for number in range(BATCH + 1)))
    posted: list[Batch | Finished] = []
    stopped = threading.Event()

    def post(item: Batch | Finished) -> None:
        posted.append(item)
        stopped.wait(300)

    scan = Scan(str(tmp_path), IMAGES, post)
    scan.start()
    wait_until(lambda: posted)
    scan.stop()
    stopped.set()
    scan._thread.join(300)
    assert not scan._thread.is_alive()
    assert not any(isinstance(item, Finished) for item in posted)


# --- the door into the pipeline


def test_a_scan_waits_for_the_pipeline_and_ends_when_the_inbox_is_closed(
    tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    inbox = Inbox()
    for _ in range(SCAN_BATCHES):
        inbox.put_scan(Batch(str(tmp_path), ()))
    _make(tmp_path, "a.jpg")
    scan = Scan(str(tmp_path), IMAGES, inbox.put_scan)
    scan.start()
    assert scan._thread.is_alive()
    inbox.close()
    scan._thread.join(300)
    assert not scan._thread.is_alive()


def test_a_late_ring_goes_nowhere_else_after_the_close(tmp_path: Path) -> None:
    """A number that is used again would get eight bytes into whatever file has it then."""
    inbox = Inbox()
    inbox.close()
    path = tmp_path / "photo.jpg"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    inbox.ring()
    inbox.put_event(Sighting("/r", "a.jpg", Source.EVENT))
    os.close(fd)
    assert path.read_bytes() == b""


def test_events_come_out_in_order_and_ring_until_all_are_out() -> None:
    inbox = Inbox()
    sightings = [Sighting("/r", f"{number}.jpg", Source.EVENT) for number in range(5)]
    for one in sightings:
        inbox.put_event(one)
    inbox.clear_bell()
    assert inbox.events(3) == sightings[:3]
    assert os.eventfd_read(inbox.fd) > 0  # rings for the rest
    assert inbox.events(3) == sightings[3:]
    assert inbox.events(3) == []
    inbox.clear_bell()
    inbox.clear_bell()
    inbox.close()


def test_events_beyond_the_bound_are_dropped_and_their_roots_are_remembered_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inbox_module, "MOST_EVENTS", 3)
    inbox = Inbox()
    for number in range(3):
        inbox.put_event(Sighting("/kept", f"{number}.jpg", Source.EVENT))
    for number in range(5):
        inbox.put_event(Sighting("/flooded", f"{number}.jpg", Source.EVENT))
    assert len(inbox) == 3
    assert inbox.dropped() == {"/flooded"}
    assert inbox.dropped() == set()
    assert {one.root for one in inbox.events(10)} == {"/kept"}
    inbox.put_event(Sighting("/flooded", "later.jpg", Source.EVENT))
    assert [one.path for one in inbox.events(10)] == ["later.jpg"]
    inbox.close()


def test_an_inbox_that_nobody_has_any_more_leaves_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        Inbox().close()
    assert len(os.listdir("/proc/self/fd")) <= before


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
