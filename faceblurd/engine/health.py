"""Whether a root may be used now: there, the one that it was, and with room for results. Does no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from faceblurd.watch.filesystem import Look, RootIdentity

CHECK_SECONDS = 2.0
MOST_CHECK_SECONDS = 30.0  # between looks at a root that cannot be reached: each one may cost a share's time-out
ROOM_SECONDS = 10.0  # at least, before a full disk is tried again: quotas do not show how much is left


class RootHealth:
    """What is known of a root and of the top of its mirror, from one look to the next."""

    def __init__(self, path: str, to: str, mounted_at: Mapping[str, str] | None = None) -> None:
        """Know nothing yet, but where the disks of both were mounted before: an empty folder elsewhere is bare."""
        self._path, self._to = path, to
        self.mounted_at = dict(mounted_at or {})
        self.identity: RootIdentity | None = None  # as it was taken on; the owner sets it
        self.to_identity: RootIdentity | None = None
        self._failed_looks = self._needed_bytes = 0
        self._room_not_before = 0.0

    def check(self, seen: Look, now: float) -> str:
        """Judge a look: why the root must not be used now; empty when it may."""
        for error in (seen.root, seen.to):
            if isinstance(error, OSError):
                return self._unreachable(error)
        self._failed_looks = 0
        assert not isinstance(seen.root, OSError)  # noqa: S101 - same
        assert not isinstance(seen.to, OSError)  # noqa: S101 - same
        for path, there, before in ((self._path, seen.root, self.identity), (self._to, seen.to, self.to_identity)):
            if before is not None and not before.is_same_place(there):
                return f"{path} is not mounted"
        if seen.elsewhere:
            return f"{seen.elsewhere}: reload the configuration (SIGHUP), or restart, to follow it"
        if bare := self._bare(seen):
            return bare
        if self._needed_bytes and (now < self._room_not_before or seen.free_bytes < self._needed_bytes):
            return self.no_room
        self._needed_bytes, self.to_identity = 0, seen.to
        return ""

    def _bare(self, seen: Look) -> str:
        """Tell of an empty folder where a disk was mounted when we last ran: it would be filled, or read as empty."""
        for path, there, before in ((self._path, seen.root, self.identity), (self._to, seen.to, self.to_identity)):
            disk = self.mounted_at.get(path, "")
            if before is not None or not disk or path not in seen.empty or isinstance(there, OSError):
                continue
            if not f"{there.mount_point}/".startswith(f"{disk.rstrip('/')}/"):
                return (
                    f"{path} is empty, and its disk was mounted at {disk}: it is not mounted; "
                    f"if the empty folder is to be used, run `faceblurd redo --config FILE --root {self._path}`"
                )
        return ""

    def _unreachable(self, error: OSError) -> str:
        if isinstance(error, FileNotFoundError):
            self._failed_looks = 0
            return f"{error.filename} is not there"
        self._failed_looks += 1
        return f"{error.filename or self._path} cannot be reached: {error.strerror}"

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
