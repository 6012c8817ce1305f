"""Whether a root may be used, told from looks at it: unreachable is not the same as gone, nor as another disk."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import pytest

from faceblurd.engine.health import CHECK_SECONDS, MOST_CHECK_SECONDS, ROOM_SECONDS, RootHealth
from faceblurd.watch.filesystem import Look, RootIdentity

ROOT, TO = "/srv/photos", "/srv/blurred"
DISK = RootIdentity(device=7, inode=2, mount_point="/srv", mark="a")
BELOW = RootIdentity(device=1, inode=40, mount_point="/", mark="b")  # what shows when /srv is not mounted
PLENTY = 1 << 40


def seen(root: RootIdentity | OSError = DISK, to: RootIdentity | OSError = DISK, *, free_bytes: int = PLENTY) -> Look:
    return Look(root, to, "ext4", free_bytes)


def error(number: int, path: str = ROOT) -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.fixture
def health() -> RootHealth:
    """One that knows its root, as after the first good look."""
    known = RootHealth(ROOT, TO)
    assert known.check(seen(), 0.0) == ""
    known.identity = DISK
    return known


def test_the_first_look_takes_whatever_is_there() -> None:
    fresh = RootHealth(ROOT, TO)
    assert fresh.check(seen(BELOW, DISK), 0.0) == ""
    assert fresh.to_identity == DISK
    assert fresh.identity is None, "what the root is, its owner says: when it is watched"


@pytest.mark.parametrize(
    ("look", "path"),
    [
        (seen(error(errno.ENOENT)), ROOT),
        (seen(to=error(errno.ENOENT, TO)), TO),
    ],
)
def test_what_is_not_there_is_named(health: RootHealth, look: Look, path: str) -> None:
    assert health.check(look, 0.0) == f"{path} is not there"


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.EACCES])
def test_what_fails_cannot_be_reached_which_is_another_thing(health: RootHealth, number: int) -> None:
    assert health.check(seen(error(number)), 0.0) == f"{ROOT} cannot be reached: {os.strerror(number)}"


def test_a_mirror_that_fails_is_named_although_the_root_is_there(health: RootHealth) -> None:
    assert health.check(seen(to=error(errno.EIO, TO)), 0.0).startswith(f"{TO} cannot be reached")


def test_a_share_that_fails_is_asked_less_and_less_often_until_it_answers(health: RootHealth) -> None:
    pauses = []
    for _ in range(7):
        health.check(seen(error(errno.ESTALE)), 0.0)
        pauses.append(health.check_seconds)
    assert pauses == [4.0, 8.0, 16.0, MOST_CHECK_SECONDS, MOST_CHECK_SECONDS, MOST_CHECK_SECONDS, MOST_CHECK_SECONDS]
    health.check(seen(), 0.0)
    assert health.check_seconds == CHECK_SECONDS


def test_a_root_that_is_gone_is_looked_for_often_since_that_costs_nothing(health: RootHealth) -> None:
    for _ in range(5):
        health.check(seen(error(errno.EIO)), 0.0)
    for _ in range(5):
        health.check(seen(error(errno.ENOENT)), 0.0)
    assert health.check_seconds == CHECK_SECONDS


def test_the_bare_mount_point_is_not_the_root(health: RootHealth) -> None:
    assert health.check(seen(root=BELOW), 0.0) == f"{ROOT} is not mounted"


def test_the_bare_mount_point_is_not_the_mirror_and_is_never_taken_for_it(health: RootHealth) -> None:
    for now in (0.0, 2.0):  # the second look is as strict as the first
        assert health.check(seen(to=BELOW), now) == f"{TO} is not mounted"
    assert health.to_identity == DISK


@pytest.mark.parametrize("bare", [ROOT, TO])
def test_an_empty_folder_is_bare_where_a_disk_was_mounted_when_we_last_ran(bare: str) -> None:
    fresh = RootHealth(ROOT, TO, {ROOT: "/srv", TO: "/srv"})
    below = replace(seen(*(BELOW if one == bare else DISK for one in (ROOT, TO))), empty=frozenset({bare}))
    why = fresh.check(below, 0.0)
    assert why.startswith(f"{bare} is empty, and its disk was mounted at /srv: it is not mounted")
    assert f"faceblurd redo --config FILE --root {ROOT}" in why
    assert fresh.to_identity is None
    fresh.mounted_at.clear()  # what `redo` does
    assert fresh.check(below, 2.0) == ""


def test_a_folder_that_holds_something_is_taken_on_wherever_it_is_mounted_now() -> None:
    moved = RootHealth(ROOT, TO, {ROOT: "/srv", TO: "/srv"})
    assert moved.check(seen(BELOW, BELOW), 0.0) == ""


def test_a_name_that_leads_elsewhere_suspends_the_root_with_a_remedy(health: RootHealth) -> None:
    elsewhere = replace(seen(), elsewhere="/srv/inbox leads to /srv/new now, and no longer to /srv/old")
    assert "no longer to /srv/old: reload the configuration (SIGHUP)" in health.check(elsewhere, 0.0)
    assert health.check(seen(), 2.0) == ""


def test_a_root_that_was_made_again_on_its_disk_is_the_root(health: RootHealth) -> None:
    again = RootIdentity(device=7, inode=99, mount_point="/srv", mark="c")
    assert health.check(seen(again, again), 0.0) == ""
    assert health.to_identity == again


def test_a_disk_that_came_late_is_the_real_one() -> None:
    early = RootHealth(ROOT, TO)
    early.check(seen(BELOW, BELOW), 0.0)
    early.identity = BELOW
    assert early.check(seen(DISK, DISK), 2.0) == ""
    assert early.to_identity == DISK


def test_a_full_disk_waits_for_room_for_the_largest_of_those_that_found_none(health: RootHealth) -> None:
    health.lacks_room(5000, now=0.0)
    health.lacks_room(300, now=0.0)
    assert health.is_full
    assert health.check(seen(free_bytes=4999), ROOM_SECONDS) == f"no room for results in {TO}"
    assert health.check(seen(free_bytes=5000), ROOM_SECONDS) == ""
    assert not health.is_full


def test_room_that_is_said_to_be_there_is_tried_only_after_a_while(health: RootHealth) -> None:
    """A quota does not show: the disk has room, and the write failed for all that."""
    health.lacks_room(1, now=100.0)
    assert health.check(seen(), 100.0 + ROOM_SECONDS - 0.1) == health.no_room
    assert health.check(seen(), 100.0 + ROOM_SECONDS) == ""


def test_a_full_disk_that_goes_away_is_away_and_still_full_when_it_is_back(health: RootHealth) -> None:
    health.lacks_room(5000, now=0.0)
    assert health.check(seen(root=BELOW), ROOM_SECONDS) == f"{ROOT} is not mounted"
    assert health.check(seen(free_bytes=0), ROOM_SECONDS) == health.no_room
