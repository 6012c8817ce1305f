"""The pool with real processes: a plugin crashes, hangs, hoards and kills for real; only its own job is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

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
from faceblurd.workers import messages
from faceblurd.workers.job import Setup, main
from faceblurd.workers.pool import Limits, Lost, Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECIPE = Recipe("test", DetectionSpec((HaarSpec(),), 200), BlurSpec())
PATIENT = Limits(count=2, deadline_seconds=3600.0, recycle_after_files=500, idle_seconds=3600.0)
LONELY = replace(PATIENT, count=1)
PLUGIN = """
    import ctypes, gc, os, signal, time
    from multiprocessing.connection import Connection
    from faceblurd.plugins.hookspecs import hookimpl

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
            for pipe in [one for one in gc.get_objects() if isinstance(one, Connection)]:
                pipe.send_bytes(b"nonsense")
        if "orphan" in path and os.fork():  # the child has the pipe, too, and outlives us
            signal.raise_signal(signal.SIGKILL)
        if "orphan" in path:
            while not os.path.exists(os.path.dirname(__file__) + "/end"):
                time.sleep(0.05)
            os._exit(0)
        if "half an answer" in path:
            for pipe in [one for one in gc.get_objects() if isinstance(one, Connection)]:
                os.write(pipe.fileno(), bytes([0, 0, 1, 0, 91]))
            time.sleep(3600)
        if "raise" in path:
            raise RuntimeError("a bug in the plugin")
        return []
"""


@pytest.fixture
def misbehaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install the plugin where this process and its workers find it."""
    site = tmp_path / "site"
    info = site / "misbehaving_pool_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "misbehaving_pool_plugin.py").write_text(textwrap.dedent(PLUGIN))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving-pool-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[faceblurd]\nmisbehaving = misbehaving_pool_plugin\n")
    monkeypatch.syspath_prepend(str(site))
    return "misbehaving"


class Clock:
    """The time that the pool goes by; `ahead` lets it jump."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Bench:
    """A pool and the loop around it, as the pipeline has one."""

    def __init__(self, folder: Path, limits: Limits, plugins: tuple[str, ...] = (), *, sandbox: bool = True) -> None:
        self.folder, self.mode = folder, Mode.MIRROR
        setup = Setup((RECIPE,), plugins, 300 << 20, os.getpid(), sandbox)
        self.clock = Clock()
        self.pool = Pool(setup, limits, clock=self.clock)
        self.pids: list[int] = []

    def step(self, seconds: float = 0.2) -> list[Any]:
        due = self.pool.next_due()
        left = seconds if due is None else max(0.0, min(seconds, due - self.clock()))
        return [*self.pool.collect(wait(self.pool.waitables(), left)), *self.pool.expire()]

    def run(self, *names: str, proceed: bool = True, seconds: float = 300.0) -> dict[str, Any]:
        """Give each name as a job to the pool and wait for what becomes of it."""
        todo, results, out = list(enumerate(names, 1)), dict[str, Any](), dict[int, list[int]]()
        until = time.monotonic() + seconds
        while len(results) < len(names):
            assert time.monotonic() < until, f"only {results}"
            if self._only_waits([name for name in names if name not in results]):
                self.clock.ahead += self.pool._limits.deadline_seconds  # the clock is ours: nobody else comes near it
            self.pool.warm(len(todo) + self.pool.busy)
            while todo and self.pool.idle:
                number, name = todo.pop(0)
                out[number] = self._submit(number, name)
            for event in self.step():
                if isinstance(event, Hashed):
                    self.pool.answer(event.job, proceed=proceed)
                elif not isinstance(event, messages.Ready):
                    results[names[event.job - 1]] = event
                    for fd in out.pop(event.job):
                        os.close(fd)
        return results

    def _only_waits(self, left: list[str]) -> bool:
        """Whether all that is left is the first job, which hangs, or whose worker is gone and nobody is told."""
        return left == ["hang"] or (left == ["orphan"] and bool(self.pids) and not _runs(self.pids[0]))

    def _submit(self, number: int, name: str) -> list[int]:
        source = os.open(self.folder / "photo.png", os.O_RDONLY)
        staging = os.open(self.folder, os.O_TMPFILE | os.O_RDWR, 0o600)
        job = Job(number, name, RECIPE, self.mode, Fingerprint.from_stat(os.fstat(source)), None, 1 << 20)
        assert self.pool.submit(job, source_fd=source, staging_fd=staging)
        self.pids.append(next(w.process.pid for w in self.pool._workers if w.job is job) or 0)
        return [source, staging]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    from PIL import Image

    Image.effect_noise((64, 48), 40).save(tmp_path / "photo.png")
    made: list[Bench] = []

    def make(limits: Limits = PATIENT, *plugins: str, sandbox: bool = True) -> Bench:
        made.append(Bench(tmp_path, limits, plugins, sandbox=sandbox))
        return made[-1]

    yield make
    for one in made:
        one.pool.close()


def test_only_the_jobs_that_misbehave_are_lost_and_the_pool_is_whole_again(
    bench: Callable[..., Bench], misbehaving: str
) -> None:
    one = bench(PATIENT, misbehaving)
    names = ("a", "segfault", "b", "kill", "c", "memory", "d", "raise", "e", "exit", "f")
    results = one.run(*names)
    good = {name for name, result in results.items() if isinstance(result, Staged)}
    assert good == set("abcdef")
    lost = {name: result.reason for name, result in results.items() if isinstance(result, Lost)}
    assert lost == dict.fromkeys(("segfault", "kill", "exit"), Reason.WORKER_CRASHED)
    refused = {name: result.reason for name, result in results.items() if isinstance(result, Refused)}
    assert refused == {"memory": Reason.OUT_OF_MEMORY, "raise": Reason.PLUGIN_FAILED}
    assert "signal 11" in results["segfault"].detail
    assert "signal 9" in results["kill"].detail
    assert one.pool.restarts == 3
    assert {type(result) for result in one.run("g", "h", "i").values()} == {Staged}
    assert one.pool.busy == 0


def test_a_worker_that_stops_in_the_middle_of_its_answer_holds_up_nobody(
    bench: Callable[..., Bench], misbehaving: str
) -> None:
    """To read its answer to the end took for ever, and the whole daemon with it; only its own deadline counts now."""
    one = bench(Limits(2, deadline_seconds=5.0, recycle_after_files=500, idle_seconds=60.0), misbehaving)
    results = one.run("half an answer", "a", "b")
    assert list(results) == ["a", "b", "half an answer"]
    assert results["half an answer"].reason is Reason.DEADLINE
    assert one.pool.busy == 0


def test_a_job_with_thousands_of_zones_waits_for_no_worker_that_is_stopped(tmp_path: Path) -> None:
    """Its recipe is larger than a socket's buffer: to send it waited for a worker that had been stopped while idle."""
    zones = tuple(Zone(0.1, 0.1, 0.01, 0.01) for _ in range(20_000))
    recipe = replace(RECIPE, zones=Zones(always=zones))
    pool = Pool(Setup((recipe,), (), 300 << 20, os.getpid()), LONELY, clock=time.monotonic)
    try:
        pool.warm(1)
        while not pool.idle:
            pool.collect(wait(pool.waitables(), 60.0))
        os.kill(pool._workers[0].process.pid or 0, signal.SIGSTOP)
        (tmp_path / "photo").touch()
        fd = os.open(tmp_path / "photo", os.O_RDONLY)
        job = Job(1, "photo", recipe, Mode.MIRROR, Fingerprint.from_stat(os.fstat(fd)), None, 1 << 20)
        assert pool.submit(job, source_fd=fd, staging_fd=fd)
        os.close(fd)
    finally:
        pool.close()


def test_a_job_over_its_deadline_is_ended_and_the_others_are_not(bench: Callable[..., Bench], misbehaving: str) -> None:
    one = bench(PATIENT, misbehaving)
    results = one.run("hang", "a", "b")
    assert isinstance(results["hang"], Lost)
    assert results["hang"].reason is Reason.DEADLINE
    assert isinstance(results["a"], Staged)
    assert isinstance(results["b"], Staged)
    assert not _runs(one.pids[0])


def test_a_job_that_the_parent_stops_at_its_digest_writes_nothing(bench: Callable[..., Bench]) -> None:
    assert isinstance(bench().run("a", proceed=False)["a"], Abandoned)


def test_idle_workers_retire_and_new_ones_start_when_there_is_work(
    bench: Callable[..., Bench], wait_until: Callable[..., Any]
) -> None:
    one = bench(Limits(2, deadline_seconds=3600.0, recycle_after_files=500, idle_seconds=0.3))
    one.run("a", "b")
    while one.pool.waitables():
        one.step()
    wait_until(lambda: not any(_runs(pid) for pid in one.pids), what="their end")
    assert isinstance(one.run("c")["c"], Staged)


def test_a_worker_is_replaced_after_its_files(bench: Callable[..., Bench]) -> None:
    one = bench(Limits(1, deadline_seconds=3600.0, recycle_after_files=2, idle_seconds=3600.0))
    one.run("a", "b", "c", "d")
    first, second, third, fourth = one.pids
    assert first == second != third == fourth
    assert one.pool.restarts == 0  # nobody crashed


def test_fifty_jobs_and_five_workers_leak_no_descriptor(bench: Callable[..., Bench]) -> None:
    one = bench(Limits(1, deadline_seconds=3600.0, recycle_after_files=10, idle_seconds=3600.0))
    one.run("warm")
    before = len(os.listdir("/proc/self/fd"))
    one.run(*(f"n{number}" for number in range(49)))  # with the first, five times ten
    one.pool.warm(1)
    one.run("last")
    assert len(os.listdir("/proc/self/fd")) <= before


def test_killed_workers_leak_no_descriptor_and_no_process(
    bench: Callable[..., Bench], misbehaving: str, wait_until: Callable[..., Any]
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    one = bench(PATIENT, misbehaving)
    one.run("kill 1", "kill 2", "kill 3")
    one.pool.close()
    assert len(os.listdir("/proc/self/fd")) <= before
    wait_until(lambda: not any(_runs(pid) for pid in one.pids), what="their end")


def test_a_worker_killed_while_idle_costs_nothing(bench: Callable[..., Bench]) -> None:
    one = bench(Limits(1, deadline_seconds=3600.0, recycle_after_files=500, idle_seconds=3600.0))
    one.run("a")
    os.kill(one.pids[0], signal.SIGKILL)
    while one.pool.waitables():
        assert one.step() == []
    assert isinstance(one.run("b")["b"], Staged)


def test_a_plugin_that_is_missing_is_a_failed_setup_and_not_a_crash(bench: Callable[..., Bench]) -> None:
    one = bench(PATIENT, "no-such-plugin")
    one.pool.warm(1)
    events: list[Any] = []
    until = time.monotonic() + 300
    while not events and time.monotonic() < until:
        events = one.step()
    assert isinstance(events[0], messages.SetupFailed)
    assert "no-such-plugin" in events[0].message
    assert not one.pool.waitables()


def test_a_worker_that_speaks_out_of_turn_is_not_believed(bench: Callable[..., Bench]) -> None:
    """A second Ready would take the deadline away; another job's number would end that job."""
    one = bench(Limits(1, deadline_seconds=3600.0, recycle_after_files=500, idle_seconds=3600.0))
    one.run("a")
    for lie in (messages.Ready(), messages.SetupFailed("", ""), Hashed(99, ""), Abandoned(99)):
        with pytest.raises(ValueError, match="worker"):
            one.pool._note(one.pool._workers[0], lie)


def test_a_worker_that_talks_nonsense_is_ended_and_costs_its_own_job_alone(
    bench: Callable[..., Bench], misbehaving: str
) -> None:
    results = bench(PATIENT, misbehaving).run("nonsense", "a", "b")
    assert results["nonsense"] == Lost(1, Reason.WORKER_CRASHED, "the worker did not answer any more")
    assert {type(results[name]) for name in "ab"} == {Staged}


def test_a_worker_whose_end_is_hidden_by_somebody_who_has_its_pipe_is_given_up_at_its_deadline(
    bench: Callable[..., Bench], misbehaving: str, tmp_path: Path
) -> None:
    """A process that a plugin started; the sandbox would not let it."""
    one = bench(LONELY, misbehaving, sandbox=False)
    try:
        lost = one.run("orphan")["orphan"]
        assert (type(lost), lost.reason) == (Lost, Reason.DEADLINE)
        assert isinstance(one.run("a")["a"], Staged)
    finally:
        (tmp_path / "site" / "end").touch()


def test_a_worker_that_dies_right_before_it_gets_a_job_takes_none_of_it_along(bench: Callable[..., Bench]) -> None:
    one = bench(LONELY)
    one.run("a")
    os.kill(one.pids[0], signal.SIGKILL)
    one.pool._workers[0].process.join(300)
    job = Job(2, "b", RECIPE, Mode.MIRROR, Fingerprint(1, 2, 3, 4, 5), None, 100)
    assert not one.pool.submit(job, source_fd=0, staging_fd=0)
    assert (one.pool.busy, one.pool.idle) == (0, 0), "nor is it asked again"
    while one.pool.waitables():
        assert one.step() == []
    assert isinstance(one.run("c")["c"], Staged)


def test_a_worker_that_dies_right_before_it_gets_its_answer_loses_its_job_and_no_more(
    bench: Callable[..., Bench],
) -> None:
    one = bench(LONELY)
    _until_hashed(one, "a")
    os.kill(one.pids[0], signal.SIGKILL)
    one.pool._workers[0].process.join(300)
    one.pool.answer(1, proceed=True)
    events = one.step()
    assert events == [Lost(1, Reason.WORKER_CRASHED, "the worker was ended by signal 9")]


def test_a_job_that_is_cancelled_is_not_heard_of_again_and_the_others_go_on(
    bench: Callable[..., Bench], misbehaving: str
) -> None:
    one = bench(LONELY, misbehaving)
    _until_hashed(one, "hang")
    one.pool.answer(1, proceed=True)
    one.pool.cancel(99)
    assert one.pool.busy == 1
    one.pool.cancel(1)
    assert one.pool.busy == 0
    assert one.pool.waitables() == []
    assert not _runs(one.pids[0])
    assert isinstance(one.run("a")["a"], Staged)
    assert one.pool.restarts == 0, "that was us"


def _until_hashed(one: Bench, name: str) -> None:
    """Give a job to the only worker, and wait for its question."""
    until = time.monotonic() + 300
    one.pool.warm(1)
    while not one.pool.idle:
        assert time.monotonic() < until
        one.step()
    for fd in one._submit(1, name):
        os.close(fd)  # it has its own
    while not any(isinstance(event, Hashed) for event in one.step()):
        assert time.monotonic() < until


def test_workers_that_die_at_their_start_are_started_again_later_and_later(tmp_path: Path, misbehaving: str) -> None:
    (tmp_path / "site" / "misbehaving_pool_plugin.py").write_text("import os; os._exit(3)")
    now = 1000.0
    pool = Pool(Setup((RECIPE,), (misbehaving,), 300 << 20, os.getpid()), LONELY, clock=lambda: now)
    for pause in (0.5, 2.0, 10.0, 30.0, 30.0):
        pool.warm(1)
        assert pool.waitables(), "it is time"
        while pool.waitables():
            assert pool.collect(wait(pool.waitables(), 60)) == []
        assert pool.next_due() == now + pause
        now += pause - 0.1
        pool.warm(1)
        assert not pool.waitables(), "it would die at once, and again"
        now += 0.1
    assert pool.restarts == 5


def test_a_clean_photo_in_place_needs_no_result(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.mode = Mode.IN_PLACE
    assert isinstance(one.run("a")["a"], Untouched)


def _alone(parent_pid: int, *plugins: str) -> tuple[Any, Any]:
    """Start a worker without a pool; give our end of its pipe, and the process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    setup = Setup((RECIPE,), plugins, 300 << 20, parent_pid)
    process = context.Process(target=main, args=(theirs, setup), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def test_a_worker_ends_by_itself_when_nobody_is_at_the_other_end() -> None:
    ours, process = _alone(os.getpid())
    assert isinstance(messages.decode(ours.recv_bytes()), messages.Ready)
    ours.close()
    process.join(300)
    assert process.exitcode == 0


def test_a_worker_that_cannot_be_set_up_says_so_and_ends() -> None:
    ours, process = _alone(os.getpid(), "no-such-plugin")
    assert isinstance(messages.decode(ours.recv_bytes()), messages.SetupFailed)
    process.join(300)
    assert process.exitcode == 0
    ours.close()


def test_a_worker_whose_parent_is_gone_before_it_is_there_ends_at_once() -> None:
    """The kernel tells of a parent's death only from prctl on."""
    ours, process = _alone(os.getppid())
    with pytest.raises(EOFError):
        ours.recv_bytes()
    process.join(300)
    assert process.exitcode == 0
    ours.close()


PARENT = """
import os, sys, time
from multiprocessing.connection import wait
from faceblurd.model import BlurSpec, DetectionSpec, Fingerprint, HaarSpec, Hashed, Job, Mode, Recipe
from faceblurd.workers.job import Setup
from faceblurd.workers.pool import Limits, Pool

if __name__ == "__main__":
    recipe = Recipe("test", DetectionSpec((HaarSpec(),), 200), BlurSpec())
    setup = Setup((recipe,), ("misbehaving",), 300 << 20, os.getpid())
    pool = Pool(setup, Limits(2, 3600.0, 500, 3600.0), clock=time.monotonic)
    pool.warm(2)
    while pool.idle < 2:
        pool.collect(wait(pool.waitables()))
    source = os.open(sys.argv[1], os.O_RDONLY)
    print_ = Fingerprint.from_stat(os.fstat(source))
    pool.submit(Job(1, "hang", recipe, Mode.MIRROR, print_, None, 1 << 20), source_fd=source, staging_fd=os.dup(1))
    while not any(isinstance(event, Hashed) for event in pool.collect(wait(pool.waitables()))):
        pass
    pool.answer(1, proceed=True)
    (busy,) = (worker.process.pid for worker in pool._workers if worker.job)
    computed = lambda: int(open(f"/proc/{busy}/stat").read().rpartition(")")[2].split()[11]) / os.sysconf("SC_CLK_TCK")
    before = computed()
    while computed() < before + 0.5:  # then it has left the pipe, and will not see that it closes
        time.sleep(0.02)
    print(*(worker.process.pid for worker in pool._workers), flush=True)
    time.sleep(3600)  # until it is killed
"""


def test_workers_die_with_a_parent_that_is_killed_idle_or_busy(
    tmp_path: Path, bench: Callable[..., Bench], misbehaving: str, wait_until: Callable[..., Any]
) -> None:
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
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0] != "Z"
        )
    return False


def test_without_an_idle_worker_a_job_is_not_taken() -> None:
    pool = Pool(Setup((RECIPE,), (), 1 << 30, os.getpid()), PATIENT, clock=time.monotonic)
    job = Job(1, "a.jpg", RECIPE, Mode.MIRROR, Fingerprint(1, 2, 3, 4, 5), None, 100)
    assert not pool.submit(job, source_fd=-1, staging_fd=-1)
    assert pool.next_due() is None


def test_a_closed_pool_starts_no_worker_any_more() -> None:
    """An answer that comes late would else start one that nobody ends, and the daemon waits for it at its exit."""
    pool = Pool(Setup((RECIPE,), (), 1 << 30, os.getpid()), PATIENT, clock=time.monotonic)
    pool.close()
    pool.warm(1)
    assert pool.waitables() == []
