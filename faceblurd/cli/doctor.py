"""`faceblurd doctor`: what keeps the service from its work; `faceblurd explain`: what happened to a path, and why."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from faceblurd.cli.options import load
from faceblurd.config.loading import read_config
from faceblurd.config.probes import within
from faceblurd.doctor import ANSWER_SECONDS, Level, examine
from faceblurd.engine import plans, thread
from faceblurd.engine.once import try_worker
from faceblurd.errors import Exit
from faceblurd.report.logs import printable_line

if TYPE_CHECKING:
    from faceblurd.config.schema import Config

_MARKS = {"ok": ("  ok", "green"), "warn": ("warn", "yellow"), "bad": (" BAD", "red")}


@click.command()
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path, dir_okay=False), envvar="FACEBLURD_CONFIG",
    metavar="FILE", required=True, help="The configuration (also FACEBLURD_CONFIG).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding.")
def doctor(config_path: Path, *, as_json: bool) -> int:
    """Look for what could keep faceblurd from its work, with a remedy beside each finding.

    Looks at versions, clock, a worker's start and its sandbox, models, permissions, owners, file systems, watch limits
    and free space; run it as the service's user. Creates nothing; a share that does not answer is said, and not waited
    for. Exits 1 when something is bad.
    """
    config = read_config(config_path, environ=os.environ)
    within(ANSWER_SECONDS, lambda: load(config_path))  # refused as by the daemon, unless a root does not answer
    worst = Exit.OK
    for finding in examine(config, start_worker=_start_worker):
        if as_json:
            click.echo(json.dumps(asdict(finding)))
        else:
            mark, colour = _MARKS[finding.level]
            click.echo(f"{click.style(mark, fg=colour)}  {printable_line(f'{finding.about}: {finding.text}')}")
            if finding.remedy:
                click.echo(f"      -> {finding.remedy}")
        worst = Exit.OTHER if finding.level is Level.BAD else worst
    return worst


def _start_worker(config: Config) -> str:
    """Start one worker with all recipes and plugins; return what locks it up."""
    nowhere = {"path": Path("/"), "to": None}  # only the recipes matter: a root may lie on a dead share
    planned = [plans.plan_for(config, root.model_copy(update=nowhere)) for root in config.roots]
    return thread.run(try_worker(config, planned))
