"""The flags of `faceblurd run --watch` as a source of settings, so that they pass the same checks as a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from faceblurd.config.recipes import builtin_recipe
from faceblurd.config.source import Source
from faceblurd.errors import UsageError
from faceblurd.model import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from faceblurd.config.problems import Loc

_NAMES: Final[Mapping[Loc, str]] = {
    ("roots", 0, "path"): "--watch",
    ("roots", 0, "to"): "--to",
    ("roots", 0, "mode"): "--in-place",
    ("state_dir",): "--state-dir",
    ("recipe",): "--recipe",
}


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
