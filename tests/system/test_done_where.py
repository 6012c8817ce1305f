"""What was done to a photo was done under a mode, for a destination, to the bytes that lay there: never more than that.

Each test runs `faceblurd scan` over folders as people change them and their configs.
"""

from __future__ import annotations

import io
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

GPS_IFD = 0x8825


@pytest.fixture(scope="session")
def secretive(astronaut_jpeg: bytes) -> bytes:
    """A photo without a face, which carries one behind its end, and a position."""
    small = Image.open(io.BytesIO(astronaut_jpeg)).resize((120, 120))
    preview = io.BytesIO()
    small.save(preview, "JPEG")
    exif = Image.Exif()
    exif[0x010E] = "a wall"
    exif.get_ifd(GPS_IFD).update({1: "N", 2: (48.0, 8.0, 0.0)})
    out = io.BytesIO()
    Image.new("RGB", (320, 240), "tan").save(out, "JPEG", exif=exif)
    return out.getvalue() + preview.getvalue()


def test_a_photo_without_a_face_that_is_sent_again_in_place_is_scrubbed_again(home: Any, secretive: bytes) -> None:
    """Clients push originals over results (rsync -a, lftp -c, cp): previews and positions came back for good."""
    photo = home.folder / "in" / "wall.jpg"
    root = home.root("in", metadata="strip_location")
    photo.write_bytes(secretive)
    assert home.scan(root) == 0
    scrubbed = photo.read_bytes()
    assert scrubbed != secretive
    for _ in range(2):
        photo.write_bytes(secretive)
        assert home.scan(root) == 0
        assert photo.read_bytes() == scrubbed


@pytest.mark.slow
def test_what_a_client_appends_behind_a_result_goes_each_time(home: Any, portraits: Any) -> None:
    """`rsync --append` and `lftp -c` go on where they believe to have stopped: rows of the original behind the end."""
    photo, (original,) = home.folder / "in" / "portrait.jpg", portraits(1)
    root = home.root("in")
    photo.write_bytes(original)
    assert home.scan(root) == 0
    finished = photo.read_bytes()
    for _ in range(3):
        photo.write_bytes(finished + original[-2000:])
        assert home.scan(root) == 0
        tail = original[-200:]  # rows below the face, which stay: in the result once, and not behind it again
        assert photo.read_bytes().count(tail) == finished.count(tail)


@pytest.mark.slow
def test_a_result_that_was_touched_or_copied_over_is_left_alone(home: Any, portraits: Any) -> None:
    photo, root = home.folder / "in" / "portrait.jpg", home.root("in")
    photo.write_bytes(portraits(1)[0])
    home.scan(root)
    finished = photo.read_bytes()
    photo.write_bytes(finished)
    shutil.copyfile(photo, photo.with_name("copy.jpg"))
    assert home.scan(root) == 0
    assert home.said_of("file.skipped") == ["copy.jpg", "portrait.jpg"]
    assert photo.read_bytes() == photo.with_name("copy.jpg").read_bytes() == finished


def test_a_result_in_place_is_newer_than_its_original_and_older_than_a_later_edit(home: Any, portraits: Any) -> None:
    """Syncthing and `rsync -u` go by that: with the time of the blur, an edit that was made before it was lost."""
    photo, root = home.folder / "in" / "portrait.jpg", home.root("in")
    photo.write_bytes(portraits(1)[0])
    os.utime(photo, ns=(10**18, 10**18))
    assert home.scan(root) == 0
    assert photo.stat().st_mtime_ns == 10**18 + 2 * 10**9


def test_a_mirror_that_becomes_in_place_has_all_its_photos_blurred(
    home: Any, portraits: Any, secretive: bytes, face_is_hidden: Callable[[bytes], bool]
) -> None:
    photo, wall = home.folder / "in" / "portrait.jpg", home.folder / "in" / "wall.jpg"
    mirror, in_place = home.root("in", to="out"), home.root("in")
    photo.write_bytes(portraits(1)[0])
    wall.write_bytes(secretive)
    assert home.scan(mirror) == 0
    assert home.scan(in_place) == 0
    assert face_is_hidden(photo.read_bytes())
    assert wall.read_bytes() == (home.folder / "out" / "wall.jpg").read_bytes()
    assert home.scan(mirror) == 0  # and back: the mirror's own results are replaced, not held as somebody's
    assert home.said_of("file.quarantined") == []
    assert face_is_hidden((home.folder / "out" / "portrait.jpg").read_bytes())


@pytest.mark.slow
def test_an_in_place_root_that_becomes_a_mirror_fills_it(home: Any, portraits: Any) -> None:
    (home.folder / "in").mkdir()
    (home.folder / "in" / "portrait.jpg").write_bytes(portraits(1)[0])
    assert home.scan(home.root("in")) == 0
    before = (home.folder / "in" / "portrait.jpg").read_bytes()
    assert home.scan(home.root("in", to="out")) == 0
    assert (home.folder / "out" / "portrait.jpg").exists()
    assert (home.folder / "in" / "portrait.jpg").read_bytes() == before


ALWAYS = {"always": [{"x": 0.1, "y": 0.1, "width": 0.3, "height": 0.3}]}
"""Is hidden in every picture, however often it was hidden before: as what looks like a face in a result."""


def test_our_own_results_are_copied_into_a_mirror_and_stay_as_they_are_on_the_way_back(
    home: Any, portraits: Any
) -> None:
    photo, copy = home.folder / "in" / "portrait.jpg", home.folder / "out" / "portrait.jpg"
    mirror, in_place = home.root("in", to="out", regions=ALWAYS), home.root("in", regions=ALWAYS)
    photo.write_bytes(portraits(1)[0])
    assert home.scan(in_place) == 0
    result = photo.read_bytes()
    for _ in range(2):
        assert home.scan(mirror) == 0
        assert copy.read_bytes() == result
        assert home.scan(in_place) == 0
        assert photo.read_bytes() == result


def test_a_copy_of_our_own_result_is_made_once_and_once_more_when_asked_for(home: Any, portraits: Any) -> None:
    photo, copy = home.folder / "in" / "portrait.jpg", home.folder / "out" / "portrait.jpg"
    mirror, in_place = home.root("in", to="out", regions=ALWAYS), home.root("in", regions=ALWAYS)
    photo.write_bytes(portraits(1)[0])
    home.scan(in_place)
    result = photo.read_bytes()
    home.scan(mirror)
    home.scan(mirror)
    assert home.said_of("file.clean") == []
    copy.unlink()
    assert home.run("redo", "--root", str(home.folder / "in")).returncode == 0
    assert home.scan(mirror) == 0
    assert copy.read_bytes() == result
    assert home.run("redo", "--root", str(home.folder / "in")).returncode == 0
    assert home.scan(in_place) == 0  # asked for, and the root is another before it was done
    assert photo.read_bytes() == result


def test_a_result_of_another_recipe_is_no_own_one_in_a_mirror(home: Any, portraits: Any) -> None:
    photo, copy = home.folder / "in" / "portrait.jpg", home.folder / "out" / "portrait.jpg"
    blind = {"detection": {"detectors": [{"kind": "networks", "min_size_px": 5000}]}}
    (home.folder / "in").mkdir()
    photo.write_bytes(portraits(1)[0])
    home.scan(home.root("in", regions=ALWAYS, **blind))  # hides that region, and not the face
    result = photo.read_bytes()
    assert home.scan(home.root("in", to="out", regions=ALWAYS)) == 0
    assert copy.read_bytes() != result
    home.scan(home.root("in", regions=ALWAYS, **blind))
    assert photo.read_bytes() == result


def test_our_own_result_that_was_held_in_a_mirror_stays_as_it_is_on_the_way_back(home: Any, portraits: Any) -> None:
    photo = home.folder / "in" / "portrait.jpg"
    in_place = home.root("in", regions=ALWAYS)
    photo.write_bytes(portraits(1)[0])
    home.scan(in_place)
    result = photo.read_bytes()
    for to in ("out", "new"):
        (home.folder / to).mkdir()
        (home.folder / to / photo.name).write_bytes(b"somebody's")
        assert home.scan(home.root("in", to=to, regions=ALWAYS)) == 3
    assert home.scan(in_place) == 0
    assert photo.read_bytes() == result


@pytest.mark.slow
def test_each_new_destination_is_filled_and_an_old_one_is_brought_up_to_date(home: Any, portraits: Any) -> None:
    old, new = (home.folder / name / "portrait.jpg" for name in ("old", "new"))
    (home.folder / "in").mkdir()
    (home.folder / "in" / "portrait.jpg").write_bytes(portraits(1)[0])
    assert home.scan(home.root("in", to="old")) == 0
    assert home.scan(home.root("in", to="new")) == 0
    assert new.read_bytes() == old.read_bytes()
    solid = {"blur": {"method": "solid"}}
    assert home.scan(home.root("in", to="new"), **solid) == 0
    assert new.read_bytes() != old.read_bytes()
    assert home.scan(home.root("in", to="old"), **solid) == 0
    assert new.read_bytes() == old.read_bytes()


def test_a_mirror_that_was_moved_is_taken_on_as_it_is(home: Any, portraits: Any) -> None:
    (home.folder / "in").mkdir()
    (home.folder / "in" / "portrait.jpg").write_bytes(portraits(1)[0])
    home.scan(home.root("in", to="old"))
    (home.folder / "old").rename(home.folder / "new")
    before = (home.folder / "new" / "portrait.jpg").stat().st_ino
    assert home.scan(home.root("in", to="new")) == 0
    assert home.said_of("file.skipped") == ["portrait.jpg"]
    assert (home.folder / "new" / "portrait.jpg").stat().st_ino == before


@pytest.mark.slow
@pytest.mark.parametrize("how", ["moved", "root renamed"])
def test_a_result_is_our_own_in_every_root(home: Any, portraits: Any, how: str) -> None:
    one, other = home.root("one"), home.root("other")
    photo, (original,) = home.folder / "one" / "portrait.jpg", portraits(1)
    photo.write_bytes(original)
    home.scan(one)
    finished = photo.read_bytes()
    assert finished != original
    if how == "moved":
        photo.rename(home.folder / "other" / "portrait.jpg")
        home.scan(one, other)
    else:
        (home.folder / "other").rmdir()
        (home.folder / "one").rename(home.folder / "other")
        home.scan(other)
    assert (home.folder / "other" / "portrait.jpg").read_bytes() == finished
    assert home.said_of("file.skipped") == ["portrait.jpg"]


def test_an_original_is_blurred_in_the_next_root_whatever_another_made_of_it(home: Any, portraits: Any) -> None:
    """The other root's recipe hides nothing of it, say: its result is no result of this root's recipe."""
    blind = {"detection": {"detectors": [{"kind": "networks", "min_size_px": 5000}]}}
    one, other = home.root("one", **blind), home.root("other")
    for name in ("one", "other"):
        (home.folder / name / "portrait.jpg").write_bytes(portraits(1)[0])
    assert home.scan(one, other) == 0
    assert home.said_of("file.published") == ["portrait.jpg"]
    assert (home.folder / "other" / "portrait.jpg").read_bytes() != portraits(1)[0]


@pytest.mark.slow
def test_what_was_released_in_a_mirror_is_looked_at_when_its_root_becomes_in_place(
    home: Any, command: Callable[..., Any], portraits: Any
) -> None:
    (home.folder / "in").mkdir()
    photo = home.folder / "in" / "portrait.jpg"
    photo.write_bytes(portraits(1)[0])
    photo.with_name("other.jpg").hardlink_to(photo)
    assert home.scan(home.root("in", to="out")) == 3
    command("quarantine", "release", "--all", "--state-dir", str(home.folder / "state"))
    assert home.scan(home.root("in", to="out")) == 0
    assert home.scan(home.root("in", hard_links="process")) == 0
    assert sorted(home.said_of("file.published")) == ["other.jpg", "portrait.jpg"]
