"""Read a config: file or flags, the environment over it, and every check; nothing half-valid comes out."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import TypeAdapter, ValidationError

from faceblurd.config.checks import hook_problems, problems_with, problems_with_settings
from faceblurd.config.layers import Flags, overridden
from faceblurd.config.problems import from_validation, refuse
from faceblurd.config.schema import Config, Settings, keys_by_section
from faceblurd.config.source import Source, read_source
from faceblurd.config.values import AbsolutePath, Surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping

_Kind = TypeVar("_Kind", bound=Settings)
_OF_A_SERVICE = frozenset({"state_dir", "roots"})


def load_config(path: Path, *, environ: Mapping[str, str], strictly: bool = False) -> Config:
    """Read the file, lay the environment over it, and return what both say; ConfigError for anything wrong in it.

    `strictly`: also for what the service starts without, and says: a command hook that cannot be run.
    """
    source = overridden(read_source(path), environ)
    config = _checked(source, _around(path, environ))
    refuse(hook_problems(config, environ) if strictly else (), source)
    return config


def read_config(path: Path, *, environ: Mapping[str, str]) -> Config:
    """Return what `load_config` does, without a look at what the config names: a root may lie on a dead share."""
    return _valid(overridden(read_source(path), environ), _around(path, environ), Config)


def load_settings(path: Path, *, environ: Mapping[str, str]) -> Settings:
    """Return what the file and the environment say of how to detect, blur and work; roots and state are not looked at.

    ConfigError for anything wrong in the rest.
    """
    source = overridden(read_source(path), environ)
    used = {key: value for key, value in source.values.items() if key not in _OF_A_SERVICE}
    settings = _valid(replace(source, values=used), _around(path, environ), Settings)
    refuse(problems_with_settings(settings), source)
    return settings


def load_state_dir(path: Path, *, environ: Mapping[str, str]) -> Path:
    """Return only where state lives, without a look at anything else (`faceblurd status` must not hang)."""
    given = overridden(read_source(path), environ).values.get("state_dir")
    try:
        return TypeAdapter[Path](AbsolutePath).validate_python(given, context=_around(path, environ))
    except ValidationError:
        return load_config(path, environ=environ).state_dir  # which says what is wrong with it


def _around(path: Path, environ: Mapping[str, str]) -> Surroundings:
    base = Path(os.path.abspath(path)).parent  # not resolve(): it would follow a symlinked config
    return Surroundings(base=base, home=environ.get("HOME", ""))


def config_from_flags(
    *,
    watch: Path,
    to: Path | None,
    in_place: bool,
    state_dir: Path,
    recipe: str | None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Return the config for one root and defaults; paths are relative to the current directory.

    UsageError when `--to` and `--in-place` are both or neither given, or the recipe is unknown; ConfigError, naming
    the flag, for anything else. Flags win over `environ`.
    """
    flags = Flags(watch=watch, to=to, in_place=in_place, state_dir=state_dir, recipe=recipe)
    source = flags.over(overridden(Source("command line", {}, {}), environ or {}))
    return _checked(source, Surroundings(base=Path.cwd(), home=None))


def default_state_dir(environ: Mapping[str, str], home: Path) -> Path:
    """Return where state lives unless somebody says otherwise: systemd's directory, else XDG's."""
    if given := environ.get("FACEBLURD_STATE_DIR"):
        return Path(given)
    if given := environ.get("STATE_DIRECTORY"):  # systemd lists several, with colons between
        return Path(given.split(":")[0])
    if given := environ.get("XDG_STATE_HOME"):
        return Path(given, "faceblurd")
    return home / ".local" / "state" / "faceblurd"


def _checked(source: Source, around: Surroundings) -> Config:
    config = _valid(source, around, Config)
    refuse(problems_with(config), source)
    return config


def _valid(source: Source, around: Surroundings, kind: type[_Kind]) -> _Kind:
    try:
        return kind.model_validate(source.values, context=around)
    except ValidationError as error:
        found = from_validation(error, keys_at=keys_by_section())
        refuse(found, source)
        raise
