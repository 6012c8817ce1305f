"""What counts as hidden, and what as a false box: arithmetic on boxes, and the tally of a set. Opens no file.

Hidden: at least 60 % of the face's box, as far as it lies in the frame, are under the union of the redacted boxes.
False: a redacted box with an overlap (IoU) below 0.2 to every face, and with less than half of its area on faces or
ignored areas.
"""

from __future__ import annotations

import os.path
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt
    from labelled import Box, Labelled

    Mask = npt.NDArray[np.bool_]

HIDDEN, TOUCHES, ON_FACES = 0.6, 0.2, 0.5
LARGE = 1 << 30
BINS = ((0, 16), (16, 32), (32, 64), (64, 128), (128, LARGE))
"""Heights of faces in pixels, from and below."""


def union(boxes: Iterable[Box], width: int, height: int) -> Mask:
    """Mark the pixels under any of some boxes, each rounded to whole pixels."""
    mask = np.zeros((height, width), bool)
    for x, y, across, down in boxes:
        mask[max(0, round(y)) : max(0, round(y + down)), max(0, round(x)) : max(0, round(x + across))] = True
    return mask


def share(box: Box, mask: Mask) -> float:
    """Return which part of a box, as far as it lies in the frame, is marked: 0 to 1, and 0 for a box outside."""
    x, y, across, down = box
    rows, columns = _lengths(y, down, mask.shape[0]), _lengths(x, across, mask.shape[1])
    (top, by_row), (left, by_column) = rows, columns
    area = by_row.sum() * by_column.sum()
    part = mask[top : top + len(by_row), left : left + len(by_column)]
    return float(by_row @ part @ by_column / area) if area > 0 else 0.0


def _lengths(start: float, length: float, most: int) -> tuple[int, npt.NDArray[np.float64]]:
    """Return the first pixel that an interval touches, and how much it covers of that one and of those behind it."""
    low, high = max(0.0, start), min(float(most), start + length)
    first = int(low)
    edges = np.arange(first, max(first, int(np.ceil(high))))
    return first, np.minimum(edges + 1, high) - np.maximum(edges, low)


def is_hidden(face: Box, redacted: Mask) -> bool:
    """Say whether a face is hidden by what is redacted."""
    return share(face, redacted) >= HIDDEN


def iou(one: Box, other: Box) -> float:
    """Return intersection over union."""
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0.0, across) * max(0.0, down)
    whole = one[2] * one[3] + other[2] * other[3] - shared
    return shared / whole if whole > 0 else 0.0


def is_false(box: Box, photo: Labelled, known: Mask) -> bool:
    """Say whether a box hides no face; `known` marks the photo's faces and ignored areas."""
    return all(iou(box, face) < TOUCHES for face in photo.faces) and share(box, known) < ON_FACES


@dataclass
class Tally:
    """What one method did on one set."""

    faces: list[tuple[float, bool]] = field(default_factory=list)  # height, hidden
    photos: int = 0
    small_photos: int = 0  # those that were packed, where photos were
    held: list[str] = field(default_factory=list)  # names and reasons
    boxes: int = 0
    false: int = 0
    unchanged: int = 0  # boxes that were reported, yet the file shows what it had
    milliseconds: list[float] = field(default_factory=list)

    def add_held(self, photo: Labelled, reason: str) -> None:
        """Count a photo that did not come out: every face in it as shown."""
        self._add(photo)
        self.held.append(f"{os.path.basename(photo.path)} ({reason})")
        self.faces += [(face[3], False) for face in photo.faces]

    def add(self, photo: Labelled, redacted: list[Box], width: int, height: int) -> None:
        """Count a photo that came out with these boxes hidden."""
        self._add(photo)
        mask = union(redacted, width, height)
        self.faces += [(face[3], is_hidden(face, mask)) for face in photo.faces]
        known = union([*photo.faces, *photo.ignored], width, height)
        self.boxes += len(redacted)
        self.false += sum(is_false(box, photo, known) for box in redacted)

    def _add(self, photo: Labelled) -> None:
        self.photos += 1
        self.small_photos += photo.holds

    def hidden(self, low: float = 0, high: float = LARGE) -> float | None:
        """Return the percentage of hidden faces of some heights; None without any."""
        hits = [hidden for height, hidden in self.faces if low <= height < high]
        return 100 * sum(hits) / len(hits) if hits else None

    def row(self) -> dict[str, Any]:
        """Sum up."""
        return {
            "hidden": self.hidden(),
            "hidden_from_16": self.hidden(16),
            "bins": {bin_name(low, high): self.hidden(low, high) for low, high in BINS},
            "held": len(self.held),
            "held_photos": self.held,
            "false_per_photo": self.false / max(1, self.small_photos),
            "boxes": self.boxes,
            "unchanged": self.unchanged,
            "median_ms": float(np.median(self.milliseconds)) if self.milliseconds else None,
            "photos": self.photos,
            "small_photos": self.small_photos,
            "faces": len(self.faces),
        }


def bin_name(low: int, high: int) -> str:
    """Name a bin in pixels."""
    return f"{low}-{high}" if high < LARGE else f"{low}+"
