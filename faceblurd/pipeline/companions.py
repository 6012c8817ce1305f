"""Resource forks beside photos in place: cleared when their photo is done, and when a scan finds one later."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from faceblurd.outlet import companions
from faceblurd.rules import decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceblurd.intake.scanner import Found
    from faceblurd.pipeline.files import Parts, RootPlan

MOST_KNOWN = 100_000


class Companions:
    """Called by the loop in its thread; files are the root's."""

    def __init__(self, parts: Parts) -> None:
        """Use the loop's own parts."""
        self._p = parts
        self._known: set[int] = set()  # those that were looked at, and stay

    def found(self, plan: RootPlan, found: Found) -> None:
        """Clear a resource fork that a scan found, if its photo is done."""
        key = hash((plan.path, found.path, found.fingerprint))
        entry = self._p.ledger.entry(plan.path, found.companion_of)
        if key in self._known or entry is None or entry.state not in decide.DONE:
            return
        if len(self._known) < MOST_KNOWN:
            self._known.add(key)
        self._clear(plan.path, [found.path])

    def of(self, plan: RootPlan, photo: str) -> None:
        """Clear what lies beside a photo that is done."""
        if plan.selection.companions:
            self._clear(plan.path, companions.beside(photo))

    def _clear(self, root: str, paths: Sequence[str]) -> None:
        self._p.errands.send(root, partial(companions.clear, root, paths), partial(self._cleared, root, paths))

    def _cleared(self, root: str, paths: Sequence[str], gone: list[str] | OSError) -> None:
        if isinstance(gone, OSError):
            self._p.tell("file.companion_stays", path=f"{root}/{paths[0]}", detail=gone.strerror)
            return
        for path in gone:
            self._p.tell("file.companion_removed", path=f"{root}/{path}")
