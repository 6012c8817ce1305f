"""What all tests share: one public-domain portrait, patience with a deadline instead of sleeps, the installed command.

A daemon runs for real, in a subprocess, and its log is read line by line.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

REPOSITORY = Path(__file__).resolve().parent.parent
COMMAND = str(Path(sys.executable).with_name("faceblurd"))
# pydantic looks through all installed packages for plugins of its own, in every process: 8 ms here, and there are none.
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # examples that take long are no fault, but a busy machine's
PATIENCE_SECONDS = 240.0
"""How long anything is waited for, however busy the machine is; shorter than a rescan, which could come to the help."""
CHEAPEST = {"recipe": "fast", "detection": {"detectors": [{"kind": "haar"}]}}
"""What a test sets that is not about the search: a worker without networks starts in two thirds of the time."""
DONE = {"file.published", "file.clean", "file.quarantined"}


class Daemon:
    """One `faceblurd run`, with everything it said."""

    def __init__(
        self, folder: Path, config: dict[str, Any], wait: Callable[..., Any], env: dict[str, str], around: Sequence[str]
    ) -> None:
        self.folder, self._wait, self._env, self._around = folder, wait, env, around
        self.config_path = folder / "config.yaml"
        self.state_dir = folder / "state"
        self.log_path = folder / "daemon.log"
        self.write_config(config)
        self.process: subprocess.Popen[bytes] | None = None

    def write_config(self, config: dict[str, Any]) -> None:
        self.config_path.write_text(json.dumps({"state_dir": str(self.state_dir), **config}))  # JSON is YAML

    def start(self, *, ready: bool = True) -> None:
        started = len(self.lines("daemon.started"))
        with self.log_path.open("ab") as log:
            arguments = [*self._around, COMMAND, "run", "--config", str(self.config_path)]
            self.process = subprocess.Popen(arguments, stderr=log, stdout=log, env={**os.environ, **self._env})
        if ready:
            self.wait_for(lambda: self.process.poll() is not None or len(self.lines("daemon.started")) > started)
            assert self.process.poll() is None, self.log()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def lines(self, *events: str) -> list[dict[str, Any]]:
        """All log lines so far, of the given events (all without any)."""
        found = []
        for line in self.log().splitlines():
            if line.startswith("{") and line.endswith("}"):
                fields = json.loads(line)
                if not events or fields["event"] in events:
                    found.append(fields)
        return found

    def finished(self) -> dict[str, list[str]]:
        """Outcomes by path, in the order in which they were logged."""
        outcomes: dict[str, list[str]] = {}
        for line in self.lines(*DONE):
            outcomes.setdefault(line["path"], []).append(line["outcome"])
        return outcomes

    def published(self) -> set[str]:
        """Paths that the ledger calls published, whether or not the daemon lived to say so."""
        ledger = sqlite3.connect(f"{(self.state_dir / 'ledger.sqlite3').as_uri()}?mode=ro", uri=True)
        with closing(ledger):
            rows = ledger.execute(
                "SELECT folders.path, files.path FROM files JOIN folders ON folders.id = root WHERE state = 'published'"
            ).fetchall()
        return {os.path.join(os.fsdecode(root), os.fsdecode(path)) for root, path in rows}

    def wait_for(self, condition: Callable[[], Any], *, seconds: float = PATIENCE_SECONDS, what: str = "") -> Any:
        try:
            return self._wait(condition, seconds=seconds, what=what or "it")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-6000:]}") from None

    def stop(self, number: int = signal.SIGTERM, *, seconds: float = PATIENCE_SECONDS) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of ours to its end, with the same privileges."""
        return faceblurd(*arguments, around=self._around)


def faceblurd(*arguments: str, around: Sequence[str] = (), **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the installed command to its end."""
    command = [*around, COMMAND, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, **options)


@pytest.fixture(scope="session")
def cheapest() -> dict[str, Any]:
    """Give the settings of detectors that cost least."""
    return CHEAPEST


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def astronaut_jpeg() -> bytes:
    """Eileen Collins by NASA: 512x512, one face around x 170-280, y 60-200."""
    return (REPOSITORY / "demo" / "astronaut.jpg").read_bytes()


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    return faceblurd


@pytest.fixture
def daemon(tmp_path: Path, wait_until: Callable[..., Any]) -> Iterator[Callable[..., Daemon]]:
    """Make daemons that are ended with the test. `around`: a command that runs another, as unshare does."""
    made: list[Daemon] = []

    def make(*, env: dict[str, str] | None = None, around: Sequence[str] = (), **config: Any) -> Daemon:
        one = Daemon(tmp_path, config, wait_until, env or {}, around)
        made.append(one)
        return one

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """Wait for a condition, with a deadline; returns what the condition gave."""

    def wait(condition: Callable[[], Any], *, seconds: float = PATIENCE_SECONDS, what: str = "the condition") -> Any:
        began = now = time.monotonic()
        while now < began + seconds:
            if result := condition():
                return result
            took, waited = time.monotonic() - now, now - began
            time.sleep(max(0.02, 3 * took, min(waited / 30, 0.2)))  # a poll, not a hope; it leaves others room
            now = time.monotonic()
        raise AssertionError(f"{what} did not come true within {seconds} s")

    return wait


@pytest.fixture(scope="session")
def portraits(astronaut_jpeg: bytes) -> Callable[[int], list[bytes]]:
    """Small JPEGs with a face each, no two alike."""
    import cv2
    import numpy as np

    face = cv2.imdecode(np.frombuffer(astronaut_jpeg, np.uint8), cv2.IMREAD_COLOR)[20:240, 110:330]

    def make(count: int) -> list[bytes]:
        rng = np.random.default_rng(count)
        photos = []
        for number in range(count):
            tinted = np.clip(face.astype(int) + rng.integers(-20, 20, 3), 0, 255).astype(np.uint8)
            cv2.putText(tinted, str(number), (4, 214), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255))
            photos.append(cv2.imencode(".jpg", tinted)[1].tobytes())
        return photos

    return make


@pytest.fixture(scope="session")
def face_is_hidden(astronaut_jpeg: bytes) -> Callable[[bytes], bool]:
    """Tell whether a portrait made by `portraits` shows no face any more; raises for a file that does not decode."""
    import cv2
    import numpy as np

    from faceblurd.imaging.detect import open_glance
    from faceblurd.model import NetworksSpec

    detector = open_glance(NetworksSpec())

    def look(content: bytes) -> bool:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if picture is None or not content.endswith(b"\xff\xd9"):
            raise AssertionError("not a whole picture")
        eyes = picture[60:110, 70:150].astype(int)
        # An ellipse on shoulders is still a head to a network, at 0.4 to 0.6; the portraits themselves score 0.9.
        surely = [found for found in detector.detect(picture) if found.score >= 0.8]
        return float(np.abs(np.diff(eyes, axis=1)).mean()) < 2.5 and not surely

    return look
