"""`faceblurd run` and `faceblurd scan`: the roots of a config, for good or once."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faceblurd.cli.options import Stop, config_option, load, own_state_dir, state_dir_option
from faceblurd.config.loading import config_from_flags
from faceblurd.config.probes import ANSWER_SECONDS, within
from faceblurd.engine import account, mirrors, once, plans, thread
from faceblurd.engine.daemon import Daemon
from faceblurd.engine.engine import Engine
from faceblurd.engine.model import Log
from faceblurd.errors import Exit, UsageError
from faceblurd.ledger.database import locks_are_told
from faceblurd.ledger.ledger import Ledger
from faceblurd.publish import moving
from faceblurd.publish.quarantine import Quarantine
from faceblurd.report.logs import configure_logging, log_event, log_report
from faceblurd.report.sd_notify import Notifier
from faceblurd.report.status import StatusFile
from faceblurd.state_files import LEDGER_NAME, QUARANTINE_NAME, lock_state

if TYPE_CHECKING:
    from faceblurd.config.schema import Config
    from faceblurd.engine.model import RootPlan


def _log(config: Config) -> Log:
    """Configure the log and say everything there."""
    _configure(config)
    return Log(report=log_report, event=log_event)


def _configure(config: Config) -> None:
    configure_logging(format=config.logging.format.value, level=config.logging.level.value, stream=sys.stderr)


@click.command()
@config_option
# `Path` and not `click.Path`, which asks the disk: a share may be dead.
@click.option("--watch", type=Path, metavar="DIR", help="Watch this folder, without a config.")
@click.option("--to", type=Path, metavar="DIR", help="Publish into this mirror tree.")
@click.option("--in-place", is_flag=True, help="Blur the photos where they are.")
@click.option("--recipe", metavar="NAME", help="fast, balanced, thorough, classic  [default: balanced].")
@state_dir_option
def run(
    config_path: Path | None, watch: Path | None, to: Path | None, *, in_place: bool, recipe: str | None,
    state_dir: Path | None,
) -> None:  # fmt: skip
    r"""Watch the roots and blur what arrives, until SIGTERM.

    \b
    faceblurd run --config /etc/faceblurd/config.yaml
    faceblurd run --watch ~/inbox --to ~/blurred
    faceblurd run --watch ~/photos --in-place

    SIGHUP reloads the config; a bad one is refused and the old one kept. The log goes to stderr: one line a file.
    """
    given: dict[str, Any] = {"to": to, "in_place": in_place, "recipe": recipe, "state_dir": state_dir}

    def read() -> Config:
        return _config(config_path, watch, given)

    config = read()
    Daemon(config, read, log=_log(config), notifier=Notifier(os.environ), configure=_configure).run()


def _config(config_path: Path | None, watch: Path | None, given: dict[str, Any]) -> Config:
    if watch is None:
        if config_path is None:
            raise UsageError("nothing to watch", remedy="Give --config FILE, or --watch DIR and --to DIR or --in-place")
        if any(given.values()):
            raise UsageError("--to, --in-place, --recipe, --state-dir go with --watch", remedy="Set them in the config")
        return load(config_path)

    given["state_dir"] = given.get("state_dir") or own_state_dir()
    return config_from_flags(watch=watch, environ=os.environ, **given)


@click.command()
@config_option
def scan(config_path: Path | None) -> int:
    """Catch up once: blur what is new in the roots of a config, then exit.

    For cron, or after a restore. What the ledger knows as done is not read again. No disk is waited for: exit code 3
    when files are held, 1 when a root is away, does not answer, has no room for results, or a folder in it cannot be
    looked into. SIGTERM lets workers finish what they have in hand (workers.stop_seconds); then 130.
    """
    if config_path is None:
        raise UsageError("no config", remedy="Give --config FILE")

    stop, config = Stop(), load(config_path)
    log, planned = _log(config), plans.plans_for(config)
    lock = lock_state(config.state_dir)
    ledger = Ledger(config.state_dir / LEDGER_NAME)
    folder = config.state_dir / QUARANTINE_NAME
    try:
        within(ANSWER_SECONDS, lambda: moving.recover(folder))
        away = thread.run(_caught_up(config, planned, ledger, log, stop))
        stop.heed()
        held = len(Quarantine(ledger, folder).held())
    finally:
        ledger.close()
        os.close(lock)
    return Exit.OTHER if away else Exit.HELD if held else Exit.OK


async def _caught_up(config: Config, planned: list[RootPlan], ledger: Ledger, log: Log, stop: Stop) -> int | None:
    """Catch up in all roots; give how many could not be looked into whole, None when it was stopped."""
    policy = replace(plans.retry_policy_of(config.workers), waits_for_space=False)
    engine = Engine(
        planned, workers=config.workers, hooks=config.hooks, ledger=ledger, state_dir=config.state_dir,
        policy=policy, log=log,
    )  # fmt: skip
    try:
        await once.unless_stopped(engine.pool.ready(), engine, stop.event())
        stop.heed()
        mirrors.make_mirrors(planned, ledger)
        with locks_are_told():
            away = await once.unless_stopped(once.catch_up(engine, log), engine, stop.event())
            if stop():
                log.event("scan.stopping", in_hand=engine.in_hand)
                await engine.drain(config.workers.stop_seconds)
        with suppress(OSError):  # a full disk: the log has it, too
            StatusFile(config.state_dir).write({"last_scans": account.of_last_scans(engine)})
    finally:
        await engine.close()
    return away
