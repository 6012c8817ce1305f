"""The pool with real processes: a plugin crashes, hangs, hoards and kills for real; only its own job is lost.

Who is started, leased and retired when is in `unit/test_pool_leases.py`, on a clock of its own.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from faceblurd.engine import thread
from faceblurd.errors import FaceblurdError, SetupError
from faceblurd.model import (
    Abandoned,
    BlurSpec,
    DetectionSpec,
    Fingerprint,
    HaarSpec,
    Hashed,
    Job,
    Mode,
    Reason,
    Recipe,
    Refused,
    Staged,
    Untouched,
    Zone,
    Zones,
)
from faceblurd.workers import messages, worker
from faceblurd.workers.job import Setup
from faceblurd.workers.pool import Limits, Pool
from faceblurd.workers.worker import Lost

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    Story = Callable[["Bench"], Coroutine[Any, Any, None]]
    With = Callable[..., None]

SECONDS = 300.0
RECIPE = Recipe("test", DetectionSpec((HaarSpec(),), 200), BlurSpec())
PATIENT = Limits(count=2, deadline_seconds=3600.0, recycle_after_files=500, idle_seconds=3600.0)
LONELY = replace(PATIENT, count=1)
PLUGIN = """
    import ctypes, gc, os, signal, time
    from faceblurd.plugins.hookspecs import hookimpl
    from faceblurd.workers.messages import WorkerEnd

    def say(text):
        for end in [one for one in gc.get_objects() if isinstance(one, WorkerEnd)]:
            end._socket.sendall(text)

    @hookimpl
    def add_regions(image, path):
        if "segfault" in path:
            ctypes.string_at(0)
        if "hang" in path:
            while True:
                pass
        if "memory" in path:
            bytearray(2 << 30)
        if "kill" in path:
            signal.raise_signal(signal.SIGKILL)
        if "exit" in path:
            os._exit(0)
        if "nonsense" in path:
            say(bytes([0, 0, 0, 8]) + b"nonsense")
        if "too much" in path:
            say(bytes([127, 255, 255, 255]))
        if "flood" in path:
            while True:
                say(bytes([0, 0, 0, 13]) + b'["Ready", {}]')
        if "orphan" in path and os.fork():  # the child has the socket, too, and outlives us
            signal.raise_signal(signal.SIGKILL)
        if "orphan" in path:
            while not os.path.exists(os.path.dirname(__file__) + "/end"):
                time.sleep(0.05)
            os._exit(0)
        if "half an answer" in path:
            say(bytes([0, 0, 1, 0, 91]))
            time.sleep(3600)
        if "raise" in path:
            raise RuntimeError("a bug in the plugin")
        return []
"""


@pytest.fixture
def misbehaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install the plugin where this process finds it, and its workers by what they are told of that."""
    site = tmp_path / "site"
    info = site / "misbehaving_pool_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "misbehaving_pool_plugin.py").write_text(textwrap.dedent(PLUGIN))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving-pool-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[faceblurd]\nmisbehaving = misbehaving_pool_plugin\n")
    monkeypatch.syspath_prepend(str(site))
    return "misbehaving"


class Bench:
    """A pool, and jobs for it; each is awaited by a task of its own, as a photo's is."""

    def __init__(self, folder: Path, setup: Setup, limits: Limits) -> None:
        self.folder, self.mode = folder, Mode.MIRROR
        self.pool = Pool(setup, limits)
        self.results: dict[str, Any] = {}  # in the order in which they came
        self.pids: list[int] = []
        self.recipe = setup.recipes[0]

    async def job(self, name: str, *, proceed: bool = True, within_seconds: float = 3600.0) -> Any:
        async with self.pool.worker() as one:
            self.pids.append(one.pid)
            self.results[name] = await self.perform(one, name, proceed=proceed, within_seconds=within_seconds)
        return self.results[name]

    async def perform(self, one: Any, name: str, *, proceed: bool = True, within_seconds: float = 3600.0) -> Any:
        answer = await self.begin(one, name, within_seconds=within_seconds)
        return await one.go_on(proceed=proceed) if isinstance(answer, Hashed) else answer

    async def begin(self, one: Any, name: str, *, within_seconds: float = 3600.0) -> Any:
        source = os.open(self.folder / "photo.png", os.O_RDONLY)
        staging = os.open(self.folder, os.O_TMPFILE | os.O_RDWR, 0o600)
        try:
            job = Job(1, name, self.recipe, self.mode, Fingerprint.from_stat(os.fstat(source)), None, 1 << 20)
            return await one.begin(job, source_fd=source, staging_fd=staging, within_seconds=within_seconds)
        finally:
            os.close(source)
            os.close(staging)

    async def run(self, *names: str, **options: Any) -> dict[str, Any]:
        """Do a job for each name, side by side."""
        await asyncio.gather(*(self.job(name, **options) for name in names))
        return self.results


@pytest.fixture
def with_pool(tmp_path: Path) -> With:
    """Run a test's coroutine with a bench; whatever it did, no process and no task is left then, and nothing failed."""
    from PIL import Image

    Image.effect_noise((64, 48), 40).save(tmp_path / "photo.png")

    def run(
        story: Story, limits: Limits = PATIENT, *plugins: str, sandbox: bool = True, recipe: Recipe = RECIPE
    ) -> None:
        async def main() -> None:
            untold: list[Any] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: untold.append(context))
            bench = Bench(tmp_path, Setup((recipe,), plugins, 300 << 20, os.getpid(), sandbox), limits)
            try:
                async with asyncio.timeout(SECONDS):
                    await story(bench)
            finally:
                await bench.pool.close()
            assert _children() == before, "not even a zombie"
            assert asyncio.all_tasks() == {asyncio.current_task()}
            gc.collect()
            assert untold == []

        before = _children()
        thread.run(main())

    return run


def _children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


async def _until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.02)


# --- what jobs do to their workers


def test_only_the_jobs_that_misbehave_are_lost_and_the_pool_is_whole_again(with_pool: With, misbehaving: str) -> None:
    async def story(one: Bench) -> None:
        names = ("a", "segfault", "b", "kill", "c", "memory", "d", "raise", "e", "exit", "f")
        results = await one.run(*names)
        good = {name for name, result in results.items() if isinstance(result, Staged)}
        assert good == set("abcdef")
        lost = {name: result.reason for name, result in results.items() if isinstance(result, Lost)}
        assert lost == dict.fromkeys(("segfault", "kill", "exit"), Reason.WORKER_CRASHED)
        refused = {name: result.reason for name, result in results.items() if isinstance(result, Refused)}
        assert refused == {"memory": Reason.OUT_OF_MEMORY, "raise": Reason.PLUGIN_FAILED}
        assert results["segfault"].detail == "the worker was ended by signal 11"
        assert results["kill"].detail == "the worker was ended by signal 9"
        assert results["exit"].detail == "the worker exited with code 0"
        assert one.pool.restarts == 3
        await one.run("g", "h", "i")
        assert {type(results[name]) for name in "ghi"} == {Staged}
        assert one.pool.busy == 0

    with_pool(story, PATIENT, misbehaving)


def test_a_worker_that_stops_in_the_middle_of_its_answer_holds_up_nobody(with_pool: With, misbehaving: str) -> None:
    """To read its answer to the end took for ever, and the whole daemon with it; only its own deadline counts now."""

    async def story(one: Bench) -> None:
        lost = asyncio.ensure_future(one.job("half an answer", within_seconds=5.0))
        await one.run("a", "b")
        assert (await lost).reason is Reason.DEADLINE
        assert {type(one.results[name]) for name in "ab"} == {Staged}
        assert one.pool.busy == 0

    with_pool(story, PATIENT, misbehaving)


def test_a_job_over_its_deadline_is_ended_and_the_others_are_not(with_pool: With, misbehaving: str) -> None:
    async def story(one: Bench) -> None:
        hangs = asyncio.ensure_future(one.job("hang", within_seconds=3.0))
        await one.run("a", "b")
        assert await hangs == Lost(1, Reason.DEADLINE, "took longer than workers.deadline_seconds")
        assert {type(one.results[name]) for name in "ab"} == {Staged}
        await _until(lambda: not _runs(one.pids[0]))
        assert one.pool.restarts == 1

    with_pool(story, PATIENT, misbehaving)


@pytest.mark.parametrize("bad", ["nonsense", "too much", "flood"])
def test_a_worker_that_talks_nonsense_or_without_end_is_ended_and_costs_its_own_job_alone(
    with_pool: With, misbehaving: str, bad: str
) -> None:
    async def story(one: Bench) -> None:
        results = await one.run(bad, "a", "b")
        assert results[bad] == Lost(1, Reason.WORKER_CRASHED, "the worker spoke out of turn")
        assert {type(results[name]) for name in "ab"} == {Staged}
        await _until(lambda: not _runs(one.pids[0]))

    with_pool(story, PATIENT, misbehaving)


def test_a_worker_whose_end_is_hidden_by_somebody_who_has_its_socket_is_given_up_at_its_deadline(
    with_pool: With, misbehaving: str, tmp_path: Path
) -> None:
    """A process that a plugin started; the sandbox would not let it."""

    async def story(one: Bench) -> None:
        try:
            lost = await one.job("orphan", within_seconds=8.0)
            assert (type(lost), lost.reason) == (Lost, Reason.DEADLINE)
            assert isinstance(await one.job("a"), Staged)
        finally:
            (tmp_path / "site" / "end").touch()

    with_pool(story, LONELY, misbehaving, sandbox=False)


def test_a_job_that_the_parent_stops_at_its_digest_writes_nothing(with_pool: With) -> None:
    async def story(one: Bench) -> None:
        assert isinstance(await one.job("a", proceed=False), Abandoned)
        assert isinstance(await one.job("b"), Staged)
        assert one.pids[0] == one.pids[1], "the worker is as good as before"

    with_pool(story)


def test_a_clean_photo_in_place_needs_no_result(with_pool: With) -> None:
    async def story(one: Bench) -> None:
        one.mode = Mode.IN_PLACE
        assert isinstance(await one.job("a"), Untouched)

    with_pool(story)


def test_a_job_that_is_cancelled_ends_its_worker_and_the_others_go_on(with_pool: With, misbehaving: str) -> None:
    async def story(one: Bench) -> None:
        hangs = asyncio.ensure_future(one.job("hang"))
        await _until(lambda: one.pids and _computed_seconds(one.pids[0]) > 0.1)
        assert one.pool.busy == 1
        hangs.cancel()
        await asyncio.wait({hangs})
        assert hangs.cancelled()
        assert one.pool.busy == 0
        assert isinstance(await one.job("a"), Staged)
        assert not _runs(one.pids[0])
        assert one.pool.restarts == 0, "that was us"

    with_pool(story, LONELY, misbehaving)


# --- workers that die, stop and retire


def test_idle_workers_retire_and_new_ones_start_when_there_is_work(with_pool: With) -> None:
    async def story(one: Bench) -> None:
        await one.run("a", "b")
        await _until(lambda: one.pool.idle == 0)
        await _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in one.pids))
        assert isinstance(await one.job("c"), Staged)
        assert one.pool.restarts == 0

    with_pool(story, replace(PATIENT, idle_seconds=0.3))


def test_a_worker_is_replaced_after_its_files_although_several_wait_for_it(with_pool: With) -> None:
    async def story(one: Bench) -> None:
        await one.run("a", "b", "c", "d")
        first, second, third, fourth = one.pids
        assert first == second != third == fourth
        assert one.pool.restarts == 0  # nobody crashed

    with_pool(story, replace(LONELY, recycle_after_files=2))


def test_fifty_jobs_and_five_workers_leak_no_descriptor(with_pool: With) -> None:
    async def story(one: Bench) -> None:
        await one.job("warm")
        before = _descriptors(os.getpid())
        for number in range(49):  # with the first, five times ten
            await one.job(f"n{number}")
        await one.job("last")
        assert len(set(one.pids)) == 6
        await _until(lambda: len(_children()) == 1)
        assert len(_descriptors(os.getpid())) == len(before)

    with_pool(story, replace(LONELY, recycle_after_files=10))


def test_a_worker_has_its_own_files_alone_and_keeps_no_photo(with_pool: With, tmp_path: Path) -> None:
    """Neither the parent's files nor another worker's socket, which would hide that worker's end."""
    others = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(others, True)

    async def story(one: Bench) -> None:
        await one.run("a", "b")
        before = {pid: _descriptors(pid) for pid in one.pids}
        assert {sum(what.startswith("socket:") for what in held) for held in before.values()} == {1}
        assert not any(str(tmp_path) in what for held in before.values() for what in held)
        await one.run(*(f"more {number}" for number in range(6)))
        assert {pid: _descriptors(pid) for pid in before} == before

    try:
        with_pool(story)
    finally:
        os.close(others)


def test_killed_workers_leak_no_descriptor(with_pool: With, misbehaving: str) -> None:
    before: list[list[str]] = []

    async def story(one: Bench) -> None:
        before.append(_descriptors(os.getpid()))
        await one.run("kill 1", "kill 2", "kill 3")
        await one.pool.close()
        assert len(_descriptors(os.getpid())) == len(before[0])

    with_pool(story, PATIENT, misbehaving)


def test_a_worker_killed_while_idle_costs_nothing(with_pool: With) -> None:
    async def story(one: Bench) -> None:
        await one.job("a")
        os.kill(one.pids[0], signal.SIGKILL)
        await _until(lambda: one.pool.idle == 0)
        assert isinstance(await one.job("b"), Staged)
        assert one.pool.restarts == 1

    with_pool(story, LONELY)


def test_a_worker_that_dies_right_before_it_is_leased_costs_nothing_either(with_pool: With) -> None:
    async def story(one: Bench) -> None:
        await one.job("a")
        _kill_and_wait(one.pids[0])  # the loop has not heard of it
        assert one.pool.idle == 1
        assert isinstance(await one.job("b"), Staged)
        assert one.pids[0] != one.pids[1]

    with_pool(story, LONELY)


def test_a_worker_that_dies_right_before_it_gets_its_job_loses_that_and_no_more(with_pool: With) -> None:
    async def story(one: Bench) -> None:
        async with one.pool.worker() as leased:
            _kill_and_wait(leased.pid)
            lost = await one.perform(leased, "a")
        assert lost == Lost(1, Reason.WORKER_CRASHED, "the worker was ended by signal 9")
        assert (one.pool.busy, one.pool.idle) == (0, 0), "nor is it asked again"
        assert isinstance(await one.job("b"), Staged)

    with_pool(story, LONELY)


def test_a_worker_that_dies_right_before_it_gets_its_answer_loses_its_job_and_no_more(with_pool: With) -> None:
    async def story(one: Bench) -> None:
        async with one.pool.worker() as leased:
            assert isinstance(await one.begin(leased, "a"), Hashed)
            _kill_and_wait(leased.pid)
            lost = await leased.go_on(proceed=True)
        assert lost == Lost(1, Reason.WORKER_CRASHED, "the worker was ended by signal 9")
        assert isinstance(await one.job("b"), Staged)

    with_pool(story, LONELY)


def test_workers_that_are_stopped_block_nobody(with_pool: With) -> None:
    """Neither one that waits for its job, nor one that has it; not the loop, and not the end."""

    async def story(one: Bench) -> None:
        async with one.pool.worker() as first, one.pool.worker() as second:
            assert isinstance(await one.begin(second, "b"), Hashed)
            for stopped in (first, second):
                os.kill(stopped.pid, signal.SIGSTOP)
            began = asyncio.ensure_future(one.perform(first, "a", within_seconds=0.3))
            went_on = asyncio.ensure_future(second.go_on(proceed=True))
            ticks = 0
            while not began.done():
                await asyncio.sleep(0.01)
                ticks += 1
            assert ticks > 5
            assert (await began).reason is Reason.DEADLINE
            assert not went_on.done()
            os.kill(second.pid, signal.SIGCONT)
            assert isinstance(await went_on, Staged)
        async with one.pool.worker() as third:
            os.kill(third.pid, signal.SIGSTOP)

    with_pool(story)


def test_a_recipe_with_thousands_of_zones_reaches_its_worker_and_no_job_waits_for_one_that_is_stopped(
    with_pool: With,
) -> None:
    """It is larger than a socket's buffer: a start takes it in as it can, and a job does not carry it."""
    zones = tuple(Zone(0.1, 0.1, 0.01, 0.01) for _ in range(20_000))

    async def story(one: Bench) -> None:
        assert len(pickle.dumps(one.recipe)) > 1 << 19
        async with one.pool.worker() as leased:
            os.kill(leased.pid, signal.SIGSTOP)
            lost = await one.perform(leased, "a", within_seconds=0.2)
            assert lost.reason is Reason.DEADLINE

    with_pool(story, LONELY, recipe=replace(RECIPE, zones=Zones(always=zones)))


# --- starts


def test_a_plugin_that_is_missing_is_a_failed_setup_told_to_all_who_wait_and_not_a_crash(with_pool: With) -> None:
    async def story(one: Bench) -> None:
        waiting = [asyncio.ensure_future(one.job(name)) for name in "ab"]
        with pytest.raises(SetupError, match="no-such-plugin") as caught:
            await one.pool.ready()
        assert caught.value.remedy
        for one_that_waits in waiting:
            with pytest.raises(SetupError, match="no-such-plugin"):
                await one_that_waits
        with pytest.raises(SetupError):
            await one.job("late")
        assert (one.pool.restarts, one.pool.cannot_start) == (0, False)
        assert not any(map(_runs, one.pids))

    with_pool(story, PATIENT, "no-such-plugin")


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let workers be scripts that begin as the real ones, and then say what they like."""

    def write(then: str) -> None:
        start = """
            import os, socket, sys, time
            from faceblurd.model import Abandoned, Hashed, Staged, Untouched
            from faceblurd.workers.messages import WorkerEnd
            from faceblurd.workers.messages import Ready, SetupFailed, encode, framed
            end = WorkerEnd(socket.socket(fileno=int(sys.argv[1])))
            setup, _ = end.receive()
            say = end._socket.sendall
        """
        monkeypatch.setattr(worker, "_COMMAND", textwrap.dedent(start) + textwrap.dedent(then))

    return write


def test_a_worker_that_dies_at_its_start_is_told_of_and_not_started_again_at_once(
    with_pool: With, scripted: Callable[[str], None]
) -> None:
    scripted("os._exit(3)")

    async def story(one: Bench) -> None:
        clock = asyncio.get_running_loop().time
        with pytest.raises(FaceblurdError, match="the worker exited with code 3"):
            await one.pool.ready()
        for restarts, seconds in ((1, 0.5), (2, 2.0)):
            assert (one.pool.restarts, _children()) == (restarts, set())
            began = clock()
            one.pool.ensure(1)
            assert _children() == set(), "it would die at once, and again"
            waits = asyncio.ensure_future(one.job("a"))
            await _until(lambda restarts=restarts: one.pool.restarts > restarts)
            assert clock() > began + seconds - 0.1
            waits.cancel()
            await asyncio.wait({waits})

    with_pool(story, LONELY)


@pytest.mark.parametrize(
    "first",
    ['end.send(Hashed(1, "x"))', 'say(framed(b"nonsense"))', "say(framed(encode(Ready())) + framed(encode(Ready())))"],
)
def test_a_worker_that_begins_with_anything_but_its_being_ready_gets_no_job(
    with_pool: With, scripted: Callable[[str], None], first: str
) -> None:
    scripted(f"{first}; time.sleep(3600)")

    async def story(one: Bench) -> None:
        with pytest.raises(FaceblurdError, match="does not start: the worker spoke out of turn"):
            await one.pool.ready()
        assert one.pool.idle == 0

    with_pool(story, LONELY)


@pytest.mark.parametrize(
    "lie", ["Ready()", 'SetupFailed("", "")', 'Hashed(99, "")', "Abandoned(99)", "Untouched(1, 1)"]
)
def test_a_worker_that_speaks_while_it_is_idle_is_ended_before_it_gets_a_job(
    with_pool: With, scripted: Callable[[str], None], lie: str
) -> None:
    """An answer that was there before its question would be believed."""
    scripted(f"end.send(Ready()); time.sleep(0.2); end.send({lie}); time.sleep(3600)")

    async def story(one: Bench) -> None:
        await one.pool.ready()
        await _until(lambda: one.pool.idle == 0)
        assert one.pool.restarts == 1
        await _until(lambda: _children() == set())

    with_pool(story, LONELY)


OUT_OF_TURN = {
    "is ready again": "end.send(Ready())",
    "fails its setup": 'end.send(SetupFailed("", ""))',
    "hashed another job": 'end.send(Hashed(99, ""))',
    "ended another job": "end.send(Abandoned(99))",
    "ended before it asked": "end.send(Untouched(1, 1))",
    "staged before it asked": 'end.send(Staged(1, (), "", 1, True, "", 1))',
    "asks twice": 'end.send(Hashed(1, "")); end.receive(); end.send(Hashed(1, ""))',
    "asks for another job": 'end.send(Hashed(1, "")); end.receive(); end.send(Untouched(99, 1))',
    "gives up what it was told to do": 'end.send(Hashed(1, "")); end.receive(); end.send(Abandoned(1))',
    "asks and answers at once": 'say(framed(encode(Hashed(1, ""))) + framed(encode(Ready())))',
}


@pytest.mark.parametrize("says", OUT_OF_TURN.values(), ids=OUT_OF_TURN)
def test_a_worker_that_speaks_out_of_turn_is_not_believed(
    with_pool: With, scripted: Callable[[str], None], says: str
) -> None:
    """Another job's number would end that job."""
    scripted(f"end.send(Ready()); end.receive(); {says}; time.sleep(3600)")

    async def story(one: Bench) -> None:
        lost = await one.job("a")
        assert lost == Lost(1, Reason.WORKER_CRASHED, "the worker spoke out of turn")
        assert (one.pool.idle, one.pool.busy, one.pool.restarts) == (0, 0, 1)
        await _until(lambda: _children() == set())

    with_pool(story, LONELY)


def test_a_worker_that_goes_on_although_it_was_told_not_to_is_not_believed(
    with_pool: With, scripted: Callable[[str], None]
) -> None:
    scripted('end.send(Ready()); end.receive(); end.send(Hashed(1, "")); end.receive(); end.send(Untouched(1, 1))')

    async def story(one: Bench) -> None:
        lost = await one.job("a", proceed=False)
        assert lost == Lost(1, Reason.WORKER_CRASHED, "the worker spoke out of turn")

    with_pool(story, LONELY)


@pytest.mark.parametrize("more", ["framed(encode(Ready()))", 'b"\\0\\0"'], ids=["a message", "a piece of one"])
def test_a_worker_that_says_more_than_its_result_gets_no_other_job(
    with_pool: With, scripted: Callable[[str], None], more: str
) -> None:
    scripted(
        f'end.send(Ready()); end.receive(); end.send(Hashed(1, "")); end.receive();'
        f"say(framed(encode(Untouched(1, 1))) + {more}); time.sleep(3600)"
    )

    async def story(one: Bench) -> None:
        assert await one.job("a") == Untouched(1, 1)
        assert (one.pool.idle, one.pool.busy) == (0, 0)

    with_pool(story, LONELY)


def test_a_module_in_the_current_folder_is_none_of_a_workers(
    with_pool: With, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current folder may be that of the photos, into which strangers write."""
    for name in ("socket", "json", "cv2", "numpy", "faceblurd"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')")
    monkeypatch.chdir(tmp_path)

    async def story(one: Bench) -> None:
        assert isinstance(await one.job("a"), Staged)

    with_pool(story)
    assert not (tmp_path / "imported").exists()


# --- the end


def test_a_pool_that_is_closed_while_its_workers_start_and_work_leaves_none(with_pool: With, misbehaving: str) -> None:
    async def story(one: Bench) -> None:
        hangs = asyncio.ensure_future(one.job("hang"))
        await _until(lambda: one.pids and _computed_seconds(one.pids[0]) > 0.1)
        one.pool.ensure(1)  # the second one starts
        assert len(_children()) == 2
        await one.pool.close()
        assert _children() == set()
        assert isinstance(await hangs, Lost), "whoever waits for a worker hears of its end"
        assert one.pool.restarts == 0, "that was us"

    with_pool(story, PATIENT, misbehaving)


def test_a_closed_pool_starts_no_worker_any_more(with_pool: With) -> None:
    """An answer that comes late would else start one that nobody ends, and the daemon waits for it at its exit."""

    async def story(one: Bench) -> None:
        await one.pool.close()
        one.pool.ensure(1)
        late = asyncio.ensure_future(one.job("late"))
        await asyncio.sleep(0.05)
        assert _children() == set()
        late.cancel()
        await asyncio.wait({late})

    with_pool(story)


# --- a worker alone


class Alone:
    """A worker without a pool, and our end of its socket."""

    def __init__(self, parent_pid: int, *plugins: str) -> None:
        self.end, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", worker._COMMAND, str(theirs.fileno())], pass_fds=(theirs.fileno(),)
            )
        self.end.sendall(messages.pack(Setup((RECIPE,), plugins, 300 << 20, parent_pid)))
        self.end.settimeout(SECONDS)

    def says(self) -> messages.Message:
        frames = messages.Frames()
        while some := self.end.recv(1 << 16):
            for message in frames.feed(some):
                return messages.decode(message)
        raise EOFError


@pytest.fixture
def alone() -> Iterator[Callable[..., Alone]]:
    made: list[Alone] = []

    def make(*arguments: Any) -> Alone:
        made.append(Alone(*arguments))
        return made[-1]

    yield make
    for one in made:
        one.end.close()
        one.process.kill()
        one.process.wait()


def test_a_worker_ends_by_itself_when_nobody_is_at_the_other_end(alone: Callable[..., Alone]) -> None:
    one = alone(os.getpid())
    assert isinstance(one.says(), messages.Ready)
    one.end.close()
    assert one.process.wait(SECONDS) == 0


def test_a_worker_that_cannot_be_set_up_says_so_and_ends(alone: Callable[..., Alone]) -> None:
    one = alone(os.getpid(), "no-such-plugin")
    assert isinstance(one.says(), messages.SetupFailed)
    assert one.process.wait(SECONDS) == 0


def test_a_worker_whose_parent_is_gone_before_it_is_there_ends_at_once(alone: Callable[..., Alone]) -> None:
    """The kernel tells of a parent's death only from prctl on."""
    one = alone(os.getppid())
    with pytest.raises(EOFError):
        one.says()
    assert one.process.wait(SECONDS) == 0


PARENT = """
import asyncio, os, sys
from faceblurd.model import BlurSpec, DetectionSpec, Fingerprint, HaarSpec, Job, Mode, Recipe
from faceblurd.workers.job import Setup
from faceblurd.workers.pool import Limits, Pool

def computed(pid):
    return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[11]) / os.sysconf("SC_CLK_TCK")

async def main():
    recipe = Recipe("test", DetectionSpec((HaarSpec(),), 200), BlurSpec())
    pool = Pool(Setup((recipe,), ("misbehaving",), 300 << 20, os.getpid()), Limits(2, 3600.0, 500, 3600.0))
    source = os.open(sys.argv[1], os.O_RDONLY)
    job = Job(1, "hang", recipe, Mode.MIRROR, Fingerprint.from_stat(os.fstat(source)), None, 1 << 20)
    async with pool.worker() as busy:
        async with pool.worker() as idle:
            pass
        await busy.begin(job, source_fd=source, staging_fd=os.dup(1), within_seconds=3600.0)
        hangs = asyncio.ensure_future(busy.go_on(proceed=True))
        before = computed(busy.pid)
        while computed(busy.pid) < before + 0.5:  # then it has left the socket, and will not see that it closes
            await asyncio.sleep(0.02)
        print(busy.pid, idle.pid, flush=True)
        await hangs  # until it is killed

asyncio.run(main())
"""


def test_workers_die_with_a_parent_that_is_killed_idle_or_busy(
    tmp_path: Path, with_pool: With, misbehaving: str, wait_until: Callable[..., Any]
) -> None:
    del with_pool  # its photo is there
    (tmp_path / "parent.py").write_text(PARENT)
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py", tmp_path / "photo.png"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert all(_runs(pid) for pid in pids)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not any(_runs(pid) for pid in pids), what="the workers' end")


def _runs(pid: int) -> bool:
    """Tell whether a process is there and not a zombie."""
    with suppress(OSError):
        return _stat(pid)[0] != "Z"
    return False


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()


def _computed_seconds(pid: int) -> float:
    return int(_stat(pid)[11]) / os.sysconf("SC_CLK_TCK")


def _kill_and_wait(pid: int) -> None:
    """Kill a worker and wait, without letting the loop or anybody reap it."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def _descriptors(pid: int) -> list[str]:
    """Say what a process has open; a number of ours is none of a test's business."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return sorted(found)
