"""The commands that are measured: the installed `faceblurd blur`, and other programs beside it, on folders of files.

A method is named by a recipe (`balanced`), a recipe with a sensitivity (`balanced/high`), or a program of `beside.py`
(`reference`, `deface`). Each prints one JSON line a file; when each line came is noted as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bench

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

BESIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "beside.py")
PROGRAMS = ("reference", "deface")
PATIENCE_SECONDS = 3600  # what takes longer here for a busy machine alone is not held
EXITS = (0, 3)  # 3: some files are held
ENDING = 4000  # so much of a failed command's messages is shown


@dataclass(frozen=True, slots=True)
class Line:
    """What a command said of one file, and how many seconds after its start."""

    said: dict[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True)
class Commands:
    """Where the programs are, and how many workers ours has (None: as many as it takes by itself)."""

    faceblurd: str
    deface: str | None = None
    workers: int | None = None

    def argv(self, method: str, source: str, target: str, scratch: str) -> list[str]:
        """Build a command. SystemExit when the program is not there."""
        if method == "deface" and self.deface is None:
            raise SystemExit("deface: say where it is, --deface VENV/bin/python (pip install deface onnx onnxruntime)")
        if method in PROGRAMS:
            python = self.deface if method == "deface" else sys.executable
            return [str(python), BESIDE, method, source, "--to", target]
        if not os.access(self.faceblurd, os.X_OK):
            raise SystemExit(f"{self.faceblurd}: no such command; pip install -e . puts it there, or say --faceblurd")
        os.makedirs(os.path.join(scratch, "root"), exist_ok=True)
        config = os.path.join(scratch, f"{method.replace('/', '-')}.yaml")
        with open(config, "w", encoding="utf-8") as file:
            json.dump(self._config(method, scratch), file)  # JSON is YAML
        return [self.faceblurd, "blur", source, "--to", target, "--json", "--config", config]

    def _config(self, method: str, scratch: str) -> dict[str, Any]:
        recipe, _, sensitivity = method.partition("/")
        made: dict[str, Any] = {
            "state_dir": os.path.join(scratch, "state"),
            "roots": [{"path": os.path.join(scratch, "root"), "mode": "in_place"}],  # must be there, and is not used
            "recipe": recipe,
        }
        if sensitivity:
            made["detection"] = {"sensitivity": sensitivity}
        made["workers"] = {"deadline_seconds": PATIENCE_SECONDS}
        if self.workers is not None:
            made["workers"]["count"] = self.workers
        return made


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add where the programs are."""
    ours = os.path.join(os.path.dirname(sys.executable), "faceblurd")
    parser.add_argument("--faceblurd", default=ours, metavar="COMMAND", help="the installed command")
    parser.add_argument("--deface", metavar="PYTHON", help="a Python with deface, onnx and onnxruntime, for `deface`")


def run(
    argv: list[str], *, env: Mapping[str, str] | None = None, watch: Callable[[int], None] = lambda _: None
) -> list[Line]:
    """Run a command to its end, and return what it said of each file. `watch` gets its pid after each line.

    SystemExit with its last messages when it failed.
    """
    lines = []
    with tempfile.TemporaryFile() as messages:
        start = time.perf_counter()
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=messages, env={**os.environ, **(env or {})}) as made:
            assert made.stdout is not None  # noqa: S101 - for the type checker
            for text in made.stdout:
                lines.append(Line(json.loads(text), time.perf_counter() - start))
                watch(made.pid)
                if len(lines) % 50 == 0:
                    bench.say(f"  {len(lines)} files, {lines[-1].seconds:.0f} s")
        if made.returncode not in EXITS:
            messages.seek(0)
            raise SystemExit(f"{' '.join(argv)}\n{messages.read().decode(errors='replace')[-ENDING:]}")
    return lines
