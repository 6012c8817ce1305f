"""What the files of the leak tests are made of: pictures of one face, and metadata that is put together by hand."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
from PIL import ImageCms

if TYPE_CHECKING:
    import numpy.typing as npt

    Value = bytes | tuple[int, int]

ASTRONAUT = Path(__file__).resolve().parents[2] / "demo" / "astronaut.jpg"
NAME = b"Zoe Quixote"
SIZES = {2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 13: 4}


@dataclass(frozen=True)
class Leak:
    """A file that leaks. `secret` must be gone from it; `lost`: which of exiftool's tags may go or change with it."""

    name: str
    content: bytes
    secret: bytes
    lost: str


@cache
def astronaut() -> npt.NDArray[Any]:
    picture = cv2.imread(str(ASTRONAUT))
    assert picture is not None
    return picture


def portrait() -> npt.NDArray[Any]:
    """A main picture with a face."""
    return astronaut()[30:210, 150:310]


def scenery() -> npt.NDArray[Any]:
    """A main picture without one."""
    return astronaut()[380:512, 270:430]


def encoded(picture: npt.NDArray[Any], extension: str = ".jpg", options: tuple[int, ...] = ()) -> bytes:
    done, content = cv2.imencode(extension, picture, options)
    assert done
    return content.tobytes()


def face(width: int, height: int) -> npt.NDArray[Any]:
    return cv2.resize(astronaut()[30:210, 150:300], (width, height), interpolation=cv2.INTER_AREA)


FACE = encoded(face(120, 144), ".jpg", (cv2.IMWRITE_JPEG_QUALITY, 88))
RAW = face(40, 48)[:, :, ::-1].tobytes()
BASE64 = base64.b64encode(FACE)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MOVIE = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + struct.pack(">I", len(FACE) + 8) + b"mdat" + FACE
PROVENANCE = struct.pack(">I4s", len(FACE) + 8, b"jumb") + FACE


# --- TIFF structures, big-endian


def long(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def short(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def directory(at: int, *entries: tuple[int, int, Value], following: int = 0) -> bytes:
    """An IFD for the place `at`, of tags with type and value; a pair says where the value lies, and its length."""
    values, table = b"", short(len(entries))
    behind = at + 2 + 12 * len(entries) + 4
    for tag, kind, value in entries:
        if isinstance(value, tuple):
            where, size = long(value[0]), value[1]
        elif len(value) <= 4:
            where, size = value.ljust(4, b"\0"), len(value)
        else:
            where, size = long(behind + len(values)), len(value)
            values += value + b"\0" * (len(value) % 2)
        table += short(tag, kind) + long(size // SIZES[kind]) + where
    return table + long(following) + values


def tiff(parts: dict[int, bytes]) -> bytes:
    """A TIFF block with these bytes at these places; the first directory lies at 8."""
    content = b"MM\0*\0\0\0\x08"
    for at, part in sorted(parts.items()):
        assert len(content) <= at, f"{at} is taken"
        content = content.ljust(at, b"\0") + part
    return content


NOTE, GPS, SECOND, BEHIND = 0x300, 0x3000, 0x3100, 0x3200


def exif(
    *tags: tuple[int, int, Value],
    note: bytes | None = None,
    second: bytes = b"",
    rest: bytes = b"",
    chained: bool = True,
) -> bytes:
    """An EXIF block with more tags, a maker's note, a second directory, and bytes at BEHIND."""
    note = nikon() if note is None else note
    first = directory(
        8, (0x10E, 2, b"A description\0"), (0x10F, 2, b"NIKON CORPORATION\0"), (0x110, 2, b"NIKON D70\0"),
        (0x112, 3, short(1)), (0x132, 2, b"2024:05:06 07:08:09\0"), *tags,
        (0x8769, 4, long(0x200)), (0x8825, 4, long(GPS)), following=SECOND if second and chained else 0,
    )  # fmt: skip
    camera = directory(
        0x200, (0x829A, 5, long(1, 125)), (0x9000, 7, b"0230"), (0x927C, 7, (NOTE, len(note))),
        (0x9286, 7, b"ASCII\0\0\0A comment"),
    )  # fmt: skip
    places = directory(GPS, (1, 2, b"N\0"), (2, 5, long(48, 1, 12, 1, 30, 1)))
    return tiff({8: first, 0x200: camera, NOTE: note, GPS: places, SECOND: second, BEHIND: rest})


def thumbnail(content: bytes) -> dict[str, bytes]:
    """The second directory of an EXIF block, with a JPEG."""
    named = directory(SECOND, (0x103, 3, short(6)), (0x201, 4, long(BEHIND)), (0x202, 4, long(len(content))))
    return {"second": named, "rest": content}


def nikon(preview: bytes = b"") -> bytes:
    """A maker's note as Nikon writes it, a TIFF block of its own; with a preview, if wanted."""
    named = directory(0x60, (0x103, 3, short(6)), (0x201, 4, long(0xA0)), (0x202, 4, long(len(preview))))
    facts: list[tuple[int, int, Value]] = [(0x1, 7, b"0210"), (0x2, 3, short(0, 200)), (0x80, 2, b"AUTO\0")]
    where: list[tuple[int, int, Value]] = [(0x11, 4, long(0x60))] if preview else []
    rest = {0x60: named, 0xA0: preview} if preview else {}
    return b"Nikon\0\x02\x10\0\0" + tiff({8: directory(8, *facts, *where)} | rest)


# --- XMP and Photoshop

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_PACKET = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="%s">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmp:Rating="4" xmp:Label="Green"%s><dc:source>A &amp; B</dc:source>%s</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def xmp(inner: bytes = b"", attributes: bytes = b"", **schemas: str) -> bytes:
    """A packet with more in its one description."""
    named = "".join(f' xmlns:{prefix}="{schema}"' for prefix, schema in schemas.items()).encode()
    return _PACKET % (RDF.encode(), named + attributes, inner)


def bag(*items: bytes, kind: bytes = b"Bag") -> bytes:
    return b"<rdf:%s>%s</rdf:%s>" % (kind, b"".join(b"<rdf:li>%s</rdf:li>" % item for item in items), kind)


def resource(number: int, body: bytes) -> bytes:
    return b"8BIM" + short(number) + b"\0\0" + long(len(body)) + body + b"\0" * (len(body) % 2)


def record(number: int, body: bytes) -> bytes:
    return b"\x1c\x02" + bytes([number]) + short(len(body)) + body


IPTC = record(0, b"\0\4") + record(120, b"A caption") + record(25, b"harbour") + record(80, b"A. Photographer")
