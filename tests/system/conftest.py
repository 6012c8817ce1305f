"""The installed command, run for real: a daemon in a subprocess, its log read line by line."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND = str(Path(sys.executable).with_name("faceblurd"))
DONE = {"file.published", "file.clean", "file.quarantined"}


class Daemon:
    """One `faceblurd run`, with everything it said."""

    def __init__(self, folder: Path, config: dict[str, Any], wait: Callable[..., Any], env: dict[str, str]) -> None:
        self.folder, self._wait, self._env = folder, wait, env
        self.config_path = folder / "config.yaml"
        self.state_dir = folder / "state"
        self.log_path = folder / "daemon.log"
        self.write_config(config)
        self.process: subprocess.Popen[bytes] | None = None

    def write_config(self, config: dict[str, Any]) -> None:
        self.config_path.write_text(json.dumps({"state_dir": str(self.state_dir), **config}))  # JSON is YAML

    def start(self, *, ready: bool = True) -> None:
        started = len(self.lines("daemon.started"))
        with self.log_path.open("ab") as log:
            arguments = [COMMAND, "run", "--config", str(self.config_path)]
            self.process = subprocess.Popen(arguments, stderr=log, stdout=log, env={**os.environ, **self._env})
        if ready:
            self.wait_for(lambda: self.process.poll() is not None or len(self.lines("daemon.started")) > started)
            assert self.process.poll() is None, self.log()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def lines(self, *events: str) -> list[dict[str, Any]]:
        """All log lines so far, of the given events (all without any)."""
        found = []
        for line in self.log().splitlines():
            if line.startswith("{") and line.endswith("}"):
                fields = json.loads(line)
                if not events or fields["event"] in events:
                    found.append(fields)
        return found

    def finished(self) -> dict[str, list[str]]:
        """Outcomes by path, in the order in which they were logged."""
        outcomes: dict[str, list[str]] = {}
        for line in self.lines(*DONE):
            outcomes.setdefault(line["path"], []).append(line["outcome"])
        return outcomes

    def published(self) -> set[str]:
        """Paths that the ledger calls published, whether or not the daemon lived to say so."""
        ledger = sqlite3.connect(f"{(self.state_dir / 'ledger.sqlite3').as_uri()}?mode=ro", uri=True)
        with closing(ledger):
            rows = ledger.execute("SELECT root, path FROM files WHERE state = 'published'").fetchall()
        return {os.path.join(os.fsdecode(root), os.fsdecode(path)) for root, path in rows}

    def wait_for(self, condition: Callable[[], Any], *, seconds: float = 120, what: str = "") -> Any:
        try:
            return self._wait(condition, seconds=seconds, what=what or "it")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-6000:]}") from None

    def stop(self, number: int = signal.SIGTERM, *, seconds: float = 30) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return faceblurd(*arguments)


def faceblurd(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the installed command to its end."""
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False, **options)


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    return faceblurd


@pytest.fixture
def daemon(tmp_path: Path, wait_until: Callable[..., Any]) -> Iterator[Callable[..., Daemon]]:
    """Make daemons that are ended with the test."""
    made: list[Daemon] = []

    def make(*, env: dict[str, str] | None = None, **config: Any) -> Daemon:
        one = Daemon(tmp_path, config, wait_until, env or {})
        made.append(one)
        return one

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.process.kill()
            one.process.wait()
