"""How long faceblurd itself keeps a photo waiting, and how many photos a second it does.

Delay: a real daemon, photos written one by one. From the close of the file until the result has its name in the mirror,
less the quiet time that the config asks for, less the milliseconds that the worker says it worked.
Throughput: many photos moved in at once, with one worker and with two, in turns.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import bench
import cv2
import photos
from daemon import POLL_SECONDS, Daemon, Folders

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

AIM_MILLISECONDS = 100.0
AIM_RATIO = 1.8
QUIET_SECONDS = 0.2
WAIT_SECONDS = 120.0


def contents(folder: str | None, count: int, megapixels: float) -> list[bytes]:
    """Make `count` different JPEG files (a trailing comment tells them apart), at most 8 of them different pictures."""
    paths = [photos.SAMPLE] if folder is None else photos.in_folder(folder, 8)
    pictures = [photos.scaled(path, megapixels) for path in paths]
    encoded = [cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, photos.QUALITY])[1].tobytes()
               for picture in pictures]  # fmt: skip
    return [_commented(encoded[number % len(encoded)], f"photo {number}".encode()) for number in range(count)]


def _commented(jpeg: bytes, text: bytes) -> bytes:
    """Put a comment after the start marker."""
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


# --- delay


def delays(arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Drop photos one by one; the first two warm the worker up and do not count."""
    found = []
    with Folders(quiet_seconds=QUIET_SECONDS, workers=1) as folders, Daemon(folders) as daemon:
        for number, content in enumerate(contents(arguments.folder, arguments.photos + 2, arguments.megapixels)):
            one = _drop(folders, daemon, f"{number:05}.jpg", content)
            if number >= 2:
                found.append(one)
            bench.say(f"{number}: {one['delay']:.1f} ms beside {one['work']:.0f} ms of work")
    return found


def _drop(folders: Folders, daemon: Daemon, name: str, content: bytes) -> dict[str, float]:
    with open(f"{folders.inbox}/{name}", "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    closed = time.monotonic()
    target = f"{folders.mirror}/{name}"
    published = daemon.wait_until(
        lambda: os.path.exists(target), seconds=WAIT_SECONDS, what=target, every=POLL_SECONDS
    )  # fmt: skip
    work = _milliseconds(daemon, f"{folders.inbox}/{name}")
    total = (published - closed) * 1000
    return {"total": total, "work": work, "delay": total - QUIET_SECONDS * 1000 - work}


def _milliseconds(daemon: Daemon, path: str) -> float:
    found: list[float] = []

    def said() -> bool:
        found.extend(line["milliseconds"] for line in daemon.events() if line.get("path") == path)
        return bool(found)

    daemon.wait_until(said, seconds=WAIT_SECONDS, what=f"the log line of {path}")
    return found[-1]


# --- throughput


def throughput(files: Sequence[bytes], workers: int) -> dict[str, float]:
    """Move many photos in at once; count from the end of the quiet time until the last is in the mirror."""
    with Folders(quiet_seconds=QUIET_SECONDS, workers=workers) as folders, Daemon(folders) as daemon:
        _move_in(folders, daemon, files[: 4 * workers], "warm")  # all workers are there now
        before = os.getloadavg()[0]
        seconds = _move_in(folders, daemon, files, "photo")
    return {"workers": workers, "rate": len(files) / seconds, "seconds": seconds, "load_before": before}


def _move_in(folders: Folders, daemon: Daemon, files: Sequence[bytes], prefix: str) -> float:
    aside = f"{folders.top}/aside"
    os.makedirs(aside, exist_ok=True)
    names = [f"{prefix}{number:05}.jpg" for number in range(len(files))]
    for name, content in zip(names, files, strict=True):
        with open(f"{aside}/{name}", "wb") as file:
            file.write(content if prefix == "warm" else _commented(content, prefix.encode()))
    os.sync()
    start = time.monotonic()
    for name in names:
        os.rename(f"{aside}/{name}", f"{folders.inbox}/{name}")
    left = set(names)

    def done() -> bool:
        left.difference_update(os.listdir(folders.mirror))
        return not left

    return daemon.wait_until(done, seconds=WAIT_SECONDS * 5, what=f"{len(left)} results") - start - QUIET_SECONDS


def throughputs(arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Measure one and two workers in turns."""
    files = contents(arguments.folder, arguments.batch, arguments.megapixels)
    found = []
    for _ in range(arguments.repeats):
        for workers in (1, 2):
            found.append(throughput(files, workers))
            bench.say(f"{workers} workers: {found[-1]['rate']:.2f} photos a second")
    return found


# --- the report


def report_delays(found: list[dict[str, float]]) -> dict[str, float]:
    """Print the delays."""
    rows = []
    for name in ("total", "work", "delay"):
        values = [one[name] for one in found]
        rows.append((name, bench.median(values), bench.percentile(values, 95), max(values)))
    bench.show(f"From close to published, {len(found)} photos one by one, ms", ("", "median", "p95", "most"), rows)
    print(f"\ndelay = total - {QUIET_SECONDS * 1000:.0f} ms quiet time - work; the aim is under {AIM_MILLISECONDS:.0f}")
    return {"median": rows[-1][1], "p95": rows[-1][2]}


def report_throughputs(found: list[dict[str, float]]) -> dict[str, float]:
    """Print the rates, and the ratio of the medians."""
    rows = [(one["workers"], one["rate"], one["seconds"], one["load_before"]) for one in found]
    bench.show("Photos moved in at once", ("workers", "photos/s", "seconds", "load before"), rows)
    one, two = (bench.median(each["rate"] for each in found if each["workers"] == count) for count in (1, 2))
    ratio = two / one
    print(f"\nTwo workers do {ratio:.2f} times what one does (the aim on two quiet cores is {AIM_RATIO})")
    return {"one": one, "two": two, "ratio": ratio}


def main() -> None:
    """Run."""
    parser = bench.parser(__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", help="a folder of photos (else the one that comes with faceblurd)")
    parser.add_argument("--photos", type=int, default=30, help="how many are dropped one by one")
    parser.add_argument("--batch", type=int, default=40, help="how many are moved in at once")
    parser.add_argument("--repeats", type=int, default=2, help="how often throughput is measured")
    parser.add_argument("--megapixels", type=float, default=2.0, help="their size")
    parser.add_argument("--only", choices=("delay", "throughput"), help="measure only this")
    arguments = parser.parse_args()
    result: dict[str, Any] = {}
    with contextlib.suppress(KeyboardInterrupt):
        if arguments.only != "throughput":
            result["delays"] = delays(arguments)
            result["delay"] = report_delays(result["delays"])
        if arguments.only != "delay":
            result["throughputs"] = throughputs(arguments)
            result["throughput"] = report_throughputs(result["throughputs"])
    bench.finish(arguments, result)


if __name__ == "__main__":
    main()
