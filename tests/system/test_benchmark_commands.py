"""The benchmarks measure the installed command on files: from the folder of labelled photos to the table."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import accuracy
import labelled
import speed

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def labelled_club(folder: Path, photo: bytes) -> str:
    """Make a folder with one labelled photo."""
    club = folder / "club"
    club.mkdir()
    (club / "a.jpg").write_bytes(photo)
    labelled.write_set(str(club), [labelled.Labelled(str(club / "a.jpg"), ((175, 60, 95, 130),))])
    return str(club)


def test_accuracy_is_measured_on_what_the_installed_command_left(
    tmp_path: Path, astronaut_jpeg: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "result.json"
    club = labelled_club(tmp_path, astronaut_jpeg)
    monkeypatch.setattr(sys, "argv", ["accuracy", club, "--methods", "fast", "--json", str(result)])
    accuracy.main()
    rows = json.loads(result.read_text())["rows"]
    assert [(row["size"], row["hidden"], row["held"], row["boxes"]) for row in rows] == [
        ("as they are", 100.0, 0, 1),
        ("canvas", 100.0, 0, 1),
    ]
    assert "| club, as they are | 1 | 1 | 100.0 / 100.0 |" in capsys.readouterr().out


def test_speed_is_that_of_whole_files_without_the_start(
    tmp_path: Path, astronaut_jpeg: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "result.json"
    club = labelled_club(tmp_path, astronaut_jpeg)
    small = ["--photos", "1", "--megapixels", "0.3", "--rounds", "1", "--crowd", "1"]
    monkeypatch.setattr(sys, "argv", ["speed", club, "--methods", "fast", *small, "--json", str(result)])
    speed.main()
    [row] = json.loads(result.read_text())["rows"]
    assert set(row["wall_ms"]) == {"01", "crowd"}, "the file that warms up does not count"
    assert row["faces"]["01"] == 1
    assert all(row[times][name] > 0 for times in ("wall_ms", "own_ms") for name in ("01", "crowd"))
    assert row["peak_mb"] > 50
    assert row["ready_seconds"] > 0
    assert "| own, fast | - |" in capsys.readouterr().out
