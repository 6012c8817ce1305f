"""The systemd files: clean, tight, and loose enough for what faceblurd does."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
NAMES = ["faceblurd.service", "faceblurd@.service"]
FILTER = Path(__file__).with_name("under_unit_filter.py")
HIGHEST_EXPOSURE = 1.0

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is absent")
needs_seccomp = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import ctypes; ctypes.CDLL('libseccomp.so.2')"], check=False).returncode != 0
    or shutil.which("systemd-analyze") is None,
    reason="libseccomp or systemd-analyze is absent",
)

# What the daemon and its workers do beyond reading and writing, each in one line that raises when it is refused.
DEEDS = {
    "tmpfile-and-link": """
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600); os.write(fd, b"x"); os.fsync(fd)
        here = os.open(".", os.O_RDONLY); os.link(f"/proc/self/fd/{fd}", "made", dst_dir_fd=here, src_dir_fd=here)
        os.fsync(here); os.posix_fallocate(fd, 0, 4096)""",
    "keep-owner-mode-times-and-attributes": """
        fd = os.open("f", os.O_CREAT | os.O_RDWR, 0o600); os.fchown(fd, os.getuid(), os.getgid()); os.fchmod(fd, 0o640)
        os.utime(fd, ns=(1, 1)); os.listxattr(fd)""",
    "exchange": """
        import ctypes; open("a", "w").close(); open("b", "w").close(); libc = ctypes.CDLL(None, use_errno=True)
        assert libc.renameat2(-100, b"a", -100, b"b", 2) == 0, os.strerror(ctypes.get_errno())""",
    "lease-and-lock": """
        import fcntl; fd = os.open("l", os.O_CREAT | os.O_RDWR, 0o600); fcntl.flock(fd, fcntl.LOCK_EX)
        os.close(fd); fd = os.open("l", os.O_RDONLY); fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)""",
    "parent-death-signal-and-limits": """
        import ctypes, resource; assert ctypes.CDLL(None).prctl(1, 9, 0, 0, 0) == 0
        resource.setrlimit(resource.RLIMIT_AS, (1 << 36, 1 << 36)); os.nice(1); os.sched_getaffinity(0)""",
    "spawned-workers-with-descriptors": """
        import socket, subprocess, sys; ours, theirs = socket.socketpair()
        code = "import socket, sys; print(socket.recv_fds(socket.socket(fileno=int(sys.argv[1])), 1, 1)[1])"
        child = subprocess.Popen([sys.executable, "-P", "-c", code, str(theirs.fileno())], pass_fds=[theirs.fileno()])
        pidfd = os.pidfd_open(child.pid); socket.send_fds(ours, [b"x"], [pidfd]); assert child.wait() == 0""",
    "workers-in-their-sandbox": """
        import ctypes; from faceblurd.workers import sandbox; from faceblurd.workers.sandbox import landlock
        libc = ctypes.CDLL(None)
        assert libc.prctl(38, 1, 0, 0, 0) == 0; held = sandbox.enter(most_file_bytes=1 << 30)
        assert held.startswith((f"landlock {landlock.version()}, " if landlock.version() else "") + "seccomp"), held""",
    "watch": """
        import watchdog.observers, watchdog.events; observer = watchdog.observers.Observer()
        observer.schedule(watchdog.events.FileSystemEventHandler(), "."); observer.start(); observer.stop()
        observer.join()""",
    "ledger": """
        import sqlite3; db = sqlite3.connect("ledger")
        assert db.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        db.execute("CREATE TABLE t (x)"); db.commit()""",
    "command-hook": """
        from faceblurd.plugins.command import fire_once; assert fire_once(["true"], {}, 9.0) == (0, "")
        assert fire_once(["sleep", "60"], {}, 0.1)[0] == -9""",
    "notify": """
        from faceblurd.report.sd_notify import Notifier; import socket
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind("n")
        Notifier({"NOTIFY_SOCKET": os.getcwd() + "/n"}).ready()
        assert s.recv(99) == b"READY=1" """,
    "opencv-and-pillow": """
        import io, cv2, numpy as np; from PIL import Image; cv2.setNumThreads(2); a = np.zeros((300, 300), np.uint8)
        cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml").detectMultiScale(a, 1.1, 4)
        from faceblurd.imaging.detect import open_detectors; from faceblurd.config.recipes import builtin_recipe
        open_detectors(builtin_recipe("balanced").detection)[0].detect(cv2.cvtColor(a, cv2.COLOR_GRAY2BGR))
        Image.fromarray(a).save(io.BytesIO(), "JPEG"); Image.fromarray(a).save(io.BytesIO(), "WEBP")""",
}
REFUSED = {
    "network": "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "mount": (  # refused before the missing folder is noticed
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "libc.mount(b'none', b'/nonexistent', b'tmpfs', 0, None)\nassert ctypes.get_errno() != 1"
    ),
    "root-change": "os.chroot('.')",
    "other-user": "os.setuid(1)",
    "host-name": "import socket\nsocket.sethostname(socket.gethostname())",
}


def copy_with_a_real_command(folder: Path) -> list[Path]:
    """`verify` asks that ExecStart exists, which is so only after docs/install.md."""
    for name in NAMES:
        unit = (UNITS / name).read_text().replace("/opt/faceblurd/bin/faceblurd", "/usr/bin/env")
        (folder / name).write_text(unit)
    return [folder / "faceblurd.service", folder / "faceblurd@garden.service"]


@needs_systemd
def test_systemd_finds_nothing_to_say_about_the_units(tmp_path: Path) -> None:
    for unit in copy_with_a_real_command(tmp_path):
        done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("name", NAMES)
def test_the_exposure_is_small(name: str) -> None:
    analyze = ["systemd-analyze", "security", "--offline=true", str(UNITS / name)]
    done = subprocess.run(analyze, capture_output=True, text=True, check=True)
    score = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert score
    assert float(score[1]) <= HIGHEST_EXPOSURE


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is absent")
def test_the_user_has_a_group_of_its_own_and_no_shell(tmp_path: Path) -> None:
    create = ["systemd-sysusers", "--dry-run", f"--root={tmp_path}", "--inline"]
    lines = [line for line in (UNITS / "sysusers.d" / "faceblurd.conf").read_text().splitlines() if line[0] != "#"]
    done = subprocess.run([*create, *lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        "Would create group 'faceblurd'" in (said := done.stdout + done.stderr) or "Creating group 'faceblurd'" in said
    )
    assert lines[0].endswith("/usr/sbin/nologin")


@needs_seccomp
@pytest.mark.parametrize("deed", DEEDS)
def test_the_filter_lets_faceblurd_do_its_work(deed: str, tmp_path: Path) -> None:
    done = confined("\n".join(line.strip() for line in DEEDS[deed].strip().splitlines()), tmp_path)
    assert done.returncode == 0, done.stderr


@needs_seccomp
@pytest.mark.parametrize("deed", REFUSED)
def test_the_filter_refuses_the_rest(deed: str, tmp_path: Path) -> None:
    assert confined(REFUSED[deed], tmp_path).returncode == 1


def confined(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = folder / "deed.py"
    script.write_text(
        "import os\nif __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in code.splitlines())
    )
    command = [sys.executable, str(FILTER), str(UNITS / "faceblurd.service"), sys.executable, str(script)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def settings(name: str) -> list[str]:
    """Give the unit without comments and without what an instance must have of its own."""
    text = (UNITS / name).read_text().replace("%i.yaml", "config.yaml").replace("/%i", "")
    return [line for line in text.splitlines() if line and not line.startswith(("#", "Description="))]


def test_the_two_units_differ_only_in_what_an_instance_has_of_its_own() -> None:
    assert settings(NAMES[0]) == settings(NAMES[1])
    text = (UNITS / NAMES[1]).read_text()
    assert "StateDirectory=faceblurd/%i" in text
    assert "/etc/faceblurd/%i.yaml" in text


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_the_service_has_its_reason_above_it(name: str) -> None:
    lines = (UNITS / name).read_text().split("\n[Service]\n")[1].split("\n[Install]\n")[0].splitlines()
    reasoned = False
    for line in lines:
        if line.startswith("#") and not line.startswith("# ---"):
            reasoned = True
        elif not line:
            reasoned = False
        elif "=" in line:
            assert reasoned, line
