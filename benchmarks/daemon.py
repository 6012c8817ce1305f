"""A real daemon for the benchmarks: its own process, in folders that are gone afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Any, Self

import bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START_SECONDS = 60.0
POLL_SECONDS = 0.0005
CONFIG = """\
state_dir: {top}/state
roots:
  - path: {top}/in
    mode: mirror
    to: {top}/out
    quiet_seconds: {quiet_seconds}
workers: {{count: {workers}}}
logging: {{format: json, level: info}}
"""


class Folders:
    """Inbox, mirror, state and config of a daemon that may be started more than once."""

    def __init__(self, *, quiet_seconds: float = 0.2, workers: int = 1, below: str | None = None) -> None:
        """Make them."""
        self._temporary = tempfile.TemporaryDirectory(prefix="faceblurd-bench-", dir=below)
        self.top = os.path.realpath(self._temporary.name)
        self.inbox, self.mirror = f"{self.top}/in", f"{self.top}/out"
        self.config, self.log = f"{self.top}/config.yaml", f"{self.top}/log"
        for folder in (self.inbox, self.mirror, f"{self.top}/state"):
            os.mkdir(folder)
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(top=self.top, quiet_seconds=quiet_seconds, workers=workers))

    def __enter__(self) -> Self:
        """Give the folders."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove them."""
        self._temporary.cleanup()


class Daemon:
    """`faceblurd run`, from its start to SIGTERM; its log is read back as objects."""

    def __init__(self, folders: Folders) -> None:
        """Start it."""
        self._read_until = os.path.getsize(folders.log) if os.path.exists(folders.log) else 0
        self._log = folders.log
        self.started = time.monotonic()
        with open(folders.log, "ab") as log:
            command = (*bench.FACEBLURD, "run", "--config", folders.config)
            self._process = subprocess.Popen(command, stderr=log, stdout=log)
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        """Wait until it works."""
        self.wait_for("daemon.started")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, and wait for its end."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def events(self) -> Iterator[dict[str, Any]]:
        """Give the log lines since the last call."""
        with open(self._log, "rb") as file:
            file.seek(self._read_until)
            text = file.read()
        whole, newline, _ = text.rpartition(b"\n")
        self._read_until += len(whole) + len(newline)
        for line in whole.splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                bench.say(line.decode("utf-8", "replace"))

    def wait_for(self, event: str, *, seconds: float = START_SECONDS) -> dict[str, Any]:
        """Wait for a log line and return it."""
        found: dict[str, Any] = {}

        def seen() -> bool:
            found.update(next((line for line in self.events() if line["event"] == event), {}))
            return bool(found)

        self.wait_until(seen, seconds=seconds, what=event)
        return found

    def wait_until(self, true: Callable[[], bool], *, seconds: float, what: str, every: float = 0.01) -> float:
        """Wait for a condition; return the monotonic time at which it was seen."""
        until = time.monotonic() + seconds
        while not true():
            if time.monotonic() > until or self._process.poll() is not None:
                raise SystemExit(f"waited in vain for {what}; the daemon's log says:\n{self._tail()}")
            time.sleep(every)  # the step of a poll with a deadline
        return time.monotonic()

    def _tail(self) -> str:
        with open(self._log, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-10:])
