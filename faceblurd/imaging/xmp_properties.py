"""Which properties of XMP show a face, name a person, or tell a place: names of the schemas' authors, nothing else."""

from __future__ import annotations

from typing import Final

Property = tuple[str, str]
"""Namespace and local name."""

_CAMERA = "http://ns.google.com/photos/1.0/camera/"
_EXIF = "http://ns.adobe.com/exif/1.0/"
_IPTC_CORE = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
_IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
_LIGHTROOM = "http://ns.adobe.com/lightroom/1.0/"
_MICROSOFT = "http://ns.microsoft.com/photo/1.0/"
_DIGIKAM = "http://www.digikam.org/ns/1.0/"

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

PEOPLE: Final[frozenset[Property]] = frozenset({
    ("http://www.metadataworkinggroup.com/schemas/regions/", "Regions"),
    ("http://ns.microsoft.com/photo/1.2/", "RegionInfo"),
    (_IPTC_EXT, "PersonInImage"),
    (_IPTC_EXT, "PersonInImageWDetails"),
    (_IPTC_EXT, "ImageRegion"),
    ("http://ns.acdsee.com/regions/", "Regions"),
    ("http://ns.acdsee.com/iptc/1.0/", "people"),
    ("http://ns.idimager.com/ics/1.0/", "TagRegions"),
    ("http://ns.iview-ms.com/mediapro/1.0/", "People"),
    ("http://ns.apple.com/faceinfo/1.0/", "Regions"),
    ("http://prismstandard.org/namespaces/basic/2.0/", "person"),
    ("http://prismstandard.org/namespaces/basic/3.0/", "person"),
})  # fmt: skip
"""Names of persons, and the areas of their faces."""

TREES: Final[frozenset[Property]] = frozenset({
    (_LIGHTROOM, "hierarchicalSubject"),
    (_DIGIKAM, "TagsList"),
    (_MICROSOFT, "LastKeywordXMP"),
    ("http://ns.iview-ms.com/mediapro/1.0/", "CatalogSets"),
})  # fmt: skip
"""Trees of keywords, whose branch `People` holds names."""

BRANCHES: Final = ("people", "person", "persons", "faces")

PLACES: Final[frozenset[Property]] = frozenset({
    (_PHOTOSHOP, "City"),
    (_PHOTOSHOP, "State"),
    (_PHOTOSHOP, "Country"),
    (_IPTC_CORE, "Location"),
    (_IPTC_CORE, "CountryCode"),
    (_IPTC_EXT, "LocationShown"),
    (_IPTC_EXT, "LocationCreated"),
    (_IPTC_EXT, "City"),
    (_IPTC_EXT, "Sublocation"),
    (_IPTC_EXT, "ProvinceState"),
    (_IPTC_EXT, "CountryName"),
    (_IPTC_EXT, "CountryCode"),
    (_IPTC_EXT, "WorldRegion"),
})  # fmt: skip
"""Names of places."""


def tells_a_place(namespace: str, local: str) -> bool:
    """Say whether a property tells where a photo was taken."""
    return (namespace, local) in PLACES or (namespace == _EXIF and local.startswith("GPS"))
