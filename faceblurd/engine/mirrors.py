"""The tops of mirrors: made at the start and at a reload, all of them or none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from faceblurd.config.probes import ANSWER_SECONDS, side_by_side
from faceblurd.errors import FaceblurdError
from faceblurd.watch import filesystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from faceblurd.engine.model import RootPlan
    from faceblurd.ledger.ledger import Ledger
    from faceblurd.watch.filesystem import Mirror


def make_mirrors(plans: Iterable[RootPlan], ledger: Ledger) -> None:
    """See that the mirrors' tops are there. One that somebody removed whole is filled again from the start.

    Single results that were removed or taken away stay away: whoever collects photos from a mirror must not get them
    again at every rescan. One that does not answer is left to its root, which waits for it. Raises FaceblurdError when
    one cannot be made; then none was.
    """
    fill_new(make_folders(calls_for(plans, ledger)), ledger)


def calls_for(plans: Iterable[RootPlan], ledger: Ledger) -> list[Callable[[], Mirror]]:
    """Give the calls that make the mirrors' tops: each may hang, and touches no ledger."""
    mirrored = [plan for plan in plans if not plan.in_place]
    return [partial(filesystem.make, plan.path, plan.to, ledger.mounted_at(plan.to)) for plan in mirrored]


def make_folders(calls: Sequence[Callable[[], Mirror]]) -> list[Mirror]:
    """Make the mirrors' tops side by side. Raises FaceblurdError when one cannot be made; then none was."""
    made = [one for one in side_by_side(calls, seconds=ANSWER_SECONDS) if one is not None]
    for failed in (one for one in made if one.error is not None):
        undo(made)
        raise FaceblurdError(
            f"the mirror {failed.to} cannot be made: {failed.error}", remedy="Create it, writable for this user"
        )
    return made


def undo(mirrors: Iterable[Mirror]) -> None:
    """Remove the folders that were made for a configuration that is not taken over."""
    for one in mirrors:
        one.undo()


def fill_new(mirrors: Iterable[Mirror], ledger: Ledger) -> None:
    """Have all photos published anew whose mirror has just been made."""
    for one in mirrors:
        if one.folders:
            ledger.look_again(one.root)
