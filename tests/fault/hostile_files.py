"""Files that are made to do harm: bombs, loops, lies about sizes. Each with what has to become of it.

Built by hand where an encoder would refuse, on the builders of tests/contract where those have what is needed.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import cv2
import hostile_parts
import leaky
import numpy as np
import pillow_heif
from leaky import directory, long, short, tiff
from leaky_others import chunk
from PIL import Image

from faceblurd.imaging.files.heif.items import Item, Property, read_items
from faceblurd.imaging.files.heif.writer import build as build_items
from faceblurd.imaging.files.webp import build as build_webp
from faceblurd.imaging.jpeg_segments import build as segment

if TYPE_CHECKING:
    from collections.abc import Iterator

pillow_heif.register_heif_opener()  # for Pillow to write it

HUGE, MOST_32 = 60_000, 2**31 - 1
PUBLISHED = "published"


@dataclass(frozen=True)
class Hostile:
    """A file, and the fates that are right: `published` (without harm), or the reasons for which it may be held.

    `from_header`: it must be refused before anything is decoded.
    """

    name: str
    content: bytes
    fates: frozenset[str]
    from_header: bool = False


def hostile(name: str, content: bytes, *fates: str) -> Hostile:
    return Hostile(name, content, frozenset(fates))


def huge(name: str, content: bytes, *fates: str) -> Hostile:
    return Hostile(name, content, frozenset(fates or ("too_large",)), from_header=True)


def everything(photo: bytes) -> Iterator[Hostile]:
    """All of them; `photo`: an honest JPEG with a face."""
    yield from _png(photo)
    yield from _apng()
    yield from _jpeg(photo)
    yield from _exif(photo)
    yield from _webp()
    yield from _gif()
    yield from _tiff()
    yield from _bmp()
    yield from _items("avif")
    yield from _items("heif")
    yield from _unfinished(photo)
    for name, content, fates in hostile_parts.everything(saved(small(), "PNG"), photo):
        yield hostile(name, content, *fates)


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


@cache
def small() -> Image.Image:
    """A picture without a face."""
    y, x = np.mgrid[:64, :64]
    return Image.fromarray(np.stack([x * 4, y * 4, x + y], axis=2).astype(np.uint8))


# --- PNG

SIGNATURE, END = b"\x89PNG\r\n\x1a\n", chunk(b"IEND", b"")


def ihdr(width: int, height: int, colour: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))


@cache
def zeros(size: int) -> bytes:
    """Zeros, compressed a thousand times."""
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)), packer.flush()])


def png_with(*chunks: bytes) -> bytes:
    plain = saved(small(), "PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]


def _png(photo: bytes) -> Iterator[Hostile]:
    nothing = chunk(b"IDAT", zlib.compress(bytes(9999)))
    yield huge("of 2^31-1 rows.png", SIGNATURE + ihdr(MOST_32, MOST_32) + nothing + END)
    yield huge("of 60000 rows.png", SIGNATURE + ihdr(HUGE, HUGE) + chunk(b"IDAT", zeros(64 << 20)) + END)
    rows = SIGNATURE + ihdr(64, 64, 0) + chunk(b"IDAT", zeros(1 << 30)) + END
    yield hostile("rows without an end.png", rows, "damaged")
    texts = [chunk(b"zTXt", b"Comment\0\0" + zeros(63 << 20))] * 200
    yield hostile("zTXt bombs.png", png_with(*texts), "too_large")
    yield hostile("a zTXt bomb.png", png_with(chunk(b"zTXt", b"Comment\0\0" + zeros(1 << 30))), "too_large")
    texts = [chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros(63 << 20))] * 200
    yield hostile("iTXt bombs.png", png_with(*texts), "too_large")
    packet = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros(1 << 30))
    yield hostile("an XMP bomb.png", png_with(packet), "too_large")
    yield hostile("an iCCP bomb.png", png_with(chunk(b"iCCP", b"sRGB\0\0" + zeros(1 << 30))), "too_large")
    hidden = chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(leaky.FACE))
    yield hostile("a photo for a colour profile.png", png_with(hidden), PUBLISHED)
    deep = b"<rdf:li>" * 200_000 + b"</rdf:li>" * 200_000
    nested = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + leaky.xmp(deep))
    yield hostile("nested XMP.png", png_with(nested), PUBLISHED)
    yield hostile("a million chunks.png", png_with(chunk(b"tEXt", b"") * 1_000_000), PUBLISHED, "damaged")


def _apng() -> Iterator[Hostile]:
    def animated(count: int, side: int, *more: bytes) -> bytes:
        frames, number = [], 0
        for index in range(count):
            place = struct.pack(">IIIIIHHBB", number, 1, 1, index % side, 0, 1, 10, 0, 0)
            pixel = zlib.compress(bytes([0, *(index >> shift & 255 for shift in (0, 4, 8))]))
            frames.append(chunk(b"fcTL", place) + chunk(b"fdAT", long(number + 1) + pixel))
            number += 2
        first = chunk(b"IDAT", zlib.compress(bytes(side * (1 + 3 * side))))
        return (
            SIGNATURE
            + ihdr(side, side)
            + chunk(b"acTL", long(count, 0))
            + b"".join(more)
            + first
            + b"".join(frames)
            + END
        )

    yield huge("4000 frames.png", animated(4_000, 8))
    yield hostile("300 frames.png", animated(300, 8), PUBLISHED)
    said = SIGNATURE + ihdr(8, 8) + chunk(b"acTL", long(MOST_32, 0)) + chunk(b"IDAT", zlib.compress(bytes(200))) + END
    # Its one picture is shown (by Pillow and OpenCV), so it comes out: as that picture, without the number of frames,
    # and with nothing that could be one. How many are named does not matter: all that are there are searched.
    yield hostile("2^31-1 frames that are not there.png", said, PUBLISHED)
    profile = chunk(b"iCCP", b"sRGB\0\0" + zeros(1 << 30))
    yield hostile("an iCCP bomb in an animation.png", animated(3, 8, profile), "too_large")
    texts = [chunk(b"zTXt", b"Comment\0\0" + zeros(63 << 20))] * 100
    yield hostile("zTXt bombs in an animation.png", animated(3, 8, *texts), "too_large")


# --- JPEG


def sof(width: int, height: int, marker: int = 0xC0) -> bytes:
    return segment(marker, struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00")


def _jpeg(photo: bytes) -> Iterator[Hostile]:
    scan = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"data"
    for marker, name in ((0xC0, "baseline"), (0xC2, "progressive")):
        yield huge(f"of 65535 rows, {name}.jpg", b"\xff\xd8" + sof(65535, 65535, marker) + scan + b"\xff\xd9")
    yield huge("3000 scans.jpg", scans(14_000, 14_000, 3000), "too_large")
    yield hostile("60 scans.jpg", scans(10_000, 10_000, 60), PUBLISHED, "damaged", "out_of_memory")
    yield huge("3000 sequential scans.jpg", scans(8_000, 8_000, 3000, marker=0xC1), "too_large")
    head, rest = photo[:2], photo[2:]
    comments = segment(0xFE, b"") * 1_000_000
    yield hostile("a million segments.jpg", head + comments + rest, PUBLISHED, "damaged")
    pieces = segment(0xE1, b"Exif\0\0MM\0*" + long(8)) + segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 800
    yield hostile("EXIF in 800 pieces.jpg", head + pieces + rest, PUBLISHED)
    blocks = segment(0xE1, b"Exif\0\0" + leaky.exif(**leaky.thumbnail(leaky.FACE))) * 400
    yield hostile("400 EXIF blocks.jpg", head + blocks + rest, PUBLISHED)
    at = photo.index(b"\xff\xda")
    for every in (1, 7, 65535):
        yield hostile(
            f"restarts every {every} that are not there.jpg",
            photo[:at] + segment(0xDD, short(every)) + photo[at:],
            PUBLISHED,
            "damaged",
            "incomplete",
        )
    marks = b"".join(b"\xff" + bytes([0xD0 + number * 5 % 8]) for number in range(50_000))
    yield hostile("restarts out of order.jpg", photo[:-2] + marks + b"\xff\xd9", PUBLISHED, "damaged")
    archive = b"PK\3\4" + bytes(26) + leaky.FACE + b"PK\5\6" + bytes(18)
    yield hostile("an archive behind.jpg", photo + archive, PUBLISHED)
    yield hostile("a whole photo in each of 100 comments.jpg", head + segment(0xFE, leaky.FACE) * 100 + rest, PUBLISHED)


def scans(width: int, height: int, count: int, *, marker: int = 0xC2) -> bytes:
    """A gray picture of nothing but runs of empty blocks, in as many scans as wanted."""
    blocks = -(-width // 8) * -(-height // 8)
    dc = segment(0xC4, b"\x00" + b"\x01" + bytes(15) + b"\x00")  # one code, 0: no difference
    parts = [b"\xff\xd8", segment(0xDB, b"\x00" + b"\x01" * 64), sof(width, height, marker), dc]
    if marker == 0xC1:
        parts.append(segment(0xC4, b"\x10" + b"\x01" + bytes(15) + b"\x00"))
        body = bytes(blocks // 4 + 1)  # two bits a block
        one = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + body
        return b"".join([*parts, one, *[segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\0"] * (count - 1), b"\xff\xd9"])
    parts.append(segment(0xDA, b"\x01\x01\x00\x00\x00\x00") + bytes(blocks // 8 + 1))
    parts.append(segment(0xC4, b"\x10" + b"\x01" + bytes(15) + b"\xe0"))  # one code, 0: a run of 2^14 and more blocks
    bits = ("0" + "1" * 14) * (blocks // 32_767 + 1)
    bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
    run = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    one = segment(0xDA, b"\x01\x01\x00\x01\x3f\x00") + run
    return b"".join([*parts, *[one] * (count - 1), b"\xff\xd9"])


# --- EXIF, in a JPEG and in others


def _exif(photo: bytes) -> Iterator[Hostile]:
    def inside(block: bytes) -> bytes:
        step = 65_000
        pieces = (segment(0xE1, b"Exif\0\0" + block[at : at + step]) for at in range(0, len(block), step))
        return photo[:2] + b"".join(pieces) + photo[2:]

    blocks = {
        "IFD1 that loops": tiff({8: directory(8, (0x112, 3, short(1)), following=8)}),
        "two IFDs that loop": tiff(
            {8: directory(8, (0x112, 3, short(1)), following=64), 64: directory(64, following=8)}
        ),
        "SubIFDs that loop": tiff(
            {8: directory(8, (0x14A, 4, long(8, 8, 8)), (0x8769, 4, long(8)), (0xA005, 4, long(8)))}
        ),
        "EXIF and interoperability that loop": tiff(
            {8: directory(8, (0x8769, 4, long(64))), 64: directory(64, (0xA005, 4, long(64)), (0x8769, 4, long(8)))}
        ),
        "offsets outside": tiff(
            {
                8: directory(
                    8,
                    (0x10F, 2, (0xFFFFFFF0, 999)),
                    (0x14A, 4, long(0xFFFFFFFF)),
                    (0x8769, 4, long(0x7FFFFFFF)),
                    following=0xFFFFFFFE,
                )
            }
        ),
        "counts of 2^32-1": tiff(
            {
                8: short(3)
                + b"".join(
                    short(tag, kind) + long(0xFFFFFFFF, 8) for tag, kind in ((0x10F, 2), (0x14A, 4), (0x8769, 12))
                )
                + long(0)
            }
        ),
        "an IFD of 65535 tags": tiff({8: short(65535) + bytes(700_000)}),
        "a maker's note of 60 kB": tiff(
            {
                8: directory(8, (0x8769, 4, long(64))),
                64: directory(64, (0x927C, 7, (128, 60_000))),
                128: leaky.FACE + b"\xff\xd8\xff\xe0\0\2" * 10_000,
            }
        ),
        "strips that all are everything": all_over(1 << 20),
        "64 SubIFDs whose strips all are everything": all_over(1 << 20, children=64),
        "GPS tags that all are everything": gps_all_over(1 << 20),
    }
    for name, block in blocks.items():
        yield hostile(f"{name}.jpg", inside(block), PUBLISHED)
        yield hostile(f"{name}.png", png_with(chunk(b"eXIf", block)), PUBLISHED)


def all_over(size: int, *, children: int = 1) -> bytes:
    """An EXIF block whose strips, thousands of them, each cover all of it."""
    count, table = size // 8, 8 + 2 + 12 + 4 + 4 * children
    child = short(2) + short(0x111, 4) + long(count, 4096) + short(0x117, 4) + long(count, 4096) + long(0)
    places = [4096 + 0x100 + 64 * number for number in range(children)]
    first = directory(8, (0x14A, 4, long(*places)))
    block = bytearray((b"MM\0*" + long(8) + first).ljust(size, b"\0"))
    assert table < 4096
    for place in places:
        block[place : place + len(child)] = child
    return bytes(block)


def gps_all_over(size: int) -> bytes:
    tags = b"".join(short(tag, 7) + long(size - 900_000, 900_000) for tag in range(1, 60_000))
    body = b"MM\0*" + long(8) + directory(8, (0x8825, 4, long(64)))
    return (body.ljust(64, b"\0") + short(59_999) + tags + long(0)).ljust(size, b"\0")


# --- WebP


def _webp() -> Iterator[Hostile]:
    plain = saved(small(), "WEBP", lossless=True)
    pixels = plain[20:]
    side = 16_383 - 1
    large = b"\x2f" + struct.pack("<I", side | side << 14) + bytes(range(1, 200))
    yield huge("of 16383 rows.webp", build_webp([(b"VP8L", large)]))
    lossy = b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", 16_383, 16_383) + bytes(range(1, 200))
    yield huge("of 16383 rows, lossy.webp", build_webp([(b"VP8 ", lossy)]))
    canvas = bytes([2, 0, 0, 0]) + b"\xff" * 6
    frame = bytes(16) + b"VP8L" + struct.pack("<I", len(pixels)) + pixels
    head = [(b"VP8X", canvas), (b"ANIM", bytes(6))]
    yield huge("a canvas of 2^24 rows.webp", build_webp([*head, (b"ANMF", frame)]))
    yield huge("4000 frames.webp", webp_of(4_000))
    yield hostile("300 frames.webp", webp_of(300), PUBLISHED)
    jpegs = b"\xff\xd8\xff\xe0\0\2" * 100_000
    yield hostile(
        "a hundred thousand starts of JPEGs.webp", build_webp([(b"VP8L", pixels + jpegs)]), "not_verified", PUBLISHED
    )
    yield hostile(
        "a million chunks.webp",
        plain[:12] + (pixels_chunk := plain[12:]) + b"free\0\0\0\0" * 1_000_000,
        PUBLISHED,
        "damaged",
    )
    many = b"WEBP" + pixels_chunk + b"free\0\0\0\0" * 1_000_000
    yield hostile("a million counted chunks.webp", b"RIFF" + struct.pack("<I", len(many)) + many, PUBLISHED, "damaged")
    # A wrong size of all is no loss (docs/formats.md): every chunk is there. The result says its true size, so that it
    # is shown where libwebp refuses the original.
    yield hostile("RIFF of 4 GB.webp", plain[:4] + b"\xfe\xff\xff\xff" + plain[8:], PUBLISHED)
    yield hostile("RIFF of nothing.webp", plain[:4] + bytes(4) + plain[8:], "damaged", "incomplete")
    claim = build_webp([(b"VP8X", bytes([4, 0, 0, 0]) + b"\x3f\0\0\x3f\0\0"), (b"VP8L", pixels)])
    yield hostile(
        "XMP of 500 MB that is not there.webp",
        claim + b"XMP " + struct.pack("<I", 500_000_000),
        PUBLISHED,
        "incomplete",
    )


def webp_of(count: int) -> bytes:
    """An animation of single pixels, no two neighbours alike."""
    dots = []
    for number in range(64):
        colour = (number * 4, 255 - number * 3, number)
        dots.append(saved(Image.new("RGB", (1, 1), colour), "WEBP", lossless=True)[12:])
    place = bytes(6) + bytes(3) + bytes(3) + (40).to_bytes(3, "little") + b"\x02"
    frames = [(b"ANMF", place + dots[number % 64]) for number in range(count)]
    canvas = bytes([2, 0, 0, 0]) + b"\x0f\0\0\x0f\0\0"
    return build_webp([(b"VP8X", canvas), (b"ANIM", bytes(6)), *frames])


# --- GIF


def _gif() -> Iterator[Hostile]:
    image = struct.pack("<BHHHHBB", 0x2C, 0, 0, 1, 1, 0, 2)
    dot = image + b"\x02\x44\x01\x00"
    head = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0xF1, 0, 0) + bytes(range(12))
    whole = struct.pack("<BHHHHBB", 0x2C, 0, 0, 65535, 65535, 0, 8) + b"\x02\x00\x01\x00"
    yield huge("of 65535 rows.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + whole + b";")
    yield huge("4000 frames.gif", head + dot * 4_000 + b";")
    moved = b"".join(
        struct.pack("<BHHHHBB", 0x2C, n % 8, n // 8 % 8, 1, 1, 0, 2)
        + (b"\x02\x44\x01\0" if n % 3 else b"\x02\x4c\x01\0")
        for n in range(300)
    )
    yield hostile("300 frames.gif", head + moved + b";", PUBLISHED)
    garbage = np.random.default_rng(5).integers(0, 256, 100_000).astype(np.uint8).tobytes()
    blocks = b"".join(b"\xff" + garbage[at : at + 255].ljust(255, b"\1") for at in range(0, len(garbage), 255))
    noise = struct.pack("<BHHHHBB", 0x2C, 0, 0, 300, 300, 0, 8) + blocks + b"\0"
    yield hostile(
        "garbage for codes.gif",
        b"GIF89a" + struct.pack("<HHBBB", 300, 300, 0xF7, 0, 0) + bytes(768) + noise + b";",
        PUBLISHED,
        "damaged",
    )
    crumbs = struct.pack("<BHHHHBB", 0x2C, 0, 0, 8, 8, 0, 2) + b"\1\x44" * 4_000_000 + b"\0"
    yield hostile("four million blocks of a byte.gif", head + crumbs + b";", "damaged")
    comments = b"!\xfe\0" * 2_000_000
    yield hostile("two million comments.gif", head + comments + dot + b";", PUBLISHED, "damaged")


# --- TIFF


def page(
    width: int, height: int, *more: tuple[int, int, int, int], compression: int = 1, size: int = 400, at: int = 600
) -> bytes:
    """An IFD, little-endian, of a gray page with one strip; `more`: tags as they stand."""
    tags = {
        256: (256, 4, 1, width), 257: (257, 4, 1, height), 258: (258, 3, 1, 8), 259: (259, 3, 1, compression),
        262: (262, 3, 1, 1), 273: (273, 4, 1, at), 277: (277, 3, 1, 1), 278: (278, 4, 1, height),
        279: (279, 4, 1, size),
        **{tag[0]: tag for tag in more},
    }  # fmt: skip
    return struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tags[tag]) for tag in sorted(tags))


def tiff_of(first: bytes, following: int = 0, rest: bytes = bytes(range(1, 201)) * 2) -> bytes:
    return (b"II*\0" + struct.pack("<I", 8) + first + struct.pack("<I", following)).ljust(600, b"\0") + rest


def _tiff() -> Iterator[Hostile]:
    for compression, name in ((1, "raw"), (5, "LZW"), (8, "deflate")):
        yield huge(f"of 2^31-1 rows, {name}.tif", tiff_of(page(MOST_32, MOST_32, compression=compression)))
    packed = zeros(1 << 30)
    yield hostile(
        "a strip that inflates to 1 GB.tif",
        tiff_of(page(20, 20, compression=8, size=len(packed)), rest=packed),
        PUBLISHED,
        "damaged",
    )
    yield hostile("a page that follows itself.tif", tiff_of(page(20, 20), 8), "damaged")
    two = bytearray(tiff_of(page(20, 20), 1200).ljust(1200, b"\1") + page(20, 20) + struct.pack("<I", 8))
    yield hostile("two pages that follow each other.tif", bytes(two), "damaged")
    yield hostile("SubIFDs that are itself.tif", tiff_of(page(20, 20, (330, 4, 1, 8))), "unsupported")
    yield hostile(
        "an EXIF directory that is itself.tif", tiff_of(page(20, 20, (0x8769, 4, 1, 8), (0x8825, 4, 1, 8))), PUBLISHED
    )
    yield hostile(
        "an IFD of 65535 tags.tif", b"II*\0" + struct.pack("<IH", 8, 65535) + bytes(800_000) + b"x", "incomplete"
    )
    count = 5_000_000
    table = b"".join(struct.pack("<I", 600) for _ in range(1)) * count
    strips = tiff_of(page(20, 20, (273, 4, count, 1000), (279, 4, count, 1000)), rest=bytes(range(1, 201)) * 2 + table)
    yield hostile("five million strips.tif", strips, "incomplete")
    tiles = tiff_of(
        page(20, 20, (322, 4, 1, 1), (323, 4, 1, 1), (324, 4, count, 1000), (325, 4, count, 1000)),
        rest=bytes(range(1, 201)) * 2 + table,
    )
    yield hostile("five million tiles.tif", tiles, "incomplete")
    wide = page(20, 20, (322, 4, 1, 65_520), (323, 4, 1, 65_520), (324, 4, 1, 600), (325, 4, 1, 400), compression=8)
    yield hostile("one tile of 65520 rows.tif", tiff_of(wide), PUBLISHED, "damaged", "unsupported", "out_of_memory")
    yield hostile(
        "999 pages in 60 MB.tif", many_pages(999, 60 << 20), PUBLISHED, "too_large", "unsupported", "deadline"
    )
    yield hostile("a thousand large pages.tif", many_pages(999, 20 << 20, side=4000), "too_large")
    yield hostile("900 pages of 4000 tags over each other.tif", overlapping_pages(900, 4_000), "damaged")
    children = 1_000_000
    sub = tiff_of(page(20, 20, (330, 4, children, 1000)), rest=bytes(400) + struct.pack("<I", 700) * children)
    sub = bytearray(sub)
    sub[600:1000] = bytes(range(1, 201)) * 2
    child = page(20, 20, (254, 4, 1, 1))
    sub[700 : 700 + len(child)] = child
    yield hostile("a million SubIFDs.tif", bytes(sub), "damaged", "unsupported")


def many_pages(count: int, size: int, *, side: int = 20) -> bytes:
    """Pages that each have a strip of their own, in a file that is large for no reason."""
    strip = bytes(range(1, 201)) * 2
    parts, at = [b"II*\0" + struct.pack("<I", 8)], 8
    for number in range(count):
        start = at + len(page(side, side)) + 4
        following = 0 if number == count - 1 else start + len(strip)
        parts += [page(side, side, at=start), struct.pack("<I", following), strip]
        at = start + len(strip)
    content = b"".join(parts)
    return content + b"\x55" * (size - len(content))


def overlapping_pages(count: int, tags: int) -> bytes:
    """Directories of thousands of tags that lie over each other, each a tag further: small, and read as gigabytes."""
    # A directory starts with its count: the upper half of the value of the tag before its own first one.
    head = struct.pack("<HHII", 60_000, 3, 1, tags << 16) * count
    basics = page(20, 20, at=200_000)[2:]
    filler = struct.pack("<HHII", 60_001, 3, 1, 7) * (tags - count - len(basics) // 12)
    links = b"".join(struct.pack("<IQ", 8 + 12 * (number + 1), 7) for number in range(count - 1)) + bytes(12)
    body = struct.pack("<H", tags) + head + basics + filler + links
    return (b"II*\0" + struct.pack("<I", 8) + body).ljust(200_000, b"\1") + bytes(range(1, 201)) * 2


# --- BMP


def _bmp() -> Iterator[Hostile]:
    def bmp(width: int, height: int, bits: int, compression: int, rows: bytes, colours: int = 0) -> bytes:
        start = 54 + 4 * colours
        info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(rows), 0, 0, colours, 0)
        return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + info + bytes(range(4)) * colours + rows

    yield huge("of 2^31-1 rows.bmp", bmp(MOST_32, MOST_32, 24, 0, b"x" * 99), "too_large", "incomplete")
    yield huge("of -2^31 rows.bmp", bmp(HUGE, -(2**31), 24, 0, b"x" * 99), "too_large", "incomplete")
    yield huge("RLE of 60000 rows.bmp", bmp(HUGE, HUGE, 8, 1, b"\xff\1" * 99, 256))
    yield hostile(
        "RLE of 14000 rows.bmp",
        bmp(14_000, 14_000, 8, 1, (b"\0\2\xff\xff" * 3) + b"\0\1", 256),
        "damaged",
        PUBLISHED,
        "out_of_memory",
    )
    yield hostile(
        "RLE that leaps.bmp",
        bmp(7_000, 7_000, 8, 1, b"\0\2\xff\xff" * 200_000, 256),
        "damaged",
        PUBLISHED,
        "out_of_memory",
    )


# --- AVIF and HEIF


def _items(kind: str) -> Iterator[Hostile]:
    plain = saved(small(), kind.upper())
    file = read_items(plain)
    one = file.items[file.primary]
    link = ((b"dimg", (one.id,)),)

    def written(*items: Item, primary: int = file.primary) -> bytes:
        return build_items(file.brands, primary, list(items))

    def sized(width: int, height: int) -> Property:
        return Property(b"ispe", bytes(4) + long(width, height), False)

    def dressed(item: Item, width: int, height: int) -> Item:
        others = tuple(p for p in item.properties if p.kind != b"ispe")
        return Item(
            item.id, item.kind, properties=(sized(width, height), *others), references=item.references, data=item.data
        )

    yield huge(f"of 2^31-1 rows.{kind}", written(dressed(one, MOST_32, MOST_32)))
    yield huge(f"of 60000 rows.{kind}", written(dressed(one, HUGE, HUGE)))
    yield hostile(f"of fewer rows than it says.{kind}", written(dressed(one, 8, 8)), "damaged")
    grid = Item(
        900,
        b"grid",
        properties=(sized(64, 64),),
        references=((b"dimg", (900,) * 65_535),),
        data=b"\0\0\xff\xff" + short(64, 64),
    )
    yield hostile(f"a grid of itself.{kind}", written(grid, primary=900), "damaged", "unsupported")
    tiles = tuple([one.id] * 65_535)
    grid = Item(
        900, b"grid", properties=(sized(64, 64),), references=((b"dimg", tiles),), data=b"\0\0\xff\xff" + short(64, 64)
    )
    yield hostile(
        f"a grid of 65535 tiles.{kind}",
        written(grid, Item(one.id, one.kind, hidden=True, properties=one.properties, data=one.data), primary=900),
        "damaged",
        "unsupported",
        PUBLISHED,
        "out_of_memory",
    )
    wide = Item(900, b"grid", properties=(sized(64, 64),), references=link, data=b"\0\1\0\0" + long(65_535, 65_535))
    yield hostile(
        f"a grid of 65535 rows that says 64.{kind}",
        written(wide, Item(one.id, one.kind, hidden=True, properties=one.properties, data=one.data), primary=900),
        "damaged",
        "unsupported",
        "out_of_memory",
    )
    loop = [
        Item(900, b"grid", hidden=True, references=((b"dimg", (901,)),), data=b"\0\0\0\0" + short(64, 64)),
        Item(
            901,
            b"grid",
            hidden=True,
            references=((b"dimg", (900,)), (b"auxl", (900,))),
            data=b"\0\0\0\0" + short(64, 64),
        ),
    ]
    yield hostile(f"references that loop.{kind}", written(one, *loop), PUBLISHED, "unsupported", "damaged")
    yield hostile(
        f"9000 items.{kind}",
        written(one, *(Item(1000 + n, b"mime", hidden=True, content_type=b"x/y") for n in range(9000))),
        PUBLISHED,
        "damaged",
    )
    yield hostile(f"extents by the million.{kind}", extents(plain), "damaged")
    yield hostile(f"extents outside.{kind}", moved_extents(plain), "incomplete", "damaged")
    heavy = Property(b"free", bytes(8 << 20), False)
    rows = [Item(1000 + n, b"mime", hidden=True, content_type=b"x/y", properties=(heavy,) * 200) for n in range(100)]
    yield hostile(f"a heavy property 20000 times.{kind}", written(one, *rows), PUBLISHED, "damaged")


def extents(plain: bytes) -> bytes:
    """An iloc of 20,000 items with 256 empty extents each, which take no bytes; and 10,000 empty stores of items."""
    at = plain.index(b"iloc") - 4
    size = struct.unpack_from(">I", plain, at)[0]
    rows = b"".join(struct.pack(">HHH", 2000 + n, 0, 256) for n in range(20_000))
    fresh = bytes(4) + b"\0\0" + short(20_000) + rows
    box = struct.pack(">I", 8 + len(fresh)) + b"iloc" + fresh
    changed = plain[:at] + box + plain[at + size :]
    meta = changed.index(b"meta") - 4
    grown = struct.unpack_from(">I", plain, meta)[0] + len(box) - size
    changed = changed[:meta] + struct.pack(">I", grown) + changed[meta + 4 :]
    return changed + (struct.pack(">I", 9) + b"mdat\1") * 9_000


def moved_extents(plain: bytes) -> bytes:
    at = plain.index(b"iloc") + 4
    return (
        plain[:at]
        + bytes([0, 0, 0, 0, 0x44, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF])
        + plain[at + 22 :]
    )


# --- not all there


def _unfinished(photo: bytes) -> Iterator[Hostile]:
    files = {
        "jpg": photo,
        **{
            end: saved(small(), kind)
            for end, kind in (("png", "PNG"), ("webp", "WEBP"), ("gif", "GIF"), ("avif", "AVIF"))
        },
    }
    files["tif"] = tiff_of(page(200, 200, size=40_000), rest=bytes(range(1, 201)) * 200)
    for end, content in files.items():
        yield hostile(f"cut.{end}", content[: len(content) * 2 // 3], "incomplete")
        yield hostile(f"a tail of zeros.{end}", content[: len(content) // 2].ljust(len(content), b"\0"), "incomplete")


def with_a_face(photo: bytes) -> bytes:
    """Another honest photo, of other bytes each time."""
    picture = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    return leaky.encoded(picture, ".jpg", (cv2.IMWRITE_JPEG_QUALITY, 93))
