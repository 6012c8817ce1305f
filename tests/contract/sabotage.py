"""Photos of every kind with two faces in each, and ways to spoil their redaction while the claim stays right."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from leaky import portrait
from PIL import Image

from faceblurd.imaging.files import animation, still, tiff
from faceblurd.imaging.files.heif import heic
from faceblurd.imaging.files.jpeg import painting
from faceblurd.imaging.files.jpeg.laying import lay_over
from faceblurd.imaging.metadata import exif_scrub
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.model import Region
from faceblurd.workers import toolbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt
    import pytest

    from faceblurd.imaging.picture import Encoded, Picture
    from faceblurd.imaging.redact.soft import Box, Ellipse

WIDTH, HEIGHT = 176, 128


# --- photos


def faces(seed: int) -> list[Region]:
    """Where the two faces of a photo are, in their order; the second one never touches the first."""
    rng = np.random.default_rng(seed)
    found = []
    for left in (8, 96):
        width = int(rng.integers(26, 57))
        height = int(width * 1.25)
        x, y = left + int(rng.integers(0, 70 - width)), 8 + int(rng.integers(0, 100 - height))
        found.append(Region(x=x, y=y, width=width, height=height, score=1.0, found_by="test"))
    return found


def photo(seed: int) -> npt.NDArray[np.uint8]:
    """Return a wall with a pattern, some grain, and the faces: BGR."""
    rng = np.random.default_rng(1000 + seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    wave = np.sin((x * rng.normal() + y * rng.normal()) / rng.uniform(2, 20))
    wall = rng.uniform(60, 190, 3) + wave[:, :, None] * rng.uniform(0, 50)
    grain = rng.normal(0, rng.uniform(0, 8), (*x.shape, 1))
    picture = np.clip(wall + grain, 0, 255).astype(np.uint8)
    face = portrait()
    for region in faces(seed):
        small = cv2.resize(face, (region.width, region.height), interpolation=cv2.INTER_AREA)
        small = small[:, ::-1] if rng.integers(2) else small
        lit = np.clip(small * rng.uniform(0.6, 1.2), 0, 255).astype(np.uint8)
        picture[region.y : region.y + region.height, region.x : region.x + region.width] = lit
    return picture


def _saved(pixels: npt.NDArray[Any], kind: str, mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))
    if mode == "RGBA":
        image.putalpha(Image.fromarray(np.full(pixels.shape[:2], 200, np.uint8)))
    image.convert(mode).save(out, kind, **options)
    return out.getvalue()


def _several(pixels: npt.NDArray[Any], kind: str, **options: Any) -> bytes:
    """Return the photo twice, one frame or page after the other, a shade darker."""
    out = io.BytesIO()
    first, second = (Image.fromarray(np.ascontiguousarray(one[:, :, ::-1])) for one in (pixels, pixels - pixels // 8))
    first.save(out, kind, save_all=True, append_images=[second], **options)
    return out.getvalue()


def _deep(pixels: npt.NDArray[Any], extension: str) -> bytes:
    return bytes(cv2.imencode(extension, pixels.astype(np.uint16) * 257)[1])


def _deep_gray(pixels: npt.NDArray[Any], extension: str) -> bytes:
    return bytes(cv2.imencode(extension, cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY).astype(np.uint16) * 257)[1])


def _with_thumbnail(pixels: npt.NDArray[Any], kind: str, **options: Any) -> bytes:
    from leaky import exif, thumbnail

    small = cv2.imencode(".jpg", cv2.resize(pixels, (80, 58), interpolation=cv2.INTER_AREA))[1].tobytes()
    return _saved(pixels, kind, exif=b"Exif\0\0" + exif(**thumbnail(small)), **options)


def _heic(pixels: npt.NDArray[Any], mode: str = "RGB", **options: Any) -> bytes:
    return heic.encoded(Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1])).convert(mode), **options)


def _with_copy(pixels: npt.NDArray[Any]) -> bytes:
    """Return a TIFF with a reduced copy as its second page."""
    out = io.BytesIO()
    whole = Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))
    small = whole.resize((WIDTH // 2, HEIGHT // 2))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    whole.save(out, "TIFF", save_all=True, append_images=[small])
    return out.getvalue()


KINDS: Final[dict[str, Callable[[npt.NDArray[Any]], bytes]]] = {
    "jpeg": partial(_saved, kind="JPEG", quality=92),
    "jpeg 4:4:4": partial(_saved, kind="JPEG", quality=85, subsampling=0),
    "jpeg 4:2:2, optimised": partial(_saved, kind="JPEG", quality=80, subsampling=1, optimize=True),
    "jpeg, quality 30": partial(_saved, kind="JPEG", quality=30),
    "jpeg, gray": partial(_saved, kind="JPEG", mode="L"),
    "jpeg, CMYK": partial(_saved, kind="JPEG", mode="CMYK"),
    "jpeg, RGB": partial(_saved, kind="JPEG", keep_rgb=True),
    "jpeg, progressive": partial(_saved, kind="JPEG", progressive=True, quality=90),
    "jpeg, restarts": partial(_saved, kind="JPEG", restart_marker_blocks=3),
    "jpeg, thumbnail": partial(_with_thumbnail, kind="JPEG"),
    "png": partial(_saved, kind="PNG"),
    "png, gray": partial(_saved, kind="PNG", mode="L"),
    "png, alpha": partial(_saved, kind="PNG", mode="RGBA"),
    "png, palette": partial(_saved, kind="PNG", mode="P"),
    "png, 1 bit": partial(_saved, kind="PNG", mode="1"),
    "png, 16 bit": partial(_deep, extension=".png"),
    "png, animated": partial(_several, kind="PNG"),
    "webp": partial(_saved, kind="WEBP"),
    "webp, lossless": partial(_saved, kind="WEBP", lossless=True),
    "webp, alpha": partial(_saved, kind="WEBP", mode="RGBA"),
    "webp, animated": partial(_several, kind="WEBP"),
    "tiff": partial(_saved, kind="TIFF"),
    "tiff, LZW gray": partial(_saved, kind="TIFF", mode="L", compression="tiff_lzw"),
    "tiff, CMYK": partial(_saved, kind="TIFF", mode="CMYK"),
    "tiff, palette": partial(_saved, kind="TIFF", mode="P"),
    "tiff, 1 bit": partial(_saved, kind="TIFF", mode="1"),
    "tiff, 16 bit": partial(_deep, extension=".tiff"),
    "tiff, 16 bit gray": partial(_deep_gray, extension=".tiff"),
    "tiff, pages": partial(_several, kind="TIFF"),
    "tiff, reduced copy": _with_copy,
    "bmp": partial(_saved, kind="BMP"),
    "bmp, palette": partial(_saved, kind="BMP", mode="P"),
    "bmp, 1 bit": partial(_saved, kind="BMP", mode="1"),
    "gif": partial(_saved, kind="GIF", mode="P"),
    "gif, animated": partial(_several, kind="GIF"),
    "avif": partial(_saved, kind="AVIF", quality=80),
    "avif, gray": partial(_saved, kind="AVIF", mode="L", subsampling="4:0:0"),
    "heic": _heic,
    "heic, 10 bit": partial(_heic, bits=10),
}


# --- what goes wrong


def _left_out(regions: list[Region]) -> list[Region]:
    return regions[1:]


def _left_half(regions: list[Region]) -> list[Region]:
    return [replace(regions[0], width=regions[0].width // 2), *regions[1:]]


def _shifted(regions: list[Region]) -> list[Region]:
    return [replace(regions[0], x=regions[0].x + regions[0].width // 2), *regions[1:]]


WAYS: Final = {"one region left out": _left_out, "half of one": _left_half, "one shifted by half": _shifted}


def _in_one_frame(picture: Any, way: str, regions: Sequence[Region]) -> list[Region]:
    """Spoil the last frame only, unless it is a copy, whose regions follow from another one's."""
    copied = len(picture.with_copies(regions)) > len(regions)
    spoiled = 0 if copied else max(region.frame for region in regions)
    mine = [region for region in regions if region.frame == spoiled]
    return [*(region for region in regions if region.frame != spoiled), *WAYS[way](mine)]


@contextlib.contextmanager
def wrong_regions(patch: pytest.MonkeyPatch, picture: Picture, way: str) -> Iterator[None]:
    """Let the redaction hide other regions than it was asked to."""
    original = type(picture).redacted

    def redacted(self: Any, regions: Any, blur: Any, scrub: Any) -> Encoded:
        return original(self, _in_one_frame(self, way, regions), blur, scrub)

    with patch.context() as inside:
        inside.setattr(type(picture), "redacted", redacted)
        yield


def _spoilt(ellipse: Ellipse, way: str) -> list[Ellipse]:
    """Return what is left of an ellipse: none, its left half, or its right half."""
    half = (ellipse.box[2] - ellipse.box[0]) / 2

    def moved(box: Box, *, left: float, right: float) -> Box:
        return box[0] + left, box[1], box[2] + right, box[3]

    if way == "one region left out":
        return []
    # Shifted out of its own box, it would lie on blocks that nobody has read.
    by = {"left": 0.0, "right": -half} if way == "half of one" else {"left": half, "right": 0.0}
    return [replace(ellipse, box=moved(ellipse.box, **by), beyond=moved(ellipse.beyond, **by))]


@contextlib.contextmanager
def wrong_paint(patch: pytest.MonkeyPatch, _: Picture, way: str) -> Iterator[None]:
    """Let the painting itself go wrong, below all that keeps books."""

    def painted(upright: Any, regions: Any, *more: Any, **named: Any) -> None:
        listed = list(regions)
        redact(upright, WAYS[way](listed) if listed else [], *more, **named)

    def laid(blocks: Any, layout: Any, ellipses: Any, *more: Any) -> None:
        lay_over(blocks, layout, [*_spoilt(ellipses[0], way), *ellipses[1:]] if ellipses else [], *more)

    with patch.context() as inside:
        inside.setattr(painting, "lay_over", laid)  # soft JPEG blocks are painted by components, not by `redact`
        for module in (still, tiff, animation, painting):
            inside.setattr(module, "redact", painted)
        yield


@contextlib.contextmanager
def kept_thumbnail(patch: pytest.MonkeyPatch, _: Picture, way: str) -> Iterator[None]:
    """Let the thumbnail stay as it was, or be made of the picture as it was."""
    with patch.context() as inside:
        if way == "the old thumbnail":
            inside.setattr(exif_scrub, "replacement", lambda old, _: old)
        else:
            made = toolbox.redacted_thumbnail
            inside.setattr(toolbox, "redacted_thumbnail", lambda picture, _, blur: made(picture, [], blur))
        yield


@contextlib.contextmanager
def kept_copy(patch: pytest.MonkeyPatch, picture: Picture, _: str) -> Iterator[None]:
    """Let the redaction forget the reduced copies."""
    original, copies = type(picture).redacted, type(picture).with_copies

    def redacted(self: Any, regions: Any, blur: Any, scrub: Any) -> Encoded:
        with patch.context() as forgetful:
            forgetful.setattr(type(picture), "with_copies", lambda _, regions: list(regions))
            done = original(self, regions, blur, scrub)
        assert type(picture).with_copies is copies
        return done

    with patch.context() as inside:
        inside.setattr(type(picture), "redacted", redacted)
        yield


@contextlib.contextmanager
def kept_preview(patch: pytest.MonkeyPatch, picture: Picture, way: str) -> Iterator[None]:
    """Let a small picture of the faces get into the result, in a place that the format has."""
    original = type(picture).redacted
    preview = cv2.imencode(".jpg", cv2.resize(picture.preview(None), (88, 64)))[1].tobytes()

    def redacted(self: Any, regions: Any, blur: Any, scrub: Any) -> Encoded:
        done = original(self, regions, blur, scrub)
        return replace(done, data=_PLACES[way](done.data, preview))

    with patch.context() as inside:
        inside.setattr(type(picture), "redacted", redacted)
        yield


def _chunk(data: bytes, preview: bytes) -> bytes:
    body = b"prVw" + preview
    return data[:-12] + struct.pack(">I", len(preview)) + body + struct.pack(">I", zlib.crc32(body)) + data[-12:]


def _riff(data: bytes, preview: bytes) -> bytes:
    """Add a chunk; it needs the extended header, which every reader passes over where it is not wanted."""
    chunk = b"PREV" + struct.pack("<I", len(preview)) + preview + b"\0" * (len(preview) % 2)
    return b"RIFF" + struct.pack("<I", len(data) - 8 + len(chunk)) + data[8:] + chunk


def _comment(data: bytes, preview: bytes) -> bytes:
    pieces = (preview[at : at + 255] for at in range(0, len(preview), 255))
    return data[:-1] + b"\x21\xfe" + b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0;"


def _segment(data: bytes, preview: bytes) -> bytes:
    body = b"MPF\0" + preview
    return data[:2] + b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body + data[2:]


_PLACES: Final = {
    "a segment": _segment,
    "behind the end": lambda data, preview: data + preview,
    "a chunk": _chunk,
    "a RIFF chunk": _riff,
    "a comment": _comment,
    "a free box": lambda data, preview: data + struct.pack(">I4s", len(preview) + 8, b"free") + preview,
}
PLACES_IN: Final = {
    "jpeg": ("a segment", "behind the end"),
    "png": ("a chunk",),
    "webp": ("a RIFF chunk",),
    "gif": ("a comment",),
    "bmp": ("behind the end",),
    "tiff": ("behind the end",),
    "avif": ("a free box",),
    "heif": ("a free box",),
}
