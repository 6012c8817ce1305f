"""Resource forks beside photos in place: cleared when their photo is done, and when a scan finds one later."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from faceblurd.publish import withdrawal
from faceblurd.rules import decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceblurd.engine.intake import Intake
    from faceblurd.engine.model import Services
    from faceblurd.watch.scan import Found

MAX_KNOWN = 100_000


class Companions:
    """Those of one root."""

    def __init__(self, root: Intake, services: Services) -> None:
        """Know none yet."""
        self._root, self._s = root, services
        self._known: set[int] = set()  # those that were looked at, and stay
        self._stuck: dict[str, str | None] = {}  # those that cannot be removed, and why

    async def found(self, found: Found) -> None:
        """Clear a resource fork that a scan found, if its photo is done."""
        key = hash((found.path, found.fingerprint))
        if key in self._known:
            return
        entry = self._s.ledger.entry(self._root.path, found.companion_of)
        if entry is not None and entry.state in decide.DONE:
            await self._clear([found.path], key)

    async def of(self, photo: str) -> None:
        """Clear what lies beside a photo that is done."""
        if self._root.plan.selection.in_place:
            await self._clear(withdrawal.beside(photo))

    async def _clear(self, paths: Sequence[str], key: int | None = None) -> None:
        root = self._root.path
        path = f"{root}/{paths[0]}"
        try:
            gone = await self._root.run(partial(withdrawal.clear, root, paths))
        except OSError as error:  # every scan tries again
            if self._stuck.get(path) != error.strerror:
                self._s.log.event("file.companion_stays", path=path, detail=error.strerror)
            self._stuck[path] = error.strerror
            return
        self._stuck.pop(path, None)
        if key is not None and len(self._known) < MAX_KNOWN:
            self._known.add(key)
        for one in gone:
            self._s.log.event("file.companion_removed", path=f"{root}/{one}")
