"""Whatever goes wrong in a redaction, in a file of any kind, is noticed; and nothing where nothing went wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
import sabotage
from sabotage import KINDS, PLACES_IN, WAYS

from faceblurd.config.recipes import builtin_recipe
from faceblurd.errors import ImageError
from faceblurd.imaging.files import open_image
from faceblurd.imaging.files.heif import heic
from faceblurd.imaging.second_look import SecondLook
from faceblurd.model import BlurMethod, Reason, Region, Shape
from faceblurd.plugins.host import PluginHost
from faceblurd.workers.toolbox import Toolbox

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import numpy.typing as npt

    from faceblurd.imaging.picture import Picture
    from faceblurd.model import Recipe
    from faceblurd.workers.toolbox import Made

BALANCED = builtin_recipe("balanced")
BLURS: Final = [
    BALANCED.blur,
    *(replace(BALANCED.blur, method=method, shape=shape) for method in BlurMethod for shape in Shape),
    builtin_recipe("classic").blur,
]
MANY = 200


class Pointer:
    """A detector that knows where the faces are."""

    name = "pointer"

    def __init__(self, regions: list[Region]) -> None:
        self._regions = regions

    def detect(self, bgr: npt.NDArray[Any]) -> list[Region]:
        by = bgr.shape[1] / sabotage.WIDTH
        return [
            replace(one, x=int(one.x * by), y=int(one.y * by), width=int(one.width * by), height=int(one.height * by))
            for one in self._regions
        ]


def recipe_of(seed: int) -> Recipe:
    return replace(BALANCED, blur=BLURS[seed % len(BLURS)])


def made(content: bytes, seed: int) -> Made | None:
    """Do with a photo what a worker does, but know its faces."""
    recipe = recipe_of(seed)
    plugins = PluginHost.load([], on_error=pytest.fail)
    toolbox = Toolbox({recipe.digest: [Pointer(sabotage.faces(seed))]}, {recipe.digest: SecondLook([])}, plugins)
    return toolbox.make(content, recipe, name="x", copy_when_clean=True)


def photo(kind: str, seed: int) -> tuple[bytes, Picture]:
    if kind.startswith("heic") and not heic.available():
        pytest.skip("pillow-heif is not installed")
    content = KINDS[kind](sabotage.photo(seed))
    return content, open_image(content, max_pixels=10**7)


def ways_to_fail(kind: str, picture: Picture) -> list[tuple[Any, str]]:
    """Everything that can be done wrong with a photo of this kind."""
    ways: list[tuple[Any, str]] = [(how, way) for how in (sabotage.wrong_regions, sabotage.wrong_paint) for way in WAYS]
    ways += [(sabotage.kept_preview, place) for place in PLACES_IN[picture.format]]
    if picture.thumbnails():
        ways += [(sabotage.kept_thumbnail, way) for way in ("the old thumbnail", "one of the old picture")]
    if kind == "tiff, reduced copy":
        ways.append((sabotage.kept_copy, "a copy"))
    return ways


def is_noticed(spoiled: AbstractContextManager[None], content: bytes, seed: int) -> bool:
    """Say whether a photo that came out well is held now: by the check, or by a format that cannot hold the colours."""
    with spoiled:
        try:
            made(content, seed)
        except ImageError as error:
            return error.reason in {Reason.NOT_VERIFIED, Reason.UNSUPPORTED}
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_sabotage_is_noticed_in_every_kind_of_file_and_nothing_else(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One way to spoil the regions for each kind, in turn; all of them for 200 photos below."""
    seed = list(KINDS).index(kind)
    content, picture = photo(kind, seed)
    assert made(content, seed) is not None
    skipped = {way for number, way in enumerate(WAYS) if number != seed % len(WAYS)}
    for how, way in ways_to_fail(kind, picture):
        if way in skipped:
            continue
        assert is_noticed(how(monkeypatch, picture, way), content, seed), (how.__name__, way)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(0, MANY, 10))
def test_every_sabotage_of_200_photos_is_noticed_and_nothing_else(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(1000 + number, 1010 + number):
        kind = list(KINDS)[seed % len(KINDS)]
        content, picture = photo(kind, seed)
        assert made(content, seed) is not None, (kind, seed)
        for how, way in ways_to_fail(kind, picture):
            assert is_noticed(how(monkeypatch, picture, way), content, seed), (kind, seed, how.__name__, way)
