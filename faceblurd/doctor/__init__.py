"""What could keep faceblurd from doing its work on this machine, each with its remedy: for `faceblurd doctor`.

Looks only: nothing is created, not even a file for a moment. `machine` looks at what all roots share, `roots` at one
root, in a thread: a share that does not answer costs seconds, and the others nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faceblurd.config.probes import begin
from faceblurd.doctor import machine, roots
from faceblurd.doctor.finding import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from faceblurd.config.schema import Config, RootConfig

__all__ = ["ANSWER_SECONDS", "Finding", "Level", "examine"]

ANSWER_SECONDS: Final = 6.0  # more than the seconds that `roots` counts directories for


def examine(config: Config, *, start_worker: Callable[[Config], str]) -> Iterator[Finding]:
    """Look at everything. `start_worker` starts one and gives what locks it up; it raises FaceblurdError."""
    waits = [begin(lambda root=root: list(roots.examine(root))) for root in config.roots]  # type: ignore[misc]
    yield from machine.examine(config, start_worker)
    for root, wait in zip(config.roots, waits, strict=True):
        found = wait(ANSWER_SECONDS)
        yield from [_silent(root)] if found is None else found


def _silent(root: RootConfig) -> Finding:
    remedy = "See that its server is there (`mount`, `dmesg`), or unmount it (`umount -f -l`) and mount it again"
    it = "" if root.to is None else f", or {root.to},"
    return Finding(Level.BAD, str(root.path), f"it{it} does not answer within {ANSWER_SECONDS:.0f} s", remedy)
