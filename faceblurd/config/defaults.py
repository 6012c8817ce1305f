"""Defaults that are needed without a config too. No pydantic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from faceblurd.config.cores import cores

_WRITTEN = "jpg jpeg jpe jfif png apng webp avif tif tiff bmp gif heic heif hif"
_RAW = "dng cr2 cr3 crw nef nrw arw sr2 srf orf rw2 rwl raf pef srw x3f mrw kdc dcr erf mef mos iiq 3fr fff gpr"
_HELD = f"{_RAW} psd jp2 jxl"
IMAGE_GLOBS: Final = tuple(f"*.{extension}" for extension in f"{_WRITTEN} {_HELD}".split())
"""What is looked at by default: what can be blurred, and photos that are held as unsupported rather than overlooked.

HEIC is among the latter while its extra is not installed."""


@dataclass(frozen=True, slots=True)
class Workers:
    """The processes that do the work, and what one file may cost (config.example.yaml has units and reasons)."""

    count: int | Literal["auto"] = "auto"
    deadline_seconds: float = 120.0
    memory_limit_mb: int = 1500
    recycle_after_files: int = 500
    idle_seconds: float = 60.0
    max_attempts: int = 4
    retry_seconds: float = 5.0
    stop_seconds: float = 10.0
    max_file_mb: int = 512
    max_megapixels: int = 200
    sandbox: Literal["auto", "off"] = "auto"

    def process_count(self) -> int:
        """Return how many workers may run: for `auto`, as many as the cores that this process may use."""
        return cores() if isinstance(self.count, str) else self.count


@dataclass(frozen=True, slots=True)
class Hooks:
    """Plugins by name, and a command that runs after every file."""

    plugins: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    timeout_seconds: float = 30.0
    max_attempts: int = 5
