"""The model's files on their way: settling, queued, or waiting for another try. The engine's queue, in plain lists."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from faceblurd.model import Fingerprint, Source, State
from faceblurd.rules import settle

if TYPE_CHECKING:
    from faceblurd.engine.model import RootPlan
    from faceblurd.rules.settle import Settling

STILL_OPEN_SECONDS = 1.0


@dataclass(eq=False)
class File:
    """A file on its way, as `engine.model.Photo` is."""

    plan: RootPlan
    path: str
    source: Source
    settling: Settling
    due: float
    attempts: int = 0
    state: State = State.SETTLING
    first_look: float | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.plan.path, self.path

    def move(self, state: State) -> None:
        self.state = state

    def overdue(self, now: float) -> bool:
        return self.first_look is not None and now - self.first_look >= self.plan.settle_max_seconds


class Waiting:
    """All of them."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self._queue: list[File] = []

    def __len__(self) -> int:
        return len(self.files)

    def get(self, path: str) -> File | None:
        return self.files.get(path)

    def add(
        self, plan: RootPlan, path: str, fingerprint: Fingerprint, source: Source, *, now: float, pause_seconds: float
    ) -> File:
        wait = settle.begin(fingerprint, now=now, quiet_seconds=max(plan.quiet_seconds, pause_seconds))
        self.files[path] = File(plan, path, source, wait.settling, wait.until)
        return self.files[path]

    def remove(self, file: File) -> None:
        if self.files.get(file.path) is file:
            del self.files[file.path]
            self._queue = [one for one in self._queue if one is not file]

    def next_due(self) -> float | None:
        return min((file.due for file in self.files.values() if file.due != inf), default=None)

    def due(self, now: float) -> list[File]:
        found = sorted((file for file in self.files.values() if file.due <= now), key=lambda file: file.due)
        for file in found:
            file.due = inf
        return found

    def judge(self, file: File, fingerprint: Fingerprint, *, now: float) -> None:
        file.state = State.SETTLING
        if fingerprint != file.settling.fingerprint:
            file.attempts = 0
        verdict = settle.look(file.settling, fingerprint, now=now, quiet_seconds=file.plan.quiet_seconds)
        file.settling = verdict.settling
        if isinstance(verdict, settle.Wait):
            file.due = verdict.until
            return
        file.state, file.due = State.QUEUED, inf
        self._queue.append(file)

    def hinted(self, file: File, fingerprint: Fingerprint, source: Source, *, now: float) -> None:
        if source is Source.EVENT:
            file.source = source
        if file.state in {State.SETTLING, State.RETRY} and fingerprint != file.settling.fingerprint:
            self.judge(file, fingerprint, now=now)

    def pop(self) -> File | None:
        fresh = [file for file in self._queue if file.source is Source.EVENT]
        file = next(iter(fresh or self._queue), None)
        if file is not None:
            self._queue.remove(file)
        return file

    def settle_again(self, file: File, *, now: float) -> None:
        file.state, file.due = State.SETTLING, now + max(STILL_OPEN_SECONDS, file.plan.quiet_seconds)

    def retry_at(self, file: File, due: float) -> None:
        file.state, file.due = State.RETRY, due
