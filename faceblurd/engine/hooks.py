"""The command hook: one command after every file, from an outbox that survives a restart.

Owns when to start, retry and give up; `plugins.command` owns the process. Must never block the loop, and never
touch a file: its failure costs a message, not a photo. A call that ran when the daemon died runs again (at least once).
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from faceblurd.plugins.command import HookProcess, told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from faceblurd.ledger.rows import OutboxEntry

FIRST_RETRY_SECONDS = 5.0
LAST_RETRY_SECONDS = 900.0
"""5, 20, 80, 320 s between five attempts: long enough for the other side's restart."""
CLOSE_SECONDS = 1.0


class Outbox(Protocol):
    """The durable queue of calls (the ledger)."""

    def outbox_next(self) -> OutboxEntry | None:
        """Give the call with the fewest attempts, oldest first, so that a failing one does not hold the others up."""

    def outbox_done(self, entry_id: int, /) -> None:
        """Forget a call: it succeeded, or was given up."""

    def outbox_postpone(self, entry_id: int, /) -> None:
        """Count a failed attempt."""


class Hooks:
    """Runs the command for one call after another. `run` does the work."""

    def __init__(
        self, argv: Sequence[str], *, timeout_seconds: float, max_attempts: int, outbox: Outbox,
        on_problem: Callable[[str], None], environ: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Start nothing yet; `on_problem` hears each failed attempt, and a call that is given up."""
        self._argv = tuple(argv)
        self._timeout_seconds = timeout_seconds
        self._max_attempts = max_attempts
        self._outbox = outbox
        self._on_problem = on_problem
        self._environ = os.environ if environ is None else environ
        self._not_before: dict[int, float] = {}
        self._news = asyncio.Event()
        self._rests = asyncio.Event()

    def wake(self) -> None:
        """Look into the outbox: a call was added."""
        self._rests.clear()
        self._news.set()

    async def rest(self) -> None:
        """Wait until no call is owed, or the next try of one is more than a second away."""
        await self._rests.wait()

    async def run(self) -> None:
        """Make the calls that are owed, until cancelled: then the running command is killed, and runs again later."""
        loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            entry = self._outbox.outbox_next()
            due = None if entry is None else self._not_before.get(entry.id, 0.0)
            if entry is not None and due is not None and due <= loop.time():
                await self._call(entry)
                continue
            if due is None or due > loop.time() + 1:
                self._rests.set()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._news.wait()

    async def _call(self, entry: OutboxEntry) -> None:
        now = asyncio.get_running_loop().time()
        try:
            process = HookProcess(
                self._argv, json.loads(entry.payload), environ=self._environ, deadline=now + self._timeout_seconds
            )
        except (OSError, ValueError) as error:  # ValueError: the payload is no JSON
            self._failed(entry, f"cannot start {self._argv[0]!r}: {error}")
            return
        try:
            await _ended(process)
        except asyncio.CancelledError:
            process.wait_killed(CLOSE_SECONDS)
            raise
        finally:
            code, tail = process.close()
        if code == 0 and not process.timed_out:
            self._forget(entry)
        else:
            self._failed(entry, told(code, tail, timed_out=process.timed_out))

    def _failed(self, entry: OutboxEntry, problem: str) -> None:
        attempts = entry.attempts + 1
        if attempts >= self._max_attempts:
            self._forget(entry)
            self._on_problem(f"hook command, attempt {attempts}: {problem}; given up")
            return
        wait = min(FIRST_RETRY_SECONDS * 4.0 ** min(entry.attempts, 8), LAST_RETRY_SECONDS)
        self._not_before[entry.id] = asyncio.get_running_loop().time() + wait
        self._outbox.outbox_postpone(entry.id)
        self._on_problem(f"hook command, attempt {attempts}: {problem}; next try in {wait:.0f} s")

    def _forget(self, entry: OutboxEntry) -> None:
        self._not_before.pop(entry.id, None)
        self._outbox.outbox_done(entry.id)


async def _ended(process: HookProcess) -> None:
    """Wait for the end of a command, and kill it when its time is up."""
    loop = asyncio.get_running_loop()
    while not process.ended(now := loop.time()):
        news, waitables = asyncio.Event(), process.waitables()
        for fd in waitables:
            loop.add_reader(fd, news.set)
        try:
            async with asyncio.timeout_at(process.next_look(now)):
                await news.wait()
        except TimeoutError:
            pass
        finally:
            for fd in waitables:
                loop.remove_reader(fd)
