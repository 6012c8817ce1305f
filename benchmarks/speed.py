"""The installed command beside the reference method: whole files of 12 megapixels, one worker, on the same photos.

Ordinary photos (1 to 6 faces by their labels) are scaled up, with grain, and a crowd is packed from the same folders.
Each method takes all of them in one run, in turns with the others, for some rounds; the first file of a run is there to
warm up, and no start counts, neither TensorFlow's nor ours. A photo's time is the time between its line and the one
before, so that everything that the command does for a file is in it; processor time is that of its processes meanwhile.
The best of the rounds counts, since whatever else the machine does only ever adds: on a busy machine the ratio of
processor times is the one to trust. `--avx2` measures it all again with the instruction set held to AVX2, as it is on a
home server.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import bench
import commands
import labelled
import photos
import stages

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from labelled import Labelled

REFERENCE = "reference"
DEFAULT = "reference,fast,balanced,thorough"
WARM, CROWD = "0-warm", "crowd"
ORDINARY_FACES = (1, 6)
CROWD_SIZE = (4000, 3000)
TICK_MS = 1000 / bench.TICKS_A_SECOND  # what processor time is counted in
HELD_TO_AVX2 = os.path.join(os.path.dirname(os.path.abspath(__file__)), "avx2.c")


@dataclass
class Measured:
    """What one method did under one instruction set."""

    wall_ms: dict[str, float] = field(default_factory=dict)  # by photo, best of the rounds
    cpu_ms: dict[str, float] = field(default_factory=dict)
    own_ms: dict[str, float] = field(default_factory=dict)  # the worker's own account
    faces: dict[str, int] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    peak_mb: float = 0.0
    ready_seconds: float = math.inf

    def ordinary(self) -> list[str]:
        """List the ordinary photos."""
        return [name for name in self.wall_ms if name != CROWD]


# --- photos


def prepare(arguments: argparse.Namespace, into: str) -> None:
    """Write the photos: one to warm up, the ordinary ones, and the crowd."""
    known = [one for folder in arguments.folders for _, those in labelled.read_sets(folder) for one in those]
    low, high = ORDINARY_FACES
    ordinary = [one for one in known if low <= len(one.faces) <= high]
    if not ordinary:
        raise SystemExit(f"no photo with {low} to {high} labelled faces there")
    step = max(1.0, len(ordinary) / arguments.photos)
    for number in range(min(arguments.photos, len(ordinary))):
        path = os.path.join(into, f"{number + 1:02}.jpg")
        photos.save_jpeg(path, photos.scaled(ordinary[int(number * step)].path, arguments.megapixels))
    shutil.copyfile(os.path.join(into, "01.jpg"), os.path.join(into, f"{WARM}.jpg"))
    crowd = _crowd(known, arguments.crowd, into)
    bench.say(f"{min(arguments.photos, len(ordinary))} ordinary photos, a crowd of {crowd} faces")


def _crowd(known: Sequence[Labelled], faces: int, into: str) -> int:
    """Pack photos with many faces until there are so many; return how many there are."""
    chosen: list[Labelled] = []
    for one in sorted(known, key=lambda one: -len(one.faces)):
        if sum(len(each.faces) for each in chosen) >= faces:
            break
        chosen.append(one)
    with tempfile.TemporaryDirectory() as scratch:
        first = max(labelled.packed(chosen, scratch, CROWD_SIZE), key=lambda one: len(one.faces))
        shutil.copyfile(first.path, os.path.join(into, f"{CROWD}.jpg"))
    return len(first.faces)


# --- runs


def measure(arguments: argparse.Namespace) -> dict[tuple[str, str], Measured]:
    """Measure every method, in turns; return what each did by instruction set and method."""
    programs = commands.Commands(arguments.faceblurd, arguments.deface, workers=1)
    sets: dict[str, Mapping[str, str]] = {"own": dict(one.split("=", 1) for one in arguments.env)}
    if arguments.avx2:
        sets["AVX2"] = dict(sets["own"])
    found = {(name, method): Measured() for name in sets for method in arguments.methods.split(",")}
    with tempfile.TemporaryDirectory(prefix="faceblurd-speed-") as scratch:
        source, target = os.path.join(scratch, "photos"), os.path.join(scratch, "out")
        os.mkdir(source)
        if arguments.avx2:
            sets["AVX2"] = {**sets["own"], "LD_PRELOAD": _held_to_avx2(scratch)}
        prepare(arguments, source)
        for turn in range(arguments.rounds):
            for (name, method), measured in found.items():
                _one_run(programs.argv(method, source, target, scratch), sets[name], measured)
                shutil.rmtree(target)
                median = bench.median(measured.wall_ms[photo] for photo in measured.ordinary())
                bench.say(f"round {turn + 1}, {name}, {method}: {median:.0f} ms")
    return found


def _held_to_avx2(scratch: str) -> str:
    """Compile what makes a program believe that the processor knows no more than AVX2; return the library."""
    library = os.path.join(scratch, "avx2.so")
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("--avx2 needs a C compiler")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, HELD_TO_AVX2], check=True)
    tried = subprocess.run([sys.executable, "-c", ""], env={**os.environ, "LD_PRELOAD": library}, check=False)
    if tried.returncode:
        raise SystemExit("this processor cannot be held to AVX2 (see benchmarks/avx2.c): leave --avx2 out")
    return library


def _one_run(argv: list[str], env: Mapping[str, str], measured: Measured) -> None:
    seen = Seen(measured)
    lines = commands.run(argv, env=env, watch=seen)
    names = [os.path.splitext(os.path.basename(line.said["path"]))[0] for line in lines]
    if names[0] != WARM:
        raise SystemExit(f"{names[0]} came first: nothing was warm")
    if seen.age is not None:
        measured.ready_seconds = min(measured.ready_seconds, seen.age - lines[0].said["milliseconds"] / 1000)
    for at, (name, line) in enumerate(zip(names, lines, strict=True)):
        if at == 0:
            continue
        wall, cpu = line.seconds - lines[at - 1].seconds, seen.cpu_seconds[at] - seen.cpu_seconds[at - 1]
        own = line.said["milliseconds"]
        for best, value in ((measured.wall_ms, wall * 1000), (measured.cpu_ms, cpu * 1000), (measured.own_ms, own)):
            best[name] = min(value, best.get(name, value))
        measured.faces[name] = len(line.said["regions"])
        if not line.said["output"]:
            measured.held.add(name)


class Seen:
    """What is seen of a command's processes at each of its lines."""

    def __init__(self, measured: Measured) -> None:
        """Note peak memory in `measured`."""
        self._measured = measured
        self.cpu_seconds: list[float] = []
        self.age: float | None = None  # of the worker, at the first line

    def __call__(self, pid: int) -> None:
        """Look at what does the work: the worker, or the command itself where it has none."""
        workers = bench.workers(pid)
        self.cpu_seconds.append(sum(bench.cpu_seconds(each) for each in bench.family(pid)))
        for each in workers or [pid]:
            peak, age = _peak_and_age(each)
            self._measured.peak_mb = max(self._measured.peak_mb, peak)
            if workers and self.age is None:
                self.age = age


def _peak_and_age(pid: int) -> tuple[float, float]:
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        lines = (line for line in file if line.startswith("VmHWM:"))
        peak = next((int(line.split()[1]) * 1024 / 1e6 for line in lines), 0.0)  # one that has ended has no memory
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        started = int(file.read().rpartition(")")[2].split()[19]) / bench.TICKS_A_SECOND
    return peak, time.clock_gettime(time.CLOCK_BOOTTIME) - started


# --- tables


def report(found: Mapping[tuple[str, str], Measured], megapixels: float) -> None:
    """Print the tables."""
    bench.show(
        f"Whole files of {megapixels:g} megapixels, 1 to 6 faces, one worker (`own`: the processor's own instructions)",
        ("instructions, method", "times as fast as the reference", "slowest photo", "fastest photo",
         "by processor time", "ms a photo, median", "of it the worker's", "processor ms", "held"),
        list(_speeds(found)),
    )  # fmt: skip
    bench.show(
        "A crowd, and what a worker needs",
        ("instructions, method", "ms for the crowd", "processor ms", "boxes in it", "peak resident MB",
         "seconds until it is ready"),
        [(f"{name}, {method}", one.wall_ms[CROWD], one.cpu_ms[CROWD], one.faces[CROWD], one.peak_mb,
          one.ready_seconds if math.isfinite(one.ready_seconds) else "-") for (name, method), one in found.items()],
    )  # fmt: skip


def _speeds(found: Mapping[tuple[str, str], Measured]) -> Iterator[tuple[object, ...]]:
    for (name, method), one in found.items():
        reference = found.get((name, REFERENCE))
        times: tuple[object, ...] = ("-",) * 4
        if reference is not None:
            walls = ratios_of(reference.wall_ms, one.wall_ms, one.ordinary())
            cpus = ratios_of(reference.cpu_ms, one.cpu_ms, one.ordinary())
            times = (bench.median(walls), min(walls), max(walls), bench.median(cpus))
        medians = (bench.median(those[photo] for photo in one.ordinary())
                   for those in (one.wall_ms, one.own_ms, one.cpu_ms))  # fmt: skip
        yield f"{name}, {method}", *times, *medians, len(one.held)


def ratios_of(reference: Mapping[str, float], ours: Mapping[str, float], names: Iterable[str]) -> list[float]:
    """Divide the reference's times by ours, photo by photo."""
    return [reference[name] / max(ours[name], TICK_MS) for name in names]


def main() -> None:
    """Run."""
    parser = bench.parser(__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", help="folders with ann*.json and photos")
    parser.add_argument("--megapixels", type=float, default=12, help="the ordinary photos are scaled to so many")
    parser.add_argument("--photos", type=int, default=6, help="so many ordinary photos")
    parser.add_argument("--crowd", type=int, default=300, help="faces in the crowd")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each method")
    parser.add_argument("--methods", default=DEFAULT, help="recipes, reference, deface")
    parser.add_argument("--avx2", action="store_true", help="measure with the instruction set held to AVX2 as well")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="for every command")
    parser.add_argument("--stages", action="store_true", help="show instead where the time of our methods goes")
    commands.add_options(parser)
    arguments = parser.parse_args()
    if arguments.stages:
        with tempfile.TemporaryDirectory(prefix="faceblurd-speed-") as scratch:
            prepare(arguments, scratch)
            recipes = [method for method in arguments.methods.split(",") if method not in commands.PROGRAMS]
            bench.finish(arguments, {"stages": stages.report(scratch, recipes)})
        return
    found = measure(arguments)
    report(found, arguments.megapixels)
    rows = [{"instructions": name, "method": method, **vars(one), "held": sorted(one.held)}
            for (name, method), one in found.items()]  # fmt: skip
    bench.finish(arguments, {"rows": rows})


if __name__ == "__main__":
    main()
