"""`faceblurd quarantine list|retry|drop`: the files that were held back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from faceblurd.cli.options import both, state_dir_of
from faceblurd.errors import Exit, FaceblurdError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from faceblurd.model import Entry
    from faceblurd.outlet.quarantine import Quarantine


@click.group()
def quarantine() -> None:
    """See and deal with files that could not be made safe. Works while the daemon runs."""


def _open(config_path: Path | None, state_dir: Path | None) -> Quarantine:
    from faceblurd.assembly import LEDGER_NAME  # noqa: PLC0415 - not needed for --help
    from faceblurd.outlet.ledger import Ledger  # noqa: PLC0415 - same
    from faceblurd.outlet.quarantine import Quarantine  # noqa: PLC0415 - same

    directory = state_dir_of(config_path, state_dir)
    if not (directory / LEDGER_NAME).exists():
        raise FaceblurdError(f"no ledger in {directory}", remedy="Give the --config or --state-dir of the daemon")
    return Quarantine(Ledger(directory / LEDGER_NAME), directory / "quarantine")


@quarantine.command("list")
@both
@click.option("--json", "as_json", is_flag=True, help="One object a line.")
def list_(config_path: Path | None, state_dir: Path | None, *, as_json: bool) -> None:
    """List held files, oldest first, with the reason."""
    from faceblurd.model import printable  # noqa: PLC0415 - not needed for --help
    from faceblurd.telemetry.logs import printable_line  # noqa: PLC0415 - same

    for entry in _open(config_path, state_dir).held():
        reason = "" if entry.reason is None else entry.reason.value
        path = printable(f"{entry.root}/{entry.path}")
        if as_json:
            fields = {"path": path, "reason": reason, "detail": entry.detail, "attempts": entry.attempts}
            click.echo(json.dumps(fields))
        else:
            click.echo(printable_line(f"{reason:18} {path}" + (f"  ({entry.detail})" if entry.detail else "")))


@quarantine.command()
@both
@click.option("--all", "everything", is_flag=True, help="All held files.")
@click.argument("paths", nargs=-1, type=click.Path())
def retry(config_path: Path | None, state_dir: Path | None, paths: tuple[str, ...], *, everything: bool) -> int:
    """Try held PATHS again, from the start. The daemon notices within a second, else the next one does."""
    held = _open(config_path, state_dir)
    return _each(held, paths, everything=everything, act=held.retry, done="will be tried again")


@quarantine.command()
@both
@click.option("--all", "everything", is_flag=True, help="All held files.")
@click.argument("paths", nargs=-1, type=click.Path())
def drop(config_path: Path | None, state_dir: Path | None, paths: tuple[str, ...], *, everything: bool) -> int:
    """Forget held PATHS. A photo that is still in its root stays there; one that was moved away is deleted."""
    held = _open(config_path, state_dir)
    return _each(held, paths, everything=everything, act=held.drop, done="dropped")


def _each(
    held: Quarantine, paths: tuple[str, ...], *, everything: bool, act: Callable[[Entry], None], done: str
) -> int:
    if everything == bool(paths):
        raise click.UsageError("give PATHS as `quarantine list` shows them, or --all")
    missing = 0
    from faceblurd.telemetry.logs import printable_line  # noqa: PLC0415 - not needed for --help

    for name, entry in _chosen(held, paths, everything=everything):
        if entry is None:
            click.echo(printable_line(f"not held: {name}"), err=True)
            missing += 1
        else:
            act(entry)
            click.echo(printable_line(f"{name}: {done}"))
    return Exit.OTHER if missing else Exit.OK


def _chosen(held: Quarantine, paths: tuple[str, ...], *, everything: bool) -> Iterator[tuple[str, Entry | None]]:
    import os  # noqa: PLC0415 - one use

    from faceblurd.model import printable  # noqa: PLC0415 - not needed for --help
    from faceblurd.telemetry.logs import printable_line  # noqa: PLC0415 - same

    entries = {f"{entry.root}/{entry.path}": entry for entry in held.held()}
    if everything:
        yield from ((path, entry) for path, entry in entries.items())
        return
    shown = {as_text: entry for path, entry in entries.items() for as_text in (printable(path), printable_line(path))}
    for path in paths:
        yield path, entries.get(os.path.realpath(path)) or shown.get(path)
