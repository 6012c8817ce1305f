"""`faceblurd formats`: what this installation can read and write, and what it holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from faceblurd.imaging.abilities import abilities

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faceblurd.imaging.abilities import Ability, Trial

_COLUMNS = "{:<8} {:<12} {:<8} {:<6} {}"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON array, an object a format.")
def formats(*, as_json: bool) -> None:
    r"""Show what is done with each format, by doing it: a small picture of every kind is made, blurred and verified.

    \b
    blocks only  only the blocks that a face touches change; every other bit stays
    lossless     every pixel outside of the faces stays
    re-encoded   the whole picture is compressed anew, at high quality
    held         not published: the kind, or a library for it, is not there; --json says why

    Whatever the extension says, a file is what its content says. What is no picture, or not in this list, is held too;
    the option `unsupported: ignore` of a root leaves such files out without a word.
    """
    found = abilities()
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    click.echo(_COLUMNS.format("format", "written", "frames", "bits", "kinds"))
    for one in found:
        for line in _lines(one):
            click.echo(line.rstrip())
    click.echo(f"known by name only, and held: {', '.join(one.format for one in found if _is_only_known(one))}")


def _is_only_known(one: Ability) -> bool:
    return not one.trials and not one.missing


def _lines(one: Ability) -> Iterator[str]:
    """Give a line for each way in which kinds of the format are written, and one for what is missing."""
    name = one.format
    for way in dict.fromkeys(trial.way for trial in one.trials):
        yield _line(name, [trial for trial in one.trials if trial.way is way])
        name = ""
    if one.missing:
        yield _COLUMNS.format(name, "held", "", "", f"needs {one.missing}: {one.remedy}")


def _line(name: str, trials: list[Trial]) -> str:
    frames = {"many" if trial.frames > 1 else "1" for trial in trials if trial.frames}
    bits = {str(trial.bits) for trial in trials if trial.bits}
    counted = (", ".join(sorted(column, key=len)) for column in (frames, bits))
    return _COLUMNS.format(name, trials[0].way, *counted, ", ".join(trial.kind for trial in trials))
