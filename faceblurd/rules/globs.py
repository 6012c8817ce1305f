"""Globs as people write them, and paths as disks spell them. Pure.

What stands in front of the decision is spelling: macOS writes an accent as two characters, people write `./a`, `a//b`,
and folders with brackets in their names. None of it may make an exclude match nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import is_normalized, normalize

_TOKENS = re.compile(r"(\*\*/|\*\*|\*|\?|\[!?[^\]]+\])")


def matches(path: str, globs: tuple[str, ...]) -> bool:
    """Tell whether a path, relative to the root, is named by one of several globs.

    No `/` in front of or in a glob means the name at any depth. Case does not count.
    """
    path = plain(path)
    of_name, of_path = _patterns(globs)
    return bool((of_name and of_name.fullmatch(path.rpartition("/")[2])) or (of_path and of_path.fullmatch(path)))


def first_match(path: str, globs: tuple[str, ...]) -> str | None:
    """Give the first glob that names a path."""
    return next((glob for glob in globs if matches(path, (glob,))), None)


def plain(path: str) -> str:
    """Spell a path as every glob is: composed characters (NFC)."""
    return path if is_normalized("NFC", path) else normalize("NFC", path)


@lru_cache(maxsize=512)
def _patterns(globs: tuple[str, ...]) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    """Compile globs to one expression for names, and one for whole paths: names are matched ten times as fast."""
    of_name = [_expression(glob) for glob in globs if _is_of_name(glob)]
    of_path = [_expression(glob) for glob in globs if not _is_of_name(glob)]
    return _compiled(of_name), _compiled(of_path)


def _compiled(expressions: list[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(expressions), re.IGNORECASE | re.DOTALL) if expressions else None


def _is_of_name(glob: str) -> bool:
    return "/" not in glob.rstrip("/") and "**" not in glob


def _expression(glob: str) -> str:
    body = "/".join(part for part in plain(glob).split("/") if part not in {"", "."})
    expression = "".join(_token(token) for token in _TOKENS.split(body))
    at_any_depth = "/" not in glob.rstrip("/") and not _is_of_name(glob)
    return f"(?:.*/)?(?:{expression})" if at_any_depth else f"(?:{expression})"


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
            return f"(?:{_one_of(token[1:-1])}|{re.escape(token)})"  # `Trip [2024]` is a name, too
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
