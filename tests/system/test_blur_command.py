"""`faceblurd blur` as a person and as another tool would call it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIELDS = {
    "path", "outcome", "output", "reason", "detail", "regions", "recipe", "lossless", "faces", "milliseconds",
}  # fmt: skip


def objects(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_photo_comes_out_blurred_and_its_json_says_where(
    command: Callable[..., Any], tmp_path: Path, astronaut_jpeg: bytes
) -> None:
    (tmp_path / "a.jpg").write_bytes(astronaut_jpeg)
    result = command("blur", str(tmp_path / "a.jpg"), "--to", str(tmp_path / "out"), "--json")
    assert result.returncode == 0, result.stderr
    (said,) = objects(result)
    assert set(said) == FIELDS
    assert (said["outcome"], said["recipe"], said["faces"], said["reason"]) == ("published", "balanced", 1, None)
    assert said["output"] == str(tmp_path / "out" / "a.jpg")
    (region,) = said["regions"]
    assert set(region) == {"x", "y", "width", "height", "score", "found_by"}
    before = cv2.imdecode(np.frombuffer(astronaut_jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)
    after = cv2.imread(said["output"]).astype(int)
    box = np.s_[region["y"] : region["y"] + region["height"], region["x"] : region["x"] + region["width"]]
    assert np.abs(before[box] - after[box]).mean() > 15
    after[box] = before[box]
    assert np.abs(before - after).mean() < 1
    assert (tmp_path / "a.jpg").read_bytes() == astronaut_jpeg


def test_in_place_replaces_the_photo_and_keeps_its_mode(
    command: Callable[..., Any], tmp_path: Path, astronaut_jpeg: bytes
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(astronaut_jpeg)
    path.chmod(0o640)
    result = command("blur", str(path), "--in-place", "--json")
    assert result.returncode == 0, result.stderr
    assert objects(result)[0]["output"] == str(path)
    assert path.read_bytes() != astronaut_jpeg
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["a.jpg"]


def test_a_folder_keeps_its_tree_and_a_photo_without_a_face_is_published_too(
    command: Callable[..., Any], tmp_path: Path, astronaut_jpeg: bytes
) -> None:
    deep = tmp_path / "in" / "x" / "y"
    deep.mkdir(parents=True)
    (deep / "a.jpg").write_bytes(astronaut_jpeg)
    cv2.imwrite(str(tmp_path / "in" / "plain.png"), np.full((60, 80, 3), 90, np.uint8))
    (tmp_path / "in" / "notes.txt").write_text("not a photo")
    result = command("blur", str(tmp_path / "in"), "--to", str(tmp_path / "out"), "--json")
    assert result.returncode == 0, result.stderr
    assert sorted(one["outcome"] for one in objects(result)) == ["clean", "published"]
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"x/y/a.jpg", "plain.png"}


def test_a_list_on_stdin_with_odd_names_is_taken(
    command: Callable[..., Any], tmp_path: Path, astronaut_jpeg: bytes
) -> None:
    odd = [os.fsencode(tmp_path) + name for name in (b"/a b.jpg", b"/\xff\xfe.jpg", "/ä\u202e.jpg".encode())]
    for path in odd:
        with open(path, "wb") as file:
            file.write(astronaut_jpeg)
    names = b"\n".join(odd).decode("utf-8", "surrogateescape") + "\n"
    arguments = ("blur", "-", "--to", str(tmp_path / "out"), "--json")
    result = command(*arguments, input=names, encoding="utf-8", errors="surrogateescape")
    assert result.returncode == 0, result.stderr
    assert len(objects(result)) == 3
    assert set(os.listdir(os.fsencode(tmp_path / "out"))) == {os.path.basename(path) for path in odd}


@pytest.mark.parametrize(
    ("name", "content", "outcome", "reason"),
    [
        ("movie.gif", b"\x1aE\xdf\xa3" + b"\0" * 40, "unsupported", "unsupported"),
        ("text.jpg", b"hello world, this is not a photo", "unsupported", "unsupported"),
        ("empty.jpg", b"", "held", "incomplete"),
        ("raw.dng", b"II*\0" + b"\0" * 100, None, None),
    ],
)
def test_what_cannot_be_made_safe_is_held_and_the_mirror_stays_empty(
    command: Callable[..., Any], tmp_path: Path, name: str, content: bytes, outcome: str | None, reason: str | None
) -> None:
    (tmp_path / name).write_bytes(content)
    result = command("blur", str(tmp_path / name), "--to", str(tmp_path / "out"), "--json")
    assert result.returncode == 3
    (said,) = objects(result)
    assert said["output"] is None
    assert said["outcome"] in {"held", "unsupported"}
    assert said["reason"]
    if outcome is not None:
        assert (said["outcome"], said["reason"]) == (outcome, reason)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_truncated_photo_is_held(command: Callable[..., Any], tmp_path: Path, astronaut_jpeg: bytes) -> None:
    (tmp_path / "cut.jpg").write_bytes(astronaut_jpeg[:-9000])
    result = command("blur", str(tmp_path / "cut.jpg"), "--to", str(tmp_path / "out"), "--json")
    assert result.returncode == 3
    assert objects(result)[0]["reason"] == "incomplete"


@pytest.mark.slow
def test_a_file_of_somebody_else_is_not_overwritten_unless_told_so(
    command: Callable[..., Any], tmp_path: Path, astronaut_jpeg: bytes
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jpg").write_bytes(b"precious")
    (tmp_path / "a.jpg").write_bytes(astronaut_jpeg)
    arguments = ["blur", str(tmp_path / "a.jpg"), "--to", str(tmp_path / "out"), "--json"]
    result = command(*arguments)
    assert result.returncode == 3
    assert objects(result)[0]["reason"] == "target_exists"
    assert (tmp_path / "out" / "a.jpg").read_bytes() == b"precious"
    assert command(*arguments, "--replace").returncode == 0
    again = command(*arguments)  # the same result is there already: done
    assert again.returncode == 0, again.stdout


def test_a_second_name_of_the_file_holds_it(command: Callable[..., Any], tmp_path: Path, astronaut_jpeg: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(astronaut_jpeg)
    os.link(tmp_path / "a.jpg", tmp_path / "b.jpg")
    result = command("blur", str(tmp_path / "a.jpg"), "--in-place", "--json")
    assert result.returncode == 3
    assert objects(result)[0]["reason"] == "hard_link"
    assert (tmp_path / "b.jpg").read_bytes() == astronaut_jpeg


@pytest.mark.parametrize(
    "arguments",
    [
        ["blur", "{}/a.jpg"],
        ["blur", "{}/a.jpg", "--to", "{}/out", "--in-place"],
        ["blur", "{}/nothing.jpg", "--in-place"],
        ["blur", "{}/a.jpg", "--to", "{}"],
        ["blur", "{}", "--to", "{}/out"],
        ["blur", "{}/a.jpg", "--to", "{}/out", "--recipe", "strong"],
        ["blur"],
        ["no-such-command"],
        ["run"],
        ["run", "--watch", "{}", "--to", "{}/../o", "--in-place"],
    ],
)
def test_a_wrong_command_line_exits_2_and_says_why(
    command: Callable[..., Any], tmp_path: Path, astronaut_jpeg: bytes, arguments: list[str]
) -> None:
    (tmp_path / "a.jpg").write_bytes(astronaut_jpeg)
    result = command(*(argument.format(tmp_path) for argument in arguments))
    assert result.returncode == 2
    assert result.stderr.strip()
    assert "Traceback" not in result.stderr
    assert (tmp_path / "a.jpg").read_bytes() == astronaut_jpeg


@pytest.mark.slow
def test_help_and_one_photo_take_little_more_than_the_libraries_start(
    command: Callable[..., Any], tmp_path: Path, portraits: Any
) -> None:
    """Processor time, and in units of what the same machine takes to load the libraries (a quarter of a second)."""
    (tmp_path / "a.jpg").write_bytes(portraits(1)[0])
    loading = [sys.executable, "-c", "import cv2, numpy, PIL.Image"]
    unit = _cpu_seconds(lambda: subprocess.run(loading, check=True))
    assert _cpu_seconds(lambda: command("--help")) < unit
    assert _cpu_seconds(lambda: command("blur", str(tmp_path / "a.jpg"), "--to", str(tmp_path / "out"))) < 5 * unit


def _cpu_seconds(act: Callable[[], Any]) -> float:
    """Give the least of three runs: the machine may be busy with other things."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert act().returncode in {0, 3}
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


def test_a_file_name_cannot_forge_a_line_of_output(
    command: Callable[..., Any], tmp_path: Path, astronaut_jpeg: bytes
) -> None:
    path = tmp_path / "a\n\x1b[2Jpublished: b.jpg"
    path.write_bytes(astronaut_jpeg)
    result = command("blur", str(path), "--to", str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout + result.stderr
    assert len(result.stdout.splitlines()) == 1
