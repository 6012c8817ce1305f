"""The long-running service: start order, signals, reload, and the same order backwards at the stop.

Start: lock, ledger, a first worker (all detectors and plugins load, or nothing starts), READY; then for each root, as
far as it answers: what a crash left is finished, and it is watched.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from faceblurd import account, assembly
from faceblurd.config.reach import ANSWER_SECONDS, begin, within
from faceblurd.errors import FaceblurdError, SetupError
from faceblurd.intake.root import Pace
from faceblurd.outlet import moving
from faceblurd.outlet.ledger import BUSY_SECONDS, Ledger, is_full, is_locked
from faceblurd.state_files import LEDGER_NAME, QUARANTINE_NAME, lock_state
from faceblurd.telemetry.pulse import Pulse
from faceblurd.telemetry.status import StatusFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceblurd.assembly import Assembly, Voice
    from faceblurd.config import Config
    from faceblurd.intake.mirror import Mirror
    from faceblurd.pipeline import RootPlan
    from faceblurd.telemetry.sd_notify import Notifier

T = TypeVar("T")
STATUS_SECONDS = 2.0
READ_SECONDS = 60.0  # for a reload to read what it names: folders are waited for 5 s, a model on a dead share for ever
PAUSE_SECONDS = 1.0  # how soon a stop, or room, is noticed


class _StoppedError(Exception):
    """A stop was asked for while the daemon starts."""


def _remedy(error: sqlite3.Error) -> str:
    return "Wait until the program that has it locked is done" if is_locked(error) else "Make room there"


class Daemon:
    """One instance on one state directory."""

    def __init__(
        self, config: Config, load: Callable[[], Config], *, voice: Voice, notifier: Notifier,
        configure: Callable[[Config], None],
    ) -> None:  # fmt: skip
        """Start by `config`. `load` reads it anew at a reload. `configure` sets up the log by it."""
        self._stop_asked = self._reload_asked = False
        self._handle_signals()  # first of all: a stop while we start ends us, and a reload is not lost
        self._configure = configure
        self._load, self._voice, self._notifier = load, voice, notifier
        self._config = config
        self._plans = assembly.plans_for(config)
        self._status = StatusFile(self._config.state_dir)
        self._pulse: Pulse | None = None
        self._next_status = 0.0
        self._paused = ""
        self._started_at = int(time.time())

    def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises FaceblurdError when it cannot start."""
        lock = lock_state(self._config.state_dir)
        try:
            self._pulse = Pulse(self._config.state_dir)
            self._run(Ledger(self._config.state_dir / LEDGER_NAME, busy_seconds=BUSY_SECONDS))
        finally:
            os.close(lock)
        self._voice.tell("daemon.stopped")

    def _run(self, ledger: Ledger) -> None:
        try:
            self._recover()
            self._assembly = self._assemble(self._config, self._plans, ledger)
            assembly.wait_until_ready(self._assembly.pool, meanwhile=self._heed_stop)
            assembly.make_mirrors(self._plans, ledger)
            self._open_roots(self._assembly, self._config, self._plans, ledger)
            self._assembly.plugins.daemon_started([plan.path for plan in self._plans])
            paths, sandbox = [plan.path for plan in self._plans], self._assembly.pool.sandbox
            self._voice.tell("daemon.started", roots=paths, pid=os.getpid(), sandbox=sandbox or "none")
            self._notifier.ready()
            self._loop(ledger)
            self._stop()
        except _StoppedError:  # before anything was begun
            self._notifier.stopping()
        except sqlite3.Error as error:  # a full disk below the state directory: files are safe, the ledger is behind
            raise FaceblurdError(
                f"the ledger in {self._config.state_dir} cannot be written: {error}",
                remedy=f"{_remedy(error)}; the service then starts again and goes on where it was",
            ) from error
        finally:
            self._close(ledger)

    def _close(self, ledger: Ledger) -> None:
        with suppress(sqlite3.Error):  # what it could not write down is an intent, and the next start deals with it
            if hasattr(self, "_assembly"):
                self._assembly.close()
            ledger.close()
        if self._pulse is not None:
            self._pulse.close()
        self._status.remove()

    def _recover(self) -> None:
        """Finish the moves of held files that a crash cut short; jobs are finished when their root is there."""
        folder = self._config.state_dir / QUARANTINE_NAME
        within(ANSWER_SECONDS, partial(moving.recover, folder))

    def _assemble(self, config: Config, plans: list[RootPlan], ledger: Ledger) -> Assembly:
        return assembly.assemble(
            plans, workers=config.workers, hooks=config.hooks, ledger=ledger, state_dir=config.state_dir,
            patience=assembly.patience_of(config.workers), voice=self._voice, watches=True,
        )  # fmt: skip

    def _open_roots(self, made: Assembly, config: Config, plans: list[RootPlan], ledger: Ledger) -> None:
        paces = [
            Pace(root.rescan_seconds, root.watch, plan.follow_deletions)
            for plan, root in zip(plans, config.roots, strict=True)
        ]
        assembly.open_roots(made, plans, paces, ledger, self._voice)

    def _handle_signals(self) -> None:
        def ask(number: int, _frame: object) -> None:
            self._reload_asked |= number == signal.SIGHUP
            self._stop_asked |= number != signal.SIGHUP
            if hasattr(self, "_assembly"):
                self._assembly.inbox.ring()

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, ask)

    def _heed_stop(self) -> None:
        if self._stop_asked:
            raise _StoppedError

    # --- running

    def _loop(self, ledger: Ledger) -> None:
        while not self._stop_asked:
            try:
                self._turn(ledger)
            except sqlite3.OperationalError as error:
                if not (is_full(error) or is_locked(error)):
                    raise
                self._pause(ledger, "another program has it locked" if is_locked(error) else "no room for it")

    def _turn(self, ledger: Ledger) -> None:
        self._assembly.pipeline.step(self._most_seconds())
        self._heed_setup()
        self._tell_systemd()
        self._write_status(ledger)
        if self._reload_asked:
            self._reload_asked = False
            self._reload(ledger)

    def _pause(self, ledger: Ledger, why: str) -> None:
        """Put everything down until the ledger can be written again, then start over as after a crash."""
        self._paused = f"the ledger in {self._config.state_dir} cannot be written: {why}"
        self._voice.tell("daemon.paused", detail=self._paused)
        with suppress(sqlite3.Error):  # the intents of what was in hand stay, and the roots' start deals with them
            self._assembly.close()
        while not self._stop_asked and not ledger.has_room():
            self._beat()
            self._write_status(ledger)
            time.sleep(PAUSE_SECONDS)
        if not self._stop_asked:
            self._resume(ledger)

    def _resume(self, ledger: Ledger) -> None:
        self._recover()
        made = self._assemble(self._config, self._plans, ledger)
        assembly.wait_until_ready(made.pool, meanwhile=self._beat)
        assembly.make_mirrors(self._plans, ledger)
        self._open_roots(made, self._config, self._plans, ledger)
        self._assembly, self._paused = made, ""
        self._voice.tell("daemon.resumed")

    def _most_seconds(self) -> float:
        interval = self._notifier.watchdog_interval_seconds
        return 5.0 if interval is None else min(5.0, interval)

    def _heed_setup(self) -> None:
        failed = self._assembly.pipeline.setup_failed
        if failed is not None:  # a detector that loaded at the start no longer does: better to stop than to miss faces
            raise SetupError(failed.message, remedy=failed.remedy)

    def _tell_systemd(self) -> None:
        """Ping the service's watchdog: the loop has just ticked, and every root is watched as it says."""
        if all(root.alive for root in self._assembly.pipeline.roots.values()):
            self._beat()

    def _beat(self) -> None:
        """Tell systemd, and whoever asks (`faceblurd health`), that we go on."""
        self._notifier.watchdog()
        if self._pulse is not None:
            self._pulse.answer()

    def _write_status(self, ledger: Ledger) -> None:
        now = time.monotonic()
        if now < self._next_status:
            return
        self._next_status = now + STATUS_SECONDS
        try:
            roots = account.of_roots(self._assembly.pipeline, self._plans, ledger, now)
            self._status.write({**self._own_account(), "roots": roots})
        except OSError as error:
            self._voice.tell("status.failed", detail=error.strerror)
        pipeline = self._assembly.pipeline
        busy = f"{len(pipeline.roots)} roots, {len(pipeline.waiting)} files on their way"
        self._notifier.status(self._paused or busy)

    def _own_account(self) -> dict[str, Any]:
        workers = account.of_workers(self._assembly.pool)
        return {"pid": os.getpid(), "started": self._started_at, "paused": self._paused, "workers": workers}

    # --- reload and stop

    def _reload(self, ledger: Ledger) -> None:
        """Take over a new configuration whole, or none of it."""
        self._notifier.reloading()
        try:
            self._take_over(ledger)
        except FaceblurdError as error:
            self._voice.tell("config.refused", detail=str(error))
        except sqlite3.Error:  # no room for what was in hand: again after the pause
            self._reload_asked = True
            raise
        else:
            self._voice.tell("config.reloaded", roots=[plan.path for plan in self._plans])
        finally:
            self._notifier.ready()

    def _take_over(self, ledger: Ledger) -> None:
        config, plans = self._meanwhile(self._read)
        if config.state_dir != self._config.state_dir:
            raise FaceblurdError("state_dir cannot change while running", remedy="Restart the service for that")
        made = self._assemble(config, plans, ledger)
        mirrors: list[Mirror] = []
        try:
            assembly.wait_until_ready(made.pool, meanwhile=self._go_on)
            mirrors = self._meanwhile(partial(assembly.make_folders, assembly.calls_for(plans, ledger)))
            self._finish_in_hand()  # nothing refuses the configuration from here on
            assembly.fill_new(mirrors, ledger)
        except (FaceblurdError, sqlite3.Error):
            assembly.undo(mirrors)
            made.close()
            raise
        self._assembly.close()
        self._open_roots(made, config, plans, ledger)
        self._assembly, self._config, self._plans = made, config, plans
        self._configure(config)

    def _read(self) -> tuple[Config, list[RootPlan]]:
        """Read the configuration. May hang: it looks at the folders that it names, and at models."""
        config = self._load()
        return config, assembly.plans_for(config)

    def _meanwhile(self, call: Callable[[], T]) -> T:
        """Make a call that may hang, and go on with the work of the old configuration until it answers."""
        wait, until = begin(call), time.monotonic() + READ_SECONDS
        while (answer := wait(0)) is None:
            if self._stop_asked or time.monotonic() > until:
                raise FaceblurdError("something that it names does not answer", remedy="Reload it again when it does")
            self._go_on()
        return answer

    def _go_on(self) -> None:
        """Do the work of the old configuration: a worker may take longer to start than systemd waits for a ping."""
        self._assembly.pipeline.step(0.1)
        self._tell_systemd()

    def _finish_in_hand(self) -> None:
        """Let workers finish what they have, for a while; the rest is given up without a trace."""
        pipeline = self._assembly.pipeline
        pipeline.drain()
        until = time.monotonic() + self._config.workers.stop_seconds
        while pipeline.in_hand and time.monotonic() < until:
            self._go_on()

    def _stop(self) -> None:
        self._notifier.stopping()
        self._voice.tell("daemon.stopping", in_hand=self._assembly.pipeline.in_hand)
        for root in self._assembly.pipeline.roots.values():
            root.stop()
        self._assembly.pipeline.roots.clear()
        self._finish_in_hand()
        self._assembly.plugins.daemon_stopping()
