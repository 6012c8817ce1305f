"""A plugin that tries to get out of its worker: with the sandbox nothing works, without it everything does."""

from __future__ import annotations

import json
import os
import socket
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from faceblurd.workers import sandbox
from faceblurd.workers.sandbox import landlock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PLUGIN = """
    import ctypes, errno, os, resource, socket, stat, subprocess
    from faceblurd.plugins.hookspecs import hookimpl

    NOBODY = 4_000_000  # above the highest process number
    folder = os.environ["ESCAPE_TO"]
    libc = ctypes.CDLL(None, use_errno=True)

    def passwd():
        open("/etc/passwd").close()

    def other_photo():
        open(f"{folder}/in/other.txt").close()

    def ledger():
        open(f"{folder}/state/ledger.sqlite3", "rb").close()

    def listing():
        os.listdir(f"{folder}/in")

    def write():
        open(f"{folder}/escaped", "w").close()

    def overwrite():
        open(f"{folder}/in/other.txt", "r+").close()

    def rename():
        os.rename(f"{folder}/in/victim", f"{folder}/in/moved")
        os.rename(f"{folder}/in/moved", f"{folder}/in/victim")

    def remove():
        os.unlink(f"{folder}/in/removable")

    def mode():
        os.chmod(f"{folder}/in/other.txt", 0o644)

    def link():
        os.link(f"{folder}/in/victim", f"{folder}/linked")

    def tcp():
        socket.create_connection(("127.0.0.1", int(os.environ["ESCAPE_PORT"])), 5).close()

    def udp():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"a face", ("127.0.0.1", 9))

    def abstract_socket():
        with socket.socket(socket.AF_UNIX) as one:
            one.connect("\\0" + os.environ["ESCAPE_NAME"])

    def run():
        subprocess.run(["/bin/true"], check=True)

    def fork():
        if os.fork() == 0:
            os._exit(0)

    def signal_parent():
        os.kill(os.getppid(), 0)

    def parents_secrets():
        open(f"/proc/{os.getppid()}/environ", "rb").close()

    def parents_limits():
        import resource
        resource.prlimit(os.getppid(), resource.RLIMIT_CORE)

    def trace():
        if libc.ptrace(0x4206, NOBODY, None, None) < 0 and ctypes.get_errno() == 1:  # EPERM; ESRCH: it could
            raise PermissionError

    def read_memory():
        text = ctypes.create_string_buffer(b"x")
        there = (ctypes.c_size_t * 2)(ctypes.addressof(text), 1)
        if libc.process_vm_readv(os.getpid(), there, 1, there, 1, 0) != 1:
            raise PermissionError

    def io_uring():
        if libc.syscall(425, 1, ctypes.create_string_buffer(120)) < 0 and ctypes.get_errno() == 1:
            raise PermissionError

    def refused(result):
        # For calls that would fail for another reason too: only EPERM and EACCES mean that it was not allowed.
        if result < 0 and ctypes.get_errno() in (errno.EPERM, errno.EACCES):
            raise PermissionError

    def own_descriptors():
        # Another photo through the names that the kernel has for open files, those of the parent as well.
        for number in range(3, 64):
            try:
                regular = stat.S_ISREG(os.fstat(number).st_mode)
            except OSError:  # not open
                continue
            if regular:
                os.close(os.open(f"/proc/self/fd/{number}", os.O_RDONLY))
                return
        raise PermissionError

    def parents_descriptors():
        os.listdir(f"/proc/{os.getppid()}/fd")

    def climb():
        os.close(os.open("../in/other.txt", os.O_RDONLY, dir_fd=os.open(f"{folder}/out", os.O_PATH)))

    def unix_socket():
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(f"{folder}/local")

    def netlink():
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()

    def run_from_memory():
        fd = os.memfd_create("program")
        os.write(fd, b"no program: ENOEXEC where it would be allowed")
        refused(libc.execveat(fd, b"", (ctypes.c_char_p * 1)(), (ctypes.c_char_p * 1)(), 0x1000))

    def kill_parent():
        refused(libc.kill(os.getppid(), 0) if libc.kill(0, 0) else 0)  # the group, then the parent

    def parents_memory():
        text = ctypes.create_string_buffer(8)
        here, there = ((ctypes.c_size_t * 2)(ctypes.addressof(text), 8) for _ in range(2))
        refused(libc.process_vm_readv(os.getppid(), here, 1, there, 1, 0))

    def parents_descriptor_by_pidfd():
        refused(libc.syscall(434, os.getppid(), 0))

    def parents_cores():
        os.sched_setaffinity(os.getppid(), os.sched_getaffinity(0))

    def times():
        os.utime(f"{folder}/in/other.txt", (1, 1))

    def attribute():
        os.setxattr(f"{folder}/in/other.txt", "user.escaped", b"x")

    def folder_():
        os.mkdir(f"{folder}/made")

    def cut():
        os.truncate(f"{folder}/in/other.txt", 3)

    def limits():
        for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_AS):
            soft, hard = resource.getrlimit(what)
            try:
                resource.setrlimit(what, (soft, hard))
            except ValueError as error:
                raise PermissionError from error

    def clock():
        # No clock has that number: EINVAL where it would be allowed.
        refused(libc.syscall({"x86_64": 227, "aarch64": 112}[os.uname().machine], 99, None))

    def new_namespace():
        refused(libc.unshare(1))  # no namespace has that number

    WAYS = [own_descriptors, parents_descriptors, climb, unix_socket, netlink, run_from_memory, kill_parent,
            parents_memory, parents_descriptor_by_pidfd, parents_cores, times, attribute, folder_, cut, limits, clock,
            new_namespace,
            passwd, other_photo, ledger, listing, write, overwrite, rename, remove, mode, link, tcp, udp,
            abstract_socket, run, fork, signal_parent, parents_secrets, parents_limits, trace, read_memory, io_uring]

    def works(way):
        try:
            way()
        except OSError:
            return False
        return True

    @hookimpl
    def add_regions(image, path):
        if "escape" in path:
            raise RuntimeError("WORKED " + " ".join(str(at) for at, way in enumerate(WAYS) if works(way)))
        return []
"""
WAYS = (
    "own_descriptors parents_descriptors climb unix_socket netlink run_from_memory kill_parent"
    " parents_memory parents_descriptor_by_pidfd parents_cores times attribute folder_ cut limits clock new_namespace"
    " passwd other_photo ledger listing write overwrite rename remove mode link tcp udp abstract_socket run"
    " fork signal_parent parents_secrets parents_limits trace read_memory io_uring"
)


@pytest.fixture
def intruder(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The plugin, really installed; and what it may reach: files, a listener, a socket without a file."""
    info = tmp_path / "site" / "intruder-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "intruder.py").write_text(textwrap.dedent(PLUGIN))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: intruder\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[faceblurd]\nintruder = intruder\n")
    (tmp_path / "in").mkdir()
    for name in ("other.txt", "victim", "removable"):
        (tmp_path / "in" / name).write_text("private")
    name = f"faceblurd-test-{os.getpid()}-{tmp_path.name}"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as local,
        socket.socket(socket.AF_UNIX) as named,
    ):
        named.bind(str(tmp_path / "local"))
        named.listen()
        local.bind(f"\0{name}")
        local.listen()
        yield {
            "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]),
            "ESCAPE_TO": str(tmp_path), "ESCAPE_PORT": str(server.getsockname()[1]), "ESCAPE_NAME": name,
        }  # fmt: skip


def escapes(
    make: Callable[..., Any],
    folder: Path,
    photos: list[bytes],
    env: dict[str, str],
    workers: dict[str, Any],
    **more: Any,
) -> tuple[Any, set[str]]:
    """Run the intruder on a photo, then an honest one; give the daemon and what worked."""
    one = make(
        env=env,
        roots=[{"path": str(folder / "in"), "mode": "mirror", "to": str(folder / "out"), "quiet_seconds": 0.1}],
        workers={"count": 1, "max_attempts": 1, **workers}, hooks={"plugins": ["intruder"]}, **more,
    )  # fmt: skip
    one.start()
    for name, photo in zip(("escape.jpg", "honest.jpg"), photos, strict=True):
        (folder / "in" / name).write_bytes(photo)
    one.wait_for(lambda: len(one.finished()) == 2, what="two outcomes")
    assert (folder / "out" / "honest.jpg").exists()
    detail: str = one.lines("file.quarantined")[0]["detail"]
    assert "WORKED" in detail, detail
    return one, {WAYS.split()[int(at)] for at in detail.partition("WORKED")[2].split()}


def test_a_plugin_gets_out_of_no_worker(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Any, intruder: dict[str, str]
) -> None:
    one, worked = escapes(daemon, tmp_path, portraits(2), intruder, {})
    assert worked == set()
    status = json.loads(one.run("status", "--config", str(one.config_path), "--json").stdout)
    abi = landlock.version()
    gap = "" if abi else " (no landlock: the kernel has no landlock)"
    assert status["workers"]["sandbox"] == (f"landlock {abi}, " if abi else "") + f"seccomp, limits{gap}"
    assert [line["sandbox"] for line in one.lines("daemon.started")] == [status["workers"]["sandbox"]]
    shown = one.run("status", "--config", str(one.config_path)).stdout
    assert f"sandbox of workers: {status['workers']['sandbox']}" in shown


def test_without_the_sandbox_every_way_out_is_open_and_status_says_so(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Any, intruder: dict[str, str]
) -> None:
    one, worked = escapes(daemon, tmp_path, portraits(2), intruder, {"sandbox": "off"})
    assert worked == set(WAYS.split())
    assert "sandbox of workers: off" in one.run("status", "--config", str(one.config_path)).stdout


@pytest.mark.slow
def test_tensorflow_works_in_the_sandbox_and_gets_no_further(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Any, intruder: dict[str, str]
) -> None:
    pytest.importorskip("tensorflow")
    memory = {"memory_limit_mb": 3000}
    one, worked = escapes(daemon, tmp_path, portraits(2), intruder, memory, blur={"engine": "tensorflow"})
    assert worked == set()
    in_force = one.lines("daemon.started")[0]["sandbox"]
    assert not landlock.version() or "main thread only" in in_force  # TensorFlow's threads are older than the sandbox


def test_nothing_but_pythons_own_places_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    readable = sandbox.readable()
    assert "/" not in readable
    assert not {path for path in readable if str(tmp_path).startswith(path.rstrip("/") + "/")}
    assert str(tmp_path) not in readable
