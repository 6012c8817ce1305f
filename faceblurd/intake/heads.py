"""The first bytes of files that no name tells about: whether they are a photo. Owns what was looked into before.

Used by the scan's thread, one walk after the other. May hang on a dead share.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from faceblurd.imaging.photo_head import is_photo
from faceblurd.imaging.signatures import HEAD_BYTES
from faceblurd.rules.filter import Why

if TYPE_CHECKING:
    from faceblurd.model import Fingerprint

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
MOST_KNOWN = 200_000
"""Files that are no photos and are remembered as such: 16 MB. What is beyond is read at each scan."""


def read_head(root: str, path: str) -> bytes:
    """Read the first bytes of a regular file; nothing of anything else. Raises OSError.

    A folder above that was swapped for a link shows another file's: whoever works on the file opens it more carefully.
    """
    fd = os.open(f"{root}/{path}", _FILE)
    try:
        return os.pread(fd, HEAD_BYTES, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


class Heads:
    """Remembers which files are no photos, so that each is opened once."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._no_photos: set[int] = set()

    def why_not(self, root: str, path: str, fingerprint: Fingerprint) -> Why | None:
        """Say why a file is no candidate by its first bytes; None when it begins like a photo."""
        key = hash((path, fingerprint))
        if key in self._no_photos:
            return Why.NO_PHOTO
        try:
            found = is_photo(read_head(root, path))
        except FileNotFoundError:
            return Why.NO_PHOTO
        except OSError:
            return Why.UNREADABLE
        if not found and len(self._no_photos) < MOST_KNOWN:
            self._no_photos.add(key)
        return None if found else Why.NO_PHOTO
