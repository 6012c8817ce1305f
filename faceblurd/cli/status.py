"""`faceblurd status`: how every root is, and what is held. Works while the daemon runs, and when it does not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from faceblurd.cli.options import both, state_dir_of

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@both
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(config_path: Path | None, state_dir: Path | None, *, as_json: bool) -> None:
    """Show for each root its state, counts, queue and oldest waiting file, and the held files with their reasons."""
    content = gather(state_dir_of(config_path, state_dir))
    if as_json:
        click.echo(json.dumps(content, indent=2))
        return
    click.echo(f"faceblurd is {'running' if content['running'] else 'not running'}")
    if content["running"] and content.get("paused"):
        click.echo(f"paused: {content['paused']}")
    if content["running"] and content.get("workers"):
        click.echo(f"workers are locked up by: {content['workers']['sandbox'] or 'nothing, this kernel cannot'}")
    for root in content["roots"]:
        _show_root(root)
    _show_files("tried again later", content["retried"], "  ...")
    click.echo(f"held files: {len(content['held'])}")
    _show_files("", content["held"], "  ... (faceblurd quarantine list shows all)")


def _show_files(title: str, files: list[dict[str, str]], more: str) -> None:
    if title and files:
        click.echo(f"{title}: {len(files)}")
    for one in files[:20]:
        click.echo(f"  {one['reason']:18} {one['path']}" + (f"  ({one['detail']})" if one["detail"] else ""))
    if len(files) > 20:  # noqa: PLR2004 - a screen
        click.echo(more)


def gather(state_dir: Path) -> dict[str, Any]:
    """Collect what the daemon last said, what the ledger knows, and whether the daemon runs."""
    from faceblurd.assembly import LEDGER_NAME, is_running  # noqa: PLC0415 - not needed for --help
    from faceblurd.model import State, printable  # noqa: PLC0415 - same
    from faceblurd.outlet.ledger import Ledger  # noqa: PLC0415 - same
    from faceblurd.telemetry.status import read_status  # noqa: PLC0415 - same

    live = read_status(state_dir)
    running = is_running(state_dir)
    found: dict[State, list[dict[str, str]]] = {State.QUARANTINED: [], State.RETRY: []}
    if (state_dir / LEDGER_NAME).exists():
        ledger = Ledger(state_dir / LEDGER_NAME, read_only=True)
        for state, listed in found.items():
            for entry in ledger.in_state(state):
                reason = "" if entry.reason is None else entry.reason.value
                path = printable(f"{entry.root}/{entry.path}")
                listed.append({"path": path, "reason": reason, "detail": entry.detail})
        ledger.close()
    roots = live.get("roots", []) if running else []
    return {
        **live, "running": running, "roots": roots, "held": found[State.QUARANTINED], "retried": found[State.RETRY],
    }  # fmt: skip


def _show_root(root: dict[str, Any]) -> None:
    done = ", ".join(f"{number} {state}" for state, number in sorted(root["counts"].items())) or "nothing yet"
    click.echo(f"{root['path']} -> {root['to']}: {root['state']}" + (" (scanning)" if root["scanning"] else ""))
    for problem in root["problems"]:
        click.echo(f"  problem: {problem}")
    click.echo(f"  so far: {done}")
    on_way = {name: root[name] for name in ("settling", "queued", "working", "retrying") if root[name]}
    if on_way:
        waiting = root["oldest_waiting_seconds"]
        click.echo("  now: " + ", ".join(f"{n} {name}" for name, n in on_way.items()) + f", oldest for {waiting} s")
