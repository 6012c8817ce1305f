"""The notify protocol against a real datagram socket."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from faceblurd.report.sd_notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, str]]:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"{folder}/notify" if request.param == "path" else f"@faceblurd-test-{os.getpid()}"
        sock.bind(name.replace("@", "\0"))
        sock.settimeout(5)
        yield sock, name


def test_each_call_sends_its_datagram(listener: tuple[socket.socket, str]) -> None:
    sock, name = listener
    notifier = Notifier({"NOTIFY_SOCKET": name})
    for call, expected in (
        (notifier.ready, b"READY=1"),
        (notifier.stopping, b"STOPPING=1"),
        (notifier.watchdog, b"WATCHDOG=1"),
    ):
        call()
        assert sock.recv(4096) == expected


def test_a_reload_carries_the_monotonic_time_in_microseconds(listener: tuple[socket.socket, str]) -> None:
    sock, name = listener
    before = time.monotonic_ns() // 1000
    Notifier({"NOTIFY_SOCKET": name}).reloading()
    first, second = sock.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    key, _, value = second.partition("=")
    assert key == "MONOTONIC_USEC"
    assert before <= int(value) <= time.monotonic_ns() // 1000


def test_a_status_with_new_lines_adds_no_assignment_of_its_own(listener: tuple[socket.socket, str]) -> None:
    sock, name = listener
    Notifier({"NOTIFY_SOCKET": name}).status("blurring a\nWATCHDOG=trigger\udcff.jpg")
    assert sock.recv(4096) == rb"STATUS=blurring a WATCHDOG=trigger\udcff.jpg"


@pytest.mark.parametrize("name", ["", "vsock:2:1", "/nonexistent/notify", "@nobody-listens", "/" + "x" * 500, "@a\0b"])
def test_nobody_to_tell_is_no_error(name: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready()
    notifier.status("x")


@pytest.mark.timeout(240)  # it would wait for ever
def test_a_listener_that_does_not_read_costs_seconds_at_most(listener: tuple[socket.socket, str]) -> None:
    _, name = listener
    notifier = Notifier({"NOTIFY_SOCKET": name})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        with suppress(BlockingIOError):  # full
            while True:
                filler.sendto(b"x", name.replace("@", "\0"))
    notifier.ready()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_served_only_when_systemd_asks_this_process(
    environ: dict[str, str], expected: float | None
) -> None:
    assert Notifier(environ).watchdog_interval_seconds == expected


def test_the_socket_path_may_hold_bytes_that_are_no_utf8() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        path = Path(folder, "\udcff")
        sock.bind(os.fsencode(path))
        sock.settimeout(5)
        Notifier({"NOTIFY_SOCKET": str(path)}).ready()
        assert sock.recv(99) == b"READY=1"
