"""Mounts that only a test and its processes see: disks, a share that misbehaves when told to, and a daemon on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from disks import Disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND = str(Path(sys.executable).with_name("faceblurd"))


class Namespace:
    """A mount namespace: it goes away with its mounts when the last process in it does, whatever became of the test."""

    def __init__(self) -> None:
        """Hold it by a process that ends with its standard input, so at the latest with this one."""
        arguments = ["unshare", "-m", "sh", "-c", "echo ready; exec cat"]
        self._holder = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            self.close()
            pytest.skip("no mount namespaces here")

    @property
    def inside(self) -> list[str]:
        """Put this before a command, so that it runs in here."""
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"]

    @property
    def mounts(self) -> str:
        """Tell what is mounted here (mountinfo)."""
        return Path(f"/proc/{self._holder.pid}/mountinfo").read_text(encoding="utf-8")

    def run(self, *command: str | Path) -> str:
        """Run a command in here to its end, which must be a good one, and give what it says."""
        done = subprocess.run([*self.inside, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def seen(self, path: str | Path) -> Path:
        """Give the path by which a process outside sees what is at `path` in here."""
        return Path(f"/proc/{self._holder.pid}/root{path}")

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


class Share:
    """A FUSE share in a namespace of its own; see share.py for what it can be told."""

    def __init__(
        self, folder: Path, namespace: Namespace, wait_until: Callable[..., Any], ways: tuple[str, ...]
    ) -> None:
        self.mounted, self.behind, self._orders = folder / "mounted", folder / "behind", folder / "orders"
        self.namespace, self._wait_until, self._ways = namespace, wait_until, ways
        self._process: subprocess.Popen[bytes] | None = None
        for path in (self.mounted, self.behind):
            path.mkdir(parents=True)
        self.tell("ok")

    @property
    def inside(self) -> list[str]:
        """Put this before a command that is to see the share at `mounted`; elsewhere that is an empty folder."""
        return self.namespace.inside

    @property
    def hangs(self) -> bool:
        """Whether somebody hangs in a call since it was told to hang."""
        return self._orders.with_name("orders.hanging").exists()

    def tell(self, order: str) -> None:
        """`ok`, `hang [PATH]` or `errno ESTALE [PATH]`; holds from the next call on, and lets go whoever hangs."""
        self._orders.with_name("orders.new").write_text(order)
        self._orders.with_name("orders.new").replace(self._orders)
        self._orders.with_name("orders.hanging").unlink(missing_ok=True)

    def mount(self) -> None:
        """Mount it, as at the start, or again."""
        script = Path(__file__).with_name("share.py")
        arguments = [*self.inside, sys.executable, script, self.mounted, self.behind, self._orders, *self._ways]
        with self._orders.with_name("share.log").open("ab") as log:
            self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=log, stderr=log)
        self._wait_until(lambda: self._ended or f" {self.mounted} " in self.namespace.mounts, what="the share's mount")
        assert not self._ended, self._orders.with_name("share.log").read_text()

    @property
    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def unmount(self) -> None:
        """Take the mount away, as `umount -l` does: the empty folder below comes out; open files stay as they are."""
        self.namespace.run("umount", "-l", self.mounted)

    def die(self) -> None:
        """End its process by force: calls get ENOTCONN until it is unmounted, and whoever hangs is let go."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


class Service:
    """A `faceblurd run` in the namespace; its state is on the machine's own disk."""

    def __init__(self, folder: Path, inside: list[str], wait_until: Callable[..., Any], config: dict[str, Any]) -> None:
        self.inside, self._wait_until = inside, wait_until
        self.state, self.config, self._log = folder / "state", folder / "config.yaml", folder / "log"
        self.config.write_text(json.dumps({"state_dir": str(self.state), **config}))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        before = len(self.lines("daemon.started"))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*self.inside, COMMAND, "run", "--config", self.config], stderr=log)
        self.wait_for(lambda: len(self.lines("daemon.started")) > before, what="the daemon")

    def scan(self) -> int:
        """Catch up once, as cron would; give the exit code."""
        with self._log.open("ab") as log:
            command = [*self.inside, COMMAND, "scan", "--config", self.config]
            return subprocess.run(command, stderr=log, timeout=300, check=False).returncode

    def lines(self, *events: str) -> list[dict[str, Any]]:
        """Log lines so far, of the given events (all without any)."""
        lines = []
        for line in self._log.read_text(errors="replace").splitlines() if self._log.exists() else []:
            with suppress(ValueError):  # half a line, or a traceback
                lines.append(json.loads(line))
        return [line for line in lines if not events or line["event"] in events]

    def status(self) -> dict[str, Any]:
        """What the daemon says of itself, and what is held."""
        command = [*self.inside, COMMAND, "status", "--json", "--state-dir", self.state]
        return dict(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))

    def wait_for(self, condition: Callable[[], Any], *, seconds: float = 300, what: str) -> Any:
        try:
            return self._wait_until(lambda: self._has_ended or condition(), seconds=seconds, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._last_words()}") from None
        finally:
            assert not self._has_ended, self._last_words()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if '"root.scanned"' not in line][-20:])

    @property
    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> int:
        assert self._process is not None
        process, self._process = self._process, None
        process.terminate()
        try:
            return process.wait(300)
        finally:
            process.kill()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A mount namespace that goes away after the test."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    namespace = Namespace()
    yield namespace
    namespace.close()


@pytest.fixture
def daemon(daemon: Callable[..., Any], cheapest: dict[str, Any]) -> Callable[..., Any]:
    """Make daemons as everywhere, but with the detector that costs least: what is tested here is not the search."""
    return lambda **config: daemon(**{**cheapest, **config})


@pytest.fixture
def new_share(tmp_path: Path, namespace: Namespace, wait_until: Callable[..., Any]) -> Iterator[Callable[..., Share]]:
    """Make shares: `new_share("ignore-case")`."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("this kernel has no FUSE")
    if find_spec("mfusepy") is None or find_library("fuse3") is None:
        assert not os.environ.get("CI"), "mfusepy or libfuse3 is missing: .ci/run installs them"
        pytest.skip("a share needs mfusepy and libfuse3")
    shares: list[Share] = []

    def make(*ways: str) -> Share:
        shares.append(Share(tmp_path / f"share{len(shares) or ''}", namespace, wait_until, ways))
        shares[-1].mount()
        return shares[-1]

    yield make
    for share in shares:
        share.die()


@pytest.fixture
def share(new_share: Callable[..., Share]) -> Share:
    """One share that behaves, until it is told not to."""
    return new_share()


@pytest.fixture
def new_disk(tmp_path: Path, namespace: Namespace) -> Iterator[Callable[..., Disk]]:
    """Make file systems that are not mounted yet: `new_disk("ext4")`; see disks.py."""
    made: list[Disk] = []

    def make(kind: str) -> Disk:
        made.append(Disk(kind, tmp_path / f"disk{len(made) or ''}", namespace))
        return made[-1]

    yield make
    for disk in made:
        disk.close()


@pytest.fixture
def new_service(
    tmp_path: Path, namespace: Namespace, wait_until: Callable[..., Any], cheapest: dict[str, Any]
) -> Iterator[Callable[..., Service]]:
    """Make a daemon for some roots, not started yet; it ends with the test.

    `powers=False`: it is root without capabilities, so an ordinary user, for whom the modes of files count (and one who
    may run a Python below /root, where many have it).
    """
    made: list[Service] = []

    def make(*roots: dict[str, Any], powers: bool = True, **workers: Any) -> Service:
        quick = {"quiet_seconds": 0.2, "rescan_seconds": 1}
        config = {**cheapest, "roots": [quick | root for root in roots], "workers": {"count": 1, **workers}}
        powerless = [] if powers else ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--"]
        made.append(Service(tmp_path, [*namespace.inside, *powerless], wait_until, config))
        return made[-1]

    yield make
    for service in made:
        service.close()
