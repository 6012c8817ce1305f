"""What all formats share that show one frame and are redacted as pixels: decode, redact, encode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faceblurd.imaging.geometry import upright_view
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.redaction import redact
from faceblurd.imaging.soft import Channels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.formats import Encoded
    from faceblurd.imaging.metadata import Scrub
    from faceblurd.model import BlurSpec, Region


class Still:
    """One frame. A format adds `preview`, `pixels`, `encode`, `scrubbed` and `embedded`."""

    width: int
    height: int
    orientation: int
    frames = 1
    channels = Channels()  # what those of `pixels` mean
    animated = False

    def size_of(self, frame: int) -> tuple[int, int, int]:  # noqa: ARG002 - there is one
        """Return columns, rows and orientation as stored."""
        return self.width, self.height, self.orientation

    def pixels(self, frame: int = 0) -> npt.NDArray[Any]:
        """Return all pixels as stored."""
        raise NotImplementedError

    def channels_of(self, frame: int) -> Channels:  # noqa: ARG002 - there is one
        """Say what the channels of the pixels mean."""
        return self.channels

    def encode(self, pixels: npt.NDArray[Any], scrub: Scrub = BARE) -> Encoded:
        """Return a file with these pixels and the metadata, scrubbed."""
        raise NotImplementedError

    def thumbnails(self) -> list[bytes]:
        """Return the embedded thumbnails that may stay once they are redacted: none, unless the format has some."""
        return []

    def with_copies(self, regions: Sequence[Region]) -> list[Region]:
        """Return them: there is one picture."""
        return list(regions)

    def fitted(self, pixels: npt.NDArray[Any], before: npt.NDArray[Any], regions: Sequence[Region]) -> None:
        """Change nothing, unless the format holds fewer colours than a redaction paints."""

    def redacted(self, regions: Sequence[Region], blur: BlurSpec, scrub: Scrub) -> Encoded:
        """Hide upright regions."""
        pixels = self.pixels()
        redact(upright_view(pixels, self.orientation), regions, blur, self.channels_of(0))
        return self.encode(pixels, scrub)
