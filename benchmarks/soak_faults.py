"""The daemon of a soak: started, hurt in every way, started again, and measured meanwhile."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import bench
from soak_disks import overflow

from faceblurd.report.status import read_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from soak_disks import Disk

_AWAY_SECONDS: Final = 5.0  # the daemon looks for its roots every 2 s
_FULL_SECONDS: Final = 5.0
_STATE_FULL_SECONDS: Final = 15.0  # what SQLite has reserved holds some photos more
_STOPPED_SECONDS: Final = 2.0
_KILL_EVERY: Final = 3  # rounds of faults: some lives must be long, or nothing can be said of memory
WARM_UP_SECONDS: Final = 60.0
_LEAST_LIFE_SECONDS: Final = 120.0  # after the warm-up
_YOUNG_SECONDS: Final = (20.0, 40.0)  # the age at which lives are compared


class Log:
    """What the daemon has said so far, counted."""

    def __init__(self, path: Path) -> None:
        """Start at the beginning."""
        self._path, self._offset = path, 0
        self.events: Counter[str] = Counter()
        self.published: Counter[str] = Counter()  # by path
        self.reasons: Counter[str] = Counter()

    def read(self) -> Counter[str]:
        """Read on, and give the number of lines by event."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in whole.splitlines():
            with suppress(ValueError):  # the end of a killed one
                self._take(json.loads(line))
        return self.events

    def _take(self, line: dict[str, Any]) -> None:
        self.events[line["event"]] += 1
        if line["event"] == "file.published":
            self.published[line["path"]] += 1
        elif line["event"] in {"file.retried", "file.quarantined"}:
            self.reasons[f"{line['event']}: {line['reason']}"] += 1

    def outcomes(self) -> int:
        """Count what was done to files."""
        return sum(count for event, count in self.read().items() if event.startswith("file."))


@dataclass
class Life:
    """One process of the daemon: memory in KB, descriptors and threads by its age in seconds."""

    born: float
    samples: list[tuple[float, int, int, int]] = field(default_factory=list)

    def growth(self) -> float | None:
        """Give the growth of memory after the warm-up, in per cent; None for a life too short to say."""
        return _growth([(age, memory) for age, memory, _, _ in self.samples if age > WARM_UP_SECONDS])

    def steady(self, column: int) -> tuple[int, int, int]:
        """Give descriptors (2) or threads (3): the most in the first third, in the last third, and ever.

        The most, not the fewest: a suspended root has no watcher, and an idle daemon has no file in hand.
        """
        values = [sample[column] for sample in self.samples] or [0]
        third = max(1, len(values) // 3)
        return max(values[:third]), max(values[-third:]), max(values)


def _growth(points: list[tuple[float, float]]) -> float | None:
    """Fit a line through points as Theil and Sen do (outliers do not matter); return its rise in per cent."""
    if not points or points[-1][0] - points[0][0] < _LEAST_LIFE_SECONDS:
        return None
    chosen = points[:: max(1, len(points) // 200)]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(chosen, 2) if b[0] > a[0]]
    rise = statistics.median(slopes) * (points[-1][0] - points[0][0])
    return 100 * rise / statistics.median(value for _, value in chosen)


def growth_over(lives: list[Life]) -> float | None:
    """Compare lives at the same age."""
    young = [
        (life.born, statistics.median(values))
        for life in lives
        if (values := [sample[1] for sample in life.samples if _YOUNG_SECONDS[0] < sample[0] < _YOUNG_SECONDS[1]])
    ]
    return _growth(young)


class Keeper:
    """Starts the daemon, hurts it, and starts it again."""

    def __init__(self, top: Path, disks: dict[str, Disk], seed: int) -> None:
        """Prepare; `disks` is empty where nothing can be mounted."""
        self._config, self._log_path = top / "config.yaml", top / "log"
        self._log_path.touch()
        self._top, self._disks, self._random = top, disks, random.Random(seed)
        self.log = Log(self._log_path)
        self.faults: Counter[str] = Counter()
        self.lives: list[Life] = []
        self.below_mount_points: list[str] = []
        self._rounds = 0
        self._round: list[tuple[str, Callable[[], bool]]] = []

    # --- its life

    def start(self) -> None:
        """Start it, and wait until it works."""
        seen = self.log.read()["daemon.started"]
        with self._log_path.open("ab") as log:
            command = (*bench.FACEBLURD, "run", "--config", str(self._config))
            self._process = subprocess.Popen(command, stderr=log, stdout=log)
        while self.log.read()["daemon.started"] == seen:
            self.check_alive()
            time.sleep(0.05)  # the step of a poll; `check_alive` ends it
        self.lives.append(Life(time.monotonic()))

    def check_alive(self) -> None:
        """End the soak if the daemon has ended by itself."""
        if self._process.poll() is not None:
            raise SystemExit(f"the daemon ended: {self._log_path.read_text()[-3000:]}")

    def sample(self) -> None:
        """Note memory, descriptors and threads of the parent."""
        self.check_alive()
        proc, life = Path(f"/proc/{self._process.pid}"), self.lives[-1]
        memory = int((proc / "statm").read_text().split()[1]) * bench.PAGE_BYTES >> 10
        counts = (len(list((proc / name).iterdir())) for name in ("fd", "task"))
        life.samples.append((time.monotonic() - life.born, memory, *counts))

    def queued(self) -> int:
        """Give how many files wait for a worker, as the daemon last said."""
        return sum(root["queued"] for root in read_status(self._top / "state").get("roots", ()))

    def held(self, reason: str) -> set[str]:
        """List the photos that are held for a reason, as the command says while the daemon runs."""
        command = (*bench.FACEBLURD, "quarantine", "list", "--json", "--config", str(self._config))
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return {one["path"] for one in map(json.loads, lines) if one["reason"] == reason}

    def stop(self) -> int:
        """End it as systemd would; return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.end()
            raise

    def end(self) -> None:
        """See that it does not outlive us."""
        self._process.kill()
        self._process.wait()

    # --- what happens to it

    @property
    def kinds(self) -> dict[str, Callable[[], bool]]:
        """Give what can happen here; each tells whether it did."""
        kinds = {
            "worker killed": self._kill_worker,
            "daemon killed": self._kill,
            "daemon stopped": self._pause,
            "events overflowed": self._overflow,
        }
        if self._disks:
            kinds |= {
                "target disk full": self._fill_target,
                "state disk full": self._fill_state,
                "root unmounted": self._unmount_root,
                "mirror unmounted": lambda: self._unmount("out"),
            }
        return kinds

    @property
    def saw_all(self) -> bool:
        """Whether everything has happened at least once."""
        return all(self.faults[kind] for kind in self.kinds)

    def hurt(self) -> None:
        """Do one of the things that happen; all of them in a round, in any order."""
        if not self._round:
            self._round = [
                kind for kind in self.kinds.items() if self._rounds % _KILL_EVERY == 0 or kind[0] != "daemon killed"
            ]
            self._random.shuffle(self._round)
            self._rounds += 1
        kind, act = self._round.pop()
        if act():
            self.faults[kind] += 1
        elif not self.faults[kind]:
            self._round.insert(0, (kind, act))  # it must have happened once

    def _kill_worker(self) -> bool:
        with suppress(FileNotFoundError, ProcessLookupError):  # one that ends by itself, just now
            workers = bench.workers(self._process.pid)
            if workers:
                os.kill(self._random.choice(workers), signal.SIGKILL)
                return True
        return False

    def _kill(self) -> bool:
        self._process.kill()
        self._process.wait()
        self.start()
        return True

    def _pause(self) -> bool:
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(_STOPPED_SECONDS)  # the fault itself: stopped for that long
        self._process.send_signal(signal.SIGCONT)
        return True

    def _overflow(self) -> bool:
        before = self.log.read()["root.rewatched"]
        self._process.send_signal(signal.SIGSTOP)
        overflow(self._top / self._random.choice(["mirrored", "in_place"]))
        self._process.send_signal(signal.SIGCONT)
        return self._wait(lambda: self.log.read()["root.rewatched"] > before, 20)

    def _fill_target(self) -> bool:
        disk = self._disks[["out", "in_place"][self.faults["target disk full"] % 2]]
        self._keep_full(disk, lambda: False, _FULL_SECONDS)
        return True

    def _fill_state(self) -> bool:
        before = self.log.read()["daemon.paused"]
        paused = self._keep_full(
            self._disks["state"], lambda: self.log.read()["daemon.paused"] > before, _STATE_FULL_SECONDS
        )
        self._wait(lambda: self.log.read()["daemon.resumed"] >= self.log.events["daemon.paused"], 60)
        return paused

    def _keep_full(self, disk: Disk, enough: Callable[[], bool], most_seconds: float) -> bool:
        def full() -> bool:
            disk.fill()
            return enough()

        try:
            return self._wait(full, most_seconds)
        finally:
            disk.make_room()

    def _unmount_root(self) -> bool:
        return self._unmount(["mirrored", "in_place"][self.faults["root unmounted"] % 2])

    def _unmount(self, name: str) -> bool:
        disk, before = self._disks[name], self.log.read()["root.suspended"]
        disk.detach()
        suspended = self._wait(lambda: self.log.read()["root.suspended"] > before, 20)
        self._wait(lambda: False, _AWAY_SECONDS - 2)
        below = {str(path) for path in disk.at.rglob("*")}
        self.below_mount_points = sorted(below.union(self.below_mount_points))
        disk.attach()
        return suspended

    def _wait(self, true: Callable[[], bool], most_seconds: float) -> bool:
        until, next_sample = time.monotonic() + most_seconds, 0.0
        while not (came := true()) and time.monotonic() < until:
            if time.monotonic() > next_sample:
                self.sample()
                next_sample = time.monotonic() + 1
            time.sleep(0.1)  # the step of a poll with a deadline
        return came
