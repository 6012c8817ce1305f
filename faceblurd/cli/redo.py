"""`faceblurd redo`: photos that are done, done once more."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import click

from faceblurd.cli.options import both, state_dir_of
from faceblurd.cli.plans import look
from faceblurd.errors import Exit, FaceblurdError, UsageError
from faceblurd.ledger.database import locks_are_told
from faceblurd.ledger.ledger import Ledger
from faceblurd.model import printable
from faceblurd.report.logs import printable_line
from faceblurd.state_files import LEDGER_NAME, is_running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


@click.command()
@both
@click.option(
    "--root", "roots", multiple=True, metavar="DIR", help="Everything in this root.",
)  # fmt: skip
@click.argument("paths", nargs=-1, metavar="[PATH]...")
def redo(config_path: Path | None, state_dir: Path | None, roots: tuple[str, ...], paths: tuple[str, ...]) -> int:
    r"""Do PATHS (photos, their results, or folders), or all of a root, once more.

    \b
    faceblurd redo --config /etc/faceblurd/config.yaml /srv/photos/inbox/a.jpg
    faceblurd redo --config /etc/faceblurd/config.yaml --root /srv/photos/inbox

    What was removed from a mirror stays away, since people collect photos from there: this brings it back. In place,
    where the original is gone, each file is looked at again, and our own results stay. The daemon notices within
    seconds, else the next `faceblurd scan` does it. Released files are left alone (`faceblurd quarantine retry`).
    """
    if not roots and not paths:
        raise UsageError("nothing to do again", remedy="Give PATHS, or --root DIR")

    directory = state_dir_of(config_path, state_dir)
    if not (directory / LEDGER_NAME).exists():
        raise FaceblurdError(f"no ledger in {directory}", remedy="Give the --config or --state-dir of the daemon")
    ledger = Ledger(directory / LEDGER_NAME, owned=not is_running(directory))
    try:
        known = ledger.folders()
        with locks_are_told():
            numbers = [_again(ledger, known, path, is_root=is_root) for path, is_root in _all(roots, paths)]
    finally:
        ledger.close()
    return Exit.OK if all(numbers) else Exit.OTHER


def _all(roots: Iterable[str], paths: Iterable[str]) -> list[tuple[str, bool]]:
    return [*((path, True) for path in roots), *((path, False) for path in paths)]


def _again(ledger: Ledger, known: list[str], path: str, *, is_root: bool) -> bool:
    shown = printable_line(printable(path))
    spells: tuple[Callable[[str], str], ...] = (os.path.abspath, os.path.realpath)
    for spell in spells:  # the second asks the disk: only if need be
        try:
            spelled: str = look(partial(spell, path))
        except OSError:
            continue
        above = [folder for folder in known if f"{spelled}/".startswith(f"{folder}/")]
        folder = max(above, key=len, default=None)
        if folder is None or (is_root and folder != spelled):
            continue
        number = ledger.redo(folder, spelled[len(folder) + 1 :])
        if number or is_root:
            click.echo(f"{shown}: {number} to be done once more")
            return True
    click.echo(f"{shown}: nothing is known of it; what is there and not known is done anyway", err=True)
    return False
