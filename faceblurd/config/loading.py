"""Read a config: file or flags, the environment over it, and every check; nothing half-valid comes out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from faceblurd.config.checks import problems_with
from faceblurd.config.environment import overridden
from faceblurd.config.flags import Flags
from faceblurd.config.problems import from_validation, refuse
from faceblurd.config.schema import Config, keys_by_section
from faceblurd.config.source import Source, read_source
from faceblurd.config.values import AbsolutePath, Surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping


def load_config(path: Path, *, environ: Mapping[str, str]) -> Config:
    """Read the file, lay the environment over it, and return what both say; ConfigError for anything wrong in it."""
    source = overridden(read_source(path), environ)
    return _checked(source, _around(path, environ))


def read_config(path: Path, *, environ: Mapping[str, str]) -> Config:
    """Return what `load_config` does, without a look at what the config names: a root may lie on a dead share."""
    return _valid(overridden(read_source(path), environ), _around(path, environ))


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
    config = _valid(source, around)
    refuse(problems_with(config), source)
    return config


def _valid(source: Source, around: Surroundings) -> Config:
    try:
        return Config.model_validate(source.values, context=around)
    except ValidationError as error:
        found = from_validation(error, keys_at=keys_by_section())
        refuse(found, source)
        raise
