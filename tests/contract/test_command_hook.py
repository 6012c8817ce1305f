"""The command hook: real commands on a real loop, and its times, for which no process is needed, on a virtual clock."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import time
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import virtual_time

from faceblurd.engine import hooks as engine_hooks
from faceblurd.engine import thread
from faceblurd.engine.hooks import FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS, Hooks
from faceblurd.ledger.ledger import Ledger
from faceblurd.ledger.rows import OutboxEntry
from faceblurd.model import Outcome, Reason, Region, Report
from faceblurd.plugins import command
from faceblurd.plugins.command import (
    HookProcess,
    fire_once,
    payload_for,
    told,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

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


def hooks_for(argv: list[str], outbox: Ledger, **changes: Any) -> tuple[Hooks, list[str]]:
    problems: list[str] = []
    settings = {"timeout_seconds": 600.0, "max_attempts": 3, "environ": ENVIRON} | changes
    return Hooks(argv, outbox=outbox, on_problem=problems.append, **settings), problems


@asynccontextmanager
async def at_work(hooks: Hooks) -> AsyncIterator[asyncio.Task[None]]:
    """Have the calls made meanwhile; at the end it is stopped, as by the daemon, which leaves no process."""
    task = asyncio.ensure_future(hooks.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def turn(hooks: Hooks, outbox: Ledger, until: Callable[[], Any] | None = None) -> None:
    """Have calls made until nothing is owed, or a condition is true."""

    async def main() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS), at_work(hooks) as task:
            while not (until() if until else outbox.outbox_next() is None):
                await asyncio.sleep(0.01)
                assert not task.done()
        assert not (children() - before), "no process of ours is left, dead or alive"

    before = children()
    thread.run(main())


def payload(**changes: Any) -> str:
    return payload_for(Report(**{name: getattr(REPORT, name) for name in Report.__slots__} | changes))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_command_gets_the_object_on_stdin_and_the_variables(script: Script, tmp_path: Path) -> None:
    outbox = Outbox(payload())
    hooks, problems = hooks_for(script("cat > stdin.json; env -0 | grep -z FACEBLURD_ > env"), outbox)
    turn(hooks, outbox)
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
    outbox = Outbox(payload(outcome=Outcome.HELD, output=None, reason=Reason.DEADLINE, regions=(), lossless=None))
    hooks, _ = hooks_for(script('echo "$FACEBLURD_OUTCOME/$FACEBLURD_REASON/$FACEBLURD_OUTPUT" > told'), outbox)
    turn(hooks, outbox)
    assert (tmp_path / "told").read_text() == "held/deadline/\n"


def test_names_that_are_no_text_arrive_byte_for_byte(script: Script, tmp_path: Path) -> None:
    raw = b"/in/\n'\xff\xfe\t$(touch pwned).jpg"
    outbox = Outbox(payload(path=os.fsdecode(raw)))
    hooks, problems = hooks_for(script('printf %s "$FACEBLURD_PATH" > name; cat > stdin.json'), outbox)
    turn(hooks, outbox)
    assert (tmp_path / "name").read_bytes() == raw
    assert read_json(tmp_path / "stdin.json")["path"] == "/in/\n'\\xff\\xfe\t$(touch pwned).jpg"
    assert not (tmp_path / "pwned").exists()
    assert problems == []


@pytest.mark.parametrize("name", ["/in/\0.jpg", "/in/\ud800.jpg"])
def test_names_that_no_variable_can_hold_are_escaped(script: Script, tmp_path: Path, name: str) -> None:
    outbox = Outbox(json.dumps({"path": name}))
    hooks, problems = hooks_for(script('printf %s "$FACEBLURD_PATH" > name'), outbox)
    turn(hooks, outbox)
    assert (tmp_path / "name").read_text().startswith("/in/\\")
    assert problems == []


def test_no_secret_and_no_open_file_of_the_daemon_reaches_the_command(script: Script, tmp_path: Path) -> None:
    leak = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        outbox = Outbox(payload())
        hooks, _ = hooks_for(script("env > env; ls -l /proc/$$/fd > fds"), outbox)
        turn(hooks, outbox)
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
    outbox = Outbox(text)
    hooks, problems = hooks_for(script(f"touch runs; until [ -e go ]; do sleep 0.02; done; {reads}"), outbox)

    def go() -> bool:
        """The loop turns while the command has read nothing of it."""
        if (tmp_path / "runs").exists():
            (tmp_path / "go").touch()
        return outbox.outbox_next() is None

    turn(hooks, outbox, go)
    assert problems == []
    if reads != "true":
        assert len(read_json(tmp_path / "stdin.json")["regions"]) == 20_000


def test_calls_run_one_at_a_time_in_order(script: Script, tmp_path: Path) -> None:
    body = 'mkdir running || echo overlap >> log; echo "$FACEBLURD_PATH" >> log; sleep 0.05; rmdir running'
    outbox = Outbox(*(payload(path=f"/in/{number}") for number in range(5)))
    hooks, _ = hooks_for(script(body), outbox)
    turn(hooks, outbox)
    assert (tmp_path / "log").read_text().split() == [f"/in/{number}" for number in range(5)]


def test_a_call_that_is_added_meanwhile_is_made_as_soon_as_it_is_told_of(script: Script, tmp_path: Path) -> None:
    outbox = Outbox()
    hooks, _ = hooks_for(script('echo "$FACEBLURD_PATH" >> log'), outbox)

    async def main() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS), at_work(hooks):
            for number in range(3):
                await hooks.rest()
                outbox.outbox_add(payload(path=f"/in/{number}"))
                hooks.wake()
            await hooks.rest()
        assert (tmp_path / "log").read_text().split() == ["/in/0", "/in/1", "/in/2"]

    thread.run(main())


def test_a_failure_is_told_with_its_last_words_and_tried_again(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_hooks, "FIRST_RETRY_SECONDS", 0.3)
    outbox = Outbox(payload())
    hooks, problems = hooks_for(script("date +%s%N >> tries; echo last words >&2; [ $(wc -l < tries) -ge 2 ]"), outbox)
    turn(hooks, outbox)
    assert problems == ["hook command, attempt 1: exit code 1: last words; next try in 0 s"]
    first, second = (int(line) for line in (tmp_path / "tries").read_text().split())
    assert second - first >= 0.3e9


def test_a_call_that_always_fails_is_given_up_and_said_so(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_hooks, "FIRST_RETRY_SECONDS", 0.01)
    outbox = Outbox(payload())
    hooks, problems = hooks_for(script("echo x >> tries; exit 3"), outbox)
    turn(hooks, outbox)
    assert (tmp_path / "tries").read_text() == "x\nx\nx\n"
    assert problems[-1] == "hook command, attempt 3: exit code 3; given up"
    assert len(problems) == 3


def test_a_call_that_fails_does_not_hold_up_the_next(script: Script, tmp_path: Path) -> None:
    outbox = Outbox(payload(path="/in/bad"), payload(path="/in/good"))
    hooks, _ = hooks_for(script('[ "$FACEBLURD_PATH" = /in/good ] && touch good'), outbox)
    turn(hooks, outbox, (tmp_path / "good").exists)
    assert outbox._db.execute("SELECT attempts FROM outbox WHERE id=1").fetchone() == (1,)


def test_a_payload_that_is_no_json_does_not_stop_the_others(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_hooks, "FIRST_RETRY_SECONDS", 0.01)
    outbox = Outbox("{", payload())
    hooks, problems = hooks_for(script("touch made"), outbox)
    turn(hooks, outbox)
    assert "given up" in problems[-1]
    assert (tmp_path / "made").exists()


def alive(pid: int) -> bool:
    """Whether it runs; a zombie, which nobody here may reap, does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_command_that_hangs_is_killed_with_its_children(
    script: Script, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    body = "(sh -c 'echo $$ > grandchild; exec sleep 600' &)\nwhile [ ! -s grandchild ]; do :; done\nsleep 600"
    outbox = Outbox(payload())
    hooks, problems = hooks_for(script(body), outbox, timeout_seconds=3.0)
    turn(hooks, outbox, lambda: problems)
    assert "killed after its timeout" in problems[0]
    grandchild = int((tmp_path / "grandchild").read_text())
    wait_until(lambda: not alive(grandchild), what="the end of the grandchild")
    assert outbox.outbox_next() == OutboxEntry(1, payload(), 1)


def test_a_command_that_talks_without_end_neither_blocks_nor_fills_memory(script: Script) -> None:
    outbox = Outbox(payload())
    hooks, problems = hooks_for(script("head -c 30000000 /dev/zero | tr '\\0' x; echo the end; exit 1"), outbox)
    turn(hooks, outbox, lambda: problems)
    assert problems[0].split(";")[0].endswith("the end")
    assert len(problems[0]) < 5000


def test_a_command_that_closes_its_output_does_not_spin_the_loop(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, looks = Outbox(payload()), list[float]()
    look = HookProcess.ended
    monkeypatch.setattr(HookProcess, "ended", lambda self, now: looks.append(now) or look(self, now))
    hooks, problems = hooks_for(script("exec >/dev/null 2>&1; touch closed; sleep 0.5"), outbox)
    turn(hooks, outbox)
    assert (tmp_path / "closed").exists()
    assert problems == []
    assert 0 < len(looks) < 20


def test_a_child_left_behind_by_a_good_command_holds_nothing_up(script: Script, tmp_path: Path) -> None:
    outbox = Outbox(payload())
    hooks, problems = hooks_for(script("sleep 3600 & echo $! > child; exit 0"), outbox)
    turn(hooks, outbox)
    child = int((tmp_path / "child").read_text())
    assert alive(child)
    os.kill(child, signal.SIGKILL)
    assert problems == []


def test_a_stop_kills_the_running_command_with_its_children_and_a_restart_runs_its_call_again(
    script: Script, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    outbox = Outbox(payload())
    body = "echo $$ >> started; [ $(wc -l < started) -ge 2 ] || { sleep 600 & echo $! > child; wait; }"
    hooks, problems = hooks_for(script(body), outbox)
    turn(hooks, outbox, lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text().strip())
    for name in ("started", "child"):
        pid = int((tmp_path / name).read_text())
        wait_until(lambda pid=pid: not alive(pid), what="its end")
    assert problems == [], "it did not fail"
    assert outbox.outbox_next() == OutboxEntry(1, payload(), 0)
    again, _ = hooks_for([str(tmp_path / "hook.sh")], outbox)
    turn(again, outbox)
    assert len((tmp_path / "started").read_text().split()) == 2


def test_without_pidfd_it_looks_again_by_itself(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    outbox = Outbox(payload())
    hooks, problems = hooks_for(script("exec >/dev/null 2>&1; sleep 0.3"), outbox)
    turn(hooks, outbox)
    assert problems == []


def test_descriptors_do_not_pile_up_whether_commands_end_hang_or_are_killed(script: Script, tmp_path: Path) -> None:
    calls = [payload(path=f"/in/{number}") for number in range(20)]
    before = len(os.listdir("/proc/self/fd"))
    outbox = Outbox(*calls)
    has = len(os.listdir("/proc/self/fd")) - before
    hooks, _ = hooks_for(script('[ "$FACEBLURD_PATH" != /in/9 ] || { touch hangs; sleep 600; }'), outbox)
    turn(hooks, outbox, (tmp_path / "hangs").exists)
    assert len(os.listdir("/proc/self/fd")) <= before + has


# --- when: nothing of this needs a process


@pytest.fixture
def absent(tmp_path: Path) -> list[str]:
    return [str(tmp_path / "absent")]


def on_time(
    story: Callable[[Hooks, list[tuple[float, str]]], Coroutine[Any, Any, None]],
    argv: list[str], outbox: Ledger, **changes: Any,
) -> None:  # fmt: skip
    """Run a story while a command is called that cannot start; each problem has its time, from now on."""

    async def main() -> None:
        loop, problems = asyncio.get_running_loop(), list[tuple[float, str]]()
        began = loop.time()

        def problem(text: str) -> None:
            problems.append((loop.time() - began, text))

        hooks = Hooks(
            argv, outbox=outbox, on_problem=problem, environ=ENVIRON,
            **{"timeout_seconds": 600.0, "max_attempts": 3} | changes,
        )  # fmt: skip
        async with at_work(hooks):
            await story(hooks, problems)

    virtual_time.run(main())


def test_a_command_that_does_not_exist_is_a_failed_attempt_and_its_calls_take_turns(absent: list[str]) -> None:
    before = len(os.listdir("/proc/self/fd"))

    async def story(_hooks: Hooks, problems: list[tuple[float, str]]) -> None:
        await asyncio.sleep(1000.0)
        assert [when for when, _ in problems] == [0.0, 0.0, 5.0, 5.0, 25.0, 25.0]
        assert all("cannot start" in text for _, text in problems)
        assert [text.rpartition("; ")[2] for _, text in problems] == [
            *["next try in 5 s"] * 2, *["next try in 20 s"] * 2, *["given up"] * 2
        ]  # fmt: skip

    outbox = Outbox(payload(), payload())
    has = len(os.listdir("/proc/self/fd")) - before
    on_time(story, absent, outbox)
    assert outbox.outbox_next() is None
    assert len(os.listdir("/proc/self/fd")) <= before + has


def test_pauses_grow_to_a_quarter_of_an_hour(absent: list[str]) -> None:
    async def story(_hooks: Hooks, problems: list[tuple[float, str]]) -> None:
        await asyncio.sleep(10_000.0)
        times = [when for when, _ in problems]
        pauses = [later - before for before, later in pairwise(times)]
        assert pauses[:6] == [FIRST_RETRY_SECONDS, 20.0, 80.0, 320.0, LAST_RETRY_SECONDS, LAST_RETRY_SECONDS]

    on_time(story, absent, Outbox(payload()), max_attempts=99)


def test_a_new_call_does_not_wait_for_the_pause_of_another(absent: list[str]) -> None:
    outbox = Outbox(payload())

    async def story(hooks: Hooks, problems: list[tuple[float, str]]) -> None:
        await asyncio.sleep(2.0)
        outbox.outbox_add(payload())
        hooks.wake()
        await asyncio.sleep(20.0)
        assert [when for when, _ in problems] == [0.0, 2.0, 5.0, 7.0]

    on_time(story, absent, outbox)


def test_it_rests_when_nothing_is_owed_or_not_for_long(absent: list[str]) -> None:
    """A single run waits for its calls, but for no pause: what fails is tried again by the next run."""
    outbox = Outbox()

    async def story(hooks: Hooks, problems: list[tuple[float, str]]) -> None:
        now = asyncio.get_running_loop().time
        began = now()
        await hooks.rest()
        outbox.outbox_add(payload())
        hooks.wake()
        await hooks.rest()
        assert (now(), len(problems)) == (began, 1), "tried, and not waited for"

    on_time(story, absent, outbox)
    assert outbox.outbox_next() == OutboxEntry(1, payload(), 1)


def test_nothing_owed_needs_no_clock(absent: list[str]) -> None:
    async def story(hooks: Hooks, problems: list[tuple[float, str]]) -> None:
        await hooks.rest()
        assert not [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]
        assert problems == []

    on_time(story, absent, Outbox())


# --- fire_once


def test_fire_once_gives_the_exit_code_and_what_was_said(script: Script) -> None:
    code, tail = fire_once(script("echo $FACEBLURD_OUTCOME; exit 4"), {"outcome": "published"}, 600.0)
    assert (code, tail) == (4, "published")


def test_fire_once_says_that_a_command_is_missing_or_hangs(script: Script, tmp_path: Path) -> None:
    assert fire_once([str(tmp_path / "absent")], {}, 10.0)[0] == command.NOT_STARTED == 127
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


@pytest.mark.parametrize(
    ("code", "timed_out", "text"),
    [
        (3, False, "exit code 3: why"),
        (-9, True, "killed after its timeout: why"),
        (-15, False, "killed by signal 15: why"),
    ],
)
def test_it_is_told_how_a_command_ended(code: int, timed_out: bool, text: str) -> None:
    assert told(code, "why", timed_out=timed_out) == text
    assert told(code, "", timed_out=timed_out) == text.removesuffix(": why")


def test_a_command_that_is_over_its_time_is_killed_once_and_reaped(script: Script) -> None:
    now = time.monotonic()
    process = HookProcess(script("exec sleep 600"), {}, environ=ENVIRON, deadline=now + 600.0)
    assert not process.ended(now)
    assert process.next_look(now) == now + 600.0
    assert not process.ended(now + 601.0)
    assert process.timed_out
    assert process.next_look(now) is None, "its end wakes"
    while not process.ended(time.monotonic()):
        time.sleep(0.01)
    assert process.close()[0] == -signal.SIGKILL
