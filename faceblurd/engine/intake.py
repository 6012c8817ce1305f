"""Which sightings of a root become photos, and which photos are on their way.

Owns the photos of one root with their tasks, the window that keeps them from filling memory, and the retries that are
due later. `engine.root.Root` adds watching and scanning; a single run (`engine.once`) uses it as it is.
"""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from faceblurd.engine import outcomes
from faceblurd.engine.aftermath import Aftermath
from faceblurd.engine.model import Photo
from faceblurd.engine.photo import live
from faceblurd.engine.recovery import Recovery
from faceblurd.engine.retries import Retries
from faceblurd.engine.tasks import Tasks
from faceblurd.engine.turns import Ticket
from faceblurd.errors import SetupError
from faceblurd.imaging.signatures import is_photo
from faceblurd.model import Fingerprint, Reason
from faceblurd.publish import beneath
from faceblurd.rules import decide, settle
from faceblurd.rules.filter import Candidate
from faceblurd.watch.scan import read_head

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from faceblurd.engine.model import RootPlan, Services
    from faceblurd.engine.retries import Later
    from faceblurd.engine.thread import T, Thread
    from faceblurd.watch.scan import Found

Seen = list[tuple[str, "Fingerprint | OSError | None"]]
MAX_BACKFILL = 2000
"""Photos of a scan that are on their way at a time: some 8 MB. The rest waits on the disk."""
MAX_FRESH = 2000
"""The same for photos that somebody has just put there: their hints wait."""
MAX_BACK_OFF_SECONDS = 300.0
RECOVER_SECONDS = 2.0  # before what was left half done is looked at: its disk has just failed


class Intake(Tasks):
    """The photos of one root."""

    def __init__(self, plan: RootPlan, services: Services, thread: Thread) -> None:
        """Take nothing on yet."""
        super().__init__(plan.path, services)
        self.plan, self.thread = plan, thread
        self.photos: dict[str, Photo] = {}
        self.retries = Retries(self)
        self.recovery = Recovery(self, services)
        self.aftermath = Aftermath(self, services)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._places = {True: asyncio.Semaphore(MAX_FRESH), False: asyncio.Semaphore(MAX_BACKFILL)}
        self._is_closed = False

    @property
    def available(self) -> bool:
        """Whether files of this root may be read and written."""
        return True

    @property
    def to_device(self) -> int | None:
        """The file system that results go to: nothing is written where another one shows."""
        return None

    @property
    def is_busy(self) -> bool:
        """Whether anything of it is on its way, or due later."""
        return bool(self.photos or self.retries or self.errands)

    async def run(self, call: Callable[[], T]) -> T:
        """Make a call that may hang, in the root's thread."""
        return await self.thread.run(call)

    # --- sightings

    async def hinted(self, paths: Collection[str], *, fresh: bool = True) -> None:
        """Look at paths that somebody pointed at, and take on what is to be done; waits for room."""
        wanted = {path: one for path in paths if isinstance(one := self.plan.selection.of(path), Candidate)}
        if not wanted or not self.available:
            return
        unknown = {path for path, one in wanted.items() if one.by_content}
        for path, seen in await self.run(partial(_look_at, self.path, list(wanted), unknown)):
            if isinstance(seen, OSError):
                self.services.log.event("file.unreachable", path=f"{self.path}/{path}", detail=seen.strerror)
            elif seen is not None:
                await self.consider(path, seen, fresh=fresh)

    async def found(self, found: Found) -> None:
        """Take on what a walk came upon; waits for room."""
        if found.companion_of:
            await self.aftermath.companion_found(found)
        else:
            await self.consider(found.path, found.fingerprint, fresh=False)

    async def consider(self, path: str, fingerprint: Fingerprint, *, fresh: bool) -> None:
        """Take a file on that is there, unless it is done, held, or on its way already; waits for room."""
        start, places = self._start_for(path, fingerprint, fresh=fresh), self._places[fresh]
        if start is None:
            return
        is_full = places.locked()
        await places.acquire()
        if is_full:  # while this waited, the file may have come, been done or been held
            start = self._start_for(path, fingerprint, fresh=fresh)
        if start is None:
            places.release()
        else:
            self._begin(path, fingerprint, start, fresh=fresh)

    def _start_for(self, path: str, fingerprint: Fingerprint, *, fresh: bool) -> decide.Start | None:
        if self._is_known(path, fingerprint, fresh=fresh):
            return None
        start = self._verdict(path, fingerprint)
        return start if self.available else None

    def _is_known(self, path: str, fingerprint: Fingerprint, *, fresh: bool) -> bool:
        """Tell whether a photo is on its way already; tell it what was seen."""
        photo = self.photos.get(path)
        if photo is None:
            return False
        if fresh and not photo.ticket.fresh:
            self.services.turns.promote(photo.ticket)
        if self._tasks[path].cancelling():  # given up with its root, which is back
            photo.was_hinted = True
        if fingerprint != photo.fingerprint:
            if photo.hint is None:
                photo.was_hinted = True
            elif not photo.hint.done():
                photo.hint.set_result(fingerprint)
        return True

    def _verdict(self, path: str, fingerprint: Fingerprint) -> decide.Start | None:
        """Judge a file by its fingerprint and what is known of it; None when there is nothing to do."""
        plan, s = self.plan, self.services
        entry = s.ledger.entry(plan.path, path)
        verdict = decide.on_sight(
            fingerprint, entry, recipe=plan.recipe.digest, to=plan.to, terms=plan.terms,
            ignores_unsupported=plan.ignore_unsupported, takes_away=plan.take_away_held,
        )  # fmt: skip
        match verdict:
            case decide.TakeAway():
                self.errand(self.aftermath.take_away(verdict.entry))
                return None
            case decide.Skip():
                if entry is not None and entry.reason is Reason.VANISHED:
                    s.ledger.put(replace(entry, reason=None))  # it was away, and is back
                return None
        if verdict.attempts and self.retries.waits_for(path, fingerprint):
            return None  # its next try is due later; a person's `retry` starts from none
        return None if s.plugins.skip_candidate(f"{plan.path}/{path}", fingerprint.size) else verdict

    def _begin(self, path: str, fingerprint: Fingerprint, start: decide.Start, *, fresh: bool) -> None:
        now, pause = asyncio.get_running_loop().time(), 0.0
        later = self.retries.take(path)
        if later is None and start.attempts:  # of an earlier run
            pause = settle.back_off(
                attempts=start.attempts, base_seconds=self.services.policy.backoff_seconds,
                most_seconds=MAX_BACK_OFF_SECONDS,
            )  # fmt: skip
        wait = settle.begin(fingerprint, now=now, quiet_seconds=max(self.plan.quiet_seconds, pause))
        photo = Photo(self.plan, path, wait.settling, Ticket(self.path, fresh), wait.until, attempts=start.attempts)
        if later is not None:
            photo.first_look = later.first_look
            photo.settling = replace(photo.settling, first_seen=later.first_seen)
            if later.fingerprint == fingerprint:  # it has been quiet all the time
                photo.quiet_until = now
                photo.settling = replace(photo.settling, still_since=later.first_seen)
        self.photos[path] = photo
        task = self._tasks[path] = asyncio.get_running_loop().create_task(self._live(photo))
        task.add_done_callback(partial(self._left, photo, fresh))  # also of one that is cancelled before it began
        self.services.pool.ensure(1)  # a worker starts while the file settles

    async def _live(self, photo: Photo) -> None:
        """Let a photo live. A bug costs this photo, which is held, and none of its siblings."""
        try:
            await live(photo, self, self.services)
        except (sqlite3.Error, SetupError) as error:
            self.services.fail(error)
        except Exception as error:  # noqa: BLE001 - isolation point: one photo's coroutine
            self._hold_for_a_bug(photo, error)

    def _left(self, photo: Photo, fresh: bool, _task: asyncio.Task[None]) -> None:  # noqa: FBT001 - bound above
        self._places[fresh].release()
        del self.photos[photo.path], self._tasks[photo.path]
        if photo.was_hinted and not self._is_closed:
            self.point_at([photo.path])  # it changed after what was published was compared with what was read

    def _hold_for_a_bug(self, photo: Photo, error: Exception) -> None:
        detail = f"{type(error).__name__}: {error}"
        try:
            end = outcomes.held(photo, None, self.services, Reason.INTERNAL_ERROR, detail)
        except sqlite3.Error as failure:
            self.services.fail(failure)
        else:
            if isinstance(end, outcomes.End) and end.report is not None:
                self.services.log.report(end.report)

    # --- what photos tell

    def look(self, path: str) -> Fingerprint | None:
        """Look at a file of the root; None when it is gone. May hang. Raises OSError."""
        seen = _fingerprint(self.path, path)
        if isinstance(seen, OSError):
            raise seen
        return seen

    def retry(self, photo: Photo, after_seconds: float) -> None:
        """Begin a photo anew after some seconds; until then it takes no room."""
        self.retries.add(photo, after_seconds)

    async def look_again(self, path: str, later: Later) -> None:
        """Begin a photo whose next try is due; where the root is away, the scan after its return finds the file."""
        if self.available:
            await self.hinted([path], fresh=later.fresh)

    def trouble(self, reason: Reason, size: int) -> None:
        """Note why a photo of some bytes failed: what was left half done is looked at soon."""
        del size
        if reason is Reason.INTERRUPTED:
            self.recovery.soon(RECOVER_SECONDS)

    def point_at(self, paths: Collection[str]) -> None:
        """Have a look at paths, soon."""
        if paths:
            self.errand(self.hinted(paths))

    # --- leaving

    def cancel(self, *, in_hand: bool) -> None:
        """Cancel what is on its way; what workers have, or is being published, only if `in_hand`."""
        for path, photo in list(self.photos.items()):
            task = self._tasks[path]
            if (in_hand or not photo.in_hand) and task is not asyncio.current_task():
                task.cancel()
        self.retries.clear()

    def tasks(self) -> set[asyncio.Task[None]]:
        """Give what is under way."""
        return {*self._tasks.values(), *self.errands}

    def tasks_in_hand(self) -> set[asyncio.Task[None]]:
        """Give the tasks of photos that workers have, or that are being published."""
        return {self._tasks[path] for path, photo in self.photos.items() if photo.in_hand}

    def close(self) -> None:
        """Cancel everything, and take nothing on any more."""
        self._is_closed = True
        self.cancel(in_hand=True)
        for errand in self.errands:
            errand.cancel()
        self.recovery.close()


def _look_at(
    root: str, paths: Iterable[str], unknown: Collection[str]
) -> list[tuple[str, Fingerprint | OSError | None]]:
    """Look at files below a root; those of `unknown` names count if they begin like a photo. May hang."""
    return [(path, _photo(root, path) if path in unknown else _fingerprint(root, path)) for path in paths]


def _photo(root: str, path: str) -> Fingerprint | OSError | None:
    found = _fingerprint(root, path)
    try:
        return found if isinstance(found, Fingerprint) and is_photo(read_head(root, path)) else None
    except OSError:
        return None  # gone, or not readable: the next scan says so


def _fingerprint(root: str, path: str) -> Fingerprint | OSError | None:
    """Look at a file; None when there is none, or nothing that is followed (link, FIFO, other file system)."""
    try:
        st = beneath.look(root, path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return error
    return Fingerprint.from_stat(st) if stat.S_ISREG(st.st_mode) else None
