"""The pictures for people: preview and contact sheet, looked at as far as a test can look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.slow
def test_a_preview_shows_the_steps_and_a_comparison_a_row_for_each_recipe(
    command: Callable[..., Any], tmp_path: Path, repository: Path
) -> None:
    pytest.importorskip("matplotlib", reason="figures are the extra faceblurd[preview]")
    photo = str(repository / "demo" / "astronaut.jpg")
    steps, compared = tmp_path / "steps.png", tmp_path / "compared.png"
    assert command("preview", photo, "--to", str(steps)).returncode == 0
    assert command("preview", photo, "--to", str(compared), "--compare").returncode == 0
    figure, rows = cv2.imread(str(steps)), cv2.imread(str(compared))
    assert figure.shape[1] > figure.shape[0]
    assert rows.shape[0] > figure.shape[0] / 2
    assert figure.std() > 20  # not an empty page


def test_a_preview_that_cannot_be_written_says_so(
    command: Callable[..., Any], tmp_path: Path, repository: Path
) -> None:
    result = command("preview", str(repository / "demo" / "astronaut.jpg"), "--to", str(tmp_path / "no" / "where.png"))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_contact_sheet_shows_each_box_and_originals_only_when_asked(
    command: Callable[..., Any], tmp_path: Path, portraits: Any
) -> None:
    photos = tmp_path / "in"
    photos.mkdir()
    for number, photo in enumerate(portraits(3)):
        (photos / f"p{number}.jpg").write_bytes(photo)
    redacted, both = tmp_path / "redacted.png", tmp_path / "both.png"
    to = ("--to", str(tmp_path / "out"))
    first = command("blur", str(photos), *to, "--contact-sheet", str(redacted))
    assert first.returncode == 0, first.stderr
    assert command("blur", str(photos), *to, "--contact-sheet", str(both), "--with-originals").returncode == 0
    assert _faces(redacted) == 0
    assert _faces(both) == 3
    refused = command("blur", str(photos), "--in-place", "--contact-sheet", str(both), "--with-originals")
    assert refused.returncode == 2


def _faces(path: Path) -> int:
    """Count what YuNet is sure of: a clear face has 0.9 there, a blank oval in hair up to 0.6 (docs/anonymity.md)."""
    from faceblurd.imaging.detect import open_glance
    from faceblurd.model import NetworksSpec

    return sum(face.score >= 0.75 for face in open_glance(NetworksSpec()).detect(cv2.imread(str(path))))
