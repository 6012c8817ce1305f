"""The real engine, ledger and publisher on a real folder, against people, lost events and crashes at every step.

A virtual clock and stand-ins for workers (`engine_run`), a folder whose stat says as little as it may (`engine_disk`),
and people (`engine_world`). At any call that changes the disk or the ledger, and after any call of the root's thread,
somebody may do something, the disk may be full, or the process may end. Here are the histories, and what must hold at
each of these points. Power is cut for real in `tests/fault/test_power_cut.py`; what it takes to survive that (an fsync
before anything is recorded) is asked here as well.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pytest
from desk import plan_of
from engine_run import Run, bury
from engine_world import CHANGES, UPLOADS, World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from faceblurd.ledger.ledger import Ledger
from faceblurd.model import BlurSpec, DetectionSpec, Fingerprint, Mode, Reason, Recipe, State
from faceblurd.rules.decide import DONE
from faceblurd.rules.foreign import STAGING_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from engine_run import Hand

    from faceblurd.model import Entry

PATHS = st.sampled_from(["a.jpg", "b.jpg", "c.jpg"])
KINDS = st.sampled_from(["photo", "photo", "clean", "bad"])
NUMBERS = st.integers(0, 9)
ENDS = st.sampled_from(["", "lost", "crash", "stop", "other recipe", "back", "back", "touched", "copy", "moved"])
DEEDS = st.sampled_from(["", "crash", "crash", "crash", "full", *CHANGES])
RECIPES = [Recipe(f"R{levels}", DetectionSpec((), None), BlurSpec(levels=levels)) for levels in (4, 8)]
MEMORY = "/dev/shm"  # noqa: S108 - only the process dies here: where there is such a folder, nothing waits for a disk
QUIET = 2.0
WORKER_STEPS = 5  # so many, and one to spare, end a job
POINTS = 30  # a photo's life has some 26


class Deed(NamedTuple):
    """Something that happens at a point, after so many others. `heard`: there is an event of it."""

    left: int
    what: str
    path: str
    heard: bool


def only_where(condition: Callable[[EngineMachine], object]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Do nothing elsewhere. No precondition: what is drawn must not hang on when the kernel gives a lease back."""

    def guard(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def guarded(machine: EngineMachine, *arguments: Any, **options: Any) -> None:
            if condition(machine):
                function(machine, *arguments, **options)

        return guarded

    return guard


class EngineMachine(RuleBasedStateMachine):
    mode: ClassVar[Mode]

    @initialize(is_nameless=st.booleans())
    def begin(self, *, is_nameless: bool) -> None:
        gc.freeze()  # what is here already is no garbage of ours, and need not be gone through for it
        self.folder = Path(
            tempfile.mkdtemp(prefix="engine-machine-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
        )
        self.world = World(self.folder, self.mode, is_nameless=is_nameless)
        disk = self.world.disk
        disk.at_point, self.world.staging_of = self._point, self._staging_names
        disk.watch(Ledger, "put", self._is_durable)
        disk.watch(Ledger, "end", self._is_swept)
        (self.folder / "state").mkdir()
        self.recipe, self.time, self.is_stopping, self.is_broken = 0, 0.0, False, False
        self.deeds: list[Deed] = []
        self.events: list[str] = []
        self.graves: list[Run] = []
        self.run: Run | None = None
        self.ledger: Ledger | None = None
        self.start(recipe=0)

    # --- points

    def _point(self) -> None:
        """Ask at each change of disk or ledger whether everything holds, and let what is due there happen."""
        run = self.run
        assert run is not None
        if run.thread.is_dead:
            run.end_here()
        try:
            self._check()
        except AssertionError as error:
            run.wrong.append(str(error))
        if not self.deeds:
            return
        deed = self.deeds[0]
        if deed.left:
            self.deeds[0] = deed._replace(left=deed.left - 1)
        else:
            del self.deeds[0]
            self._befall(run, deed)

    def _befall(self, run: Run, deed: Deed) -> None:
        if deed.what == "crash":
            run.end_here()
        elif deed.what == "full":
            self.world.disk.faults, self.has_failed = 1, True
        elif (happened := self.world.do(deed.what, deed.path)) and deed.heard and not self.is_stopping:
            run.root.point_at([happened])
        elif happened and deed.heard:
            self.events.append(happened)

    # --- people

    @rule(deed=st.sampled_from(CHANGES), path=PATHS, other=PATHS, kind=KINDS, heard=st.booleans())
    def people(self, deed: str, path: str, other: str, kind: str, *, heard: bool) -> None:
        happened = self.world.do(deed, path, other, kind)
        if happened and heard:
            self.events.append(happened)

    @rule(kind=st.sampled_from(["photo", "clean"]), heard=st.booleans())
    @only_where(lambda self: self.world.writers)
    def a_program_ends_what_it_writes(self, kind: str, *, heard: bool) -> None:
        path = self.world.finish_writing(kind)
        if path and heard:
            self.events.append(path)

    @rule(after=st.integers(0, 12), deed=DEEDS, path=PATHS, heard=st.booleans())
    def something_will_happen(self, after: int, deed: str, path: str, *, heard: bool) -> None:
        self.deeds.append(Deed(after, deed, path, heard))

    @rule()
    def retry_what_is_held(self) -> None:
        with self.world.disk.acting():
            for entry in self._known().in_state(State.QUARANTINED):
                self._known().put(replace(entry, state=State.RETRY, attempts=0, reason=None, detail=""))
                self.events.append(entry.path)

    # --- time, events, scans, workers

    def _go(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run until it ends, or the process does."""
        assert self.run is not None
        self.is_broken = True
        goes_on = self.run.until(coroutine)
        self.is_broken = False
        if not goes_on:
            self._has_ended()

    @rule(seconds=st.sampled_from([0.0, 0.5, QUIET, 2 * QUIET, 40.0]))
    @only_where(lambda self: self.run)
    def time_passes(self, seconds: float) -> None:
        self._go(asyncio.sleep(seconds))

    @rule(number=NUMBERS)
    @only_where(lambda self: self.run and self.events)
    def hear_an_event(self, number: int) -> None:
        assert self.run is not None
        self._go(self.run.root.hinted([self.events.pop(number % len(self.events))]))

    @rule()
    def lose_the_events(self) -> None:
        self.events.clear()

    @rule()
    @only_where(lambda self: self.run)
    def scan(self) -> None:
        assert self.run is not None
        names = sorted(name for name in os.listdir(self.world.root) if not name.startswith("."))
        self._go(self.run.root.hinted(names, fresh=False))

    def _hands(self) -> list[Hand]:
        return [] if self.run is None else [hand for hand in self.run.pool.hands if hand.answer is not None]

    @rule(number=NUMBERS, steps=st.integers(1, 4))
    @only_where(lambda self: self._hands())
    def a_worker_goes_on(self, number: int, steps: int) -> None:
        for _ in range(steps):
            if hands := self._hands():
                hands[number % len(hands)].next()
                self._go(asyncio.sleep(0.01))

    @rule(number=NUMBERS)
    @only_where(lambda self: self._hands())
    def a_worker_dies(self, number: int) -> None:
        hands = self._hands()
        hands[number % len(hands)].die()
        self._go(asyncio.sleep(0.01))

    @rule(
        path=PATHS, kind=KINDS, how=st.sampled_from(["new", "anew", "kept new"]), steps=st.integers(0, 4),
        meanwhile=st.sampled_from(["", "", *CHANGES]), after=st.integers(0, 24), deed=DEEDS, more=st.integers(0, 12),
        later=DEEDS, heard=st.booleans(), end=ENDS,
    )  # fmt: skip
    def an_eventful_life(
        self, path: str, kind: str, how: str, steps: int, meanwhile: str, after: int, deed: str, more: int, later: str,
        *, heard: bool, end: str,
    ) -> None:  # fmt: skip
        """Do at once what few random histories would reach: two things at points of a job, one before, and an end."""
        if self.run is None:
            self.start(recipe=self.recipe)
        self.world.do(how, path, kind=kind)
        self.deeds[:] = [Deed(after, deed, path, heard), Deed(more, later, path, heard)]
        self._is_taken_up(path)
        self.a_worker_goes_on(0, steps)
        self.people(meanwhile, path, "c.jpg", "photo", heard=heard)
        if end == "lost" and self._hands():
            self.a_worker_dies(0)
        self.a_worker_goes_on(0, WORKER_STEPS - steps)
        if end == "crash" and self.run is not None:
            self.crash()
        elif end == "stop" and self.run is not None:
            self.stop()
        elif end == "other recipe":
            self.start_with_the_other_recipe()
        elif end in CHANGES:
            self.people(end, path, "c.jpg", "photo", heard=heard)
        if end != "stop" and self.run is None:
            self.start(recipe=self.recipe)  # with what is still to happen: now it does during the recovery
        self.deeds.clear()
        self.world.disk.faults = 0

    def _is_taken_up(self, path: str) -> None:
        """Let the engine hear of a photo, and open it."""
        self.events.append(path)
        while self.run is not None and self.events:
            self.hear_an_event(0)
        if self.run is not None:
            self.time_passes(QUIET + 0.5)

    @rule(
        path=PATHS, first=st.sampled_from(["full", *CHANGES]), after=st.integers(3, 16), more=st.integers(0, 6),
        later=st.sampled_from(["crash"] * 12 + CHANGES), heard=st.booleans(),
    )  # fmt: skip
    def the_exchange_is_met(self, path: str, first: str, after: int, more: int, later: str, *, heard: bool) -> None:
        """Let something happen right before a result takes its name, or after it, and something else right then."""
        if self.run is None:
            self.start(recipe=self.recipe)
        self.deeds[:] = [Deed(after, first, path, heard), Deed(more, later, path, heard)]
        self.live(path)
        self.deeds.clear()

    def live(self, path: str, kind: str = "photo") -> None:
        """Let a photo that is put there now live to its end, or to that of the process, and the recovery after it."""
        self.world.do("new", path, kind=kind)
        self._is_taken_up(path)
        self.a_worker_goes_on(0, WORKER_STEPS)
        if self.run is None:
            self.start(recipe=self.recipe)

    # --- ends and starts

    @rule(recipe=st.integers(0, 1))
    @only_where(lambda self: not self.run)
    def start(self, recipe: int) -> None:
        if self.ledger is not None:
            self.ledger.close()
        self.recipe, self.ledger, self.has_failed = recipe, None, False
        changes = {"mode": self.mode, "recipe": RECIPES[recipe], "quiet_seconds": QUIET, "take_away_held": False}
        self.run = Run(self.world, plan_of(self.folder, keep_mtime=True, **changes), since=self.time)
        self._go(self.run.recovered())

    def start_with_the_other_recipe(self) -> None:
        if self.run is not None:
            self.stop()
        self.start(recipe=1 - self.recipe)

    def _has_ended(self) -> None:
        assert self.run is not None
        self.time = self.run.now
        self.run.close_files()
        self.graves.append(self.run)
        self.run = None
        with self.world.disk.acting():
            self.ledger = Ledger(self.folder / "state" / "ledger")  # to look into, until the next start

    @rule()
    @only_where(lambda self: self.run)
    def crash(self) -> None:
        assert self.run is not None
        self.run.thread.is_dead = True
        self._has_ended()

    @rule()
    @only_where(lambda self: self.run)
    def stop(self) -> None:
        assert self.run is not None
        self.is_stopping = True
        is_in_order = self.run.stop()
        self.is_stopping = False
        left = self._staging_files()
        # What a failing disk left half done is recovered later: after a stop, by the next start.
        intents = [one for one in self._known().intents() if self.has_failed or not one.target]
        swept = {intent.staging for intent in intents}
        assert not is_in_order or left <= {os.path.basename(name) for name in swept if name}, left
        self._has_ended()

    # --- what must hold at each point, and after each step

    def _known(self) -> Ledger:
        ledger = self.ledger if self.run is None else self.run.ledger
        assert ledger is not None
        return ledger

    def _staging_names(self) -> dict[str, str]:
        return {os.path.basename(intent.staging or ""): intent.path for intent in self._known().intents()}

    def _staging_files(self) -> set[str]:
        folders = (self.world.root, self.world.mirror)
        return {name for folder in folders for name in os.listdir(folder) if name.startswith(STAGING_PREFIX)}

    @invariant()
    def everything_holds(self) -> None:
        if hasattr(self, "run"):
            self.is_broken = True
            assert self.run is None or not self.run.wrong, self.run.wrong
            self._check()
            self.is_broken = False

    def _check(self) -> None:
        self.world.check()
        assert self._staging_files() <= set(self._staging_names())
        bugs = [entry for entry in self._known().in_state(State.QUARANTINED) if entry.reason is Reason.INTERNAL_ERROR]
        assert not bugs, bugs
        there = self.world.contents(self.world.root)
        for path, content in there.items():
            entry = self._known().entry(str(self.world.root), path)
            if entry is not None and self._counts_as_done(entry):
                self._is_finished(path, content)

    def _counts_as_done(self, entry: Entry) -> bool:
        """Tell whether a scan would go past it: by its fingerprint, under this recipe."""
        is_done = entry.state in DONE and entry.recipe == RECIPES[self.recipe].digest
        return is_done and entry.source == Fingerprint.from_stat(os.stat(self.world.root / entry.path))

    def _is_finished(self, path: str, content: str) -> None:
        name = RECIPES[self.recipe].name
        if self.mode is Mode.IN_PLACE:
            assert content.startswith((f"{name}(", "clean")), f"{path} counts as done, and is {content}"
        elif not self.world.is_foreign(path):
            there = self.world.contents(self.world.mirror)
            made = {content} if content.startswith("clean") else {f"{name}({content})"}
            if content.startswith(f"{name}("):  # our own, unless that was forgotten (`goes_on` asks the ledger)
                made.add(content)
            assert there.get(path) in made, f"{path} counts as published, and the mirror has {there}"

    def _is_durable(self, _: Ledger, entry: Entry) -> None:
        """Nothing is recorded as published before an fsync of its folder: a power cut would bring the photo back."""
        is_safe = entry.state not in DONE or f"{entry.to}/{entry.path}" not in self.world.disk.unsynced
        assert self.run is not None
        self.run.expect(is_safe, f"{entry.path} is recorded before its folder is durable")

    def _is_swept(self, ledger: Ledger, token: str) -> None:
        """No intent ends before its staging file's name is gone for good, which nothing else knows."""
        names = {intent.staging for intent in ledger.intents() if intent.token == token}
        assert self.run is not None
        self.run.expect(not names & self.world.disk.unsynced, f"a power cut may bring {names} back")

    # --- the end

    @rule()
    @only_where(lambda self: not self.world.writers)
    def come_to_rest(self) -> None:
        """Without new faults, everything is published once under the current recipe, and then there is no more work."""
        self.deeds.clear()
        self.events.clear()
        self.world.disk.faults = 0
        if self.run is None:
            self.start(recipe=self.recipe)
        self._work_everything_off()
        self.retry_what_is_held()
        self._work_everything_off()
        self._everything_is_finished()
        assert self.run is not None
        before = self.run.worked
        self._work_everything_off()
        assert self.run.worked == before, "there is no end to it"

    def _work_everything_off(self) -> None:
        run = self.run
        assert run is not None
        for _ in range(400):
            if not run.root.is_busy:
                self.time_passes(100.0)
                self.scan()
                if not run.root.is_busy:
                    return
            for hand in self._hands():
                hand.next()
            self.time_passes(0.01 if self._hands() else QUIET)
        raise AssertionError(f"there is no end to it: {run.root.photos}")

    def _everything_is_finished(self) -> None:
        assert self._known().intents() == []
        assert self._staging_files() == set()
        for path, content in self.world.contents(self.world.root).items():
            entry = self._known().entry(str(self.world.root), path)
            assert entry is not None, path
            assert entry.source == Fingerprint.from_stat(os.stat(self.world.root / path)), path
            if content.startswith("bad"):
                assert (entry.state, entry.reason) == (State.QUARANTINED, Reason.DAMAGED)
            elif entry.reason is Reason.TARGET_EXISTS:
                assert self.world.is_foreign(path)
            else:
                assert entry.state in DONE, entry
                assert entry.recipe == RECIPES[self.recipe].digest

    def teardown(self) -> None:
        if not hasattr(self, "run"):
            return
        try:
            if not self.is_broken:
                self.deeds.clear()
                while self.world.writers:
                    self.a_program_ends_what_it_writes("photo", heard=False)
                self.come_to_rest()
                self.start_with_the_other_recipe()
                self.come_to_rest()
        finally:
            self._put_away()

    def _put_away(self) -> None:
        if self.run is not None:
            self.run.thread.is_dead = True
            self._has_ended()
        bury(self.graves)
        gc.unfreeze()
        if self.ledger is not None:
            self.ledger.close()
        self.world.close()
        shutil.rmtree(self.folder)


class InPlaceMachine(EngineMachine):
    mode = Mode.IN_PLACE


class MirrorMachine(EngineMachine):
    mode = Mode.MIRROR


def _cases(machine: type[EngineMachine], examples: int) -> type[Any]:
    """Give a test class that plays so many histories."""
    case: Any = type(machine.TestCase.__name__, (machine.TestCase,), {})
    is_ci = bool(os.environ.get("CI"))  # there, a rare find must not fail a change that has nothing to do with it
    case.settings = settings(max_examples=examples, stateful_step_count=30, derandomize=is_ci)
    return case  # type: ignore[no-any-return]


def _live(mode: Mode, *deeds: tuple[int, str], is_nameless: bool) -> None:
    """Let a photo live once, with these deeds at its points; then everything must come to rest."""
    machine = InPlaceMachine() if mode is Mode.IN_PLACE else MirrorMachine()
    machine.begin(is_nameless=is_nameless)
    machine.deeds.extend(Deed(left, what, "a.jpg", heard=False) for left, what in deeds)
    machine.live("a.jpg")
    machine.everything_holds()
    machine.teardown()


@pytest.mark.parametrize("mode", Mode)
def test_whatever_is_done_to_a_finished_photo_it_comes_to_rest(mode: Mode) -> None:
    """Put back, copied, moved, touched, overwritten: seen or skipped, and then made anew under another recipe."""
    for deed, kind in itertools.product(CHANGES, ["photo", "clean"]):
        machine = InPlaceMachine() if mode is Mode.IN_PLACE else MirrorMachine()
        machine.begin(is_nameless=True)
        machine.live("a.jpg", kind)
        machine.people(deed, "a.jpg", "b.jpg" if deed != "copy back" else "a.jpg", "photo", heard=False)
        machine.everything_holds()
        machine.teardown()


@pytest.mark.parametrize("is_nameless", [True, False])
@pytest.mark.parametrize("first", ["over", "kept new"])
def test_uploads_that_an_exchange_brings_out_are_put_back_or_shown(first: str, *, is_nameless: bool) -> None:
    """Few random histories find these: an upload right before the exchange, another one or an end right after it."""
    exchange = 12 if is_nameless else 10  # the point before it
    ends = [[], [(0, "crash")]]
    seconds = [[], *([(more, second)] for more in range(3) for second in ("kept new", "moved"))]
    for after, second, end in itertools.product((exchange - 2, exchange), seconds, ends):
        _live(Mode.IN_PLACE, (after, first), *second, *end, is_nameless=is_nameless)


@pytest.mark.slow  # every point, every change, every end; the random histories below are in `make test`
@pytest.mark.parametrize("deed", ["crash", "full", *CHANGES])
@pytest.mark.parametrize("mode", Mode)
def test_every_point_of_a_life_survives_every_change_and_a_crash(mode: Mode, deed: str) -> None:
    """Walk through all of them, since luck alone finds the rarest."""
    ends = [[], *([(more, "crash")] for more in (0, 3))]
    for is_nameless, after, end in itertools.product((True, False), range(POINTS), ends):
        _live(mode, (after, deed), *end, is_nameless=is_nameless)


@pytest.mark.slow  # every pair of changes, at every point around the exchange
@pytest.mark.parametrize("first", ["over", "kept", "kept new", "open", "moved"])
def test_every_two_changes_around_an_exchange_leave_every_upload(first: str) -> None:
    """The first one makes the exchange bring out what nobody read; the second one comes while that goes back."""
    seconds = [*UPLOADS, "gone", "moved", "open"]
    for after, second, more in itertools.product(range(8, 16), seconds, range(5)):
        _live(Mode.IN_PLACE, (after, first), (more, second), is_nameless=True)


TestInPlace, TestMirror = _cases(InPlaceMachine, 22), _cases(MirrorMachine, 16)
TestInPlaceLong = pytest.mark.slow(_cases(InPlaceMachine, 200))
TestMirrorLong = pytest.mark.slow(_cases(MirrorMachine, 200))
