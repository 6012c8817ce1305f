"""Where the time of a recipe goes: a note for those who make it faster, no claim (`speed.py --stages`).

Runs a worker's job in this process, and looks at its stack every two milliseconds. A sample belongs to the first module
of `imaging` that the stack passes (what was being done), and to the last (where it was). No name of ours is fixed here
but those of the job itself, so that stages may be rewritten freely.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING

import bench

from faceblurd.config.recipes import BUILTIN_RECIPES
from faceblurd.model import Fingerprint, Job, Mode, Staged
from faceblurd.workers import job as worker
from faceblurd.workers.toolbox import Toolbox

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType, TracebackType

    from faceblurd.model import Recipe

EVERY_SECONDS = 0.002
LEAST_PERCENT = 1.5
OURS, IMAGING = "faceblurd.", "faceblurd.imaging."


class Sampler:
    """Counts where the main thread is, in a thread of its own, within a `with` block."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.samples: Counter[tuple[str, str]] = Counter()
        self._done = threading.Event()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        """Begin."""
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(EVERY_SECONDS):
            self.samples[place(sys._current_frames().get(self._watched))] += 1  # noqa: SLF001 - there is no other way


def place(frame: FrameType | None) -> tuple[str, str]:
    """Name what is being done and where: the first and the last frame of `imaging` in a stack, or the last of ours."""
    last, names = "", []
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(OURS):
            last = last or f"{module.removeprefix(OURS)}.{frame.f_code.co_name}"
        if module.startswith(IMAGING):
            names.append(f"{module.removeprefix(IMAGING)}.{frame.f_code.co_name}")
        frame = frame.f_back
    return (names[-1], names[0]) if names else ("the job itself", last or "elsewhere")


def perform(paths: Iterable[str], recipe: Recipe, toolbox: Toolbox) -> None:
    """Do what a worker does with its two descriptors, file by file."""
    for path in paths:
        source_fd = os.open(path, os.O_RDONLY)
        target_fd = os.open(os.path.dirname(path), os.O_RDWR | os.O_TMPFILE, 0o600)
        try:
            fingerprint = Fingerprint.from_stat(os.fstat(source_fd))
            job = Job(1, path, recipe, Mode.MIRROR, fingerprint, None, 1 << 30)
            result = worker.perform(job, source_fd, target_fd, lambda _: True, toolbox)
        finally:
            os.close(source_fd)
            os.close(target_fd)
        if not isinstance(result, Staged):
            bench.say(f"{path}: {result}")


def report(folder: str, recipes: Iterable[str]) -> dict[str, dict[str, float]]:
    """Print where the time goes with each recipe, over all photos of a folder; return the percentages."""
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    shares = {}
    for name in recipes:
        recipe = BUILTIN_RECIPES[name]
        toolbox, sampler = Toolbox.open((recipe,), ()), Sampler()
        perform(paths[:1], recipe, toolbox)  # warm
        with sampler:
            perform(paths[1:], recipe, toolbox)
        whole = sum(sampler.samples.values())
        rows = [(stage, where, 100 * count / whole) for (stage, where), count in sampler.samples.most_common()]
        totals = Counter[str]()
        for stage, _, percent in rows:
            totals[stage] += percent  # type: ignore[assignment] - a float
        bench.show(f"{name}: what is done, % of the time", ("stage", "%"), totals.most_common())
        large = [row for row in rows if row[2] >= LEAST_PERCENT]
        bench.show(f"{name}: and where the time is spent", ("stage", "where", "%"), large)
        shares[name] = dict(totals)
    return shares
