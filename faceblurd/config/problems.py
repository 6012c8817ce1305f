"""What is wrong with a setting, and where: turns findings into `ConfigError`.

Owns the wording for pydantic's own error types. Knows no file formats: an `Origin` says where a setting came from.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from faceblurd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_TYPE_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "int_type": ("must be a whole number", "Write a whole number, without quotes."),
    "float_type": ("must be a number", "Write a number, without quotes."),
    "finite_number": ("must be a finite number", "Write an ordinary number."),
    "string_type": ("must be text", "Put the value in quotes if it looks like a number or a date."),
    "bool_type": ("must be true or false", "Write true or false."),
    "tuple_type": ("must be a list", "Write a list: one `- item` a line, or [item, item]."),
    "model_type": ("must be a section of keys", "Write `key: value` lines, indented below it."),
    "model_attributes_type": ("must be a section of keys", "Write `key: value` lines, indented below it."),
}
"""pydantic's error types in our words: what is wrong, and the remedy."""

_BOUND_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than_equal": ("must be at least {ge}", "Write {ge} or more."),
    "greater_than": ("must be more than {gt}", "Write a number above {gt}."),
    "less_than_equal": ("must be at most {le}", "Write {le} or less."),
    "less_than": ("must be less than {lt}", "Write a number below {lt}."),
    "enum": ("is not one of the choices", "Write {expected}."),
    "literal_error": ("is not one of the choices", "Write {expected}."),
    "union_tag_invalid": ("has no known kind", "Write `kind: haar` or `kind: networks` in it."),
    "union_tag_not_found": ("has no known kind", "Write `kind: haar` or `kind: networks` in it."),
}
"""The same for types whose bounds come with the finding."""

Loc = tuple[str | int, ...]


class Origin(Protocol):
    """Says where the setting at a location was written: file (or variable, or flag), line, and its key path."""

    def where(self, loc: Loc) -> tuple[str, int | None, str]:
        """Return file, line and key of `loc`, or of the nearest thing above it that was written."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal, before it is known in which file and line it stands."""

    loc: Loc
    message: str
    value: object
    remedy: str
    line: int | None = None  # where the origin cannot know it: a duplicate key stands on two lines


def key_path(loc: Loc) -> str:
    """Write a location as people read it: `roots[0].blur.pool_size_px`."""
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def located(problem: Problem, origin: Origin) -> ConfigError:
    """Return the error that names file, line, key path, value and remedy."""
    file, line, key = origin.where(problem.loc)
    return ConfigError(
        problem.message,
        file=file,
        line=problem.line or line,
        key=key,
        value=problem.value,
        remedy=problem.remedy,
    )


def refuse(problems: Sequence[Problem], origin: Origin) -> None:
    """Raise the first of `problems`, carrying the others; do nothing when there are none."""
    if problems:
        raise ConfigError.first_of([located(problem, origin) for problem in problems])


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the remedy for a word that is none of `known`."""
    words = sorted(known)
    close = difflib.get_close_matches(word.lower(), words, n=1)
    listed = ", ".join(words)
    return f"Did you mean {close[0]}? Possible: {listed}." if close else f"Possible: {listed}."


def from_validation(error: ValidationError, *, keys_at: Mapping[str, frozenset[str]]) -> list[Problem]:
    """Translate pydantic's findings; `keys_at` lists the valid keys of each section (see `schema.keys_by_section`)."""
    return [_problem(found, keys_at) for found in error.errors(include_url=False)]


def _problem(found: ErrorDetails, keys_at: Mapping[str, frozenset[str]]) -> Problem:
    context = found.get("ctx", {})
    loc = (*_without_tags(found["loc"]), *context.get("below", ()))
    message, remedy = _words(found, loc, context, keys_at)
    value = context.get("value", found["input"])
    return Problem(loc, message, _shown(value), remedy)


def _shown(value: object) -> object:
    """Leave out what would fill the screen: a section, or a list of sections."""
    holds_sections = isinstance(value, tuple) and any(isinstance(item, dict) for item in value)
    return None if holds_sections or isinstance(value, dict) else value


def _without_tags(loc: Loc) -> Loc:
    """Drop what pydantic puts in for the kind of a detector: `detectors[0].haar.cascade`."""
    for at, step in enumerate(loc[:-2]):
        if step == "detectors":
            return loc[: at + 2] + loc[at + 3 :]
    return loc


def _words(
    found: ErrorDetails, loc: Loc, context: Mapping[str, Any], keys_at: Mapping[str, frozenset[str]]
) -> tuple[str, str]:
    """Choose message and remedy by the error's type, never by its text."""
    kind = found["type"]
    if "remedy" in context:
        return found["msg"], context["remedy"]
    if kind == "extra_forbidden":
        section = ".".join(str(step) for step in found["loc"][:-1] if not isinstance(step, int))
        return "is an unknown key", nearest(str(loc[-1]), keys_at.get(section, frozenset()))
    if kind == "missing":
        return "is missing", f"Add `{loc[-1]}:` here."
    if kind in _TYPE_WORDS:
        return _TYPE_WORDS[kind]
    if kind in _BOUND_WORDS:
        message, remedy = _BOUND_WORDS[kind]
        return message.format_map(context), remedy.format_map(context)
    return found["msg"], "config.example.yaml shows every option."
