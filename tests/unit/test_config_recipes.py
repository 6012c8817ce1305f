"""What decides the pixels: built-in recipes, and how a config's layers change them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faceblurd.config.recipe_sections import BlurConfig
from faceblurd.config.recipes import BLURS, BUILTIN_RECIPES, builtin_recipe
from faceblurd.config.schema import Config
from faceblurd.config.values import Surroundings
from faceblurd.errors import UsageError
from faceblurd.model import BlurMethod, BlurSpec, Engine, HaarSpec, NetworksSpec, Recipe, Shape


def config_with(*, root: dict[str, Any] | None = None, **top: Any) -> Config:
    values = {"state_dir": "/state", "roots": [{"path": "/in", "mode": "mirror", "to": "/out", **(root or {})}], **top}
    return Config.model_validate(values, context=Surroundings(base=Path("/etc"), home="/home/me"))


def recipe_with(*, root: dict[str, Any] | None = None, **top: Any) -> Recipe:
    config = config_with(root=root, **top)
    return config.recipe_for(config.roots[0])


def test_classic_is_the_reference_method() -> None:
    classic = builtin_recipe("classic")
    assert classic.detection.detectors == (HaarSpec("haarcascade_frontalface_default.xml", 1.1, 4, 0, 0),)
    assert classic.detection.working_size_px is None
    plain = BlurSpec(pool_size_px=20, pool_face_fraction=0.0, stride_px=1, levels=None, margin=0.0, allow_weak=True)
    assert classic.blur == plain


def test_balanced_searches_the_whole_photo_with_both_networks() -> None:
    balanced = builtin_recipe("balanced")
    assert balanced.detection.detectors == (NetworksSpec(),)
    assert balanced.blur == BLURS[BlurMethod.SOFT]


def test_an_unknown_recipe_is_a_usage_error_that_lists_the_names() -> None:
    with pytest.raises(UsageError) as caught:
        builtin_recipe("fancy")
    assert all(name in caught.value.remedy for name in BUILTIN_RECIPES)


def test_a_config_that_overrides_nothing_gives_the_built_in_recipe() -> None:
    assert recipe_with() == builtin_recipe("balanced")


def test_a_root_may_choose_its_own_recipe() -> None:
    assert recipe_with(recipe="balanced", root={"recipe": "classic"}) == builtin_recipe("classic")


def test_the_root_wins_over_the_top_which_wins_over_the_recipe_key_by_key() -> None:
    blur = recipe_with(blur={"pool_size_px": 30, "margin": 0.5}, root={"blur": {"margin": 0.0}}).blur
    assert (blur.pool_size_px, blur.margin, blur.levels) == (30, 0.0, 8)


def test_an_override_marks_the_name_and_changes_the_digest() -> None:
    changed = recipe_with(root={"blur": {"shape": "box", "engine": "tensorflow"}})
    assert (changed.name, changed.blur.shape, changed.blur.engine) == ("balanced+", Shape.BOX, Engine.TENSORFLOW)
    assert changed.digest != builtin_recipe("balanced").digest


def test_an_override_that_repeats_the_recipe_changes_nothing() -> None:
    assert recipe_with(blur={"pool_size_px": 20}, detection={"working_size_px": 1920}) == builtin_recipe("balanced")


def test_null_means_as_the_recipe() -> None:
    assert recipe_with(blur=dict.fromkeys(BlurConfig.model_fields)) == builtin_recipe("balanced")


def test_words_stand_for_the_window_and_for_all_levels() -> None:
    blur = recipe_with(blur={"stride_px": 4, "levels": 9}, root={"blur": {"stride_px": "window", "levels": "all"}}).blur
    assert (blur.stride_px, blur.levels) == (None, None)


def test_the_leave_to_be_weak_is_no_reason_to_look_at_every_photo_again() -> None:
    assert recipe_with(blur={"allow_weak": True}).digest == builtin_recipe("balanced").digest


def test_full_means_that_the_whole_picture_is_searched() -> None:
    assert recipe_with(detection={"working_size_px": "full"}).detection.working_size_px is None


def test_a_list_of_detectors_replaces_the_recipes_and_keeps_its_order() -> None:
    listed = [{"kind": "haar", "min_neighbors": 3}, {"kind": "networks", "named": 0.3, "enlarged": False}]
    detectors = recipe_with(detection={"detectors": listed}).detection.detectors
    assert detectors == (HaarSpec(min_neighbors=3), NetworksSpec(named=0.3, enlarged=False))


def test_plugins_and_the_largest_picture_are_part_of_what_decides_the_pixels() -> None:
    recipe = recipe_with(hooks={"plugins": ["heads"]}, workers={"max_megapixels": 50})
    assert (recipe.plugins, recipe.max_pixels, recipe.name) == (("heads",), 50_000_000, "balanced")
    assert recipe.digest != builtin_recipe("balanced").digest
