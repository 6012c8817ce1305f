"""Run as a script in a mount namespace of its own: cuts the power of a loop-mounted ext4 at every step of a delivery.

The real engine, ledger and publisher work on the disk (with `apart`, the ledger on another one), in a child; only the
worker is a stand-in, so that no picture has to be decoded a hundred times. At its Nth call to the kernel or the ledger
the child shuts the file system down (EXT4_IOC_SHUTDOWN) and dies; the parent unmounts, mounts, looks, restarts the
engine, and looks again. N grows until the child gets to its end. Arguments: a folder, the mode, ways
(comma-separated), what happens to the journal.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import virtual_time
from stand_in_pool import StandInPool, at_rest, services

from faceblurd.engine.hooks import Hooks
from faceblurd.engine.intake import Intake
from faceblurd.engine.model import RootPlan
from faceblurd.engine.thread import Inline
from faceblurd.ledger.ledger import Ledger
from faceblurd.model import (
    BlurSpec,
    DetectionSpec,
    Entry,
    Fingerprint,
    Hashed,
    Job,
    Mode,
    Recipe,
    Region,
    Staged,
    State,
)
from faceblurd.publish import (
    contents,
    delivery,
    recovery,
    renames,
)
from faceblurd.publish import staging as staging_files
from faceblurd.watch.scan import Selection
from faceblurd.workers.job import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable

ORIGINAL, RESULT = b"the original, with a face " * 400, b"the result, without " * 500
OLDER, OLD_RESULT = b"an older original " * 300, b"an older result " * 300
EXT4_IOC_SHUTDOWN = 0x8004587D
JOURNAL = {"lost": 2, "kept": 1}  # EXT4_GOING_FLAGS_NOLOGFLUSH, EXT4_GOING_FLAGS_LOGFLUSH
DIED = 42


class Disk:
    """A small ext4 on a file; all that faceblurd has lies on it."""

    def __init__(self, folder: Path, ways: list[str]) -> None:
        self.image, self.top = folder / "disk.img", folder / "disk"
        self.top.mkdir(exist_ok=True)
        self.photo, self.mirrored = self.top / "in/photo.jpg", self.top / "out/photo.jpg"
        self.state = (folder if "apart" in ways else self.top) / "state"

    def make(self) -> None:
        with self.image.open("wb") as image:
            image.truncate(8 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True)
        attach = ["losetup", "-f", "--show", self.image]
        self.device = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
        self.mount()

    def mount(self) -> None:
        """Mount it: the same device each time, whoever else mounts disks meanwhile."""
        subprocess.run(["mount", self.device, self.top], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.top], check=True)

    def remove(self) -> None:
        self.unmount()
        subprocess.run(["losetup", "-d", self.device], check=True)

    def cut(self, journal: str) -> None:
        fd = os.open(self.top, os.O_RDONLY)
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("i", JOURNAL[journal]))


class Engine:
    """The engine's real parts around one photo, and a worker that redacts at once, as the real one does."""

    def __init__(self, disk: Disk, mode: Mode) -> None:
        self.ledger, self.plan = Ledger(disk.state / "ledger"), plan_on(disk, mode)
        self.pool = StandInPool(self._work)
        hooks = Hooks(
            ("/bin/false",), timeout_seconds=5, max_attempts=99, outbox=self.ledger, on_problem=lambda _detail: None
        )  # fmt: skip
        self.services = services(self.ledger, self.pool, disk.state, [self.plan], hooks=hooks)  # nothing runs the hook
        self.times = 0

    def _work(self, question: Any) -> Any:
        source_fd, staging_fd = self.pool.descriptors[-1]
        if isinstance(question, Job):
            return Hashed(question.id, contents.digest_of(source_fd))
        assert question, "nothing here is known yet"
        digest = write_whole(staging_fd, RESULT, mtime_ns=None)
        self.times += 1
        job = self.pool.jobs[-1].id
        return Staged(job, (Region(1, 1, 2, 2, 1.0, "x"),), digest, len(RESULT), lossless=True, note="", milliseconds=1)

    def run_to_the_end(self) -> None:
        async def work() -> None:
            root = Intake(self.plan, self.services, Inline())
            await root.hinted(["photo.jpg"])
            await at_rest(root)

        virtual_time.run(work())


def plan_on(disk: Disk, mode: Mode) -> RootPlan:
    top = str(disk.top)
    return RootPlan(
        f"{top}/in", mode, f"{top}/in" if mode is Mode.IN_PLACE else f"{top}/out",
        Recipe("test", DetectionSpec((), None), BlurSpec()), Selection(("*.jpg",), ()), quiet_seconds=0.0,
        settle_max_seconds=60.0, hard_links_ok=False, keep_mtime=False, replace_others=False, take_away_held=False,
    )  # fmt: skip


def prepare(disk: Disk, mode: Mode, ways: list[str]) -> None:
    """Put a photo in place; with `again`, one that replaces an older photo whose result is in the mirror."""
    shutil.rmtree(disk.state, ignore_errors=True)
    for folder in (disk.top / "in", disk.top / "out", disk.state):
        folder.mkdir()
    disk.photo.write_bytes(ORIGINAL)
    Ledger(disk.state / "ledger").close()
    if "again" in ways:
        target = disk.photo if mode is Mode.IN_PLACE else disk.mirrored
        target.write_bytes(OLD_RESULT)
        with target.open("rb") as old:
            digest = contents.digest_of(old.fileno())
        plan, there = plan_on(disk, mode), Fingerprint.from_stat(target.lstat())
        ledger = Ledger(disk.state / "ledger")
        ledger.put(Entry(plan.path, "photo.jpg", State.PUBLISHED, plan.recipe.digest, there, "older", digest, there))
        ledger.close()
        disk.photo.write_bytes(ORIGINAL)  # in place, over the older result
    os.sync()


def arm(at_step: Callable[[], None]) -> None:
    """Have `at_step` called before and after everything that changes the disk."""

    def point(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            at_step()
            try:
                return function(*arguments, **named)
            finally:
                at_step()

        return wrapped

    changing: list[tuple[Any, str]] = [
        (os, "link"), (os, "rename"), (os, "unlink"), (os, "fsync"), (os, "mkdir"), (os, "pwrite"), (os, "ftruncate"),
        (renames, "renameat2"), (staging_files, "_create"), (staging_files, "copy_attributes"), (Ledger, "begin"),
        (Ledger, "put"), (Ledger, "end"), (Ledger, "outbox_add"), (delivery.Work, "close"),
    ]  # fmt: skip
    for module, name in changing:
        setattr(module, name, point(getattr(module, name)))


def answer_as_others_do(ways: list[str]) -> None:
    """Answer as file systems do that cannot what ext4 can: the steps are others then.

    `plain`: renameat2 takes no flags (NFS). `linkless`: nor are there hard links (exFAT). `careless`: the flags are
    ignored (some FUSE). `named`: no file is without a name.
    """

    def refuse(code: int) -> Callable[..., Any]:
        def refused(*_: Any, **__: Any) -> Any:
            raise OSError(code, os.strerror(code))

        return refused

    def rename(fd: int, old: str, new: str, _flags: int) -> None:
        os.rename(old, new, src_dir_fd=fd, dst_dir_fd=fd)

    if "plain" in ways:
        renames.renameat2 = refuse(errno.EINVAL)
    if "careless" in ways:
        renames.renameat2 = rename
    if "linkless" in ways:
        os.link = refuse(errno.EPERM)
    if "named" in ways:
        refuse_nameless_files()


def refuse_nameless_files() -> None:
    """Answer as a file system without O_TMPFILE does: staging files then have names, which a power cut may leave."""
    real_open = os.open

    def without(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no O_TMPFILE")
        return real_open(path, flags, *arguments, **named)

    os.open = without  # type: ignore[assignment]  # the kernel's answer, not a fake of what is tested


def work_until(disk: Disk, mode: Mode, ways: list[str], step: int, journal: str, *, recovering: bool) -> bool:
    """Work in a child that loses its power at `step`; False when it got to its end first."""
    child = os.fork()
    if child == 0:
        left = step

        def at_step() -> None:
            nonlocal left
            if left == 0:
                disk.cut(journal)
                os._exit(DIED)
            left -= 1

        try:
            answer_as_others_do(ways)
            arm(at_step)
            engine = Engine(disk, mode)
            recovery.recover(engine.ledger)
            if not recovering:
                engine.run_to_the_end()
            at_step()
        except BaseException as error:  # noqa: BLE001 - the child must never go on as a second parent
            sys.stderr.write(f"step {step}: {error!r}\n")
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, DIED}, f"the child ended with {status} at step {step}"
    return status == DIED


def look(disk: Disk, mode: Mode, ways: list[str], step: int) -> str:
    """Compare disk and ledger right after the mount, before anything is repaired; tell what is at the target."""
    photo = disk.photo.read_bytes()
    assert photo in ({ORIGINAL, RESULT} if mode is Mode.IN_PLACE else {ORIGINAL}), f"{step}: {photo[:30]!r}"
    for path in (disk.top / "out").rglob("*"):
        content = path.read_bytes()
        redacted = content in {RESULT, OLD_RESULT} or (path.name.startswith(".") and not content.strip(b"\0"))
        assert redacted or RESULT.startswith(content.rstrip(b"\0")), f"{step}: {path} {content[:30]!r}"
    target = disk.photo if mode is Mode.IN_PLACE else disk.mirrored
    content = target.read_bytes() if target.exists() else b""
    assert content in {ORIGINAL, RESULT} if mode is Mode.IN_PLACE else content in {b"", OLD_RESULT, RESULT}, step
    if "again" in ways and mode is Mode.MIRROR:
        assert content in {OLD_RESULT, RESULT}, f"{step}: the published result is gone"
    ledger = Ledger(disk.state / "ledger")
    entry = ledger.entry(f"{disk.top}/in", "photo.jpg")
    if entry is not None and entry.state is State.PUBLISHED and entry.input_digest != "older":
        assert content == RESULT, f"{step}: the ledger is ahead of the disk"
    ledger.close()
    return {ORIGINAL: "original", RESULT: "result", OLD_RESULT: "old", b"": "nothing"}[content]


def restart(disk: Disk, mode: Mode, step: int) -> None:
    """Start again on what the power cut left, and work to the end."""
    engine = Engine(disk, mode)
    ledger = engine.ledger
    recovery.recover(ledger)
    engine.run_to_the_end()
    target = disk.photo if mode is Mode.IN_PLACE else disk.mirrored
    assert target.read_bytes() == RESULT, step
    entry = ledger.entry(f"{disk.top}/in", "photo.jpg")
    assert entry is not None, step
    assert (entry.state, entry.target) == (State.PUBLISHED, Fingerprint.from_stat(target.lstat())), step
    assert ledger.intents() == [], step
    assert ledger.outbox_next() is not None, f"{step}: the hook was never told"
    assert engine.times <= 1, f"{step}: worked on {engine.times} times"
    left = list(disk.top.rglob(".faceblurd-*"))
    assert left == [], f"{step}: {left}"
    ledger.close()


def once(disk: Disk, mode: Mode, ways: list[str], step: int, journal: str, *, first: int | None) -> str | None:
    """One power cut at `step`, of the work or of the recovery after a cut at `first`; None when it was done before."""
    disk.make()
    try:
        prepare(disk, mode, ways)
        if first is not None:
            assert work_until(disk, mode, ways, first, "kept", recovering=False)
            disk.unmount()
            disk.mount()
        died = work_until(disk, mode, ways, step, journal, recovering=first is not None)
        disk.unmount()
        disk.mount()
        if not died:
            return None
        found = look(disk, mode, ways, step)
        restart(disk, mode, step)
        return found
    finally:
        disk.remove()


def sweep(disk: Disk, mode: Mode, ways: list[str], journal: str, *, first: int | None = None) -> list[str]:
    """Cut at one step after the other, and tell what each cut left."""
    outcomes: list[str] = []
    while (found := once(disk, mode, ways, len(outcomes), journal, first=first)) is not None:
        outcomes.append(found)
    return outcomes


def main() -> None:
    mode, ways, journal = Mode(sys.argv[2]), sys.argv[3].split(","), sys.argv[4]
    disk = Disk(Path(sys.argv[1]), ways)
    outcomes = sweep(disk, mode, ways, journal)
    again = 0
    if "recovery" in ways:  # the first cut right after the result took its name
        again = len(sweep(disk, mode, ways, journal, first=outcomes.index("result")))
    sys.stdout.write(" ".join([str(len(outcomes)), str(again), *sorted(set(outcomes))]))


if __name__ == "__main__":
    main()
