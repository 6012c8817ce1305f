"""What all formats share: what is searched of the stored pixels, and the redaction of a picture of one frame."""

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


class BasePicture:
    """One frame, or several alike. A format adds what `Picture` asks for beyond this, and refines the rest."""

    width: int
    height: int
    orientation = 1
    frames = 1
    animated = False
    channels = Channels()  # what those of `pixels` mean

    def size_of(self, frame: int) -> tuple[int, int, int]:  # noqa: ARG002 - all are alike
        """Return columns, rows and orientation as stored."""
        return self.width, self.height, self.orientation

    def channels_of(self, frame: int) -> Channels:  # noqa: ARG002 - all are alike
        """Say what the channels of the pixels mean."""
        return self.channels

    def stored(self, frame: int) -> npt.NDArray[Any]:
        """Decode a frame once: the detectors' looks and the pixels come from the same decode. Raises ImageError."""
        raise NotImplementedError

    def shown(self, frame: int) -> npt.NDArray[Any]:
        """Return the stored pixels as programs show them, where these are not the same: with opacity as a channel."""
        return self.stored(frame)

    def preview(self, longest_px: int | None, frame: int = 0) -> npt.NDArray[Any]:
        """Scale a whole frame down."""
        return preview_of(self.stored(frame), orientation=self.size_of(frame)[2], longest_px=longest_px)

    def looks(self, longest_px: int | None, frame: int = 0) -> list[npt.NDArray[Any]]:
        """Scale down what programs may show of a frame."""
        return looks_of(self.shown(frame), orientation=self.size_of(frame)[2], longest_px=longest_px)

    def thumbnails(self) -> list[bytes]:
        """Return the embedded thumbnails that may stay once they are redacted: none, unless the format has some."""
        return []

    def with_copies(self, regions: Sequence[Region]) -> list[Region]:
        """Return them: no frame is a copy of another."""
        return list(regions)

    def fitted(self, pixels: npt.NDArray[Any], before: npt.NDArray[Any], regions: Sequence[Region]) -> None:
        """Change nothing, unless the format holds fewer colours than a redaction paints."""


class Still(BasePicture):
    """One frame. A format adds `decoded`, `encode`, `scrubbed` and `embedded`."""

    _stored: npt.NDArray[Any] | None = None

    def decoded(self) -> npt.NDArray[Any]:
        """Decode all pixels, as stored."""
        raise NotImplementedError

    def stored(self, frame: int) -> npt.NDArray[Any]:  # noqa: ARG002 - there is one
        """Decode once."""
        if self._stored is None:
            self._stored = self.decoded()
        return self._stored

    def pixels(self, frame: int = 0) -> npt.NDArray[Any]:
        """Hand over the decoded pixels."""
        array = self.stored(frame)
        self._stored = None
        return array

    def encode(self, pixels: npt.NDArray[Any], scrub: Scrub = BARE) -> Encoded:
        """Return a file with these pixels and the metadata, scrubbed."""
        raise NotImplementedError

    def redacted(self, regions: Sequence[Region], blur: BlurSpec, scrub: Scrub) -> Encoded:
        """Hide upright regions."""
        pixels = self.pixels()
        redact(upright_view(pixels, self.orientation), regions, blur, self.channels_of(0))
        return self.encode(pixels, scrub)
