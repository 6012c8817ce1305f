"""A plugin for coverage.py that measures workers: they may open no file once they are locked up, and end by kill -9.

So each opens its data file before it starts to work, and what was measured is written before each message to the
parent (whoever hears from a worker has its figures), and at its end, if it comes to one. `make coverage` puts this
folder on PYTHONPATH.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from coverage import Coverage

if TYPE_CHECKING:
    from collections.abc import Callable

    from coverage.plugin_support import Plugins


def coverage_init(_registry: Plugins, _options: dict[str, str]) -> None:
    """Note the start of every process of multiprocessing."""
    bootstrap = BaseProcess._bootstrap  # type: ignore[attr-defined]  # private: there is no hook in the child

    def measured(process: BaseProcess, *arguments: Any, **options: Any) -> int:
        write = _write_before_each_message()
        try:
            return int(bootstrap(process, *arguments, **options))
        finally:
            write()

    BaseProcess._bootstrap = measured  # type: ignore[attr-defined]


def _write_before_each_message() -> Callable[[], None]:
    measuring = Coverage.current()
    if measuring is None or measuring._collector is None:
        return lambda: None
    collector, file = measuring._collector, measuring.get_data()._connect()
    file.__enter__()  # coverage closes its file after each outermost `with`: this one is never left
    file.execute_void("pragma journal_mode=memory")  # a journal would be a new file
    send_bytes = Connection.send_bytes

    def write() -> None:
        collector.flush_data()
        file.con.commit()

    def send_measured(connection: Connection, *arguments: Any, **options: Any) -> None:
        write()
        send_bytes(connection, *arguments, **options)

    Connection.send_bytes = send_measured  # type: ignore[method-assign]
    return write
