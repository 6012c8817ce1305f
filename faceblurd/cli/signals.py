"""A signal that ends a one-shot command between two steps, so that what is in hand leaves no trace."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Stop:
    """Is true once a signal has asked for the end."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        """Listen from now on; what is ignored (`nohup`, a job in the background) stays ignored."""
        self._asked = False
        self._wake: Callable[[], None] = lambda: None
        for number in self.NUMBERS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._ask)

    def _ask(self, _number: int, _frame: object) -> None:
        self._asked = True
        self._wake()

    def event(self) -> asyncio.Event:
        """Give an event of the running loop that is set when it is time to stop."""
        import asyncio  # noqa: PLC0415 - 40 ms, and not needed for --help

        loop, event = asyncio.get_running_loop(), asyncio.Event()
        self._wake = lambda: _set_in(loop, event)
        if self._asked:
            event.set()
        return event

    def __call__(self) -> bool:
        """Tell whether to stop."""
        return self._asked

    def heed(self) -> None:
        """Raise click.Abort, which ends the command with 130, when it is time to stop."""
        if self._asked:
            raise click.Abort


def _set_in(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(event.set)
