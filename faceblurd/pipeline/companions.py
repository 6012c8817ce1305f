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
        self._stuck: dict[str, str | None] = {}  # those that cannot be removed, and why

    def found(self, plan: RootPlan, found: Found) -> None:
        """Clear a resource fork that a scan found, if its photo is done."""
        key = hash((plan.path, found.path, found.fingerprint))
        if key in self._known:
            return
        entry = self._p.ledger.entry(plan.path, found.companion_of)
        if entry is not None and entry.state in decide.DONE:
            self._clear(plan.path, [found.path], key)

    def of(self, plan: RootPlan, photo: str) -> None:
        """Clear what lies beside a photo that is done."""
        if plan.selection.in_place:
            self._clear(plan.path, companions.beside(photo))

    def _clear(self, root: str, paths: Sequence[str], key: int | None = None) -> None:
        self._p.errands.send(root, partial(companions.clear, root, paths), partial(self._cleared, root, paths, key))

    def _cleared(self, root: str, paths: Sequence[str], key: int | None, gone: list[str] | OSError) -> None:
        path = f"{root}/{paths[0]}"
        if isinstance(gone, OSError):  # every scan tries again
            if self._stuck.get(path) != gone.strerror:
                self._p.tell("file.companion_stays", path=path, detail=gone.strerror)
            self._stuck[path] = gone.strerror
            return
        self._stuck.pop(path, None)
        if key is not None and len(self._known) < MOST_KNOWN:
            self._known.add(key)
        for one in gone:
            self._p.tell("file.companion_removed", path=f"{root}/{one}")
