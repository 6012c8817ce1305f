"""config.example.yaml cannot drift from the models: it names every option, at its real default."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic_core import PydanticUndefined

from faceblurd.config.loading import load_config
from faceblurd.config.recipe_sections import BlurConfig, HaarConfig, NetworksConfig
from faceblurd.config.recipes import builtin_recipe
from faceblurd.config.schema import (
    Config,
    HooksConfig,
    LoggingConfig,
    RootConfig,
    WorkersConfig,
    keys_by_section,
)
from faceblurd.config.source import read_source
from faceblurd.config.values import Surroundings

if TYPE_CHECKING:
    from pydantic import BaseModel

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "config.example.yaml"
OPTION_OFF = re.compile(r"^( *)#(?=\S|  )", re.MULTILINE)  # `#key: value`; prose has exactly one space after its `#`
FROM_RECIPE = {"detection", "blur"}
OF_ITS_OWN = {"regions"}  # a section


@pytest.fixture
def everything_on(tmp_path: Path) -> Path:
    path = tmp_path / "all.yaml"
    path.write_text(OPTION_OFF.sub(r"\1", EXAMPLE.read_text()))
    return path


def plain(value: Any) -> Any:
    return tuple(plain(item) for item in value) if isinstance(value, list | tuple) else value


def default_of(model: type[BaseModel], key: str) -> Any:
    field = model.model_fields[key]
    assert field.default is not PydanticUndefined, f"{key} has no default"
    return plain(field.default)


def test_the_example_is_valid_as_shipped_and_at_its_defaults() -> None:
    config = load_config(EXAMPLE, environ={})
    needed = {"state_dir": config.state_dir, "roots": [config.roots[0].model_dump(include={"path", "mode", "to"})]}
    assert config == Config.model_validate(needed, context=Surroundings(base=REPOSITORY, home=None))


def test_the_example_is_valid_with_every_option_on(everything_on: Path) -> None:
    config = load_config(everything_on, environ={})
    assert config.recipe_for(config.roots[0]) == builtin_recipe("balanced")
    assert len(config.roots) == 2


def test_the_example_names_every_option_there_is(everything_on: Path) -> None:
    named: dict[str, set[str]] = {}
    collect(read_source(everything_on).values, "", named)
    haar = "roots.detection.detectors.haar"
    shared = {
        "roots.blur",
        "roots.detection",
        "roots.detection.detectors.networks",
        "detection.detectors.haar",
    }  # shown once, said so there
    shared |= {"roots.regions.always", "roots.regions.never"}
    for section, keys in keys_by_section().items():
        if section not in shared:
            assert named[section] == keys, section
    assert haar in named


def collect(value: Any, section: str, named: dict[str, set[str]]) -> None:
    if isinstance(value, tuple):
        for item in value:
            kind = f".{item['kind']}" if isinstance(item, dict) and "kind" in item else ""
            collect(item, section + kind, named)
    if isinstance(value, dict):
        named.setdefault(section, set()).update(value)
        for key, below in value.items():
            collect(below, f"{section}.{key}".removeprefix("."), named)


@pytest.mark.parametrize(
    ("section", "model"), [("workers", WorkersConfig), ("logging", LoggingConfig), ("hooks", HooksConfig)]
)
def test_the_example_shows_the_real_defaults_of_a_section(
    everything_on: Path, section: str, model: type[BaseModel]
) -> None:
    shown = read_source(everything_on).values[section]
    assert shown == {key: default_of(model, key) for key in model.model_fields}


def test_the_example_shows_the_real_defaults_of_a_root(everything_on: Path) -> None:
    shown = read_source(everything_on).values["roots"][0]
    optional = RootConfig.model_fields.keys() - {"path", "mode", "to", "recipe"} - FROM_RECIPE - OF_ITS_OWN
    assert {key: shown[key] for key in optional} == {key: default_of(RootConfig, key) for key in optional}
    assert shown["recipe"] == Config.model_fields["recipe"].default


def test_the_example_shows_what_the_default_recipe_does(everything_on: Path) -> None:
    values = read_source(everything_on).values
    balanced = builtin_recipe(values["recipe"])
    assert values["recipe"] == Config.model_fields["recipe"].default
    assert BlurConfig(**values["blur"]).given() == asdict(balanced.blur)
    assert values["detection"]["working_size_px"] == balanced.detection.working_size_px
    for key in ("sensitivity", "turned", "merge"):
        assert values["detection"][key] == getattr(balanced.detection, key)
    assert values["detection"]["detectors"] == tuple(asdict(spec) for spec in balanced.detection.detectors)


def test_the_example_shows_the_real_defaults_of_each_detector(everything_on: Path) -> None:
    values = read_source(everything_on).values
    (haar,), (networks,) = values["roots"][1]["detection"]["detectors"], values["detection"]["detectors"]
    for shown, model in ((haar, HaarConfig), (networks, NetworksConfig)):
        assert shown == {"kind": shown["kind"]} | {
            key: default_of(model, key) for key in model.model_fields if key != "kind"
        }


def test_every_yaml_block_of_the_documentation_is_a_valid_config(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "docs" / "config.md").read_text(), re.DOTALL)
    for block in blocks:
        (tmp_path / "block.yaml").write_text(block)
        assert load_config(tmp_path / "block.yaml", environ={}).roots
    assert blocks
