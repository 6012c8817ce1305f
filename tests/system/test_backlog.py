"""Thousands of files wait: what arrives now comes first, no root starves, and the parent's memory stays small.

What is counted is how many of the backlog were done meanwhile, not seconds: a busy machine is slow at both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES, FOLDERS = 2000, 200
A_FEW = 150  # of the backlog: what was in hand, and what one worker does within the quiet time
MOST_PARENT_BYTES = 150_000_000


def _tiny(number: int) -> bytes:
    """A picture that no other number gives."""
    pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def _fill(root: Path, files: int, folders: int, *, start: int = 0) -> None:
    for number in range(files):
        folder = root / f"{number * folders // files:03}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05}.png").write_bytes(_tiny(start + number))


@pytest.fixture
def start(daemon: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """A daemon with one worker on the roots `a` and `b`, at work on their backlogs."""

    def begin(a: int, b: int) -> Any:
        _fill(tmp_path / "a", a, max(1, FOLDERS * a // FILES))
        _fill(tmp_path / "b", b, max(1, FOLDERS * b // FILES), start=a)
        one = daemon(
            roots=[
                {
                    "path": str(tmp_path / name),
                    "mode": "mirror",
                    "to": str(tmp_path / f"{name}-out"),
                    "quiet_seconds": 0.2,
                }
                for name in "ab"
            ],
            workers={"count": 1},
        )
        one.start()
        one.wait_for(
            lambda: _results(tmp_path / "a-out") + _results(tmp_path / "b-out") > 20, what="the backlog at work"
        )
        return one

    return begin


def _results(folder: Path) -> int:
    """Count the tiny results in a mirror: cheaper than to read the log again and again."""
    return sum(1 for _ in folder.rglob("*.png"))


def _done(one: Any, folder: Path, *, before: Path | None = None) -> int:
    """Count the tiny files below a folder that have an outcome, if need be before that of another file."""
    done = list(one.finished())
    done = done if before is None else done[: done.index(str(before))]
    return sum(path.startswith(f"{folder}/") and path.endswith(".png") for path in done)


def _done_meanwhile(one: Any, path: Path, photo: bytes, *, below: Path) -> int:
    """Bring a photo; return how many tiny files below a folder were done until it was published."""
    root, _, name = str(path.relative_to(one.folder)).partition("/")
    result = one.folder / f"{root}-out" / name
    earlier = _done(one, below)
    path.write_bytes(photo)
    one.wait_for(lambda: result.exists() and str(path) in one.finished(), what=f"{path.name} published")
    return _done(one, below, before=path) - earlier


def test_a_new_photo_is_published_before_the_backlog(
    start: Callable[..., Any], tmp_path: Path, portraits: Any, face_is_hidden: Any
) -> None:
    one = start(FILES, 0)
    for number, photo in enumerate(portraits(3)):
        path = tmp_path / "a" / f"new{number}.jpg"
        assert _done_meanwhile(one, path, photo, below=tmp_path / "a") < A_FEW
        assert face_is_hidden((tmp_path / "a-out" / path.name).read_bytes())
    assert _done(one, tmp_path / "a") < FILES, "there was no backlog any more"


def test_a_waiting_file_that_is_replaced_is_a_new_photo(start: Callable[..., Any], tmp_path: Path) -> None:
    one = start(FILES, 0)
    last = tmp_path / "a" / f"{FOLDERS - 1:03}" / f"{FILES - 1:05}.png"
    assert last.exists()
    assert _done_meanwhile(one, last, _tiny(FILES + 1), below=tmp_path / "a") < A_FEW


def test_a_flood_in_one_root_does_not_hold_up_a_photo_in_another(
    start: Callable[..., Any], tmp_path: Path, portraits: Any
) -> None:
    one = start(FILES // 2, FILES // 2)
    flood = tmp_path / "a" / "flood"
    _fill(tmp_path / "flood", 600, 10, start=2 * FILES)
    (tmp_path / "flood").rename(flood)
    one.wait_for(lambda: _results(tmp_path / "a-out" / "flood") > 5, what="the flood at work")
    assert _done_meanwhile(one, tmp_path / "b" / "new.jpg", portraits(1)[0], below=flood) < A_FEW
    assert _done(one, flood) < 600, "there was no flood any more"


def test_a_small_root_does_not_wait_for_a_large_one(start: Callable[..., Any], tmp_path: Path) -> None:
    one = start(FILES - 200, 200)
    one.wait_for(lambda: _results(tmp_path / "b-out") == 200, what="all of the small root")
    assert 50 < _done(one, tmp_path / "a") < 600 + A_FEW  # both went on, at a third of the other's pace at least
    with open(f"/proc/{one.pid}/status", encoding="ascii") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    assert peak < MOST_PARENT_BYTES
