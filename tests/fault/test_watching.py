"""The daemon when watching fails: events lost, directories that cannot be watched or read, handlers that raise."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import textwrap
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

WITHOUT_PRIVILEGE = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]  # as root
LIMITED = ["unshare", "-U", "-r", "sh", "-c", 'echo 50 > /proc/sys/user/max_inotify_watches && exec "$@"', "sh"]


@pytest.fixture(scope="session")
def photo() -> Callable[[int], bytes]:
    """Give the smallest photos that are quick to search, no two alike."""

    def make(number: int) -> bytes:
        picture = np.full((48, 64, 3), 128, np.uint8)
        cv2.putText(picture, str(number), (2, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255))
        return cv2.imencode(".jpg", picture)[1].tobytes()

    return make


@pytest.fixture
def mirror(tmp_path: Path) -> dict[str, Any]:
    """Give the settings of a root `in` with a mirror `out`."""
    (tmp_path / "in").mkdir()
    root = {"path": str(tmp_path / "in"), "mode": "mirror", "to": str(tmp_path / "out"), "quiet_seconds": 0.1}
    root["rescan_seconds"] = 3600  # what is seen is seen by events, or by a scan that has its reason
    return {"roots": [root], "recipe": "fast", "workers": {"count": 1}}


def _status(daemon: Any) -> dict[str, Any]:
    """Give what `faceblurd status` knows of the only root."""
    told = json.loads(daemon.run("status", "--state-dir", str(daemon.state_dir), "--json").stdout)
    return dict(told["roots"][0]) if told["roots"] else {}


def _live(daemon: Any) -> dict[str, Any]:
    """Give the same from status.json, cheap enough to wait for."""
    with suppress(OSError, ValueError, IndexError):
        return dict(json.loads((daemon.state_dir / "status.json").read_text())["roots"][0])
    return {}


def _is(daemon: Any, state: str) -> bool:
    live = _live(daemon)
    return live.get("state") == state and not live["scanning"]


def _rests(daemon: Any, *, clean: int) -> bool:
    """Tell whether so many photos are done, and nothing is on its way."""
    live = _live(daemon)
    on_way = [live.get(name) for name in ("settling", "queued", "working", "retrying")]
    return on_way == [0, 0, 0, 0] and live["counts"].get("clean") == clean and _is(daemon, "watching")


def _names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _watches(pid: int) -> int:
    """Count what the kernel watches for a process."""
    count = 0
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):
            count += path.read_text().count("inotify wd:")
    return count


def _descriptors(pid: int) -> list[str]:
    """Tell what kinds of things a process has open."""
    targets = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            targets.append(re.sub(r"^(pipe|socket):.*", r"\1", os.readlink(path)))
    return sorted(targets)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- events are lost


@pytest.fixture
def overflow(tmp_path: Path, photo: Callable[[int], bytes]) -> Callable[[Any], set[str]]:
    """Stop a daemon, write more files than its queue holds with photos among them, let it go on."""
    room = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if room > 70_000:
        pytest.skip(f"the queue holds {room} events: too many files for a test")

    def flood(daemon: Any) -> set[str]:
        photos = set()
        daemon.process.send_signal(signal.SIGSTOP)
        for number in range(room // 2 + 4000):  # two events each
            if number % 1000 == 999:
                photos.add(f"p{number}.jpg")
                (tmp_path / "in" / f"p{number}.jpg").write_bytes(photo(number))
            else:
                (tmp_path / "in" / f"{number}.txt").touch()
        daemon.process.send_signal(signal.SIGCONT)
        return photos

    return flood


@pytest.mark.slow
def test_no_photo_is_missed_when_the_queue_overflows(
    daemon: Any, mirror: dict[str, Any], overflow: Any, photo: Any, tmp_path: Path
) -> None:
    one = daemon(**mirror)
    one.start()
    one.wait_for(lambda: _is(one, "watching"), what="watching")
    photos = overflow(one)
    one.wait_for(lambda: _names(tmp_path / "out") == photos, what=f"{len(photos)} photos")
    assert len(one.lines("root.rewatched")) == 1
    one.wait_for(lambda: _is(one, "watching"), what="watching")
    (tmp_path / "in" / "after.jpg").write_bytes(photo(0))  # the next scan is minutes away
    one.wait_for((tmp_path / "out" / "after.jpg").exists, what="the photo after it")
    assert {path: seen for path, seen in one.finished().items() if len(seen) > 1} == {}
    assert one.stop() == 0


@pytest.mark.slow
def test_more_directories_than_the_queue_holds_events_and_an_overflow_end_in_quiet(
    daemon: Any, mirror: dict[str, Any], overflow: Any, photo: Any, tmp_path: Path
) -> None:
    for number in range(170):
        for below in range(100):
            (tmp_path / "in" / str(number) / str(below)).mkdir(parents=True)
    directories = 1 + 170 + 17_000
    mirror["workers"]["idle_seconds"] = 3600  # one that leaves takes its pipes along
    one = daemon(**mirror)
    one.start()
    one.wait_for(lambda: _is(one, "watching"), what="watching")
    assert _watches(one.pid) == directories
    (tmp_path / "in" / "before.jpg").write_bytes(photo(0))
    one.wait_for(lambda: _rests(one, clean=1), what="the photo before it")
    descriptors, before = _descriptors(one.pid), _cpu_seconds(one.pid)
    photos = overflow(one) | {"before.jpg"}
    one.wait_for(lambda: _names(tmp_path / "out") == photos, what=f"{len(photos)} photos")
    one.wait_for(lambda: _is(one, "watching") and _watches(one.pid) == directories, what="one whole watcher")
    one.wait_for(lambda: _descriptors(one.pid) == descriptors, what=f"{descriptors}")
    after = _cpu_seconds(one.pid)
    time.sleep(4)  # two looks at the root; what went round in circles would take all of it
    assert _cpu_seconds(one.pid) - after < (after - before) / 5  # of what one overflow takes on this machine
    assert len(one.lines("root.rewatched")) == 1
    (tmp_path / "in" / "169" / "99" / "after.jpg").write_bytes(photo(1))
    one.wait_for((tmp_path / "out" / "169" / "99" / "after.jpg").exists, what="the photo after it")
    assert one.stop() == 0


# --- directories are not watched


def test_over_the_watch_limit_the_root_is_degraded_and_scans_find_every_photo(
    daemon: Any, mirror: dict[str, Any], photo: Any, tmp_path: Path
) -> None:
    if subprocess.run([*LIMITED, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespaces here")
    folders = [f"{number:02}" for number in range(80)]
    for folder in folders:
        (tmp_path / "in" / folder).mkdir()
    mirror["roots"][0]["rescan_seconds"] = 2
    one = daemon(**mirror, around=LIMITED)
    one.start()
    one.wait_for(lambda: _is(one, "degraded"), what="degraded")
    assert _watches(one.pid) == 50
    (line,) = one.lines("root.degraded")
    assert line["detail"] == "only 50 of 81 directories are watched: raise the watch limit"
    assert line["root"] == str(tmp_path / "in")
    assert _status(one)["problems"] == [line["detail"]]
    assert f"  problem: {line['detail']}\n" in one.run("status", "--state-dir", str(one.state_dir)).stdout
    for number, folder in enumerate(folders):
        (tmp_path / "in" / folder / "x.jpg").write_bytes(photo(number))
    one.wait_for(lambda: _names(tmp_path / "out") == {f"{folder}/x.jpg" for folder in folders}, what="80 photos")
    assert len(one.lines("root.degraded")) == 1  # said once, not at every scan
    said = one.run("doctor", "--config", str(one.config_path)).stdout
    assert " BAD " in said
    assert f"{tmp_path / 'in'}: has 81 directories, and the kernel watches 50" in said
    (tmp_path / "in" / "late").mkdir()
    (tmp_path / "in" / "late" / "x.jpg").write_bytes(photo(0))
    one.wait_for((tmp_path / "out" / "late" / "x.jpg").exists, what="a photo in a folder that came later")
    assert one.stop() == 0


@pytest.mark.slow
def test_a_limit_that_is_reached_later_shows_at_once_and_one_that_is_raised_lets_the_root_recover(
    daemon: Any, mirror: dict[str, Any], photo: Any, tmp_path: Path
) -> None:
    if subprocess.run([*LIMITED, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespaces here")
    for number in range(45):
        (tmp_path / "in" / str(number)).mkdir()
    one = daemon(**mirror, around=LIMITED)
    one.start()
    one.wait_for(lambda: _is(one, "watching"), what="watching")
    late = {f"late/{number}/x.jpg" for number in range(10)}
    for number, name in enumerate(sorted(late)):  # beside the root, so that they come at once
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(photo(number))
    (tmp_path / "late").rename(tmp_path / "in" / "late")
    one.wait_for(lambda: _live(one).get("state") == "degraded", what="degraded, before the next scan")
    assert one.lines("root.degraded")[0]["detail"] == "only 50 of 57 directories are watched: raise the watch limit"
    one.wait_for(lambda: _names(tmp_path / "out") == late, what="all photos")
    raise_it = ["sh", "-c", "echo 500 > /proc/sys/user/max_inotify_watches"]
    subprocess.run(["nsenter", "-t", str(one.pid), "-U", "--preserve-credentials", *raise_it], check=True)
    one.wait_for(lambda: _is(one, "watching") and _watches(one.pid) == 57, what="the whole root watched")
    assert len(one.lines("root.recovered")) == 1
    assert len(one.lines("root.degraded")) == 1
    assert one.stop() == 0


def test_a_folder_that_cannot_be_read_is_reported_and_its_photos_are_found_when_it_can(
    daemon: Any, mirror: dict[str, Any], photo: Any, tmp_path: Path
) -> None:
    shut = tmp_path / "in" / "caf\udce9\x1b[31m"  # no UTF-8, and it would colour a terminal
    shut.mkdir()
    (shut / "x.jpg").write_bytes(photo(1))
    shut.chmod(0)
    (tmp_path / "in" / "y.jpg").write_bytes(photo(2))
    mirror["roots"][0]["rescan_seconds"] = 2
    one = daemon(**mirror, around=WITHOUT_PRIVILEGE if os.geteuid() == 0 else ())
    one.start()
    one.wait_for(lambda: _is(one, "degraded") and (tmp_path / "out" / "y.jpg").exists(), what="degraded")
    (line,) = one.lines("root.degraded")
    assert line["detail"] == "1 places cannot be read, first caf\\xe9\x1b[31m: Permission denied"
    assert len(_status(one)["problems"]) == 1
    shown = "first caf\\xe9\\x1b[31m: Permission denied\n"
    for command in (("status", "--state-dir", str(one.state_dir)), ("doctor", "--config", str(one.config_path))):
        said = one.run(*command)
        assert shown in said.stdout, said.stderr
    assert _names(tmp_path / "out") == {"y.jpg"}
    shut.chmod(0o755)
    one.wait_for((tmp_path / "out" / shut.name / "x.jpg").exists, what="the photo that could not be reached")
    one.wait_for(lambda: _is(one, "watching") and _watches(one.pid) == 2, what="the whole root watched")
    assert len(one.lines("root.recovered")) == 1
    assert one.stop() == 0


# --- a bug of ours

BREAKER = """
    from faceblurd.watch.events import Hints
    from faceblurd.plugins.hookspecs import hookimpl

    put = Hints.put

    def put_or_raise(self, sighting):
        if "bad" in sighting.path:
            raise RuntimeError("a bug in the handler")
        put(self, sighting)

    Hints.put = put_or_raise

    @hookimpl
    def add_regions(image, path):
        return []
"""


def test_a_handler_that_raises_does_not_end_the_watching_and_the_scan_finds_what_it_missed(
    daemon: Any, mirror: dict[str, Any], photo: Any, tmp_path: Path
) -> None:
    info = tmp_path / "site" / "breaker-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "breaker.py").write_text(textwrap.dedent(BREAKER))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: breaker\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[faceblurd]\nbreaker = breaker\n")
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    one = daemon(**mirror, hooks={"plugins": ["breaker"]}, env={"PYTHONPATH": path})
    one.start()
    one.wait_for(lambda: _is(one, "watching"), what="watching")
    (tmp_path / "in" / "bad").mkdir()
    for number in range(20):
        (tmp_path / "in" / "bad" / f"{number}.jpg").write_bytes(photo(number))
    (tmp_path / "in" / "good.jpg").write_bytes(photo(99))
    one.wait_for((tmp_path / "out" / "good.jpg").exists, what="the photo after the bug")
    one.wait_for(lambda: len(_names(tmp_path / "out")) == 21, what="what a scan finds, minutes early")
    assert one.lines("root.hints_lost")
    assert _live(one)["state"] == "watching"
    assert one.stop() == 0
