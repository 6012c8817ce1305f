"""faceblurd in odd places: as a container's first process, with closed streams, for a user without a home."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = str(Path(sys.executable).with_name("faceblurd"))
FIRST = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def zombies(pid: int) -> int:
    found = 0
    for child in children(pid):
        with suppress(OSError):
            found += Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return found


@pytest.fixture
def first(wait_until: Callable[..., Any]) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], int]]]:
    """Start a command as PID 1 of a namespace; give the process around it, and its own number out here."""
    if subprocess.run([*FIRST, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespaces here")
    around: list[subprocess.Popen[bytes]] = []

    def start(*command: str, **options: Any) -> tuple[subprocess.Popen[bytes], int]:
        around.append(subprocess.Popen([*FIRST, *command], **options))
        return around[-1], wait_until(lambda: children(around[-1].pid))[0]

    yield start
    for one in around:
        one.kill()
        one.wait()


STARTED = "from faceblurd import startup; startup.prepare(); import signal, sys, os, subprocess;"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_to_the_first_process_does_what_it_does_to_any_other(first: Any, number: int, code: int) -> None:
    script = f"{STARTED} signal.signal(signal.SIGINT, signal.SIG_DFL); print(os.getpid(), flush=True); signal.pause()"
    around, pid = first(sys.executable, "-c", script, stdout=subprocess.PIPE)
    assert around.stdout.readline() != b"1\n"
    os.kill(pid, number)
    assert around.wait(60) == code


def test_the_first_process_ends_as_the_command_does(first: Any) -> None:
    around, _ = first(sys.executable, "-c", f"{STARTED} sys.exit(78)")
    assert around.wait(60) == 78


def test_the_first_process_reaps_what_others_left_behind_and_nothing_else(first: Any, wait_until: Any) -> None:
    left = "subprocess.run(['sh', '-c', 'sleep 0.01 & sleep 0.01 &'], check=True);"
    own = "one = subprocess.Popen(['sh', '-c', 'exit 7']); print(flush=True); sys.stdin.read(); sys.exit(one.wait())"
    around, pid = first(
        sys.executable, "-c", f"{STARTED} {left * 5} {own}", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    around.stdout.readline()
    wait_until(lambda: len(children(pid)) == 1)
    assert zombies(pid) == 0
    around.stdin.close()
    assert around.wait(60) == 7


def test_a_stop_and_a_reload_while_the_service_starts_are_not_lost(
    first: Any, daemon: Callable[..., Any], tmp_path: Path, wait_until: Any
) -> None:
    (tmp_path / "in").mkdir()
    one = daemon(roots=[{"path": str(tmp_path / "in"), "mode": "mirror", "to": str(tmp_path / "out")}])
    with one.log_path.open("wb") as log:
        around, pid = first(PROGRAM, "run", "--config", str(one.config_path), stderr=log)
        wait_until(one.state_dir.exists, seconds=60)
        os.kill(pid, signal.SIGHUP)
        one.wait_for(lambda: one.lines("config.reloaded"), what="the reload")
        os.kill(pid, signal.SIGTERM)
        assert around.wait(60) == 0
        around, pid = first(PROGRAM, "run", "--config", str(one.config_path), stderr=log)
        wait_until((one.state_dir / "ledger.sqlite3-wal").exists, seconds=60)
        os.kill(pid, signal.SIGTERM)
        assert around.wait(60) == 0
    assert "Traceback" not in one.log()
    assert len(one.lines("daemon.stopped")) == 2


CLOSED = [closed for number in (1, 2, 3) for closed in itertools.combinations(range(3), number)]


@pytest.mark.parametrize("closed", CLOSED, ids=str)
def test_closed_streams_are_open_again_so_that_no_file_gets_their_numbers(
    closed: tuple[int, ...], tmp_path: Path
) -> None:
    close = " ".join(f"{fd}{'<' if fd == 0 else '>'}&-" for fd in closed)
    script = (
        f"{STARTED} assert os.open('{tmp_path}', 0) > 2; sys.stdin.read();"
        "print(1, flush=True); print(2, file=sys.stderr, flush=True);"
        f"subprocess.run(['sh', '-c', 'echo 3; echo 4 >&2; touch {tmp_path}/done'], check=True)"
    )
    command = ["sh", "-c", f'exec "$@" {close}', "sh", sys.executable, "-c", script]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (
        0, b"" if 1 in closed else b"1\n3\n", b"" if 2 in closed else b"2\n4\n",
    )  # fmt: skip
    assert (tmp_path / "done").exists()


def test_a_photo_is_published_with_all_streams_closed(tmp_path: Path, portraits: Any) -> None:
    (tmp_path / "a.jpg").write_bytes(portraits(1)[0])
    command = [PROGRAM, "blur", "a.jpg", "-", "--to", "out", "--recipe", "fast"]
    closed = ["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", *command]
    assert subprocess.run(closed, cwd=tmp_path, check=False, timeout=120).returncode == 0
    assert (tmp_path / "out" / "a.jpg").exists()


def test_a_reader_that_went_away_ends_a_command_without_a_traceback() -> None:
    with subprocess.Popen([PROGRAM, "formats"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1
    assert said == b""


@pytest.mark.parametrize(
    "arguments",
    [["status"], pytest.param(["quarantine", "list"], marks=pytest.mark.slow), ["run", "--watch", "in", "--to", "out"]],
)
def test_a_user_without_a_home_is_told_what_to_give(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    stranger = ["unshare", "--user", "--map-user=54321"]
    if subprocess.run([*stranger, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespaces here")
    homeless = {key: value for key, value in os.environ.items() if key not in {"HOME", "XDG_STATE_HOME"}}

    def run(*more: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [*stranger, PROGRAM, *arguments, *more]
        return subprocess.run(
            command, capture_output=True, text=True, env=homeless | environ, cwd=tmp_path, check=False, timeout=120
        )

    for refused in (run(), run(HOME=""), run(HOME="relative")):
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1
        assert "--state-dir DIR" in refused.stderr
    if arguments[0] != "run":  # which would go on
        state = str(tmp_path / "state")
        for done in (run("--state-dir", state), run(FACEBLURD_STATE_DIR=state)):
            assert "no home" not in done.stderr
            assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_who_ends_a_command_ends_all_of_it(number: int, code: int, tmp_path: Path, wait_until: Any) -> None:
    """A command that ends by itself works in a child (see `startup`): here one that waits for its list of files."""
    command = [PROGRAM, "blur", "-", "--to", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        (child,) = wait_until(lambda: children(parent.pid))
        wait_until(lambda: b"pipe" in Path(f"/proc/{child}/wchan").read_bytes())  # it waits for its list
        parent.send_signal(number)
        assert parent.wait(30) == code
        wait_until(lambda: not Path(f"/proc/{child}").exists())


def test_a_state_directory_may_be_named_from_where_one_is(tmp_path: Path, wait_until: Any) -> None:
    """As `make run` does."""
    (tmp_path / "in").mkdir()
    environ = {**os.environ, "FACEBLURD_STATE_DIR": "demo/state"}
    command = [PROGRAM, "run", "--watch", "in", "--to", "out"]
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.DEVNULL) as daemon:
        wait_until(lambda: (tmp_path / "demo" / "state" / "ledger.sqlite3").exists() or daemon.poll() is not None)
        daemon.terminate()
        assert daemon.wait(60) == 0
    assert (tmp_path / "demo" / "state" / "ledger.sqlite3").exists()
