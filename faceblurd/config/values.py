"""The types of single settings: paths, globs, numbers or a word, sections that may be left empty.

Each refusal carries its own remedy. Reads no files and no environment: what a path is relative to comes with the
validation context (`Surroundings`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from faceblurd.config.probes import Folder
from faceblurd.config.problems import nearest
from faceblurd.config.recipes import BUILTIN_RECIPES


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a path in the config is relative to. `home` None: `~` is a name like any other; empty: not known."""

    base: Path
    home: str | None


def refusal(message: str, remedy: str, **facts: Any) -> PydanticCustomError:  # noqa: ANN401 - a bag of facts
    """Build an error that brings its remedy; `below` names the key it is about, `value` what stands there."""
    # pydantic would take braces in the message for placeholders
    escaped = message.replace("{", "{{").replace("}", "}}")
    return PydanticCustomError("refused", escaped, {"remedy": remedy, **facts})


def _absolute(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str) or not value or "\0" in value:
        raise refusal("must be a path", "Write a path, absolute or relative to the config file.")
    around = info.context
    if not isinstance(around, Surroundings):
        raise TypeError("paths need Surroundings as validation context")
    path = around.base / _at_home(value, around.home)
    # `..` means something else behind a symlink, so only the file system can take it out
    return Folder.at(path).real if ".." in path.parts else path


def _at_home(value: str, home: str | None) -> str:
    if not value.startswith("~") or home is None:
        return value
    if value != "~" and not value.startswith("~/"):
        raise refusal("names another user's home", "Write the absolute path; only `~/` is understood.")
    if not home:
        raise refusal("needs HOME, which is not set", "Write the absolute path, or set HOME.")
    return home + value[1:]


def file_or_name(value: object, info: ValidationInfo) -> object:
    """Make what has a `/` an absolute path, and leave a bare name alone."""
    return str(_absolute(value, info)) if isinstance(value, str) and "/" in value else value


def file_path(value: object, info: ValidationInfo) -> object:
    """Make a path absolute, as text."""
    return str(_absolute(value, info)) if isinstance(value, str) else value


def whole_or(word: str, *, at_least: int, at_most: int) -> Callable[[object], int | str]:
    """Return a validator for a whole number within bounds, or one `word`."""

    def check(value: object) -> int | str:
        if value == word:
            return word
        if not isinstance(value, int) or isinstance(value, bool):
            raise refusal(f"must be a whole number or {word}", f"Write {word}, or a number without quotes.")
        if not at_least <= value <= at_most:
            bounds = f"{at_least} to {at_most}"
            raise refusal(f"must be {bounds}, or {word}", f"Write a number from {bounds}.")
        return value

    return check


def _relative_glob(value: str) -> str:
    if not value.strip("/ "):
        raise refusal("is an empty glob", "Write a glob such as `*.jpg` or `drafts/**`, or take the line out.")
    if value.startswith("/") or ".." in value.split("/"):
        raise refusal("is a glob outside the root", "Write it relative to the root, such as `drafts/**`.")
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise refusal("must not be empty", "Write a name, or take the line out.")
    return value


def _some(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise refusal("must not be empty", "Write at least one item.")
    return value


def _known_recipe(value: str) -> str:
    if value not in BUILTIN_RECIPES:
        raise refusal("is no recipe", nearest(value, BUILTIN_RECIPES))
    return value


def _section(value: object) -> object:
    """Take `workers:` with nothing below it for an empty section: someone turned off its last line."""
    return {} if value is None else value


Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Seconds = Annotated[Number, Field(gt=0, le=7 * 24 * 3600)]
Pixels = Annotated[Whole, Field(ge=0, le=100_000)]
AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]
Glob = Annotated[str, AfterValidator(_relative_glob)]
Word = Annotated[str, AfterValidator(_not_blank)]
RecipeName = Annotated[str, AfterValidator(_known_recipe)]
# pydantic's own min_length would count only the valid items, and report a list of wrong ones as empty on top
NOT_EMPTY: Final = AfterValidator(_some)
EMPTY_IS_DEFAULT: Final = BeforeValidator(_section)
