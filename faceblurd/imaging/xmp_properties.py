"""Which properties of XMP show a face, or speak of what does: names of the schemas' authors, nothing else."""

from __future__ import annotations

from typing import Final

Property = tuple[str, str]
"""Namespace and local name."""

_CAMERA = "http://ns.google.com/photos/1.0/camera/"

PICTURES: Final[frozenset[Property]] = frozenset({
    ("http://ns.adobe.com/xap/1.0/", "Thumbnails"),
    ("http://ns.adobe.com/xap/1.0/g/img/", "image"),
    ("http://ns.google.com/photos/1.0/depthmap/", "Data"),
    ("http://ns.google.com/photos/1.0/depthmap/", "Confidence"),
    ("http://ns.google.com/photos/1.0/image/", "Data"),
    ("http://ns.google.com/photos/1.0/audio/", "Data"),
    (_CAMERA, "RelitInputImageData"),
    (_CAMERA, "MotionPhoto"),
    (_CAMERA, "MotionPhotoVersion"),
    (_CAMERA, "MotionPhotoPresentationTimestampUs"),
    (_CAMERA, "MicroVideo"),
    (_CAMERA, "MicroVideoOffset"),
    (_CAMERA, "MicroVideoVersion"),
    (_CAMERA, "MicroVideoPresentationTimestampUs"),
    ("http://ns.google.com/photos/1.0/container/", "Directory"),
    ("http://ns.google.com/photos/dd/1.0/device/", "Container"),
    ("http://ns.xiaomi.com/photos/1.0/camera/", "XMPMeta"),
    ("http://ns.adobe.com/xmp/note/", "HasExtendedXMP"),
})  # fmt: skip
"""What holds a picture, or points at one that is dropped with the trailer."""

PICTURE_NAMESPACES: Final = frozenset({
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.apple.com/HDRGainMap/1.0/",
})  # fmt: skip
"""Schemas of which every property speaks of a picture that is dropped: Ultra HDR's gain map."""
