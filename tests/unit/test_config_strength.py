"""Settings that hide too little are refused, with the figure, unless somebody takes them on himself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faceblurd.config.problems import Problem, key_path
from faceblurd.config.recipes import BUILTIN_RECIPES, weak_settings
from faceblurd.config.schema import Config
from faceblurd.config.values import Surroundings

WEAK: dict[str, dict[str, Any]] = {
    "pool_face_fraction": {"method": "average_pool", "pool_face_fraction": 0.49},
    "levels": {"levels": "all"},
    "stride_px": {"method": "average_pool", "stride_px": 1},
    "margin": {"margin": 0.0},
}


def problems(*, root: dict[str, Any] | None = None, **top: Any) -> list[Problem]:
    values = {"state_dir": "/state", "roots": [{"path": "/in", "mode": "in_place", **(root or {})}], **top}
    config = Config.model_validate(values, context=Surroundings(base=Path("/etc"), home="/home/me"))
    return list(weak_settings(config))


@pytest.mark.parametrize("key", WEAK)
def test_a_weak_setting_is_refused_where_it_stands(key: str) -> None:
    (top,) = problems(blur=WEAK[key])
    assert key_path(top.loc) == f"blur.{key}"
    (below,) = problems(root={"blur": WEAK[key]})
    assert key_path(below.loc) == f"roots[0].blur.{key}"


@pytest.mark.parametrize("key", WEAK)
def test_a_refusal_says_the_figure_and_it_stands_in_the_documentation(key: str) -> None:
    (problem,) = problems(blur=WEAK[key])
    documented = " ".join((Path(__file__).parents[2] / "docs" / "anonymity.md").read_text().split())
    assert problem.message.removeprefix("hides too little: ") in documented
    assert " %" in problem.message
    assert "allow_weak: true" in problem.remedy


@pytest.mark.parametrize("key", WEAK)
@pytest.mark.parametrize("place", ["top", "root"])
def test_what_was_allowed_is_not_refused(key: str, place: str) -> None:
    blur = {"blur": {**WEAK[key], "allow_weak": True}}
    assert problems(root=blur) == [] if place == "root" else problems(**blur) == []


@pytest.mark.parametrize("recipe", BUILTIN_RECIPES)
def test_every_recipe_that_comes_with_faceblurd_is_accepted_and_only_classic_has_leave_to_be_weak(recipe: str) -> None:
    assert problems(recipe=recipe) == []
    assert BUILTIN_RECIPES[recipe].blur.allow_weak == (recipe == "classic")


@pytest.mark.parametrize(("method", "least"), [("soft", 0.2), ("average_pool", 0.1), ("mosaic", 0.1), ("solid", 0.1)])
def test_the_least_margin_is_that_of_the_method(method: str, least: float) -> None:
    assert problems(blur={"method": method, "margin": least}) == []
    (problem,) = problems(blur={"method": method, "margin": least - 0.01})
    assert f"Write {least} or more." in problem.remedy


def test_a_leave_for_one_root_is_none_for_the_others() -> None:
    assert [p.loc for p in problems(root={"blur": {"allow_weak": True}}, blur={"margin": 0.0})] == [("blur", "margin")]


def test_taking_the_leave_from_classic_names_all_that_is_weak_in_it() -> None:
    found = problems(recipe="classic", blur={"allow_weak": False})
    assert {problem.loc[-1] for problem in found} == set(WEAK)


UNUSED: dict[str, dict[str, Any]] = {
    "mosaic": {"stride_px": 1},
    "soft": {"stride_px": 1, "pool_face_fraction": 0.1},
    "solid": {"stride_px": 1, "levels": "all", "pool_face_fraction": 0.1},
}


@pytest.mark.parametrize("method", UNUSED)
def test_only_what_the_method_uses_is_judged(method: str) -> None:
    assert problems(blur={"method": method, **UNUSED[method]}) == []
    assert [p.loc[-1] for p in problems(blur={"method": method, "margin": 0.0})] == ["margin"]


def test_stronger_settings_than_the_default_are_accepted() -> None:
    assert problems(blur={"pool_face_fraction": 1.0, "levels": 2, "margin": 0.5, "pool_size_px": 200}) == []
