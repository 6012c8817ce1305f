"""Tasks beside the photos of one root: each is told of when it fails, and none is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

from faceblurd.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from faceblurd.engine.model import Services


class Tasks:
    """Those of one root."""

    def __init__(self, path: str, services: Services) -> None:
        """Begin none yet. `path`: the root's, for the log."""
        self.path, self.services = path, services
        self.errands: set[asyncio.Task[None]] = set()

    def errand(self, coroutine: Coroutine[None, None, None]) -> None:
        """Do something once, beside the photos. A bug in it is told, and the next scan does what it left."""
        task = self.spawn(self._once(coroutine))
        task.add_done_callback(lambda _: coroutine.close())
        self.errands.add(task)
        task.add_done_callback(self.errands.discard)

    def spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Begin a task of which whoever runs the engine hears if it fails."""
        task = asyncio.get_running_loop().create_task(self.do(coroutine))
        task.add_done_callback(lambda _: coroutine.close())  # of one that is cancelled before it began
        return task

    async def _once(self, step: Awaitable[None]) -> None:
        try:
            await step
        except (OSError, sqlite3.Error, SetupError):
            raise
        except Exception as error:  # noqa: BLE001 - isolation point: one errand
            detail = f"{type(error).__name__}: {error}"
            self.services.log.event("root.trouble", root=self.path, detail=detail)

    async def do(self, step: Awaitable[None]) -> None:
        """Await a step: a disk's error is logged, any other ends the engine."""
        try:
            await step
        except OSError as error:
            self.services.log.event("root.trouble", root=self.path, detail=error.strerror or str(error))
        except Exception as error:  # noqa: BLE001 - isolation point: told to whoever runs the engine
            self.services.fail(error)
