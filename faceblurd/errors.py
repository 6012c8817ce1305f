"""One hierarchy of errors, one exit code each. Errors carry fields; nobody matches on message text."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceblurd.model import Reason


class Exit(IntEnum):
    """The documented exit codes of every command (docs/cli.md)."""

    OK = 0
    OTHER = 1
    USAGE = 2
    HELD = 3
    CONFIG = 78  # EX_CONFIG of sysexits.h; systemd does not restart on it


class FaceblurdError(Exception):
    """Anything that faceblurd says to a person: what is wrong, and the remedy."""

    exit_code: ClassVar[Exit] = Exit.OTHER

    def __init__(self, message: str, *, remedy: str = "") -> None:
        """Keep both parts; `str()` joins them."""
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """Join what is wrong and what to do."""
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class UsageError(FaceblurdError):
    """The command line does not make sense."""

    exit_code = Exit.USAGE


class ConfigError(FaceblurdError):
    """The configuration is refused: file, line, key path, value and remedy. `others`: what else is wrong with it."""

    exit_code = Exit.CONFIG

    def __init__(
        self, message: str, *, file: str, line: int | None = None, key: str = "", value: object = None, remedy: str = ""
    ) -> None:
        """Keep the facts; `str()` gives `FILE:LINE: KEY: message (value ...). Remedy`."""
        super().__init__(message, remedy=remedy)
        self.file = file
        self.line = line
        self.key = key
        self.value = value
        self.others: tuple[ConfigError, ...] = ()

    @classmethod
    def first_of(cls, problems: Sequence[ConfigError]) -> ConfigError:
        """Return the first of `problems` (at least one), carrying the rest in `others`."""
        first, *others = problems
        first.others = tuple(others)
        return first

    def __str__(self) -> str:
        """Give `FILE:LINE: KEY: message (value VALUE). Remedy`."""
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        key = f"{self.key}: " if self.key else ""
        value = "" if self.value is None else f" (value {self.value!r})"
        return f"{where}: {key}{self.message}{value}" + (f". {self.remedy}" if self.remedy else "")


class AlreadyRunningError(FaceblurdError):
    """Another instance owns the state directory."""


class SetupError(FaceblurdError):
    """A detector or a plugin does not load: without it faces would be published, so nothing starts."""

    exit_code = Exit.CONFIG


class LedgerVersionError(FaceblurdError):
    """The ledger was written by a newer version: trying again would not help, so systemd must not."""

    exit_code = Exit.CONFIG

    def __init__(self, name: str, version: int, known: int) -> None:
        """Name both versions."""
        super().__init__(
            f"the ledger {name} was written by a newer faceblurd (its version is {version}, this one knows {known})",
            remedy="Install that faceblurd again, or move the ledger away: every photo is then looked at once more",
        )


class ImageError(FaceblurdError):
    """A file that cannot be made safe. `reason` is the stable word, `retryable` whether waiting may help."""

    def __init__(self, reason: Reason, message: str, *, retryable: bool = False) -> None:
        """Keep the reason beside the message."""
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


class PluginError(FaceblurdError):
    """A plugin raised where its failure must not be ignored (`add_regions`: a face may have been missed)."""
