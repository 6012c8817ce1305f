"""`faceblurd health`, as a container asks for it; and what is said of a hook that cannot run before it should."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from faceblurd.report.status import Pulse, beats

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def one(daemon: Callable[..., Any], tmp_path: Path, cheapest: dict[str, Any]) -> Any:
    (tmp_path / "in").mkdir()
    root = {
        "path": str(tmp_path / "in"), "mode": "mirror", "to": str(tmp_path / "out"), "quiet_seconds": 0.1,
        "rescan_seconds": 1,
    }  # fmt: skip
    return daemon(roots=[root], **cheapest)


@pytest.mark.slow
def test_health_is_0_when_well_1_with_the_cause_when_degraded_2_when_nothing_runs(one: Any, tmp_path: Path) -> None:
    said = [""]

    def code() -> int:
        done = one.run("health", "--config", str(one.config_path))
        said[0] = done.stdout
        return int(done.returncode)

    assert code() == 2
    assert said == ["not running\n"]
    one.start()
    one.wait_for(lambda: code() == 0, what="well")
    assert said == ["well\n"]
    (tmp_path / "in" / "text.jpg").write_text("not a photo")
    one.wait_for(lambda: code() == 1, what="a held file")
    assert "1 held files" in said[0]
    (tmp_path / "in" / "text.jpg").unlink()
    assert one.run("quarantine", "drop", "--all", "--config", str(one.config_path)).returncode == 0
    one.wait_for(lambda: code() == 0, what="well again")
    (tmp_path / "in").rename(tmp_path / "away")
    one.wait_for(lambda: code() == 1, what="a root that is away")
    assert f"{tmp_path}/in: suspended" in said[0]
    (tmp_path / "away").rename(tmp_path / "in")
    one.wait_for(lambda: code() == 0, what="well at last")
    one.process.send_signal(signal.SIGSTOP)
    assert code() == 1
    assert "does not answer" in said[0]
    one.process.send_signal(signal.SIGCONT)
    assert code() == 0
    one.stop(signal.SIGKILL)
    assert code() == 2


def test_a_pulse_is_heard_in_a_deep_folder_and_over_what_a_killed_one_left(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    assert beats(deep, 0.1) is None
    Pulse(deep)  # never closed: as after a kill, its socket stays
    pulse = Pulse(deep)
    assert [path.lstat().st_mode & 0o777 for path in deep.iterdir()] == [0o600]
    assert beats(deep, 0.1) is False
    pulse.answer()
    child = os.fork()
    if child == 0:
        os._exit(beats(deep, 60) is not True)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        pulse.answer()
    assert beats(deep, 0.1) is False
    pulse.close()
    assert beats(deep, 0.1) is None
    assert list(deep.iterdir()) == []


@pytest.mark.parametrize(
    "kind", ["missing", *(pytest.param(one, marks=pytest.mark.slow) for one in ("no permission", "not in PATH"))]
)
def test_a_hook_that_cannot_run_is_named_by_check_config_doctor_and_the_log(
    one: Any, tmp_path: Path, kind: str
) -> None:
    program = "no-such-hook" if kind == "not in PATH" else "./hook"
    if kind == "no permission":
        (tmp_path / "hook").write_text("#!/bin/sh\n")
    config = {**json.loads(one.config_path.read_text()), "hooks": {"command": [program, "-x"]}}
    one.write_config(config)
    named = program if kind == "not in PATH" else str(tmp_path / "hook")
    checked = one.run("check-config", str(one.config_path))
    assert checked.returncode == 78
    assert "hooks.command[0]: " in checked.stderr
    assert f"(value '{named}')" in checked.stderr
    examined = one.run("doctor", "--config", str(one.config_path))
    assert examined.returncode == 1
    assert f"hook: {named} " in examined.stdout
    if kind == "missing":
        one.start()  # all the same: photos are published without it
        assert named in one.lines("hook.failed")[0]["detail"]


@pytest.mark.slow
def test_a_hook_beside_the_config_is_found_from_anywhere(one: Any, tmp_path: Path, portraits: Any) -> None:
    (tmp_path / "hook").write_text(f"#!/bin/sh\ncat > {tmp_path}/heard\n")
    (tmp_path / "hook").chmod(0o755)
    one.write_config({**json.loads(one.config_path.read_text()), "hooks": {"command": ["./hook"]}})
    assert one.run("check-config", str(one.config_path)).returncode == 0
    assert "can be run" in one.run("doctor", "--config", str(one.config_path)).stdout
    one.start()
    (tmp_path / "in" / "a.jpg").write_bytes(portraits(1)[0])
    one.wait_for((tmp_path / "heard").exists, what="the hook")
    assert one.lines("hook.failed") == []
