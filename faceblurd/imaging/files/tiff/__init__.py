"""TIFF of one page or more: 8-bit, 16-bit, CMYK, palettes, black and white. Every tag that may stay is kept.

Each page is searched and redacted. A reduced copy of another page is redacted in the same places, or goes when it is of
a kind that cannot be written.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from faceblurd.errors import ImageError
from faceblurd.imaging.files.codecs import ends_in_mid_row, preview_of
from faceblurd.imaging.files.still import BasePicture
from faceblurd.imaging.files.tiff.graft import with_rows
from faceblurd.imaging.files.tiff.layout import TiffLayout
from faceblurd.imaging.files.tiff.pixels import TiffPixels
from faceblurd.imaging.geometry import clip, scale, upright_size, upright_view
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.picture import Encoded
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.imaging.redact.soft import Channels
from faceblurd.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.tiff.page import TiffPage
    from faceblurd.imaging.metadata import Scrub
    from faceblurd.model import BlurSpec, Region

_SAME_SHAPE: Final = 0.02


class TiffPicture(BasePicture):
    """All pages."""

    format = "tiff"

    def __init__(self, data: bytes) -> None:
        """Read the directories; refuse pages whose depth or compression would be lost."""
        self._layout = TiffLayout(data)
        file = io.BytesIO(data)
        opened = [(page, _pixels(page, file)) for page in self._layout.chain]
        self._layout.leave_out([page for page, pixels in opened if pixels is None])
        self._pages = [pixels for _, pixels in opened if pixels]
        if not self._pages:
            raise ImageError(Reason.UNSUPPORTED, "The TIFF has only reduced pictures of an unsupported kind")
        self.frames = len(self._pages)
        self.width, self.height, self.orientation = self.size_of(0)
        self._decoded: tuple[int, npt.NDArray[Any]] | None = None

    def size_of(self, frame: int) -> tuple[int, int, int]:
        """Return columns, rows and orientation of a page."""
        page = self._pages[frame].page
        return page.width, page.height, page.orientation

    def stored(self, frame: int) -> npt.NDArray[Any]:
        """Decode a page once, and keep no other."""
        if self._decoded is None or self._decoded[0] != frame:
            self._decoded = None
            rows = self._pages[frame].decoded()
            if self._layout.is_sparse and ends_in_mid_row(rows):
                raise ImageError(Reason.INCOMPLETE, "The end of the TIFF is only zeros", retryable=True)
            self._decoded = frame, rows
        return self._decoded[1]

    def preview(self, longest_px: int | None, frame: int = 0) -> npt.NDArray[Any]:
        """Scale a whole page down, as it is shown."""
        return preview_of(self.shown(frame), orientation=self.size_of(frame)[2], longest_px=longest_px)

    def shown(self, frame: int) -> npt.NDArray[Any]:
        """Return the pixels of a page as programs show them: CMYK as BGR."""
        return self._pages[frame].shown(self.stored(frame))

    def pixels(self, frame: int = 0) -> npt.NDArray[Any]:
        """Hand over the decoded pixels."""
        array = self.stored(frame)
        self._decoded = None
        return array

    def channels_of(self, frame: int) -> Channels:
        """Say what the channels of a page mean."""
        mode = self._pages[frame].mode
        return Channels(inks=mode == "CMYK", few=mode == "P")

    def redacted(self, regions: Sequence[Region], blur: BlurSpec, scrub: Scrub) -> Encoded:
        """Hide upright regions, page by page; a page without any keeps its bytes."""
        wanted = self.with_copies(regions)
        fresh: dict[int, bytes] = {}
        for frame in sorted({region.frame for region in wanted}):
            pixels = self.pixels(frame)
            mine = [region for region in wanted if region.frame == frame]
            redact(upright_view(pixels, self.size_of(frame)[2]), mine, blur, self.channels_of(frame))
            fresh[frame] = self._pages[frame].encoded(pixels)
        data = with_rows(self._layout.scrubbed(scrub), fresh)
        notes = dict.fromkeys(note for frame in fresh for note in self._pages[frame].notes)
        return Encoded(data, lossless=True, note="; ".join(notes), regions=tuple(wanted))

    def encode(self, pixels: npt.NDArray[Any], scrub: Scrub = BARE) -> Encoded:
        """Return the file with these pixels in its first page."""
        return Encoded(with_rows(self._layout.scrubbed(scrub), {0: self._pages[0].encoded(pixels)}), lossless=True)

    def with_copies(self, regions: Sequence[Region]) -> list[Region]:
        """Add the same regions in the reduced copies of their pages: those of the same shape."""
        added = [
            copied
            for frame, pixels in enumerate(self._pages)
            if pixels.page.is_reduced
            for region in regions
            if region.frame != frame and (copied := self._copied(region, frame))
        ]
        return [*regions, *added]

    def fitted(self, pixels: npt.NDArray[Any], before: npt.NDArray[Any], regions: Sequence[Region]) -> None:  # noqa: ARG002 - all pixels are mapped alike
        """Change a page to the colours that it can have."""
        self._pages[regions[0].frame].fit(pixels)

    def _copied(self, region: Region, frame: int) -> Region | None:
        (width, height), (to_width, to_height) = self._upright(region.frame), self._upright(frame)
        by_x, by_y = to_width / width, to_height / height
        if abs(by_x - by_y) > _SAME_SHAPE * max(by_x, by_y) and min(to_width, to_height) > 1:
            return None
        return clip(replace(scale(region, by_x=by_x, by_y=by_y), frame=frame), width=to_width, height=to_height)

    def _upright(self, frame: int) -> tuple[int, int]:
        width, height, orientation = self.size_of(frame)
        return upright_size(width, height, orientation=orientation)

    def scrubbed(self, scrub: Scrub = BARE) -> bytes:
        """Wipe in place: no offset moves, no row changes."""
        return self._layout.scrubbed(scrub)

    def embedded(self) -> list[str]:
        """Name what looks like a picture in everything but the rows."""
        return self._layout.leftovers()


def _pixels(page: TiffPage, file: io.BytesIO) -> TiffPixels | None:
    """Open a page; None for a reduced copy that cannot be worked on."""
    try:
        return TiffPixels(page, file)
    except ImageError as error:
        if page.is_reduced and error.reason in {Reason.UNSUPPORTED, Reason.DAMAGED}:
            return None
        raise
