"""Hostile files are dropped into the roots of one daemon: each is held, or published without harm, and costs little.

What they are, and why: hostile_files.py. Nothing is mocked: the installed command, its workers, their default limits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import hostile_files
import leaky
import numpy as np
import pytest
from PIL import Image

from faceblurd.imaging.detect import open_glance
from faceblurd.model import NetworksSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hostile_files import Hostile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

COMMAND = str(Path(sys.executable).with_name("faceblurd"))
ENDS = ("file.published", "file.clean", "file.quarantined", "file.skipped")
"""The last: a clean copy that the mirror got first has the bytes of its source, which are our own output then."""
MEMORY_LIMIT_MB = 1500  # the default
HEADER_MS = 1500  # a header is looked at in 5 ms; the rest is for the first file of a worker
WORST_MS = 60_000  # half of what `workers.deadline_seconds` is by default
HONEST_MS = 300  # what the honest photos may take; where they take longer, the others may as well
LONG = 4 << 20  # files of more bytes go into one root only: the way through the worker is the same


class Workers(threading.Thread):
    """Looks at the daemon's children all the time: who they are, and how much memory each ever took."""

    def __init__(self, daemon: int) -> None:
        super().__init__(daemon=True)
        self._daemon, self.end = daemon, threading.Event()
        self.peak_kb: dict[int, int] = {}

    def run(self) -> None:
        while not self.end.wait(0.02):
            with suppress(FileNotFoundError, ProcessLookupError):
                for child in Path(f"/proc/{self._daemon}/task/{self._daemon}/children").read_text().split():
                    self._look(int(child))

    def _look(self, child: int) -> None:
        with suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{child}/status").read_text()
            lines = dict(line.split(":", 1) for line in status.splitlines())
            self.peak_kb[child] = max(self.peak_kb.get(child, 0), int(lines.get("VmHWM", "0").split()[0]))


@dataclass
class Aftermath:
    """What is left when the daemon has seen everything."""

    place: Path
    files: list[Hostile]
    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    peak_mb: int = 0
    rss_mb: tuple[int, int] = (0, 0)
    crashes: list[dict[str, Any]] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)

    @property
    def slowness(self) -> float:
        """How many times slower than it should be this machine is, by the honest photos."""
        honest = [line["milliseconds"] for path, line in self.said.items() if path.endswith("/honest.jpg")]
        return max(1.0, *(milliseconds / HONEST_MS for milliseconds in honest))

    def fate(self, path: Path) -> str:
        line = self.said.get(str(path))
        return "nothing was said" if line is None else line.get("reason") or hostile_files.PUBLISHED  # or skipped


def _places(place: Path, one: Hostile) -> list[Path]:
    roots = ("in", "in_place") if len(one.content) < LONG else ("in",)
    return [place / root / one.name for root in roots]


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]


def _rss_mb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


@pytest.fixture(scope="module")
def photo(astronaut_jpeg: bytes) -> bytes:
    face = cv2.imdecode(np.frombuffer(astronaut_jpeg, np.uint8), cv2.IMREAD_COLOR)[20:240, 110:330]
    return leaky.encoded(face, ".jpg")


@pytest.fixture(scope="module")
def aftermath(
    photo: bytes, tmp_path_factory: pytest.TempPathFactory, wait_until: Callable[..., Any]
) -> Iterator[Aftermath]:
    """Drop all files into both roots, wait for what is said of each, then for an honest photo."""
    place = tmp_path_factory.mktemp("hostile")
    roots = [
        {"path": str(place / "in"), "mode": "mirror", "to": str(place / "out")},
        {"path": str(place / "in_place"), "mode": "in_place"},
    ]
    quick = {"quiet_seconds": 0.1, "settle_max_seconds": 3}
    config = {
        "state_dir": str(place / "state"), "roots": [root | quick for root in roots],
        "workers": {"count": 2, "max_attempts": 2, "retry_seconds": 0.1, "deadline_seconds": 900},
    }  # fmt: skip
    (place / "config.yaml").write_text(json.dumps(config))
    for root in roots:
        Path(root["path"]).mkdir()
    with (place / "log").open("wb") as log:
        daemon = subprocess.Popen([COMMAND, "run", "--config", place / "config.yaml"], stderr=log)
    try:
        yield _seen_through(daemon, place, photo, wait_until)
    finally:
        daemon.kill()
        daemon.wait()


def _seen_through(
    daemon: subprocess.Popen[bytes], place: Path, photo: bytes, wait_until: Callable[..., Any]
) -> Aftermath:
    log, workers = place / "log", Workers(daemon.pid)
    wait_until(lambda: b'"daemon.started"' in log.read_bytes(), what="the daemon")
    workers.start()
    after = Aftermath(place, list(hostile_files.everything(photo)))
    before_mb = _rss_mb(daemon.pid)
    paths = {str(path): one for one in after.files for path in _places(place, one)}
    for path, one in paths.items():
        Path(path).write_bytes(one.content)

    def finished() -> set[str]:
        return {line["path"] for line in _lines(log) if line["event"] in ENDS}

    wait_until(lambda: daemon.poll() is not None or paths.keys() <= finished(), seconds=1000, what="all outcomes")
    assert daemon.poll() is None, log.read_text()[-3000:]
    for root in ("in", "in_place"):
        (place / root / "honest.jpg").write_bytes(photo)
    honest = {str(place / root / "honest.jpg") for root in ("in", "in_place")}
    wait_until(lambda: honest <= finished(), what="the honest photos")
    after.rss_mb = before_mb, _rss_mb(daemon.pid)
    workers.end.set()
    workers.join()
    after.peak_mb = max(workers.peak_kb.values()) >> 10
    after.said = {line["path"]: line for line in _lines(log) if line["event"] in ENDS}
    after.events = Counter(line["event"] for line in _lines(log))
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(300) == 0, log.read_text()[-3000:]
    return after


def test_each_is_held_with_its_reason_or_published(aftermath: Aftermath) -> None:
    wrong = {
        str(path): fate
        for one in aftermath.files
        for path in _places(aftermath.place, one)
        if (fate := aftermath.fate(path)) not in one.fates
    }
    assert not wrong


def test_nothing_that_is_held_is_in_the_mirror(aftermath: Aftermath) -> None:
    published = {
        one.name for one in aftermath.files if aftermath.fate(aftermath.place / "in" / one.name) == "published"
    }
    assert published, "something was published at all"
    assert {path.name for path in (aftermath.place / "out").iterdir()} == published | {"honest.jpg"}


def test_what_is_held_stays_as_it_is_in_place(aftermath: Aftermath) -> None:
    for one in aftermath.files:
        path = aftermath.place / "in_place" / one.name
        if path.exists() and aftermath.fate(path) != "published":
            assert path.read_bytes() == one.content, one.name
    assert not list(aftermath.place.rglob(".faceblurd-*"))


def test_sizes_are_refused_from_the_header(aftermath: Aftermath) -> None:
    took = {
        one.name: aftermath.said[str(aftermath.place / "in" / one.name)]["milliseconds"]
        for one in aftermath.files
        if one.from_header
    }
    assert len(took) > 20
    assert {name: ms for name, ms in took.items() if ms > HEADER_MS * aftermath.slowness} == {}


def test_none_takes_long_and_no_worker_dies_of_it(aftermath: Aftermath) -> None:
    took = {path: line.get("milliseconds", 0) for path, line in aftermath.said.items()}
    assert {path: ms for path, ms in took.items() if ms > WORST_MS * aftermath.slowness} == {}
    ends = {aftermath.fate(Path(path)) for path in aftermath.said}
    assert not ends & {"worker_crashed", "deadline", "internal_error", "interrupted"}


def test_memory_stays_within_the_limit_and_the_parent_grows_by_none_of_it(aftermath: Aftermath) -> None:
    libraries_mb = 300  # resident before the limit counts
    assert aftermath.peak_mb < MEMORY_LIMIT_MB + libraries_mb
    before, after = aftermath.rss_mb
    assert after < before + 30


def test_an_honest_photo_is_published_afterwards(aftermath: Aftermath) -> None:
    detector = open_glance(NetworksSpec())
    for root in ("out", "in_place"):
        content = (aftermath.place / root / "honest.jpg").read_bytes()
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert not detector.detect(picture)


def test_no_second_picture_is_left_in_what_is_published(aftermath: Aftermath) -> None:
    for path in (aftermath.place / "out").iterdir():
        content = path.read_bytes()
        assert leaky.FACE not in content, path.name
        assert b"PK\3\4" not in content, path.name
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert leaky.FACE not in (image.info.get("icc_profile") or b""), path.name
