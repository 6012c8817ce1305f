"""What tests of the installed command share: folders, as people change them and their configs, and scans over them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Home:
    """A state directory, folders, and scans over them."""

    def __init__(self, folder: Path, command: Callable[..., Any], cheapest: dict[str, Any]) -> None:
        self.folder, self._command, self._cheapest = folder, command, cheapest

    def root(self, name: str, to: str = "", **settings: Any) -> dict[str, Any]:
        (self.folder / name).mkdir(exist_ok=True)
        where = {"mode": "mirror", "to": str(self.folder / to)} if to else {"mode": "in_place"}
        return {"path": str(self.folder / name), **where, "quiet_seconds": 0, **settings}

    def write(self, *roots: dict[str, Any], **settings: Any) -> Path:
        """Write a config of these roots."""
        config = {"state_dir": str(self.folder / "state"), **self._cheapest, "roots": roots, **settings}
        config.setdefault("workers", {"count": 1})
        path = self.folder / "config.yaml"
        path.write_text(json.dumps(config))
        return path

    def scan(self, *roots: dict[str, Any], **settings: Any) -> int:
        """Scan these roots; give the exit code."""
        done = self._command("scan", "--config", str(self.write(*roots, **settings)))
        self.said = done.stderr
        return int(done.returncode)

    def run(self, *arguments: str) -> Any:
        """Run another command about the same state."""
        return self._command(*arguments, "--state-dir", str(self.folder / "state"))

    def listed(self, kind: str = "held") -> dict[str, str]:
        """What `status` lists as held or retried: names and reasons."""
        status = json.loads(self.run("status", "--json").stdout)
        return {one["path"].rpartition("/")[2]: one["reason"] for one in status[kind]}

    def said_of(self, event: str) -> list[str]:
        lines = [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]
        return [line["path"].rpartition("/")[2] for line in lines if line["event"] == event]


@pytest.fixture
def home(tmp_path: Path, command: Callable[..., Any], cheapest: dict[str, Any]) -> Home:
    return Home(tmp_path, command, cheapest)
