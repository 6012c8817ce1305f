"""Names that faceblurd gives to files. Pure."""

from __future__ import annotations

STAGING_PREFIX = ".faceblurd-"


def staging_name(token: str) -> str:
    """Name a staging file: hidden, ignored by the filter, and never longer than any file system allows."""
    return f"{STAGING_PREFIX}{token}.tmp"


def split(path: str) -> tuple[str, str]:
    """Split a relative POSIX path into its directory ("" for none) and its name."""
    directory, _, name = path.rpartition("/")
    return directory, name
