"""What is followed of a deletion, and what is not: the order of things that no test of the whole can choose."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import virtual_time
from root_desk import Desk as RootDesk
from stand_in_pool import StandInPool, services

from faceblurd.engine.deletions import AGAIN_SECONDS, MAX_MISSING, Deletions
from faceblurd.engine.intake import Intake
from faceblurd.engine.model import Log, RootPlan, RootState
from faceblurd.engine.thread import Inline
from faceblurd.ledger.ledger import Ledger
from faceblurd.model import BlurSpec, DetectionSpec, Entry, Fingerprint, Mode, Reason, Recipe, State
from faceblurd.watch.filesystem import RootIdentity
from faceblurd.watch.scan import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    At = Callable[..., None]

QUIET_SECONDS = 1.0


class Room(Intake):
    """The photos of a root that may be away."""

    is_there = True

    @property
    def available(self) -> bool:
        return self.is_there


class Desk:
    """A root and its mirror on the disk, and a ledger that knows what was published."""

    def __init__(self, folder: Path, *, follow: bool) -> None:
        self.sources, self.out = folder / "in", folder / "out"
        for path in (self.sources, self.out):
            path.mkdir()
        self.ledger, self.told = Ledger(None), list[str]()
        self.plan = RootPlan(
            str(self.sources), Mode.MIRROR, str(self.out), Recipe("test", DetectionSpec((), None), BlurSpec()),
            Selection(("*.jpg",), ()), quiet_seconds=QUIET_SECONDS, settle_max_seconds=60.0, hard_links_ok=False,
            keep_mtime=False, replace_others=False, take_away_held=False, follow_deletions=follow,
        )  # fmt: skip
        log = Log(lambda _report: None, lambda event, **_: self.told.append(event))
        made = services(self.ledger, StandInPool(), folder, [self.plan], log=log)
        self.room = Room(self.plan, made, Inline())
        self.house = Deletions(self.room, made)
        self.life = asyncio.ensure_future(self.house.run())
        self.enter()

    def enter(self) -> None:
        """The root is what it is now."""
        identity = RootIdentity.of(self.plan.path)
        self.ledger.enter(self.plan.path, identity.mark)
        self.house.entered(identity)

    def publish(self, path: str, digest: str = "digest") -> None:
        """A result whose photo is not there any more."""
        (self.out / path).parent.mkdir(parents=True, exist_ok=True)
        (self.out / path).write_bytes(b"a result")
        target = Fingerprint.from_stat((self.out / path).lstat())
        entry = Entry(self.plan.path, path, State.PUBLISHED, "R", target, "in", digest, target)
        self.ledger.put(entry)

    async def turn(self, seconds: float = 2.0) -> None:
        """Let time pass, and a whole search with it."""
        await asyncio.sleep(seconds)
        for _ in range(50):
            await asyncio.sleep(0)
        if self.life.done():
            self.life.result()

    def entry(self, path: str) -> Entry | None:
        return self.ledger.entry(self.plan.path, path)

    def shown(self) -> list[str]:
        return sorted(str(path.relative_to(self.out)) for path in self.out.rglob("*") if path.is_file())


@pytest.fixture
def at(tmp_path: Path) -> At:
    """Run a test's coroutine with a desk."""

    def run(story: Callable[[Desk], Coroutine[Any, Any, None]], *, follow: bool = True) -> None:
        async def main() -> None:
            desk = Desk(tmp_path, follow=follow)
            with closing(desk.ledger):
                try:
                    await story(desk)
                finally:
                    desk.life.cancel()
                    await asyncio.wait({desk.life})

        virtual_time.run(main())

    return run


def test_nothing_is_removed_before_the_quiet_time_and_everything_at_its_end(at: At) -> None:
    async def story(desk: Desk) -> None:
        desk.publish("a/1.jpg")
        desk.house.hinted(["a/1.jpg"])
        await desk.turn(QUIET_SECONDS - 0.001)
        assert desk.shown() == ["a/1.jpg"]
        await desk.turn(0.001)
        assert desk.shown() == []
        assert not (desk.out / "a").exists()
        assert desk.entry("a/1.jpg") is None
        assert desk.told == ["file.withdrawn"]
        assert desk.house.idle

    at(story)


def test_a_result_is_kept_where_the_root_says_so_and_it_is_remembered_that_its_photo_is_gone(at: At) -> None:
    async def story(desk: Desk) -> None:
        desk.publish("1.jpg")
        desk.house.hinted(["1.jpg"])
        await desk.turn()
        assert desk.shown() == ["1.jpg"]
        kept = desk.entry("1.jpg")
        assert kept is not None
        assert (kept.state, kept.reason) == (State.PUBLISHED, Reason.VANISHED)
        assert desk.house.idle

    at(story, follow=False)


def test_a_root_that_is_entered_again_and_again_loses_no_deletion(at: At) -> None:
    """One that cannot be watched is, every two seconds: what was missing never got through its quiet time."""

    async def story(desk: Desk) -> None:
        desk.publish("1.jpg")
        desk.house.scanned(frozenset())
        for _ in range(3):
            await desk.turn(0.6)
            desk.enter()
        assert desk.shown() == []

    at(story)


def test_a_hint_at_a_folder_counts_for_all_that_was_in_it_and_for_no_neighbour(at: At) -> None:
    async def story(desk: Desk) -> None:
        for path in ("a/1.jpg", "a/b/2.jpg", "a.jpg", "a0.jpg", "ab/3.jpg"):
            desk.publish(path)
        desk.house.hinted(["a"])
        await desk.turn()
        assert desk.shown() == ["a.jpg", "a0.jpg", "ab/3.jpg"]

    at(story)


def test_a_scan_removes_what_it_did_not_see_page_by_page(at: At) -> None:
    async def story(desk: Desk) -> None:
        for number in range(1200):
            desk.publish(f"{number}.jpg", f"digest {number}")
        desk.house.scanned(frozenset(hash(f"{number}.jpg") for number in range(0, 1200, 2)))
        assert not desk.house.idle
        await desk.turn()
        await desk.turn()
        assert desk.shown() == sorted(f"{number}.jpg" for number in range(0, 1200, 2))
        assert desk.house.idle

    at(story)


def test_what_is_there_again_or_on_its_way_again_stays(at: At) -> None:
    async def story(desk: Desk) -> None:
        desk.publish("back.jpg")
        desk.publish("link.jpg", "other")
        desk.publish("new.jpg", "third")
        (desk.sources / "back.jpg").write_bytes(b"again")
        (desk.sources / "link.jpg").symlink_to("nowhere")  # whatever it is: the name is not free
        desk.room.photos["new.jpg"] = object()  # type: ignore[assignment]  # a photo that is being looked at
        desk.house.hinted(["back.jpg", "link.jpg", "new.jpg"])
        await desk.turn()
        assert desk.shown() == ["back.jpg", "link.jpg", "new.jpg"]
        assert desk.house.idle

    at(story)


def test_what_was_made_of_another_folder_by_the_same_name_stays(at: At) -> None:
    async def story(desk: Desk) -> None:
        desk.publish("1.jpg")
        desk.sources.rename(desk.sources.with_name("away"))
        desk.sources.mkdir()
        desk.house.hinted(["1.jpg"])
        await desk.turn()  # not noticed yet that it is another folder: the look at its mark says so
        assert desk.shown() == ["1.jpg"]
        desk.enter()
        desk.house.scanned(frozenset())
        await desk.turn()
        assert desk.shown() == ["1.jpg"]

    at(story)


def test_what_is_missing_while_a_root_is_away_is_forgotten(at: At) -> None:
    async def story(desk: Desk) -> None:
        desk.publish("1.jpg")
        desk.house.hinted(["1.jpg"])
        desk.room.is_there = False
        await desk.turn()
        assert desk.house.idle
        desk.room.is_there = True
        await desk.turn(1000)
        assert desk.shown() == ["1.jpg"]

    at(story)


def test_what_was_missing_when_a_root_went_away_is_forgotten_at_once(tmp_path: Path) -> None:
    """It may be back before the quiet time is over, as another disk."""
    folders = (tmp_path / "in", tmp_path / "out")
    for path in folders:
        path.mkdir()

    async def main() -> None:
        desk = RootDesk(*folders, follow_deletions=True)
        await desk.until(lambda: desk.root.available)
        nowhere = Fingerprint(1, 2, 3, 4, 5)
        desk.ledger.put(Entry(desk.root.path, "1.jpg", State.PUBLISHED, "R", nowhere, "in", "out", nowhere))
        assert desk.root.deletions is not None
        desk.root.deletions.hinted(["1.jpg"])
        assert not desk.root.deletions.idle
        folders[1].rename(tmp_path / "away")
        await desk.until(lambda: desk.root.state is RootState.SUSPENDED)
        assert desk.root.deletions.idle
        await desk.close()

    virtual_time.run(main())


def test_a_mirror_that_is_away_is_asked_again_after_a_while_and_nothing_is_forgotten(at: At) -> None:
    async def story(desk: Desk) -> None:
        desk.publish("1.jpg")
        desk.house.hinted(["1.jpg"])
        desk.out.rename(desk.out.with_name("away"))
        await desk.turn(QUIET_SECONDS)
        assert desk.told == ["file.not_withdrawn"]
        assert desk.entry("1.jpg") is not None
        desk.out.with_name("away").rename(desk.out)
        await desk.turn(AGAIN_SECONDS - 0.001)
        assert desk.shown() == ["1.jpg"]
        await desk.turn(0.001)
        assert desk.shown() == []

    at(story)


def test_a_result_that_somebody_changed_stays_and_is_said_once(at: At) -> None:
    async def story(desk: Desk) -> None:
        desk.publish("1.jpg")
        (desk.out / "1.jpg").write_bytes(b"a cropped result")
        desk.house.hinted(["1.jpg"])
        await desk.turn(1000)
        assert desk.shown() == ["1.jpg"]
        assert desk.told == ["file.not_withdrawn"]
        assert desk.entry("1.jpg") is None

    at(story)


def test_two_photos_that_differ_by_case_and_have_one_result_keep_it(at: At) -> None:
    """In a mirror without case the second one found its result there, and was published by that."""

    async def story(desk: Desk) -> None:
        desk.publish("IMG.JPG")
        desk.publish("img.jpg")
        (desk.out / "img.jpg").unlink()  # there is one file: it has the first name
        (desk.sources / "img.jpg").write_bytes(b"renamed")
        desk.house.hinted(["IMG.JPG"])
        await desk.turn()
        assert desk.shown() == ["IMG.JPG"]
        assert desk.entry("IMG.JPG") is None
        assert desk.entry("img.jpg") is not None

    at(story)


def test_hints_beyond_the_bound_are_left_to_the_next_scan(at: At) -> None:
    async def story(desk: Desk) -> None:
        nowhere = Fingerprint(1, 2, 3, 4, 5)
        known = Entry(desk.plan.path, "", State.PUBLISHED, "R", nowhere, "in", "", nowhere)
        for number in range(MAX_MISSING + 5):
            path = f"{number}.jpg"
            desk.ledger.put(replace(known, path=path, output_digest=path))
            desk.house.hinted([path])
        assert len(desk.house._missing) == MAX_MISSING
        await desk.turn()
        assert [desk.entry(f"{number}.jpg") is None for number in (0, MAX_MISSING - 1, MAX_MISSING)] == [
            True, True, False,
        ]  # fmt: skip
        desk.house.scanned(frozenset())
        await desk.turn()
        assert desk.entry(f"{MAX_MISSING}.jpg") is None

    at(story)
