"""From paths on the command line to plans for the engine."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from faceblurd.config.defaults import IMAGE_GLOBS
from faceblurd.config.probes import ANSWER_SECONDS, begin
from faceblurd.config.recipes import DEFAULT_RECIPE, builtin_recipe
from faceblurd.engine.model import Remedies, RootPlan
from faceblurd.engine.plans import MTIME_STEP_NS
from faceblurd.errors import FaceblurdError, UsageError
from faceblurd.model import Mode
from faceblurd.rules.filter import Candidate as Wanted
from faceblurd.rules.filter import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from faceblurd.config.schema import Settings
    from faceblurd.model import Recipe

Candidate = tuple["RootPlan", str | None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Named:
    """What was named, by its real place."""

    given: str
    real: str
    device: int
    is_folder: bool


class PlanMaker:
    """Turns what was named on the command line into plans for the engine."""

    def __init__(self, settings: Settings | None, recipe_name: str | None, to: Path | None, *, replace: bool) -> None:
        """`to` is the mirror's top, None for in place. UsageError for an unknown recipe."""
        self.settings, self._to, self._replace = settings, to, replace
        self._recipe = _recipe(settings, recipe_name)
        self.plans: dict[str, RootPlan] = {}
        self._to_is_at = ""

    def candidates(self, paths: Iterable[str], missing: Callable[[str, OSError], None]) -> list[Candidate]:
        """Give a plan for each path, with the file's name, or None for a whole folder; each photo once.

        `missing` is told of what cannot be looked at.
        """
        named = list({one.real: one for one in _present(paths, missing)}.values())
        folders, selection = [one for one in named if one.is_folder], self._selection()
        above = [any(_reaches(top, one, selection) for top in folders) for one in named]
        return [self._candidate(one, folders) for one, is_reached in zip(named, above, strict=True) if not is_reached]

    def _candidate(self, one: _Named, folders: list[_Named]) -> Candidate:
        if one.is_folder:
            return self._plan(one), None
        above = min((top for top in folders if _is_below(one, top)), key=lambda top: len(top.real), default=None)
        if above is not None:  # a name that its walk passes over: it belongs into the same tree
            return self._plan(above), one.real[len(above.real.rstrip("/")) + 1 :]
        folder, name = os.path.split(one.real)
        return self._plan(_Named(one.given, folder, one.device, is_folder=False)), name

    def _plan(self, at: _Named) -> RootPlan:
        if at.real not in self.plans:
            self.plans[at.real] = self._new_plan(at)
        return self.plans[at.real]

    def _selection(self) -> Selection:
        in_place = self._to is None
        return Selection(IMAGE_GLOBS, (), hidden=in_place, by_content=True, in_place=in_place)

    def _real_to(self) -> str:
        """Find where the mirror lies. Raises FaceblurdError when it does not answer."""
        if not self._to_is_at and self._to is not None:
            try:
                self._to_is_at = look(partial(os.path.realpath, self._to))
            except OSError as error:
                raise FaceblurdError(f"--to {self._to}: {error.strerror}", remedy="Nothing was done") from error
        return self._to_is_at

    def _new_plan(self, at: _Named) -> RootPlan:
        folder = at.real
        to = folder if self._to is None else self._real_to()
        if self._to is not None and (to == folder or (at.is_folder and to.startswith(folder.rstrip("/") + "/"))):
            raise UsageError(f"--to {self._to} lies in {at.given}", remedy="Choose another folder, or --in-place")
        return RootPlan(
            folder, Mode.IN_PLACE if self._to is None else Mode.MIRROR, to, self._recipe, self._selection(),
            quiet_seconds=0.0, settle_max_seconds=0.0, hard_links_ok=False, keep_mtime=True,
            mtime_step_ns=MTIME_STEP_NS if self._to is None else 0,
            replace_others=self._replace, take_away_held=False,
            remedies=Remedies("Move it away, or add --replace", "Rename one of them, or give it another --to"),
        )  # fmt: skip


def look(call: Callable[[], T]) -> T:
    """Ask the disk. Raises OSError, ETIMEDOUT where a dead share does not answer."""
    answer = begin(lambda: (call(),))(ANSWER_SECONDS)
    if answer is None:
        raise silence()
    return answer[0]


def silence() -> OSError:
    """Give the error of a disk that does not answer."""
    return OSError(errno.ETIMEDOUT, "does not answer")


def _present(paths: Iterable[str], missing: Callable[[str, OSError], None]) -> Iterator[_Named]:
    silent: set[str] = set()  # folders of which nothing more is asked: a list may name thousands in one
    for path in paths:
        folder = os.path.dirname(os.path.abspath(path))
        if folder in silent:
            missing(path, silence())
            continue
        try:
            yield look(partial(_named, path))
        except OSError as error:
            if error.errno == errno.ETIMEDOUT:
                silent.add(folder)
            missing(path, error)


def _named(path: str) -> _Named:
    if not path:  # of a variable that is not set, say: not the folder where one is
        raise FileNotFoundError(errno.ENOENT, "an empty name")
    real = os.path.realpath(path)
    st = os.stat(real)
    if not stat.S_ISREG(st.st_mode) and not stat.S_ISDIR(st.st_mode):
        raise OSError(errno.ELOOP, "is no file or folder")  # the kernel's word for what is not to be opened
    return _Named(path, real, st.st_dev, stat.S_ISDIR(st.st_mode))


def _is_below(one: _Named, top: _Named) -> bool:
    return one.real != top.real and one.real.startswith(top.real.rstrip("/") + "/")


def _reaches(top: _Named, one: _Named, selection: Selection) -> bool:
    """Tell whether a walk of the folder `top` comes to what is named beside it, whatever its first bytes are."""
    if not _is_below(one, top) or one.device != top.device:
        return False
    path = one.real[len(top.real.rstrip("/")) + 1 :]
    if not one.is_folder:
        return selection.of(path) == Wanted()
    return selection.of_folders(path) is None


def _recipe(settings: Settings | None, name: str | None) -> Recipe:
    if settings is None or name is not None:
        return builtin_recipe(name or DEFAULT_RECIPE)
    return settings.own_recipe()
