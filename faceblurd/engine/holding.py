"""What a photo holds on its way, and puts down again: its open file, its staging file, the intent in the ledger."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from faceblurd.engine.thread import to_the_end
from faceblurd.model import Reason
from faceblurd.publish import beneath, contents, delivery
from faceblurd.publish.staging import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from faceblurd.engine.intake import Intake
    from faceblurd.engine.model import Photo, Services
    from faceblurd.publish.delivery import Work


@dataclass(slots=True)
class Source:
    """An open photo. `fd` is -1 once it belongs to a `Work`."""

    fd: int
    st: os.stat_result
    open_for_writing: bool

    @classmethod
    def open(cls, root: str, path: str) -> Source:
        """Open a photo beneath its root. May hang. Raises OSError."""
        directory, _, name = path.rpartition("/")
        fd = beneath.open_file(root, directory, name)
        return cls(fd, os.fstat(fd), contents.open_for_writing(fd))

    def close(self) -> None:
        """Close it, if it is still ours."""
        if self.fd >= 0:
            os.close(self.fd)


@asynccontextmanager
async def opened(photo: Photo, root: Intake) -> AsyncIterator[Source]:
    """Hold the photo's descriptor. Raises OSError."""
    source = await to_the_end(root.run(partial(Source.open, *photo.key)))
    try:
        yield source
    finally:
        root.thread.later(source.close)


@asynccontextmanager
async def staged(photo: Photo, root: Intake, source: Source, s: Services) -> AsyncIterator[Work]:
    """Hold the staging file and the intent that names it; neither is left behind. Raises OSError."""
    plan, target = photo.plan, Target(photo.plan.to, photo.path, root.to_device)
    origin = delivery.Origin(*photo.key, photo.fingerprint, plan.recipe.digest, photo.attempts)
    intent = delivery.intend(s.ledger, origin, target)
    terms = delivery.terms_of(plan.mode, keeps_user=plan.keeps_attributes, limited=plan.access_limited)
    with root.recovery.kept_from(intent.token):
        make = partial(delivery.stage, intent, mode=plan.mode, target=target, source_fd=source.fd, terms=terms)
        try:
            work = await to_the_end(root.run(make))
        except OSError:
            delivery.sweep_later(s.ledger, intent)  # a staging file may be left: its disk has just failed
            root.trouble(Reason.INTERRUPTED, photo.fingerprint.size)
            raise
        work.mtime_ns = source.st.st_mtime_ns + plan.mtime_step_ns if plan.keep_mtime else None
        source.fd = -1
        try:
            yield work
        finally:
            await to_the_end(put_down(photo, work, root, s))


async def put_down(photo: Photo, work: Work, root: Intake, s: Services) -> None:
    """Close what is open, and leave no staging file; the intent tells of its name until it is gone."""
    is_named = work.staging.name is not None
    try:
        await root.run(work.close)
    except OSError:
        if is_named:
            delivery.sweep_later(s.ledger, work.intent)
            root.trouble(Reason.INTERRUPTED, photo.fingerprint.size)
            return
    if not work.is_unfinished:
        s.ledger.end(work.intent.token)
