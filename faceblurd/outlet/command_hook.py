"""The command hook: one command after every file, from an outbox that survives a restart.

Owns when to start, retry and give up; `outlet.hook_process` owns the process. Must never block the loop, and never
touch a file: its failure costs a message, not a photo. A call that ran when the daemon died runs again (at least once).
"""

from __future__ import annotations

import json
import os
import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from faceblurd.outlet.hook_process import HookProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FIRST_RETRY_SECONDS = 5.0
LAST_RETRY_SECONDS = 900.0
"""5, 20, 80, 320 s between five attempts: long enough for the other side's restart."""
CLOSE_SECONDS = 1.0
NOT_STARTED = 127
"""What `fire_once` gives for a command that cannot be started, as shells do."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One call that is owed: `payload` is JSON text (see `hook_process.payload_for`)."""

    id: int
    payload: str
    attempts: int


class Outbox(Protocol):
    """The durable queue of calls (the ledger)."""

    def outbox_next(self) -> OutboxEntry | None:
        """Give the call with the fewest attempts, oldest first, so that a failing one does not hold the others up."""

    def outbox_done(self, entry_id: int, /) -> None:
        """Forget a call: it succeeded, or was given up."""

    def outbox_postpone(self, entry_id: int, /) -> None:
        """Count a failed attempt."""


class CommandHook:
    """Runs the command for one call after another; ticked by the loop."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        timeout_seconds: float,
        max_attempts: int,
        outbox: Outbox,
        on_problem: Callable[[str], None],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Start nothing yet; `on_problem` hears each failed attempt, and a call that is given up."""
        self._argv = tuple(argv)
        self._timeout_seconds = timeout_seconds
        self._max_attempts = max_attempts
        self._outbox = outbox
        self._on_problem = on_problem
        self._environ = os.environ if environ is None else environ
        self._running: tuple[OutboxEntry, HookProcess] | None = None
        self._not_before: dict[int, float] = {}
        self._due: float | None = None

    def tick(self, now: float) -> None:
        """Reap or kill the running command, or start the next call that is due (`now`: monotonic seconds)."""
        if self._running is not None:
            entry, process = self._running
            if not process.ended(now):
                self._due = process.next_look(now)
                return
            self._running = None
            self._settle(entry, process, now)
        self._start_next(now)

    def waitables(self) -> list[int]:
        """Descriptors to wait on, so that the loop wakes when the command speaks or ends."""
        return [] if self._running is None else self._running[1].waitables()

    def next_due(self) -> float | None:
        """When the next tick is needed at the latest; None: after the next file, or when a waitable is ready."""
        return self._due

    @property
    def running(self) -> bool:
        """Whether a command runs right now."""
        return self._running is not None

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing is owed (a call that waits for its next attempt is owed)."""
        return self._running is None and self._outbox.outbox_next() is None

    def close(self) -> None:
        """Kill the running command; its call is still in the outbox, and runs again after the restart."""
        if self._running is None:
            return
        _, process = self._running
        self._running = self._due = None
        process.wait_killed(CLOSE_SECONDS)
        process.close()

    def _start_next(self, now: float) -> None:
        entry = self._outbox.outbox_next()
        self._due = None if entry is None else self._not_before.get(entry.id, now)
        if entry is None or self._due is None or self._due > now:
            return
        try:
            process = HookProcess(
                self._argv, json.loads(entry.payload), environ=self._environ, deadline=now + self._timeout_seconds
            )
        except (OSError, ValueError) as error:  # ValueError: the payload is no JSON
            self._failed(entry, f"cannot start {self._argv[0]!r}: {error}", now)
            self._due = now  # the next call, or this one's back-off: the next tick looks
            return
        self._running = (entry, process)
        self._due = process.next_look(now)

    def _settle(self, entry: OutboxEntry, process: HookProcess, now: float) -> None:
        code, tail = process.close()
        if code == 0 and not process.timed_out:
            self._forget(entry)
        else:
            self._failed(entry, _told(code, tail, timed_out=process.timed_out), now)

    def _failed(self, entry: OutboxEntry, problem: str, now: float) -> None:
        attempts = entry.attempts + 1
        if attempts >= self._max_attempts:
            self._forget(entry)
            self._on_problem(f"hook command, attempt {attempts}: {problem}; given up")
            return
        wait = min(FIRST_RETRY_SECONDS * 4.0 ** min(entry.attempts, 8), LAST_RETRY_SECONDS)
        self._not_before[entry.id] = now + wait
        self._outbox.outbox_postpone(entry.id)
        self._on_problem(f"hook command, attempt {attempts}: {problem}; next try in {wait:.0f} s")

    def _forget(self, entry: OutboxEntry) -> None:
        self._not_before.pop(entry.id, None)
        self._outbox.outbox_done(entry.id)


def fire_once(
    argv: Sequence[str],
    payload: Mapping[str, object],
    timeout_seconds: float,
    *,
    environ: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run the command once and wait (`faceblurd hooks test`); give its exit code and the end of its output."""
    environ = os.environ if environ is None else environ
    try:
        process = HookProcess(argv, payload, environ=environ, deadline=time.monotonic() + timeout_seconds)
    except OSError as error:
        return NOT_STARTED, f"cannot start {argv[0]!r}: {error}"
    while not process.ended(now := time.monotonic()):
        due = process.next_look(now)
        select.select(process.waitables(), [], [], None if due is None else max(0.0, due - now))
    code, tail = process.close()
    return code, _told(code, tail, timed_out=True) if process.timed_out else tail


def _told(code: int, tail: str, *, timed_out: bool) -> str:
    """Say how it ended."""
    how = "killed after its timeout" if timed_out else f"exit code {code}" if code >= 0 else f"killed by signal {-code}"
    return f"{how}: {tail}" if tail else how
