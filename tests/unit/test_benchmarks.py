"""What the benchmarks count as hidden and as false, how they pack photos, and what they take for a result."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, cast

import accuracy
import commands
import cv2
import kinds
import labelled
import numpy as np
import pytest
import speed
import stages
from judging import Tally, is_false, is_hidden, share, union
from labelled import Labelled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labelled import Box

FACE = (10.0, 10.0, 20.0, 20.0)


def photo(*faces: Box, ignored: tuple[Box, ...] = ()) -> Labelled:
    return Labelled("photo.jpg", faces, ignored)


# --- hidden


@pytest.mark.parametrize(("height", "hidden"), [(12, True), (11, False)])
def test_a_face_is_hidden_from_sixty_percent_of_its_box(height: int, hidden: bool) -> None:
    assert is_hidden(FACE, union([(0, 10, 100, height)], 100, 100)) is hidden


def test_two_boxes_hide_together_what_neither_hides_alone_and_what_they_share_counts_once() -> None:
    left, middle = (10, 10, 8, 20), (15, 10, 8, 20)
    assert share(FACE, union([left, middle], 100, 100)) == pytest.approx(13 / 20)
    assert not is_hidden(FACE, union([left], 100, 100))
    assert is_hidden(FACE, union([left, middle], 100, 100))


def test_of_a_face_that_the_frame_cuts_the_part_in_the_frame_is_judged() -> None:
    assert share((-10.0, 10.0, 20.0, 20.0), union([(0, 10, 10, 20)], 100, 100)) == 1.0
    assert share((-30.0, 10.0, 20.0, 20.0), union([(0, 0, 100, 100)], 100, 100)) == 0.0


def test_fractions_of_pixels_are_counted() -> None:
    assert share((10.5, 10.0, 2.0, 1.0), union([(11, 0, 50, 50)], 100, 100)) == pytest.approx(0.75)


# --- false


def test_a_box_is_false_when_it_overlaps_no_face_and_lies_on_none() -> None:
    one = photo(FACE)
    known = union([FACE], 200, 200)
    assert is_false((100, 100, 20, 20), one, known)
    assert not is_false((12, 12, 20, 20), one, known)


def test_a_small_box_inside_a_face_is_not_false_and_a_huge_one_around_it_is() -> None:
    one = photo(FACE)
    known = union([FACE], 200, 200)
    assert not is_false((15, 15, 5, 5), one, known), "all of it is on a face"
    assert is_false((0, 0, 150, 150), one, known)


def test_an_ignored_area_makes_a_box_on_it_not_false_and_hides_no_miss() -> None:
    one = photo(ignored=(FACE,))
    tally = Tally()
    tally.add(one, [(10, 10, 20, 20)], 100, 100)
    assert (tally.false, tally.hidden()) == (0, None)


# --- tallies


def test_every_face_of_a_held_photo_counts_as_shown() -> None:
    tally = Tally()
    tally.add(photo(FACE), [(10, 10, 20, 20)], 100, 100)
    tally.add_held(photo(FACE, FACE, FACE), "damaged")
    assert tally.row() | {"hidden": 25.0, "held": 1, "photos": 2, "faces": 4} == tally.row()
    assert tally.held == ["photo.jpg (damaged)"]


def test_false_boxes_are_counted_per_small_photo_of_a_canvas() -> None:
    tally = Tally()
    tally.add(Labelled("canvas.jpg", (), holds=4), [(0, 0, 5, 5), (50, 50, 5, 5)], 100, 100)
    assert tally.row()["false_per_photo"] == 0.5


def test_bins_take_faces_from_their_lower_bound_to_below_their_upper() -> None:
    tally = Tally()
    tally.add(photo((0.0, 0.0, 16.0, 16.0), (50.0, 50.0, 15.0, 15.9)), [(0, 0, 16, 16)], 100, 100)
    assert (tally.hidden(16, 32), tally.hidden(0, 16), tally.hidden(16), tally.hidden(32, 64)) == (100, 0, 100, None)


# --- packing


def test_shelves_overlap_nowhere_and_leave_no_canvas() -> None:
    sizes = [(40, 30), (50, 30), (30, 20), (60, 20), (90, 45), (10, 5)]
    spots = labelled.shelves(sizes, 100, 60)
    taken: dict[int, np.ndarray] = {}
    for (canvas, x, y), (width, height) in zip(spots, sizes, strict=True):
        assert x + width <= 100
        assert y + height <= 60
        area = taken.setdefault(canvas, np.zeros((60, 100), int))
        area[y : y + height, x : x + width] += 1
    assert all(area.max() == 1 for area in taken.values())


def test_packed_photos_keep_their_pixels_and_their_labels_move_along(tmp_path: Path) -> None:
    made = []
    for number, (value, faces) in enumerate([(40, (FACE,)), (90, ()), (200, (FACE, (1.0, 2.0, 3.0, 4.0)))]):
        path = str(tmp_path / f"{number}.png")
        cv2.imwrite(path, np.full((50, 60 + number, 3), value, np.uint8))
        made.append(Labelled(path, faces))
    (tmp_path / "canvas").mkdir()
    canvases = labelled.packed(made, str(tmp_path / "canvas"), size=(140, 60))
    assert [(one.holds, len(one.faces)) for one in canvases] == [(2, 1), (1, 2)], "photos without faces are packed, too"
    assert canvases[1].faces == (FACE, (1.0, 2.0, 3.0, 4.0))
    first = labelled.pixels(canvases[0].path)
    assert first.shape == (60, 140, 3)
    assert [int(first[25, x].mean()) for x in (30, 90, 130)] == pytest.approx([40, 90, labelled.CANVAS_GRAY], abs=3)


def test_a_set_that_was_written_is_read_again(tmp_path: Path) -> None:
    photos = [Labelled(str(tmp_path / "a.jpg"), (FACE,), ((1.0, 1.0, 2.0, 2.0),), holds=3)]
    labelled.write_set(str(tmp_path), photos)
    assert list(labelled.read_sets(str(tmp_path))) == [(tmp_path.name, photos)]


# --- what a command left


def test_a_box_that_was_reported_but_not_redacted_hides_nothing(tmp_path: Path) -> None:
    source, result = str(tmp_path / "source.png"), str(tmp_path / "result.png")
    before = np.random.default_rng(1).integers(0, 255, (100, 100, 3), np.uint8)
    after = before.copy()
    after[10:30, 10:30] = 128
    cv2.imwrite(source, before)
    cv2.imwrite(result, after)
    other = (60.0, 60.0, 20.0, 20.0)
    boxes = [dict(zip(("x", "y", "width", "height"), map(int, box), strict=True)) for box in (FACE, other)]
    said = {"path": source, "output": result, "regions": boxes, "milliseconds": 1}
    [tally] = accuracy.judge([accuracy.Set("a", "b", (Labelled(source, (FACE, other)),))], [commands.Line(said, 0.1)])
    assert (tally.hidden(), tally.unchanged) == (50.0, 1)


@pytest.mark.parametrize("output", [None, "/nowhere/result.png"])
def test_a_photo_whose_result_is_not_there_is_held(output: str | None) -> None:
    said = {"path": "/a.png", "output": output, "reason": None, "regions": [], "milliseconds": 1}
    [tally] = accuracy.judge([accuracy.Set("a", "b", (Labelled("/a.png", (FACE,)),))], [commands.Line(said, 0.1)])
    assert (tally.hidden(), tally.held) == (0.0, ["a.png (no result)"])


def test_a_command_that_fails_ends_the_benchmark_with_what_it_said() -> None:
    with pytest.raises(SystemExit, match="no such thing"):
        commands.run([sys.executable, "-c", "import sys; sys.exit('no such thing')"])


def test_held_files_are_no_failure_of_the_command() -> None:
    lines = commands.run([sys.executable, "-c", "import sys; print('{\"path\": 1}'); sys.exit(3)"])
    assert [line.said for line in lines] == [{"path": 1}]


# --- kinds


def marked(width: int = 60, height: int = 40) -> kinds.Shot:
    """Give a black photo with one white face."""
    picture = np.zeros((height, width, 3), np.uint8)
    x, y, w, h = 8, 4, 24, 26
    picture[y : y + h, x : x + w] = 255
    return kinds.Shot(picture, ((float(x), float(y), float(w), float(h)),), ())


@pytest.mark.parametrize(
    "make",
    [
        *(kinds.KINDS[kind] for kind in ("turned-90", "turned-180", "turned-270", "half-size", "black-margins")),
        lambda shot: kinds.enlarged(shot, megapixels=0.05),
    ],
)
def test_labels_follow_the_face_when_a_photo_is_turned_scaled_or_framed(
    make: Callable[[kinds.Shot], kinds.Shot],
) -> None:
    shot = make(marked())
    white = shot.picture.mean(axis=2) > 127
    rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
    [box] = shot.faces
    seen = (columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0])
    assert box == pytest.approx(seen, abs=max(1, shot.picture.shape[0] / 40))


def test_the_box_of_a_tilted_face_holds_the_ellipse_in_it() -> None:
    shot = kinds.tilted(marked(60, 60), 45)
    [(x, y, w, h)] = shot.faces
    assert (w, h) == pytest.approx((math.hypot(24, 26) * math.sqrt(0.5),) * 2)
    middle = shot.picture[int(y + h / 2) - 2 : int(y + h / 2) + 2, int(x + w / 2) - 2 : int(x + w / 2) + 2]
    assert middle.min() == 255


@pytest.mark.parametrize(("side", "left"), [(0, (12, 26)), (1, (12, 26)), (2, (24, 13)), (3, (24, 13))])
def test_a_cut_face_keeps_its_half_and_no_other_face_counts(side: int, left: tuple[int, int]) -> None:
    shot = marked(120, 80)
    both = kinds.Shot(shot.picture, (*shot.faces, (90.0, 40.0, 25.0, 20.0)), ())
    made = kinds.cut(both, side)
    if made is None:  # too little of the photo is left at this side
        made = kinds.cut(kinds.quarters(shot, 2), side)
    [(_, _, width, height)] = made.faces
    assert (width, height) == left


def test_a_panorama_is_ten_times_as_long_as_high() -> None:
    strips = list(kinds.panoramas([marked() for _ in range(14)], height=80))
    assert [len(strip.faces) for strip in strips] == [7, 7]
    assert all(strip.picture.shape[1] >= 10 * strip.picture.shape[0] for strip in strips)


# --- speed


def test_a_ratio_is_the_reference_over_ours_photo_by_photo() -> None:
    assert speed.ratios_of({"a": 600.0, "b": 900.0}, {"a": 100.0, "b": 300.0}, ["a", "b"]) == [6.0, 3.0]


def test_a_sample_is_named_by_the_first_and_the_last_frame_of_imaging() -> None:
    def inside(module: str, name: str, body: str, **known: object) -> Callable[[], object]:
        space: dict[str, object] = {"__name__": module, **known}
        exec(f"def {name}():\n    return {body}", space)  # noqa: S102 - a frame that belongs to another module
        return cast("Callable[[], object]", space[name])

    look = inside("cv2.somewhere", "look", "place(frame())", place=stages.place, frame=sys._getframe)
    decode = inside("faceblurd.imaging.files", "decode", "look()", look=look)
    find = inside("faceblurd.imaging.detect.find", "find", "decode()", decode=decode)
    work = inside("faceblurd.workers.job", "work", "find()", find=find)
    assert work() == ("detect.find.find", "files.decode")
    assert inside("faceblurd.workers.job", "work", "look()", look=look)() == ("the job itself", "workers.job.work")
