"""What all formats share that show one frame and are redacted as pixels: decode, redact, encode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faceblurd.imaging.files.codecs import looks_of, preview_of
from faceblurd.imaging.geometry import upright_view
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.imaging.redact.soft import Channels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.metadata import Scrub
    from faceblurd.imaging.picture import Encoded
    from faceblurd.model import BlurSpec, Region


class Still:
    """One frame. A format adds `decoded`, `encode`, `scrubbed` and `embedded`, and may refine the looks."""

    width: int
    height: int
    orientation: int
    frames = 1
    channels = Channels()  # what those of `pixels` mean
    animated = False
    _stored: npt.NDArray[Any] | None = None

    def size_of(self, frame: int) -> tuple[int, int, int]:  # noqa: ARG002 - there is one
        """Return columns, rows and orientation as stored."""
        return self.width, self.height, self.orientation

    def decoded(self) -> npt.NDArray[Any]:
        """Decode all pixels, as stored."""
        raise NotImplementedError

    def channels_of(self, frame: int) -> Channels:  # noqa: ARG002 - there is one
        """Say what the channels of the pixels mean."""
        return self.channels

    def shown(self) -> npt.NDArray[Any]:
        """Return the stored pixels as programs show them, where these are not the same: with opacity as a channel."""
        return self._load()

    def _load(self) -> npt.NDArray[Any]:
        """Decode once; the detectors' looks and the pixels come from the same decode."""
        if self._stored is None:
            self._stored = self.decoded()
        return self._stored

    def preview(self, longest_px: int | None, frame: int = 0) -> npt.NDArray[Any]:  # noqa: ARG002 - there is one
        """Scale the whole picture down."""
        return preview_of(self._load(), orientation=self.orientation, longest_px=longest_px)

    def looks(self, longest_px: int | None, frame: int = 0) -> list[npt.NDArray[Any]]:  # noqa: ARG002 - there is one
        """Scale down what programs may show of it."""
        return looks_of(self.shown(), orientation=self.orientation, longest_px=longest_px)

    def pixels(self, frame: int = 0) -> npt.NDArray[Any]:  # noqa: ARG002 - there is one
        """Hand over the decoded pixels."""
        array = self._load()
        self._stored = None
        return array

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
