"""Every hook that a plugin may implement: which process calls it, when, and what happens when it raises.

Owns the specifications only; `plugins.host` calls them. A plugin is a module (or an object) named by an entry point of
the group `faceblurd`, and listed by that name under `hooks.plugins` in the config; what is not listed is not imported.

| hook | process | when | raises, or returns something else |
|---|---|---|---|
| `open_detectors` | worker | once, before its first file | the start stops: faces would be published |
| `add_regions` | worker | for each file, after the detectors | the file is held (`plugin_failed`) |
| `skip_candidate` | parent | for each candidate, before it is queued | logged; the file is **not** skipped |
| `file_finished` | parent | after each file, success and failure | logged and ignored |
| `daemon_started` | parent | once, when the first scan begins | logged and ignored |
| `daemon_stopping` | parent | once, before the workers end | logged and ignored |

Both processes import the plugin: import numpy, OpenCV and the like inside the functions, or the parent pays for them.
Each plugin is called on its own: one that raises never keeps the others from being called. Plugins may add regions and
never remove any; hook wrappers are refused, since they could. A call has no time limit of its own in the parent, so
keep the parent's hooks short; in a worker the file's deadline counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.detect import Detector
    from faceblurd.model import Recipe, Region, Report

PROJECT = "faceblurd"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""What a plugin puts on its functions: `from faceblurd.plugins.hookspecs import hookimpl`."""


@hookspec
def open_detectors(recipe: Recipe) -> list[Detector]:  # type: ignore[empty-body]  # a specification has no body
    """Open detectors that search every file beside the configured ones (worker, once before its first file).

    Return a list, which may be empty; never None. Each has a `name` and `detect(bgr) -> list[Region]`. Load models
    here, not in `add_regions`. Raising stops the start with exit code 78.
    """


@hookspec
def add_regions(image: npt.NDArray[Any], path: str) -> list[Region]:  # type: ignore[empty-body]  # as above
    """Name more regions to hide in one file (worker, after the detectors).

    `image` is BGR, uint8, upright, at most the recipe's working size, and read-only; the regions are in its pixels.
    `path` is the file's name, for decisions only: do not open it, it may have changed since. Return a list, which may
    be empty; never None. Raising, or a region without area or outside the picture, holds the file.
    """


@hookspec
def skip_candidate(path: str, size: int) -> bool | None:
    """Say True to leave a file alone (parent, before it is queued); None or False: no opinion.

    `path` is absolute, undecodable bytes surrogate-escaped; `size` in bytes. A skipped file is not published in the
    mirror, and in place it stays as it is, **faces included**. Raising: logged, not skipped.
    """


@hookspec
def file_finished(report: Report) -> None:
    """Hear what became of a file, success and failure (parent). Raising: logged and ignored."""


@hookspec
def daemon_started(roots: Sequence[str]) -> None:
    """Hear that the daemon runs; `roots` are the watched folders (parent). Raising: logged and ignored."""


@hookspec
def daemon_stopping() -> None:
    """Hear that the daemon stops, before the workers end (parent). Raising: logged and ignored."""
