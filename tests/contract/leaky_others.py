"""Files of other formats than JPEG that carry a face, or a name, a second time."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import leaky
from leaky import BASE64, FACE, ICC, IPTC, NAME, PROVENANCE, Leak, bag, directory, exif, long, short, xmp
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    from leaky import Value

_IMAGE = {"GImage": "http://ns.google.com/photos/1.0/image/"}
_PERSON = {"I": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"}
_WITH_IMAGE = xmp(b"<GImage:Data>%s</GImage:Data>" % BASE64, **_IMAGE)
_WITH_NAME = xmp(b"<I:PersonInImage>%s</I:PersonInImage>" % bag(NAME), **_PERSON)
_RESOURCE = leaky.resource(0x040C, struct.pack(">6I2H", 1, 120, 144, 360, 51840, len(FACE), 24, 1) + FACE)


def leaks(main: npt.NDArray[Any]) -> Iterator[Leak]:
    """All of them, around one main picture; names end in the extension."""
    yield from (*_in_png(main), *_in_webp(main), *_in_tiff(main), *_in_gif(main), *_in_avif(main))


# --- PNG


def chunk(kind: bytes, body: bytes) -> bytes:
    return long(len(body)) + kind + body + long(zlib.crc32(kind + body))


def _itxt(packet: bytes) -> bytes:
    return chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)


def _profile(kind: bytes, content: bytes) -> bytes:
    """ImageMagick's way to put a block into a text."""
    lines = b"\n".join(content.hex().encode()[at : at + 72] for at in range(0, 2 * len(content), 72))
    return chunk(
        b"zTXt", b"Raw profile type " + kind + b"\0\0" + zlib.compress(b"\n%s\n%8d\n%s\n" % (kind, len(content), lines))
    )


def _png(
    main: npt.NDArray[Any],
    *extra: bytes,
    block: bytes = b"",
    packet: bytes = b"",
    late: bytes = b"",
    after: bytes = b"",
) -> bytes:
    plain = leaky.encoded(main, ".png")
    parts = [
        chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(ICC)), chunk(b"tEXt", b"Title\0A title that may stay"),
        chunk(b"eXIf", block or exif()), _itxt(packet or xmp()), *extra,
    ]  # fmt: skip
    end = plain.rindex(b"IEND") - 4
    return plain[:33] + b"".join(parts) + plain[33:end] + late + plain[end:] + after


def _in_png(main: npt.NDArray[Any]) -> Iterator[Leak]:
    text, packed = chunk(b"tEXt", b"Comment\0" + BASE64), zlib.compress(BASE64)
    files = {
        "eXIf": (_png(main, block=exif(**leaky.thumbnail(FACE))), "IFD1"),
        "tEXt": (_png(main, text), "PNG:Comment"),
        "tEXt behind the rows": (_png(main, late=text), "PNG:Comment|Warning"),
        "zTXt": (_png(main, chunk(b"zTXt", b"Comment\0\0" + packed)), "PNG:Comment"),
        "iTXt": (_png(main, chunk(b"iTXt", b"Comment\0\1\0\0\0" + packed)), "PNG:Comment"),
        "XMP": (_png(main, packet=_WITH_IMAGE), "XMP-GImage"),
        "EXIF profile": (
            _png(main, _profile(b"exif", b"Exif\0\0" + exif(**leaky.thumbnail(FACE)))),
            "IFD|GPS|Nikon|File:ExifByteOrder",
        ),
        "Photoshop profile": (_png(main, _profile(b"iptc", _RESOURCE)), "Photoshop:PhotoshopThumbnail"),
        "C2PA": (_png(main, chunk(b"caBX", PROVENANCE)), "JUMBF|Warning"),
        "private chunk": (_png(main, chunk(b"prVw", FACE)), "PNG|Warning"),
        "trailer": (_png(main, after=FACE), "Warning"),
    }
    for name, (content, lost) in files.items():
        yield Leak(f"PNG {name}.png", content, FACE, lost)
    yield Leak("PNG name.png", _png(main, packet=_WITH_NAME), NAME, "XMP-iptcExt:Person")


# --- WebP


def _webp(
    main: npt.NDArray[Any],
    *extra: tuple[bytes, bytes],
    block: bytes = b"",
    packet: bytes = b"",
    lossless: bool = True,
) -> bytes:
    out = io.BytesIO()
    Image.fromarray(main[:, :, ::-1]).save(out, "WEBP", lossless=lossless, method=0)
    plain = out.getvalue()[12:]
    size = struct.pack("<I", main.shape[1] - 1)[:3] + struct.pack("<I", main.shape[0] - 1)[:3]
    chunks = [(b"VP8X", b"\x2c\0\0\0" + size), (b"ICCP", ICC)]
    behind = [(b"EXIF", block or exif()), (b"XMP ", packet or xmp()), *extra]
    head, tail = (b"".join(_riff(*one) for one in part) for part in (chunks, behind))
    content = b"WEBP" + head + plain + tail
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _riff(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _in_webp(main: npt.NDArray[Any]) -> Iterator[Leak]:
    with_thumbnail = exif(**leaky.thumbnail(FACE))
    files = {
        "EXIF": (_webp(main, block=with_thumbnail), "IFD1"),
        "EXIF with its prefix": (_webp(main, block=b"Exif\0\0" + with_thumbnail), "IFD1"),
        "EXIF in a lossy one": (_webp(main, block=with_thumbnail, lossless=False), "IFD1"),
        "maker's note": (_webp(main, block=exif(note=leaky.nikon(FACE))), "PreviewIFD|Nikon:PreviewIFD"),
        "XMP": (_webp(main, packet=_WITH_IMAGE), "XMP-GImage"),
        "C2PA": (_webp(main, (b"C2PA", PROVENANCE)), "JUMBF|RIFF:Unknown|Warning"),
        "private chunk": (_webp(main, (b"PRVW", FACE)), "RIFF:Unknown|Warning"),
        "trailer": (_webp(main) + FACE, "Warning"),
    }
    for name, (content, lost) in files.items():
        yield Leak(f"WebP {name}.webp", content, FACE, lost)
    yield Leak("WebP name.webp", _webp(main, packet=_WITH_NAME), NAME, "XMP-iptcExt:Person")


# --- TIFF

_PLACES = {"xmp": 0x1000, "resources": 0x6000, "icc": 0xA000, "rows": 0xD000}
_FURTHER = 0xB000


def _page(at: int, shape: tuple[int, ...], *more: tuple[int, int, Value], rows: int, following: int = 0) -> bytes:
    entries: list[tuple[int, int, Value]] = [
        (0x100, 4, long(shape[1])), (0x101, 4, long(shape[0])), (0x102, 3, short(8, 8, 8)), (0x103, 3, short(1)),
        (0x106, 3, short(2)), (0x10E, 2, b"A description\0"), (0x111, 4, long(rows)), (0x115, 3, short(3)),
        (0x116, 4, long(shape[0])), (0x117, 4, long(shape[0] * shape[1] * 3)), (0x11C, 3, short(1)), *more,
    ]  # fmt: skip
    return directory(at, *sorted(entries), following=following)


def _tiff(
    main: npt.NDArray[Any],
    *more: tuple[int, int, Value],
    packet: bytes = b"",
    resources: bytes = b"",
    following: int = 0,
    further: dict[int, bytes] | None = None,
) -> bytes:
    packet, resources = packet or xmp(), leaky.resource(0x0404, IPTC) + resources
    where = _PLACES
    tags: list[tuple[int, int, Value]] = [
        (0x2BC, 7, (where["xmp"], len(packet))), (0x8649, 7, (where["resources"], len(resources))),
        (0x8773, 7, (where["icc"], len(ICC))), *more,
    ]  # fmt: skip
    page = _page(8, main.shape, *tags, rows=where["rows"], following=following)
    parts = {8: page, where["xmp"]: packet, where["resources"]: resources, where["icc"]: ICC}
    return leaky.tiff(parts | {where["rows"]: main[:, :, ::-1].tobytes()} | (further or {}))


def _in_tiff(main: npt.NDArray[Any]) -> Iterator[Leak]:
    small = leaky.face(40, 48)
    second = _page(_FURTHER, small.shape, (0xFE, 4, long(1)), rows=_FURTHER + 0x400)
    pages = {_FURTHER: second, _FURTHER + 0x400: leaky.RAW}
    old = {_FURTHER: directory(_FURTHER, (0x201, 4, long(_FURTHER + 64)), (0x202, 4, long(len(FACE)))).ljust(64) + FACE}
    files = {
        "Photoshop": (_tiff(main, resources=_RESOURCE), "Photoshop:PhotoshopThumbnail|Warning"),
        "XMP": (_tiff(main, packet=_WITH_IMAGE), "XMP-GImage"),
        "private tag": (_tiff(main, (0xC6D2, 7, (_FURTHER, len(FACE))), further={_FURTHER: FACE}), "PanasonicTitle"),
        "unused bytes": (_tiff(main, further={_FURTHER: FACE}), "Warning"),
        "JPEG in a sub-directory": (_tiff(main, (0x14A, 4, long(_FURTHER)), further=old), "SubIFD|Warning"),
    }
    for name, (content, lost) in files.items():
        yield Leak(f"TIFF {name}.tif", content, FACE, f"{lost}|IFD0:Strip(Offsets|ByteCounts)")
    yield Leak("TIFF name.tif", _tiff(main, packet=_WITH_NAME), NAME, "XMP-iptcExt:Person|IFD0:Strip")
    sub = _tiff(main, (0x14A, 4, long(_FURTHER)), further=pages)
    yield Leak("TIFF sub-directory.tif", sub, leaky.RAW, "SubIFD|IFD0:Strip|Warning")
    face = leaky.RAW[8 * 40 * 3 : 36 * 40 * 3]  # a page like any other: what lies beside the ellipse stays
    yield Leak("TIFF second page.tif", _tiff(main, following=_FURTHER, further=pages), face, "IFD[01]:")


# --- GIF and AVIF


def _blocks(content: bytes) -> bytes:
    pieces = (content[at : at + 255] for at in range(0, len(content), 255))
    return b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"


def _gif(main: npt.NDArray[Any], *extra: bytes, packet: bytes = b"", after: bytes = b"") -> bytes:
    out = io.BytesIO()
    Image.fromarray(main[:, :, ::-1]).quantize(200).save(out, "GIF")
    plain = out.getvalue()
    start = plain.index(b"!") if b"!" in plain[781:790] else plain.index(b",", 13 + 3 * 256)
    # XMP lies there as it is, with a trailer that leads any reader of blocks to its end
    magic = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    named = b"!\xff\x0bXMP DataXMP" + (packet or xmp()) + magic
    comment = b"!\xfe" + _blocks(b"A comment that may stay")
    return plain[:start] + named + comment + b"".join(extra) + plain[start:] + after


def _in_gif(main: npt.NDArray[Any]) -> Iterator[Leak]:
    files = {
        "comment": (_gif(main, b"!\xfe" + _blocks(FACE)), "File:Comment"),
        "comment in base64": (_gif(main, b"!\xfe" + _blocks(BASE64)), "File:Comment"),
        "unknown extension": (_gif(main, b"!\xff\x0bUNHEARD 1.0" + _blocks(FACE)), "Warning"),
        "XMP": (_gif(main, packet=_WITH_IMAGE), "XMP-GImage"),
        "trailer": (_gif(main, after=FACE), "Warning"),
    }
    for name, (content, lost) in files.items():
        yield Leak(
            f"GIF {name}.gif",
            content,
            FACE,
            f"{lost}|GIF:(GIFVersion|HasColorMap|ColorRes|BitsPerPixel|BackgroundColor)",
        )


def _in_avif(main: npt.NDArray[Any]) -> Iterator[Leak]:
    coded = "QuickTime:(MediaData|.*Flags|.*Brand|Chroma|.*Track|.*Level)|File:FileType"
    for name, block, packet, secret, lost in (
        ("EXIF", exif(**leaky.thumbnail(FACE)), xmp(), FACE, "IFD1"),
        ("maker's note", exif(note=leaky.nikon(FACE)), xmp(), FACE, "PreviewIFD|Nikon:PreviewIFD"),
        ("XMP", exif(), _WITH_IMAGE, FACE, "XMP-GImage"),
        ("name", exif(), _WITH_NAME, NAME, "XMP-iptcExt:Person"),
    ):
        out = io.BytesIO()
        plain = block.replace(b"\x01\x12\0\3", b"\x01\x28\0\3")  # Pillow writes all of it anew for an orientation
        Image.fromarray(main[:, :, ::-1]).save(out, "AVIF", exif=plain, xmp=packet, icc_profile=ICC, speed=10)
        yield Leak(f"AVIF {name}.avif", out.getvalue(), secret, f"{lost}|{coded}")
