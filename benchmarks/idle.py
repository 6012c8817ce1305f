"""What faceblurd costs while nothing happens: many finished files, a restart, and then quiet.

The files are processed for real once (`faceblurd scan`). Then a daemon starts on them: how long until its first scan is
over, what it read again (it must be nothing), which share of a core it takes while idle, and its memory; then the
memory of a worker that has done one large photo.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import subprocess
import time
import zlib
from typing import TYPE_CHECKING, Any

import bench
import photos
from daemon import Daemon, Folders

if TYPE_CHECKING:
    import argparse

FILES_A_FOLDER = 250
SIDE_PX = 16
AIMS = {"start_seconds": 5.0, "cpu_percent": 1.0, "parent_mb": 80.0, "worker_mb": 200.0}


def tiny_png(number: int) -> bytes:
    """Make a picture that no other number gives."""
    row = b"\0" + number.to_bytes(4, "big") * (SIDE_PX * 3 // 4)
    header = struct.pack(">IIBBBBB", SIDE_PX, SIDE_PX, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(row * SIDE_PX)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def fill(folders: Folders, count: int) -> None:
    """Write the files, in folders of 250."""
    for number in range(count):
        folder = f"{folders.inbox}/{number // FILES_A_FOLDER:04}"
        if number % FILES_A_FOLDER == 0:
            os.mkdir(folder)
        with open(f"{folder}/{number:06}.png", "wb") as file:
            file.write(tiny_png(number))


def process_all(folders: Folders, count: int, most_seconds: float) -> float:
    """Let `faceblurd scan` do them all, as somebody would after a restore; return its seconds."""
    command = (*bench.FACEBLURD, "scan", "--config", folders.config)
    start = time.monotonic()
    with (
        open(f"{folders.top}/scan.log", "wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as scan,
    ):
        while scan.poll() is None:
            bench.say(f"{_recorded(folders)} of {count} processed after {time.monotonic() - start:.0f} s")
            if time.monotonic() - start > most_seconds:
                scan.kill()
                raise SystemExit(f"not done after {most_seconds:.0f} s; try fewer --files")
            time.sleep(5)  # the step of a poll with a deadline
    if scan.returncode or _recorded(folders) != count:
        raise SystemExit(f"faceblurd scan ended with {scan.returncode}, {_recorded(folders)} files recorded")
    return time.monotonic() - start


def _query(folders: Folders, sql: str, *values: object) -> int:
    path = f"{folders.top}/state/ledger.sqlite3"
    if not os.path.exists(path):
        return 0
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return int(database.execute(sql, values).fetchone()[0])
    except sqlite3.OperationalError:  # not there yet
        return 0
    finally:
        database.close()


def _recorded(folders: Folders) -> int:
    return _query(folders, "SELECT COUNT(*) FROM files WHERE state IN ('published', 'clean')")


def _recorded_since(folders: Folders, wall_ns: int) -> int:
    return _query(folders, "SELECT COUNT(*) FROM files WHERE updated_ns >= ?", wall_ns)


def restart(folders: Folders, idle_seconds: float) -> dict[str, Any]:
    """Start a daemon on finished files and leave it alone; then give it one large photo."""
    wall_ns = time.time_ns()
    daemon = Daemon(folders)
    try:
        scanned = daemon.wait_for("root.scanned")
        start_seconds = time.monotonic() - daemon.started
        bench.say(f"scanned {scanned['files']} files after {start_seconds:.2f} s; now idle for {idle_seconds:.0f} s")
        time.sleep(2)  # what the start left over is not idling
        cpu = idle_cpu(daemon.pid, idle_seconds)
        result = {
            "files": scanned["files"],
            "start_seconds": start_seconds,
            "read_again": sum(line["event"].startswith("file.") for line in daemon.events()),
            "recorded_again": _recorded_since(folders, wall_ns),
            "cpu_percent": cpu,
            "parent": bench.memory_mb(daemon.pid),
        }
        result["worker"] = large_photo(folders, daemon)
    finally:
        daemon.__exit__()
    return result


def idle_cpu(pid: int, seconds: float) -> float:
    """Return the share of one core, in per cent, of the daemon and its children."""
    before, start = _all_cpu(pid), time.monotonic()
    time.sleep(seconds)  # what is measured: idling
    return (_all_cpu(pid) - before) / (time.monotonic() - start) * 100


def _all_cpu(pid: int) -> float:
    return sum(bench.cpu_seconds(each) for each in bench.family(pid))


def large_photo(folders: Folders, daemon: Daemon) -> dict[str, Any]:
    """Have a photo of 24 megapixels done; return the worker's memory right after, and some seconds later."""
    photos.save_jpeg(f"{folders.top}/large.jpg", photos.scaled(photos.SAMPLE, 24))
    os.rename(f"{folders.top}/large.jpg", f"{folders.inbox}/large.jpg")
    done = _outcome(daemon)
    worker = bench.workers(daemon.pid)[0]
    at_once = bench.memory_mb(worker)
    time.sleep(5)  # what is measured: the memory some seconds later
    later = bench.memory_mb(worker)
    return {
        "faces": done["faces"],
        "milliseconds": done["milliseconds"],
        "resident": later["resident"],
        "resident_at_once": at_once["resident"],
        "private": later["private"],
        "peak": later["peak"],
    }


def _outcome(daemon: Daemon) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def said() -> bool:
        found.extend(line for line in daemon.events() if line["event"].startswith("file."))
        return bool(found)

    daemon.wait_until(said, seconds=60, what="the outcome of the large photo")
    return found[0]


def report(result: dict[str, Any]) -> None:
    """Print what was seen beside what it should be."""
    worker, parent = result["worker"], result["parent"]
    rows = [
        ("files processed already", result["files"], ""),
        ("processing them before, files/s", result["files"] / result["scan_seconds"], ""),
        ("start to the end of the first scan, s", result["start_seconds"], f"< {AIMS['start_seconds']:.0f}"),
        ("files read again", result["read_again"] + result["recorded_again"], "0"),
        ("idle, % of a core", result["cpu_percent"], f"< {AIMS['cpu_percent']:.0f}"),
        ("parent resident, MB", parent["resident"], f"< {AIMS['parent_mb']:.0f}"),
        ("parent at its highest, MB", parent["peak"], ""),
        ("worker 5 s after 24 megapixels, MB", worker["resident"], f"< {AIMS['worker_mb']:.0f}"),
        ("worker right after, MB", worker["resident_at_once"], f"< {AIMS['worker_mb']:.0f}"),
        ("worker at its highest, MB", worker["peak"], ""),
    ]
    bench.show("Idle", ("", "seen", "aim"), rows)


def main() -> None:
    """Run."""
    parser = bench.parser(__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=20_000, help="how many finished files")
    parser.add_argument("--idle-seconds", type=float, default=20, help="how long to look at idling")
    parser.add_argument("--workers", type=int, default=2, help="processes that do the files at first")
    parser.add_argument("--most-seconds", type=float, default=600, help="give up when doing the files takes longer")
    parser.add_argument("--below", metavar="DIR", help="make the files below this folder")
    arguments = parser.parse_args()
    bench.finish(arguments, run(arguments))


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the files, process them, restart, report."""
    with Folders(workers=arguments.workers, below=arguments.below) as folders:
        fill(folders, arguments.files)
        bench.say(f"{arguments.files} files written")
        seconds = process_all(folders, arguments.files, arguments.most_seconds)
        result = {**restart(folders, arguments.idle_seconds), "scan_seconds": seconds}
    report(result)
    return result


if __name__ == "__main__":
    main()
