"""What follows from an outcome beside the photo: resource forks go, and a held file leaves its root.

What cannot be done is logged once; every scan tries again.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from faceblurd.model import State
from faceblurd.publish import withdrawal
from faceblurd.rules import decide

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from faceblurd.engine.intake import Intake
    from faceblurd.engine.model import Services
    from faceblurd.model import Entry
    from faceblurd.watch.scan import Found

MAX_KNOWN = 100_000


class Aftermath:
    """That of one root's photos."""

    def __init__(self, root: Intake, services: Services) -> None:
        """Nothing has happened yet."""
        self._root, self._s = root, services
        self._known: set[int] = set()  # resource forks that were looked at, and stay
        self._stuck: dict[str, str | None] = {}  # what cannot be removed or moved away, and why

    async def of(self, entry: Entry) -> None:
        """Do what follows from an outcome."""
        if entry.state in decide.DONE:
            if self._root.plan.selection.in_place:
                await self._clear(withdrawal.beside(entry.path))
        elif entry.state is State.QUARANTINED:
            if entry.reason in decide.NOT_THE_FILES_FAULT:
                self._root.trouble(entry.reason, entry.source.size)  # the next file would only fail, too
            elif self._root.plan.take_away_held:
                await self.take_away(entry)

    async def take_away(self, entry: Entry) -> None:
        """Move a held file out of its root."""
        if not self._is_still_held(entry):
            return
        path = f"{entry.root}/{entry.path}"
        try:
            place = await self._root.run(partial(self._s.quarantine.take_away, entry))
        except FileNotFoundError:
            self._stuck.pop(path, None)
        except OSError as error:
            self._tell_once("quarantine.failed", path, error)
        else:
            self._stuck.pop(path, None)
            if place is None:  # a newer upload has the name: its events came while the older one was in hand
                self._root.point_at([entry.path])
            elif not self._is_still_held(entry):
                await self._give_back(place, entry)

    def _is_still_held(self, entry: Entry) -> bool:
        """Tell whether nobody has decided otherwise meanwhile: a person may have released it."""
        known = self._s.ledger.entry(entry.root, entry.path)
        return known is not None and known.state is State.QUARANTINED and known.source == entry.source

    async def _give_back(self, place: Path, entry: Entry) -> None:
        """Put back what was released while it was moved: as released, if it still is that."""
        fingerprint = await self._root.run(partial(self._s.quarantine.undo, place))
        known = self._s.ledger.entry(entry.root, entry.path)
        if known is not None and known.state is State.RELEASED and known.source == entry.source:
            self._s.ledger.put(replace(known, source=fingerprint))

    def _tell_once(self, event: str, path: str, error: OSError) -> None:
        if self._stuck.get(path) != error.strerror:
            self._s.log.event(event, path=path, detail=error.strerror)
        self._stuck[path] = error.strerror

    async def companion_found(self, found: Found) -> None:
        """Clear a resource fork that a scan found, if its photo is done."""
        key = hash((found.path, found.fingerprint))
        if key in self._known:
            return
        entry = self._s.ledger.entry(self._root.path, found.companion_of)
        if entry is not None and entry.state in decide.DONE:
            await self._clear([found.path], key)

    async def _clear(self, paths: Sequence[str], key: int | None = None) -> None:
        root = self._root.path
        path = f"{root}/{paths[0]}"
        try:
            gone = await self._root.run(partial(withdrawal.clear, root, paths))
        except OSError as error:
            self._tell_once("file.companion_stays", path, error)
            return
        self._stuck.pop(path, None)
        if key is not None and len(self._known) < MAX_KNOWN:
            self._known.add(key)
        for one in gone:
            self._s.log.event("file.companion_removed", path=f"{root}/{one}")
