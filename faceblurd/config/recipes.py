"""The recipes that come with faceblurd, and how a config's overrides change them.

Pure: no pydantic, no files. Overrides arrive as mappings that hold only the fields which somebody wrote.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from faceblurd.errors import UsageError
from faceblurd.model import BlurMethod, BlurSpec, DetectionSpec, HaarSpec, NetworksSpec, Recipe, Shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
