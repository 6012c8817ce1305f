"""What a command costs from a cold start: `faceblurd --help`, and `faceblurd blur` of one small photo.

CPU seconds are user and system time of the command and all its children (a worker).
The modules that took longest to import are listed for both, since a worker inherits PYTHONPROFILEIMPORTTIME.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import bench
import photos

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

AIMS = {"help": 0.3, "blur": 1.0}


def cost(command: Sequence[str]) -> dict[str, float]:
    """Run a command once; return its seconds, and the CPU seconds of it and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, capture_output=True, check=False)
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.decode()}")
    return {
        "seconds": seconds,
        "user": after.ru_utime - before.ru_utime,
        "system": after.ru_stime - before.ru_stime,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }


def imports(command: Sequence[str], most: int) -> list[tuple[str, float, float]]:
    """Return the modules that took longest: name, own milliseconds, milliseconds with what they import."""
    env = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    timed = subprocess.run(command, env=env, capture_output=True, check=False)
    found = []
    for line in timed.stderr.decode("utf-8", "replace").splitlines():
        fields = line.removeprefix("import time:").split("|")
        if len(fields) == 3 and fields[0].strip().isdigit():
            found.append((fields[2].strip(), int(fields[0]) / 1000, int(fields[1]) / 1000))
    return sorted(found, key=lambda one: -one[2])[:most]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the commands several times, in turns."""
    runs: dict[str, list[dict[str, float]]] = {"help": [], "blur": [], "python": []}
    with tempfile.TemporaryDirectory(prefix="faceblurd-cold-") as folder:
        photo = arguments.photo or os.path.join(folder, "small.jpg")
        if arguments.photo is None:
            photos.save_jpeg(photo, photos.scaled(photos.SAMPLE, 0.3))
        for number in range(arguments.repeats):
            target = os.path.join(folder, f"out{number}")
            runs["python"].append(cost((sys.executable, "-c", "pass")))
            runs["help"].append(cost((*bench.FACEBLURD, "--help")))
            runs["blur"].append(cost((*bench.FACEBLURD, "blur", photo, "--to", target)))
            bench.say(f"{number + 1}/{arguments.repeats}")
        blur = (*bench.FACEBLURD, "blur", photo, "--to", os.path.join(folder, "traced"))
        slowest = imports(blur, 25)
    return {"runs": runs, "imports": slowest}


def report(result: dict[str, Any]) -> None:
    """Print the costs and the imports."""
    names = ("seconds", "cpu", "user", "system")
    runs = result["runs"]
    rows = [(name, *(bench.median(run[key] for run in found) for key in names)) for name, found in runs.items()]
    bench.show(f"Cold start, median of {len(runs['help'])} runs", ("command", *names), rows)
    print(f"\nThe aims: --help under {AIMS['help']} seconds, blur under {AIMS['blur']} CPU seconds")
    bench.show(
        "Slowest imports in blur, of the parent and its worker, ms",
        ("module", "own", "with all below"),
        result["imports"],
    )


def main() -> None:
    """Run."""
    parser = bench.parser(__doc__.partition("\n")[0])
    parser.add_argument("photo", nargs="?", help="a small photo (else the sample, at 0.3 megapixels)")
    parser.add_argument("--repeats", type=int, default=7, help="how often each command runs")
    arguments = parser.parse_args()
    result = measure(arguments)
    report(result)
    bench.finish(arguments, result)


if __name__ == "__main__":
    main()
