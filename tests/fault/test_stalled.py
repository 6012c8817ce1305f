"""The service's watchdog: no ping from a loop that hangs; pings while a root is away and while the state disk is full.

systemd ends and restarts a service that sends no WATCHDOG=1 in time. A ping from a loop that hangs would keep it from
that; a missing one from a daemon that waits for a disk would have it killed over and over.
"""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from stand_ins import ServiceManager, install_plugin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WATCHDOG_SECONDS = 2.0
PLUGIN = """
    import os, time
    from faceblurd.plugins.hookspecs import hookimpl

    def wait_for(cause):
        if os.path.exists(cause):
            open(cause + ".waiting", "w").close()
            while os.path.exists(cause):
                time.sleep(0.05)

    @hookimpl
    def skip_candidate(path, size):  # in the daemon's own process
        if path.endswith("stall.jpg"):
            wait_for(os.environ["STALL"])
        return None

    @hookimpl
    def open_detectors(recipe):  # in a worker, at its start
        wait_for(os.environ["SLOW_START"])
        return []
"""


class Hold:
    """A file for whose end the plugin waits, in the one place or in the other."""

    def __init__(self, folder: Path, name: str) -> None:
        self._cause, self._waiting = folder / name, folder / f"{name}.waiting"

    def begin(self) -> None:
        self._cause.touch()

    @property
    def waits(self) -> bool:
        return self._waiting.exists()

    def end(self) -> None:
        self._cause.unlink()


@pytest.fixture
def stall(tmp_path: Path) -> Hold:
    return Hold(tmp_path, "STALL")


@pytest.fixture
def slow_start(tmp_path: Path) -> Hold:
    return Hold(tmp_path, "SLOW_START")


@pytest.fixture
def plugin(tmp_path: Path) -> dict[str, str]:
    places = {name: str(tmp_path / name) for name in ("STALL", "SLOW_START")}
    return {**install_plugin(tmp_path, "stalling", PLUGIN), **places}


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    one = ServiceManager(tmp_path, watchdog_seconds=WATCHDOG_SECONDS)
    yield one
    one.close()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def root(inbox: Path) -> dict[str, Any]:
    return {"path": str(inbox), "mode": "mirror", "to": str(inbox.parent / "out"), "quiet_seconds": 0.2}


def pings(manager: ServiceManager, one: Any, wait_until: Callable[..., Any], number: int = 3) -> None:
    """Wait for some pings that are sent from now on."""
    since = manager.mark(wait_until)
    one.wait_for(lambda: manager.count("WATCHDOG=1", since=since) >= number, what="pings")


def test_a_loop_that_hangs_sends_no_ping_and_pings_again_when_it_goes_on(
    daemon: Callable[..., Any], tmp_path: Path, inbox: Path, portraits: Any, wait_until: Callable[..., Any],
    manager: ServiceManager, plugin: dict[str, str], stall: Hold,
) -> None:  # fmt: skip
    one = daemon(env={**manager.env, **plugin}, roots=[root(inbox)], hooks={"plugins": ["stalling"]})
    one.start()
    pings(manager, one, wait_until)
    stall.begin()
    (inbox / "stall.jpg").write_bytes(portraits(1)[0])
    one.wait_for(lambda: stall.waits, what="the plugin's hook")

    first = manager.mark(wait_until)
    until = time.monotonic() + 2 * WATCHDOG_SECONDS  # the silence is what is looked at: four pings would be due in it
    wait_until(lambda: time.monotonic() >= until)
    last = manager.mark(wait_until)
    assert manager.count("WATCHDOG=1", since=first, until=last) == 0
    assert one.process.poll() is None

    stall.end()
    pings(manager, one, wait_until)
    one.wait_for((tmp_path / "out" / "stall.jpg").exists, what="the photo that the hook held up")


def test_pings_go_on_while_a_reload_waits_for_a_worker_that_starts_slowly(
    daemon: Callable[..., Any], inbox: Path, wait_until: Callable[..., Any], manager: ServiceManager,
    plugin: dict[str, str], slow_start: Hold,
) -> None:  # fmt: skip
    """Models on a disk that sleeps: killed for that, the service would never take the new configuration over."""
    one = daemon(env={**manager.env, **plugin}, roots=[root(inbox)], hooks={"plugins": ["stalling"]})
    one.start()
    slow_start.begin()
    one.process.send_signal(signal.SIGHUP)
    one.wait_for(lambda: slow_start.waits, what="the new worker")
    pings(manager, one, wait_until)
    assert one.lines("config.reloaded", "config.refused") == []
    slow_start.end()
    one.wait_for(lambda: one.lines("config.reloaded"), what="the reload")


def test_pings_go_on_while_a_root_is_suspended(
    daemon: Callable[..., Any], tmp_path: Path, inbox: Path, wait_until: Callable[..., Any], manager: ServiceManager
) -> None:
    one = daemon(env=manager.env, roots=[root(inbox)])
    one.start()
    pings(manager, one, wait_until)
    inbox.rename(tmp_path / "elsewhere")
    one.wait_for(lambda: one.lines("root.suspended"), what="the suspension")
    pings(manager, one, wait_until)
    assert one.lines("root.resumed") == []
    (tmp_path / "elsewhere").rename(inbox)
    one.wait_for(lambda: one.lines("root.resumed"), what="the root's return")
    pings(manager, one, wait_until)


@pytest.fixture
def small_state(tmp_path: Path) -> list[str]:
    """Give what makes a command see a state directory that is a disk of 2 MB."""
    (tmp_path / "state").mkdir()
    script = 'mount -t tmpfs -o size=2m none "$1" && shift && exec "$@"'
    around = ["unshare", "-m", "sh", "-c", script, "sh", str(tmp_path / "state")]
    if subprocess.run([*around, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mounts here")
    return around


def fill(one: Any, inbox: Path, photos: list[bytes]) -> Path:
    """Fill the disk of the state until the daemon pauses; give the file that takes the room."""
    filler = Path(f"/proc/{one.pid}/root{one.state_dir}/filler")  # as the daemon sees it
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    for number, photo in enumerate(photos):  # what SQLite has reserved holds some photos more
        (inbox / f"p{number}.jpg").write_bytes(photo)
    one.wait_for(lambda: one.lines("daemon.paused"), what="the pause")
    return filler


def test_pings_go_on_while_the_state_disk_is_full(
    daemon: Callable[..., Any], inbox: Path, portraits: Any, wait_until: Callable[..., Any], manager: ServiceManager,
    plugin: dict[str, str], slow_start: Hold, small_state: list[str],
) -> None:  # fmt: skip
    one = daemon(
        env={**manager.env, **plugin}, around=small_state, roots=[root(inbox)], workers={"count": 1},
        hooks={"plugins": ["stalling"]},
    )  # fmt: skip
    one.start()
    filler = fill(one, inbox, portraits(200))
    pings(manager, one, wait_until)
    assert one.lines("daemon.resumed") == []

    slow_start.begin()
    filler.unlink()
    one.wait_for(lambda: slow_start.waits, what="the first worker after the pause")
    pings(manager, one, wait_until)
    assert one.lines("daemon.resumed") == []
    slow_start.end()
    one.wait_for(lambda: one.lines("daemon.resumed"), what="the end of the pause")
    pings(manager, one, wait_until)


def test_a_reload_in_which_the_state_disk_fills_up_is_made_after_the_pause(
    daemon: Callable[..., Any], inbox: Path, portraits: Any, wait_until: Callable[..., Any], manager: ServiceManager,
    plugin: dict[str, str], slow_start: Hold, small_state: list[str],
) -> None:  # fmt: skip
    """And systemd hears that it ended, and no worker of the first try stays."""
    one = daemon(
        env={**manager.env, **plugin}, around=small_state, roots=[root(inbox)],
        workers={"count": 1, "idle_seconds": 3600},  # nobody leaves for want of work
        hooks={"plugins": ["stalling"]},
    )  # fmt: skip
    one.start()
    slow_start.begin()
    one.process.send_signal(signal.SIGHUP)
    one.wait_for(lambda: slow_start.waits, what="the new worker")
    filler = fill(one, inbox, portraits(200))
    assert one.lines("config.reloaded", "config.refused") == []
    slow_start.end()
    filler.unlink()
    one.wait_for(lambda: one.lines("config.reloaded"), what="the reload")
    assert one.lines("daemon.resumed")
    manager.mark(wait_until)
    assert (manager.count("RELOADING=1"), manager.count("READY=1")) == (2, 3)
    one.wait_for(lambda: workers(one.pid) == 1, what="an end of the workers that nobody asks any more")


def workers(daemon: int) -> int:
    """Count the worker processes of a daemon."""
    count = 0
    for child in Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split():
        with suppress(FileNotFoundError):
            count += "faceblurd.workers.job" in Path(f"/proc/{child}/cmdline").read_text()
    return count
