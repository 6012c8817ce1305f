"""`faceblurd quarantine list|retry|release|drop`: the files that were held back."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from faceblurd.cli.options import both, state_dir_of
from faceblurd.cli.plans import look
from faceblurd.errors import Exit, FaceblurdError
from faceblurd.ledger.database import locks_are_told
from faceblurd.ledger.ledger import Ledger
from faceblurd.model import printable
from faceblurd.publish.quarantine import Quarantine
from faceblurd.report.logs import printable_line
from faceblurd.state_files import LEDGER_NAME, QUARANTINE_NAME, is_running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from faceblurd.publish.quarantine import Held

_everything = click.option("--all", "everything", is_flag=True, help="All held files.")
_paths = click.argument("paths", nargs=-1)


@click.group()
def quarantine() -> None:
    """See and deal with files that could not be made safe. Works while the daemon runs, and when it does not."""


def _open(config_path: Path | None, state_dir: Path | None) -> Quarantine:
    directory = state_dir_of(config_path, state_dir)
    if not (directory / LEDGER_NAME).exists():
        raise FaceblurdError(f"no ledger in {directory}", remedy="Give the --config or --state-dir of the daemon")
    ledger = Ledger(directory / LEDGER_NAME, owned=not is_running(directory))
    return Quarantine(ledger, directory / QUARANTINE_NAME)


@quarantine.command("list")
@both
@click.option("--released", is_flag=True, help="The released files instead.")
@click.option("--json", "as_json", is_flag=True, help="One object a line.")
def list_(config_path: Path | None, state_dir: Path | None, *, released: bool, as_json: bool) -> None:
    """List held files, with the reason, and where those lie that were moved away."""
    found = _open(config_path, state_dir)
    for one in found.released() if released else found.held():
        entry, path = one.entry, printable(one.path)
        reason = "" if entry.reason is None else entry.reason.value
        lies = None if one.place is None else printable(str(one.place.file))
        if as_json:
            fields = {"path": path, "reason": reason, "detail": entry.detail, "attempts": entry.attempts, "lies": lies}
            click.echo(json.dumps(fields))
            continue
        _say(f"{reason:18} {path}" + (f"  ({entry.detail})" if entry.detail else ""))
        if lies is not None:
            _say(f"{'':18} lies in {lies}")


@quarantine.command()
@both
@_everything
@_paths
def retry(config_path: Path | None, state_dir: Path | None, paths: tuple[str, ...], *, everything: bool) -> int:
    """Try held PATHS again, from the start. The daemon notices within a second, else the next one does.

    A file that was moved away goes back to its place first. PATHS may name released files as well, and those that are
    tried again later.
    """
    found = _open(config_path, state_dir)
    among = found.held() if everything else [*found.released(), *found.retried(), *found.held()]
    return _each(_chosen(among, paths, everything=everything), act=found.retry, done="will be tried again")


@quarantine.command()
@both
@_everything
@_paths
def release(config_path: Path | None, state_dir: Path | None, paths: tuple[str, ...], *, everything: bool) -> int:
    """Let held PATHS be as they are: you have looked at them, and they may stay where they are, UN-BLURRED.

    A file that was moved away goes back to its place, never over another file. It is left alone until its content
    changes, whatever the recipe. In a mirror root nothing is published by this: copy the file there yourself if you
    want it there.
    """
    found = _open(config_path, state_dir)
    among = found.held() if everything else [*found.retried(), *found.held()]
    return _each(_chosen(among, paths, everything=everything), act=found.release, done="released, as it is")


@quarantine.command()
@both
@_everything
@click.option("--yes", is_flag=True, help="Delete what was moved away, without asking.")
@_paths
def drop(
    config_path: Path | None, state_dir: Path | None, paths: tuple[str, ...], *, everything: bool, yes: bool
) -> int:
    """Forget held PATHS. A photo that is still in its root stays there; one that was moved away is DELETED."""
    found = _open(config_path, state_dir)
    among = found.held() if everything else [*found.retried(), *found.held()]
    chosen = list(_chosen(among, paths, everything=everything))
    deleted = sum(one is not None and one.place is not None for _, one in chosen)
    if deleted and not yes:
        _ask(deleted)
    return _each(chosen, act=found.drop, done="dropped")


def _ask(number: int) -> None:
    """Raise unless a person says that originals may be deleted."""
    text = f"{number} originals that were moved away" if number > 1 else "an original that was moved away"
    if not sys.stdin.isatty():
        raise FaceblurdError(f"this deletes {text}", remedy="Add --yes if it shall, or use retry or release")
    click.confirm(f"Delete {text}?", abort=True)


def _each(chosen: Iterable[tuple[str, Held | None]], *, act: Callable[[Held], None], done: str) -> int:
    failed = 0
    for name, one in chosen:
        problem = f"not held: {name}" if one is None else _tried(act, one)
        failed += bool(problem)
        _say(problem or f"{name}: {done}", err=bool(problem))
    return Exit.OTHER if failed else Exit.OK


def _tried(act: Callable[[Held], None], one: Held) -> str:
    """Give what went wrong: one file that cannot go back keeps no other from it."""
    try:
        with locks_are_told():
            act(one)
    except FaceblurdError as error:
        return str(error)
    return ""


def _chosen(among: list[Held], paths: tuple[str, ...], *, everything: bool) -> Iterator[tuple[str, Held | None]]:
    """Find what PATHS name: origins, or where moved files lie. Of several from one place, the last that was moved."""
    if everything == bool(paths):
        raise click.UsageError("give PATHS as `quarantine list` shows them, or --all")
    if everything:
        yield from ((printable(one.path), one) for one in among)
        return
    known = {str(one.place.file): one for one in among if one.place is not None}
    known |= {as_text: one for one in among for as_text in (printable(one.path), printable_line(one.path))}
    known |= {one.path: one for one in among}
    for path in paths:
        yield printable(path), known.get(path) or known.get(_real(path))


def _real(path: str) -> str:
    spell: Callable[[str], str] = os.path.realpath
    try:
        return look(partial(spell, path))
    except OSError:  # on a share that does not answer
        return path


def _say(text: str, *, err: bool = False) -> None:
    """Say what names a file: a name may hold anything."""
    click.echo(printable_line(text), err=err)
