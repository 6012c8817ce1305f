"""Photos of one root that are to be tried again: each by a timer of its own, with no room taken until it is due."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faceblurd.engine.intake import Intake
    from faceblurd.engine.model import Photo
    from faceblurd.model import Fingerprint


@dataclass(frozen=True, slots=True)
class Later:
    """A photo that is to be tried again."""

    fingerprint: Fingerprint
    fresh: bool
    first_seen: float
    first_look: float | None
    timer: asyncio.TimerHandle


class Retries:
    """Those of one root, by path."""

    def __init__(self, root: Intake) -> None:
        """Wait for none yet."""
        self._root = root
        self._waiting: dict[str, Later] = {}
        self._due: dict[str, Later] = {}  # those whose time has come, until they are taken on

    def __len__(self) -> int:
        """Count those that are not due yet."""
        return len(self._waiting)

    def first_seen(self) -> Iterable[float]:
        """Give when each was seen first."""
        return (later.first_seen for later in self._waiting.values())

    def waits_for(self, path: str, fingerprint: Fingerprint) -> bool:
        """Tell whether just these bytes are to be tried later."""
        later = self._waiting.get(path)
        return later is not None and later.fingerprint == fingerprint

    def add(self, photo: Photo, after_seconds: float) -> None:
        """Have a photo begun anew after some seconds."""
        timer = asyncio.get_running_loop().call_later(after_seconds, self._is_due, photo.path)
        self._waiting[photo.path] = Later(
            photo.fingerprint, photo.ticket.fresh, photo.settling.first_seen, photo.first_look, timer
        )

    def take(self, path: str) -> Later | None:
        """Give what is known of a path whose time has come; one that was to wait waits no longer."""
        if (later := self._waiting.pop(path, None)) is not None:
            later.timer.cancel()
        return self._due.pop(path, None)

    def clear(self) -> None:
        """Forget all: the scan after a return, or the next start, finds them by the ledger."""
        for later in self._waiting.values():
            later.timer.cancel()
        self._waiting.clear()

    def _is_due(self, path: str) -> None:
        later = self._due[path] = self._waiting.pop(path)
        self._root.errand(self._try_again(path, later))

    async def _try_again(self, path: str, later: Later) -> None:
        try:
            await self._root.look_again(path, later)
        finally:
            if self._due.get(path) is later:  # else other bytes were faster
                del self._due[path]
