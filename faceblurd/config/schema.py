"""The config as types: every key, its bounds and its default. Knows nothing of files and lines.

What one model can see is checked in it; what needs the disk is in `checks`.
"""

import hashlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, Field, PlainValidator, StrictBool, ValidationInfo, field_validator, model_validator

from faceblurd.config.defaults import IMAGE_GLOBS, Hooks, Workers, cores
from faceblurd.config.recipe_sections import (
    BlurConfig,
    DetectionConfig,
    Section,
    ZonesConfig,
)
from faceblurd.config.recipes import DEFAULT_RECIPE, builtin_recipe, combine
from faceblurd.config.values import (
    EMPTY_IS_DEFAULT,
    NOT_EMPTY,
    AbsolutePath,
    Glob,
    Number,
    RecipeName,
    Seconds,
    Whole,
    Word,
    file_or_name,
    refusal,
    whole_or,
)
from faceblurd.errors import SetupError
from faceblurd.model import (
    HaarSpec,
    MetadataPolicy,
    MetadataSpec,
    Mode,
    Recipe,
    Verify,
    Watch,
)
from faceblurd.rules.filter import Selection

_WORKERS, _HOOKS = Workers(), Hooks()


class OnFailure(StrEnum):
    """What becomes of a source that could not be made safe."""

    LEAVE = "leave"
    HOLD = "hold"


class HardLinks(StrEnum):
    """What becomes of a file that has other names."""

    HOLD = "hold"
    PROCESS = "process"


class Mtime(StrEnum):
    """Which time a result carries: auto is keep in a mirror, and two seconds more in place."""

    AUTO = "auto"
    KEEP = "keep"
    NOW = "now"


class Existing(StrEnum):
    """What becomes of a file in the mirror that faceblurd did not put there."""

    HOLD = "hold"
    REPLACE = "replace"


class Deletions(StrEnum):
    """What becomes of a result in the mirror whose original is gone."""

    KEEP = "keep"
    FOLLOW = "follow"


class HiddenFolders(StrEnum):
    """What becomes of folders with a dot in front: auto leaves them alone in a mirror, and looks into them in place."""

    AUTO = "auto"
    LEAVE = "leave"
    LOOK = "look"


class Access(StrEnum):
    """Who may read a result in the mirror: what the folder there gives, limited by the original or not."""

    LIMITED = "limited"
    FOLDER = "folder"


class Unsupported(StrEnum):
    """What becomes of files that are pictures, or none, but cannot be blurred."""

    HOLD = "hold"
    IGNORE = "ignore"


class LogFormat(StrEnum):
    """How log lines look: auto is console on a terminal, else json."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The least important lines that are still written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class RootConfig(Section):
    """One watched folder."""

    path: AbsolutePath
    mode: Mode
    to: AbsolutePath | None = None
    include: Annotated[tuple[Glob, ...], NOT_EMPTY] = IMAGE_GLOBS
    exclude: tuple[Glob, ...] = ()
    hidden_folders: HiddenFolders = HiddenFolders.AUTO
    quiet_seconds: Annotated[Number, Field(ge=0, le=3600)] = 2.0
    settle_max_seconds: Seconds = 600.0
    watch: Watch = Watch.AUTO
    rescan_seconds: Seconds = 300.0
    on_failure: OnFailure = OnFailure.LEAVE
    hard_links: HardLinks = HardLinks.HOLD
    mtime: Mtime = Mtime.AUTO
    existing: Existing = Existing.HOLD
    deletions: Deletions = Deletions.KEEP
    access: Access = Access.LIMITED
    unsupported: Unsupported = Unsupported.HOLD
    metadata: MetadataPolicy = MetadataPolicy.KEEP
    keep_names: StrictBool = False
    verify: Verify = Verify.FULL
    recipe: RecipeName | None = None
    detection: Annotated[DetectionConfig, EMPTY_IS_DEFAULT] = Field(default_factory=DetectionConfig)
    blur: Annotated[BlurConfig, EMPTY_IS_DEFAULT] = Field(default_factory=BlurConfig)
    regions: Annotated[ZonesConfig, EMPTY_IS_DEFAULT] = Field(default_factory=ZonesConfig)

    def selection(self) -> Selection:
        """Return which of its paths are candidates. A list of names that somebody chose is not added to."""
        in_place = self.mode is Mode.IN_PLACE
        looks = self.hidden_folders is HiddenFolders.LOOK or (self.hidden_folders is HiddenFolders.AUTO and in_place)
        by_content = self.include == IMAGE_GLOBS
        return Selection(self.include, self.exclude, hidden=looks, by_content=by_content, in_place=in_place)

    @model_validator(mode="after")
    def _output_fits_mode(self) -> Self:
        if self.mode is Mode.MIRROR and self.to is None:
            raise refusal("is missing", "A mirror needs `to:`, the folder for results.", below=("to",), value=None)
        if self.mode is Mode.IN_PLACE and self.to is not None:
            raise refusal(
                "has no meaning in place", "Remove it, or write `mode: mirror`.", below=("to",), value=str(self.to)
            )
        return self

    @model_validator(mode="after")
    def _deletions_need_a_mirror(self) -> Self:
        if self.mode is Mode.IN_PLACE and self.deletions is Deletions.FOLLOW:
            raise refusal(
                "has no meaning in place: the result goes with the photo", "Remove it, or write `mode: mirror`.",
                below=("deletions",), value=self.deletions.value,
            )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _access_is_for_a_mirror(self) -> Self:
        if self.mode is Mode.IN_PLACE and self.access is Access.FOLDER:
            raise refusal(
                "has no meaning in place: the result is as open as the photo", "Remove it, or write `mode: mirror`.",
                below=("access",), value=self.access.value,
            )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _settles_after_quiet(self) -> Self:
        if self.settle_max_seconds <= self.quiet_seconds:
            raise refusal(
                f"must be more than quiet_seconds {self.quiet_seconds}, or no file ever settles",
                "Raise it, or lower quiet_seconds.",
                below=("settle_max_seconds",),
                value=self.settle_max_seconds,
            )
        return self


class WorkersConfig(Section):
    """The processes that do the work, and what one file may cost."""

    count: Annotated[int | Literal["auto"], PlainValidator(whole_or("auto", at_least=1, at_most=256))] = _WORKERS.count
    deadline_seconds: Seconds = _WORKERS.deadline_seconds
    memory_limit_mb: Annotated[Whole, Field(ge=512, le=1_000_000)] = _WORKERS.memory_limit_mb
    recycle_after_files: Annotated[Whole, Field(ge=1)] = _WORKERS.recycle_after_files
    idle_seconds: Seconds = _WORKERS.idle_seconds
    max_attempts: Annotated[Whole, Field(ge=1, le=100)] = _WORKERS.max_attempts
    retry_seconds: Seconds = _WORKERS.retry_seconds
    stop_seconds: Annotated[Number, Field(ge=0, le=3600)] = _WORKERS.stop_seconds
    max_file_mb: Annotated[Whole, Field(ge=1, le=100_000)] = _WORKERS.max_file_mb
    max_megapixels: Annotated[Whole, Field(ge=1, le=10_000)] = _WORKERS.max_megapixels
    sandbox: Literal["auto", "off"] = _WORKERS.sandbox

    def process_count(self) -> int:
        """Return how many workers may run: for `auto`, the cores that this process may use."""
        return cores() if isinstance(self.count, str) else self.count


class LoggingConfig(Section):
    """Log lines, on stderr."""

    format: LogFormat = LogFormat.AUTO
    level: LogLevel = LogLevel.INFO


class HooksConfig(Section):
    """Plugins by name, and a command that runs after every file."""

    plugins: tuple[Word, ...] = ()
    command: tuple[Word, ...] = ()
    timeout_seconds: Seconds = _HOOKS.timeout_seconds
    max_attempts: Annotated[Whole, Field(ge=1, le=100)] = _HOOKS.max_attempts

    @field_validator("command")
    @classmethod
    def _program_has_a_place(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """Take `./notify` from the config's folder, as every other path: the command itself runs in `/`."""
        return tuple(str(file_or_name(word, info)) if not at else word for at, word in enumerate(value))


class Settings(Section):
    """How to detect, blur and work: all that a single `faceblurd blur` takes from a configuration."""

    recipe: RecipeName = DEFAULT_RECIPE
    detection: Annotated[DetectionConfig, EMPTY_IS_DEFAULT] = Field(default_factory=DetectionConfig)
    blur: Annotated[BlurConfig, EMPTY_IS_DEFAULT] = Field(default_factory=BlurConfig)
    workers: Annotated[WorkersConfig, EMPTY_IS_DEFAULT] = Field(default_factory=WorkersConfig)
    logging: Annotated[LoggingConfig, EMPTY_IS_DEFAULT] = Field(default_factory=LoggingConfig)
    hooks: Annotated[HooksConfig, EMPTY_IS_DEFAULT] = Field(default_factory=HooksConfig)

    def all_roots(self) -> tuple[RootConfig, ...]:
        """Return the roots, which only a whole configuration has."""
        return ()

    def own_recipe(self) -> Recipe:
        """Return what decides the pixels where no root says otherwise; raises as `recipe_for` does."""
        return self.recipe_for(RootConfig.model_construct(path=Path("/"), mode=Mode.IN_PLACE))

    def recipe_for(self, root: RootConfig) -> Recipe:
        """Return what decides the pixels below `root`: its recipe, the global overrides, then its own.

        Reads the cascades that the config names as files (their digests are part of the recipe);
        SetupError when one of them cannot be read.
        """
        base = combine(
            builtin_recipe(root.recipe or self.recipe),
            detection=(self.detection.given(), root.detection.given()),
            blur=(self.blur.given(), root.blur.given()),
        )
        return Recipe(
            name=base.name,
            detection=base.detection,
            blur=base.blur,
            max_pixels=self.workers.max_megapixels * 1_000_000,
            plugins=self.hooks.plugins,
            zones=root.regions.zones(),
            metadata=MetadataSpec(root.metadata, root.keep_names),
            verify=root.verify,
            materials=tuple(_file_digest(path) for path in _named_files(base)),
        )


class Config(Settings):
    """A whole, valid configuration."""

    state_dir: AbsolutePath
    roots: Annotated[tuple[RootConfig, ...], NOT_EMPTY]

    def all_roots(self) -> tuple[RootConfig, ...]:
        """Return the roots."""
        return self.roots


def _named_files(recipe: Recipe) -> Iterator[Path]:
    for detector in recipe.detection.detectors:
        if isinstance(detector, HaarSpec) and "/" in detector.cascade:
            yield Path(detector.cascade)


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
    except OSError as error:
        remedy = "Put the file back, or name another."
        raise SetupError(f"cannot read {path}: {error.strerror}", remedy=remedy) from error


def keys_by_section(model: type[BaseModel] = Config, prefix: str = "") -> Mapping[str, frozenset[str]]:
    """Return the valid keys of every section, by its path without indices (`roots.detection.detectors.haar`)."""
    keys = {prefix: frozenset(model.model_fields)}
    for name, field in model.model_fields.items():
        for below in _models_in(field.annotation):
            kind = f".{get_args(below.model_fields['kind'].annotation)[0]}" if "kind" in below.model_fields else ""
            keys |= keys_by_section(below, f"{prefix}.{name}{kind}".removeprefix("."))
    return keys


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
