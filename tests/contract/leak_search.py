"""Looking for what must be gone: in the bytes of a file, in whatever coat, and with exiftool."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shutil
import subprocess
import zlib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PIECE = 64
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]{200,}={0,2}")
_HEX = re.compile(rb"[0-9A-Fa-f\s]{200,}")
_ENTITY = re.compile(rb"&#x?[0-9A-Fa-f]+;")


def shows(content: bytes, secret: bytes) -> bool:
    """Say whether any piece of a secret is in a file: as it is, deflated (PNG), in base64 or in hexadecimal."""
    pieces = _pieces(secret)
    assert pieces
    return any(piece in layer for layer in _layers(content) for piece in pieces)


def _pieces(secret: bytes) -> list[bytes]:
    """All of it, and each 64 bytes of what makes it this picture and no other: a JPEG's entropy-coded data."""
    start = secret.index(b"\xff\xda") + 14 if secret[:2] == b"\xff\xd8" else 0
    found = [secret[at : at + _PIECE] for at in range(start, len(secret) - _PIECE, _PIECE)]
    return [secret, *(piece for piece in found if len(set(piece)) > 20)]


def _layers(content: bytes) -> Iterator[bytes]:
    plain = [content, *(_inflated(content) if content.startswith(b"\x89PNG") else ())]
    plain += [_without_lengths(content)] if content.startswith(b"GIF8") else []
    for layer in plain:
        yield layer
        text = _ENTITY.sub(b"", layer)
        for run in _BASE64.finditer(text):  # which may start with letters of something else
            letters = re.sub(rb"\s", b"", run[0]).rstrip(b"=")
            yield from (base64.b64decode(letters[at : len(letters) - (len(letters) - at) % 4]) for at in range(4))
        for run in _HEX.finditer(text):
            digits = re.sub(rb"\s", b"", run[0])
            yield from (binascii.unhexlify(digits[at : len(digits) - (len(digits) - at) % 2]) for at in range(2))


def _inflated(content: bytes) -> Iterator[bytes]:
    """Inflate whatever starts like a zlib stream."""
    for start in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", content):
        try:
            yield zlib.decompressobj().decompress(content[start.start() :], 1 << 20)
        except zlib.error:
            continue


def _without_lengths(content: bytes) -> bytes:
    """Join the blocks of 255 bytes of a GIF's extensions."""
    found = re.finditer(rb"!(?:\xfe|\xff\x0b.{11})((?:\xff.{255})+)(.)", content, re.DOTALL)
    return b"".join(b"".join(run[1][at + 1 : at + 256] for at in range(0, len(run[1]), 256)) for run in found)


def need_exiftool() -> None:
    """Skip without it; fail where the checks of a change run."""
    if shutil.which("exiftool") is None:
        assert not os.environ.get("CI"), "exiftool is missing: .ci/run installs it"
        pytest.skip("needs exiftool")


_HARDLY_FACTS = ("--System:all", "--Composite:all", "--ExifToolVersion", "--CurrentIPTCDigest")


def told_by_exiftool(folder: Path) -> dict[str, dict[str, list[Any]]]:
    """What exiftool finds in each file of a folder: values by tag, unknown tags and embedded files included."""
    command = ["exiftool", "-j", "-G1:4", "-a", "-u", "-ee", *_HARDLY_FACTS, str(folder)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=500)
    told: dict[str, dict[str, list[Any]]] = {}
    for tags in json.loads(done.stdout):
        found = told.setdefault(os.path.basename(tags.pop("SourceFile")), {})
        for tag, value in tags.items():
            found.setdefault(re.sub(r":Copy\d+:", ":", tag), []).append(value)
    return told


def extracted_by_exiftool(folder: Path, into: Path) -> dict[str, list[bytes]]:
    """The pictures and films that exiftool can take out of each file of a folder."""
    names = ["-Preview:all", "-EmbeddedVideo", "-EmbeddedVideoFile", "-ObjectPreviewData", "-DepthImage", "-ImageData"]
    command = ["exiftool", "-q", "-q", "-a", "-b", "-ee", "-W", f"{into}/%f.%e/%t%-c", *names, str(folder)]
    subprocess.run(command, capture_output=True, check=False, timeout=500)
    return {one.name: [file.read_bytes() for file in one.iterdir()] for one in into.iterdir()}


def changed(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> set[str]:
    """The tags whose values differ."""
    return {tag for tag in before.keys() | after.keys() if before.get(tag) != after.get(tag)}
