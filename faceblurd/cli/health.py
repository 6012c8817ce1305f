"""`faceblurd health`: one exit code for how the service is, for a container's HEALTHCHECK or a monitor."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import click

from faceblurd.cli.options import both, state_dir_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANSWER_SECONDS = 10.0  # the loop turns every 5 s at least
_WELL = frozenset({"watching", "scanned"})


class Health(IntEnum):
    """The exit codes of this command."""

    WELL = 0
    DEGRADED = 1
    NOT_RUNNING = 2


@click.command()
@both
def health(config_path: Path | None, state_dir: Path | None) -> int:
    """Tell by the exit code how the service is: 0 well, 1 degraded, 2 not running.

    Degraded, with a line for each cause: files are held, a root or its mirror is away or full or only in part watched,
    the service waits for room, or does not answer. Looks at the state directory only, never at a root.
    """
    from faceblurd.cli.status import gather  # noqa: PLC0415 - not needed for --help
    from faceblurd.telemetry.logs import printable_line  # noqa: PLC0415 - same
    from faceblurd.telemetry.pulse import beats  # noqa: PLC0415 - same

    where = state_dir_of(config_path, state_dir)
    content = gather(where)
    if not content["running"]:
        click.echo("not running")
        return Health.NOT_RUNNING
    causes = list(_causes(content))
    if content["roots"] and beats(where, ANSWER_SECONDS) is False:
        causes.insert(0, f"does not answer within {ANSWER_SECONDS:.0f} s")
    for line in causes or ["well"]:
        click.echo(printable_line(line))
    return Health.DEGRADED if causes else Health.WELL


def _causes(content: dict[str, Any]) -> Iterator[str]:
    """Name what is not well in what `status` gathers."""
    if not content["roots"]:
        yield "is starting"
    if content.get("paused"):
        yield f"paused: {content['paused']}"
    for root in content["roots"]:
        if root["state"] not in _WELL:
            yield f"{root['path']}: {root['state']}" + "".join(f"; {problem}" for problem in root["problems"])
    if content["held"]:
        yield f"{len(content['held'])} held files (faceblurd quarantine list)"
