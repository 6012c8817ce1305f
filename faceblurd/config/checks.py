"""What only the machine can answer about a config: which folders are the same, and whether its files load.

Runs after the schema has accepted the values; returns every problem, raises none. Never imports cv2 or tensorflow: a
cascade is tried in a child process.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Final

from faceblurd.config.probes import Folder, no_way_to_run
from faceblurd.config.problems import Loc, Problem, nearest
from faceblurd.config.recipe_sections import (
    BlurConfig,
    DetectionConfig,
    HaarConfig,
    NetworksConfig,
)
from faceblurd.config.recipes import weak_settings
from faceblurd.model import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from faceblurd.config.schema import Config, Settings

CASCADE_CHECK_SECONDS: Final = 60.0
_CASCADE_REMEDY: Final = "Name a cascade that OpenCV ships, or the path of a trained classifier (.xml)."


def problems_with(config: Config) -> list[Problem]:
    """Return everything that folders, files and installed packages have against `config`."""
    return [*_folders(config), *problems_with_settings(config)]


def problems_with_settings(config: Settings) -> list[Problem]:
    """Return what files and installed packages have against `config`."""
    return [*_detectors(config), *_engines(config), *weak_settings(config)]


def hook_problems(config: Settings, environ: Mapping[str, str]) -> list[Problem]:
    """Return what keeps the command hook from being started: photos are published without it, so it stops nothing."""
    if not config.hooks.command:
        return []
    program = config.hooks.command[0]
    found = no_way_to_run(program, environ)
    return [] if found is None else [Problem(("hooks", "command", 0), found[0], program, found[1])]


Place = tuple[Loc, Path, Folder]


def _folders(config: Config) -> Iterator[Problem]:
    named: list[tuple[Loc, Path]] = [(("roots", at, "path"), root.path) for at, root in enumerate(config.roots)]
    named += [(("roots", at, "to"), root.to) for at, root in enumerate(config.roots) if root.to]
    seen = Folder.each([path for _, path in named] + [config.state_dir])
    places: list[Place] = [(loc, path, folder) for (loc, path), folder in zip(named, seen, strict=False)]
    roots, outputs = places[: len(config.roots)], places[len(config.roots) :]
    for (_, path, first), (loc, other, second) in combinations(roots, 2):
        if _overlap(first, second):
            yield Problem(loc, f"overlaps the root {path}", str(other), "Watch the upper folder only, or split them.")
    for (_, path, first), (loc, other, second) in combinations(outputs, 2):
        if _overlap(first, second):
            yield Problem(loc, f"overlaps the output {path}", str(other), "Give each root a folder of its own.")
    yield from _loops(roots, outputs)
    yield from _exposed_state(config.state_dir, seen[-1], places)


def _loops(roots: list[Place], outputs: list[Place]) -> Iterator[Problem]:
    for out_loc, output, to in outputs:
        for root_loc, root, watched in roots:
            if to.is_inside(watched):
                message = f"lies inside the root {root}: results would be watched again"
                yield Problem(out_loc, message, str(output), "Choose a folder beside the root.")
            elif watched.is_inside(to):
                message = f"lies inside the output {output}: results could land among the originals"
                yield Problem(root_loc, message, str(root), "Choose an output beside the root.")


def _exposed_state(state_dir: Path, state: Folder, folders: list[Place]) -> Iterator[Problem]:
    """Quarantined photos lie in the state directory: they must be neither watched nor published."""
    for _, path, folder in folders:
        if state.is_inside(folder):
            message = f"lies inside {path}, which is watched or published"
            remedy = "Choose a folder of its own, such as /var/lib/faceblurd."
            yield Problem(("state_dir",), message, str(state_dir), remedy)


def _overlap(one: Folder, other: Folder) -> bool:
    return one.is_inside(other) or other.is_inside(one)


def _detectors(config: Settings) -> Iterator[Problem]:
    yield from _detectors_of(config.detection, ("detection",))
    for at, root in enumerate(config.all_roots()):
        yield from _detectors_of(root.detection, ("roots", at, "detection"))


def _detectors_of(detection: DetectionConfig, loc: Loc) -> Iterator[Problem]:
    for at, detector in enumerate(detection.detectors or ()):
        here = (*loc, "detectors", at)
        match detector:
            case HaarConfig():
                yield from _cascade(detector.cascade, (*here, "cascade"))
            case NetworksConfig():
                pass  # their weights come with faceblurd


def _cascade(cascade: str, loc: Loc) -> Iterator[Problem]:
    if "/" not in cascade:
        shipped = _shipped_cascades()
        if cascade not in shipped:
            yield Problem(loc, "is no cascade that OpenCV ships", cascade, nearest(cascade, shipped))
    elif not Path(cascade).is_file():
        yield Problem(loc, "is no file", cascade, _CASCADE_REMEDY)
    elif (complaint := _does_not_load(cascade)) is not None:
        yield Problem(loc, f"does not load: {complaint}", cascade, _CASCADE_REMEDY)


def _shipped_cascades() -> frozenset[str]:
    """Return the names of the cascades beside cv2, without importing it (70 MB resident in a parent that needs 80)."""
    spec = find_spec("cv2")
    folders = () if spec is None else spec.submodule_search_locations or ()
    return frozenset(file.name for folder in folders for file in Path(folder, "data").glob("haarcascade_*.xml"))


def _does_not_load(cascade: str) -> str | None:
    """Return why OpenCV refuses the file, or None. A broken cascade can crash OpenCV: hence a process of its own."""
    command = [sys.executable, "-P", "-m", "faceblurd.imaging.detect.haar", cascade]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CASCADE_CHECK_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"OpenCV was not done with it after {CASCADE_CHECK_SECONDS:.0f} s"
    if done.returncode == 0:
        return None
    last = done.stderr.strip().splitlines()[-1:] or [f"OpenCV ended with status {done.returncode}"]
    return last[0]


def _engines(config: Settings) -> Iterator[Problem]:
    places: list[tuple[Loc, BlurConfig]] = [(("blur", "engine"), config.blur)]
    places += [(("roots", at, "blur", "engine"), root.blur) for at, root in enumerate(config.all_roots())]
    for loc, blur in places:
        if blur.engine is Engine.TENSORFLOW and find_spec("tensorflow") is None:
            remedy = "pip install 'faceblurd[tensorflow]', or choose the engine opencv."
            yield Problem(loc, "is not installed", blur.engine.value, remedy)
