"""From paths on the command line to plans for the pipeline."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from faceblurd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from faceblurd.config import Config
    from faceblurd.model import Recipe
    from faceblurd.pipeline import RootPlan


class PlanMaker:
    """Turns what was named on the command line into plans for the pipeline."""

    def __init__(self, config: Config | None, recipe_name: str | None, to: Path | None, *, replace: bool) -> None:
        """`to` is the mirror's top, None for in place. UsageError for an unknown recipe."""
        self.config, self._to, self._replace = config, to, replace
        self._recipe = _recipe(config, recipe_name)
        self.plans: dict[str, RootPlan] = {}

    def candidates(self, paths: Iterable[str]) -> Iterator[tuple[RootPlan, str | None]]:
        """Give a plan for each path, with the file's name, or None for a whole folder."""
        for path in paths:
            if not os.path.exists(path):
                raise UsageError(f"{path}: no such file or folder", remedy="Nothing was done")
            real = os.path.realpath(path)
            folder, name = (real, None) if os.path.isdir(real) else os.path.split(real)
            yield self._plan(folder, path), name

    def _plan(self, folder: str, named: str) -> RootPlan:
        if folder not in self.plans:
            self.plans[folder] = self._new_plan(folder, named)
        return self.plans[folder]

    def _new_plan(self, folder: str, named: str) -> RootPlan:
        from faceblurd.assembly import MTIME_STEP_NS  # noqa: PLC0415 - not needed for --help
        from faceblurd.config import IMAGE_GLOBS  # noqa: PLC0415 - pydantic is not needed for --help
        from faceblurd.model import Mode  # noqa: PLC0415 - same
        from faceblurd.pipeline import RootPlan  # noqa: PLC0415 - same
        from faceblurd.rules.filter import Selection  # noqa: PLC0415 - same

        to = folder if self._to is None else os.path.realpath(self._to)
        if self._to is not None and (to == folder or (os.path.isdir(named) and to.startswith(folder + "/"))):
            raise UsageError(f"--to {self._to} lies in {named}", remedy="Choose another folder, or --in-place")
        in_place = self._to is None
        selection = Selection(IMAGE_GLOBS, (), hidden=in_place, by_content=True, in_place=in_place)
        return RootPlan(
            folder, Mode.IN_PLACE if self._to is None else Mode.MIRROR, to, self._recipe,
            selection, quiet_seconds=0.0, settle_max_seconds=0.0, hard_links_ok=False,
            keep_mtime=True, mtime_step_ns=0 if self._to else MTIME_STEP_NS,
            replace_others=self._replace, take_away_held=False,
        )  # fmt: skip


def _recipe(config: Config | None, name: str | None) -> Recipe:
    from faceblurd.config import DEFAULT_RECIPE, builtin_recipe  # noqa: PLC0415 - not needed for --help

    if config is None or name is not None:
        return builtin_recipe(name or DEFAULT_RECIPE)
    from faceblurd.config import BlurConfig, DetectionConfig  # noqa: PLC0415 - pydantic: configs only

    no_overrides = {"recipe": None, "detection": DetectionConfig(), "blur": BlurConfig()}
    return config.recipe_for(config.roots[0].model_copy(update=no_overrides))
