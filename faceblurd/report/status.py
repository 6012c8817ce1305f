"""The daemon's own account of itself: a small JSON file in the state directory, and a pulse beside it.

Replaced atomically and only when something changed, so that a sleeping disk may sleep. Never names what is in a photo.
The pulse is a socket that is answered between two turns of the loop, for `faceblurd health`.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "status.json"
SOCKET_NAME = "pulse"


class StatusFile:
    """Writes the file."""

    def __init__(self, state_dir: Path) -> None:
        """Remember where it is; nothing is written yet."""
        self._path = state_dir / NAME
        self._last = ""

    def write(self, content: dict[str, Any]) -> None:
        """Replace the file if `content` is new. Raises OSError."""
        text = json.dumps(content, indent=1)
        if text == self._last:
            return
        try:
            self._replace(text)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._overwrite(text)
        self._last = text

    def _replace(self, text: str) -> None:
        partial = self._path.with_suffix(".tmp")
        with open(partial, "w", encoding="utf-8", opener=_only_for_us) as file:
            file.write(text)
        os.replace(partial, self._path)

    def _overwrite(self, text: str) -> None:
        """Say that the disk is full on a full disk: the old file's blocks are there; a reader may see half."""
        with self._path.open("r+", encoding="utf-8") as file:
            file.write(text)
            file.truncate()

    def remove(self) -> None:
        """Remove the file: no daemon runs any more."""
        self._path.unlink(missing_ok=True)


def _only_for_us(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_status(state_dir: Path) -> dict[str, Any]:
    """Read what a daemon last said of itself; empty when none did."""
    try:
        content = json.loads((state_dir / NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class Pulse:
    """The daemon's end."""

    def __init__(self, state_dir: Path) -> None:
        """Begin to listen; where a socket cannot be made, nobody is answered."""
        self._path = state_dir / SOCKET_NAME
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
        yield f"/proc/self/fd/{fd}/{SOCKET_NAME}"
    finally:
        os.close(fd)
