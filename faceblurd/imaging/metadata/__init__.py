"""What leaks in a file besides its pixels, and its removal: all that formats need of it.

Each function takes one payload of a container and returns what may stay. Where payloads lie is for the formats to know.
"""

from __future__ import annotations

from faceblurd.imaging.metadata.embedded import contains_picture, hides_picture
from faceblurd.imaging.metadata.exif import orientation_of
from faceblurd.imaging.metadata.exif_scrub import scrub_exif, thumbnail_of, without_thumbnail
from faceblurd.imaging.metadata.photoshop import scrub_resources
from faceblurd.imaging.metadata.scrub import BARE, Scrub
from faceblurd.imaging.metadata.xmp import scrub_xmp

__all__ = [
    "BARE",
    "Scrub",
    "contains_picture",
    "hides_picture",
    "orientation_of",
    "scrub_exif",
    "scrub_resources",
    "scrub_xmp",
    "thumbnail_of",
    "without_thumbnail",
]
