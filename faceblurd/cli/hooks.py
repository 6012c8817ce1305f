"""`faceblurd hooks test`: fire the command hook once, with an example."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from faceblurd.cli.options import config_option, load_settings
from faceblurd.errors import Exit, UsageError
from faceblurd.model import Outcome, Region, Report
from faceblurd.plugins.command import fire_once

if TYPE_CHECKING:
    from pathlib import Path


@click.group()
def hooks() -> None:
    """Try out hooks."""


@hooks.command("test")
@config_option
def test(config_path: Path | None) -> int:
    """Run the command hook of a config with an example file, and show how it ended."""
    if config_path is None:
        raise UsageError("no config", remedy="Give --config FILE")

    config = load_settings(config_path)
    if not config.hooks.command:
        raise UsageError("the config names no command hook", remedy="Set hooks.command")
    root = "/srv/photos/inbox"
    report = Report(
        root=root, path=f"{root}/example.jpg", outcome=Outcome.PUBLISHED, output=f"{root}/example.jpg", reason=None,
        detail="this is a test", regions=(Region(10, 20, 30, 40, 0.9, "test"),), recipe="balanced", lossless=False,
        milliseconds=1,
    )  # fmt: skip
    code, said = fire_once(
        config.hooks.command, {"root": root, **report.as_dict()}, timeout_seconds=config.hooks.timeout_seconds
    )  # fmt: skip
    click.echo(f"exit code {code}" + (f"\n{said}" if said else ""))
    return Exit.OK if code == 0 else Exit.OTHER
