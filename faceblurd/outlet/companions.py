"""Resource forks that lie beside a photo in place: removed once the photo is done, as they may show what it hides.

macOS and Netatalk keep them as `._NAME` or `.AppleDouble/NAME`. Must not touch anything else by such a name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from faceblurd.outlet import beneath
from faceblurd.rules.side_channels import APPLE_DOUBLE_FOLDER, APPLE_DOUBLE_PREFIX, companion_may_stay, is_apple_double

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_BYTES = 4096  # a longer one holds more than flags


def beside(photo: str) -> tuple[str, str]:
    """Give the paths that a photo's resource fork may have."""
    folder, slash, name = photo.rpartition("/")
    return f"{folder}{slash}{APPLE_DOUBLE_PREFIX}{name}", f"{folder}{slash}{APPLE_DOUBLE_FOLDER}/{name}"


def clear(root: str, paths: Sequence[str]) -> list[str]:
    """Remove the resource forks among these paths that hold more than flags; give those that went. May hang.

    Raises OSError for one that cannot be removed.
    """
    return [path for path in paths if _clear(root, path)]


def _clear(root: str, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    try:
        fd = beneath.open_file(root, folder, name)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        content = os.pread(fd, _MOST_BYTES + 1, 0)
        if not is_apple_double(content) or companion_may_stay(content):
            return False
        with beneath.directory(root, folder) as parent:
            if not os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=parent, follow_symlinks=False)):
                return False  # another one has the name now: the next scan looks
            os.unlink(name, dir_fd=parent)
            os.fsync(parent)
    finally:
        os.close(fd)
    return True
