"""How much of the rooms that promises hang on the tests have measured: a table, and failure below the demand.

Counts branches alone. The percentage that coverage prints counts lines as well: a room may show 95 there with every
tenth branch never taken.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

ROOMS = ("rules", "publish", "ledger", "workers", "watch")
LEAST_PERCENT = 95.0


def counted(report: dict[str, Any]) -> dict[str, Counter[str]]:
    """Add up the modules of each room in what `coverage json` wrote."""
    rooms = {room: Counter[str]() for room in ROOMS}
    for path, module in report["files"].items():
        room = path.split("/")[1]
        if room in rooms:
            rooms[room].update({name: count for name, count in module["summary"].items() if isinstance(count, int)})
    return rooms


def percent(room: Counter[str]) -> float:
    """Give the share of branches that were taken; none where nothing was measured."""
    return 100.0 * room["covered_branches"] / room["num_branches"] if room["num_branches"] else 0.0


def main(path: str) -> int:
    """Print the table; 1 when a room is below the demand."""
    with open(path, encoding="utf-8") as file:
        rooms = counted(json.load(file))
    row = "{:8}  {:>11}  {:>11}  {:>8}\n".format
    sys.stdout.write(row("room", "lines", "branches", "percent"))
    for room, counts in rooms.items():
        lines = f"{counts['covered_lines']}/{counts['num_statements']}"
        branches = f"{counts['covered_branches']}/{counts['num_branches']}"
        sys.stdout.write(row(room, lines, branches, f"{percent(counts):.1f}"))
    short = [room for room, counts in rooms.items() if percent(counts) < LEAST_PERCENT]
    sys.stdout.writelines(f"{room}: fewer than {LEAST_PERCENT:.0f} % of the branches\n" for room in short)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
