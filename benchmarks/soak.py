"""A daemon under writers and faults for some minutes; then every file is checked, by its content.

Writers copy, move, write slowly, overwrite, rename and delete photos in a mirrored and an in-place root. Meanwhile
workers and the daemon are killed with signal 9 (the daemon is started again), and the daemon is stopped for seconds.
Each photo carries a number in black and white blocks beside its face: so the end shows for every name whether the
newest upload was published, with its face hidden, and whether anything else appeared.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import bench
import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

_BITS: Final = 24
_BLOCK: Final = 9  # pixels a bit
_EYES: Final = np.s_[60:110, 70:150]
_HIDDEN: Final = 2.5  # levels from pixel to pixel; a face has more than 8
_QUIET_SECONDS: Final = 8.0
_PORTRAIT: Final = Path(__file__).resolve().parent.parent / "demo" / "astronaut.jpg"
CONFIG: Final = """\
state_dir: {top}/state
roots:
  - {{path: {top}/mirrored, mode: mirror, to: {top}/out, quiet_seconds: 0.3, rescan_seconds: 20}}
  - {{path: {top}/in_place, mode: in_place, quiet_seconds: 0.3, rescan_seconds: 20}}
workers: {{retry_seconds: 1, max_attempts: 20}}
logging: {{format: json}}
"""


class Photos:
    """Portraits, each with a number of its own."""

    def __init__(self) -> None:
        """Cut the face out."""
        picture = cv2.imread(str(_PORTRAIT))
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
    """What should be there: the newest number by path; and every name that ever was."""

    photos: Photos
    newest: dict[Path, int] = field(default_factory=dict)
    names: set[Path] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)


class Writer(threading.Thread):
    """Puts photos into a folder of its own below a root, in every way that people do."""

    def __init__(self, world: World, folder: Path, seed: int) -> None:
        """Prepare; the folder is made."""
        super().__init__(daemon=True)
        self._world, self._folder, self._random = world, folder, random.Random(seed)
        folder.mkdir(parents=True)

    def run(self) -> None:
        """Go on until it is over."""
        often = [self.copy, self.copy, self.move, self.move]
        actions: list[Callable[[Path], None]] = [*often, self.slow, self.rename, self.delete]
        while not self._world.over.is_set():
            action = self._random.choice(actions)
            with suppress(FileNotFoundError):
                action(self._path())
            self._world.done[action.__name__] += 1
            time.sleep(self._random.random() * 0.5)

    def _path(self) -> Path:
        """Give a name: new ones, and some that were there before."""
        return self._folder / f"{self._random.randrange(1000) % 7}" / f"p{self._random.randrange(60)}.jpg"

    def _write(self, path: Path, write: Callable[[Path, bytes], None]) -> None:
        number, content = self._world.photos.make()
        path.parent.mkdir(exist_ok=True)
        self._world.names.add(path)
        write(path, content)
        self._world.newest[path] = number

    def copy(self, path: Path) -> None:
        """Write or overwrite."""
        self._write(path, lambda to, content: to.write_bytes(content) and None)

    def move(self, path: Path) -> None:
        """Write under a hidden name, as rsync does, and rename."""

        def write(to: Path, content: bytes) -> None:
            partial = to.with_name(f".{to.name}.AbCdEf")
            partial.write_bytes(content)
            partial.replace(to)

        self._write(path, write)

    def slow(self, path: Path) -> None:
        """Write in pieces."""

        def write(to: Path, content: bytes) -> None:
            with to.open("wb") as file:
                for at in range(0, len(content), 1 + len(content) // 8):
                    file.write(content[at : at + 1 + len(content) // 8])
                    file.flush()
                    time.sleep(0.1)

        self._write(path, write)

    def rename(self, path: Path) -> None:
        """Give a photo another name."""
        other = self._path()
        if path in self._world.newest and other != path:
            other.parent.mkdir(exist_ok=True)
            self._world.names.add(other)
            path.replace(other)
            self._world.newest[other] = self._world.newest.pop(path)

    def delete(self, path: Path) -> None:
        """Remove a photo."""
        path.unlink()
        self._world.newest.pop(path, None)


class Keeper:
    """Starts the daemon, hurts it, and starts it again."""

    def __init__(self, top: Path, seed: int) -> None:
        """Write the config."""
        self._top, self._random = top, random.Random(seed)
        self.config, self.log = top / "config.yaml", top / "log"
        self.config.write_text(CONFIG.format(top=top))
        self.faults: Counter[str] = Counter()
        self.memory: list[list[int]] = []
        self.handles: list[tuple[int, int]] = []

    def start(self) -> None:
        """Start it, and wait until it works."""
        seen = self.count("daemon.started")
        with self.log.open("ab") as log:
            command = (*bench.FACEBLURD, "run", "--config", str(self.config))
            self._process = subprocess.Popen(command, stderr=log, stdout=log)
        while self.count("daemon.started") == seen:
            if self._process.poll() is not None:
                raise SystemExit(f"the daemon ended: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)
        self.memory.append([])

    def count(self, event: str) -> int:
        """Count the log lines of an event."""
        return self.log.read_text().count(f'"event": "{event}"') if self.log.exists() else 0

    def sample(self) -> None:
        """Note memory, descriptors and threads of the parent."""
        proc = Path(f"/proc/{self._process.pid}")
        with suppress(FileNotFoundError):
            self.memory[-1].append(int((proc / "statm").read_text().split()[1]) * bench.PAGE_BYTES >> 10)
            self.handles.append((len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir()))))

    def hurt(self) -> None:
        """Do one of the things that happen."""
        kind = self._random.choice(["worker killed", "worker killed", "daemon killed", "daemon stopped"])
        if kind == "worker killed":
            workers = [pid for pid in _children(self._process.pid) if "spawn_main" in _command(pid)]
            if not workers:
                return
            with suppress(ProcessLookupError):
                os.kill(self._random.choice(workers), signal.SIGKILL)
        elif kind == "daemon killed":
            self._process.kill()
            self._process.wait()
            self.start()
        else:
            self._process.send_signal(signal.SIGSTOP)
            time.sleep(2)
            self._process.send_signal(signal.SIGCONT)
        self.faults[kind] += 1

    def stop(self) -> None:
        """End it as systemd would."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def wrong(world: World, top: Path) -> dict[str, list[str]]:
    """Say what is not as it should be: lost, stale, shown, torn, extra."""
    found: dict[str, list[str]] = {"lost": [], "stale": [], "shown": [], "torn": [], "extra": []}
    mirrored = top / "mirrored"
    for source, number in world.newest.items():
        result = top / "out" / source.relative_to(mirrored) if source.is_relative_to(mirrored) else source
        seen = look(result) if result.exists() else None
        if seen is None:
            found["lost"].append(str(result))
        elif seen[0] != number:
            found["stale"].append(str(result))
    allowed = {top / "out" / name.relative_to(mirrored) for name in world.names if name.is_relative_to(mirrored)}
    allowed |= {name for name in world.names if not name.is_relative_to(mirrored)}
    for folder in (top / "out", top / "in_place"):
        for path in folder.rglob("*"):
            if path.is_dir():
                continue
            seen = look(path)
            found["extra"] += [] if path in allowed else [str(path)]
            found["torn"] += [str(path)] if seen is None else []
            found["shown"] += [str(path)] if seen is not None and not seen[1] else []
    return found


def main() -> None:
    """Run, and print what happened."""
    parser = bench.parser(__doc__ or "")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faceblurd-soak-") as folder:
        top = Path(folder).resolve()
        for name in ("mirrored", "in_place", "out"):
            (top / name).mkdir()
        world, keeper = World(Photos()), Keeper(top, arguments.seed)
        keeper.start()
        _rage(world, keeper, top, arguments)
        found = _settle(world, keeper, top)
        keeper.sample()
        keeper.stop()
        left = [str(path) for path in top.rglob(".faceblurd-*")]
        _report(world, keeper, {**found, "staging files": left}, arguments)


def _rage(world: World, keeper: Keeper, top: Path, arguments: bench.argparse.Namespace) -> None:
    for number in range(arguments.writers):
        Writer(world, top / ("in_place" if number % 2 else "mirrored") / f"w{number}", arguments.seed + number).start()
    end = time.monotonic() + arguments.minutes * 60
    next_fault = time.monotonic() + 10
    while time.monotonic() < end:
        time.sleep(1)
        keeper.sample()
        if time.monotonic() > next_fault:
            keeper.hurt()
            next_fault = time.monotonic() + 8
            bench.say(f"{(end - time.monotonic()) / 60:.1f} minutes left, {world.photos.made} photos, {keeper.faults}")
    world.over.set()
    time.sleep(2)


def _settle(world: World, keeper: Keeper, top: Path) -> dict[str, list[str]]:
    """Wait until all is right, or nothing moves any more for a while."""
    found, before, since = wrong(world, top), -1, time.monotonic()
    while any(found.values()) and time.monotonic() - since < 5 * _QUIET_SECONDS:
        now = keeper.count("file.published")
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(1)
        keeper.sample()
        found = wrong(world, top)
    return found


def _report(world: World, keeper: Keeper, found: dict[str, list[str]], arguments: bench.argparse.Namespace) -> None:
    longest = max(keeper.memory, key=len)
    warm = longest[len(longest) // 4 :] or longest or [0]
    growth = 100 * (warm[-1] / max(warm[0], 1) - 1)
    events = ("file.published", "file.retried", "file.quarantined", "file.recovered")
    rows: list[tuple[str, object]] = [
        ("minutes", arguments.minutes), ("photos written", world.photos.made), *sorted(world.done.items()),
        *sorted(keeper.faults.items()), *((event, keeper.count(event)) for event in events),
        ("photos at the end", len(world.newest)), *((name, len(paths)) for name, paths in found.items()),
        ("parent's memory, KB", warm[-1]), (f"growth in {len(warm)} s, %", round(growth, 1)),
        ("descriptors, most", max(fds for fds, _ in keeper.handles)),
        ("threads, most", max(threads for _, threads in keeper.handles)),
    ]  # fmt: skip
    bench.show("Soak", ("what", "number"), rows)
    bench.finish(arguments, {"soak": dict(rows), "found": found})
    if any(found.values()):
        raise SystemExit(str({name: paths[:5] for name, paths in found.items() if paths}))


if __name__ == "__main__":
    main()
