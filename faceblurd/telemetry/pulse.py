"""Tells whoever asks that the loop goes on: a socket in the state directory, answered between two of its turns.

`faceblurd health` asks. A lock says only that a process is there, and a file that is written every other second would
keep a NAS's disk awake. Knows nothing of what the loop does.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "pulse"


class Pulse:
    """The daemon's end."""

    def __init__(self, state_dir: Path) -> None:
        """Begin to listen; where a socket cannot be made, nobody is answered."""
        self._path = state_dir / NAME
        self._socket: socket.socket | None = None
        listener = socket.socket(socket.AF_UNIX)
        try:
            self._path.unlink(missing_ok=True)  # of a daemon that was killed: we own the state directory now
            with _short(state_dir) as address:
                listener.bind(address)
                os.chmod(address, 0o600)
            listener.listen(8)
            listener.settimeout(0)
        except OSError:
            listener.close()
        else:
            self._socket = listener

    def answer(self) -> None:
        """Answer all who have asked; never waits."""
        while self._socket is not None:
            try:
                asking, _ = self._socket.accept()
            except OSError:
                return
            with asking, suppress(OSError):
                asking.settimeout(0)
                asking.send(b".")

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            self._socket.close()
            with suppress(OSError):
                self._path.unlink()


def beats(state_dir: Path, seconds: float) -> bool | None:
    """Ask the daemon; False when it does not answer in this time, None when nobody listens."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(seconds)
        try:
            with _short(state_dir) as address:
                asking.connect(address)
            return bool(asking.recv(1))
        except TimeoutError:
            return False
        except OSError:
            return None


@contextmanager
def _short(state_dir: Path) -> Iterator[str]:
    """Give the socket's address by way of an open folder: the kernel takes 107 bytes, a path may have more."""
    fd = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{NAME}"
    finally:
        os.close(fd)
