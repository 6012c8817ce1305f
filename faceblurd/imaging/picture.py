"""The contract of a picture file: what is asked of one, whatever its format, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.metadata import Scrub
    from faceblurd.imaging.redact.soft import Channels
    from faceblurd.model import BlurSpec, Region


@dataclass(frozen=True, slots=True)
class Encoded:
    """A result. `lossless`: every pixel outside the regions is as it was; `note`: what a person should know.

    `regions`: the upright boxes that really changed, None where they are those that were asked for.
    """

    data: bytes
    lossless: bool
    note: str = ""
    regions: tuple[Region, ...] | None = None


class Picture(Protocol):
    """A picture file, opened from bytes; nothing but the headers is decoded yet.

    It shows one frame, or several: pages, or the frames of an animation. `width`, `height` and `orientation` are the
    first one's.
    """

    @property
    def format(self) -> str:
        """One of jpeg, png, webp, tiff, bmp, gif, avif, heif."""

    @property
    def width(self) -> int:
        """Columns as stored."""

    @property
    def height(self) -> int:
        """Rows as stored."""

    @property
    def orientation(self) -> int:
        """EXIF orientation 1 to 8, 1 when absent or invalid."""

    @property
    def frames(self) -> int:
        """How many pictures the file shows, at least 1."""

    @property
    def animated(self) -> bool:
        """Whether the frames are shown one after the other: what is in one is likely in its neighbours."""

    def size_of(self, frame: int) -> tuple[int, int, int]:
        """Return columns and rows as stored, and the orientation, of one frame."""

    def preview(self, longest_px: int | None, frame: int = 0) -> npt.NDArray[Any]:
        """Return BGR uint8, upright and contiguous, with a longest side of at most `longest_px` (None: full size)."""

    def looks(self, longest_px: int | None, frame: int = 0) -> Sequence[npt.NDArray[Any]]:
        """Return what programs may show, each as `preview` gives it: all that has to be searched for faces.

        One where nothing is transparent; else the colours alone, on white and on black, as far as they differ.
        """

    def pixels(self, frame: int = 0) -> npt.NDArray[Any]:
        """Return all pixels as stored, writable, at their own depth (uint8 or uint16), HxW or HxWxC in BGR(A) order."""

    def channels_of(self, frame: int) -> Channels:
        """Say what the channels of a frame's pixels mean."""

    def with_copies(self, regions: Sequence[Region]) -> list[Region]:
        """Return these regions, and those that show the same in reduced copies."""

    def fitted(self, pixels: npt.NDArray[Any], before: npt.NDArray[Any], regions: Sequence[Region]) -> None:
        """Change pixels of a redacted frame, in place, to colours that the format holds; `before`: the original's."""

    def redacted(self, regions: Sequence[Region], blur: BlurSpec, scrub: Scrub) -> Encoded:
        """Return a file of the same format with these upright regions hidden and its metadata scrubbed."""

    def scrubbed(self, scrub: Scrub) -> bytes:
        """Return the file with its coded pixels as they are and its metadata scrubbed; itself if nothing had to go."""

    def thumbnails(self) -> list[bytes]:
        """Return the embedded thumbnails, whole files, that may stay once they are redacted."""

    def embedded(self) -> list[str]:
        """Name the parts of this file, besides pixels and thumbnails, that look like a picture; for verification."""
