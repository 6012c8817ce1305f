"""Which paths are candidates. Pure: names in, a verdict out; the file itself is never looked at here.

Half-written uploads, sync tools' own files and recycle bins are ignored (sources: the tools' documentation and
docs/architecture.md). Conflict copies are *not*: they are photos that nobody blurred.
"""

from __future__ import annotations

import re
from functools import lru_cache

from faceblurd.rules.naming import STAGING_PREFIX

IGNORED_DIRECTORIES = (
    ".~tmp~", ".rsync-partial",  # rsync
    ".stfolder", ".stversions",  # Syncthing
    "@eaDir", "#recycle", "#snapshot", "@sharebin", "@tmp", ".SynologyWorkingDirectory",  # Synology
    ".Trash*", "__MACOSX", ".snapshots", "lost+found", "$RECYCLE.BIN",
)  # fmt: skip
IGNORED_FILES = (
    ".syncthing.*.tmp", "~syncthing~*.tmp",
    ".sync_*.db*", ".csync_journal.db*", ".owncloudsync.log*", ".*.~*", "*.part",  # Nextcloud, ownCloud
    "._*", ".DS_Store", ".smbdelete*", ".nfs*", ".fuse_hidden*",
    "*.crdownload", "*.partial", "*.tmp", "*.swp", "~$*", "Thumbs.db", "desktop.ini",
    STAGING_PREFIX + "*",
)  # fmt: skip
# rsync writes `.name.jpg.AbCdEf` and renames it; other hidden names with six letters at the end are ordinary files.
RSYNC_TEMPORARY = re.compile(r"\..+\.[a-z0-9]{2,5}\.[a-z0-9]{6}", re.IGNORECASE | re.DOTALL)


@lru_cache(maxsize=512)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    """Compile globs to one expression: no `/` in front of or in a glob means the name at any depth."""
    parts = [_translate(glob) for glob in globs]
    return re.compile("|".join(parts) or r"(?!)", re.IGNORECASE | re.DOTALL)


def _translate(glob: str) -> str:
    body = glob.strip("/")
    anchored = "/" in body or glob.startswith("/")
    tokens = re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^\]]+\])", body)
    expression = "".join(_token(token) for token in tokens)
    return f"(?:{expression})" if anchored else f"(?:.*/)?(?:{expression})"


def _token(token: str) -> str:
    match token:
        case "**/":
            return r"(?:.*/)?"
        case "**":
            return r".*"
        case "*":
            return r"[^/]*"
        case "?":
            return r"[^/]"
        case _ if token.startswith("[") and token.endswith("]") and len(token) > len("[]"):
            return _one_of(token[1:-1])
        case _:
            return re.escape(token)


def _one_of(body: str) -> str:
    """Translate the inside of `[...]`; a range that is empty (`z-a`) matches nothing, as in a shell."""
    negated = len(body) > 1 and body[0] in "!^"
    rest, parts = body[negated:], []
    while rest:
        if len(rest) > 2 and rest[1] == "-":  # noqa: PLR2004 - first, dash, last
            parts.append(f"{re.escape(rest[0])}-{re.escape(rest[2])}" if rest[0] <= rest[2] else "")
            rest = rest[3:]
        else:
            parts.append(re.escape(rest[0]))
            rest = rest[1:]
    inside = "".join(parts)
    if negated:
        return f"[^/{inside}]"
    return f"[{inside}]" if inside else r"(?!)"


def ignored_directory(path: str, exclude: tuple[str, ...]) -> bool:
    """Tell whether nothing below the directory `path` (relative to the root) is ever a candidate."""
    return bool(_pattern(IGNORED_DIRECTORIES).fullmatch(path) or _pattern(exclude).fullmatch(path))


def ignored_file(path: str) -> bool:
    """Tell whether a file is known by its name to be nobody's finished photo."""
    name = path.rpartition("/")[2]
    return bool(_pattern(IGNORED_FILES).fullmatch(name) or RSYNC_TEMPORARY.fullmatch(name))


def wanted(path: str, include: tuple[str, ...], exclude: tuple[str, ...]) -> bool:
    """Tell whether the file `path` (relative to the root) is a candidate."""
    if ignored_file(path) or not _pattern(include).fullmatch(path) or _pattern(exclude).fullmatch(path):
        return False
    parts = path.split("/")[:-1]
    return not any(ignored_directory("/".join(parts[: depth + 1]), exclude) for depth in range(len(parts)))
