"""asyncio's loop, run so that nothing that hangs can keep the process from its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def run(main: Coroutine[None, None, T]) -> T:
    """Run a coroutine to its end. Unlike `asyncio.run`, do not wait for tasks that it left behind: they hang."""
    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        loop.set_exception_handler(lambda _loop, _context: None)  # "Task was destroyed but it is pending"
        asyncio.set_event_loop(None)
        loop.close()
