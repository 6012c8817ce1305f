"""The sections `detection` and `blur`: what a config changes in a recipe.

Every field may be left out, which means 'as the recipe says'; only what was written counts (`given`).
No `from __future__ import annotations` in the modules with models: pydantic needs the types when the class is made.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, StrictBool, model_validator

from faceblurd.config.values import NOT_EMPTY, Number, Pixels, Whole, Word, file_or_name, refusal, whole_or
from faceblurd.model import (
    BlurMethod,
    DetectorKind,
    Engine,
    HaarSpec,
    NetworksSpec,
    Sensitivity,
    Shape,
    Zone,
    Zones,
)

_HAAR = HaarSpec()
_NETWORKS = NetworksSpec()
_ROUNDING = 1e-9


class Section(BaseModel):
    """The rules for every part of a config: no unknown keys, nothing changes later."""

    # built at the first validation: 60 ms that `--help` and one-off commands do not pay
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class _DetectorConfig(Section):
    """What both kinds share: the smallest and the largest face, in pixels of the searched picture."""

    min_size_px: Pixels = 0
    max_size_px: Pixels = 0

    @model_validator(mode="after")
    def _sizes_in_order(self) -> Self:
        if 0 < self.max_size_px < self.min_size_px:
            raise refusal(
                f"is below min_size_px {self.min_size_px}, so no face would ever be found",
                "Write 0 for no bound, or more than min_size_px.",
                below=("max_size_px",),
                value=self.max_size_px,
            )
        return self


class HaarConfig(_DetectorConfig):
    """OpenCV's cascade classifier. `cascade`: a name that OpenCV ships, or a path (anything with a `/`)."""

    kind: Literal[DetectorKind.HAAR]
    cascade: Annotated[Word, BeforeValidator(file_or_name)] = _HAAR.cascade
    scale_factor: Annotated[Number, Field(gt=1, le=4)] = _HAAR.scale_factor
    min_neighbors: Annotated[Whole, Field(ge=0, le=1000)] = _HAAR.min_neighbors
    mirrored: bool = _HAAR.mirrored

    def spec(self) -> HaarSpec:
        """Return the same as the detector takes it."""
        return HaarSpec(**self.model_dump())


class NetworksConfig(_DetectorConfig):
    """YuNet and CenterFace, which share the search of the whole photo; sizes in pixels of the photo."""

    kind: Literal[DetectorKind.NETWORKS]
    first_look_scale: Annotated[Number, Field(ge=0.2, le=2)] = _NETWORKS.first_look_scale
    first_look_megapixels: Annotated[Number, Field(ge=0.1, le=100)] = _NETWORKS.first_look_megapixels
    named: Annotated[Number, Field(ge=0.05, lt=1)] = _NETWORKS.named
    enlarged: StrictBool = _NETWORKS.enlarged

    def spec(self) -> NetworksSpec:
        """Return the same as the detector takes it."""
        return NetworksSpec(**self.model_dump())


Detector = Annotated[HaarConfig | NetworksConfig, Field(discriminator="kind")]
WorkingSize = Annotated[int | Literal["full"], PlainValidator(whole_or("full", at_least=64, at_most=65535))]


class DetectionConfig(Section):
    """How faces are looked for, where it differs from the recipe. A list of detectors replaces the recipe's list."""

    detectors: Annotated[tuple[Detector, ...], NOT_EMPTY] | None = None
    working_size_px: WorkingSize | None = None
    sensitivity: Sensitivity | None = None
    turned: bool | None = None
    merge: bool | None = None

    def given(self) -> dict[str, Any]:
        """Return the fields of `model.DetectionSpec` that were written."""
        fields: dict[str, Any] = {}
        if self.detectors is not None:
            fields["detectors"] = tuple(detector.spec() for detector in self.detectors)
        if self.working_size_px is not None:
            fields["working_size_px"] = None if self.working_size_px == "full" else self.working_size_px
        simple = {name: getattr(self, name) for name in ("sensitivity", "turned", "merge")}
        return fields | {name: value for name, value in simple.items() if value is not None}


_Fraction = Annotated[Number, Field(ge=0, le=1)]


class ZoneConfig(Section):
    """A rectangle in fractions of the upright picture."""

    x: _Fraction
    y: _Fraction
    width: Annotated[Number, Field(gt=0, le=1)]
    height: Annotated[Number, Field(gt=0, le=1)]

    @model_validator(mode="after")
    def _inside_the_picture(self) -> Self:
        for key, end in (("width", self.x + self.width), ("height", self.y + self.height)):
            if end > 1 + _ROUNDING:
                raise refusal(
                    "reaches beyond the picture",
                    "Fractions of the picture: x + width and y + height are 1 at most.",
                    below=(key,),
                    value=getattr(self, key),
                )
        return self

    def zone(self) -> Zone:
        """Return the same as a recipe takes it."""
        return Zone(**self.model_dump())


class ZonesConfig(Section):
    """For a fixed camera: what is hidden in every photo, and where finds do not count."""

    always: tuple[ZoneConfig, ...] = ()
    never: tuple[ZoneConfig, ...] = ()

    def zones(self) -> Zones:
        """Return the same as a recipe takes it."""
        return Zones(tuple(one.zone() for one in self.always), tuple(one.zone() for one in self.never))


Stride = Annotated[int | Literal["window"], PlainValidator(whole_or("window", at_least=1, at_most=4096))]
Levels = Annotated[int | Literal["all"], PlainValidator(whole_or("all", at_least=2, at_most=256))]


class BlurConfig(Section):
    """How a region is hidden, where it differs from the recipe."""

    method: BlurMethod | None = None
    engine: Engine | None = None
    # a window of one pixel hides nothing
    pool_size_px: Annotated[Whole, Field(ge=2, le=4096)] | None = None
    pool_face_fraction: Annotated[Number, Field(ge=0, le=1)] | None = None
    stride_px: Stride | None = None
    levels: Levels | None = None
    margin: Annotated[Number, Field(ge=0, le=2)] | None = None
    shape: Shape | None = None
    allow_weak: StrictBool | None = None

    def given(self) -> dict[str, Any]:
        """Return the fields of `model.BlurSpec` that were written; null means 'as the recipe'."""
        written = {name: value for name, value in self.model_dump().items() if value is not None}
        words = {"stride_px": "window", "levels": "all"}  # where the model has None
        return {name: None if words.get(name) == value else value for name, value in written.items()}
