"""What a worker says of bytes is compared with the bytes: a taken-over one cannot make those of others our own result.

The pool is a stand-in that answers what the test wants; everything else is real.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import pytest
from desk import OLD, Desk, run

from faceblurd.model import Abandoned, Entry, Fingerprint, Hashed, Mode, Region, Staged, State
from faceblurd.plugins.host import PluginHost

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

OURS, STRANGERS = b"what we made of another photo", b"a photo of somebody else, not sent yet"
PRINT = Fingerprint(1, 2, 3, 4, 5)


def digest_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=32).hexdigest()


@pytest.fixture
def at(tmp_path: Path) -> Callable[..., None]:
    """Run a test's coroutine with a desk."""

    def run_it(story: Callable[[Desk], Coroutine[Any, Any, None]], **changes: Any) -> None:
        run(story, tmp_path, **changes)

    return run_it


def known_as_ours(desk: Desk, content: bytes) -> None:
    desk.ledger.put(
        Entry("/other", "x.jpg", State.PUBLISHED, desk.plan.recipe.digest, PRINT, "1" * 64, digest_of(content),
              to="/other")
    )  # fmt: skip


@pytest.mark.parametrize("mode", Mode)
def test_a_worker_that_wrote_something_else_than_it_says_has_failed(at: Any, mode: Mode) -> None:
    async def story(desk: Desk) -> None:
        job = await desk.take_in_hand()
        os.pwrite(desk.pool.descriptors[-1][1], OURS, 0)
        lie = Staged(job.id, (Region(1, 1, 2, 2, 1.0, "x"),), digest_of(STRANGERS), len(OURS), True, "", 1)
        await desk.answer(Hashed(job.id, digest_of(OLD)), lie)
        assert desk.told == ["file.retried"]
        assert not desk.ledger.is_own_result(digest_of(STRANGERS), desk.plan.recipe.digest)
        assert desk.photo.read_bytes() == OLD

    at(story, mode=mode)


def test_our_own_result_is_copied_into_a_mirror(at: Any) -> None:
    async def story(desk: Desk) -> None:
        desk.photo.write_bytes(OURS)
        known_as_ours(desk, OURS)
        job = await desk.take_in_hand()
        await desk.answer(Hashed(job.id, digest_of(OURS)), Abandoned(job.id))
        assert desk.pool.proceeded == [False]
        assert (desk.folder / "mirror" / "photo.jpg").read_bytes() == OURS
        assert [report.outcome.value for report in desk.reports] == ["clean"]

    at(story, mode=Mode.MIRROR)


def test_no_other_bytes_are_copied_because_a_worker_calls_them_our_own_result(at: Any) -> None:
    async def story(desk: Desk) -> None:
        known_as_ours(desk, OURS)
        job = await desk.take_in_hand()
        await desk.answer(Hashed(job.id, digest_of(OURS)), Abandoned(job.id))
        assert list((desk.folder / "mirror").iterdir()) == []
        assert desk.reports == []
        assert desk.told == [], "the file may have changed while it was read: that is no failed attempt"

    at(story, mode=Mode.MIRROR)


def test_with_a_plugin_that_adds_regions_by_a_photos_name_it_is_searched(
    at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`a/x.jpg` may lie in a folder in which the plugin hides more than where the result was made."""
    monkeypatch.setattr(PluginHost, "adds_regions", True)

    async def story(desk: Desk) -> None:
        desk.photo.write_bytes(OURS)
        known_as_ours(desk, OURS)
        job = await desk.take_in_hand()
        await desk.answer(Hashed(job.id, digest_of(OURS)))
        assert desk.pool.proceeded == [True]

    at(story, mode=Mode.MIRROR)
