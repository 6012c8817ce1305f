"""What to do with a file's metadata: the one value that every scrubbing function takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from faceblurd.model import KEEP_METADATA, MetadataPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from faceblurd.model import MetadataSpec


@dataclass(frozen=True, slots=True)
class Scrub:
    """What to do with a file's metadata.

    `thumbnail` gives BGR pixels of the redacted main picture, as stored, in the width and height asked for; None:
    embedded thumbnails go without a replacement. `clean`: the picture shows no face, so that a thumbnail that shows the
    same stays as it is.
    """

    spec: MetadataSpec = KEEP_METADATA
    thumbnail: Callable[[int, int], npt.NDArray[Any]] | None = None
    clean: bool = False

    @property
    def location(self) -> bool:
        """Say whether places may stay."""
        return self.spec.policy is MetadataPolicy.KEEP

    @property
    def anything(self) -> bool:
        """Say whether anything may stay besides what decides how the picture looks."""
        return self.spec.policy is not MetadataPolicy.STRIP_ALL

    @property
    def names(self) -> bool:
        """Say whether people's names may stay."""
        return self.spec.keep_names


BARE: Final = Scrub()
"""Keep what may stay, and replace no thumbnail."""
