"""What lies on a photo and beside it, with the installed command: attributes, access control, a mirror's own rules."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., Any]

TAGS = "user.xdg.tags"


@pytest.fixture
def catch_up(tmp_path: Path, command: Command, cheapest: dict[str, Any]) -> Callable[..., Any]:
    """Run `faceblurd scan` over one root; gives what it said."""

    def run(mode: str, **settings: Any) -> Any:
        root = {"path": str(tmp_path / "in"), "mode": mode, "quiet_seconds": 0.1, **settings}
        if mode == "mirror":
            root["to"] = str(tmp_path / "out")
        config = {"state_dir": str(tmp_path / "state"), **cheapest, "workers": {"count": 1}, "roots": [root]}
        (tmp_path / "config.yaml").write_text(json.dumps(config))
        return command("scan", "--config", str(tmp_path / "config.yaml"))

    return run


def _tag(path: Path, value: bytes) -> None:
    try:
        os.setxattr(path, TAGS, value)
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")


def _attributes(path: Path) -> list[str]:
    return [name for name in os.listxattr(path) if name.startswith("user.")]


@pytest.mark.slow
def test_no_attribute_shows_a_face_that_the_photo_hides(
    tmp_path: Path, portraits: Any, catch_up: Callable[..., Any]
) -> None:
    """In place, with and without faces, and again when they come back on a photo that is done."""
    folder = tmp_path / "in"
    folder.mkdir()
    import cv2
    import numpy as np

    (folder / "face.jpg").write_bytes(portraits(1)[0])
    (folder / "none.jpg").write_bytes(cv2.imencode(".jpg", np.full((64, 64, 3), 99, np.uint8))[1].tobytes())
    for _ in range(2):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        for path in folder.iterdir():
            _tag(path, portraits(1)[0][:3000])
        done = catch_up("in_place")
        assert done.returncode == 0, done.stderr
        assert [_attributes(path) for path in sorted(folder.iterdir())] == [[], []]
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}  # the second time nothing else changed


def test_none_goes_into_a_mirror(tmp_path: Path, portraits: Any, catch_up: Callable[..., Any]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "face.jpg").write_bytes(portraits(1)[0])
    _tag(tmp_path / "in" / "face.jpg", b"Ann")
    os.setxattr(tmp_path / "in" / "face.jpg", "user.mime_type", b"image/jpeg")
    assert catch_up("mirror").returncode == 0
    assert _attributes(tmp_path / "out" / "face.jpg") == ["user.mime_type"]
    assert sorted(_attributes(tmp_path / "in" / "face.jpg")) == ["user.mime_type", TAGS]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: security attributes, and another user")
def test_a_private_photo_on_a_windows_share_stays_private_in_place(
    tmp_path: Path, portraits: Any, catch_up: Callable[..., Any]
) -> None:
    (tmp_path / "in").mkdir()
    photo = tmp_path / "in" / "face.jpg"
    photo.write_bytes(original := portraits(1)[0])
    os.setxattr(photo, "security.NTACL", b"only ann")
    assert catch_up("in_place").returncode == 0
    assert photo.read_bytes() != original
    assert os.getxattr(photo, "security.NTACL") == b"only ann"
