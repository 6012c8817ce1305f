"""`faceblurd check-config`."""

from __future__ import annotations

from pathlib import Path

import click

from faceblurd.cli.options import load


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def check_config(file: Path) -> None:
    """Read FILE as the daemon would, and load what it names: detectors, engines, plugins.

    Prints every problem with file, line, key, value and remedy, and exits 78; or says what would be watched.
    """
    from faceblurd import assembly  # noqa: PLC0415 - not needed for --help
    from faceblurd.outlet.ledger import Ledger  # noqa: PLC0415 - same

    config = load(file)
    plans = [assembly.plan_for(config, root) for root in config.roots]
    silent = assembly.Voice(report=lambda _: None, tell=lambda *_, **__: None)
    made = assembly.assemble(
        plans, workers=config.workers, hooks=config.hooks, ledger=Ledger(None), state_dir=None,
        patience=assembly.patience_of(config.workers), voice=silent,
    )  # fmt: skip
    try:
        assembly.wait_until_ready(made.pool)
    finally:
        made.close()
    for plan in plans:
        where = "in place" if plan.to == plan.path else f"-> {plan.to}"
        click.echo(f"{plan.path} {where}, recipe {plan.recipe.name} ({plan.recipe.digest})")
    click.echo(f"{file}: good")
