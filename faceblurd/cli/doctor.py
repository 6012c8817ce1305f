"""`faceblurd doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from faceblurd.cli.options import load
from faceblurd.errors import Exit

if TYPE_CHECKING:
    from faceblurd.config import Config

_MARKS = {"ok": ("  ok", "green"), "warn": ("warn", "yellow"), "bad": (" BAD", "red")}


@click.command()
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path, dir_okay=False), envvar="FACEBLURD_CONFIG",
    metavar="FILE", required=True, help="The configuration (also FACEBLURD_CONFIG).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding.")
def doctor(config_path: Path, *, as_json: bool) -> int:
    """Look for what could keep faceblurd from its work, with a remedy beside each finding.

    Looks at versions, clock, a worker's start and its sandbox, permissions, file systems, watch limits and free space;
    run it as the service's user. Creates nothing. Exits 1 when something is bad.
    """
    from faceblurd.doctor import Level, examine  # noqa: PLC0415 - not needed for --help

    worst = Exit.OK
    for finding in examine(load(config_path), start_worker=_start_worker):
        if as_json:
            click.echo(json.dumps(asdict(finding)))
        else:
            mark, colour = _MARKS[finding.level]
            click.echo(f"{click.style(mark, fg=colour)}  {finding.about}: {finding.text}")
            if finding.remedy:
                click.echo(f"      -> {finding.remedy}")
        worst = Exit.OTHER if finding.level is Level.BAD else worst
    return worst


def _start_worker(config: Config) -> str:
    """Start one worker with all recipes and plugins; return what locks it up."""
    from faceblurd import assembly  # noqa: PLC0415 - not needed for --help
    from faceblurd.outlet.ledger import Ledger  # noqa: PLC0415 - same

    plans = [assembly.plan_for(config, root) for root in config.roots]
    silent = assembly.Voice(report=lambda _: None, tell=lambda *_, **__: None)
    made = assembly.assemble(
        plans, workers=config.workers, hooks=config.hooks, ledger=Ledger(None), state_dir=None,
        patience=assembly.patience_of(config.workers), voice=silent,
    )  # fmt: skip
    try:
        assembly.wait_until_ready(made.pool)
        return made.pool.sandbox
    finally:
        made.close()
