"""Paths that somebody pointed at, and files whose timer ran out: looked at in the root's thread, judged in ours."""

from __future__ import annotations

import stat
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from faceblurd.imaging.photo_head import is_photo
from faceblurd.intake.heads import read_head
from faceblurd.model import Fingerprint, Reason, Sighting, State
from faceblurd.outlet import beneath
from faceblurd.rules import decide, settle
from faceblurd.rules.filter import Candidate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from faceblurd.model import Entry, Source
    from faceblurd.pipeline.files import File, Parts, Patience, RootPlan
    from faceblurd.pipeline.waiting import Waiting

MOST_BACK_OFF_SECONDS = 300.0
Seen = list[tuple[str, "Fingerprint | OSError | None"]]


class Looking:
    """Takes files on. `available` tells whether a root may be looked at."""

    def __init__(
        self, parts: Parts, waiting: Waiting, plans: Mapping[str, RootPlan], patience: Patience,
        available: Callable[[str], bool], take_away: Callable[[Entry], None],
    ) -> None:  # fmt: skip
        """Use the loop's own parts. `take_away` moves a held file that is still in its root."""
        self._p, self._waiting, self._plans, self._patience = parts, waiting, plans, patience
        self._available, self._take_away = available, take_away

    # --- seen -> settling

    def at(self, sightings: Iterable[Sighting]) -> None:
        """Have a look at paths that somebody pointed at; one errand for those of a root."""
        by_root: dict[str, dict[str, Source]] = {}
        unknown: dict[str, set[str]] = {}
        for sighting in sightings:
            candidate = self._candidate(sighting)
            if candidate is not None:
                by_root.setdefault(sighting.root, {})[sighting.path] = sighting.source
                if candidate.by_content:
                    unknown.setdefault(sighting.root, set()).add(sighting.path)
        for root, paths in by_root.items():
            look = partial(_look_at, root, list(paths), unknown.get(root, set()))
            self._p.errands.send(root, look, partial(self._sighted, root, paths))

    def _candidate(self, sighting: Sighting) -> Candidate | None:
        plan = self._plans.get(sighting.root)
        if plan is None or not self._available(sighting.root):
            return None
        verdict = plan.selection.of(sighting.path)
        return verdict if isinstance(verdict, Candidate) else None

    def _sighted(self, root: str, paths: dict[str, Source], seen: Seen | OSError) -> None:
        for path, fingerprint in self._present(root, seen):
            self.consider(self._plans[root], path, fingerprint, paths[path])

    def _present(self, root: str, seen: Seen | OSError) -> Iterator[tuple[str, Fingerprint]]:
        """Go through the files that are there; say which ones cannot be reached."""
        assert not isinstance(seen, OSError)  # noqa: S101 - each file has its own error
        for path, found in seen:
            if isinstance(found, OSError):
                self._p.tell("file.unreachable", path=f"{root}/{path}", detail=found.strerror)
            elif found is not None:
                yield path, found

    def consider(self, plan: RootPlan, path: str, fingerprint: Fingerprint, source: Source) -> None:
        """Take a file on that is there, unless it is done, held, or on its way already."""
        now = self._p.clock()
        file = self._waiting.get(plan.path, path)
        if file is not None:
            self._waiting.hinted(file, fingerprint, source, now=now)
            return
        entry = self._p.ledger.entry(plan.path, path)
        verdict = decide.on_sight(
            fingerprint, entry, recipe=plan.recipe.digest, to=plan.to, terms=plan.terms,
            ignores_unsupported=plan.ignore_unsupported, takes_away=plan.take_away_held,
        )  # fmt: skip
        if isinstance(verdict, decide.TakeAway):
            self._take_away(verdict.entry)
            return
        if isinstance(verdict, decide.Skip) and entry is not None and entry.reason is Reason.VANISHED:
            self._p.ledger.put(replace(entry, reason=None))  # it was away, and is back
        if isinstance(verdict, decide.Skip) or self._p.plugins.skip_candidate(f"{plan.path}/{path}", fingerprint.size):
            return
        pause = 0.0
        if verdict.attempts:
            seconds = self._patience.retry_seconds
            pause = settle.back_off(attempts=verdict.attempts, base_seconds=seconds, most_seconds=MOST_BACK_OFF_SECONDS)
        file = self._waiting.add(plan, path, fingerprint, source, now=now, pause_seconds=pause)
        file.attempts = verdict.attempts
        self._p.pool.warm(1)  # it starts while the file settles

    # --- settling -> queued

    def again(self) -> None:
        """Look again at files whose timer has run out. Where the root is away, the scan after its return finds them."""
        by_root: dict[str, dict[str, File]] = {}
        for file in self._waiting.due(self._p.clock()):
            if self._available(file.plan.path):
                by_root.setdefault(file.plan.path, {})[file.path] = file
            else:
                self._waiting.remove(file)
        for root, files in by_root.items():
            self._p.errands.send(root, partial(_look_at, root, list(files)), partial(self._looked_again, root, files))

    def _looked_again(self, root: str, files: dict[str, File], seen: Seen | OSError) -> None:
        now, there = self._p.clock(), dict(self._present(root, seen))
        for path, file in files.items():
            if self._waiting.get(root, path) is not file or file.state not in {State.SETTLING, State.RETRY}:
                continue  # a hint was faster
            if path in there:
                self._waiting.judge(file, there[path], now=now)
            else:
                self._waiting.remove(file)


def _look_at(root: str, paths: list[str], unknown: Collection[str] = ()) -> Seen:
    """Look at files below a root; those of `unknown` names count if they begin like a photo. May hang."""
    return [(path, _fingerprint(root, path) if path not in unknown else _photo(root, path)) for path in paths]


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
