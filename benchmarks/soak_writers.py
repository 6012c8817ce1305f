"""Who writes into the roots of a soak, in every way that people do, and what should therefore be there.

Each photo carries a number in black and white blocks beside its face, so that any file tells which upload it is. A
writer whose disk is full or away removes what it left half-written as soon as it can; nothing is expected of it then.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import photos as sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

_BITS: Final = 24
_BLOCK: Final = 9  # pixels a bit
_EYES: Final = np.s_[60:110, 70:150]
_HIDDEN: Final = 2.5  # levels from pixel to pixel; a face has more than 8
_PAUSE_SECONDS: Final = 0.5
_LONG_PAUSE_SECONDS: Final = 5.0  # while the daemon is behind: a busy machine must not end with a backlog of an hour
RSYNC: Final = shutil.which("rsync")


class Photos:
    """Portraits, each with a number of its own."""

    def __init__(self) -> None:
        """Cut the face out."""
        picture = cv2.imread(sample.SAMPLE)
        assert picture is not None  # noqa: S101 - it comes with the repository
        self._face = np.full((260, 220, 3), 128, np.uint8)
        self._face[:220] = picture[20:240, 110:330]
        self._lock = threading.Lock()
        self.made = 0

    def make(self) -> tuple[int, bytes]:
        """Return a new number and its JPEG."""
        with self._lock:
            self.made += 1
            number = self.made
        pixels = self._face.copy()
        for bit in range(_BITS):
            pixels[235:255, bit * _BLOCK : (bit + 1) * _BLOCK] = 255 * (number >> bit & 1)
        return number, cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def look(path: Path) -> tuple[int, bool] | None:
    """Return the number of a photo, and whether its face is hidden; None when it is no whole photo."""
    content = path.read_bytes()
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if pixels is None or not content.endswith(b"\xff\xd9"):
        return None
    strip = pixels[240:250, : _BITS * _BLOCK].reshape(10, _BITS, _BLOCK, 3)
    blocks: npt.NDArray[np.float64] = strip.mean(axis=(0, 2, 3))
    number = sum(1 << bit for bit in range(_BITS) if blocks[bit] > 127)
    return number, float(np.abs(np.diff(pixels[_EYES].astype(int), axis=1)).mean()) < _HIDDEN


@dataclass
class World:
    """What should be there: the newest number by path; what ever had that path, and what had it when it became free."""

    elsewhere: Path  # where rsync copies from
    photos: Photos = field(default_factory=Photos)
    newest: dict[Path, int] = field(default_factory=dict)
    ever: defaultdict[Path, list[int]] = field(default_factory=lambda: defaultdict(list))
    left: defaultdict[Path, set[int]] = field(default_factory=lambda: defaultdict(set))
    done: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)
    daemon_is_behind: bool = False

    def free(self, path: Path) -> None:
        """Note that a photo is gone: what is published by its name may be the only copy of it."""
        self.newest.pop(path, None)
        self.left[path].update(self.ever.get(path, ()))


class Writer(threading.Thread):
    """Puts photos into a folder of its own below a root."""

    def __init__(self, world: World, folder: Path, seed: int) -> None:
        """Prepare; the folder is made."""
        super().__init__(daemon=True)
        self._world, self._folder, self._random = world, folder, random.Random(seed)
        self._source = world.elsewhere / f"{folder.name}.jpg"
        self._broken: set[Path] = set()
        folder.mkdir(parents=True)

    def run(self) -> None:
        """Go on until it is over; then leave nothing half-written."""
        often = [self.copy, self.copy, self.move, self.move]
        actions = [*often, self.slow, self.edit, self.edit, self.rename, self.delete]
        if RSYNC is not None:
            actions += [self.rsync, self.rsync_in_place]
        while not self._world.over.is_set():
            action = self._random.choice(actions)
            try:
                if action(self._path()):
                    self._world.done[action.__name__] += 1
            except OSError as error:  # no room, or the disk is away
                self._world.failed[error.strerror or "?"] += 1
            self._clean()
            most = _LONG_PAUSE_SECONDS if self._world.daemon_is_behind else _PAUSE_SECONDS
            self._world.over.wait(self._random.random() * most)
        self._clean()

    def _path(self) -> Path:
        """Give a name: new ones, and some that were there before."""
        return self._folder / f"{self._random.randrange(1000) % 7}" / f"p{self._random.randrange(60)}.jpg"

    def _clean(self) -> None:
        """Remove what a failed write may have left, once its folder is there."""
        for path in list(self._broken):
            if self._folder.is_dir():
                with suppress(FileNotFoundError):
                    path.unlink()
                self._broken.discard(path)
                self._world.free(path)

    def _write(self, path: Path, write: Callable[[Path, bytes], None]) -> bool:
        number, content = self._world.photos.make()
        path.parent.mkdir(exist_ok=True)  # not its parents: nothing must be made below an empty mount point
        self._world.ever[path].append(number)
        try:
            write(path, content)
        except OSError:
            self._broken |= {path, _partial(path)}
            self._world.newest.pop(path, None)
            raise
        self._broken.discard(path)  # a whole photo again, though the disk may have been back before it was cleaned
        self._world.newest[path] = number
        return True

    # --- what people do; each tells whether there was anything to do

    def copy(self, path: Path) -> bool:
        """Write or overwrite."""
        return self._write(path, lambda to, content: to.write_bytes(content) and None)

    def move(self, path: Path) -> bool:
        """Write under a hidden name, as rsync does, and rename."""

        def write(to: Path, content: bytes) -> None:
            _partial(to).write_bytes(content)
            _partial(to).replace(to)

        return self._write(path, write)

    def slow(self, path: Path) -> bool:
        """Write in pieces."""

        def write(to: Path, content: bytes) -> None:
            with to.open("wb") as file:
                for at in range(0, len(content), 1 + len(content) // 8):
                    file.write(content[at : at + 1 + len(content) // 8])
                    file.flush()
                    time.sleep(0.1)  # what this writer is: slow

        return self._write(path, write)

    def edit(self, path: Path) -> bool:
        """Write over a photo in place, as some editors do: never empty, for a moment half old and half new."""

        def write(to: Path, content: bytes) -> None:
            with to.open("r+b") as file:
                file.write(content[: len(content) // 2])
                file.flush()
                file.write(content[len(content) // 2 :])
                file.truncate()

        return path in self._world.newest and self._write(path, write)

    def rsync(self, path: Path) -> bool:
        """Let rsync bring it."""
        return self._write(path, self._run_rsync)

    def rsync_in_place(self, path: Path) -> bool:
        """Let rsync write over it."""
        return self._write(path, lambda to, content: self._run_rsync(to, content, "--inplace"))

    def _run_rsync(self, to: Path, content: bytes, *options: str) -> None:
        self._source.write_bytes(content)
        command = [RSYNC or "rsync", "-I", *options, self._source, to]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0:
            raise OSError(done.returncode, f"rsync ended with {done.returncode}")

    def rename(self, path: Path) -> bool:
        """Give a photo another name."""
        other, number = self._path(), self._world.newest.get(path)
        if number is None or other == path:
            return False
        other.parent.mkdir(exist_ok=True)
        self._world.ever[other].append(number)
        path.replace(other)
        self._broken.discard(other)
        self._world.free(path)
        self._world.newest[other] = number
        return True

    def delete(self, path: Path) -> bool:
        """Remove a photo."""
        if path not in self._world.newest:
            return False
        path.unlink()
        self._world.free(path)
        return True


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.AbCdEf")
