"""What was removed from a mirror stays away, until `faceblurd redo` brings it back."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def mirror(home: Any, portraits: Any) -> dict[str, Any]:
    """A root of two photos, one in a folder, and its mirror, out of which both were taken."""
    root = home.root("in", to="out")
    (home.folder / "in" / "sub").mkdir()
    for name, content in zip(("a.jpg", "sub/b.jpg"), portraits(2), strict=True):
        (home.folder / "in" / name).write_bytes(content)
    assert home.scan(root) == 0
    for name in ("a.jpg", "sub/b.jpg"):
        (home.folder / "out" / name).unlink()
    assert home.scan(root) == 0
    assert shown(home) == set()
    return dict(root)


def shown(home: Any) -> set[str]:
    return {path.name for path in (home.folder / "out").rglob("*.jpg")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "back"),
    [
        (["{in}/a.jpg"], {"a.jpg"}),
        (["{out}/a.jpg"], {"a.jpg"}),
        (["{in}/sub"], {"b.jpg"}),
        (["{in}"], {"a.jpg", "b.jpg"}),
        (["--root", "{in}"], {"a.jpg", "b.jpg"}),
    ],
)
def test_a_removed_result_comes_back_when_a_person_says_so(
    home: Any, mirror: dict[str, Any], arguments: list[str], back: set[str]
) -> None:
    where = {"in": home.folder / "in", "out": home.folder / "out"}
    done = home.run("redo", *(argument.format(**where) for argument in arguments))
    assert done.returncode == 0, done.stderr
    assert f"{len(back)} to be done once more" in done.stdout
    assert home.scan(mirror) == 0
    assert shown(home) == back


def test_what_is_not_known_is_said(home: Any, mirror: dict[str, Any]) -> None:
    done = home.run("redo", str(home.folder / "in" / "never.jpg"))
    assert done.returncode == 1
    assert "nothing is known" in done.stderr
    assert home.run("redo").returncode == 2


@pytest.mark.slow
def test_in_place_our_own_results_stay_as_they_are(home: Any, portraits: Any) -> None:
    root, photo = home.root("in"), home.folder / "in" / "a.jpg"
    photo.write_bytes(portraits(1)[0])
    home.scan(root)
    finished = photo.read_bytes()
    assert home.run("redo", "--root", str(home.folder / "in")).returncode == 0
    assert home.scan(root) == 0
    assert home.said_of("file.skipped") == ["a.jpg"]
    assert photo.read_bytes() == finished


def test_a_running_daemon_does_it_at_once(daemon: Any, cheapest: Any, tmp_path: Any, portraits: Any) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(portraits(1)[0])
    root = {"path": str(tmp_path / "in"), "mode": "mirror", "to": str(tmp_path / "out"), "quiet_seconds": 0.1}
    one = daemon(**cheapest, workers={"count": 1}, roots=[{**root, "rescan_seconds": 3600}])
    one.start()
    result = tmp_path / "out" / "a.jpg"
    one.wait_for(lambda: one.lines("file.published"), what="the photo")
    result.unlink()
    assert one.run("redo", "--config", str(one.config_path), str(tmp_path / "in" / "a.jpg")).returncode == 0
    one.wait_for(result.exists, what="its way back")
    assert one.stop() == 0
