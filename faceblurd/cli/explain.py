"""`faceblurd explain`: what happened to a path, and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from faceblurd.cli.options import both, load, state_dir_of
from faceblurd.config.defaults import IMAGE_GLOBS
from faceblurd.doctor import paths as doctor
from faceblurd.doctor.paths import Place
from faceblurd.engine.plans import plan_for
from faceblurd.errors import UsageError
from faceblurd.ledger.ledger import Ledger
from faceblurd.model import Mode
from faceblurd.report.logs import printable_line
from faceblurd.report.status import read_status
from faceblurd.rules.filter import Selection
from faceblurd.state_files import LEDGER_NAME

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@both
@click.option("--json", "as_json", is_flag=True, help="One JSON object a path.")
def explain(paths: tuple[str, ...], config_path: Path | None, state_dir: Path | None, *, as_json: bool) -> None:
    r"""Say of each PATH, a photo or its result, what happened to it, and why.

    \b
    faceblurd explain --config /etc/faceblurd/config.yaml /srv/photos/inbox/x.jpg

    Works while the daemon runs, and when it does not.
    """
    folder = state_dir_of(config_path, state_dir)
    places = _places(config_path, folder)
    if not places:
        raise UsageError("no roots are known", remedy="Give --config FILE; without it, a daemon must run")
    file = folder / LEDGER_NAME
    ledger = Ledger(file, read_only=True) if file.exists() else None
    try:
        for path in paths:
            answer = doctor.explain(path, places, ledger)
            if as_json:
                click.echo(json.dumps(answer.as_dict()))
                continue
            click.echo(printable_line(f"{answer.path}: {answer.outcome}" + (f", {answer.why}" if answer.why else "")))
            for line in answer.says:
                click.echo(printable_line(f"  {line}"))
    finally:
        if ledger is not None:
            ledger.close()


def _places(config_path: Path | None, state_dir: Path) -> list[Place]:
    """Take the roots from the config; without one, from what a running `faceblurd run --watch` says of itself."""
    if config_path is not None:
        config = load(config_path)
        plans = [plan_for(config, root) for root in config.roots]
        return [Place(plan.path, plan.mode, plan.to, plan.selection) for plan in plans]

    places = []
    for root in read_status(state_dir).get("roots", []):
        in_place = root["mode"] == Mode.IN_PLACE.value
        selection = Selection(IMAGE_GLOBS, (), hidden=in_place, by_content=True, in_place=in_place)
        places.append(Place(root["path"], Mode(root["mode"]), root["to"], selection))
    return places
