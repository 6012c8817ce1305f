"""Every way in which a photo can arrive: each is published exactly once, and then there is peace."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCANS = 3  # of each root, in which nothing may happen


def arrive(root: Path, elsewhere: Path, photos: list[bytes]) -> set[str]:
    """Bring 250 photos into a root in nine ways; return the paths that must be published."""
    source = iter(photos)
    expected: set[str] = set()

    def fill(folder: Path, count: int) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        made = []
        for number in range(count):
            path = folder / f"p{number}.jpg"
            path.write_bytes(next(source))
            made.append(path)
        return made

    def expect(folder: str, count: int) -> None:
        expected.update(str(root / folder / f"p{number}.jpg") for number in range(count))

    slow = threading.Thread(target=_write_slowly, args=(root / "slow.jpg", next(source), 10.0))
    slow.start()
    expected.add(str(root / "slow.jpg"))

    for path in fill(elsewhere / "cp", 39):
        (root / "cp").mkdir(exist_ok=True)
        shutil.copy(path, root / "cp" / path.name)
    expect("cp", 39)

    fill(elsewhere / "mv", 30)
    (root / "mv").mkdir()
    for number in range(30):
        (elsewhere / "mv" / f"p{number}.jpg").rename(root / "mv" / f"p{number}.jpg")
    expect("mv", 30)

    fill(elsewhere / "rs" / "rsync", 40)
    _rsync(elsewhere / "rs", root)
    expect("rsync", 40)

    fill(elsewhere / "ri" / "inplace", 40)
    _rsync(elsewhere / "ri", root, "--inplace")
    expect("inplace", 40)

    fill(elsewhere / "t" / "tar", 40)
    archive = elsewhere / "photos.tar"
    subprocess.run(["tar", "cf", archive, "-C", elsewhere / "t", "tar"], check=True)
    subprocess.run(["tar", "xf", archive, "-C", root], check=True)
    expect("tar", 40)

    fill(elsewhere / "tree" / "a" / "b", 30)
    (elsewhere / "tree").rename(root / "tree")
    expect("tree/a/b", 30)

    for number in range(30):  # nested directories and their file at once: watchdog may see only the directory
        folder = root / f"n{number}" / "deep" / "er"
        folder.mkdir(parents=True)
        (folder / "p0.jpg").write_bytes(next(source))
        expected.add(str(folder / "p0.jpg"))
    slow.join()
    return expected


def _rsync(source: Path, target: Path, *options: str) -> None:
    """Call rsync; a machine without it gets the same names in the same order (a hidden one first, then a rename)."""
    if shutil.which("rsync"):
        subprocess.run(["rsync", "-a", *options, f"{source}/", f"{target}/"], check=True)
        return
    for path in sorted(source.rglob("*.jpg")):
        final = target / path.relative_to(source)
        final.parent.mkdir(exist_ok=True)
        partial = final if options else final.with_name(f".{final.name}.AbCdEf")
        shutil.copy(path, partial)
        partial.rename(final)


def _write_slowly(path: Path, content: bytes, seconds: float) -> None:
    with path.open("wb") as file:
        for number in range(20):
            size = len(content) // 20 + 1
            file.write(content[number * size : (number + 1) * size])
            file.flush()
            time.sleep(seconds / 20)  # what is tested: a slow writer


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_500_files_in_every_way_are_published_once_and_then_nothing_moves(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Callable[[int], list[bytes]], face_is_hidden: Any
) -> None:
    mirrored, in_place, out, elsewhere = (tmp_path / name for name in ("mirrored", "in_place", "out", "elsewhere"))
    for folder in (mirrored, in_place):
        folder.mkdir()
    one = daemon(
        roots=[
            {"path": str(mirrored), "mode": "mirror", "to": str(out), "rescan_seconds": 10},
            {"path": str(in_place), "mode": "in_place", "rescan_seconds": 10},
        ]
    )
    one.start()
    photos = portraits(500)
    expected = arrive(mirrored, elsewhere / "1", photos[:250]) | arrive(in_place, elsewhere / "2", photos[250:])
    assert len(expected) == 500

    while not expected <= set(one.finished()):
        some = len(one.finished())
        one.wait_for(lambda some=some: len(one.finished()) > some, what="one more outcome")
    before = len(one.lines("file.published", "file.clean", "file.quarantined", "file.retried", "file.skipped"))
    cpu, scans = _cpu_seconds(one.pid), _scans(one)
    one.wait_for(
        lambda: all(_scans(one)[root] >= scans[root] + SCANS for root in (str(mirrored), str(in_place))), what="scans"
    )
    after = len(one.lines("file.published", "file.clean", "file.quarantined", "file.retried", "file.skipped"))

    outcomes = one.finished()
    assert set(outcomes) == expected
    assert {path: seen for path, seen in outcomes.items() if seen != ["published"]} == {}
    assert after == before, "own writes or rescans caused more work"
    assert _cpu_seconds(one.pid) - cpu < cpu / 5
    for path in expected:
        result = out / path[len(str(mirrored)) + 1 :] if path.startswith(str(mirrored)) else path
        with open(result, "rb") as file:
            assert face_is_hidden(file.read()), path
    assert not list(tmp_path.rglob(".faceblurd-*"))


def _scans(one: Any) -> Counter[str]:
    """Count the whole scans of each root."""
    return Counter(line["root"] for line in one.lines("root.scanned"))


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
