"""A huge backlog: 100,000 small files in 5,000 folders below two roots, and photos that arrive meanwhile.

A daemon starts on them. Until all are done: the memory of the parent, the ledger's size, and how long a new photo, a
replaced one, and one beside a flood of others wait. Then the daemon starts again on what is done: how long until both
roots are scanned, what it reads again (it must be nothing), and what idling costs.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import bench
import cv2
import photos
from daemon import Daemon, Folders
from idle import idle_cpu, tiny_png

if TYPE_CHECKING:
    import argparse

SMALL_SHARE: Final = 0.2  # of all files lie below the second root: it must not wait until the first is done
PHOTO_BYTES: Final = 4000  # a tiny file has fewer, the photo in its place has more
PROBE_SECONDS: Final = 10.0
FLOOD: Final = 300
_TURNS: Final = 6
AIMS: Final = {"parent_mb": 150.0, "photo_seconds": 10.0, "start_seconds": 25.0, "cpu_percent": 1.0, "small_first": 3.0}
CONFIG: Final = """\
state_dir: {top}/state
roots:
  - {{path: {top}/in, mode: mirror, to: {top}/out, quiet_seconds: 0.2, rescan_seconds: 3600}}
  - {{path: {top}/in2, mode: mirror, to: {top}/out2, quiet_seconds: 0.2, rescan_seconds: 3600}}
workers: {{count: {workers}}}
logging: {{format: json, level: info}}
"""


def fill(top: str, files: int, folders: int) -> dict[str, int]:
    """Write the files; return how many each root has."""
    small = int(files * SMALL_SHARE)
    counts = {f"{top}/in": files - small, f"{top}/in2": small}
    number = 0
    for root, count in counts.items():
        below = max(1, folders * count // files)
        for index in range(below):
            os.makedirs(f"{root}/{index:05}", exist_ok=True)
        for index in range(count):
            number += 1
            with open(f"{root}/{index * below // count:05}/{index:06}.png", "wb") as file:
                file.write(tiny_png(number))
    return counts


@dataclass
class Probe:
    """A photo that arrived during the backlog."""

    kind: str
    result: str
    since: float
    seconds: float = 0.0

    def look(self) -> bool:
        """See whether it is published."""
        try:
            if os.path.getsize(self.result) > PHOTO_BYTES:
                self.seconds = time.monotonic() - self.since
        except FileNotFoundError:
            return False
        return self.seconds > 0


@dataclass
class Backlog:
    """The daemon at work: what it has done, and what photos wait for."""

    top: str
    daemon: Daemon
    expected: dict[str, int]
    done: Counter[str] = field(default_factory=Counter)
    paths: set[str] = field(default_factory=set)  # one that was replaced is published twice
    scanned: dict[str, float] = field(default_factory=dict)
    samples: list[tuple[float, int, float, float]] = field(default_factory=list)  # seconds, done, MB, ledger's MB
    probes: list[Probe] = field(default_factory=list)
    large_when_small_was_done: int = -1

    def work(self, most_seconds: float) -> float:
        """Wait for all of it, with photos in between; return the seconds."""
        next_sample, next_probe = 0.0, 3.0
        while self.seconds < most_seconds and not self.is_over():
            if self.seconds > next_sample:
                self._read()
                self._sample()
                next_sample = self.seconds + 1
            if self.seconds > next_probe:
                self._arrive()
                next_probe = self.seconds + PROBE_SECONDS
            for probe in self.probes:
                _ = probe.seconds or probe.look()
            time.sleep(0.02)  # the step of a poll with a deadline
        return self.seconds

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return time.monotonic() - self.daemon.started

    def is_over(self) -> bool:
        """Tell whether the backlog is done, and every photo that came in between."""
        done = all(self.done[root] >= count for root, count in self.expected.items())
        return done and all(probe.seconds for probe in self.probes)

    def _read(self) -> None:
        for line in self.daemon.events():
            if line["event"] == "root.scanned":
                self.scanned.setdefault(line["root"], self.seconds)
            elif line["event"] in {"file.published", "file.clean"}:
                self._count(line["path"])
            elif line["event"].startswith("file."):
                self.done[line["event"]] += 1
        large, small = self.expected
        if self.large_when_small_was_done < 0 and self.done[small] >= self.expected[small]:
            self.large_when_small_was_done = self.done[large]

    def _count(self, path: str) -> None:
        if path.endswith(".png") and path not in self.paths:
            self.paths.add(path)
            self.done[next(root for root in self.expected if path.startswith(f"{root}/"))] += 1

    def _sample(self) -> None:
        done = sum(self.done[root] for root in self.expected)
        state = [entry.stat().st_size for entry in os.scandir(f"{self.top}/state") if "ledger" in entry.name]
        self.samples.append((self.seconds, done, bench.memory_mb(self.daemon.pid)["resident"], sum(state) / 1e6))
        if len(self.samples) % 10 == 1:
            bench.say("{:.0f} s, {} done, parent {:.0f} MB, ledger {:.0f} MB".format(*self.samples[-1]))

    def _arrive(self) -> None:
        """Bring one photo: by turns a new one, one over a file that waits, one beside a flood in the other root."""
        number, nearly_all = len(self.probes), 0.9 * sum(self.expected.values())
        if sum(self.done[root] for root in self.expected) > nearly_all or self._is_flooded():
            return
        if number % _TURNS == 1:
            self._probe("replaced", self._waiting_file())
        elif number % _TURNS == 2:
            self._flood(number)
            self._probe("beside a flood", f"in2/beside{number}.jpg")
        else:
            self._probe("new", f"in/new{number}.jpg")

    def _is_flooded(self) -> bool:
        """Tell whether an earlier arrival is still in the works: a slow machine would get more and more of them."""
        new = any(probe.kind != "replaced" and not probe.seconds for probe in self.probes)
        return new or any(
            len(os.listdir(f"{self.top}/out/{name}")) < FLOOD
            for name in os.listdir(f"{self.top}/out")
            if name.startswith("flood")
        )

    def _waiting_file(self) -> str:
        """Name the last file of the large root: its turn comes at the end."""
        folder = max(name for name in os.listdir(f"{self.top}/in") if name.isdigit())
        waiting = [name for name in sorted(os.listdir(f"{self.top}/in/{folder}")) if name.endswith(".png")]
        taken = sum(probe.kind == "replaced" for probe in self.probes)
        return f"in/{folder}/{waiting[-1 - taken % len(waiting)]}"

    def _flood(self, number: int) -> None:
        folder = f"{self.top}/flood{number}"
        os.mkdir(folder)
        for index in range(FLOOD):
            with open(f"{folder}/{index}.png", "wb") as file:
                file.write(tiny_png(1_000_000 + number * FLOOD + index))
        os.rename(folder, f"{self.top}/in/flood{number}")
        self.expected[f"{self.top}/in"] += FLOOD

    def _probe(self, kind: str, name: str) -> None:
        partial = f"{self.top}/probe{os.path.splitext(name)[1]}"
        cv2.imwrite(partial, photos.scaled(photos.SAMPLE, 0.1))
        os.rename(partial, f"{self.top}/{name}")
        result = name.replace("in", "out", 1)
        self.probes.append(Probe(kind, f"{self.top}/{result}", time.monotonic()))

    def result(self, seconds: float) -> dict[str, Any]:
        """Sum up."""
        small = f"{self.top}/in2"
        found: dict[str, Any] = {
            "files": sum(self.expected.values()),
            "done": sum(self.done[root] for root in self.expected),
            "other_outcomes": {name: count for name, count in self.done.items() if name.startswith("file.")},
            "seconds": seconds,
            "scan_seconds": max(self.scanned.values()) if len(self.scanned) == len(self.expected) else None,
            "parent_mb": max(sample[2] for sample in self.samples),
            "parent_peak_mb": bench.memory_mb(self.daemon.pid)["peak"],
            "ledger_mb": self.samples[-1][3],
            "small_first": self.large_when_small_was_done / self.expected[small],
            "samples": self.samples,
        }
        for probe in self.probes:  # one that still waits counts with what it has waited
            found.setdefault(f"waits {probe.kind}", []).append(probe.seconds or time.monotonic() - probe.since)
        return found


def again(folders: Folders, idle_seconds: float) -> dict[str, Any]:
    """Start on what is done, and leave it alone."""
    daemon = Daemon(folders)
    try:
        roots: set[str] = set()
        lines: list[str] = []

        def scanned() -> bool:
            for line in daemon.events():
                roots.update([line["root"]] if line["event"] == "root.scanned" else [])
                lines.extend([line["event"]] if line["event"].startswith("file.") else [])
            return len(roots) == 2

        seconds = daemon.wait_until(scanned, seconds=600, what="the second scan") - daemon.started
        time.sleep(2)  # what the start left over is not idling
        cpu = idle_cpu(daemon.pid, idle_seconds)
        lines.extend(line["event"] for line in daemon.events() if line["event"].startswith("file."))
        return {
            "start_seconds": seconds, "read_again": len(lines), "cpu_percent": cpu,
            "again_mb": bench.memory_mb(daemon.pid)["resident"],
        }  # fmt: skip
    finally:
        daemon.__exit__()


def report(result: dict[str, Any]) -> None:
    """Print what was seen beside what it should be."""
    samples = result["samples"]
    chosen = samples[:: max(1, len(samples) // 12)]
    bench.show("Backlog over time", ("seconds", "files done", "parent, MB", "ledger, MB"), chosen)
    waits = [(kind, values) for kind, values in result.items() if kind.startswith("waits ")]
    aim = f"< {AIMS['photo_seconds']:.0f}"
    rows: list[tuple[str, object, str]] = [
        ("files", result["files"], ""),
        ("done", result["done"], str(result["files"])),
        ("files/s", result["done"] / result["seconds"], ""),
        ("start to the end of the first scan, s", result["scan_seconds"], ""),
        ("parent at its highest, MB", result["parent_peak_mb"], f"< {AIMS['parent_mb']:.0f}"),
        ("ledger, MB", result["ledger_mb"], ""),
        ("large root when the small one was done, times its files", result["small_first"], f"< {AIMS['small_first']}"),
        *((f"a photo {kind}, most s of {len(values)}", max(values), aim) for kind, values in waits),
    ]
    if "start_seconds" in result:
        rows += [
            ("second start to the end of its scan, s", result["start_seconds"], f"< {AIMS['start_seconds']:.0f}"),
            ("read again", result["read_again"], "0"),
            ("idle, % of a core", result["cpu_percent"], f"< {AIMS['cpu_percent']:.0f}"),
            ("parent after the second start, MB", result["again_mb"], f"< {AIMS['parent_mb']:.0f}"),
        ]
    bench.show("Scale", ("", "seen", "aim"), rows)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the files, let them be done, start again, report."""
    with Folders(below=arguments.below) as folders:
        with open(folders.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(top=folders.top, workers=arguments.workers))
        expected = fill(folders.top, arguments.files, arguments.folders)
        bench.say(f"{arguments.files} files written")
        with Daemon(folders) as daemon:
            backlog = Backlog(folders.top, daemon, expected)
            seconds = backlog.work(arguments.most_minutes * 60)
            result = backlog.result(seconds)
        if backlog.is_over():
            result |= again(folders, arguments.idle_seconds)
    report(result)
    return result


def main() -> None:
    """Run."""
    parser = bench.parser(__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=100_000, help="how many files wait")
    parser.add_argument("--folders", type=int, default=5_000, help="how many folders they lie in")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--most-minutes", type=float, default=60, help="stop then, without the second start")
    parser.add_argument("--idle-seconds", type=float, default=20, help="how long to look at idling")
    parser.add_argument("--below", metavar="DIR", help="make the files below this folder")
    arguments = parser.parse_args()
    bench.finish(arguments, run(arguments))


if __name__ == "__main__":
    main()
