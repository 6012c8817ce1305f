"""The daemon as its owner meets it: start, stop, reload, status, quarantine, hooks, scan."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROGRAM = os.path.join(os.path.dirname(sys.executable), "faceblurd")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def daemon(daemon: Callable[..., Any], cheapest: dict[str, Any]) -> Callable[..., Any]:
    """Make daemons with the detector that costs least; the first test here has the one of most people."""
    return lambda **config: daemon(**{**cheapest, **config})


@pytest.fixture
def one(daemon: Callable[..., Any], tmp_path: Path, inbox: Path) -> Any:
    root = {"path": str(inbox), "mode": "mirror", "to": str(tmp_path / "out"), "quiet_seconds": 0.2}
    return daemon(roots=[root], workers={"retry_seconds": 0.5, "max_attempts": 2})


def test_without_a_config_two_flags_are_enough(
    command: Callable[..., Any], tmp_path: Path, inbox: Path, portraits: Any, wait_until: Callable[..., Any]
) -> None:
    arguments = [PROGRAM, "run", "--watch", str(inbox), "--to", str(tmp_path / "out")]
    environment = {**os.environ, "FACEBLURD_STATE_DIR": str(tmp_path / "state")}
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, env=environment) as process:
        try:
            (inbox / "a.jpg").write_bytes(portraits(1)[0])
            wait_until((tmp_path / "out" / "a.jpg").exists)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=300)
    assert process.returncode == 0


def test_sigterm_in_the_middle_leaves_no_trace_and_the_next_start_goes_on(
    one: Any, inbox: Path, tmp_path: Path, portraits: Any
) -> None:
    one.start()
    for number, photo in enumerate(portraits(60)):
        (inbox / f"p{number}.jpg").write_bytes(photo)
    one.wait_for(lambda: len(one.finished()) >= 3)
    assert one.stop() == 0
    assert not list(tmp_path.rglob(".faceblurd-*"))
    assert one.lines()[-1]["event"] == "daemon.stopped"
    one.start()
    one.wait_for(lambda: len(one.finished()) == 60)
    assert all(seen == ["published"] for seen in one.finished().values())


def test_a_second_instance_on_the_same_state_is_refused(one: Any, command: Callable[..., Any]) -> None:
    one.start()
    second = command("run", "--config", str(one.config_path))
    assert second.returncode == 1
    assert "another faceblurd" in second.stderr


def test_a_newer_upload_replaces_the_published_one(
    one: Any, inbox: Path, tmp_path: Path, portraits: Any, face_is_hidden: Any
) -> None:
    one.start()
    first, second = portraits(2)
    (inbox / "a.jpg").write_bytes(first)
    one.wait_for((tmp_path / "out" / "a.jpg").exists)
    before = (tmp_path / "out" / "a.jpg").read_bytes()
    (inbox / "a.jpg").write_bytes(second)
    one.wait_for(lambda: (tmp_path / "out" / "a.jpg").read_bytes() != before)
    assert face_is_hidden((tmp_path / "out" / "a.jpg").read_bytes())


def test_touching_or_renaming_a_finished_photo_costs_no_second_work(
    daemon: Callable[..., Any], tmp_path: Path, inbox: Path, portraits: Any
) -> None:
    one = daemon(roots=[{"path": str(inbox), "mode": "in_place", "quiet_seconds": 0.2}])
    one.start()
    (inbox / "a.jpg").write_bytes(portraits(1)[0])
    one.wait_for(lambda: one.lines("file.published"))
    blurred = (inbox / "a.jpg").read_bytes()
    os.utime(inbox / "a.jpg")
    os.rename(inbox / "a.jpg", inbox / "b.jpg")
    (inbox / "copy.jpg").write_bytes(blurred)
    one.wait_for(lambda: len(one.lines("file.skipped")) >= 2)
    assert len(one.lines("file.published")) == 1
    assert (inbox / "b.jpg").read_bytes() == (inbox / "copy.jpg").read_bytes() == blurred


@pytest.mark.slow
def test_reload_takes_a_good_config_and_refuses_a_bad_one(
    one: Any, tmp_path: Path, inbox: Path, portraits: Any
) -> None:
    one.start()
    first, second, third = portraits(3)
    (inbox / "a.jpg").write_bytes(first)
    one.wait_for((tmp_path / "out" / "a.jpg").exists)

    good = one.config_path.read_text()
    one.config_path.write_text(good.replace('"quiet_seconds"', '"quite_seconds"'))
    os.kill(one.pid, signal.SIGHUP)
    (refused,) = one.wait_for(lambda: one.lines("config.refused"))
    assert "quite_seconds" in refused["detail"]
    assert "quiet_seconds" in refused["detail"]
    (inbox / "b.jpg").write_bytes(second)
    one.wait_for((tmp_path / "out" / "b.jpg").exists)

    (tmp_path / "in2").mkdir()
    more = {"path": str(tmp_path / "in2"), "mode": "mirror", "to": str(tmp_path / "out2"), "quiet_seconds": 0.2}
    config = json.loads(good)
    one.write_config({**config, "roots": [*config["roots"], more]})
    os.kill(one.pid, signal.SIGHUP)
    one.wait_for(lambda: one.lines("config.reloaded"))
    (tmp_path / "in2" / "c.jpg").write_bytes(third)
    one.wait_for(lambda: len(one.lines("file.published")) == 3, what="the log's last line")  # after the result
    assert [line["path"] for line in one.lines("file.published")] == [
        str(inbox / "a.jpg"), str(inbox / "b.jpg"), str(tmp_path / "in2" / "c.jpg"),
    ]  # fmt: skip

    one.write_config({**config, "logging": {"level": "warning"}})  # the log's own settings are taken over as well
    os.kill(one.pid, signal.SIGHUP)
    one.wait_for(lambda: json.loads((one.state_dir / "status.json").read_text())["roots"][1:] == [], what="one root")
    before = len(one.lines())
    (inbox / "d.jpg").write_bytes(third)
    one.wait_for((tmp_path / "out" / "d.jpg").exists)
    assert one.stop() == 0
    assert len(one.lines()) == before


@pytest.mark.slow
def test_status_and_quarantine_work_while_the_daemon_runs(
    one: Any, command: Callable[..., Any], inbox: Path, tmp_path: Path, portraits: Any
) -> None:
    one.start()
    (inbox / "a.jpg").write_bytes(portraits(1)[0])
    (inbox / "movie.gif").write_bytes(b"\x1aE\xdf\xa3" + b"\0" * 40)
    one.wait_for(lambda: len(one.finished()) == 2)
    config = ("--config", str(one.config_path))

    def said() -> Any:
        status = json.loads(command("status", *config, "--json").stdout)
        return status if status["roots"] and status["roots"][0]["counts"].get("published") == 1 else None

    status = one.wait_for(said)
    assert status["running"]
    (root,) = status["roots"]
    assert (root["state"], root["path"], root["queued"]) == ("watching", str(inbox), 0)
    (held,) = status["held"]
    assert (held["path"], held["reason"]) == (str(inbox / "movie.gif"), "unsupported")
    assert str(inbox / "movie.gif") in command("quarantine", "list", *config).stdout
    assert "watching" in command("status", *config).stdout

    (tmp_path / "fixed").write_bytes(portraits(2)[1])
    retried = command("quarantine", "retry", *config, str(inbox / "movie.gif"))
    assert retried.returncode == 0, retried.stderr
    one.wait_for(lambda: len(one.lines("file.quarantined")) == 2, what="another try")
    assert command("quarantine", "drop", *config, "--all").returncode == 0
    assert command("quarantine", "list", *config).stdout == ""
    assert (inbox / "movie.gif").exists()
    assert one.stop() == 0
    assert json.loads(command("status", *config, "--json").stdout)["running"] is False


def test_on_failure_hold_takes_the_photo_out_of_sight_and_retry_brings_it_back(
    daemon: Callable[..., Any], command: Callable[..., Any], tmp_path: Path, inbox: Path
) -> None:
    one = daemon(roots=[{"path": str(inbox), "mode": "in_place", "quiet_seconds": 0.2, "on_failure": "hold"}])
    one.start()
    (inbox / "movie.gif").write_bytes(b"\x1aE\xdf\xa3" + b"\0" * 40)
    one.wait_for(lambda: one.lines("file.quarantined") and not (inbox / "movie.gif").exists())
    assert stat.S_IMODE((one.state_dir / "quarantine").stat().st_mode) == 0o700
    assert command("quarantine", "retry", "--config", str(one.config_path), "--all").returncode == 0
    one.wait_for(
        lambda: len(one.lines("file.quarantined")) == 2 and not (inbox / "movie.gif").exists(), what="held again"
    )
    drop = command("quarantine", "drop", "--config", str(one.config_path), "--all", "--yes")
    assert drop.returncode == 0, drop.stderr
    assert list((one.state_dir / "quarantine").iterdir()) == []


def test_the_command_hook_hears_of_success_and_failure_also_after_a_restart(
    daemon: Callable[..., Any], command: Callable[..., Any], tmp_path: Path, inbox: Path, portraits: Any
) -> None:
    script, heard = tmp_path / "hook.sh", tmp_path / "heard"
    script.write_text(f'#!/bin/sh\n[ -e "{tmp_path}/open" ] || exit 1\ncat >> {heard}\necho >> {heard}\n')
    script.chmod(0o755)
    one = daemon(
        roots=[{"path": str(inbox), "mode": "mirror", "to": str(tmp_path / "out"), "quiet_seconds": 0.2}],
        hooks={"command": [str(script)], "max_attempts": 50},
    )
    one.start()
    (inbox / "a.jpg").write_bytes(portraits(1)[0])
    (inbox / "movie.gif").write_bytes(b"\x1aE\xdf\xa3" + b"\0" * 40)
    one.wait_for(lambda: len(one.finished()) == 2)
    assert one.stop(signal.SIGKILL) != 0
    (tmp_path / "open").touch()
    one.start()

    def outcomes() -> set[str]:  # at least once each: a call that was running when we were killed is made again
        lines = heard.read_text().splitlines() if heard.exists() else []
        return {json.loads(line)["outcome"] for line in lines if line.endswith("}")}

    one.wait_for(lambda: outcomes() == {"published", "unsupported"}, what="both calls")
    assert len(one.finished()) == 2
    tested = command("hooks", "test", "--config", str(one.config_path))
    assert tested.returncode == 0
    assert "exit code 0" in tested.stdout


def test_scan_catches_up_once_and_a_second_scan_has_nothing_to_do(
    one: Any, command: Callable[..., Any], inbox: Path, tmp_path: Path, portraits: Any
) -> None:
    for number, photo in enumerate(portraits(5)):
        (inbox / f"p{number}.jpg").write_bytes(photo)
    first = command("scan", "--config", str(one.config_path))
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("file.published") == 5
    second = command("scan", "--config", str(one.config_path))
    assert second.returncode == 0
    assert "file." not in second.stderr
    (inbox / "movie.gif").write_bytes(b"\x1aE\xdf\xa3" + b"\0" * 40)
    assert command("scan", "--config", str(one.config_path)).returncode == 3


@pytest.mark.slow
def test_a_scan_that_is_told_to_stop_leaves_nothing_in_hand_and_counts_no_attempt(
    one: Any, command: Callable[..., Any], inbox: Path, wait_until: Callable[..., Any], portraits: Any
) -> None:
    for number, photo in enumerate(portraits(60)):
        (inbox / f"p{number}.jpg").write_bytes(photo)
    log = one.folder / "scan.log"
    with log.open("wb") as stderr:
        scan = subprocess.Popen([PROGRAM, "scan", "--config", str(one.config_path)], stderr=stderr)
    wait_until(lambda: log.read_text().count("file.published") >= 2, seconds=60)
    scan.send_signal(signal.SIGTERM)
    assert scan.wait(60) == 130
    first = log.read_text().count("file.published")
    assert first < 60
    with closing(sqlite3.connect(one.state_dir / "ledger.sqlite3")) as ledger:
        assert ledger.execute("SELECT count(*) FROM intents").fetchone() == (0,)
        assert ledger.execute("SELECT count(*) FROM files WHERE state != 'published'").fetchone() == (0,)
    second = command("scan", "--config", str(one.config_path))
    assert second.returncode == 0
    assert first + second.stderr.count("file.published") == 60


def test_check_config_loads_what_it_names_and_refuses_with_78(
    one: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    assert command("check-config", str(one.config_path)).returncode == 0
    (tmp_path / "cascade.xml").write_text("<opencv_storage></opencv_storage>")
    config = json.loads(one.config_path.read_text())
    config["detection"] = {"detectors": [{"kind": "haar", "cascade": str(tmp_path / "cascade.xml")}]}
    one.write_config(config)
    refused = command("check-config", str(one.config_path))
    assert refused.returncode == 78
    assert "detection.detectors[0]" in refused.stderr
    assert str(one.config_path) in refused.stderr
    one.start(ready=False)
    assert one.process.wait(300) == 78


def test_the_service_speaks_systemds_protocol(
    daemon: Callable[..., Any], tmp_path: Path, inbox: Path, wait_until: Callable[..., Any]
) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))
        listener.setblocking(False)
        heard: list[str] = []

        def hear(word: str) -> bool:
            try:
                while True:
                    heard.append(listener.recv(4096).decode())
            except BlockingIOError:
                return any(word in message for message in heard)

        one = daemon(
            env={"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "1000000"},
            roots=[{"path": str(inbox), "mode": "in_place"}],
        )
        one.start()
        for word in ("READY=1", "STATUS=", "WATCHDOG=1"):
            wait_until(lambda word=word: hear(word), what=word)
        os.kill(one.pid, signal.SIGHUP)
        wait_until(lambda: hear("RELOADING=1"), what="RELOADING")
        wait_until(lambda: sum("READY=1" in message for message in heard) + hear("-") >= 2, what="READY again")
        one.stop()
        wait_until(lambda: hear("STOPPING=1"), what="STOPPING")


@pytest.mark.slow
def test_a_mirror_that_was_removed_whole_is_filled_again_at_the_next_start(
    one: Any, inbox: Path, tmp_path: Path, portraits: Any
) -> None:
    one.start()
    first, second = portraits(2)
    (inbox / "a.jpg").write_bytes(first)
    (inbox / "b.jpg").write_bytes(second)
    one.wait_for(lambda: len(one.finished()) == 2)
    one.stop()
    (tmp_path / "out" / "a.jpg").unlink()  # somebody took this one: it must not come back
    one.start()
    one.wait_for(lambda: len(one.lines("root.scanned")) == 2)
    one.stop()
    assert not (tmp_path / "out" / "a.jpg").exists()
    shutil.rmtree(tmp_path / "out")
    one.start()
    one.wait_for(lambda: (tmp_path / "out" / "a.jpg").exists() and (tmp_path / "out" / "b.jpg").exists())


def test_a_worker_gives_the_memory_of_a_24_megapixel_photo_back(
    one: Any, inbox: Path, tmp_path: Path, astronaut_jpeg: bytes
) -> None:
    small = cv2.imdecode(np.frombuffer(astronaut_jpeg, np.uint8), cv2.IMREAD_COLOR)
    large = cv2.resize(small, (6000, 4000)).astype(np.int16)
    large += np.random.default_rng(1).integers(-8, 8, large.shape, np.int16)  # grain, as a camera's
    cv2.imwrite(str(tmp_path / "large.jpg"), np.clip(large, 0, 255).astype(np.uint8))
    one.start()
    (tmp_path / "large.jpg").rename(inbox / "large.jpg")
    one.wait_for(lambda: one.lines("file.published"))
    # 115 MB with the networks open, 140 of their working memory; the photo itself took 150 more
    one.wait_for(lambda: max(_workers_resident_kb(one.pid)) < 300_000, what="the memory back")


def _workers_resident_kb(pid: int) -> list[int]:
    """Resident memory of the children that are workers, in kB."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        found = children.read().split()
    sizes = []
    for child in found:
        with open(f"/proc/{child}/cmdline", encoding="utf-8") as words, open(f"/proc/{child}/status") as status:
            if "faceblurd.workers.job" in words.read():
                sizes.append(next(int(line.split()[1]) for line in status if line.startswith("VmRSS")))
    assert sizes, "no worker"
    return sizes


@pytest.mark.slow
def test_20000_finished_files_cost_no_read_and_little_time(
    one: Any, inbox: Path, tmp_path: Path, portraits: Any
) -> None:
    from faceblurd.config.loading import load_config
    from faceblurd.ledger.ledger import Ledger
    from faceblurd.model import Entry, Fingerprint, State
    from faceblurd.state_files import LEDGER_NAME

    config = load_config(one.config_path, environ={})
    recipe = config.recipe_for(config.roots[0]).digest
    one.state_dir.mkdir()
    tmp_path.joinpath("out").mkdir()  # a mirror that is not there would be filled again
    ledger = Ledger(one.state_dir / LEDGER_NAME)
    with ledger.transaction():
        for number in range(20_000):
            path = inbox / str(number % 200) / f"p{number}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x")
            path.chmod(0)
            source = Fingerprint.from_stat(path.stat())
            ledger.put(Entry(str(inbox), str(path.relative_to(inbox)), State.PUBLISHED, recipe, source, "i", "o"))
    before = time.process_time()
    for path in inbox.rglob("*.jpg"):
        path.stat()
        assert ledger.entry(str(inbox), str(path.relative_to(inbox))) is not None
    plainly = time.process_time() - before
    ledger.close()
    one.start()
    (scanned,) = one.wait_for(lambda: one.lines("root.scanned"))
    assert _cpu_seconds(one.pid) < 10 * plainly  # on this machine (benchmarks/idle.py has the seconds)
    assert scanned["files"] == 20_000
    assert one.finished() == {}
    assert not one.lines("file.retried", "file.skipped")
    (inbox / "new.jpg").write_bytes(portraits(1)[0])
    one.wait_for(lambda: one.lines("file.published"))
    with open(f"/proc/{one.pid}/status", encoding="ascii") as status:
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    assert resident < 80_000


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat_file:
        fields = stat_file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
