"""One run over a folder of odd files: each is published rightly, or held with a reason that stays the same word."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from faceblurd.model import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HUGE = 60_000
FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF", "bmp": "BMP", "gif": "GIF", "avif": "AVIF"}


@dataclass(frozen=True)
class Odd:
    """A file, and what should become of it: `face`, `clean` or the reason why it is held."""

    content: bytes
    fate: str


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def truncated(photo: bytes) -> dict[str, Odd]:
    """Cut at twenty points, from the first bytes to the last but one: but for its end marker, that is all there."""
    ends = [20, *(len(photo) * part // 19 for part in range(1, 19))]
    cut = {f"cut at {end}.jpg": Odd(photo[:end], "incomplete") for end in ends}
    return {**cut, f"cut at {len(photo) - 1}.jpg": Odd(photo[:-1], "face")}


def padded(photo: bytes) -> dict[str, Odd]:
    half = len(photo) // 2
    return {
        "zeros behind.jpg": Odd(photo + bytes(5000), "face"),
        "zeros from the half on.jpg": Odd(photo[:half] + bytes(half), "incomplete"),
        "zeros from the half on.png": Odd(_as(photo, "PNG")[:20_000].ljust(90_000, b"\0"), "incomplete"),
        "only zeros.jpg": Odd(bytes(9000), "incomplete"),
        "empty.jpg": Odd(b"", "incomplete"),
        "empty.png": Odd(b"", "incomplete"),
    }


def misnamed(photo: bytes) -> dict[str, Odd]:
    return {
        "a photo.png": Odd(photo, "face"),
        "a photo.gif": Odd(photo, "face"),
        "a photo.dng": Odd(photo, "face"),
        "a drawing.jpg": Odd(_as(photo, "PNG"), "face"),
        "a text.jpg": Odd(b"this is no photo at all", "unsupported"),
        "a film.jpg": Odd(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(range(99)), "unsupported"),
        "a program.tif": Odd(b"\x7fELF" + bytes(range(99)), "unsupported"),
    }


def _as(photo: bytes, kind: str) -> bytes:
    return saved(Image.open(io.BytesIO(photo)), kind)


def bombs() -> dict[str, Odd]:
    """A few bytes that say that they are 60,000 pixels wide and high."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(bytes(99_999))
    png = (
        chunk(b"IHDR", struct.pack(">IIBBBBB", HUGE, HUGE, 8, 2, 0, 0, 0)) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    frame = segment(0xC0, struct.pack(">BHHB", 8, HUGE, HUGE, 1) + b"\x01\x11\x00")
    jpeg = frame + segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"data\xff\xd9"
    entries = [(256, HUGE), (257, HUGE), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, HUGE), (279, 100)]
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    tiff = (b"II*\0" + struct.pack("<IH", 8, len(entries)) + tags + bytes(4)).ljust(200, b"\0") + b"x" * 100
    small = bytearray(saved(Image.new("L", (9, 9), 7), "GIF"))
    small[6:10] = struct.pack("<HH", HUGE, HUGE)
    at = small.index(b",")
    small[at + 5 : at + 9] = struct.pack("<HH", HUGE, HUGE)
    return {
        "huge.png": Odd(b"\x89PNG\r\n\x1a\n" + png, "too_large"),
        "huge.jpg": Odd(b"\xff\xd8" + jpeg, "too_large"),
        "huge.tif": Odd(tiff, "too_large"),
        "huge.gif": Odd(bytes(small), "too_large"),
    }


def tiny() -> dict[str, Odd]:
    """One pixel in every format."""
    return {
        f"one pixel.{extension}": Odd(saved(Image.new("RGB", (1, 1), (90, 120, 60)), kind), "clean")
        for extension, kind in FORMATS.items()
    }


def long(photo: bytes) -> dict[str, Odd]:
    """A hundred frames, and more metadata than fits into one segment."""
    frames = [Image.new("RGB", (24, 20), (number, 2 * number, 255 - number)) for number in range(100)]
    gif = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=40, loop=0)
    text = b"words " * 100_000
    block = b"MM\0*" + struct.pack(">IHHHIII", 8, 1, 0x10E, 2, len(text) + 1, 26, 0) + text + b"\0"
    pieces = [segment(0xE1, b"Exif\0\0" + block[at : at + 65_527]) for at in range(0, len(block), 65_527)]
    plain = photo[photo.index(b"\xff\xdb") :]
    return {
        "a hundred frames.gif": Odd(gif, "clean"),
        "huge EXIF.jpg": Odd(b"\xff\xd8" + b"".join(pieces) + plain, "face"),
    }


NAMES = (
    b"\xff\xfe.jpg",
    b"two\nlines.jpg",
    b"-rf.jpg",
    b" .jpg",
    "\u202egpj.\u00e4.jpg".encode(),
    b"n" * 245 + b".jpg",
)


@pytest.fixture(scope="module")
def files(portraits: Callable[[int], list[bytes]]) -> dict[bytes, Odd]:
    (photo,) = portraits(1)
    named = {**truncated(photo), **padded(photo), **misnamed(photo), **bombs(), **tiny(), **long(photo)}
    return {os.fsencode(name): odd for name, odd in named.items()} | {name: Odd(photo, "face") for name in NAMES}


@pytest.fixture(scope="module")
def mirror(
    files: dict[bytes, Odd], command: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, dict[str, Any]]]:
    """What appeared, and what the command said of each file."""
    top = tmp_path_factory.mktemp("odd")
    inbox, out = top / "in", top / "out"
    inbox.mkdir()
    for name, odd in files.items():
        with open(os.path.join(os.fsencode(inbox), name), "wb") as file:
            file.write(odd.content)
    os.symlink(os.path.join(os.fsencode(inbox), NAMES[0]), os.fsencode(inbox / "link.jpg"))
    os.mkfifo(inbox / "pipe.jpg")
    (inbox / "folder.jpg").mkdir()
    done = command("blur", str(inbox), "--to", str(out), "--json")
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return out, {os.path.basename(one["path"]): one for one in said}


def test_each_is_published_or_held_with_its_reason(files: dict[bytes, Odd], mirror: Any) -> None:
    _, said = mirror
    fates = {name: one["reason"] or ("face" if one["faces"] else "clean") for name, one in said.items()}
    expected = {printable(os.fsdecode(name)): odd.fate for name, odd in files.items()}
    assert {name: fates.get(name) for name in expected} == expected


def test_nothing_but_the_published_appears(files: dict[bytes, Odd], mirror: Any) -> None:
    out, _ = mirror
    published = {name for name, odd in files.items() if odd.fate in {"face", "clean"}}
    assert set(os.listdir(os.fsencode(out))) == published


def test_no_face_is_left_in_what_appeared(
    files: dict[bytes, Odd], mirror: Any, face_is_hidden: Callable[[bytes], bool]
) -> None:
    out, _ = mirror
    for name, odd in files.items():
        if odd.fate == "face":
            content = _read(out, name)
            as_jpeg = content if content.startswith(b"\xff\xd8") else _as(content, "JPEG")
            assert face_is_hidden(as_jpeg), name


def test_what_is_long_stays_as_long(files: dict[bytes, Odd], mirror: Any) -> None:
    out, _ = mirror
    with Image.open(io.BytesIO(_read(out, b"a hundred frames.gif"))) as gif:
        shown = [
            (frame.convert("RGB").getpixel((3, 3)), frame.info["duration"]) for frame in ImageSequence.Iterator(gif)
        ]
    assert len(shown) == 100
    with Image.open(io.BytesIO(files[b"a hundred frames.gif"].content)) as gif:
        assert shown == [
            (frame.convert("RGB").getpixel((3, 3)), frame.info["duration"]) for frame in ImageSequence.Iterator(gif)
        ]
    before, after = files[b"huge EXIF.jpg"].content, _read(out, b"huge EXIF.jpg")
    metadata = slice(2, before.index(b"\xff\xdb"))
    assert after[metadata] == before[metadata]


def test_one_pixel_stays_the_same_pixel(mirror: Any) -> None:
    out, _ = mirror
    for extension in FORMATS:
        with Image.open(io.BytesIO(_read(out, f"one pixel.{extension}".encode()))) as image:
            assert np.abs(np.subtract(image.convert("RGB").getpixel((0, 0)), (90, 120, 60))).max() < 12, extension


def _read(folder: Path, name: bytes) -> bytes:
    with open(os.path.join(os.fsencode(folder), name), "rb") as file:
        return file.read()
