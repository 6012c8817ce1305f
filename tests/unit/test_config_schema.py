"""Single settings, variables and places, without a file."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from faceblurd.config.defaults import IMAGE_GLOBS, Hooks, Workers
from faceblurd.config.layers import variable_names
from faceblurd.config.loading import default_state_dir
from faceblurd.config.problems import key_path, nearest
from faceblurd.config.schema import Config, HooksConfig, WorkersConfig, keys_by_section
from faceblurd.config.values import Surroundings
from faceblurd.errors import ConfigError


def config_with(*, root: dict[str, Any] | None = None, home: str | None = "/home/me", **top: Any) -> Config:
    values = {"state_dir": "/state", "roots": [{"path": "/in", "mode": "mirror", "to": "/out", **(root or {})}], **top}
    return Config.model_validate(values, context=Surroundings(base=Path("/etc/faceblurd"), home=home))


def test_a_state_directory_and_one_root_are_a_whole_config() -> None:
    root = config_with().roots[0]
    assert (root.include, root.exclude, root.quiet_seconds, root.on_failure) == (IMAGE_GLOBS, (), 2.0, "leave")
    assert (root.hard_links, root.mtime, root.existing) == ("hold", "auto", "hold")


def test_a_config_cannot_be_changed_once_it_is_checked() -> None:
    with pytest.raises(ValidationError):
        config_with().workers.max_attempts = 9


def test_a_section_with_nothing_below_it_is_at_its_defaults() -> None:
    empty = config_with(workers=None, blur=None, hooks=None, root={"blur": None})
    assert empty == config_with(workers={}, blur={}, hooks={}, root={"blur": {}})


def test_auto_means_a_worker_for_each_core_that_we_may_use() -> None:
    assert config_with().workers.process_count() == len(os.sched_getaffinity(0))
    assert config_with(workers={"count": 3}).workers.process_count() == 3


@pytest.mark.parametrize(
    ("written", "meant"),
    [("photos", "/etc/faceblurd/photos"), ("/srv/photos/", "/srv/photos"), ("~/photos", "/home/me/photos")],
)
def test_a_path_is_relative_to_the_config_and_may_start_at_home(written: str, meant: str) -> None:
    assert config_with(root={"path": written}).roots[0].path == Path(meant)


def test_the_file_system_takes_out_what_goes_up() -> None:
    assert config_with(root={"path": "../../proc/self/../1"}).roots[0].path == Path("/proc/1")


@pytest.mark.parametrize("path", ["", "~other/photos", "a\0b", 3, None, ["x"]])
def test_what_is_no_path_of_ours_is_refused(path: object) -> None:
    with pytest.raises(ValidationError):
        config_with(root={"path": path})


def test_a_tilde_from_a_flag_is_a_name_like_any_other() -> None:
    assert config_with(root={"path": "~x"}, home=None).roots[0].path == Path("/etc/faceblurd/~x")


@pytest.mark.parametrize("value", [True, "20", 20.5, float("nan")])
def test_a_number_is_not_guessed_from_something_else(value: object) -> None:
    with pytest.raises(ValidationError):
        config_with(blur={"pool_size_px": value})


def test_a_location_reads_as_people_write_it() -> None:
    assert key_path(("roots", 0, "blur", "pool_size_px")) == "roots[0].blur.pool_size_px"


def test_a_misspelt_word_gets_the_nearest_one_as_remedy() -> None:
    assert nearest("worker", ["workers", "roots"]) == "Did you mean workers? Possible: roots, workers."


def test_a_word_like_no_other_gets_all_of_them_as_remedy() -> None:
    assert nearest("zzz", ["workers", "roots"]) == "Possible: roots, workers."


def test_every_scalar_setting_outside_roots_has_a_variable() -> None:
    sections = {name: keys for name, keys in keys_by_section().items() if name in {"workers", "logging", "blur"}}
    expected = {f"FACEBLURD_{name}__{key}".upper() for name, keys in sections.items() for key in keys}
    others = {
        "FACEBLURD_STATE_DIR",
        "FACEBLURD_DETECTION__WORKING_SIZE_PX",
        "FACEBLURD_DETECTION__SENSITIVITY",
        "FACEBLURD_DETECTION__TURNED",
        "FACEBLURD_DETECTION__MERGE",
        "FACEBLURD_HOOKS__TIMEOUT_SECONDS",
        "FACEBLURD_HOOKS__MAX_ATTEMPTS",
    }
    assert set(variable_names()) == expected | others


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "/home/me/.local/state/faceblurd"),
        ({"XDG_STATE_HOME": "/x"}, "/x/faceblurd"),
        ({"XDG_STATE_HOME": "/x", "STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a"),
        ({"STATE_DIRECTORY": "/var/lib/a", "FACEBLURD_STATE_DIR": "/mine"}, "/mine"),
        ({"STATE_DIRECTORY": "", "XDG_STATE_HOME": ""}, "/home/me/.local/state/faceblurd"),
    ],
)
def test_state_lives_where_systemd_or_the_user_says(environ: dict[str, str], expected: str) -> None:
    assert default_state_dir(environ, Path("/home/me")) == Path(expected)


def test_the_first_problem_carries_the_others() -> None:
    first, second = ConfigError("a", file="f"), ConfigError("b", file="f")
    assert ConfigError.first_of([first, second]).others == (second,)


def test_importing_the_config_loads_neither_yaml_nor_pixels() -> None:
    script = "import sys, faceblurd.config; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"ruamel", "ruamel.yaml", "cv2", "numpy", "PIL", "tensorflow"} & set(done.stdout.split())


def test_the_defaults_without_a_config_are_those_of_an_empty_config() -> None:
    for plain, checked in ((Workers(), WorkersConfig()), (Hooks(), HooksConfig())):
        assert {field.name: getattr(plain, field.name) for field in fields(plain)} == checked.model_dump()
