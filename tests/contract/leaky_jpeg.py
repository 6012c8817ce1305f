"""JPEGs that carry a face, or a name, a second time: one for each place of docs/metadata.md."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import leaky
from leaky import BASE64, FACE, ICC, IPTC, MOVIE, NAME, PROVENANCE, RAW, Leak, bag, directory, exif, long, short, xmp

if TYPE_CHECKING:
    from collections.abc import Iterator

_JFIF = b"JFIF\0\1\2\0\0\1\0\1"
_XAP, _EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_THUMBNAIL_HEAD = struct.pack(">6I2H", 1, 120, 144, 360, 360 * 144, len(FACE), 24, 1)
_GUID = b"0123456789ABCDEF0123456789ABCDEF"
_CAMERA = "http://ns.google.com/photos/1.0/camera/"
_CONTAINER = "http://ns.google.com/photos/1.0/container/"
_ITEM = "http://ns.google.com/photos/1.0/container/item/"
_IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_MWG = "http://www.metadataworkinggroup.com/schemas/regions/"
_MP, _MP_INFO, _MP_REGION = (f"http://ns.microsoft.com/photo/1.2/{part}" for part in ("", "t/RegionInfo#", "t/Region#"))
_SAMSUNG = 0x0A30  # the type of a motion photo's data in Samsung's trailer


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def photo(
    main: bytes, *extra: bytes, jfif: bytes = _JFIF + b"\0\0", block: bytes = b"", packet: bytes = b"",
    resources: bytes = b"", after: bytes = b"",
) -> bytes:  # fmt: skip
    """A JPEG with EXIF, XMP, IPTC and a colour profile, more segments, and bytes behind its end."""
    resources = leaky.resource(0x0404, IPTC) + resources
    parts = [
        segment(0xE0, jfif), segment(0xE1, b"Exif\0\0" + (block or exif())), segment(0xE1, _XAP + (packet or xmp())),
        segment(0xE2, b"ICC_PROFILE\0\1\1" + ICC), segment(0xED, b"Photoshop 3.0\0" + resources), *extra,
        segment(0xFE, b"A comment that may stay"),
    ]  # fmt: skip
    return b"\xff\xd8" + b"".join(parts) + main[main.index(b"\xff\xdb") :] + after


def leaks(main: bytes) -> Iterator[Leak]:
    """All of them, around one main picture (a JPEG without metadata)."""
    yield from _in_exif(main)
    yield from _in_xmp(main)
    yield from _in_names(main)
    yield from _in_segments(main)
    yield from _behind(main)


def _in_exif(main: bytes) -> Iterator[Leak]:
    strips = directory(
        leaky.SECOND, (0x100, 4, long(40)), (0x101, 4, long(48)), (0x102, 3, short(8, 8, 8)), (0x103, 3, short(1)),
        (0x106, 3, short(2)), (0x111, 4, long(leaky.BEHIND)), (0x115, 3, short(3)), (0x117, 4, long(len(RAW))),
    )  # fmt: skip
    third = directory(leaky.SECOND, (0x10F, 2, b"two\0"), following=leaky.BEHIND)
    third_rest = directory(leaky.BEHIND, (0x201, 4, long(leaky.BEHIND + 64)), (0x202, 4, long(len(FACE)))).ljust(64)
    sub = directory(leaky.SECOND, (0x201, 4, long(leaky.BEHIND)), (0x202, 4, long(len(FACE))))
    inner, own = xmp(b"<dc:x>%s</dc:x>" % BASE64), leaky.resource(0x040C, _THUMBNAIL_HEAD + FACE)
    blocks = {
        "thumbnail": (exif(**leaky.thumbnail(FACE)), FACE, "IFD1|Thumbnail"),
        "strips": (exif(second=strips, rest=RAW), RAW, "IFD1|Thumbnail"),
        "third directory": (exif(second=third, rest=third_rest + FACE), FACE, "IFD[12]"),
        "sub-directory": (exif((0x14A, 4, long(leaky.SECOND)), second=sub, rest=FACE, chained=False), FACE, "SubIFD"),
        "private tag": (exif((0xC6D2, 7, (leaky.BEHIND, len(FACE))), rest=FACE), FACE, "PanasonicTitle"),
        "Nikon's preview": (exif(note=leaky.nikon(FACE)), FACE, "PreviewIFD|Nikon:PreviewIFD"),
        "an unknown note": (exif(note=b"MYSTERY\0" + FACE + b"more of it"), FACE, "MakerNoteUnknown"),
        "XMP in EXIF": (exif((0x2BC, 7, (leaky.BEHIND, len(inner))), rest=inner), FACE, "XMP-dc:TagX"),
        "Photoshop in EXIF": (exif((0x8649, 7, (leaky.BEHIND, len(own))), rest=own), FACE, "Photoshop|Warning"),
    }
    for name, (block, secret, lost) in blocks.items():
        yield Leak(f"EXIF {name}", photo(main, block=block), secret, lost)
    halves = exif(**leaky.thumbnail(FACE))
    cut = len(halves) - len(FACE) // 2
    parts = photo(main, segment(0xE1, b"Exif\0\0" + halves[cut:]), block=halves[:cut])
    yield Leak("EXIF in two segments", parts, FACE, "IFD1|Warning")


def _in_xmp(main: bytes) -> Iterator[Leak]:
    depth, image = "http://ns.google.com/photos/1.0/depthmap/", "http://ns.google.com/photos/1.0/image/"
    packets = {
        "GDepth": xmp(attributes=b' GDepth:Format="RangeLinear" GDepth:Data="%s"' % BASE64, GDepth=depth),
        "GImage": xmp(b"<GImage:Data>%s</GImage:Data>" % BASE64, GImage=image),
        "thumbnail": xmp(
            b"<xmp:Thumbnails><rdf:Alt><rdf:li rdf:parseType='Resource'><g:image>%s</g:image></rdf:li></rdf:Alt>"
            b"</xmp:Thumbnails>" % BASE64.replace(b"A", b"A&#xA;"), g="http://ns.adobe.com/xap/1.0/g/img/",
        ),
        "unknown property": xmp(b"<u:original>%s</u:original>" % BASE64, u="http://example.org/unknown/"),
        "relit": xmp(b"<C:RelitInputImageData>%s</C:RelitInputImageData>" % BASE64, C=_CAMERA),
    }  # fmt: skip
    for name, packet in packets.items():
        yield Leak(
            f"XMP {name}", photo(main, packet=packet), FACE, "XMP-(GDepth:DepthImage|GImage|GCamera|u|xmp:Thumb|C)"
        )
    extended = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="%s"><rdf:Description xmlns:GImage="%s" ' % (
        leaky.RDF.encode(), image.encode(),
    )  # fmt: skip
    extended += b'GImage:Data="%s"/></rdf:RDF></x:xmpmeta>' % BASE64
    pointer = xmp(attributes=b' note:HasExtendedXMP="%s"' % _GUID, note="http://ns.adobe.com/xmp/note/")
    head = _EXTENSION + _GUID + long(len(extended))
    parts = [segment(0xE1, head + long(at) + extended[at : at + 3000]) for at in range(0, len(extended), 3000)]
    yield Leak("extended XMP", photo(main, *parts, packet=pointer), FACE, "XMP-(GImage|xmpNote)")


def _in_names(main: bytes) -> Iterator[Leak]:
    area = b'<mwg:Area stArea:x="0.5" stArea:y="0.4" stArea:w="0.2" stArea:h="0.3" stArea:unit="normalized"/>'
    region = b"<rdf:Description mwg:Name='%s' mwg:Type='Face'>%s</rdf:Description>" % (NAME, area)
    packets = {
        "mwg-rs": xmp(
            b"<mwg:Regions rdf:parseType='Resource'><mwg:RegionList>%s</mwg:RegionList></mwg:Regions>" % bag(region),
            mwg=_MWG, stArea="http://ns.adobe.com/xmp/sType/Area#",
        ),
        "MP": xmp(
            b"<MP:RegionInfo rdf:parseType='Resource'><MPRI:Regions>%s</MPRI:Regions></MP:RegionInfo>"
            % bag(b"<rdf:Description MPReg:PersonDisplayName='%s' MPReg:Rectangle='0.1, 0.2, 0.3, 0.4'/>" % NAME),
            MP=_MP, MPRI=_MP_INFO, MPReg=_MP_REGION,
        ),
        "PersonInImage": xmp(b"<I:PersonInImage>%s</I:PersonInImage>" % bag(NAME), I=_IPTC_EXT),
        "digiKam": xmp(
            b"<D:TagsList>%s</D:TagsList>" % bag(b"People/" + NAME, b"Places/Harbour", kind=b"Seq"),
            D="http://www.digikam.org/ns/1.0/",
        ),
        "Lightroom": xmp(
            b"<lr:hierarchicalSubject>%s</lr:hierarchicalSubject>" % bag(b"People|" + NAME, b"Places|Harbour"),
            lr="http://ns.adobe.com/lightroom/1.0/",
        ),
    }  # fmt: skip
    lost = "XMP-(mwg-rs:Region|MP:Region|iptcExt:Person|digiKam:TagsList|lr:)"
    for name, packet in packets.items():
        yield Leak(f"name {name}", photo(main, packet=packet), NAME, lost)


def _in_segments(main: bytes) -> Iterator[Leak]:
    seven = leaky.resource(0x0409, _THUMBNAIL_HEAD + FACE)
    yield Leak("Photoshop 4", photo(main, resources=seven), FACE, "Photoshop:PhotoshopBGRThumbnail")
    five = leaky.resource(0x040C, _THUMBNAIL_HEAD + FACE)
    yield Leak("Photoshop 5", photo(main, resources=five), FACE, "Photoshop:PhotoshopThumbnail")
    preview = leaky.resource(0x0404, IPTC + leaky.record(202, FACE))
    yield Leak("IPTC preview", photo(main, resources=preview), FACE, "IPTC.*:ObjectPreview")
    own = bytes([40, 48]) + RAW
    yield Leak("JFIF", photo(main, jfif=_JFIF + own), RAW, "JFIF:Thumbnail")
    yield Leak("JFXX JPEG", photo(main, segment(0xE0, b"JFXX\0\x10" + FACE)), FACE, "JFXX|Warning")
    yield Leak("JFXX RGB", photo(main, segment(0xE0, b"JFXX\0\x13" + own)), RAW, "JFXX|Warning")
    yield Leak("FlashPix", photo(main, segment(0xE2, b"FPXR\0\0\2\0\0\0\0\0\0" + FACE)), FACE, "FlashPix|Warning")
    jumbf = b"JP" + short(1) + long(1) + PROVENANCE
    yield Leak("C2PA", photo(main, segment(0xEB, jumbf)), FACE, "JUMBF|Warning")
    unheard = [segment(0xE0 + number, b"Unheard\0" + FACE) for number in range(1, 16)]
    yield Leak("unknown APP1 to APP15", photo(main, *unheard), FACE, "Warning")
    yield Leak("JFIF's APP0", photo(main, segment(0xE0, b"Unheard\0" + FACE)), FACE, "Warning")
    yield Leak("comment", photo(main, segment(0xFE, FACE)), FACE, "File:Comment")
    yield Leak("comment in base64", photo(main, segment(0xFE, b"it is " + BASE64)), FACE, "File:Comment")
    yield Leak("comment in hex", photo(main, segment(0xFE, FACE.hex().encode())), FACE, "File:Comment")


def _behind(main: bytes) -> Iterator[Leak]:
    yield Leak("trailer", photo(main, after=b"trailing" + FACE), FACE, "Warning")
    item = b"<Container:Item Item:Mime='%s' Item:Semantic='%s' Item:Length='%d'/>"
    where = b"<Container:Directory>%s</Container:Directory>"
    names = {"Container": _CONTAINER, "Item": _ITEM}
    video = where % bag(item % (b"image/jpeg", b"Primary", 0), item % (b"video/mp4", b"MotionPhoto", len(MOVIE)))
    said = b' C:MotionPhoto="1" C:MotionPhotoVersion="1" C:MicroVideo="1" C:MicroVideoOffset="%d"' % len(MOVIE)
    motion = photo(main, packet=xmp(video, said, C=_CAMERA, **names), after=MOVIE)
    yield Leak("motion photo", motion, FACE, "XMP-(C|GCamera|Container):|EmbeddedVideo")
    gain = where % bag(item % (b"image/jpeg", b"Primary", 0), item % (b"image/jpeg", b"GainMap", len(FACE)))
    hdr = xmp(gain, b' hdrgm:Version="1.0"', hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/", **names)
    lost = "XMP-(hdrgm|Container):"
    yield Leak("Ultra HDR", photo(main, packet=hdr, after=FACE), FACE, lost)
    data = struct.pack("<HHI", 0, _SAMSUNG, 16) + b"MotionPhoto_Data" + MOVIE
    entry = struct.pack("<HHII", 0, _SAMSUNG, len(data), len(data))
    samsung = data + b"SEFH" + struct.pack("<II", 106, 1) + entry + struct.pack("<I", 24) + b"SEFT"
    yield Leak("Samsung's trailer", photo(main, after=samsung), FACE, "Samsung:")
    yield Leak("MPF", _multi(main), FACE, "MPF|MPImage|^(File|JFIF):")


def _multi(main: bytes) -> bytes:
    """Two pictures in one file; the offset of the second counts from the MPF block."""

    def mpf(size: int, offset: int) -> bytes:
        entries = long(0x030000, size, 0, 0) + long(0x020002, len(FACE), offset, 0)
        listed = directory(8, (0xB000, 7, b"0100"), (0xB001, 4, long(2)), (0xB002, 7, entries))
        return segment(0xE2, b"MPF\0" + leaky.tiff({8: listed}))

    draft = photo(main, mpf(0, 0))
    return photo(main, mpf(len(draft), len(draft) - draft.index(b"MPF\0") - 4), after=FACE)
