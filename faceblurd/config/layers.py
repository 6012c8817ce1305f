"""Environment variables and flags that stand over a config file.

`FACEBLURD_WORKERS__COUNT=2` sets `workers.count`; which names exist follows from the models. A variable with `__` that
fits no setting is refused: a typing error there must not leave a weaker setting in force. Others without `__` are not
ours to judge (`FACEBLURD_CONFIG`, and what the command hook hands to its command). The flags of `faceblurd run --watch`
are a source of settings, too, so that they pass the same checks as a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from faceblurd.config.problems import Loc, nearest
from faceblurd.config.recipes import builtin_recipe
from faceblurd.config.schema import Config
from faceblurd.config.source import Source, scalar
from faceblurd.errors import ConfigError, UsageError
from faceblurd.model import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from faceblurd.config.problems import Loc

PREFIX: Final = "FACEBLURD_"
LISTS: Final = frozenset({("roots",), ("detection", "detectors"), ("hooks", "plugins"), ("hooks", "command")})
"""Only scalar settings have a variable: a list in one line of text would need a syntax of its own."""
HOOK_NAMES: Final = frozenset({("recipe",)})
"""`FACEBLURD_RECIPE` is what a command hook is told of a file; a faceblurd started by that hook must not obey it."""
_NAMES: Final[Mapping[Loc, str]] = {
    ("roots", 0, "path"): "--watch",
    ("roots", 0, "to"): "--to",
    ("roots", 0, "mode"): "--in-place",
    ("state_dir",): "--state-dir",
    ("recipe",): "--recipe",
}


def variable_names() -> Mapping[str, Loc]:
    """Return the variables that are understood, and the setting that each overrides."""
    return {PREFIX + "__".join(loc).upper(): loc for loc in _scalars(Config, ())}


def _scalars(model: type[BaseModel], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        loc = (*above, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _scalars(field.annotation, loc)
        elif loc not in LISTS | HOOK_NAMES:
            yield loc


def overridden(source: Source, environ: Mapping[str, str]) -> Source:
    """Lay the variables over `source`; an empty one counts as not set. ConfigError for one that fits no setting."""
    known = variable_names()
    values, variables = dict(source.values), dict(source.variables)
    for name in sorted(_ours(environ)):
        loc = known.get(name)
        if loc is None:
            raise ConfigError("overrides no setting", file=name, key=name, value=environ[name], remedy=_remedy(name))
        if _laid_over(values, loc, scalar(environ[name])):
            variables[loc] = name
    return Source(source.file, values, source.lines, variables)


def _ours(environ: Mapping[str, str]) -> Iterator[str]:
    top = {name for name, loc in variable_names().items() if len(loc) == 1}
    return (name for name, text in environ.items() if text and (_nested(name) or name in top))


def _nested(name: str) -> bool:
    return name.startswith(PREFIX) and "__" in name.removeprefix(PREFIX)


def _laid_over(values: dict[str, Any], loc: Loc, value: object) -> bool:
    """Put `value` at `loc`, copying the section on the way; leave alone what is no section, so that it is refused."""
    *section, name = (str(step) for step in loc)
    if not section:
        values[name] = value
        return True
    below = values.get(section[0])
    if not isinstance(below, dict | None):
        return False
    values[section[0]] = {**(below or {}), name: value}
    return True


def _remedy(name: str) -> str:
    return f"Unset it, or correct its name; lists belong in the file. {nearest(name, variable_names())}"


@dataclass(frozen=True, slots=True)
class FlagSource(Source):
    """Settings that name the flag, where one brought them."""

    def where(self, loc: Loc) -> tuple[str, int | None, str]:
        """Return the flag; or the environment variable, as `Source` does."""
        if loc in _NAMES:
            return self.file, None, _NAMES[loc]
        file, _, key = Source.where(self, loc)
        return file, None, key


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What was given on the command line."""

    watch: Path
    to: Path | None
    in_place: bool
    state_dir: Path
    recipe: str | None

    def over(self, below: Source) -> FlagSource:
        """Lay the flags over `below`; UsageError when they contradict each other."""
        if self.in_place == (self.to is not None):
            raise UsageError("give either --to DIR or --in-place", remedy="A photo is published in one place.")
        values: dict[str, Any] = {**below.values, "state_dir": str(self.state_dir), "roots": (self._root(),)}
        if self.recipe is not None:
            values["recipe"] = builtin_recipe(self.recipe).name
        return FlagSource(below.file, values, {}, below.variables)

    def _root(self) -> dict[str, Any]:
        if self.to is None:
            return {"path": str(self.watch), "mode": Mode.IN_PLACE.value}
        return {"path": str(self.watch), "mode": Mode.MIRROR.value, "to": str(self.to)}
