"""Stand-ins that are real to the daemon: a plugin that is installed, and a service manager that listens."""

from __future__ import annotations

import os
import socket
import textwrap
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def install_plugin(folder: Path, name: str, source: str) -> dict[str, str]:
    """Install a plugin as pip would; give the environment in which it is found."""
    info = folder / "site" / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "site" / f"{name}.py").write_text(textwrap.dedent(source))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[faceblurd]\n{name} = {name}\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")])}


class ServiceManager:
    """Listens at a NOTIFY_SOCKET as systemd does, and knows what came when."""

    def __init__(self, folder: Path, *, watchdog_seconds: float) -> None:
        """Listen. A service that sends no WATCHDOG=1 for `watchdog_seconds` would be killed."""
        self._address = str(folder / "notify")
        self.env = {"NOTIFY_SOCKET": self._address, "WATCHDOG_USEC": str(round(watchdog_seconds * 1_000_000))}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._address)
        self._heard: list[tuple[float, str]] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while message := self._socket.recv(4096):
            self._heard.append((time.monotonic(), message.decode()))

    def mark(self, wait_until: Callable[..., object]) -> int:
        """Give how many messages there were until now, those that are still in the socket as well."""
        word = f"MARK={time.monotonic_ns()}"
        self._say(word)
        wait_until(lambda: any(message == word for _, message in self._heard[:]), what="our own datagram")
        return next(at for at, (_, message) in enumerate(self._heard) if message == word)

    def count(self, word: str, *, since: int = 0, until: int | None = None) -> int:
        """Count the messages of one kind, between two marks."""
        return sum(message.startswith(word) for _, message in self._heard[since:until])

    def longest_silence(self) -> float:
        """Give the longest time between two WATCHDOG=1."""
        times = [at for at, message in self._heard[:] if message == "WATCHDOG=1"]
        return max(later - earlier for earlier, later in pairwise(times))

    def _say(self, word: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(word.encode(), self._address)

    def close(self) -> None:
        """Stop listening."""
        self._say("")  # an empty datagram ends the thread
        self._thread.join(300)
        self._socket.close()
