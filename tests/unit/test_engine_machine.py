"""The real engine, ledger and publisher on a real folder, against people, lost events and crashes at every step.

A virtual clock; the worker is a stand-in that answers step by step. At any call that changes the disk or the ledger,
somebody may do something, or the process may end: then its descriptors are closed, nothing else of it happens, and a
new run recovers. Content tells what a file is: `photo 1` has a face and becomes `R1(photo 1)`, `clean 1` has none,
`bad 1` cannot be read. `test_decide_machine` tells the same of the rules alone, with inode numbers that are used again.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import tempfile
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from unittest import mock

import pytest
from desk import plan_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from stand_in_pool import StandInPool, services
from virtual_time import VirtualLoop

from faceblurd.engine.intake import Intake
from faceblurd.engine.model import RetryPolicy
from faceblurd.ledger.ledger import Ledger
from faceblurd.model import (
    Abandoned,
    BlurSpec,
    DetectionSpec,
    Hashed,
    Job,
    Mode,
    Reason,
    Recipe,
    Refused,
    Region,
    Staged,
    State,
    Untouched,
)  # fmt: skip
from faceblurd.publish import contents, renames
from faceblurd.publish import staging as staging_files
from faceblurd.workers.job import write_whole
from faceblurd.workers.worker import Lost

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PATHS = st.sampled_from(["a.jpg", "b.jpg", "c.jpg"])
KINDS = st.sampled_from(["photo", "photo", "clean", "bad"])
DEEDS = st.sampled_from(["crash", "crash", "over", "new", "gone", "moved", "mirror"])
RECIPES = [Recipe(f"R{levels}", DetectionSpec((), None), BlurSpec(levels=levels)) for levels in (4, 8)]
QUIET = 2.0


class Crash(BaseException):
    """The process has ended."""


class MortalThread:
    """Makes calls where they are awaited, until the process ends: then none is made any more."""

    is_dead = False

    async def run(self, call: Callable[[], Any]) -> Any:
        if self.is_dead:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return call()

    def later(self, call: Callable[[], object]) -> None:
        if not self.is_dead:
            with suppress(OSError):
                call()

    def close(self) -> None: ...


class EngineMachine(RuleBasedStateMachine):
    mode: ClassVar[Mode]

    @initialize(named=st.booleans())
    def begin(self, *, named: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="engine-machine-"))
        self.number, self.recipe = 0, 0
        self.promised: dict[str, str] = {}
        self.originals: dict[str, str] = {}
        self.foreign: set[str] = set()
        self.deeds: list[tuple[int, str]] = []
        self.graves: list[tuple[VirtualLoop, set[asyncio.Task[Any]]]] = []
        self.is_acting = False
        self.patches = ExitStack()
        self._arm(named=named)
        for name in ("root", "mirror", "state"):
            (self.folder / name).mkdir()
        self.start()

    def _arm(self, *, named: bool) -> None:
        """Have a point before and after everything that changes the disk or the ledger."""
        real_open = os.open

        def without_tmpfile(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(95, "no O_TMPFILE")
            return real_open(path, flags, *arguments, **options)

        if named:
            self.patches.enter_context(mock.patch.object(os, "open", without_tmpfile))
        for owner, name in (
            (os, "link"), (os, "rename"), (os, "unlink"), (os, "fsync"), (os, "pwrite"), (renames, "renameat2"),
            (staging_files, "_create"), (Ledger, "begin"), (Ledger, "put"), (Ledger, "end"),
        ):  # fmt: skip
            self.patches.enter_context(mock.patch.object(owner, name, self._with_points(getattr(owner, name))))

    def _with_points(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self._point()
            result = function(*arguments, **options)
            self._point()
            return result

        return wrapped

    def _point(self) -> None:
        if self.is_acting or not self.deeds:
            return
        left, deed = self.deeds[0]
        if left:
            self.deeds[0] = (left - 1, deed)
            return
        del self.deeds[0]
        if deed == "crash":
            self.crash.set_result(None)
            raise Crash
        self._do(deed, "a.jpg")

    # --- a run of the daemon

    def start(self) -> None:
        self.loop = VirtualLoop()
        self.thread, self.pool = MortalThread(), StandInPool()
        self.ledger = Ledger(self.folder / "state" / "ledger")
        changes = {"mode": self.mode, "recipe": RECIPES[self.recipe], "quiet_seconds": QUIET, "take_away_held": False}
        self.plan = plan_of(self.folder, **changes)
        self.crash: asyncio.Future[None] = self.loop.create_future()

        async def make() -> Intake:
            made = services(
                self.ledger, self.pool, self.folder, [self.plan], policy=RetryPolicy(3, 5.0, 1 << 20),
            )  # fmt: skip
            return Intake(self.plan, made, self.thread)

        self.root = self.loop.run_until_complete(make())
        self._run(self._recovered())

    async def _recovered(self) -> None:
        await self.root.recovery.run()
        self.root.point_at([entry.path for entry in self.ledger.in_state(State.RETRY)])

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run until it ends, or the process does."""
        task = self.loop.create_task(coroutine)
        self.loop.run_until_complete(asyncio.wait({task, self.crash}, timeout=10_000, return_when="FIRST_COMPLETED"))
        if self.crash.done():
            self._die()
            self.start()
        else:
            task.result()

    def _die(self) -> None:
        """Close what the kernel would close; keep the rest from doing anything."""
        self.thread.is_dead = True
        self.deeds.clear()
        self.ledger.close()
        for fd in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/self/fd/{fd}").startswith(str(self.folder)):
                    os.close(int(fd))
        self.graves.append((self.loop, asyncio.all_tasks(self.loop)))
        del self.root

    def _bury(self) -> None:
        """Take apart what crashes left, here: a collector would do it in the midst of anything, even of the parser."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # what a photo would put down it cannot any more
            for loop, tasks in self.graves:
                for task in tasks:
                    task._log_destroy_pending = False  # type: ignore[attr-defined] # it was meant to be left pending
                    with suppress(BaseException):
                        task.get_coro().close()
                loop.close()
            self.graves.clear()
            gc.collect()

    # --- people

    def _content(self, kind: str) -> str:
        self.number += 1
        return f"{kind} {self.number}"

    def _do(self, deed: str, path: str, kind: str = "photo") -> None:
        self.is_acting = True
        try:
            self._act(deed, self.folder / "root" / path, kind)
        finally:
            self.is_acting = False

    def _act(self, deed: str, file: Path, kind: str) -> None:
        path = file.name
        if deed == "over" and file.exists():
            file.write_text(self._promise(path, kind))
        elif deed in {"new", "over"}:
            fresh = file.with_name(f"upload-{path}")
            fresh.write_text(self._promise(path, kind))
            fresh.rename(file)
        elif deed == "back" and path in self.originals:
            file.write_text(self.originals[path])
            self.promised[path] = self.originals[path]
        elif deed == "gone" and file.exists():
            file.unlink()
            self.promised.pop(path, None)
        elif deed == "moved" and file.exists():
            there = file.with_name("c.jpg")
            file.rename(there)
            self.promised["c.jpg"] = self.promised.pop(path, "")
        elif deed == "touched" and file.exists():
            os.utime(file)
        elif deed == "mirror" and self.mode is Mode.MIRROR:
            (self.folder / "mirror" / path).unlink(missing_ok=True)

    def _promise(self, path: str, kind: str) -> str:
        self.promised[path] = self.originals[path] = self._content(kind)
        return self.promised[path]

    @rule(path=PATHS, deed=st.sampled_from(["new", "over", "back", "gone", "moved", "touched", "mirror"]), kind=KINDS,
          heard=st.booleans())  # fmt: skip
    def people(self, path: str, deed: str, kind: str, *, heard: bool) -> None:
        self._do(deed, path, kind)
        if heard:
            self._run(self.root.hinted(sorted({path, "c.jpg"})))

    @rule(after=st.integers(0, 12), deed=DEEDS)
    def something_will_happen(self, after: int, deed: str) -> None:
        self.deeds.append((after, deed))

    @rule(
        path=PATHS, kind=KINDS, after=st.integers(0, 24), deed=DEEDS | st.just("none"),
        meanwhile=st.sampled_from(["none", "none", "over", "new", "gone", "touched", "back"]),
    )  # fmt: skip
    def a_life_to_the_end(self, path: str, kind: str, after: int, deed: str, meanwhile: str) -> None:
        """An upload that is worked on at once; something happens at one of the points, or while a worker has it."""
        self.people(path, "new", kind, heard=True)
        if deed != "none":
            self.deeds.append((after, deed))
        self.time_passes(QUIET)
        self.the_worker_goes_on()
        self._do(meanwhile, path)
        self.the_worker_goes_on()
        self.deeds.clear()

    # --- time

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, 6.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self._run(asyncio.sleep(seconds))

    @rule()
    def scan(self) -> None:
        self._run(self._scan())

    async def _scan(self) -> None:
        names = sorted(path.name for path in (self.folder / "root").iterdir())
        await self.root.hinted(names, fresh=False)

    @rule()
    def the_worker_goes_on(self) -> None:
        self._let_it_work()
        self._run(asyncio.sleep(0.01))

    @precondition(lambda self: self.pool.question is not None)
    @rule()
    def the_worker_dies(self) -> None:
        self.pool.answers.put_nowait(Lost(self.pool.jobs[-1].id, Reason.WORKER_CRASHED, "signal 9"))
        self._run(asyncio.sleep(0.01))

    def _let_it_work(self) -> None:
        """Answer as a worker would that has the photo in hand."""
        if self.pool.question is None:
            return
        job, (source_fd, staging_fd) = self.pool.jobs[-1], self.pool.descriptors[-1]
        if isinstance(self.pool.question, Job):
            self.pool.answers.put_nowait(Hashed(job.id, contents.digest_of(source_fd)))
        else:
            self.pool.answers.put_nowait(self._worked(job, source_fd, staging_fd))

    def _worked(self, job: Job, source_fd: int, staging_fd: int) -> Any:
        if not self.pool.proceeded[-1]:
            return Abandoned(job.id)
        content = os.pread(source_fd, 1000, 0).decode()
        if content.startswith("bad"):
            return Refused(job.id, Reason.DAMAGED, "bad", retryable=False, milliseconds=1)
        if content.startswith("clean") and self.mode is Mode.IN_PLACE:
            return Untouched(job.id, 1)
        assert not content.startswith(self.plan.recipe.name), f"our own output is blurred again: {content}"
        result = content if content.startswith("clean") else f"{self.plan.recipe.name}({content})"
        self.is_acting = True  # a crash of the daemon ends the worker, too
        digest = write_whole(staging_fd, result.encode(), mtime_ns=None)
        self.is_acting = False
        regions = () if content.startswith("clean") else (Region(1, 1, 2, 2, 1.0, "x"),)
        return Staged(job.id, regions, digest, len(result), lossless=True, note="", milliseconds=1)

    @rule()
    def stop_and_start_with_another_recipe(self) -> None:
        self.deeds.clear()
        self._run(self._ended())
        self.ledger.close()
        assert not self._staging_files()
        self.recipe = 1 - self.recipe
        self.start()

    async def _ended(self) -> None:
        self.root.close()
        if tasks := self.root.tasks():
            await asyncio.wait(tasks)

    # --- what must hold

    def _staging_files(self) -> list[Path]:
        return list(self.folder.rglob(".faceblurd-*"))

    @invariant()
    def no_face_gets_out(self) -> None:
        if not hasattr(self, "folder") or self.mode is Mode.IN_PLACE:
            return
        for file in (self.folder / "mirror").iterdir():
            content = file.read_text()
            is_redacted = content.startswith(("R4(", "R8(", "clean"))
            assert is_redacted or (file.name.startswith(".") and not content), f"{file.name}: {content}"

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "folder"):
            return
        there = {file.name: file.read_text() for file in (self.folder / "root").iterdir()}
        for path, content in self.promised.items():
            kept = {path: there.get(path, "")} | {name: text for name, text in there.items() if path in name}
            assert any(text.endswith(content) or text.rstrip(")").endswith(content) for text in kept.values()), (
                f"{path}: {content} is lost: {there}"
            )

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        try:
            self.deeds.clear()
            self._come_to_rest()
            self._check_the_end()
        finally:
            self._bury()
            self.patches.close()
            shutil.rmtree(self.folder)

    def _come_to_rest(self) -> None:
        for _ in range(3):
            self._run(self._scan())
            for _ in range(400):
                if not self.root.is_busy:
                    break
                self._let_it_work()
                self._run(asyncio.sleep(0.5))
            else:
                raise AssertionError(f"it does not come to rest: {self.root.photos}")

    def _check_the_end(self) -> None:
        assert self.ledger.intents() == []
        assert self._staging_files() == []
        for file in (self.folder / "root").iterdir():
            content, entry = file.read_text(), self.ledger.entry(self.plan.path, file.name)
            if not file.name.endswith(".jpg") or entry is None:
                continue
            if content.startswith("bad"):
                assert entry.state is State.QUARANTINED
            elif self.mode is Mode.IN_PLACE:
                assert content.startswith(("R4(", "R8(", "clean")), f"{file.name} is left as it was: {content}"
        self.ledger.close()


class InPlaceMachine(EngineMachine):
    mode = Mode.IN_PLACE


class MirrorMachine(EngineMachine):
    mode = Mode.MIRROR


def _cases(machine: type[EngineMachine], examples: int) -> type[Any]:
    """Give a test class that plays so many histories."""
    case: Any = type(machine.TestCase.__name__, (machine.TestCase,), {})
    case.settings = settings(max_examples=examples, stateful_step_count=40)
    return case  # type: ignore[no-any-return]


TestInPlace, TestMirror = _cases(InPlaceMachine, 8), _cases(MirrorMachine, 8)
TestInPlaceLong = pytest.mark.slow(_cases(InPlaceMachine, 80))
TestMirrorLong = pytest.mark.slow(_cases(MirrorMachine, 80))
