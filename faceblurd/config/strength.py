"""Which ways to hide a face are too weak to be promised, and the figures that say so.

Pure. The figures come from docs/anonymity.md; a test looks each of them up there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faceblurd.config.problems import Problem
from faceblurd.config.recipes import builtin_recipe, combine
from faceblurd.model import BlurMethod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faceblurd.config.problems import Loc
    from faceblurd.config.schema import Settings
    from faceblurd.model import BlurSpec

LEAST_FRACTION: Final = {BlurMethod.AVERAGE_POOL: 0.5, BlurMethod.MOSAIC: 0.33}
MOST_LEVELS: Final = 16
LEAST_MARGIN: Final = 0.1
LEAST_SOFT_MARGIN: Final = 0.2

STRIDE: Final = (
    "with steps of one pixel and all levels, 92 % of the faces were recognised after the pool was inverted; with 8 "
    "levels, the cascade still found 2 %"
)
FINE_WINDOW: Final = (
    "at 0.33, YuNet still found 4 % of the faces, and behind a fixed window of 20 px 77 % were recognised"
)
FINE_MOSAIC: Final = (
    "with 7 cells, the cascade still found 7 % of the faces, and 8 % were recognised after the pool was inverted"
)
LEVELS: Final = "with all levels, YuNet still found 1 % of the faces"
MARGIN: Final = "without a margin, 8 % of the faces were recognised after the pool was inverted, instead of 3 %"

SOFT_MARGIN: Final = "with a margin of 0.1, 2 % of a face that is tilted by 45 degrees lie where the ellipse fades"


def weak_settings(config: Settings) -> Iterator[Problem]:
    """Refuse every key that makes a blur weak, unless recipe or config allow that: for all roots, then for each."""
    top = _found(("blur",), combine(builtin_recipe(config.recipe), blur=(config.blur.given(),)).blur)
    yield from top
    known = {(problem.loc[-1], problem.value) for problem in top}
    for at, root in enumerate(config.all_roots()):
        layers = (config.blur.given(), root.blur.given())
        blur = combine(builtin_recipe(root.recipe or config.recipe), blur=layers).blur
        own = _found(("roots", at, "blur"), blur)
        yield from (problem for problem in own if (problem.loc[-1], problem.value) not in known)


def _found(section: Loc, blur: BlurSpec) -> list[Problem]:
    leave = " Or write `allow_weak: true` beside it, if that is what you want (docs/anonymity.md)."
    return [
        Problem((*section, key), f"hides too little: {figure}", getattr(blur, key), remedy + leave)
        for key, figure, remedy in (() if blur.allow_weak else _weaknesses(blur))
    ]


def _weaknesses(blur: BlurSpec) -> Iterator[tuple[str, str, str]]:
    """Name each key that is to blame, with what was measured and the remedy."""
    soft = blur.method is BlurMethod.SOFT
    if blur.margin < (least_margin := LEAST_SOFT_MARGIN if soft else LEAST_MARGIN):
        yield "margin", SOFT_MARGIN if soft else MARGIN, f"Write {least_margin} or more."
    if blur.method is BlurMethod.SOLID:
        return
    if blur.pool_face_fraction < (least := LEAST_FRACTION.get(blur.method, 0.0)):
        yield "pool_face_fraction", _window(blur), f"Write {least} or more."
    if blur.method is BlurMethod.AVERAGE_POOL and blur.stride_px is not None:
        yield "stride_px", STRIDE, "Write window."
    if blur.levels is None or blur.levels > MOST_LEVELS:
        yield "levels", LEVELS, f"Write {MOST_LEVELS} or less."


def _window(blur: BlurSpec) -> str:
    return FINE_MOSAIC if blur.method is BlurMethod.MOSAIC else FINE_WINDOW
