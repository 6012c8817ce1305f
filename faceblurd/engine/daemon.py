"""The long-running service: start order, signals, reload, and the same order backwards at the stop.

Start: lock, ledger, a first worker (all detectors and plugins load, or nothing starts), READY; then for each root, as
far as it answers: what a crash left is finished, and it is watched.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from faceblurd.config.probes import ANSWER_SECONDS, within
from faceblurd.engine import (
    account,
    mirrors,
    plans,
    thread,
)
from faceblurd.engine.engine import Engine
from faceblurd.engine.model import Pace
from faceblurd.engine.thread import RootThread
from faceblurd.errors import FaceblurdError
from faceblurd.ledger.database import BUSY_SECONDS, is_full, is_locked
from faceblurd.ledger.ledger import Ledger
from faceblurd.publish import moving
from faceblurd.report.status import Pulse, StatusFile
from faceblurd.state_files import LEDGER_NAME, QUARANTINE_NAME, lock_state

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from faceblurd.config.schema import Config
    from faceblurd.engine.model import Log, RootPlan
    from faceblurd.report.sd_notify import Notifier
    from faceblurd.watch.filesystem import Mirror

T = TypeVar("T")
STATUS_SECONDS = 2.0
BEAT_SECONDS = 5.0
READ_SECONDS = 60.0  # for a reload to read what it names: folders are waited for 5 s, a model on a dead share for ever
PAUSE_SECONDS = 1.0  # how soon room in the ledger is noticed


class Daemon:
    """One instance on one state directory."""

    def __init__(
        self, config: Config, load: Callable[[], Config], *, log: Log, notifier: Notifier,
        configure: Callable[[Config], None],
    ) -> None:  # fmt: skip
        """Start by `config`. `load` reads it anew at a reload. `configure` sets up the log by it."""
        self._was_asked: set[int] = set()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # First of all: a stop while we start ends us, and a reload is not lost.
            signal.signal(number, lambda number, _frame: self._was_asked.add(number))
        self._configure, self._load, self._log, self._notifier = configure, load, log, notifier
        self._config, self._plans = config, plans.plans_for(config)
        self._status = StatusFile(config.state_dir)
        self._pulse: Pulse | None = None
        self._engine: Engine | None = None
        self._paused = ""
        self._started_at = int(time.time())

    def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises FaceblurdError when it cannot start."""
        lock = lock_state(self._config.state_dir)
        try:
            self._pulse = Pulse(self._config.state_dir)
            ledger = Ledger(self._config.state_dir / LEDGER_NAME, busy_seconds=BUSY_SECONDS)
            try:
                thread.run(self._run(ledger))
            finally:
                with suppress(sqlite3.Error):
                    ledger.close()
        finally:
            if self._pulse is not None:
                self._pulse.close()
            self._status.remove()
            os.close(lock)
        self._log.event("daemon.stopped")

    async def _run(self, ledger: Ledger) -> None:
        self._stop, self._reload = asyncio.Event(), asyncio.Event()
        self._heed_signals()
        try:
            await self._unless_stopped(self._start(ledger))
            if not self._stop.is_set():
                await self._serve(ledger)
        except sqlite3.Error as error:  # a full disk below the state directory: files are safe, the ledger is behind
            remedy = "Wait until the program that has it locked is done" if is_locked(error) else "Make room there"
            raise FaceblurdError(
                f"the ledger in {self._config.state_dir} cannot be written: {error}",
                remedy=f"{remedy}; the service then starts again and goes on where it was",
            ) from error
        finally:
            if self._engine is not None:
                with suppress(sqlite3.Error):  # what it could not write down is an intent: the next start's
                    await self._engine.close()

    def _heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        events = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._reload}
        for number, event in events.items():
            loop.add_signal_handler(number, event.set)
            if number in self._was_asked:
                event.set()

    async def _unless_stopped(self, step: Coroutine[None, None, T]) -> T | None:
        """Await a step; give it up when a stop is asked for (None), or when the engine fails, which is raised."""
        under_way, stop = asyncio.ensure_future(step), asyncio.ensure_future(self._stop.wait())
        waits: set[asyncio.Future[Any]] = {under_way, stop}
        if self._engine is not None:
            waits.add(self._engine.failed)
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if under_way.done():
                return under_way.result()
            if self._engine is not None and self._engine.failed.done():
                self._engine.failed.result()
            return None
        finally:
            under_way.cancel()
            stop.cancel()

    # --- start

    async def _start(self, ledger: Ledger) -> None:
        beating = asyncio.ensure_future(self._beat())
        try:
            await self._open(ledger)
        finally:
            beating.cancel()
        assert self._engine is not None  # noqa: S101 - just opened
        paths = [plan.path for plan in self._plans]
        self._engine.services.plugins.daemon_started(paths)
        self._log.event("daemon.started", roots=paths, pid=os.getpid(), sandbox=self._engine.pool.sandbox or "none")
        self._notifier.ready()

    async def _open(self, ledger: Ledger) -> None:
        """Finish the moves of held files that a crash cut short; start a worker; open the roots."""
        within(ANSWER_SECONDS, partial(moving.recover, self._config.state_dir / QUARANTINE_NAME))
        self._engine = self._made(self._config, self._plans, ledger)
        await self._engine.pool.ready()
        mirrors.make_mirrors(self._plans, ledger)
        self._engine.open_roots(self._paces(self._config))

    def _made(self, config: Config, planned: list[RootPlan], ledger: Ledger) -> Engine:
        return Engine(
            planned, workers=config.workers, hooks=config.hooks, ledger=ledger, state_dir=config.state_dir,
            policy=plans.retry_policy_of(config.workers), log=self._log,
        )  # fmt: skip

    @staticmethod
    def _paces(config: Config) -> list[Pace]:
        return [Pace(root.rescan_seconds, root.watch) for root in config.roots]

    # --- running

    async def _serve(self, ledger: Ledger) -> None:
        beating, telling = asyncio.ensure_future(self._beat()), asyncio.ensure_future(self._tell_status(ledger))
        try:
            while not self._stop.is_set():
                try:
                    await self._turn(ledger)
                except sqlite3.OperationalError as error:
                    if not (is_full(error) or is_locked(error)):
                        raise
                    await self._pause(ledger, "another program has it locked" if is_locked(error) else "no room for it")
            await self._finish()
        finally:
            beating.cancel()
            telling.cancel()

    async def _turn(self, ledger: Ledger) -> None:
        """Wait for a stop, a reload, or a failure that is no photo's fault; raise the failure, do the reload."""
        assert self._engine is not None  # noqa: S101 - it was opened
        asked = [asyncio.ensure_future(event.wait()) for event in (self._stop, self._reload)]
        try:
            waits: set[asyncio.Future[Any]] = {*asked, self._engine.failed}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in asked:
                one.cancel()
        if self._engine.failed.done():
            self._engine.failed.result()
        if self._reload.is_set() and not self._stop.is_set():
            self._reload.clear()
            await self._take_over_anew(ledger)

    async def _pause(self, ledger: Ledger, why: str) -> None:
        """Put everything down until the ledger can be written again, then start over as after a crash."""
        assert self._engine is not None  # noqa: S101 - it was opened
        self._paused = f"the ledger in {self._config.state_dir} cannot be written: {why}"
        self._log.event("daemon.paused", detail=self._paused)
        with suppress(sqlite3.Error):  # the intents of what was in hand stay, and the roots' start deals with them
            await self._engine.close()
        while not self._stop.is_set() and not ledger.has_room():
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_SECONDS):
                    await self._stop.wait()
        if not self._stop.is_set():
            await self._open(ledger)
            self._paused = ""
            self._log.event("daemon.resumed")

    async def _beat(self) -> None:
        """Tell systemd, and whoever asks (`faceblurd health`), that photos move, or that nothing waits."""
        interval = self._notifier.watchdog_interval_seconds
        while True:
            if self._engine is None or self._paused or self._engine.moves():
                self._notifier.watchdog()
                if self._pulse is not None:
                    self._pulse.answer()
            await asyncio.sleep(min(BEAT_SECONDS, interval or BEAT_SECONDS))

    async def _tell_status(self, ledger: Ledger) -> None:
        while True:
            self._write_status(ledger)
            await asyncio.sleep(STATUS_SECONDS)

    def _write_status(self, ledger: Ledger) -> None:
        engine = self._engine
        assert engine is not None  # noqa: S101 - it was opened
        own = {"pid": os.getpid(), "started": self._started_at, "paused": self._paused}
        try:
            roots = account.of_roots(engine, ledger)
            self._status.write({**own, "workers": account.of_workers(engine.pool), "roots": roots})
        except OSError as error:
            self._log.event("status.failed", detail=error.strerror)
        except sqlite3.Error:
            return  # it is about to pause
        self._notifier.status(self._paused or f"{len(engine.roots)} roots, {engine.on_their_way} files on their way")

    # --- reload and stop

    async def _take_over_anew(self, ledger: Ledger) -> None:
        """Take over a new configuration whole, or none of it."""
        self._notifier.reloading()
        try:
            await self._take_over(ledger)
        except FaceblurdError as error:
            if not self._stop.is_set():  # else it was given up for that
                self._log.event("config.refused", detail=str(error))
        except sqlite3.Error:  # no room for what was in hand: again after the pause
            self._reload.set()
            raise
        else:
            self._write_status(ledger)  # whoever hears of it may look
            self._log.event("config.reloaded", roots=[plan.path for plan in self._plans])
        finally:
            self._notifier.ready()

    async def _take_over(self, ledger: Ledger) -> None:
        assert self._engine is not None  # noqa: S101 - it was opened
        config, planned = await self._answered(self._read)
        if config.state_dir != self._config.state_dir:
            raise FaceblurdError("state_dir cannot change while running", remedy="Restart the service for that")
        made, folders = self._made(config, planned, ledger), list["Mirror"]()
        try:
            await self._unless_stopped(made.pool.ready())
            folders = await self._answered(partial(mirrors.make_folders, mirrors.calls_for(planned, ledger)))
            # Nothing refuses the configuration from here on.
            await self._unless_stopped(self._engine.drain(self._config.workers.stop_seconds))
            mirrors.fill_new(folders, ledger)
        except BaseException:
            mirrors.undo(folders)
            await made.close()
            raise
        await self._engine.close()
        made.open_roots(self._paces(config))
        self._engine, self._config, self._plans = made, config, planned
        self._configure(config)

    def _read(self) -> tuple[Config, list[RootPlan]]:
        """Read the configuration. May hang: it looks at the folders that it names, and at models."""
        config = self._load()
        return config, plans.plans_for(config)

    async def _answered(self, call: Callable[[], T]) -> T:
        """Make a call that may hang, while the old configuration's work goes on."""
        reader = RootThread("reads the configuration")
        try:
            async with asyncio.timeout(READ_SECONDS):
                answer = await self._unless_stopped(reader.run(call))
        except TimeoutError:
            answer = None
        finally:
            reader.close()
        if answer is None:
            raise FaceblurdError("something that it names does not answer", remedy="Reload it again when it does")
        return answer

    async def _finish(self) -> None:
        """Let workers finish what they have, for a while; the rest is given up without a trace."""
        assert self._engine is not None  # noqa: S101 - it was opened
        self._notifier.stopping()
        self._log.event("daemon.stopping", in_hand=self._engine.in_hand)
        await self._engine.drain(self._config.workers.stop_seconds)
        self._engine.services.plugins.daemon_stopping()
