"""Every face of a photo, at the photo's own resolution: a cheap network names places, a good one decides there.

YuNet sees the whole photo, at about half its size where it is large, and at every half of that: its word only says
where to look. CenterFace looks there, at the photo's own scale or more. So the cost follows the people. Light,
direction and size are local: what is dark is looked at with the light turned up as well, what lies or stands on its
head is looked at turned as well, always beside the plain look and never in its place. What is found is weighed by
`vote`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceblurd.imaging.detect import vote
from faceblurd.imaging.detect.centerface import Centerface, opinions
from faceblurd.imaging.detect.pyramid import gains, pyramid, reduced
from faceblurd.imaging.detect.tiles import (
    from_blocks,
    in_picture,
    marked,
    places,
    tiles,
)
from faceblurd.imaging.detect.yunet import Yunet
from faceblurd.imaging.geometry import clip

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.detect.pyramid import Level
    from faceblurd.imaging.detect.tiles import Piece
    from faceblurd.model import NetworksSpec, Region, Sensitivity

    Finds = npt.NDArray[np.float32]

MOST_SCALE = 2.0
"""Of the first look."""

HEARD: Final = 0.05  # the score from which a network is heard at all
_LEAST_SIDE_PX: Final = 8  # no face can be recognised in fewer pixels
_SMALLEST_PX: Final = 160  # the longest side of the last level: a face that fills the frame
_AROUND, _AROUND_STRONG, _LEAST_PX = 3.0, 4.0, 128  # CenterFace sees so much around a named place
_STRONG: Final = 0.4  # where one face is sure, others are near
_LIKED_PX: Final = 48.0  # the largest face that a scale is for; larger ones are looked at at half of it
_ENLARGED, _SMALL_PX = 2.0, 18.0  # smaller ones are looked at at so much more than that
_TWICE_PX: Final = 24.0  # from here on a face is looked at at the next scale, too: two opinions
_TURNED_BELOW: Final = 2  # levels: turned looks are made at a quarter of the first look's scale, and below
_LIT_NAMED, _TURNED_NAMED = 0.3, 0.4
_SAME_PLACE, _PLAINLY = 0.3, 0.2
_CONFIRMED: Final = 0.5  # a turned face of which CenterFace is so sure is followed by a look at every scale


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What was seen: rows of `vote.COLUMNS`, in pixels of the photo; and what it was seen in, for a second opinion."""

    finds: Finds
    ladder: Sequence[Level]
    light: npt.NDArray[np.float32]


class Search:
    """Both networks, opened once in each worker."""

    name = "networks"
    whole = True

    def __init__(self, spec: NetworksSpec, sensitivity: Sensitivity, *, turned: bool) -> None:
        """Load them. Raises SetupError with the remedy."""
        self._spec, self._bar, self._turned = spec, vote.BARS[sensitivity], turned
        self._yunet, self._centerface = Yunet(), Centerface()

    def detect(self, bgr: npt.NDArray[Any]) -> list[Region]:
        """Return the faces of a whole photo (HxWx3, BGR, uint8), surest first; the score is the vote, 0 to 1."""
        height, width = bgr.shape[:2]
        if min(height, width) < _LEAST_SIDE_PX:
            return []
        seen = self.look(bgr)
        faces = vote.faces(seen.finds, bar=self._bar, again=lambda doubtful: self.again(doubtful, seen))
        regions = (clip(face, width=width, height=height) for face in faces)
        return [region for region in regions if region and self._is_wanted(region)]

    def again(self, doubtful: Finds, seen: Seen) -> npt.NDArray[np.float64]:
        """Return a second score of some finds."""
        return opinions(self._centerface, doubtful, seen.ladder, seen.light)

    def look(self, bgr: npt.NDArray[Any]) -> Seen:
        """Return everything that was seen."""
        megapixels = bgr.shape[0] * bgr.shape[1] / 1e6
        scale = max(self._spec.first_look_scale, math.sqrt(self._spec.first_look_megapixels / megapixels))
        scale = min(MOST_SCALE, scale)
        close, *halves = pyramid(bgr, scale=max(1.0, 2 * scale), least_px=_SMALLEST_PX)
        ladder = [replace(close, scale=_ENLARGED * close.scale), close, *halves]  # what CenterFace climbs
        levels = halves if 2 * scale >= 1 else [reduced(level, 2 * scale) for level in halves]
        # In a large photo, what the first level is too large for is seen at a quarter of it; nobody misses the half.
        seen = levels if 2 * scale >= 1 else [levels[0], *levels[2:]]
        light, dark = gains(levels[0])
        named = [self._seen(self._yunet, [piece for level in seen for piece in tiles(level)])]
        named.append(self._seen(self._yunet, list(places(replace(levels[0], gains=light), from_blocks(dark)))))
        finds = [*named, self._close_look(np.vstack(named), ladder, light)]
        for quarters in (1, 2, 3) if self._turned else ():
            finds += self._turned_looks(levels, ladder, light, quarters, known=finds[len(named)])
        return Seen(np.vstack(finds), ladder, light)

    def _turned_looks(
        self, levels: Sequence[Level], ladder: Sequence[Level], light: npt.NDArray[np.float32], quarters: int, *,
        known: Finds,
    ) -> Iterator[Finds]:  # fmt: skip
        """Look for what lies or stands on its head: at small scales, and at all where CenterFace confirms a face there.

        What CenterFace knows already, looking plainly, is left out.
        """
        below = min(_TURNED_BELOW, len(levels) - 1)
        for part in (levels[below:], levels[:below]):
            seen = self._look_turned(part, quarters)
            named = _news(seen[seen[:, vote.SCORE] >= _TURNED_NAMED], known)
            seen = self._close_look(named, ladder, light)
            yield from (named, seen)
            if not (_news(seen, known)[:, vote.SCORE] >= _CONFIRMED).any():
                return

    def _look_turned(self, levels: Sequence[Level], quarters: int) -> Finds:
        pieces = [piece for level in levels for piece in tiles(level, quarters=quarters)]
        return self._seen(self._yunet, pieces)

    def _close_look(self, named: Finds, ladder: Sequence[Level], light: npt.NDArray[np.float32]) -> Finds:
        return self._seen(self._centerface, self._close_pieces(named, ladder, light))

    def _close_pieces(
        self, named: Finds, ladder: Sequence[Level], light: npt.NDArray[np.float32]
    ) -> list[Piece]:  # fmt: skip
        """Choose where CenterFace looks: around each name, at the scale at which it knows faces of that size best."""
        bar = np.where(named[:, vote.LIT] > 0, _LIT_NAMED, self._spec.named)
        bar = np.where(named[:, vote.QUARTERS] > 0, _TURNED_NAMED, bar)
        named = named[named[:, vote.SCORE] >= bar]
        size = named[:, 2:4].max(axis=1, initial=0)
        scales = np.array([level.scale for level in ladder])
        # The largest scale that leaves the face small enough; the very largest is for the smallest only.
        best = (size[:, None] * scales[1:] > _LIKED_PX).sum(axis=1).clip(0, len(ladder) - 2) + 1
        best[(size * scales[1] < _SMALL_PX) & self._spec.enlarged] = 0
        twice = ((size * scales[best] >= _TWICE_PX) | (best == 0)) & (best + 1 < len(ladder))
        pieces: list[Piece] = []
        for number, level in enumerate(ladder):
            here = (best == number) | (twice & (best + 1 == number))
            for quarters in range(4):
                for lit in (False, True):
                    asked = here & (named[:, vote.QUARTERS] == quarters) & ((named[:, vote.LIT] > 0) == lit)
                    if asked.any():
                        shown = replace(level, gains=light) if lit else level
                        around = np.where(named[asked, vote.SCORE] >= _STRONG, _AROUND_STRONG, _AROUND)
                        cells = marked(level, named[asked], around=around, least_px=_LEAST_PX)
                        pieces += places(shown, cells, quarters=quarters)
        return pieces

    def _seen(self, network: Yunet | Centerface, pieces: Sequence[Piece]) -> Finds:
        """Run a network over pieces; give its finds as rows, doubles of one look removed."""
        rows = [
            np.hstack([found, np.tile(_origin(network, piece), (len(found), 1))])
            for piece in pieces
            if len(found := in_picture(network.boxes(piece.pixels(), floor=HEARD), piece))
        ]
        return vote.without_doubles(np.vstack([np.zeros((0, len(vote.COLUMNS)), np.float32), *rows]))

    def _is_wanted(self, region: Region) -> bool:
        """Apply the bounds on the longer side."""
        size, most = max(region.width, region.height), self._spec.max_size_px
        return size >= self._spec.min_size_px and (not most or size <= most)


def _news(seen: Finds, known: Finds) -> Finds:
    """Keep what is not known as surely."""
    surely = [known[vote.overlaps(known, find) >= _SAME_PLACE, vote.SCORE].max(initial=0.0) for find in seen]
    return seen[seen[:, vote.SCORE] > np.array(surely, np.float32) + _PLAINLY]


def _origin(network: Yunet | Centerface, piece: Piece) -> Finds:
    """Say who looked, and how: the columns behind the score."""
    which = vote.NAMES.index(network.name)
    return np.array([[which, piece.level.scale, piece.quarters, piece.level.gains is not None]], np.float32)
