"""The recipes that come with faceblurd, how a config changes them, and what is too weak to be promised.

Pure: no pydantic, no files. Overrides arrive as mappings that hold only the fields which somebody wrote.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from faceblurd.config.problems import Problem
from faceblurd.errors import UsageError
from faceblurd.model import BlurMethod, BlurSpec, DetectionSpec, HaarSpec, NetworksSpec, Recipe, Shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from faceblurd.config.problems import Loc
    from faceblurd.config.schema import Settings

DEFAULT_RECIPE: Final = "balanced"

BLURS: Final[Mapping[BlurMethod, BlurSpec]] = {
    # With 12 levels or more, the shades told more of the person than grey does (docs/anonymity.md).
    BlurMethod.SOFT: BlurSpec(method=BlurMethod.SOFT, levels=8, margin=0.28, shape=Shape.ELLIPSE),
    BlurMethod.AVERAGE_POOL: BlurSpec(method=BlurMethod.AVERAGE_POOL),
    BlurMethod.MOSAIC: BlurSpec(method=BlurMethod.MOSAIC),
    BlurMethod.SOLID: BlurSpec(method=BlurMethod.SOLID),
}
"""What each method does by default: a config that names another one than its recipe starts from here."""

BUILTIN_RECIPES: Final[Mapping[str, Recipe]] = {
    # The reference method exactly: full-size grayscale, Haar (1.1, 4), a fixed 20 pixel window, no margin.
    "classic": Recipe(
        name="classic",
        detection=DetectionSpec(detectors=(HaarSpec(),), working_size_px=None, turned=False, merge=False),
        blur=BlurSpec(pool_size_px=20, pool_face_fraction=0.0, stride_px=1, levels=None, margin=0.0, allow_weak=True),
    ),
    # For weak machines: YuNet sees large photos at a third of their size, and names only what it is rather sure of.
    "fast": Recipe(
        name="fast",
        detection=DetectionSpec(
            detectors=(NetworksSpec(first_look_scale=0.36, named=0.2, enlarged=False),), turned=False
        ),
        blur=BLURS[BlurMethod.SOFT],
    ),
    # YuNet names places at nearly half the photo's size, CenterFace decides there at the photo's own resolution.
    "balanced": Recipe(
        name="balanced",
        detection=DetectionSpec(detectors=(NetworksSpec(),)),
        blur=BLURS[BlurMethod.SOFT],
    ),
    # The same at 0.72 of the photo's size, and with more places.
    "thorough": Recipe(
        name="thorough",
        detection=DetectionSpec(detectors=(NetworksSpec(first_look_scale=0.72, named=0.1),)),
        blur=BLURS[BlurMethod.SOFT],
    ),
}
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


def builtin_recipe(name: str) -> Recipe:
    """Return the recipe called `name`; UsageError lists the names when there is none."""
    try:
        return BUILTIN_RECIPES[name]
    except KeyError:
        known = ", ".join(sorted(BUILTIN_RECIPES))
        raise UsageError(f"there is no recipe {name!r}", remedy=f"The recipes are: {known}.") from None


def combine(
    base: Recipe, *, detection: Iterable[Mapping[str, Any]] = (), blur: Iterable[Mapping[str, Any]] = ()
) -> Recipe:
    """Lay overrides over `base`, the later over the earlier; a `+` in the name says that something changed.

    Another method than the recipe's starts from its own defaults: what suits one does not suit another.
    """
    written = _merged(blur)
    method = written.get("method", base.blur.method)
    start = base.blur if method is base.blur.method else BLURS[method]
    changed = replace(base, detection=replace(base.detection, **_merged(detection)), blur=replace(start, **written))
    return changed if changed.digest == base.digest else replace(changed, name=f"{base.name}+")


def _merged(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= layer
    return merged


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
