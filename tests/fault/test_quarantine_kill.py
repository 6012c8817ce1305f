"""A held file on its way out of its root, or back: kill -9 at each step, a full disk, a newer upload.

A process moves the file and kills itself with SIGKILL before or after its Nth call to the kernel or the ledger. N grows
until it gets to its end. Once on one file system, once on two. Each is forked from one that has imported everything: 40
interpreters a test would take 15 s.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from faceblurd.ledger.ledger import Ledger
from faceblurd.model import Entry, Fingerprint, Reason, State
from faceblurd.publish import moving
from faceblurd.publish.quarantine import Quarantine
from faceblurd.rules import decide

if TYPE_CHECKING:
    from collections.abc import Iterator

PHOTO, UPLOAD = b"a photo that could not be made safe" * 100_000, b"a newer upload"

CHILD = r"""
import errno, os, signal, sys
from pathlib import Path
from faceblurd.model import State
from faceblurd.publish import renames
from faceblurd.publish import staging as staging_files
from faceblurd.ledger.ledger import Ledger
from faceblurd.publish.quarantine import Quarantine

folder, state, act, ways = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
steps, last_step, armed = 0, -1, False

def point(function):
    def wrapped(*arguments, **named):
        step()
        result = function(*arguments, **named)
        step()
        return result
    def step():
        global steps
        if armed:
            if steps == last_step:
                os.kill(os.getpid(), signal.SIGKILL)
            steps += 1
    return wrapped

real_open, real_rename = os.open, os.rename

def without_tmpfile(path, flags, *arguments, **named):
    if flags & os.O_TMPFILE == os.O_TMPFILE:
        raise OSError(errno.EOPNOTSUPP, "no O_TMPFILE")
    return real_open(path, flags, *arguments, **named)

def without_renameat2(*_):
    raise OSError(errno.EINVAL, "no renameat2")

apart = os.stat(folder).st_dev != os.stat(state).st_dev

def upload_first(source, target, **named):
    if source == "photo.jpg" and apart == str(target).startswith(".faceblurd-"):  # the rename that takes the name away
        (folder / "new").write_bytes(b"a newer upload")
        os.replace(folder / "new", folder / "root" / "photo.jpg")
    real_rename(source, target, **named)

if "plain" in ways:
    os.open, renames.renameat2 = without_tmpfile, without_renameat2
if "upload" in ways:
    os.rename = upload_first
for module, name in ((os, "link"), (os, "rename"), (os, "unlink"), (os, "fsync"), (os, "mkdir"), (os, "rmdir"),
                     (os, "write"), (renames, "renameat2"), (staging_files, "_create"), (Ledger, "put"),
                     (Ledger, "forget")):
    setattr(module, name, point(getattr(module, name)))

def move():
    global armed
    quarantine = Quarantine(Ledger(folder / "ledger"), state / "quarantine")
    held = quarantine.held()[0]
    armed = True
    if act == "take_away":
        quarantine.take_away(held.entry)
    else:
        getattr(quarantine, act)(held)
    point(str)()

for line in sys.stdin:
    last_step = int(line)
    child = os.fork()
    if child == 0:
        try:
            move()
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Desk:
    def __init__(self, folder: Path, state: Path) -> None:
        self.folder, self.state = folder, state
        self.photo = folder / "root" / "photo.jpg"
        self.movers: dict[tuple[str, str], subprocess.Popen[str]] = {}

    def close(self) -> None:
        for mover in self.movers.values():
            mover.communicate()
        shutil.rmtree(self.state, ignore_errors=True)

    def reset(self, *, away: bool) -> None:
        for path in (self.folder / "root", self.state):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        for path in self.folder.glob("ledger*"):
            path.unlink()
        self.photo.write_bytes(PHOTO)
        os.utime(self.photo, ns=(1_500_000_000_123_456_789, 1_500_000_000_123_456_789))
        source = Fingerprint.from_stat(self.photo.lstat())
        with closing(Ledger(self.folder / "ledger")) as ledger:
            entry = Entry(str(self.photo.parent), "photo.jpg", State.QUARANTINED, "R", source, reason=Reason.DAMAGED)
            ledger.put(entry)
            if away:
                assert Quarantine(ledger, self.state / "quarantine").take_away(entry) is not None

    def killed(self, act: str, ways: str, step: int) -> bool:
        """Act in a process that dies at `step`; False when it got to its end first."""
        if (act, ways) not in self.movers:
            arguments = [sys.executable, "-c", CHILD, str(self.folder), str(self.state), act, ways]
            pipe = subprocess.PIPE
            self.movers[act, ways] = subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True)
        mover = self.movers[act, ways]
        assert mover.stdin is not None
        assert mover.stdout is not None
        mover.stdin.write(f"{step}\n")
        mover.stdin.flush()
        code = int(mover.stdout.readline())
        assert code in {0, -signal.SIGKILL}
        return code != 0

    def copies(self) -> list[Path]:
        """Every file that holds the photo, whole."""
        return self.files_with(PHOTO)

    def files_with(self, content: bytes) -> list[Path]:
        found = {path for path in (*self.folder.rglob("*"), *self.state.rglob("*")) if path.is_file()}
        return [path for path in sorted(found) if path.read_bytes() == content]

    def recover(self) -> None:
        moving.recover(self.state / "quarantine")

    def account(self) -> tuple[Entry | None, list[Path | None]]:
        """Tell what the ledger knows of the photo, and where held files lie."""
        with closing(Ledger(self.folder / "ledger")) as ledger:
            held = Quarantine(ledger, self.state / "quarantine").held()
            entry = ledger.entry(str(self.photo.parent), "photo.jpg")
            return entry, [None if one.place is None else one.place.file for one in held]

    def is_tidy(self) -> bool:
        """Whether nothing lies about: no hidden name in the root, no place without a file."""
        names = [path.name for path in self.photo.parent.iterdir()]
        quarantine = self.state / "quarantine"
        places = list(quarantine.iterdir()) if quarantine.exists() else []
        marks = [mark for place in places for mark in ("leaving", "returning", "partial") if (place / mark).exists()]
        return names in ([], ["photo.jpg"]) and all((place / "file").exists() for place in places) and not marks

    def daemon_looks(self) -> None:
        """Do what the next daemon does: recover, and judge what its first scan finds."""
        self.recover()
        with closing(Ledger(self.folder / "ledger")) as ledger:
            entry = ledger.entry(str(self.photo.parent), "photo.jpg")
            if self.photo.exists():
                seen = Fingerprint.from_stat(self.photo.lstat())
                verdict = decide.on_sight(seen, entry, recipe="R", to="/out", takes_away=True)
                if isinstance(verdict, decide.TakeAway):
                    Quarantine(ledger, self.state / "quarantine").take_away(verdict.entry)


@pytest.fixture(params=["one file system", "two file systems"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    state = tmp_path / "state"
    if request.param == "two file systems":
        state = Path(tempfile.mkdtemp(dir="/dev/shm"))
        if state.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("the temporary folder is in memory, too")
    one = Desk(tmp_path, state)
    yield one
    one.close()


def test_a_kill_on_the_way_out_leaves_the_file_whole_and_the_next_start_takes_it_away(desk: Desk) -> None:
    step, before = 0, set()
    desk.reset(away=False)
    while desk.killed("take_away", "", step):
        assert len(desk.copies()) >= 1, step
        assert all(path == desk.photo or path.name in {"file", "partial"} or path.name.startswith(".faceblurd-")
                   for path in desk.copies()), step  # fmt: skip
        before.add(desk.photo.exists())
        desk.daemon_looks()
        entry, held = desk.account()
        assert not desk.photo.exists(), step
        assert held == desk.copies(), step  # once, and listed
        assert entry is not None
        assert entry.state is State.QUARANTINED
        assert desk.is_tidy(), step
        desk.reset(away=False)
        step += 1
    assert before == {True, False}  # killed before, and after, the name was gone
    assert step >= 20


@pytest.mark.slow
def test_a_kill_while_a_newer_upload_is_given_its_name_back_loses_none(desk: Desk) -> None:
    step = 0
    desk.reset(away=False)
    while desk.killed("take_away", "upload", step):
        uploaded = [path for path in desk.files_with(UPLOAD) if path.name != "new"]
        desk.recover()
        assert desk.is_tidy(), step
        if uploaded:
            assert desk.photo.read_bytes() == UPLOAD, step
        else:
            assert desk.copies() == [desk.photo], step
        desk.reset(away=False)
        step += 1
    assert desk.photo.read_bytes() == UPLOAD
    assert desk.is_tidy()


@pytest.mark.slow
@pytest.mark.parametrize("ways", ["", "plain"])
@pytest.mark.parametrize("act", ["retry", "release"])
def test_a_kill_on_the_way_back_leaves_the_file_whole_in_one_place(desk: Desk, act: str, ways: str) -> None:
    step, ends = 0, set()
    desk.reset(away=True)
    while desk.killed(act, ways, step):
        assert len(desk.copies()) >= 1, step
        desk.recover()
        entry, held = desk.account()
        assert len(desk.copies()) == 1, step
        assert desk.is_tidy(), step
        assert entry is not None
        if desk.photo.exists():
            seen = Fingerprint.from_stat(desk.photo.lstat())
            verdict = decide.on_sight(seen, entry, recipe="R", to="/out", takes_away=True)
            # Looked at again, or resting because a person's decision was written down; nothing else.
            assert isinstance(verdict, decide.Start) or entry.state is State.RELEASED, step
        else:
            assert held == desk.copies(), step
        ends.add((desk.photo.exists(), entry.state))
        desk.reset(away=True)
        step += 1
    final = State.RETRY if act == "retry" else State.RELEASED
    assert {(False, State.QUARANTINED), (True, State.QUARANTINED), (True, final)} <= ends
    assert (False, final) not in ends  # never released before it is back
    entry, held = desk.account()
    assert entry is not None
    assert entry.state is final
    assert held == []
    assert desk.copies() == [desk.photo]


def test_a_kill_while_a_file_is_dropped_leaves_it_held_or_gone(desk: Desk) -> None:
    step, ends = 0, set()
    desk.reset(away=True)
    while desk.killed("drop", "", step):
        whole = len(desk.copies())
        desk.recover()
        _, held = desk.account()
        assert len(desk.copies()) == whole, step
        assert held == desk.copies(), step
        assert desk.is_tidy(), step
        ends.add(whole)
        desk.reset(away=True)
        step += 1
    assert ends == {0, 1}


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A folder on a disk of 1 MB, in a mount namespace of its own, held by a process whose root we look through."""
    (tmp_path / "state").mkdir()
    done = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", tmp_path / "state"], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("no mounts here")
    return tmp_path / "state"


def test_a_full_disk_below_the_state_directory_leaves_the_file_in_its_root(small_disk: Path, tmp_path: Path) -> None:
    desk = Desk(tmp_path, small_disk)
    desk.reset(away=False)
    script = 'mount -t tmpfs -o size=1m none "$1" && shift && exec "$@"'
    child = [sys.executable, "-c", CHILD, str(tmp_path), str(small_disk), "take_away", ""]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", small_disk, *child], input="-1\n", capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert int(done.stdout) == errno.ENOSPC, done
    assert desk.copies() == [desk.photo]
    assert desk.is_tidy()
    entry, held = desk.account()
    assert held == [None]
    assert entry is not None
    assert entry.state is State.QUARANTINED
