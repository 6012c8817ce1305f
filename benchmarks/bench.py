"""What the benchmarks share: the command line, tables, progress, samples, and the state of the machine.

Measures nothing itself. Everything for people to watch goes to standard error, the result to standard output.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
FACEBLURD = (sys.executable, "-m", "faceblurd")
"""The command, with this very Python: it need not be on the PATH."""


def parser(description: str) -> argparse.ArgumentParser:
    """Make a parser with what every benchmark takes."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--json", metavar="FILE", help="write the result there as well")
    return made


def say(text: str) -> None:
    """Show progress."""
    print(text, file=sys.stderr, flush=True)


def show(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table: the first column to the left, the rest to the right."""
    print(f"\n{title}\n")
    print("| " + " | ".join(header) + " |")
    print("|---|" + "---:|" * (len(header) - 1))
    for row in rows:
        print("| " + " | ".join(_cell(value) for value in row) + " |")
    sys.stdout.flush()


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"
    return str(value)


def finish(arguments: argparse.Namespace, result: dict[str, Any]) -> None:
    """Write the result as JSON, if that was asked for."""
    if arguments.json is not None:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), **result}, file, indent=1)
            file.write("\n")


def machine() -> dict[str, Any]:
    """Describe where the numbers come from; a high load average means that they are worth little."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
            return next(names, platform.machine())
    except OSError:
        return platform.machine()


def median(values: Iterable[float]) -> float:
    """Return the median, 0 for nothing."""
    known = list(values)
    return statistics.median(known) if known else 0.0


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the value below which `percent` of the values lie (nearest rank), 0 for nothing."""
    known = sorted(values)
    return known[min(len(known) - 1, int(len(known) * percent / 100))] if known else 0.0


# --- processes, through /proc


def cpu_seconds(pid: int) -> float:
    """Return the user and system time that a process has used, and those of its children that have ended."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICKS_A_SECOND


def memory_mb(pid: int) -> dict[str, float]:
    """Return resident memory: now, at its highest, and what of it no other process shares (decimal megabytes)."""
    found = {}
    for name, file_name in (("VmRSS", "status"), ("VmHWM", "status"), ("Private_Dirty", "smaps_rollup")):
        with open(f"/proc/{pid}/{file_name}", encoding="utf-8") as file:
            line = next(line for line in file if line.startswith(f"{name}:"))
        found[name] = int(line.split()[1]) * 1024 / 1e6
    return {"resident": found["VmRSS"], "peak": found["VmHWM"], "private": found["Private_Dirty"]}


def children(pid: int) -> list[int]:
    """List the child processes of a process."""
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children", encoding="utf-8") as file:
            found += [int(child) for child in file.read().split()]
    return found


def family(pid: int) -> list[int]:
    """List a process, its children, theirs, and so on: a command that ends by itself works in a child of its own."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found += children(each)
    return found


def workers(pid: int) -> list[int]:
    """List the worker processes of a daemon or a command."""
    found = []
    for each in family(pid):
        with contextlib.suppress(OSError), open(f"/proc/{each}/cmdline", "rb") as file:
            if b"faceblurd.workers.job" in file.read():
                found.append(each)
    return found
