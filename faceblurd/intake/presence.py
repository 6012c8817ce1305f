"""Whether a root may be used now: there, the one that it was, and with room for results. Does no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faceblurd.intake.filesystem import Look, RootIdentity

CHECK_SECONDS = 2.0
MOST_CHECK_SECONDS = 30.0  # between looks at a root that cannot be reached: each one may cost a share's time-out
ROOM_SECONDS = 10.0  # at least, before a full disk is tried again: quotas do not show how much is left


class Presence:
    """What is known of a root and of the top of its mirror, from one look to the next."""

    def __init__(self, path: str, to: str) -> None:
        """Know nothing yet."""
        self._path, self._to = path, to
        self.identity: RootIdentity | None = None  # as it was taken on; the owner sets it
        self.to_identity: RootIdentity | None = None
        self._failed_looks = self._needed_bytes = 0
        self._room_not_before = 0.0

    def why_not(self, seen: Look | OSError, now: float) -> str:
        """Judge a look: why the root must not be used now; empty when it may."""
        errors = (seen,) if isinstance(seen, OSError) else (seen.root, seen.to)
        for error in errors:
            if isinstance(error, OSError):
                return self._unreachable(error)
        self._failed_looks = 0
        assert not isinstance(seen, OSError)  # noqa: S101 - said above
        assert not isinstance(seen.root, OSError)  # noqa: S101 - same
        assert not isinstance(seen.to, OSError)  # noqa: S101 - same
        for path, there, before in ((self._path, seen.root, self.identity), (self._to, seen.to, self.to_identity)):
            if before is not None and not before.is_same_place(there):
                return f"{path} is not mounted"
        if self._needed_bytes and (now < self._room_not_before or seen.free_bytes < self._needed_bytes):
            return self.no_room
        self._needed_bytes, self.to_identity = 0, seen.to
        return ""

    def _unreachable(self, error: OSError) -> str:
        if isinstance(error, FileNotFoundError):
            self._failed_looks = 0
            return f"{error.filename} is not there"
        self._failed_looks += 1
        return f"{error.filename} cannot be reached: {error.strerror}"

    @property
    def check_seconds(self) -> float:
        """When to look again: later and later where a look fails, as on a share that answers with errors."""
        return min(MOST_CHECK_SECONDS, CHECK_SECONDS * 2.0 ** min(self._failed_looks, 5))

    # --- room

    @property
    def is_full(self) -> bool:
        """Whether results wait for room."""
        return self._needed_bytes > 0

    @property
    def no_room(self) -> str:
        """Say that there is no room."""
        return f"no room for results in {self._to}"

    def lacks_room(self, needed_bytes: int, now: float) -> None:
        """Remember that a result of this size found no room."""
        self._needed_bytes = max(needed_bytes, self._needed_bytes)
        self._room_not_before = now + ROOM_SECONDS
