"""What is no photo, or has a name or attributes that nobody gives in good faith, in the roots of one daemon."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND = str(Path(sys.executable).with_name("faceblurd"))
DONE = ("file.published", "file.clean", "file.quarantined")
NAMES = (
    b"two\nlines.jpg",
    b'forged\r\n{"event": "file.published", "path": "x"}.jpg',
    b"\x1b[2J\x1b[31mred\x07.jpg",
    b"\x9b31mred.jpg",
    "\u202egpj.exe\u2066.jpg".encode(),
    "line\u2028separator\ufeff.jpg".encode(),
    b"\xff\xfe\xc3.jpg",
    b"-rf.jpg",
    b"--config=evil.jpg",
    b"..jpg",
    b"....jpg",
    b" .jpg",
    b"$(touch evil) `id` %s %n.jpg",
    b"n" * 251 + b".jpg",
)
ODD_PARENTS = (b"...", b"-d", b"a\nb", b"\x1b]0;title\x07", b"\xfe\xed")
MARKER = (200, 40, 200)
RAW = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x202E, 0x2066, 0x2028, 0xFEFF) if chr(code) != "\n"]


def encoded(picture: np.ndarray[Any, Any]) -> bytes:
    return cv2.imencode(".jpg", picture)[1].tobytes()


@pytest.fixture(scope="module")
def photo(astronaut_jpeg: bytes) -> bytes:
    return encoded(cv2.imdecode(np.frombuffer(astronaut_jpeg, np.uint8), cv2.IMREAD_COLOR)[20:240, 110:330])


class Place:
    """Two roots, a daemon, its log, and what its hook was told."""

    def __init__(
        self, top: Path, log_format: str, wait: Callable[..., Any], detectors: dict[str, Any], **root: Any
    ) -> None:
        self.top, self.wait, self.log = top, wait, top / "log"
        self.inbox, self.out, self.in_place = top / "in", top / "out", top / "in_place"
        for folder in (self.inbox, self.in_place):
            folder.mkdir()
        quick = {"quiet_seconds": 0.1, "settle_max_seconds": 3, "rescan_seconds": 2, **root}
        roots = [
            {"path": str(self.inbox), "mode": "mirror", "to": str(self.out), **quick},
            {"path": str(self.in_place), "mode": "in_place", **quick},
        ]
        note = ["sh", "-c", 'cat >>"$0"; printf "\\0" >>"$0"', str(top / "told")]
        config = {
            "state_dir": str(top / "state"), **detectors, "roots": roots, "logging": {"format": log_format},
            "workers": {"count": 2, "max_attempts": 2, "retry_seconds": 0.1},
            "hooks": {"command": note},
        }  # fmt: skip
        (top / "config.yaml").write_text(json.dumps(config))
        self.daemon = subprocess.Popen(
            [COMMAND, "run", "--config", top / "config.yaml"], stderr=self.log.open("wb"), cwd=top
        )
        wait(lambda: b"daemon.started" in self.log.read_bytes(), what="the daemon")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        config = ["--config", str(self.top / "config.yaml")]
        at = arguments.index("--") if "--" in arguments else len(arguments)
        line = [COMMAND, *arguments[:at], *config, *arguments[at:]]
        return subprocess.run(line, capture_output=True, check=False, timeout=300)

    def finished(self) -> dict[str, dict[str, Any]]:
        lines = (json.loads(line) for line in self.log.read_text().split("\n") if line.startswith("{"))
        return {line["path"]: line for line in lines if line["event"] in DONE}

    def wait_for(self, *paths: Path) -> dict[str, dict[str, Any]]:
        wanted = {str(path) for path in paths}
        self.wait(lambda: self.daemon.poll() is not None or wanted <= self.finished().keys(), what=str(wanted))
        assert self.daemon.poll() is None, self.log.read_text()[-3000:]
        return self.finished()

    def close(self) -> None:
        self.daemon.kill()
        self.daemon.wait()


@pytest.fixture
def place(tmp_path: Path, wait_until: Callable[..., Any], cheapest: dict[str, Any]) -> Iterator[Callable[..., Place]]:
    made: list[Place] = []

    def make(*, log_format: str = "json", **root: Any) -> Place:
        made.append(Place(tmp_path, log_format, wait_until, cheapest, **root))
        return made[0]

    yield make
    for one in made:
        one.close()


def in_bytes(folder: Path, name: bytes) -> bytes:
    return os.path.join(os.fsencode(folder), name)


def put(path: bytes, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def lands(path: bytes, wait: Callable[..., Any]) -> None:
    wait(lambda: os.path.exists(path), what=repr(path))


@pytest.mark.parametrize("log_format", ["json", pytest.param("console", marks=pytest.mark.slow)])
def test_no_name_forges_a_line_or_reaches_a_terminal(
    place: Callable[..., Place], photo: bytes, wait_until: Callable[..., Any], log_format: str
) -> None:
    here = place(log_format=log_format)
    names = [*NAMES, *(os.path.join(parent, b"x.jpg") for parent in ODD_PARENTS)]
    for name in names:
        put(in_bytes(here.inbox, name), photo)
        put(in_bytes(here.in_place, name), b"no photo at all")  # held: shown by status and by the quarantine
    for name in names:
        if not name.startswith(b".../"):  # a hidden folder, which a mirror leaves alone
            lands(in_bytes(here.out, name), wait_until)
    held = len(names)
    wait_until(lambda: b"held files: %d" % held in here.run("status").stdout, what="all held")
    wait_until(
        lambda: (here.top / "told").exists() and (here.top / "told").read_bytes().count(b"\0") >= 2 * held - 1,
        what="the hook",
    )  # fmt: skip
    shown = {
        "log": here.log.read_bytes(),
        "status": here.run("status").stdout,
        "status as JSON": here.run("status", "--json").stdout,
        "quarantine": here.run("quarantine", "list").stdout,
        "quarantine as JSON": here.run("quarantine", "list", "--json").stdout,
    }
    for what, raw in shown.items():
        text = raw.decode("utf-8")  # strictly
        assert [character for character in RAW if character in text] == [], what
    assert len(shown["quarantine"].splitlines()) == held
    assert all(line.startswith(b"unsupported ") for line in shown["quarantine"].splitlines())
    assert b'\n{"event": "file.published", "path": "x"}' not in shown["log"]
    if log_format == "json":
        paths = {line["path"] for line in map(json.loads, shown["log"].splitlines()) if "path" in line}
        assert len([path for path in paths if path.startswith(str(here.in_place))]) == held
    told = [json.loads(one) for one in (here.top / "told").read_bytes().split(b"\0") if one]
    assert {one["outcome"] for one in told} == {"published", "unsupported"}
    assert not (here.top / "evil").exists()


def test_what_quarantine_list_shows_can_be_given_back_to_it(
    place: Callable[..., Place], wait_until: Callable[..., Any]
) -> None:
    here = place()
    for name in NAMES:
        put(in_bytes(here.inbox, name), b"no photo at all")
    wait_until(
        lambda: len(here.run("quarantine", "list").stdout.splitlines()) == len(NAMES), seconds=60, what="all held"
    )
    shown = here.run("quarantine", "list").stdout.decode().splitlines()
    dropped = here.run("quarantine", "drop", "--", *(line[19:].rpartition("  (")[0] for line in shown))
    assert dropped.returncode == 0, dropped
    assert here.run("quarantine", "list").stdout == b""


def test_blur_as_json_and_as_text_shows_no_raw_bytes(tmp_path: Path, photo: bytes) -> None:
    for name in NAMES:
        put(in_bytes(tmp_path / "in", name), photo)
        put(in_bytes(tmp_path / "in", b"bad " + name[-240:]), b"no photo")
    for more in ([], ["--json"]):
        line = [COMMAND, "blur", str(tmp_path / "in"), "--to", str(tmp_path / f"out{len(more)}"), *more]
        line += ["--recipe", "classic"]  # starts soonest
        done = subprocess.run(line, capture_output=True, check=False, timeout=300)
        assert done.returncode == 3, done.stderr
        for text in (done.stdout.decode(), done.stderr.decode()):
            assert [character for character in RAW if character in text] == []
        if more:
            assert len([json.loads(one) for one in done.stdout.splitlines()]) == 2 * len(NAMES)


def test_what_is_no_file_is_not_opened_and_stops_nobody(
    place: Callable[..., Place], photo: bytes, tmp_path: Path
) -> None:
    here = place()
    (tmp_path / "secret").write_bytes(photo)
    sockets = []
    for root in (here.inbox, here.in_place):
        os.mkfifo(root / "fifo.jpg")
        with suppress(PermissionError):
            os.mknod(root / "null.jpg", stat.S_IFCHR | 0o666, os.makedev(1, 3))
            os.mknod(root / "zero.jpg", stat.S_IFCHR | 0o666, os.makedev(1, 5))
            os.mknod(root / "loop.jpg", stat.S_IFBLK | 0o666, os.makedev(7, 0))
        sockets.append(socket.socket(socket.AF_UNIX))
        sockets[-1].bind(str(root / "socket.jpg"))
        (root / "folder.jpg").mkdir()
        (root / "shadow.jpg").symlink_to("/etc/shadow")
        (root / "secret.jpg").symlink_to(tmp_path / "secret")
        (root / "dangling.jpg").symlink_to("nowhere.jpg")
        (root / "itself.jpg").symlink_to("itself.jpg")
        (root / "up").symlink_to("..")
        (root / "honest.jpg").write_bytes(photo)
        (root / "folder.jpg" / "in a folder.jpg").write_bytes(photo)
    honest = ("honest.jpg", "folder.jpg/in a folder.jpg")
    said = here.wait_for(*(root / name for root in (here.inbox, here.in_place) for name in honest))
    assert set(said) == {str(root / name) for root in (here.inbox, here.in_place) for name in honest}
    shown = {path.relative_to(here.out).as_posix() for path in here.out.rglob("*")}
    assert shown == {"honest.jpg", "folder.jpg", "folder.jpg/in a folder.jpg"}
    assert (tmp_path / "secret").read_bytes() == photo
    for one in sockets:
        one.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes a file of somebody else")
def test_a_hard_link_to_a_file_of_somebody_else_is_held(place: Callable[..., Place], tmp_path: Path) -> None:
    here, secret = place(), tmp_path / "shadow"
    secret.write_bytes(encoded(np.full((200, 200, 3), MARKER, np.uint8)))
    secret.chmod(0o600)
    for root in (here.inbox, here.in_place):
        os.chown(root, 65534, 65534)
        os.link(secret, root / "linked.jpg")
    before = secret.read_bytes(), secret.stat()
    said = here.wait_for(here.inbox / "linked.jpg", here.in_place / "linked.jpg")
    assert {line["reason"] for line in said.values()} == {"hard_link"}
    assert not here.out.exists() or not list(here.out.iterdir())
    assert (secret.read_bytes(), secret.stat().st_ino, secret.stat().st_mode) == (
        before[0],
        before[1].st_ino,
        before[1].st_mode,
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes a file of somebody else")
def test_with_leave_a_hard_link_becomes_a_copy_that_nobody_else_can_read(
    place: Callable[..., Place], photo: bytes, tmp_path: Path
) -> None:
    here, secret = place(hard_links="process"), tmp_path / "shadow"
    secret.write_bytes(photo)
    secret.chmod(0o600)
    os.chown(secret, 4711, 4712)
    for root in (here.inbox, here.in_place):
        os.link(secret, root / "linked.jpg")
    here.wait_for(here.inbox / "linked.jpg", here.in_place / "linked.jpg")
    for result in (here.out / "linked.jpg", here.in_place / "linked.jpg"):
        st = result.stat()
        assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode), st.st_nlink) == (4711, 4712, 0o600, 1)
    assert secret.read_bytes() == photo


def test_a_result_is_never_a_program_with_rights(place: Callable[..., Place], photo: bytes) -> None:
    here = place()
    for mode in (0o4755, 0o2775, 0o1777, 0o7777):
        for root in (here.inbox, here.in_place):
            source = root.parent / f"{mode:o}.new"
            source.write_bytes(photo)
            source.chmod(mode)
            source.rename(root / f"{mode:o}.jpg")
    names = [f"{mode:o}.jpg" for mode in (0o4755, 0o2775, 0o1777, 0o7777)]
    here.wait_for(*(root / name for root in (here.inbox, here.in_place) for name in names))
    mine = {"4755.jpg": 0o755, "2775.jpg": 0o775, "1777.jpg": 0o777, "7777.jpg": 0o777}
    new = 0o666 & ~int(Path("/proc/self/status").read_text().split("Umask:")[1].split()[0], 8)  # what a mirror's get
    for folder, wanted in ((here.out, dict.fromkeys(names, new)), (here.in_place, mine)):
        modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in names}
        assert modes == wanted


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _bytes_read(pid: int) -> int:
    """Count what a process has read, from files and from the cache."""
    return int(Path(f"/proc/{pid}/io").read_text().split("rchar: ")[1].split()[0])


def test_a_hole_of_a_terabyte_is_held_without_being_read(place: Callable[..., Place]) -> None:
    here = place()
    for root in (here.inbox, here.in_place):
        with (root / "hole.jpg").open("wb") as hole:
            hole.truncate(1 << 40)
    said = here.wait_for(here.inbox / "hole.jpg", here.in_place / "hole.jpg")
    assert {line["reason"] for line in said.values()} == {"too_large"}
    pids = [here.daemon.pid, *map(int, _children(here.daemon.pid))]
    assert sum(_bytes_read(pid) for pid in pids) < 1 << 30
    assert (here.in_place / "hole.jpg").stat().st_blocks == 0


def test_a_file_that_never_stops_growing_is_waited_for_in_sight_and_costs_the_others_nothing(
    place: Callable[..., Place], photo: bytes, wait_until: Callable[..., Any]
) -> None:
    here, end = place(quiet_seconds=2), threading.Event()
    endless = here.inbox / "endless.jpg"

    def grow() -> None:
        with endless.open("ab", buffering=0) as file:
            file.write(photo[:1000])
            while not end.wait(0.03):
                file.write(b"more")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        (here.inbox / "honest.jpg").write_bytes(photo)
        here.wait_for(here.inbox / "honest.jpg")
        wait_until(lambda: b"1 settling, oldest for" in here.run("status").stdout, what="status")
        assert str(endless) not in here.finished()
    finally:
        end.set()
        writer.join()
    said = here.wait_for(endless)
    assert said[str(endless)]["reason"] == "incomplete"
    assert {path.name for path in here.out.iterdir()} == {"honest.jpg"}


def test_times_from_other_centuries_are_kept(place: Callable[..., Place], photo: bytes, tmp_path: Path) -> None:
    here = place()
    times = {"1901.jpg": -2_177_452_800, "1969.jpg": -1, "2446.jpg": 15_020_000_000, "2500.jpg": 16_725_225_600}
    for name, seconds in times.items():
        for root in (here.inbox, here.in_place):
            new = tmp_path / "new"
            new.write_bytes(photo)
            os.utime(new, ns=(0, seconds * 1_000_000_000 + 5))
            new.rename(root / name)
    kept = {name: (here.inbox / name).stat().st_mtime_ns for name in times}
    here.wait_for(*(root / name for root in (here.inbox, here.in_place) for name in times))
    assert {name: (here.out / name).stat().st_mtime_ns for name in times} == kept
    here.daemon.send_signal(signal.SIGHUP)  # a reload reads the ledger's fingerprints again
    (here.inbox / "honest.jpg").write_bytes(photo)
    here.wait_for(here.inbox / "honest.jpg")


def test_paths_near_and_past_the_longest_are_published_or_said_to_be_out_of_reach(
    place: Callable[..., Place], photo: bytes, wait_until: Callable[..., Any]
) -> None:
    here = place()
    name, deep = "d" * 200, 30  # 6 kB: past PATH_MAX, which is 4 kB
    above = os.open(here.inbox, os.O_DIRECTORY)
    for number in range(deep):
        os.mkdir(name, dir_fd=above)
        below = os.open(name, os.O_DIRECTORY, dir_fd=above)
        os.close(above)
        above = below
        if number in {5, 17, 18, 19, 25, deep - 1}:
            fd = os.open("deep.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=above)
            with open(fd, "wb") as file:
                file.write(photo)
    os.close(above)
    (here.inbox / "honest.jpg").write_bytes(photo)
    here.wait_for(here.inbox / "honest.jpg")
    lands(in_bytes(here.out, b"/".join([name.encode()] * 18) + b"/deep.jpg"), wait_until)
    wait_until(lambda: b"File name too long" in here.run("status").stdout, what="the report in status")
    assert here.daemon.poll() is None
