"""A taken-over worker: a plugin tries to get out, and says what it could do."""

from __future__ import annotations

import json
import os
import socket
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from faceblurd.workers import sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PLUGIN = """
    import os, socket, subprocess
    from faceblurd.plugins.hookspecs import hookimpl

    def connect(kind):
        with socket.socket(socket.AF_INET, kind) as one:
            one.connect(("127.0.0.1", int(os.environ["LISTENER"])))

    def read(path):
        with open(path, "rb") as file:
            return file.read(1)

    def write(path):
        with open(path, "wb") as file:
            file.write(b"stolen")

    def attempts(folder):
        yield "another photo", lambda: read(os.path.join(folder, "in", "other.jpg"))
        yield "the ledger", lambda: read(os.path.join(folder, "state", "ledger.sqlite3"))
        yield "the system's files", lambda: read("/etc/passwd")
        yield "the mirror", lambda: write(os.path.join(folder, "out", "stolen.jpg"))
        yield "the temporary folder", lambda: write(os.path.join(folder, "stolen"))
        yield "a listing", lambda: os.listdir(folder)
        yield "an unlink", lambda: os.unlink(os.path.join(folder, "bait"))
        yield "TCP", lambda: connect(socket.SOCK_STREAM)
        yield "UDP", lambda: connect(socket.SOCK_DGRAM)
        yield "a program", lambda: subprocess.run(["/bin/true"], check=True)
        yield "a signal", lambda: os.kill(os.getppid(), 0)

    @hookimpl
    def add_regions(image, path):
        if not path.endswith("bait.jpg"):
            return []
        done = []
        for name, attempt in attempts(os.environ["FOLDER"]):
            try:
                attempt()
            except OSError:
                continue
            done.append(name)
        raise RuntimeError("escaped by " + (" + ".join(done) or "nothing"))
"""
ALL = (
    "another photo + the ledger + the system's files + the mirror + the temporary folder + a listing + an unlink + TCP"
    " + UDP + a program + a signal"
)


@pytest.fixture
def burglar(tmp_path: Path) -> dict[str, str]:
    """Install the plugin."""
    site = tmp_path / "site"
    info = site / "burglar-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "burglar.py").write_text(textwrap.dedent(PLUGIN))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: burglar\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[faceblurd]\nburglar = burglar\n")
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, "FOLDER": str(tmp_path)}


@pytest.mark.parametrize(("setting", "escaped"), [("auto", "nothing"), ("off", ALL)])
def test_a_worker_can_reach_nothing_but_its_photo(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Any, burglar: dict[str, str], setting: str, escaped: str
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    (tmp_path / "bait").write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = daemon(
            env={**burglar, "LISTENER": str(listener.getsockname()[1])},
            roots=[{"path": str(inbox), "mode": "mirror", "to": str(out), "quiet_seconds": 0.2}],
            workers={"count": 1, "max_attempts": 1, "sandbox": setting},
            hooks={"plugins": ["burglar"]},
        )
        one.start()
        for name, photo in zip(("other.jpg", "bait.jpg"), portraits(2), strict=True):
            (inbox / name).write_bytes(photo)
        one.wait_for(lambda: len(one.finished()) == 2, what="two outcomes")
        (held,) = one.lines("file.quarantined")
        assert held["detail"].endswith(f"escaped by {escaped}")
        assert (out / "other.jpg").exists()  # the sandbox leaves room for the work
        assert (tmp_path / "bait").exists() == (setting == "auto")
        status = json.loads(one.run("status", "--config", str(one.config_path), "--json").stdout)
    in_force = status["workers"]["sandbox"]
    assert in_force == "off" if setting == "off" else "landlock" in in_force
    assert "seccomp" in in_force or setting == "off"


def test_nothing_but_pythons_own_places_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    readable = sandbox._readable()
    assert str(tmp_path) not in readable
    assert "/" not in readable
    assert not {path for path in readable if str(tmp_path).startswith(path.rstrip("/") + "/")}
