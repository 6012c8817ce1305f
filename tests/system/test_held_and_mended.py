"""Held files: forgotten when they are gone, and tried again when what held them is mended, as the message says."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def cut(portraits: Any) -> bytes:
    """A photo that is not whole."""
    return bytes(portraits(1)[0][:3000])


@pytest.mark.slow
def test_held_files_that_are_gone_are_forgotten_at_the_next_scan(home: Any, cut: bytes) -> None:
    """Also where one is to be tried again, where nothing else is in the root, and where a file is not looked at now."""
    root = home.root("in", to="out", settle_max_seconds=0.1)
    names = ("deleted.jpg", "retried.jpg", "excluded.jpg")
    for name in names:
        (home.folder / "in" / name).write_bytes(cut)
    assert home.scan(root) == 3
    assert set(home.listed()) == set(names)
    for name in names[:2]:
        (home.folder / "in" / name).unlink()
    home.run("quarantine", "retry", str(home.folder / "in" / "retried.jpg"))
    assert home.scan({**root, "exclude": ["excluded.jpg"]}) == 0
    assert home.listed() == home.listed("retried") == {}
    assert sorted(home.said_of("file.forgotten")) == sorted(names)


def test_what_is_held_in_a_root_that_left_the_config_is_forgotten(home: Any, cut: bytes) -> None:
    one, other = (home.root(name, to=f"out-{name}", settle_max_seconds=0.1) for name in ("one", "other"))
    (home.folder / "one" / "cut.jpg").write_bytes(cut)
    assert home.scan(one, other) == 3
    assert home.scan(other) == 0
    assert home.listed() == {}


@pytest.mark.slow
@pytest.mark.parametrize("on_failure", ["leave", "hold"])
def test_a_photo_whose_place_was_taken_comes_out_when_the_message_was_followed(
    home: Any, portraits: Any, on_failure: str
) -> None:
    """`NAME exists and is not ours: move it away, or set existing: replace`."""
    root = home.root("in", to="out", on_failure=on_failure)
    (home.folder / "out").mkdir()
    photos = dict(zip(("moved.jpg", "replaced.jpg"), portraits(2), strict=True))
    for name, content in photos.items():
        (home.folder / "in" / name).write_bytes(content)
        (home.folder / "out" / name).write_bytes(b"somebody else's")
    assert home.scan(root) == 3
    assert home.listed() == dict.fromkeys(photos, "target_exists")
    (home.folder / "out" / "moved.jpg").rename(home.folder / "elsewhere")
    assert home.scan(root) == 3
    assert home.listed() == {"replaced.jpg": "target_exists"}
    assert home.scan({**root, "existing": "replace"}) == 0
    assert all((home.folder / "out" / name).stat().st_size > 1000 for name in photos)
    assert {name: (home.folder / "in" / name).read_bytes() for name in photos} == photos


def test_a_photo_comes_out_when_the_setting_that_held_it_is_changed(home: Any, portraits: Any) -> None:
    linked, large = portraits(2)
    root = home.root("in", to="out")
    (home.folder / "in" / "linked.jpg").write_bytes(linked)
    (home.folder / "second-name.jpg").hardlink_to(home.folder / "in" / "linked.jpg")
    padding = (b"\xff\xfe\xff\xff" + b" " * 65533) * 20
    (home.folder / "in" / "large.jpg").write_bytes(large[:2] + padding + large[2:])
    assert home.scan(root, workers={"count": 1, "max_file_mb": 1}) == 3
    assert home.listed() == {"linked.jpg": "hard_link", "large.jpg": "too_large"}
    assert home.scan({**root, "hard_links": "process"}) == 0
    assert sorted(home.said_of("file.published")) == ["large.jpg", "linked.jpg"]


@pytest.mark.slow
def test_a_file_that_waits_for_its_next_try_can_be_dropped(home: Any, cut: bytes) -> None:
    root = home.root("in", to="out", settle_max_seconds=0.1)
    photo = home.folder / "in" / "cut.jpg"
    photo.write_bytes(cut)
    assert home.scan(root) == 3
    assert home.run("quarantine", "retry", str(photo)).returncode == 0
    assert home.run("quarantine", "drop", str(photo)).returncode == 0
    assert home.scan(root) == 0
    assert photo.read_bytes() == cut
