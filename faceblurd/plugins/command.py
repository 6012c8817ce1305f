"""One run of the hook command, as a process that never blocks the loop.

Owns spawning (argv, no shell; a clean environment; the object on stdin), draining of its output, and killing of its
process group. Must not know the outbox or decide about retries: `engine.hooks` does.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from faceblurd.model import Report

PASSED_ON = ("PATH", "HOME", "LANG")
"""All that the command inherits: a token in the daemon's environment is none of its business."""
TAIL_BYTES = 4096
"""How much of the output is kept for the log; the rest is read and dropped, or the command would block."""
POLL_SECONDS = 0.2
"""How often to look where the kernel has no pidfd (before 5.3, as on older NAS)."""
NOT_STARTED = 127
"""What `fire_once` gives for a command that cannot be started, as shells do."""
_NAMES = ("path", "output", "root")


def payload_for(report: Report) -> str:
    """Give the outbox's JSON text for a report: ASCII, with the true bytes of names as lone surrogates."""
    names = {"path": report.path, "output": report.output, "root": report.root}
    return json.dumps({**report.as_dict(), **names})


def environment_for(payload: Mapping[str, object], environ: Mapping[str, str]) -> dict[bytes, bytes]:
    """Build the environment of the command: three variables of ours, and the FACEBLURD_* ones, always all of them."""
    facts = ("path", "outcome", "output", "reason", "faces", "recipe", "milliseconds", "root")
    inherited = {name: environ[name] for name in PASSED_ON if name in environ}
    told = {f"FACEBLURD_{fact.upper()}": _text(payload.get(fact)) for fact in facts}
    return {name.encode(): _bytes(value) for name, value in ({"PATH": os.defpath} | inherited | told).items()}


class HookProcess:
    """The running command. `ended` first, then `code` and `tail`."""

    __slots__ = ("_output", "_pidfd", "_process", "_tail", "deadline", "timed_out")

    def __init__(
        self, argv: Sequence[str], payload: Mapping[str, object], *, environ: Mapping[str, str], deadline: float
    ) -> None:
        """Start it; `deadline` on the caller's monotonic clock. OSError: the command cannot be started."""
        self.deadline = deadline
        self.timed_out = False
        self._tail = b""
        self._output, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._process = _spawn(argv, payload, environ, write_end)
        except BaseException:
            os.close(self._output)
            raise
        finally:
            os.close(write_end)
        self._pidfd = _pidfd(self._process.pid)

    def waitables(self) -> list[int]:
        """Descriptors that turn readable when there is something to do."""
        return [fd for fd in (self._pidfd, self._output) if fd >= 0]

    def next_look(self, now: float) -> float | None:
        """When to look again although no descriptor turned readable."""
        if self._pidfd < 0:
            return now + POLL_SECONDS
        return None if self.timed_out else self.deadline

    def ended(self, now: float) -> bool:
        """Drain, reap, and kill the process group when its time is up; True once it is gone."""
        self._drain()
        if self._process.poll() is not None:
            return True
        if now >= self.deadline and not self.timed_out:
            self.timed_out = True
            self.kill()  # not waited for here: a process in a dead network share may take its time to die
        return False

    def kill(self) -> None:
        """Kill the process group; the leader is not reaped yet, so the number is still its own."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> tuple[int, str]:
        """Give the exit code (negative: the signal) and the end of the output; call once `ended`."""
        self._drain()
        for fd in self.waitables():
            os.close(fd)
        self._pidfd = self._output = -1
        code = self._process.returncode
        return (-signal.SIGKILL if code is None else code), self._tail.decode("utf-8", "backslashreplace").strip()

    def wait_killed(self, seconds: float) -> None:
        """Kill, and wait a little for the end (when the daemon stops)."""
        self.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def _drain(self) -> None:
        """Read what there is, once: a command that never stops talking must not hold the loop."""
        if self._output < 0:
            return
        with suppress(BlockingIOError):
            chunk = os.read(self._output, 65536)
            self._tail = (self._tail + chunk)[-TAIL_BYTES:]
            if not chunk:  # closed; left open it would stay readable and spin the loop
                os.close(self._output)
                self._output = -1


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
    return code, told(code, tail, timed_out=True) if process.timed_out else tail


def told(code: int, tail: str, *, timed_out: bool) -> str:
    """Say how it ended."""
    how = "killed after its timeout" if timed_out else f"exit code {code}" if code >= 0 else f"killed by signal {-code}"
    return f"{how}: {tail}" if tail else how


def _spawn(
    argv: Sequence[str], payload: Mapping[str, object], environ: Mapping[str, str], output: int
) -> subprocess.Popen[bytes]:
    """Start the command in a session of its own; close_fds keeps photos and sockets from it."""
    stdin = os.memfd_create("faceblurd-hook")  # no pipe: a command that does not read would block us
    try:
        _write_all(stdin, json.dumps(_shown(payload)).encode() + b"\n")
        os.lseek(stdin, 0, os.SEEK_SET)
        os.set_blocking(output, True)  # the command's own end; ours stays non-blocking
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment_for(payload, environ),
            cwd="/",
            start_new_session=True,
        )
    except ValueError as error:  # a NUL in argv
        raise OSError(str(error)) from error
    finally:
        os.close(stdin)


def _write_all(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def _shown(payload: Mapping[str, object]) -> dict[str, object]:
    """Give the documented object: lone surrogates are no JSON that other languages read."""
    shown = dict(payload)
    for name in _NAMES:
        if isinstance(value := shown.get(name), str):
            shown[name] = _true_bytes(value).decode("utf-8", "backslashreplace")
    return shown


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _bytes(value: str) -> bytes:
    """Give what a variable can hold: no NUL."""
    return _true_bytes(value).replace(b"\0", b"\\x00")


def _true_bytes(value: str) -> bytes:
    """Give the bytes of a name; surrogates that stand for no byte (from a plugin) become escapes."""
    try:
        return os.fsencode(value)
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace")
