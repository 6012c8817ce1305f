"""The command hook with real commands, on a loop like the daemon's."""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest
from faceblurd.outlet.command_hook import FIRST_RETRY_SECONDS, CommandHook, OutboxEntry, fire_once

from faceblurd.model import Outcome, Reason, Region, Report
from faceblurd.outlet.hook_process import payload_for
from faceblurd.outlet.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Script = Callable[[str], list[str]]

DEADLINE_SECONDS = 240.0
REPORT = Report(
    root="/in",
    path="/in/a.jpg",
    outcome=Outcome.PUBLISHED,
    output="/out/a.jpg",
    reason=None,
    detail="",
    regions=(Region(1, 2, 3, 4, 0.5, "yunet"),),
    recipe="0123",
    lossless=True,
    milliseconds=7,
)
ENVIRON = {"PATH": os.environ["PATH"], "HOME": "/home/x", "LANG": "C.UTF-8", "AWS_SECRET_ACCESS_KEY": "hunter2"}


def Outbox(*payloads: str) -> Ledger:  # noqa: N802 - stands for the Protocol of that name
    """Give the real queue: the ledger, in memory."""
    ledger = Ledger(None)
    for text in payloads:
        ledger.outbox_add(text)
    return ledger


@pytest.fixture
def script(tmp_path: Path) -> Script:
    def write(body: str) -> list[str]:
        path = tmp_path / "hook.sh"
        path.write_text(f"#!/bin/sh\ncd '{tmp_path}'\n{body}\n")
        path.chmod(0o755)
        return [str(path)]

    return write


def hook(argv: list[str], outbox: Ledger, **changes: Any) -> tuple[CommandHook, list[str]]:
    problems: list[str] = []
    settings = {"timeout_seconds": 600.0, "max_attempts": 3, "environ": ENVIRON} | changes
    return CommandHook(argv, outbox=outbox, on_problem=problems.append, **settings), problems


def turn(command: CommandHook, until: Callable[[], bool], *, skip_waits: bool = False) -> None:
    """Turn the loop as the daemon does, until a condition; `skip_waits`: time jumps over back-offs."""
    ahead, end = 0.0, time.monotonic() + DEADLINE_SECONDS
    while not until():
        assert time.monotonic() < end, "the condition never came true"
        now = time.monotonic() + ahead
        command.tick(now)
        due = command.next_due()
        if skip_waits and not command.running and due is not None:
            ahead += max(0.0, due - now)
        elif command.running:
            wait = 1.0 if due is None else min(1.0, max(0.0, due - now))
            select.select(command.waitables(), [], [], wait)


def payload(**changes: Any) -> str:
    return payload_for(Report(**{name: getattr(REPORT, name) for name in Report.__slots__} | changes))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_command_gets_the_object_on_stdin_and_the_variables(script: Script, tmp_path: Path) -> None:
    command, problems = hook(script("cat > stdin.json; env -0 | grep -z FACEBLURD_ > env"), Outbox(payload()))
    turn(command, lambda: command.idle)
    assert read_json(tmp_path / "stdin.json") == {**REPORT.as_dict(), "root": "/in"}
    assert dict(line.split("=", 1) for line in (tmp_path / "env").read_text().split("\0") if line) == {
        "FACEBLURD_PATH": "/in/a.jpg",
        "FACEBLURD_OUTCOME": "published",
        "FACEBLURD_OUTPUT": "/out/a.jpg",
        "FACEBLURD_REASON": "",
        "FACEBLURD_FACES": "1",
        "FACEBLURD_RECIPE": "0123",
        "FACEBLURD_MILLISECONDS": "7",
        "FACEBLURD_ROOT": "/in",
    }
    assert problems == []


def test_it_fires_on_failure_too(script: Script, tmp_path: Path) -> None:
    held = payload(outcome=Outcome.HELD, output=None, reason=Reason.DEADLINE, regions=(), lossless=None)
    command, _ = hook(script('echo "$FACEBLURD_OUTCOME/$FACEBLURD_REASON/$FACEBLURD_OUTPUT" > told'), Outbox(held))
    turn(command, lambda: command.idle)
    assert (tmp_path / "told").read_text() == "held/deadline/\n"


def test_names_that_are_no_text_arrive_byte_for_byte(script: Script, tmp_path: Path) -> None:
    raw = b"/in/\n'\xff\xfe\t$(touch pwned).jpg"
    command, problems = hook(
        script('printf %s "$FACEBLURD_PATH" > name; cat > stdin.json'), Outbox(payload(path=os.fsdecode(raw)))
    )
    turn(command, lambda: command.idle)
    assert (tmp_path / "name").read_bytes() == raw
    assert read_json(tmp_path / "stdin.json")["path"] == "/in/\n'\\xff\\xfe\t$(touch pwned).jpg"
    assert not (tmp_path / "pwned").exists()
    assert problems == []


@pytest.mark.parametrize("name", ["/in/\0.jpg", "/in/\ud800.jpg"])
def test_names_that_no_variable_can_hold_are_escaped(script: Script, tmp_path: Path, name: str) -> None:
    text = json.dumps({"path": name})
    command, problems = hook(script('printf %s "$FACEBLURD_PATH" > name'), Outbox(text))
    turn(command, lambda: command.idle)
    assert (tmp_path / "name").read_text().startswith("/in/\\")
    assert problems == []


def test_no_secret_and_no_open_file_of_the_daemon_reaches_the_command(script: Script, tmp_path: Path) -> None:
    leak = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        command, _ = hook(script("env > env; ls -l /proc/$$/fd > fds"), Outbox(payload()))
        turn(command, lambda: command.idle)
    finally:
        os.close(leak)
    names = {line.split("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert {name for name in names if not name.startswith("FACEBLURD_")} <= {
        "PATH",
        "HOME",
        "LANG",
        "PWD",
        "OLDPWD",
        "_",
        "SHLVL",
    }
    assert "hunter2" not in (tmp_path / "env").read_text()
    # By what they lead to: the shell keeps descriptors of its own, under numbers that may be the same.
    leads_to = [line.split(" -> ")[1] for line in (tmp_path / "fds").read_text().splitlines() if " -> " in line]
    assert len(leads_to) >= 3
    assert str(tmp_path) not in leads_to


@pytest.mark.timeout(240)  # it would wait for itself
@pytest.mark.parametrize("reads", ["cat > stdin.json", "true"], ids=["reads", "reads-nothing"])
def test_a_big_object_blocks_nobody(script: Script, tmp_path: Path, reads: str) -> None:
    regions = tuple(Region(index, 2, 3, 4, 0.5, "yunet") for index in range(20_000))
    text = payload(regions=regions)
    assert len(text) > 1_000_000
    command, problems = hook(script(f"until [ -e go ]; do sleep 0.02; done; {reads}"), Outbox(text))
    command.tick(time.monotonic())
    (tmp_path / "go").touch()
    turn(command, lambda: command.idle)
    assert problems == []
    if reads != "true":
        assert len(read_json(tmp_path / "stdin.json")["regions"]) == 20_000


def test_calls_run_one_at_a_time_in_order(script: Script, tmp_path: Path) -> None:
    body = 'mkdir running || echo overlap >> log; echo "$FACEBLURD_PATH" >> log; sleep 0.05; rmdir running'
    command, _ = hook(script(body), Outbox(*(payload(path=f"/in/{number}") for number in range(5))))
    turn(command, lambda: command.idle)
    assert (tmp_path / "log").read_text().split() == [f"/in/{number}" for number in range(5)]


def test_a_failure_is_tried_again_after_a_while_and_its_last_words_are_told(script: Script, tmp_path: Path) -> None:
    outbox = Outbox(payload())
    command, problems = hook(script("echo x >> tries; echo last words >&2; [ $(wc -l < tries) -ge 2 ]"), outbox)
    before = time.monotonic()
    turn(command, lambda: bool(problems))
    assert "exit code 1: last words" in problems[0]
    due = command.next_due()
    assert due is not None
    assert before < due - FIRST_RETRY_SECONDS <= time.monotonic()
    assert not command.idle
    command.tick(due - 0.01)
    assert not command.running
    turn(command, lambda: command.idle, skip_waits=True)
    assert (tmp_path / "tries").read_text() == "x\nx\n"


def test_a_call_that_always_fails_is_given_up_and_said_so(script: Script, tmp_path: Path) -> None:
    command, problems = hook(script("echo x >> tries; exit 3"), Outbox(payload()))
    turn(command, lambda: command.idle, skip_waits=True)
    assert (tmp_path / "tries").read_text() == "x\nx\nx\n"
    assert "given up" in problems[-1]
    assert len(problems) == 3


def test_a_call_that_fails_does_not_hold_up_the_next(script: Script, tmp_path: Path) -> None:
    outbox = Outbox(payload(path="/in/bad"), payload(path="/in/good"))
    command, _ = hook(script('[ "$FACEBLURD_PATH" = /in/good ] && touch good'), outbox)
    turn(command, (tmp_path / "good").exists)
    assert outbox._db.execute("SELECT attempts FROM outbox WHERE id=1").fetchone() == (1,)
    command.close()


def test_a_command_that_does_not_exist_is_a_failed_attempt(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    command, problems = hook([str(tmp_path / "absent")], Outbox(payload(), payload()))
    turn(command, lambda: command.idle, skip_waits=True)
    assert len(problems) == 6
    assert "cannot start" in problems[0]
    assert set(os.listdir("/proc/self/fd")) <= before | {str(fd) for fd in range(3)}


def test_a_payload_that_is_no_json_does_not_stop_the_loop(script: Script) -> None:
    command, problems = hook(script("true"), Outbox("{", payload()))
    turn(command, lambda: command.idle, skip_waits=True)
    assert "given up" in problems[-1]


def alive(pid: int) -> bool:
    """Whether it runs; a zombie, which nobody here may reap, does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_command_that_hangs_is_killed_with_its_children(script: Script, tmp_path: Path) -> None:
    body = "(sh -c 'echo $$ > grandchild; exec sleep 600' &)\nwhile [ ! -s grandchild ]; do :; done\nsleep 600"
    outbox = Outbox(payload())
    command, problems = hook(script(body), outbox, timeout_seconds=600.0)
    turn(command, lambda: bool((tmp_path / "grandchild").exists() and (tmp_path / "grandchild").read_text().strip()))
    assert command.running
    command.tick(time.monotonic() + 601)
    turn(command, lambda: bool(problems))
    assert "killed after its timeout" in problems[0]
    grandchild = int((tmp_path / "grandchild").read_text())
    turn(command, lambda: not alive(grandchild))
    assert outbox.outbox_next() == OutboxEntry(1, payload(), 1)


def test_a_command_that_talks_without_end_neither_blocks_nor_fills_memory(script: Script) -> None:
    command, problems = hook(script("head -c 30000000 /dev/zero | tr '\\0' x; echo the end; exit 1"), Outbox(payload()))
    turn(command, lambda: bool(problems))
    assert problems[0].split(";")[0].endswith("the end")
    assert len(problems[0]) < 5000


def test_a_command_that_closes_its_output_does_not_spin_the_loop(script: Script, tmp_path: Path) -> None:
    command, _ = hook(script("exec >/dev/null 2>&1; touch closed; sleep 0.5"), Outbox(payload()))
    turn(command, (tmp_path / "closed").exists)
    ticks = 0
    while command.running:
        command.tick(time.monotonic())
        select.select(command.waitables(), [], [], 1.0) if command.running else None
        ticks += 1
    assert ticks < 20


def test_a_child_left_behind_by_a_good_command_holds_nothing_up(script: Script, tmp_path: Path) -> None:
    command, problems = hook(script("sleep 3600 & echo $! > child; exit 0"), Outbox(payload()))
    turn(command, lambda: command.idle)
    child = int((tmp_path / "child").read_text())
    assert alive(child)
    os.kill(child, signal.SIGKILL)
    assert problems == []


def test_close_kills_the_running_command_and_a_restart_runs_its_call_again(
    script: Script, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    outbox = Outbox(payload())
    command, _ = hook(script("echo $$ >> started; [ $(wc -l < started) -ge 2 ] || exec sleep 600"), outbox)
    turn(command, (tmp_path / "started").exists)
    pid = int((tmp_path / "started").read_text())
    command.close()
    wait_until(lambda: not alive(pid), what="its end")
    assert outbox.outbox_next() == OutboxEntry(1, payload(), 0)
    again, _ = hook([str(tmp_path / "hook.sh")], outbox)
    turn(again, lambda: again.idle)
    assert len((tmp_path / "started").read_text().split()) == 2


def test_without_pidfd_it_looks_again_by_itself(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    command, problems = hook(script("exec >/dev/null 2>&1; sleep 0.3"), Outbox(payload()))
    turn(command, lambda: command.idle)
    assert problems == []


def test_nothing_owed_needs_no_tick(script: Script) -> None:
    command, _ = hook(script("true"), Outbox())
    command.tick(time.monotonic())
    assert (command.next_due(), command.waitables(), command.idle) == (None, [], True)
    command.close()


def test_descriptors_do_not_pile_up(script: Script) -> None:
    command, _ = hook(script("true"), Outbox(*[payload()] * 20))
    before = len(os.listdir("/proc/self/fd"))
    turn(command, lambda: command.idle)
    assert len(os.listdir("/proc/self/fd")) <= before


# --- fire_once


def test_fire_once_gives_the_exit_code_and_what_was_said(script: Script) -> None:
    code, tail = fire_once(script("echo $FACEBLURD_OUTCOME; exit 4"), {"outcome": "published"}, 600.0)
    assert (code, tail) == (4, "published")


def test_fire_once_says_that_a_command_is_missing_or_hangs(script: Script, tmp_path: Path) -> None:
    assert fire_once([str(tmp_path / "absent")], {}, 10.0)[0] == 127
    code, tail = fire_once(script("sleep 600"), {}, 0.3)
    assert code == -9
    assert "timeout" in tail


def test_a_script_without_execute_permission_is_told(script: Script) -> None:
    argv = script("true")
    os.chmod(argv[0], stat.S_IRUSR)
    assert "cannot start" in fire_once(argv, {}, 10.0)[1]


def test_a_command_that_no_program_can_be_called_is_told_and_not_a_crash() -> None:
    code, tail = fire_once(["/bin/tr\0ue"], {}, 10.0)
    assert code == 127
    assert "cannot start" in tail
