"""The log's lines: one for each file, which no file name can forge."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceblurd.model import Outcome, Reason, Region, Report
from faceblurd.report import logs

EVIL = 'a"\n{"event": "file.published"}\r\x1b[2J\u202e\u2028\x9b\udcff.jpg'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_writer", None)


def report(**changes: Any) -> Report:
    facts: dict[str, Any] = {
        "root": "/in",
        "path": "/in/a.jpg",
        "outcome": Outcome.PUBLISHED,
        "output": "/out/a.jpg",
        "reason": None,
        "detail": "",
        "regions": (Region(1, 2, 3, 4, 0.5, "yunet"),),
        "recipe": "0123",
        "lossless": True,
        "milliseconds": 7,
    }
    return Report(**facts | changes)


def json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("outcome", "reason", "event", "level"),
    [
        (Outcome.PUBLISHED, None, "file.published", "info"),
        (Outcome.CLEAN, None, "file.clean", "info"),
        (Outcome.HELD, Reason.DEADLINE, "file.quarantined", "warning"),
        (Outcome.UNSUPPORTED, Reason.UNSUPPORTED, "file.quarantined", "warning"),
    ],
)
def test_a_report_is_one_line_with_the_documented_names(
    outcome: Outcome, reason: Reason | None, event: str, level: str
) -> None:
    stream = io.StringIO()
    logs.configure_logging(format="json", stream=stream)
    told = report(outcome=outcome, reason=reason)
    logs.log_report(told)
    (line,) = json_lines(stream)
    assert (line["event"], line["level"], line["root"]) == (event, level, "/in")
    assert told.as_dict().items() <= line.items()
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_name_cannot_add_lines_or_turn_the_terminal(log_format: logs.Format) -> None:
    stream = io.StringIO()
    logs.configure_logging(format=log_format, stream=stream)
    logs.log_report(report(path=EVIL, detail=EVIL, regions=(Region(1, 1, 1, 1, 1.0, EVIL),)))
    logs.get_logger("test").info(EVIL, nested=[{EVIL: EVIL}])
    text = stream.getvalue()
    assert text.count("\n") == 2
    assert not logs.UNSAFE.search(text.replace("\n", ""))


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_is_logged_as_one_safe_line(text: str) -> None:
    for log_format in ("json", "console"):
        stream = io.StringIO()
        logs.configure_logging(format=log_format, stream=stream)
        logs.get_logger("test").info(text, path=text)
        assert stream.getvalue().count("\n") == 1
        assert not logs.UNSAFE.search(stream.getvalue()[:-1])
        stream.getvalue().encode()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_keeps_every_valid_name_as_it_is(name: str) -> None:
    stream = io.StringIO()
    logs.configure_logging(format="json", stream=stream)
    logs.get_logger("test").info("x", path=name)
    assert json.loads(stream.getvalue())["path"] == name


def test_a_tracebacks_message_cannot_pass_for_a_line_of_the_log() -> None:
    stream = io.StringIO()
    logs.configure_logging(format="console", stream=stream)
    try:
        raise ValueError("x\n2026-01-01 [info] file.published \x1b[2J")  # noqa: TRY301 - the case itself
    except ValueError:
        logs.get_logger("test").error("loop.failed", exc_info=True)
    lines = stream.getvalue().splitlines()
    assert len(lines) > 3
    assert all(line.startswith("  | ") for line in lines[1:])
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_what_is_no_plain_value_is_named_and_never_shown(log_format: logs.Format) -> None:
    stream = io.StringIO()
    logs.configure_logging(format=log_format, stream=stream)
    logs.get_logger("test").info("x", crop=b"PIXELS", view=memoryview(b"PIXELS"), far=float("inf"))
    assert "PIXELS" not in stream.getvalue()
    assert "<bytes>" in stream.getvalue()
    assert "<memoryview>" in stream.getvalue()


def test_auto_is_console_on_a_terminal_and_json_elsewhere() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        logs.configure_logging(stream=stream)
        logs.get_logger("test").info("hello")
    assert "hello" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert json_lines(file)[0]["event"] == "hello"


@pytest.mark.parametrize(
    ("event", "level"),
    [
        ("config.refused", "error"),
        ("daemon.paused", "warning"),
        ("root.suspended", "warning"),
        ("root.resumed", "info"),
    ],
)
def test_what_somebody_should_look_at_is_no_mere_information(event: str, level: str) -> None:
    stream = io.StringIO()
    logs.configure_logging(format="json", stream=stream)
    logs.log_event(event, root="/in", detail="why")
    (line,) = json_lines(stream)
    assert (line["event"], line["level"], line["root"], line["detail"]) == (event, level, "/in", "why")


def test_the_level_filters_and_a_later_call_changes_it() -> None:
    stream = io.StringIO()
    logger = logs.get_logger("test")
    logs.configure_logging(format="json", level="warning", stream=stream)
    logger.info("dropped")
    logs.configure_logging(format="json", level="debug", stream=stream)
    logger.debug("kept")
    assert [line["event"] for line in json_lines(stream)] == ["kept"]


def test_a_full_disk_under_the_log_stops_nothing() -> None:
    logs.configure_logging(format="json", stream=FullDisk())
    logs.get_logger("test").info("x")


def test_a_logger_works_before_the_configuration_and_writes_to_stderr() -> None:
    code = "from faceblurd.report.logs import get_logger; get_logger('early').info('hello')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert json.loads(done.stderr)["logger"] == "early"


def test_only_lines_for_people_take_structlog_and_none_takes_rich() -> None:
    code = (
        "import sys; from faceblurd.report import logs; log = logs.get_logger('x'); log.info('hello'); "
        "assert 'structlog' not in sys.modules; logs.configure_logging(format='console'); log.info('hello'); "
        "assert 'structlog' in sys.modules and 'rich' not in sys.modules; import rich.console"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
