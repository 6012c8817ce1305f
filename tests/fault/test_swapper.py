"""Somebody on the share swaps photos and folders for links, FIFOs and hard links while the daemon works.

Half a minute of it in CI, else six seconds; FACEBLURD_SWAP_SECONDS and FACEBLURD_SWAP_SEED change that.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from faceblurd.imaging.detect import open_glance
from faceblurd.model import NetworksSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = float(os.environ.get("FACEBLURD_SWAP_SECONDS") or ("30" if os.environ.get("CI") else "6"))
SEED = int(os.environ.get("FACEBLURD_SWAP_SEED") or "20261124")
COMMAND = Path(sys.executable).with_name("faceblurd")
OURS, ELSEWHERE = (40, 200, 40), (200, 40, 200)  # the colour of the lowest rows: whose photo it is
FOLDERS, LINKS = ("a", "b"), ("link-a", "link-b")
NAMES = tuple(f"p{number}.jpg" for number in range(4))
SELDOM = 0.015
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@pytest.fixture(scope="module")
def photo(astronaut_jpeg: bytes) -> Callable[..., bytes]:
    face = cv2.imdecode(np.frombuffer(astronaut_jpeg, np.uint8), cv2.IMREAD_COLOR)[20:240, 110:330]

    def make(colour: tuple[int, int, int], *, with_face: bool = True) -> bytes:
        picture = face.copy() if with_face else np.full_like(face, 128)
        picture[-24:] = colour
        return cv2.imencode(".jpg", picture)[1].tobytes()

    return make


class Swapper(threading.Thread):
    """Does one hostile thing after another in the roots, by chance but always the same chance."""

    def __init__(self, roots: list[Path], elsewhere: Path, ours: bytes) -> None:
        super().__init__(daemon=True)
        self.roots, self.elsewhere, self.ours = roots, elsewhere, ours
        self.end, self.done, self.error = threading.Event(), Counter[str](), ""
        self.chance = random.Random(SEED)
        self.swapped: set[Path] = set()
        self.libc = ctypes.CDLL(None, use_errno=True)

    def run(self) -> None:
        ways: list[Callable[[Path], None]] = [
            self.upload, self.upload, self.upload, self.overwrite, self.link, self.climbing_link, self.hard_link,
            self.fifo, self.folder, self.swap_folder, self.swap_folder, self.exchange_with_hard_link,
        ]  # fmt: skip
        seldom = [self.swap_root, self.swap_mirror]  # work stops until the daemon has had a look
        while not self.end.wait(self.chance.random() * 0.02):
            way = self.chance.choice(seldom if self.chance.random() < SELDOM else ways)
            place = self.chance.choice(self.roots) / self.chance.choice(FOLDERS) / self.chance.choice(NAMES)
            if place.parent in self.swapped and way not in (self.swap_folder, self.swap_root, self.swap_mirror):
                continue  # it is the folder elsewhere at the moment: an intruder could not write there
            try:
                way(place)
            except FileNotFoundError:
                continue  # the daemon has just put its result there
            except Exception as error:  # noqa: BLE001 - said by the test
                self.error = f"{way.__name__}: {error!r}"
                return
            self.done[way.__name__] += 1

    @property
    def went_every_way(self) -> bool:
        """Whether each thing was done, and what is not seldom three times."""
        done = dict(self.done)
        often = [number for name, number in done.items() if name not in {"swap_root", "swap_mirror"}]
        return len(done) == 11 and min(often) >= 3

    def _over(self, place: Path, make: Callable[[Path], None]) -> None:
        """Make something beside `place`, and let it take the name."""
        new = place.with_name(".new")
        with suppress(FileNotFoundError):
            new.unlink()
        make(new)
        if place.is_dir() and not place.is_symlink():
            place.rmdir()
        new.rename(place)
        with suppress(FileNotFoundError):
            new.unlink()  # renaming one hard link over another of the same file leaves both

    def upload(self, place: Path) -> None:
        self._over(place, lambda new: _put(new, self.ours))

    def overwrite(self, place: Path) -> None:
        if place.is_file() and not place.is_symlink() and place.stat().st_nlink == 1:
            place.write_bytes(self.ours)

    def link(self, place: Path) -> None:
        self._over(place, lambda new: new.symlink_to(self.elsewhere / "a" / "p0.jpg"))

    def climbing_link(self, place: Path) -> None:
        self._over(place, lambda new: new.symlink_to("../../elsewhere/a/p1.jpg"))

    def hard_link(self, place: Path) -> None:
        self._over(place, lambda new: os.link(self.elsewhere / "a" / "p2.jpg", new))

    def fifo(self, place: Path) -> None:
        self._over(place, os.mkfifo)

    def folder(self, place: Path) -> None:
        if not place.is_dir() and not place.is_symlink():
            place.unlink(missing_ok=True)
            place.mkdir()

    def exchange_with_hard_link(self, place: Path) -> None:
        """Let a hard link to the file elsewhere and the photo, which may be in hand, take each other's names."""
        new = place.with_name(".new")
        new.unlink(missing_ok=True)
        os.link(self.elsewhere / "a" / "p3.jpg", new)
        self._exchange(new, place)
        if new.is_dir() and not new.is_symlink():
            new.rmdir()
        else:
            new.unlink()

    def swap_root(self, place: Path) -> None:
        """Exchange a whole root for another folder: what a root is may change, as long as its parent is not theirs."""
        root = place.parent.parent
        if not any(folder.parent == root for folder in self.swapped):
            self._exchange(root, root.with_name(f"other-{root.name}"))

    def swap_mirror(self, place: Path) -> None:
        """Exchange a folder of the mirror, for one who can write there, for a link to the folder elsewhere."""
        self._swap(self.elsewhere.parent / "out" / place.parent.name)

    def swap_folder(self, place: Path) -> None:
        """Exchange a folder for a link to the one elsewhere, at once; the next time, back."""
        self._swap(place.parent)

    def _swap(self, folder: Path) -> None:
        self._exchange(folder, folder.with_name(f"link-{folder.name}"))
        self.swapped ^= {folder}

    def _exchange(self, one: Path, other: Path) -> None:
        paths = os.fsencode(one), os.fsencode(other)
        if self.libc.renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def restore(self) -> None:
        for folder in list(self.swapped):
            self._swap(folder)
        for root in self.roots:
            for path in list(root.rglob("*")):
                if path.is_symlink() or (path.is_file() and path.stat().st_nlink > 1):
                    path.unlink()


def _put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _all_of(folder: Path) -> dict[str, tuple[Any, ...]]:
    """What lies in a folder, and what a change would change; not how many links the intruder made."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(folder.rglob("*")):
        st = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(st.st_mode) else b""
        found[str(path)] = (st.st_ino, st.st_mode, st.st_uid, st.st_mtime_ns, content)
    return found


@pytest.fixture
def place(tmp_path: Path, photo: Callable[..., bytes]) -> Path:
    """Two roots with folders and links to swap them with; and the folder elsewhere, with the same names."""
    for root in ("in", "in_place", "other-in", "other-in_place", "out"):
        for name in FOLDERS:
            (tmp_path / root / name).mkdir(parents=True)
            (tmp_path / root / f"link-{name}").symlink_to(tmp_path / "elsewhere" / "a")
    (tmp_path / "elsewhere" / "a").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (tmp_path / "elsewhere" / "a" / name).write_bytes(photo(ELSEWHERE, with_face=bool(number % 2)))
    roots = [
        {"path": str(tmp_path / "in"), "mode": "mirror", "to": str(tmp_path / "out")},
        {"path": str(tmp_path / "in_place"), "mode": "in_place", "on_failure": "hold"},
    ]
    quick = {"quiet_seconds": 0.05, "rescan_seconds": 1}
    config = {
        "state_dir": str(tmp_path / "state"), "recipe": "fast", "roots": [root | quick for root in roots],
        "workers": {"count": 2, "retry_seconds": 0.2},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    return tmp_path


@pytest.fixture
def daemon(place: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [COMMAND, "run", "--config", place / "config.yaml"], stderr=log,
            env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        )  # fmt: skip
    yield process
    process.kill()
    process.wait()


def _files(out: Path) -> Iterator[tuple[str, int]]:
    """Open what lies in the mirror, through no link: those to the folder elsewhere are the intruder's."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK
    for folder in (".", *FOLDERS, *LINKS):
        try:
            above = os.open(out / folder, flags | os.O_DIRECTORY)
        except NotADirectoryError:
            continue
        try:
            names = [name for name in os.listdir(above) if folder != "." or name not in {*FOLDERS, *LINKS}]
            for name in names:
                with suppress(FileNotFoundError):  # replaced meanwhile
                    yield f"{folder}/{name}", os.open(name, flags, dir_fd=above)
        finally:
            os.close(above)


def _look(out: Path, seen: set[tuple[int, int, int]], detector: Any) -> None:
    """Look at everything that the mirror shows and did not show before."""
    for path, fd in _files(out):
        with os.fdopen(fd, "rb") as file:
            st = os.fstat(fd)
            assert stat.S_ISREG(st.st_mode), f"{path} is no file"
            if (key := (st.st_ino, st.st_mtime_ns, st.st_ctime_ns)) in seen:
                continue
            seen.add(key)
            content = file.read()
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None, f"{path} is not whole"
        assert np.abs(picture[-8:].astype(int) - OURS).mean() < 30, f"{path} comes from elsewhere"
        assert not detector.detect(picture), f"{path} shows a face"


@pytest.mark.slow
def test_swaps_bring_nothing_from_elsewhere_into_the_mirror_and_change_nothing_there(
    daemon: subprocess.Popen[bytes], place: Path, photo: Callable[..., bytes], wait_until: Callable[..., Any]
) -> None:
    log, out, detector = place / "log", place / "out", open_glance(NetworksSpec())
    wait_until(lambda: b'"daemon.started"' in log.read_bytes(), what="the daemon")
    before, ours = _all_of(place / "elsewhere"), photo(OURS)
    swapper, seen = Swapper([place / "in", place / "in_place"], place / "elsewhere", ours), set[tuple[int, int, int]]()
    until = time.monotonic() + SECONDS
    swapper.start()
    while swapper.is_alive():
        swapper.join(0.02)
        with suppress(FileNotFoundError):  # replaced while it was looked at
            _look(out, seen, detector)
        if time.monotonic() > until and swapper.went_every_way and len(seen) > 3:
            swapper.end.set()  # a slow machine takes longer for as much
    swapper.join()
    swapper.restore()
    assert not swapper.error
    assert swapper.went_every_way

    for root in ("in", "in_place"):
        (place / root / "after.jpg").write_bytes(ours)
    wait_until((out / "after.jpg").exists, what="the daemon at work afterwards")
    wait_until(lambda: (place / "in_place" / "after.jpg").read_bytes() != ours, what="the root in place as well")
    _look(out, seen, detector)
    assert len(seen) > 3, "something was published at all"
    assert _all_of(place / "elsewhere") == before
    daemon.send_signal(signal.SIGTERM)
    try:
        assert daemon.wait(300) == 0, log.read_text()[-3000:]
    except subprocess.TimeoutExpired:
        daemon.send_signal(signal.SIGABRT)  # faulthandler writes where every thread is
        daemon.wait(10)
        raise AssertionError(log.read_text()[-6000:]) from None
    assert not list(place.rglob(".faceblurd-*"))
    _look(out, seen, detector)
