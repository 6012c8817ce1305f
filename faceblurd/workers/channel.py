"""The worker's end of the socket between it and the parent.

To the worker come pickled objects, at times with open files (SCM_RIGHTS). From it go JSON in bounded frames, since it
parses hostile files, and a pickle from a taken-over worker would run code in the parent. Knows no job.
"""

from __future__ import annotations

import pickle
import select
import socket
import struct
from typing import Any

from faceblurd.workers import messages

SIZE = struct.Struct("!i")
_MAX_DESCRIPTORS = 2


def pack(what: object) -> bytes:
    """Write an object for a worker."""
    content = pickle.dumps(what)
    return SIZE.pack(len(content)) + content


class WorkerEnd:
    """Blocks until the parent speaks."""

    def __init__(self, end: socket.socket) -> None:
        """Own a connected socket. A plugin's child must not inherit it: the parent waits for its end."""
        end.set_inheritable(False)
        end.settimeout(None)
        self._socket = end
        self._readable = select.poll()
        self._readable.register(end, select.POLLIN)

    def receive(self) -> tuple[Any, list[int]]:
        """Wait for an object and the descriptors that come with it. Raises EOFError when the parent has gone."""
        head, descriptors, _, _ = socket.recv_fds(self._socket, SIZE.size, _MAX_DESCRIPTORS)
        if not head:
            raise EOFError
        head += self._rest(SIZE.size - len(head))
        return pickle.loads(self._rest(SIZE.unpack(head)[0])), descriptors  # noqa: S301 - from the parent

    def _rest(self, size: int) -> bytes:
        parts = []
        while size > 0:
            part = self._socket.recv(size)
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def send(self, message: messages.Message) -> None:
        """Send a message; waits until the parent has taken it."""
        self._socket.sendall(messages.framed(messages.encode(message)))

    def poll(self, seconds: float) -> bool:
        """Tell whether the parent says something within some seconds."""
        return bool(self._readable.poll(seconds * 1000))
