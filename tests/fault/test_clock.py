"""The wall clock jumps while the daemon works: ten years ahead, twenty back. Nothing follows from it.

libfaketime lies to the daemon and its workers about the time of day, and to nobody else; the monotonic clock and the
times of files stay true, as they do where a NAS without a battery gets its time from the network, long after its start.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from stand_ins import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WATCHDOG_SECONDS = 30.0
QUIET_SECONDS = 2.0
SETTLE_MAX_SECONDS = 9.0
"""How long a cut photo is waited for."""
SLEEP = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
"""Under libfaketime 0.9.10, clock_nanosleep with a time of the monotonic clock, which is `time.sleep`, gives EINVAL."""


class Clock:
    """What the daemon takes for the time of day."""

    def __init__(self, folder: Path, library: str) -> None:
        self._told = folder / "clock"
        self.jump("+0")
        (folder / "sleep").mkdir()
        (folder / "sleep" / "sitecustomize.py").write_text(SLEEP)
        self.env = {
            "PYTHONPATH": os.pathsep.join([str(folder / "sleep"), os.environ.get("PYTHONPATH", "")]),
            "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(self._told), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
        }  # fmt: skip

    def jump(self, by: str) -> None:
        new = self._told.with_name("clock.new")
        new.write_text(f"{by}\n")
        new.replace(self._told)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
    if library is None:
        assert not os.environ.get("CI"), "libfaketime is missing: .ci/run installs it"
        pytest.skip("needs libfaketime")
    one = Clock(tmp_path, str(library))
    one.jump("+10y")
    said = subprocess.run(["date", "+%Y"], env={**os.environ, **one.env}, capture_output=True, check=True)
    assert abs(int(said.stdout) - time.gmtime().tm_year - 10) <= 1, "libfaketime does not work here"
    one.jump("+0")
    return one


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    one = ServiceManager(tmp_path, watchdog_seconds=WATCHDOG_SECONDS)
    yield one
    one.close()


class Visit:
    """One daemon, and what is dropped into both of its roots around a jump of its clock."""

    def __init__(self, one: Any, roots: list[Path], photos: list[bytes]) -> None:
        self.one, self.roots, self.photos = one, roots, photos
        self.put_at: dict[str, float] = {}

    def put(self, name: str, *, cut: bool = False) -> None:
        photo = self.photos.pop()
        self.put_at[name] = time.monotonic()
        for root in self.roots:
            (root / name).write_bytes(photo[: len(photo) // 2] if cut else photo)

    def outcomes(self, name: str) -> list[str]:
        finished = self.one.finished()
        return [outcome for root in self.roots for outcome in finished.get(str(root / name), [])]

    def outcome_after(self, name: str) -> float:
        """Wait for the first outcome; give the true seconds that it took at least."""
        self.one.wait_for(lambda: self.outcomes(name), what=f"an outcome of {name}")
        seconds = time.monotonic() - self.put_at[name]
        self.one.wait_for(lambda: len(self.outcomes(name)) == 2, what=f"both outcomes of {name}")
        return seconds

    def _scans(self) -> list[int]:
        """Count the whole scans of each root."""
        scanned = [line["root"] for line in self.one.lines("root.scanned")]
        return [scanned.count(str(root)) for root in self.roots]

    def year(self) -> int:
        """Which year the daemon has, by its last line."""
        return int(self.one.lines()[-1]["timestamp"][:4])

    def rescans(self, number: int) -> None:
        """Wait for whole scans of both roots that begin from now on."""
        before = self._scans()
        self.one.wait_for(
            lambda: all(now > then + number for now, then in zip(self._scans(), before, strict=True)),
            seconds=60, what="rescans",
        )  # fmt: skip


@pytest.mark.slow
def test_a_clock_that_jumps_changes_no_wait_and_nothing_is_done_twice(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Any, face_is_hidden: Any, wait_until: Callable[..., Any],
    clock: Clock, manager: ServiceManager,
) -> None:  # fmt: skip
    inbox, out, in_place = (tmp_path / name for name in ("in", "out", "in_place"))
    inbox.mkdir()
    in_place.mkdir()
    waits = {"quiet_seconds": QUIET_SECONDS, "settle_max_seconds": SETTLE_MAX_SECONDS, "rescan_seconds": 1}
    roots = [{"path": str(inbox), "mode": "mirror", "to": str(out)}, {"path": str(in_place), "mode": "in_place"}]
    one = daemon(
        env={**clock.env, **manager.env}, roots=[root | waits for root in roots], workers={"retry_seconds": 1}
    )  # fmt: skip
    one.start()
    here = Visit(one, [inbox, in_place], portraits(10))
    here.put("before.jpg")
    here.outcome_after("before.jpg")
    present = here.year()

    for name, by, years in (("ahead", "+10y", 10), ("back", "-10y", -10)):  # from ten ahead to ten behind: twenty back
        here.put(f"cut {name}.jpg", cut=True)
        one.wait_for(lambda name=name: any(name in line["path"] for line in one.lines("file.retried")), what="a retry")
        here.put(f"while {name}.jpg")
        clock.jump(by)
        since = manager.mark(wait_until)
        here.put(f"after {name}.jpg")
        assert here.outcome_after(f"after {name}.jpg") >= QUIET_SECONDS
        assert abs(here.year() - present - years) <= 1, "the clock did not jump"
        assert here.outcome_after(f"cut {name}.jpg") >= SETTLE_MAX_SECONDS
        here.outcome_after(f"while {name}.jpg")
        here.rescans(2)
        one.wait_for(lambda since=since: manager.count("WATCHDOG=1", since=since) >= 2, what="pings")

    clock.jump("+0")
    here.put("at last.jpg")
    here.outcome_after("at last.jpg")
    here.rescans(2)
    published = {"before.jpg", "while ahead.jpg", "after ahead.jpg", "while back.jpg", "after back.jpg", "at last.jpg"}
    expected = {name: ["published"] for name in published} | {"cut ahead.jpg": ["held"], "cut back.jpg": ["held"]}
    for root, results in ((inbox, out), (in_place, in_place)):
        seen = {Path(path).name: outcomes for path, outcomes in one.finished().items() if Path(path).parent == root}
        assert seen == expected, root
        for name in published:
            assert face_is_hidden((results / name).read_bytes()), name
    assert {path.name for path in out.iterdir()} == published
    assert {line["reason"] for line in one.lines("file.quarantined")} == {"incomplete"}
    assert one.lines("file.skipped", "file.recovered") == []
    assert manager.longest_silence() < WATCHDOG_SECONDS
    assert one.stop() == 0
