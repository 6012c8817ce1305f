"""Tell systemd how the service is, in its own datagram protocol (sd_notify(3)).

Owns the wording of the messages. Must not fail: outside systemd, or with a dead socket, every call does nothing, for a
photo must never depend on who listens. The environment is an argument, so that nothing is read at import.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SEND_TIMEOUT_SECONDS = 1.0
"""PID 1 drains its socket within microseconds; a stuck one must not stall the loop for long."""


class Notifier:
    """The service's side of the notify socket."""

    __slots__ = ("_address", "watchdog_interval_seconds")

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID from `environ`."""
        self._address = _socket_address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_interval_seconds = _watchdog_interval(environ)
        """How often `watchdog` wants to be called (half of what systemd waits); None: systemd does not ask for it."""

    def ready(self) -> None:
        """Say that the start, or a reload, is complete."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`."""
        self._send(f"STATUS={_one_line(text)}")

    def reloading(self) -> None:
        """Say that a reload began; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say that the stop began."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Say that the service is alive."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(SEND_TIMEOUT_SECONDS)
            sock.sendto(message.encode("utf-8", "backslashreplace"), self._address)


def _socket_address(name: str) -> bytes | None:
    """Give the address for `socket`: a path, or a leading NUL for the abstract name that is written with `@`."""
    if not name.startswith(("/", "@")):  # unset, or a kind (vsock:) that a container of ours does not have
        return None
    address = os.fsencode(name)
    return b"\0" + address[1:] if name.startswith("@") else address


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Give half of WATCHDOG_USEC in seconds, as sd_watchdog_enabled(3) advises; None when it is not meant for us."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return microseconds / 2_000_000 if microseconds > 0 else None


def _one_line(text: str) -> str:
    """Keep a file's name from adding assignments of its own: each line of a datagram is one."""
    return " ".join(text.split())
