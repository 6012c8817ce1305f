"""A daemon under writers and faults for some minutes; then every file is checked, by its content.

Writers bring photos into a mirrored and an in-place root in every way that people do (soak_writers.py). Meanwhile
workers and the daemon are killed, the daemon is stopped, its event queue overflows, the disks of the targets and of
the state directory fill up, and roots and the mirror are unmounted (soak_faults.py). Each photo carries a number: so
the end shows for every name whether the newest upload was published, with its face hidden, and whether anything else
appeared (soak_check.py). Where the mirror keeps the results of photos that are gone, another photo by such a name is
held; the soak does then what the reason says, and moves the earlier result away. Without root no disk can be filled or
taken away: those faults are left out then, and the report says so.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import bench
from soak_check import Checker
from soak_disks import INSIDE, Disk, can_mount, go_inside
from soak_faults import Keeper, growth_over
from soak_writers import RSYNC, World, Writer

if TYPE_CHECKING:
    from types import FrameType

_DISKS_MB: Final = {"mirrored": 96, "in_place": 96, "out": 96, "state": 32}
_FAULT_SECONDS: Final = 6.0  # from one to the next
_CALM_SECONDS: Final = 60.0  # a full disk is tried again after 30 s
_RESCAN_SECONDS: Final = 15
_LEAST_PHOTOS: Final = 40
_WAYS: Final = {"copy", "move", "slow", "edit", "rename", "delete"} | ({"rsync", "rsync_in_place"} if RSYNC else set())
_PEEK: Final = 10
_MOST_QUEUED: Final = 50
_MOST_GROWTH_PERCENT: Final = 10.0
CONFIG: Final = """\
state_dir: {top}/state
roots:
  - {{path: {top}/mirrored, mode: mirror, to: {top}/out, quiet_seconds: 0.3, rescan_seconds: {rescan}{more}}}
  - {{path: {top}/in_place, mode: in_place, quiet_seconds: 0.3, rescan_seconds: {rescan}}}
workers: {{retry_seconds: 1, max_attempts: 20}}
logging: {{format: json}}
"""


class Soak:
    """One run, in folders that are gone afterwards."""

    def __init__(self, top: Path, arguments: argparse.Namespace) -> None:
        """Make disks (or plain folders), config and daemon; start nothing."""
        self._top, self._arguments = top, arguments
        self._random = random.Random(arguments.seed)
        self.disks: dict[str, Disk] = {}
        for name, megabytes in _DISKS_MB.items():
            if arguments.inside_namespace:
                self.disks[name] = Disk(top / name, top / "disks", megabytes)
            else:
                (top / name).mkdir()
        (top / "elsewhere").mkdir()
        (top / "moved_away").mkdir()
        more = f", deletions: {arguments.deletions}" if arguments.deletions != "keep" else ""
        (top / "config.yaml").write_text(CONFIG.format(top=top, rescan=_RESCAN_SECONDS, more=more))
        self.world = World(top / "elsewhere")
        self.keeper = Keeper(top, self.disks, arguments.seed)
        self.checker = Checker(self.world, top, follow=arguments.deletions == "follow")
        self.seen_shown: list[str] = []
        self.moved_away = 0

    def run(self) -> dict[str, list[str]]:
        """Rage, wait until all is right, and say what is wrong."""
        self.keeper.start()
        try:
            self._rage()
            found = self._settle()
            late = self._calm()
            self.keeper.sample()
            code = self.keeper.stop()
        finally:
            self.keeper.end()
        left = [str(path) for path in self._top.rglob(".faceblurd-*")]
        return {
            **found,
            "seen shown or torn meanwhile": self.seen_shown,
            "staging files": left,
            "below empty mount points": self.keeper.below_mount_points,
            "published twice": self.checker.duplicates(self.keeper.log.published),
            "done again in the calm": late,
            "bad exit": [str(code)] if code else [],
        }

    def _rage(self) -> None:
        """Let the writers write and things happen, for the given time, and until everything has happened once."""
        writers = [
            Writer(
                self.world,
                self._top / ("in_place", "mirrored")[number % 2] / f"w{number}",
                self._random.getrandbits(32),
            )
            for number in range(self._arguments.writers)
        ]
        for writer in writers:
            writer.start()
        end = time.monotonic() + self._arguments.minutes * 60
        next_fault = time.monotonic() + _FAULT_SECONDS
        while time.monotonic() < end or not (self.keeper.saw_all and self._all_wrote()):
            time.sleep(1)  # the step of the sampling
            self.keeper.sample()
            self.world.daemon_is_behind = self.keeper.queued() > _MOST_QUEUED
            self.seen_shown += self.checker.peek(self._random, _PEEK)
            if time.monotonic() > next_fault:
                self.keeper.hurt()
                next_fault = time.monotonic() + _FAULT_SECONDS
                left = max(0.0, end - time.monotonic()) / 60
                bench.say(f"{left:.1f} minutes left, {self.world.photos.made} photos, {dict(self.keeper.faults)}")
        self.world.over.set()
        for writer in writers:
            writer.join(30)

    def _all_wrote(self) -> bool:
        """Whether every way to write was gone, and there is something to check: a slow machine takes longer for it."""
        return set(self.world.done) >= _WAYS and len(self.world.newest) > _LEAST_PHOTOS

    def _settle(self) -> dict[str, list[str]]:
        """Wait until all is right, or nothing moves any more for a while."""
        found, before, since = self.checker.wrong(), -1, time.monotonic()
        while any(found.values()) and time.monotonic() - since < _CALM_SECONDS:
            now = self.keeper.log.outcomes()
            if now != before:
                before, since = now, time.monotonic()
            time.sleep(1)  # the step of a poll with a deadline
            self.keeper.sample()
            if found["stale"]:
                self._move_away()
            found = self.checker.wrong()
        return found

    def _move_away(self) -> None:
        """Do what the reason says of photos that are held because an earlier one had their name: they come out then."""
        for result in self.checker.kept(self.keeper.held("target_exists")):
            self.moved_away += 1
            shutil.move(result, self._top / "moved_away" / f"{self.moved_away}.jpg")

    def _calm(self) -> list[str]:
        """Let two rescans pass: nothing may be done again."""
        time.sleep(2)  # the last line of what the check has seen
        before, until = self.keeper.log.outcomes(), time.monotonic() + 2 * _RESCAN_SECONDS
        while time.monotonic() < until:
            time.sleep(1)  # the step of the sampling
            self.keeper.sample()
        more = self.keeper.log.outcomes() - before
        return [f"{more} files"] if more else []


def left_out(arguments: argparse.Namespace) -> list[str]:
    """Say what this machine cannot do."""
    return [
        *([] if arguments.inside_namespace else ["full disks and unmounts: not root, or no mount namespaces"]),
        *([] if RSYNC else ["rsync: not installed"]),
    ]


def report(soak: Soak, found: dict[str, list[str]], arguments: argparse.Namespace) -> None:
    """Print all figures; end with an error when anything is wrong."""
    keeper, world, events = soak.keeper, soak.world, soak.keeper.log.read()
    longest = max(keeper.lives, key=lambda life: len(life.samples))
    growth, over = longest.growth(), growth_over(keeper.lives)
    lines = ("file.published", "file.clean", "file.skipped", "file.retried", "file.quarantined", "file.recovered",
             "root.suspended", "root.resumed", "root.rewatched", "daemon.paused", "daemon.resumed")  # fmt: skip
    rows: list[tuple[str, object]] = [
        ("minutes", arguments.minutes), ("photos written", world.photos.made),
        *((f"writers: {name}", count) for name, count in sorted(world.done.items())),
        *((f"writers failed: {name}", count) for name, count in sorted(world.failed.items())),
        *((f"fault: {name}", keeper.faults[name]) for name in keeper.kinds),
        *((name, events[name]) for name in lines), *sorted(keeper.log.reasons.items()),
        ("photos at the end", len(world.newest)), ("earlier results moved away", soak.moved_away),
        *((name, len(paths)) for name, paths in found.items()),
        ("lives of the daemon", len(keeper.lives)), ("longest life, s", len(longest.samples)),
        ("parent's memory at the end, KB", keeper.lives[-1].samples[-1][1]),
        ("growth in the longest life, %", _rounded(growth)), ("growth over lives, %", _rounded(over)),
        *_steady("descriptors", longest.steady(2)), *_steady("threads", longest.steady(3)),
        *(("left out", what) for what in left_out(arguments)),
    ]  # fmt: skip
    bench.show("Soak", ("what", "number"), rows)
    bench.finish(arguments, _result(soak, found, arguments, dict(rows)))
    much = [text for text in (growth, over) if text is not None and text > _MOST_GROWTH_PERCENT]
    if any(found.values()) or much:
        shown = {name: paths[:5] for name, paths in found.items() if paths}
        raise SystemExit(f"{shown}{f' memory grew by {much} %' if much else ''}; seed {arguments.seed}")


def _rounded(value: float | None) -> object:
    return "too short to say" if value is None else round(value, 1)


def _steady(what: str, values: tuple[int, int, int]) -> list[tuple[str, object]]:
    return [(f"{what} {when}", value) for when, value in zip(("at first", "at last", "most"), values, strict=True)]


def _result(
    soak: Soak, found: dict[str, list[str]], arguments: argparse.Namespace, rows: dict[str, object]
) -> dict[str, Any]:
    return {
        "soak": rows, "found": found, "faults": {kind: soak.keeper.faults[kind] for kind in soak.keeper.kinds},
        "writers": dict(soak.world.done), "left_out": left_out(arguments), "seed": arguments.seed,
        "lives": [life.samples for life in soak.keeper.lives],
    }  # fmt: skip


def main() -> None:
    """Run, and print what happened."""
    parser = bench.parser((__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="how long; at least until each fault came once")
    parser.add_argument("--writers", type=int, default=4, help="by turns below the in-place root and the mirrored one")
    parser.add_argument("--seed", type=int, default=1, help="which faults and writes come when")
    parser.add_argument(
        "--deletions", choices=("keep", "follow"), default="keep", help="what the mirror does with them"
    )
    parser.add_argument("--keep-log", metavar="FILE", help="copy the daemon's log there")
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.inside_namespace and can_mount():
        go_inside()
    signal.signal(signal.SIGTERM, _end)
    with tempfile.TemporaryDirectory(prefix="faceblurd-soak-") as folder:
        soak = Soak(Path(folder).resolve(), arguments)
        try:
            found = soak.run()
        finally:
            for disk in soak.disks.values():
                disk.close()
            if arguments.keep_log:
                shutil.copy(f"{folder}/log", arguments.keep_log)
        report(soak, found, arguments)


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit("told to stop")


if __name__ == "__main__":
    main()
