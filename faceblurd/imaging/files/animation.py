"""What animated formats share: frames are composed one at a time, redacted, and written as they look.

A frame of an animation shows what earlier frames left; so faces are looked for, hidden and compared in the composed
frames. No more than a frame or two is held at a time: an animation of 200 megapixels would be 800 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from faceblurd.imaging.files.composition import Canvas
from faceblurd.imaging.files.still import BasePicture
from faceblurd.imaging.geometry import upright_view
from faceblurd.imaging.picture import Encoded
from faceblurd.imaging.redact.average_pool import redact

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.files.composition import Layer
    from faceblurd.imaging.metadata import Scrub
    from faceblurd.model import BlurSpec, Region


class Animation(BasePicture):
    """Several frames of one size.

    A format adds `layer` (or composes by itself), `write`, `scrubbed` and `embedded`, and may refine `fit`.
    """

    animated = True

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._canvas: Canvas | None = None

    def stored(self, frame: int) -> npt.NDArray[np.uint8]:
        """Return a frame as it looks, HxWx4, BGRA; what is fully transparent has no colour. Cheap frame after frame."""
        if self._canvas is None:  # not before the header's size was checked
            self._canvas = Canvas(self.width, self.height, self.layer)
        return self._canvas.composed(frame)

    def layer(self, number: int) -> Layer:
        """Decode what a frame draws over those before it. Raises ImageError."""
        raise NotImplementedError

    def pixels(self, frame: int = 0) -> npt.NDArray[Any]:
        """Return a composed frame, writable."""
        return self.stored(frame).copy()

    def redacted(self, regions: Sequence[Region], blur: BlurSpec, scrub: Scrub) -> Encoded:
        """Hide upright regions, frame by frame."""
        hidden = Hidden(self, regions, blur)
        data, note = self.write(hidden, scrub)
        return Encoded(data, lossless=not note, note=note)

    def write(self, frames: Sequence[npt.NDArray[np.uint8]], scrub: Scrub) -> tuple[bytes, str]:
        """Return a file with these composed frames, and why it is not lossless: empty where it is."""
        raise NotImplementedError

    def fitted(self, pixels: npt.NDArray[Any], before: npt.NDArray[Any], regions: Sequence[Region]) -> None:  # noqa: ARG002 - what differs was painted
        """Change what was painted; what became transparent loses its colour."""
        painted = (pixels != before).any(axis=2)
        self.fit(pixels, painted)
        pixels[pixels[:, :, 3] == 0] = 0

    def fit(self, pixels: npt.NDArray[np.uint8], painted: npt.NDArray[np.bool_]) -> None:
        """Change what was painted, in place, to colours that the format can hold."""


class Hidden(Sequence["npt.NDArray[np.uint8]"]):
    """The composed frames with their regions hidden, each made when it is asked for."""

    def __init__(self, picture: Animation, regions: Sequence[Region], blur: BlurSpec) -> None:
        self._picture, self._regions, self._blur = picture, regions, blur

    def __len__(self) -> int:
        return self._picture.frames

    def __getitem__(self, frame: Any) -> Any:  # noqa: ANN401 - a slice is of no use here
        if frame >= len(self):
            raise IndexError(frame)
        pixels = self._picture.pixels(frame)
        mine = [region for region in self._regions if region.frame == frame]
        if mine:
            view = upright_view(pixels, self._picture.orientation)
            redact(view, mine, self._blur, self._picture.channels_of(frame))
            self._picture.fitted(pixels, self._picture.stored(frame), mine)
        return pixels


def changed_box(before: npt.NDArray[np.uint8] | None, after: npt.NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of what differs between two frames; one pixel where nothing does."""
    if before is None:
        return 0, 0, after.shape[1], after.shape[0]
    differs = (before != after).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return 0, 0, 1, 1
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
