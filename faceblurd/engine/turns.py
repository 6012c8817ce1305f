"""Who is next: fresh photos before the backfill, roots in turn, and no root takes every worker.

A photo has its turn while it is opened and staged; afterwards it waits for a worker, with the others that are ready. So
a root that hangs while its photos are opened takes no worker from the others.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

MAX_FRESH_IN_A_ROW = 8
"""Then one of the backfill: a camera that uploads for ever costs an old folder speed, not its photos."""


class Workers(Protocol):
    """The pool, as far as turns go by it."""

    @property
    def idle(self) -> int:
        """How many workers wait for a job."""

    def ensure(self, wanted: int) -> None:
        """See that so many workers are there, or start, beside those that are at work."""


@dataclass(eq=False, slots=True)
class Ticket:
    """A place in line."""

    root: str
    fresh: bool
    called: asyncio.Future[None] | None = None


class Line:
    """Tickets of one kind: a line for each root; the roots that have one take turns. Everything in constant time."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._lines: OrderedDict[str, OrderedDict[Ticket, None]] = OrderedDict()  # the root whose turn it is first
        self._count = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._count

    def append(self, ticket: Ticket) -> None:
        """Line up."""
        self._lines.setdefault(ticket.root, OrderedDict())[ticket] = None
        self._count += 1

    def discard(self, ticket: Ticket) -> bool:
        """Leave the line; False for a ticket that is not in it."""
        line = self._lines.get(ticket.root, OrderedDict())
        if ticket not in line:
            return False
        del line[ticket]
        self._count -= 1
        if not line:
            del self._lines[ticket.root]
        return True

    def pop(self, but: Collection[str]) -> Ticket | None:
        """Take the first ticket of the root whose turn it is; roots in `but` miss theirs."""
        root = next((root for root in self._lines if root not in but), None)
        if root is None:
            return None
        ticket = next(iter(self._lines[root]))
        self.discard(ticket)
        if root in self._lines:
            self._lines.move_to_end(root)
        return ticket


class Lines:
    """Both lines. Pure: neither knows a clock or a loop."""

    def __init__(self) -> None:
        """Nobody waits."""
        self.fresh, self.backfill = Line(), Line()
        self._fresh_in_a_row = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self.fresh) + len(self.backfill)

    def append(self, ticket: Ticket) -> None:
        """Line up."""
        (self.fresh if ticket.fresh else self.backfill).append(ticket)

    def discard(self, ticket: Ticket) -> None:
        """Leave."""
        self.fresh.discard(ticket)
        self.backfill.discard(ticket)

    def promote(self, ticket: Ticket) -> None:
        """Make a ticket of the backfill a fresh one: somebody has just touched the photo."""
        ticket.fresh = True
        if self.backfill.discard(ticket):
            self.fresh.append(ticket)

    def pop(self, *, but: Collection[str] = ()) -> Ticket | None:
        """Take the next ticket, of other roots than those in `but`."""
        first = self.backfill if self._fresh_in_a_row >= MAX_FRESH_IN_A_ROW else self.fresh
        for line in (first, self.fresh, self.backfill):
            ticket = line.pop(but)
            if ticket is not None:
                self._fresh_in_a_row = 0 if line is self.backfill else self._fresh_in_a_row + 1
                return ticket
        return None


class Turns:
    """Gives photos their turn, as workers become idle."""

    def __init__(self, workers: Workers) -> None:
        """`workers` must have `admit` called whenever one becomes idle, or may be started (again)."""
        self._workers = workers
        self._lines = Lines()
        self._starting: Counter[str] = Counter()  # photos that have their turn, by root
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many photos wait for their turn."""
        return len(self._lines)

    @asynccontextmanager
    async def turn(self, ticket: Ticket) -> AsyncIterator[None]:
        """Wait for a turn, and have it."""
        ticket.called = asyncio.get_running_loop().create_future()
        self._lines.append(ticket)
        self.admit()
        try:
            await ticket.called
        except asyncio.CancelledError:
            self._lines.discard(ticket)
            if ticket.called.done() and not ticket.called.cancelled():
                self._end(ticket)
            raise
        try:
            yield
        finally:
            self._end(ticket)

    def promote(self, ticket: Ticket) -> None:
        """Let a photo of the backfill go before the others: somebody has just touched it."""
        self._lines.promote(ticket)

    def _end(self, ticket: Ticket) -> None:
        self._starting[ticket.root] -= 1
        self.admit()

    def admit(self) -> None:
        """Give turns: as many as there are idle workers, for each root that hangs at it at most."""
        if self._closed or not (len(self._lines) or self._starting.total()):
            return
        self._workers.ensure(len(self._lines) + self._starting.total())
        while idle := self._workers.idle:
            busy = {root for root, number in self._starting.items() if number >= idle}
            ticket = self._lines.pop(but=busy)
            if ticket is None:
                return
            assert ticket.called is not None  # noqa: S101 - it is in line
            if not ticket.called.done():  # else it was cancelled, and is about to leave
                self._starting[ticket.root] += 1
                ticket.called.set_result(None)

    def close(self) -> None:
        """Give no turn any more."""
        self._closed = True
