"""The log: one canonical line per file, JSON unless somebody watches on a terminal.

Owns how lines look and the names of events. Must never log pixels (only plain values pass `_plain_value`), and never
raise: a full disk under the log must not stop the daemon. structlog draws lines for people, and is imported for those
only: it takes a tenth of a daemon's start, and 4 MB. And without rich, which it would use for tracebacks with local
variables, that is, with pixels.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from math import isfinite
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from faceblurd.model import Outcome, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import TextIO

    from faceblurd.model import Report

    Format = Literal["auto", "json", "console"]
    Fields = dict[str, Any]
    LineOf = Callable[[Fields], str]

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
EVENTS = {
    Outcome.PUBLISHED: "file.published",
    Outcome.CLEAN: "file.clean",
    Outcome.HELD: "file.quarantined",
    Outcome.UNSUPPORTED: "file.quarantined",
}
WARNINGS = frozenset({
    "daemon.paused", "root.suspended", "root.full", "root.degraded", "root.hints_lost", "root.trouble", "file.retried",
    "root.unread", "root.exclude_unmatched", "root.excluded_results", "file.companion_stays", "file.unreachable",
    "file.unfinished", "file.not_withdrawn", "quarantine.failed", "status.failed", "hook.failed",
    "plugin.failed",
})  # fmt: skip
"""What somebody should look at. A refused configuration is an error: what its owner wants is not what happens."""
ERRORS = frozenset({"config.refused"})
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: new lines, terminal commands
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # change the direction of what is read
    "\u2028\u2029\ufeff\ufff9-\ufffb"  # line separators, invisible marks
    "\ud800-\udfff]"  # lone surrogates: a name's bytes that are no UTF-8, which no encoder takes
)
"""What a file's name must not bring into a log: it could forge lines or hide parts of them."""


_writer: _Writer | None = None


class Logger:
    """Writes events with fields; works before `configure_logging` too (then with its defaults)."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        """Name the part of the program that speaks."""
        self.name = name

    def debug(self, event: str, **fields: object) -> None:
        """Say something that only helps to find a fault of ours."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Say what happens."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Say what somebody should look at."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Say what does not work; `exc_info=True` adds the traceback."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        writer = _writer or configure_logging()
        writer.write(level, {"logger": self.name, **fields, "event": event, "level": level})


def get_logger(name: str) -> Logger:
    """Give a logger; costs nothing until its first line."""
    return Logger(name)


def configure_logging(*, format: Format = "auto", level: str = "info", stream: TextIO | None = None) -> _Writer:  # noqa: A002 - the config key's name
    """Log to `stream` (default stderr) from `level` on; `auto` is console on a terminal, else JSON."""
    global _writer  # noqa: PLW0603 - a process has one log
    stream = sys.stderr if stream is None else stream
    console = format == "console" or (format == "auto" and stream.isatty())
    _writer = _Writer(stream, _console(colors=stream.isatty()) if console else _json_line, LEVELS[level])
    # It says of its own accord, as plain text between our lines, what the root says with its name.
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)
    return _writer


def log_report(report: Report) -> None:
    """Write the canonical line of a finished file: the documented object, and its root."""
    logger = Logger("file")
    write = logger.info if report.reason is None else logger.warning
    write(EVENTS[report.outcome], root=report.root, **report.as_dict())


def log_event(event: str, **fields: object) -> None:
    """Write a line about anything but a finished file, at the level that the event has."""
    logger = get_logger("faceblurd")
    write = logger.error if event in ERRORS else logger.warning if event in WARNINGS else logger.info
    write(event, **fields)


class _Writer:
    """Writes lines from a level on; one that cannot be written is lost, and nothing else."""

    def __init__(self, stream: TextIO, line_of: LineOf, least: int) -> None:
        self._stream, self._line_of, self._least = stream, line_of, least

    def write(self, level: str, fields: Fields) -> None:
        if LEVELS[level] < self._least:
            return
        fields["timestamp"] = datetime.now(tz=UTC).isoformat().replace("+00:00", "Z")
        if fields.pop("exc_info", None):
            fields["exception"] = traceback.format_exc().rstrip("\n")
        line = self._line_of({key: _plain_value(value) for key, value in fields.items()})
        with suppress(OSError, ValueError):  # ValueError: the stream is closed
            encoding = getattr(self._stream, "encoding", None) or "utf-8"
            self._stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            self._stream.flush()


def _json_line(fields: Fields) -> str:
    """Render one line. Unsafe characters stand inside JSON strings only, so JSON's own escape keeps their value."""
    text = json.dumps(fields, ensure_ascii=False, separators=(", ", ": "))
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _console(*, colors: bool) -> LineOf:
    """Give what renders a line for people."""
    dev = _structlog_dev()
    renderer = dev.ConsoleRenderer(colors=colors, exception_formatter=dev.plain_traceback)
    return lambda fields: str(renderer(None, str(fields["level"]), _all_escaped(fields)))


def _all_escaped(fields: Fields) -> Fields:
    """Escape every text for a terminal; each line of a traceback gets a margin that no message can forge."""
    escaped: Fields = {key: _escaped(value) for key, value in fields.items()}
    if isinstance(trace := fields.get("exception"), str):
        escaped["exception"] = "\n".join(f"  | {_escaped(line)}" for line in trace.split("\n"))
    return escaped


def _escaped(value: object) -> object:
    """Escape texts (what is nested is shown as its repr, which escapes as well)."""
    return printable_line(value) if isinstance(value, str) else value


def _plain_value(value: object) -> object:
    """Let plain values pass, and give only the type of everything else: an array would be pixels."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else str(value)  # JSON has no infinity
    if isinstance(value, dict):
        return {printable_text(str(key)): _plain_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(inner) for inner in value]
    return printable_text(_described(value))


def _described(value: object) -> str:
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    return str(value) if isinstance(value, str | PurePath) else f"<{type(value).__name__}>"


def printable_text(text: str) -> str:
    """Write bytes that are no UTF-8, and alien surrogates, as backslash escapes."""
    try:
        return printable(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable_line(text: str) -> str:
    """Write a text for one line of a terminal: no file name can end the line, move the cursor or turn its direction."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), printable_text(text))


def _structlog_dev() -> ModuleType:
    with _without_rich():
        from structlog import dev  # noqa: PLC0415 - see the module docstring

    return dev


@contextmanager
def _without_rich() -> Iterator[None]:
    """Let `import rich` fail for a moment, as a None in sys.modules makes it; structlog then does without."""
    if "rich" in sys.modules:  # paid for already, by the progress bar
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # typeshed has no None, the language does
    try:
        yield
    finally:
        del sys.modules["rich"]
