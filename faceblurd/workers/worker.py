"""One worker process, as the parent sees it: never blocks, whatever the worker does.

Owns the process and the parent's end of its socket. A worker that ends, hangs, floods or speaks out of turn costs its
own job: `Lost`. Never looks at pixels or paths.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from faceblurd.model import Abandoned, Hashed, Reason, Refused, Staged, Untouched
from faceblurd.workers import messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceblurd.model import Job, JobResult
    from faceblurd.workers.job import Setup

A = TypeVar("A", bound="Hashed | JobResult")
START_SECONDS = 60.0
REAP_SECONDS = 0.2  # for a process that has been killed, or has closed its socket, to end
_STDERR = 2
_POLL_SECONDS = 0.02  # where the kernel has no pidfd (before 5.3, as on older NAS)
_READ_BYTES = 1 << 16
_SPENT = frozenset({Reason.OUT_OF_MEMORY, Reason.INTERNAL_ERROR})
_BEGINS: tuple[type[Hashed | Refused], ...] = (Hashed, Refused)
_ENDS: tuple[type[JobResult], ...] = (Staged, Untouched, Refused)
_ABANDONS: tuple[type[JobResult], ...] = (Abandoned, Refused)
_OUT_OF_TURN = "the worker spoke out of turn"
# By this name, which multiprocessing's workers have, too, scripts find workers in a list of processes.
_COMMAND = "import sys; from faceblurd.workers.job import main as spawn_main; spawn_main(int(sys.argv[1]))"


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker ended with a job in hand (`detail` says how); nothing of the job is left."""

    job: int
    reason: Reason
    detail: str


class Worker:
    """One process. Whoever leased it from the pool owns it meanwhile."""

    def __init__(self, setup: Setup) -> None:
        """Start the process. Raises OSError."""
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._socket.settimeout(0)
            try:
                # -P: a module in the current folder, which may be the photos', is none of ours
                arguments = [sys.executable, "-P", "-c", _COMMAND, str(theirs.fileno())]
                # Standard output is the command's: what a plugin prints is no JSON, and a worker that hangs with its
                # share would keep the reader of a pipe waiting.
                self._process = subprocess.Popen(
                    arguments, stdin=subprocess.DEVNULL, stdout=_STDERR, pass_fds=(theirs.fileno(),)
                )
            except BaseException:
                self._socket.close()
                raise
        self._setup = setup
        self._frames = messages.Frames()
        self._received: deque[messages.Message] = deque()
        self._job: Job | None = None
        self._due = 0.0
        self.files = 0
        self.is_spent = False  # it must get no other job
        self.is_lost = False  # it did not do what it was asked for

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def fileno(self) -> int:
        """Give the socket, which is readable when the worker speaks or has ended."""
        return self._socket.fileno()

    def is_quiet(self) -> bool:
        """Tell whether it has neither ended nor said more than it was asked for."""
        if self._received or self._frames.has_part:
            return False
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    # --- start

    async def started(self) -> messages.Ready | messages.SetupFailed | str:
        """Wait until it can take a job; a text says why it cannot."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + START_SECONDS
        try:
            async with asyncio.timeout_at(self._due):
                await loop.sock_sendall(self._socket, messages.pack(self._setup))  # recipes may have thousands of zones
            message = await self._receive()
        except TimeoutError:
            return f"it was not ready within {START_SECONDS:.0f} s"
        except (EOFError, OSError):
            return await self._how_it_ended()
        except ValueError:
            return _OUT_OF_TURN
        if isinstance(message, messages.SetupFailed) or (isinstance(message, messages.Ready) and self.is_quiet()):
            return message
        return _OUT_OF_TURN

    # --- a job

    async def begin(
        self, job: Job, *, source_fd: int, staging_fd: int, within_seconds: float
    ) -> Hashed | Refused | Lost:
        """Hand over a job and its two open files; wait for the source's digest. All of it has `within_seconds`."""
        self._job, self._due = job, asyncio.get_running_loop().time() + within_seconds
        self.is_spent = True  # until its result is there
        order = messages.Order.of(job, self._setup.recipes)
        return await self._ask(order, (source_fd, staging_fd), expects=_BEGINS)

    async def go_on(self, *, proceed: bool) -> JobResult | Lost:
        """Answer a `Hashed`: go on, or abandon the job. Wait for what becomes of it."""
        return await self._ask(proceed, expects=_ENDS if proceed else _ABANDONS)

    async def _ask(self, what: object, descriptors: Sequence[int] = (), *, expects: tuple[type[A], ...]) -> A | Lost:
        try:
            self._send(what, descriptors)
            answer = await self._receive()
        except TimeoutError:
            return self._lost(Reason.DEADLINE, "took longer than workers.deadline_seconds")
        except (EOFError, OSError):
            return self._lost(Reason.WORKER_CRASHED, await self._how_it_ended())
        except ValueError:
            return self._lost(Reason.WORKER_CRASHED, _OUT_OF_TURN)
        if not isinstance(answer, expects) or self._job is None or answer.job != self._job.id:
            return self._lost(Reason.WORKER_CRASHED, _OUT_OF_TURN)
        if not isinstance(answer, Hashed):
            self._job = None
            self.files += 1
            self.is_spent = not self.is_quiet() or (isinstance(answer, Refused) and answer.reason in _SPENT)
        return answer

    def _lost(self, reason: Reason, detail: str) -> Lost:
        assert self._job is not None  # noqa: S101 - `begin` has set it
        self.is_lost = True
        return Lost(self._job.id, reason, detail)

    # --- the socket

    def _send(self, what: object, descriptors: Sequence[int]) -> None:
        """Send something small whole; what is not taken at once never will be."""
        content = messages.pack(what)
        if socket.send_fds(self._socket, [content], descriptors) < len(content):
            raise BrokenPipeError("a worker takes nothing any more")

    async def _receive(self) -> messages.Message:
        """Wait for a message.

        Raises TimeoutError, EOFError, OSError, and ValueError for what no worker of ours would say.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout_at(self._due):
            while not self._received:
                some = await loop.sock_recv(self._socket, _READ_BYTES)
                if not some:
                    raise EOFError
                self._received.extend(messages.decode(one) for one in self._frames.feed(some))
        return self._received.popleft()

    # --- the end

    def kill(self) -> None:
        """End it at once; `reaped` waits for it, and whoever waits for its answer hears of it."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        with suppress(OSError):  # closed
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Put down its socket; nobody may be waiting for its answer."""
        self._socket.close()

    async def _how_it_ended(self) -> str:
        await self.reaped(REAP_SECONDS)
        code = self._process.returncode
        if code is None:
            return "the worker did not answer any more"
        return f"the worker was ended by signal {-code}" if code < 0 else f"the worker exited with code {code}"

    async def reaped(self, seconds: float | None) -> bool:
        """Wait until the process is gone; `seconds` at most, since it may hang in the kernel on a dead share."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._process.poll() is None:
                    await self._ended()
        return self._process.returncode is not None

    async def _ended(self) -> None:
        try:
            pidfd = os.pidfd_open(self._process.pid)
        except OSError:
            await asyncio.sleep(_POLL_SECONDS)
            return
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
