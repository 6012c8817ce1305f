"""What is followed of a deletion, and what is not: the order of things that no test of the whole can choose."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from faceblurd.intake.errands import AtOnce
from faceblurd.intake.inbox import Inbox
from faceblurd.pipeline.files import Parts, RootPlan
from faceblurd.pipeline.housekeeping import MOST_MISSING, Housekeeping
from faceblurd.pipeline.waiting import Waiting

from faceblurd.intake.filesystem import RootIdentity
from faceblurd.intake.scanner import Selection
from faceblurd.model import BlurSpec, DetectionSpec, Entry, Fingerprint, Mode, Recipe, Sighting, Source, State
from faceblurd.outlet.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Desk:
    """A root and its mirror on the disk, and a ledger that knows what was published."""

    def __init__(self, folder: Path) -> None:
        self.sources, self.out, self.now = folder / "in", folder / "out", 100.0
        for path in (self.sources, self.out):
            path.mkdir()
        self.ledger, self.waiting, self.told = Ledger(None), Waiting(), list[str]()
        self.plan = RootPlan(
            str(self.sources), Mode.MIRROR, str(self.out), Recipe("test", DetectionSpec((), None), BlurSpec()),
            Selection(("*.jpg",), ()), quiet_seconds=1.0, settle_max_seconds=60.0, hard_links_ok=False,
            keep_mtime=False, replace_others=False, take_away_held=False, follow_deletions=True,
        )  # fmt: skip
        nobody: Any = None
        parts = Parts(
            Inbox(), AtOnce(), self.ledger, nobody, nobody, nobody, None, lambda: self.now, lambda _report: None,
            lambda event, **_: self.told.append(event),
        )  # fmt: skip
        self.house = Housekeeping(parts, self.waiting, {self.plan.path: self.plan})
        self.enter()

    def enter(self) -> None:
        """The root is what it is now."""
        identity = RootIdentity.of(self.plan.path)
        self.ledger.enter(self.plan.path, identity.mark)
        self.house.entered(self.plan.path, identity)

    def publish(self, path: str, digest: str = "digest") -> None:
        """A result whose photo is not there any more."""
        (self.out / path).parent.mkdir(parents=True, exist_ok=True)
        (self.out / path).write_bytes(b"a result")
        target = Fingerprint.from_stat((self.out / path).lstat())
        entry = Entry(self.plan.path, path, State.PUBLISHED, "R", target, "in", digest, target)
        self.ledger.put(entry)

    def hint(self, path: str) -> None:
        self.house.hinted([Sighting(self.plan.path, path, Source.EVENT)])

    def turn(self, seconds: float = 2.0, *, available: bool = True) -> None:
        self.now += seconds
        for _ in range(20):  # a page each
            self.house.tick(lambda _root: available, lambda _root: None)

    def shown(self) -> list[str]:
        return sorted(str(path.relative_to(self.out)) for path in self.out.rglob("*") if path.is_file())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    one = Desk(tmp_path)
    with closing(one.ledger):
        yield one


def test_nothing_is_removed_before_the_quiet_time_and_everything_after_it(desk: Desk) -> None:
    desk.publish("a/1.jpg")
    desk.hint("a/1.jpg")
    desk.turn(0.5)
    assert desk.shown() == ["a/1.jpg"]
    desk.turn(0.6)
    assert desk.shown() == []
    assert not (desk.out / "a").exists()
    assert desk.ledger.entry(desk.plan.path, "a/1.jpg") is None
    assert desk.house.idle


def test_a_root_that_is_entered_again_and_again_loses_no_deletion(desk: Desk) -> None:
    """One that cannot be watched is, every two seconds: what was missing never got through its quiet time."""
    desk.publish("1.jpg")
    desk.house.scanned(desk.plan.path, frozenset())
    for _ in range(3):
        desk.turn(0.6)
        desk.enter()
    assert desk.shown() == []


def test_a_hint_at_a_folder_counts_for_all_that_was_in_it_and_for_no_neighbour(desk: Desk) -> None:
    for path in ("a/1.jpg", "a/b/2.jpg", "a.jpg", "a0.jpg", "ab/3.jpg"):
        desk.publish(path)
    desk.hint("a")
    desk.turn()
    assert desk.shown() == ["a.jpg", "a0.jpg", "ab/3.jpg"]


def test_a_scan_removes_what_it_did_not_see_page_by_page(desk: Desk) -> None:
    for number in range(1200):
        desk.publish(f"{number}.jpg", f"digest {number}")
    desk.house.scanned(desk.plan.path, frozenset(hash(f"{number}.jpg") for number in range(0, 1200, 2)))
    desk.turn()
    desk.turn()
    assert desk.shown() == sorted(f"{number}.jpg" for number in range(0, 1200, 2))


def test_what_is_there_again_or_on_its_way_again_stays(desk: Desk) -> None:
    desk.publish("back.jpg")
    desk.publish("link.jpg", "other")
    (desk.sources / "back.jpg").write_bytes(b"again")
    (desk.sources / "link.jpg").symlink_to("nowhere")  # whatever it is: the name is not free
    for path in ("back.jpg", "link.jpg"):
        desk.hint(path)
    desk.turn()
    assert desk.shown() == ["back.jpg", "link.jpg"]


def test_what_was_made_of_another_folder_by_the_same_name_stays(desk: Desk) -> None:
    desk.publish("1.jpg")
    desk.sources.rename(desk.sources.with_name("away"))
    desk.sources.mkdir()
    desk.hint("1.jpg")
    desk.turn()  # not noticed yet that it is another folder: the look at its mark says so
    assert desk.shown() == ["1.jpg"]
    desk.enter()
    desk.house.scanned(desk.plan.path, frozenset())
    desk.turn()
    assert desk.shown() == ["1.jpg"]


def test_what_is_missing_while_a_root_is_away_is_forgotten(desk: Desk) -> None:
    desk.publish("1.jpg")
    desk.hint("1.jpg")
    desk.turn(available=False)
    assert desk.house.idle
    assert desk.house.next_due() is None
    desk.turn()
    assert desk.shown() == ["1.jpg"]


def test_a_mirror_that_is_away_is_asked_again_and_nothing_is_forgotten(desk: Desk) -> None:
    desk.publish("1.jpg")
    desk.hint("1.jpg")
    desk.out.rename(desk.out.with_name("away"))
    desk.turn()
    assert desk.told == ["file.not_withdrawn"]
    assert desk.ledger.entry(desk.plan.path, "1.jpg") is not None
    desk.out.with_name("away").rename(desk.out)
    desk.turn(40)
    assert desk.shown() == []


def test_two_photos_that_differ_by_case_and_have_one_result_keep_it(desk: Desk) -> None:
    """In a mirror without case the second one found its result there, and was published by that."""
    desk.publish("IMG.JPG")
    desk.publish("img.jpg")
    (desk.out / "img.jpg").unlink()  # there is one file: it has the first name
    (desk.sources / "img.jpg").write_bytes(b"renamed")
    desk.hint("IMG.JPG")
    desk.turn()
    assert desk.shown() == ["IMG.JPG"]
    assert desk.ledger.entry(desk.plan.path, "IMG.JPG") is None
    assert desk.ledger.entry(desk.plan.path, "img.jpg") is not None


def test_hints_beyond_the_bound_are_left_to_the_next_scan(desk: Desk) -> None:
    nowhere = Fingerprint(1, 2, 3, 4, 5)
    for number in range(MOST_MISSING + 5):
        path = f"{number}.jpg"
        desk.ledger.put(Entry(desk.plan.path, path, State.PUBLISHED, "R", nowhere, "in", path, nowhere))
        desk.hint(path)
    assert len(desk.house._missing) == MOST_MISSING
