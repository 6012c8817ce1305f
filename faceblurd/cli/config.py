"""`faceblurd check-config`, and `faceblurd hooks test`: settings tried before they count."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from faceblurd.cli.options import load
from faceblurd.config.probes import within
from faceblurd.engine import plans, thread
from faceblurd.engine.once import try_worker
from faceblurd.report.logs import printable_line
from faceblurd.watch.scan import survey

if TYPE_CHECKING:
    from faceblurd.engine.model import RootPlan

LOOK_SECONDS = 10.0


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def check_config(file: Path) -> None:
    """Read FILE as the daemon would, and load what it names: detectors, engines, plugins; look for the command hook.

    Prints every problem with file, line, key, value and remedy, and exits 78; or says what would be watched.
    """
    config = load(file, strictly=True)
    planned = [plans.plan_for(config, root) for root in config.roots]
    thread.run(try_worker(config, planned))
    for plan in planned:
        where = "in place" if plan.to == plan.path else f"-> {plan.to}"
        click.echo(f"{plan.path} {where}, recipe {plan.recipe.name} ({plan.recipe.digest})")
        _say_unmatched(plan)
    click.echo(f"{file}: good")


def _say_unmatched(plan: RootPlan) -> None:
    """Name every exclude that excludes nothing, as far as a look of some seconds tells: it may be misspelt."""
    if not plan.selection.exclude:
        return
    until = time.monotonic() + LOOK_SECONDS
    try:
        look = partial(survey, plan.path, plan.selection, stopped=lambda: time.monotonic() > until)
        found = within(2 * LOOK_SECONDS, look)
    except OSError:
        return  # away for now
    for glob in () if found is None else found.unmatched:
        click.echo(f"  exclude {printable_line(repr(glob))} matches nothing in {printable_line(plan.path)}", err=True)
