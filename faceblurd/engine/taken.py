"""A name in the mirror that is taken when a result wants it: by an earlier result, another photo's, or a stranger."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceblurd.publish import delivery

if TYPE_CHECKING:
    from faceblurd.engine.model import RootPlan, Services


@dataclass(frozen=True, slots=True)
class Replace:
    """Publish again, over what is there: over these bytes alone (`only`), or, without any, over whatever it is."""

    only: str = ""


@dataclass(frozen=True, slots=True)
class Keep:
    """What is there stays, and the photo is held."""

    why: str


def judge(path: str, digest: str, plan: RootPlan, s: Services, *, was_over_others: bool) -> Replace | Keep:
    """Say what to do about a file with these bytes by the name of a photo's result.

    Ours is replaced, and another one where the config says so. What another photo of today's roots has become never is,
    and the result of a photo that is gone only by `existing: replace`. `was_over_others`: that was tried already.
    """
    known, other = s.ledger.entry(plan.path, path), _whose(path, digest, plan, s)
    is_earlier = known is not None and delivery.is_kept(known)
    if other is None and not is_earlier and s.ledger.made(path, digest):
        return Replace(digest)  # ours, from before this root, or its mode, was what it is
    if other is None and plan.replace_others and not was_over_others:
        return Replace()
    if other is not None:  # two folders, or two cases of a name: `replace` is no leave to lose one of them
        return Keep(f"is the result of {other}. {plan.remedies.clash}")
    whose = "is the result of an earlier photo by this name" if is_earlier else "exists and is not ours"
    return Keep(f"{whose}. {plan.remedies.occupied}")


def _whose(path: str, digest: str, plan: RootPlan, s: Services) -> str | None:
    """Find the other photo whose result has this name in the mirror, by that result's digest."""
    for root, other in s.ledger.with_result(digest, plan.to):
        if (root, other) != (plan.path, path) and root in s.roots and _folded(other) == _folded(path):
            return f"{root}/{other}"
    return None


def _folded(path: str) -> str:
    """Give a path as a file system sees it that tells neither cases nor Unicode forms apart."""
    return unicodedata.normalize("NFC", path).casefold()
