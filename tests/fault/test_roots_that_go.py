"""The daemon when a root goes: deleted, renamed, unmounted. It waits, touches nothing below, and goes on by itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOUNTS = {
    "unmounted": 'mount -t tmpfs none "$1/disk" && mount --bind "$1/disk" "$1/in"',
    "unbound": 'mount --bind "$1/disk" "$1/in"',  # the device stays the same
}


class Place:
    """A root and its mirror as the daemon sees them, on a disk that can be taken away."""

    def __init__(self, daemon: Any, folder: Path) -> None:
        self.daemon, self._folder = daemon, folder

    def seen(self, name: str) -> Path:
        """Give a path as the daemon sees it: it may have mounts of its own."""
        return Path(f"/proc/{self.daemon.pid}/root{self._folder}/{name}")

    def run(self, *command: str) -> None:
        """Run a command among the daemon's mounts."""
        subprocess.run(["nsenter", "-t", str(self.daemon.pid), "-m", *command], check=True)

    def status(self) -> dict[str, Any]:
        with suppress(OSError, ValueError, IndexError):
            return dict(json.loads((self.daemon.state_dir / "status.json").read_text())["roots"][0])
        return {}

    def take_away(self, fault: str) -> None:
        root = self.seen("in")
        match fault:
            case "deleted":
                shutil.rmtree(root)
            case "renamed":
                root.rename(root.with_name("elsewhere"))
            case "unmounted" | "unbound":
                self.run("umount", str(self._folder / "in"))

    def bring_back(self, fault: str) -> None:
        root = self.seen("in")
        match fault:
            case "deleted":
                root.mkdir()
            case "renamed":
                root.with_name("elsewhere").rename(root)
            case "unmounted" | "unbound":
                self.run("mount", "--bind", str(self._folder / "disk"), str(self._folder / "in"))


@pytest.fixture
def place(tmp_path: Path, daemon: Callable[..., Any], request: pytest.FixtureRequest) -> Iterator[Place]:
    """Start a daemon on one root: a plain folder, or a disk that only it sees."""
    mode, fault = request.param
    for name in ("in", "out", "disk"):
        (tmp_path / name).mkdir()
    around = []
    if fault in MOUNTS:
        around = ["unshare", "-m", "sh", "-c", f'{MOUNTS[fault]} && shift && exec "$@"', "sh", str(tmp_path)]
        if subprocess.run([*around, "true"], capture_output=True, check=False).returncode != 0:
            pytest.skip("no mounts here")
    to = {"to": str(tmp_path / "out")} if mode == "mirror" else {}
    root = {"path": str(tmp_path / "in"), "mode": mode, "quiet_seconds": 0.1, **to}
    one = daemon(roots=[root], workers={"count": 1}, around=around)
    one.start()
    yield Place(one, tmp_path)
    assert one.stop() == 0


FAULTS = ("deleted", "renamed", "unmounted", "unbound")
WAYS = [(mode, fault) for mode in ("mirror", "in_place") for fault in FAULTS]


@pytest.mark.parametrize("place", WAYS, indirect=True, ids="-".join)
@pytest.mark.slow
def test_a_root_that_goes_and_returns_is_left_alone_meanwhile_and_taken_up_again(
    place: Place, portraits: Any, face_is_hidden: Any, request: pytest.FixtureRequest
) -> None:
    mode, fault = request.node.callspec.params["place"]
    photos, root, daemon = portraits(4), place.seen("in"), place.daemon
    results = place.seen("out") if mode == "mirror" else root
    (root / "before.jpg").write_bytes(photos[0])
    daemon.wait_for(lambda: len(daemon.finished()) == 1, what="the first photo")
    before = (results / "before.jpg").read_bytes()
    assert face_is_hidden(before)

    (root / "waiting.jpg").write_bytes(photos[1])  # on its way when the root goes
    place.take_away(fault)
    daemon.wait_for(lambda: place.status().get("state") == "suspended", what="suspended")
    why = "is not mounted" if fault in MOUNTS else "is not there"
    (line,) = daemon.lines("root.suspended")
    assert (line["detail"], line["root"]) == (f"{daemon.folder / 'in'} {why}", str(daemon.folder / "in"))
    assert place.status()["problems"] == [line["detail"]]
    text = daemon.run("status", "--state-dir", str(daemon.state_dir)).stdout
    assert ": suspended" in text
    assert f"problem: {line['detail']}" in text
    if fault in MOUNTS:
        (root / "below.jpg").write_bytes(photos[2])  # into the empty mount point
        assert daemon.run("doctor", "--config", str(daemon.config_path), "--json").returncode in {0, 1}
    if mode == "mirror":
        assert (results / "before.jpg").read_bytes() == before

    place.bring_back(fault)
    daemon.wait_for(lambda: place.status().get("state") == "watching", what="watching again")
    assert len(daemon.lines("root.resumed")) == 1
    (root / "after.jpg").write_bytes(photos[3])
    expected = {"after.jpg"} if fault == "deleted" else {"after.jpg", "waiting.jpg"}
    paths = {str(daemon.folder / "in" / name) for name in {"before.jpg", *expected}}
    daemon.wait_for(lambda: paths <= set(daemon.finished()), what="the photos after it")
    for name in expected:
        assert face_is_hidden((results / name).read_bytes()), name
    if mode == "mirror" or fault != "deleted":
        assert (results / "before.jpg").read_bytes() == before
    assert {path: seen for path, seen in daemon.finished().items() if seen != ["published"]} == {}
    if fault in MOUNTS:
        place.run("umount", str(daemon.folder / "in"))
        assert sorted(os.listdir(root)) == ["below.jpg"]  # nothing was written there
        assert (root / "below.jpg").read_bytes() == photos[2]
        assert not (place.seen("out") / "below.jpg").exists()
