"""A plugin for coverage.py that measures workers: they may open no file once they are locked up, and end by kill -9.

So each opens its data file before it starts to work, when it waits for what it is given, and what was measured is
written before each message to the parent (whoever hears from a worker has its figures), and at its end, if it comes to
one. `make coverage` puts this folder on PYTHONPATH.
"""

from __future__ import annotations

import atexit
import socket
import sys
from typing import TYPE_CHECKING, Any

from coverage import Coverage

if TYPE_CHECKING:
    from collections.abc import Callable

    from coverage.plugin_support import Plugins

WORKER = "from faceblurd.workers.job import main"


def coverage_init(_registry: Plugins, _options: dict[str, str]) -> None:
    """Be there when a worker first listens; in other processes there is nothing to do."""
    if not any(WORKER in word for word in sys.orig_argv):
        return
    listen = socket.socket.recvmsg

    def listen_first(end: socket.socket, *arguments: Any) -> Any:
        socket.socket.recvmsg = listen  # type: ignore[method-assign]
        atexit.register(_write_before_each_message())
        return listen(end, *arguments)

    socket.socket.recvmsg = listen_first  # type: ignore[method-assign]


def _write_before_each_message() -> Callable[[], None]:
    measuring = Coverage.current()
    if measuring is None or measuring._collector is None:
        return lambda: None
    collector, file = measuring._collector, measuring.get_data()._connect()
    file.__enter__()  # coverage closes its file after each outermost `with`: this one is never left
    file.execute_void("pragma journal_mode=memory")  # a journal would be a new file
    send = socket.socket.sendall

    def write() -> None:
        collector.flush_data()
        file.con.commit()

    def send_measured(end: socket.socket, *arguments: Any) -> None:
        write()
        send(end, *arguments)

    socket.socket.sendall = send_measured  # type: ignore[method-assign]
    return write
