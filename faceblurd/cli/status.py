"""`faceblurd status`: how every root is, and what is held; `faceblurd health`: the same as an exit code."""

from __future__ import annotations

import json
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import click

from faceblurd.cli.options import both, state_dir_of
from faceblurd.ledger.ledger import Ledger
from faceblurd.model import State, printable
from faceblurd.publish.quarantine import Quarantine
from faceblurd.report.logs import printable_line
from faceblurd.report.status import beats, read_status
from faceblurd.rules.filter import MEANINGS, Why
from faceblurd.state_files import LEDGER_NAME, QUARANTINE_NAME, is_running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from faceblurd.model import Entry
    from faceblurd.publish.places import Place

ANSWER_SECONDS = 10.0  # the loop turns every 5 s at least
_WELL = frozenset({"watching", "scanned"})


@click.command()
@both
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(config_path: Path | None, state_dir: Path | None, *, as_json: bool) -> None:
    """Show for each root its state, counts, queue and oldest waiting file, and the held files with their reasons."""
    content = gather(state_dir_of(config_path, state_dir))
    if as_json:
        click.echo(json.dumps(content, indent=2))
        return
    _say(f"faceblurd is {'running' if content['running'] else 'not running'}")
    if content["running"] and content.get("paused"):
        _say(f"paused: {content['paused']}")
    if content["running"] and content.get("workers"):
        _say(f"sandbox of workers: {content['workers']['sandbox'] or 'off'}")
    for root in content["roots"]:
        _show_root(root)
    for root in () if content["running"] else content.get("last_scans", ()):
        _say(f"{root['path']}, at its last scan:")
        _show_left_alone(root)
    _show_files("tried again later", content["retried"], "  ...")
    _say(f"held files: {len(content['held'])}")
    _show_files("", content["held"], "  ... (faceblurd quarantine list shows all)")


def _show_files(title: str, files: list[dict[str, str]], more: str) -> None:
    if title and files:
        _say(f"{title}: {len(files)}")
    for one in files[:20]:
        _say(f"  {one['reason']:18} {one['path']}" + (f"  ({one['detail']})" if one["detail"] else ""))
    if len(files) > 20:  # noqa: PLR2004 - a screen
        _say(more)


def _say(line: str) -> None:
    """Print one line, whatever names are in it."""
    click.echo(printable_line(line))


def gather(state_dir: Path) -> dict[str, Any]:
    """Collect what the daemon last said, what ledger and quarantine know, and whether the daemon runs.

    Looks at nothing outside of the state directory: a root may lie on a share that does not answer.
    """
    live = read_status(state_dir)
    running = is_running(state_dir)
    found: dict[str, list[dict[str, str | None]]] = {"held": [], "retried": []}
    folder = state_dir / QUARANTINE_NAME
    if (state_dir / LEDGER_NAME).exists():
        ledger = Ledger(state_dir / LEDGER_NAME, read_only=True)
        found["held"] = [_described(one.entry, one.place) for one in Quarantine(ledger, folder).held()]
        found["retried"] = [_described(entry, None) for entry in ledger.in_state(State.RETRY)]
        ledger.close()
    roots = live.get("roots", []) if running else []
    return {**live, "running": running, "roots": roots, **found}


def _described(entry: Entry, place: Place | None) -> dict[str, str | None]:
    return {
        "path": printable(f"{entry.root}/{entry.path}"), "reason": "" if entry.reason is None else entry.reason.value,
        "detail": entry.detail, "lies": None if place is None else printable(str(place.file)),
    }  # fmt: skip


def _show_left_alone(root: dict[str, Any]) -> None:
    for left in root.get("left_alone", ()):
        _say(f"  left alone: {left['count']} {MEANINGS[Why(left['why'])]} ({_some_of(left)})")
    stale = root.get("excluded_results") or {"count": 0}
    if stale["count"]:
        _say(f"  still in the mirror: {stale['count']} results of what is left alone now ({_some_of(stale)})")


def _some_of(counted: dict[str, Any]) -> str:
    some = counted["examples"][:10]
    return ", ".join(some) + (", ..." if counted["count"] > len(some) else "")


def _show_root(root: dict[str, Any]) -> None:
    done = ", ".join(f"{number} {state}" for state, number in sorted(root["counts"].items())) or "nothing yet"
    _say(f"{root['path']} -> {root['to']}: {root['state']}" + (" (scanning)" if root["scanning"] else ""))
    for problem in root["problems"]:
        _say(f"  problem: {problem}")
    _say(f"  so far: {done}")
    _show_left_alone(root)
    on_way = {name: root[name] for name in ("settling", "queued", "working", "retrying") if root[name]}
    if on_way:
        waiting = root["oldest_waiting_seconds"]
        _say("  now: " + ", ".join(f"{n} {name}" for name, n in on_way.items()) + f", oldest for {waiting} s")


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
