"""The configuration: read, checked whole, and frozen before anything starts.

Callers need only the names here. A refusal is one `ConfigError` (with the rest in `others`) that names file, line, key
path, value and remedy. Nothing in this package logs, watches or touches a photo; the environment is an argument.

A name is loaded when it is first asked for: `faceblurd blur` without a config does without pydantic, which would be a
sixth of its processor time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faceblurd.config.defaults import IMAGE_GLOBS, Hooks, Workers
    from faceblurd.config.loading import (
        config_from_flags,
        default_state_dir,
        load_config,
        load_settings,
        load_state_dir,
        read_config,
    )
    from faceblurd.config.recipe_sections import (
        BlurConfig,
        DetectionConfig,
        HaarConfig,
        NetworksConfig,
    )
    from faceblurd.config.recipes import BUILTIN_RECIPES, DEFAULT_RECIPE, builtin_recipe
    from faceblurd.config.schema import (
        Access,
        Config,
        Deletions,
        Existing,
        HardLinks,
        HooksConfig,
        LogFormat,
        LoggingConfig,
        LogLevel,
        Mtime,
        OnFailure,
        RootConfig,
        Settings,
        Unsupported,
        WorkersConfig,
    )

__all__ = [
    "BUILTIN_RECIPES",
    "DEFAULT_RECIPE",
    "IMAGE_GLOBS",
    "Access",
    "BlurConfig",
    "Config",
    "Deletions",
    "DetectionConfig",
    "Existing",
    "HaarConfig",
    "HardLinks",
    "Hooks",
    "HooksConfig",
    "LogFormat",
    "LogLevel",
    "LoggingConfig",
    "Mtime",
    "NetworksConfig",
    "OnFailure",
    "RootConfig",
    "Settings",
    "Unsupported",
    "Workers",
    "WorkersConfig",
    "builtin_recipe",
    "config_from_flags",
    "default_state_dir",
    "load_config",
    "load_settings",
    "load_state_dir",
    "read_config",
]

_HOMES = {
    "defaults": ("Hooks", "IMAGE_GLOBS", "Workers"),
    "loading": (
        "config_from_flags",
        "default_state_dir",
        "load_config",
        "load_settings",
        "load_state_dir",
        "read_config",
    ),
    "overrides": ("BlurConfig", "DetectionConfig", "HaarConfig", "NetworksConfig"),
    "recipes": ("BUILTIN_RECIPES", "DEFAULT_RECIPE", "builtin_recipe"),
    "schema": (
        "Access",
        "Config",
        "Deletions",
        "Existing",
        "HardLinks",
        "HooksConfig",
        "LogFormat",
        "LogLevel",
        "LoggingConfig",
        "Mtime",
        "OnFailure",
        "RootConfig",
        "Settings",
        "Unsupported",
        "WorkersConfig",
    ),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
