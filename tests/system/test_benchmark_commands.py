"""The benchmarks measure the installed command on files: from the folder of labelled photos to the table."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import accuracy
import labelled

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_accuracy_is_measured_on_what_the_installed_command_left(
    tmp_path: Path, astronaut_jpeg: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "club").mkdir()
    (tmp_path / "club" / "a.jpg").write_bytes(astronaut_jpeg)
    labelled.write_set(
        str(tmp_path / "club"), [labelled.Labelled(str(tmp_path / "club" / "a.jpg"), ((175, 60, 95, 130),))]
    )
    result = tmp_path / "result.json"
    monkeypatch.setattr(sys, "argv", ["accuracy", str(tmp_path / "club"), "--methods", "fast", "--json", str(result)])
    accuracy.main()
    rows = json.loads(result.read_text())["rows"]
    assert [(row["size"], row["hidden"], row["held"], row["boxes"]) for row in rows] == [
        ("as they are", 100.0, 0, 1),
        ("canvas", 100.0, 0, 1),
    ]
    assert "| club, as they are | 1 | 1 | 100.0 / 100.0 |" in capsys.readouterr().out
