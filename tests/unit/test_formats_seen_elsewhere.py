"""What is searched is what other programs show: each frame and each opacity as FFmpeg decodes it."""

from __future__ import annotations

import io
import struct
import zlib
from itertools import product
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from faceblurd.config.recipes import builtin_recipe
from faceblurd.imaging.detect import open_detectors
from faceblurd.imaging.detect.find import find_faces
from faceblurd.imaging.files import open_image
from faceblurd.imaging.files.composition import Canvas, Disposal, Layer
from faceblurd.imaging.files.gif.blocks import IMAGE, read_gif
from faceblurd.imaging.files.png.chunks import SIGNATURE, Chunk
from faceblurd.imaging.files.webp import read_chunks
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.verify import verify
from faceblurd.model import BlurSpec, Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

MAX = 10**7
WIDTH, HEIGHT = 40, 30
AREAS = [(0, 0, WIDTH, HEIGHT), (5, 4, 20, 16), (15, 10, 25, 20), (0, 8, 12, 12)]
BOX = Region(x=8, y=8, width=16, height=16, score=1.0, found_by="test", frame=2)
RNG = np.random.default_rng(5)


def by_ffmpeg(data: bytes) -> list[npt.NDArray[np.uint8]]:
    """Return all frames, BGRA; what is fully transparent has no colour."""
    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_ndarray(format="bgra") for frame in container.decode(video=0)]
    for frame in frames:
        frame[frame[:, :, 3] == 0] = 0
    return frames


def by_us(data: bytes) -> list[npt.NDArray[np.uint8]]:
    picture = open_image(data, max_pixels=MAX)
    return [picture.pixels(frame) for frame in range(picture.frames)]


def on_black(frames: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.int64]]:
    """Weigh colours by their opacity, which FFmpeg does not give for colour types without."""
    return [frame[:, :, :3].astype(int) * frame[:, :, 3:] // 255 for frame in frames]


def same(ours: Sequence[npt.NDArray[Any]], theirs: Sequence[npt.NDArray[Any]], *, within: int = 0) -> None:
    assert len(ours) == len(theirs)
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert one.shape == other.shape
        assert np.abs(one.astype(int) - other).max() <= within, f"frame {number}"


# --- GIF


def gif(*frames: bytes, table: bytes = b"") -> bytes:
    flags = 0x80 | (len(table) // 3).bit_length() - 2 if table else 0
    return b"GIF89a" + struct.pack("<HHBBB", WIDTH, HEIGHT, flags | 0x70, 0, 0) + table + b"".join(frames) + b";"


def gif_frame(area: tuple[int, int, int, int], table: bytes, disposal: int, clear: int | None) -> bytes:
    """A frame of noise in its own palette, or in the global one."""
    width, height = area[2:]
    out = io.BytesIO()
    Image.fromarray(RNG.integers(0, 40, (height, width), dtype=np.uint8)).save(out, "GIF", optimize=False)
    data = out.getvalue()
    (image,) = (block for block in read_gif(data).blocks if block.kind == IMAGE)
    control = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, disposal << 2 | (clear is not None), 5, clear or 0, 0)
    place = struct.pack("<BHHHHB", 0x2C, *area, 0x87 if table else 0)
    return control + place + table + data[image.start + 10 : image.end]


GRAY = bytes(level for level in range(256) for _ in range(3))
GLOBAL, LOCAL = (RNG.integers(0, 256, 768, dtype=np.uint8).tobytes() for _ in range(2))
DISPOSALS = list(product((0, 1, 2, 3), repeat=2))


@pytest.mark.parametrize("disposals", DISPOSALS)
@pytest.mark.parametrize("table", [b"", GRAY, LOCAL], ids=["global", "gray", "own"])
def test_gif_frames_look_as_ffmpeg_shows_them(table: bytes, disposals: tuple[int, int]) -> None:
    kinds = zip(AREAS, (b"", table, b"", table), (1, *disposals, 1), (None, 7, 9, None), strict=True)
    data = gif(*(gif_frame(*kind) for kind in kinds), table=GLOBAL)
    same(by_us(data), by_ffmpeg(data))
    check_redaction(data)


def test_a_gray_palette_of_one_frame_is_not_taken_for_the_palette_of_all() -> None:
    """Pillow drops a palette of all shades of gray, and shows the frame in the colours of the one before."""
    data = gif(gif_frame(AREAS[0], b"", 1, None), gif_frame(AREAS[0], GRAY, 1, None), table=GLOBAL)
    first, second = by_us(data)
    assert (first[:, :, 0] != first[:, :, 1]).any()
    np.testing.assert_array_equal(second[:, :, 0], second[:, :, 2])


def test_a_frame_that_is_larger_than_its_screen_is_searched_whole() -> None:
    frame = gif_frame((10, 10, 60, 50), GRAY, 0, None)
    picture = open_image(gif(frame, table=GLOBAL), max_pixels=MAX)
    assert (picture.width, picture.height) == (70, 60)
    assert picture.pixels().shape == (60, 70, 4)
    box = Region(x=50, y=40, width=16, height=16, score=1.0, found_by="test")
    result = picture.redacted([box], BlurSpec(), BARE)
    verify(result, picture=picture, regions=[box], blur=BlurSpec(), max_pixels=MAX)


@pytest.mark.parametrize("rest", [b"", b"\x01 what is no block"])
def test_a_gif_ends_after_an_image_with_its_end_mark_or_without(rest: bytes) -> None:
    data = gif(gif_frame(AREAS[0], b"", 0, None), table=GLOBAL)
    assert open_image(data[:-1] + rest, max_pixels=MAX).scrubbed(BARE) == data


# --- PNG


def apng(
    layers: Sequence[npt.NDArray[np.uint8]],
    ways: Sequence[tuple[int, int]],
    *,
    colour: int = 6,
    shared: Sequence[Chunk] = (),
    apart: npt.NDArray[np.uint8] | None = None,
) -> bytes:
    """Put layers of samples into the areas, each with a disposal and a way to blend."""
    chunks = [Chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, colour, 0, 0, 0)), *shared]
    chunks.append(Chunk(b"acTL", struct.pack(">II", len(layers), 0)))
    if apart is not None:
        chunks.append(Chunk(b"IDAT", rows(apart)))
    number = 0
    for layer, area, way in zip(layers, AREAS, ways, strict=True):
        left, top, width, height = area
        chunks.append(Chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, left, top, 1, 10, *way)))
        number += 1
        if number == 1 and apart is None:
            chunks.append(Chunk(b"IDAT", rows(layer)))
            continue
        chunks.append(Chunk(b"fdAT", struct.pack(">I", number) + rows(layer)))
        number += 1
    return SIGNATURE + b"".join(chunk.build() for chunk in (*chunks, Chunk(b"IEND", b"")))


def rows(samples: npt.NDArray[np.uint8]) -> bytes:
    flat = samples.reshape(len(samples), -1)
    return zlib.compress(np.concatenate([np.zeros((len(flat), 1), np.uint8), flat], axis=1).tobytes())


def layers(channels: int) -> list[npt.NDArray[np.uint8]]:
    made = [RNG.integers(0, 256, (height, width, channels), dtype=np.uint8) for _, _, width, height in AREAS]
    for layer in made if channels in {2, 4} else []:
        layer[::3, :, -1], layer[1::3, :, -1] = 0, 255
    return made


WAYS = [((0, 0), one, other, (0, 1)) for one, other in product(product((0, 1, 2), (0, 1)), repeat=2)]


@pytest.mark.parametrize("ways", WAYS)
def test_png_frames_look_as_ffmpeg_shows_them(ways: Sequence[tuple[int, int]]) -> None:
    data = apng(layers(4), ways)
    same(on_black(by_us(data)), on_black(by_ffmpeg(data)), within=3)  # it mixes by halves of half transparent colours
    check_redaction(data)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (3, 1), (4, 2)])
def test_png_frames_of_any_kind_look_as_ffmpeg_shows_them(colour: int, channels: int) -> None:
    shared = [Chunk(b"PLTE", LOCAL), Chunk(b"tRNS", bytes(range(256)))] if colour == 3 else []
    data = apng(layers(channels), [(0, 0), (2, 1), (1, 0), (0, 1)], colour=colour, shared=shared)
    same(on_black(by_us(data)), on_black(by_ffmpeg(data)), within=3)
    check_redaction(data)


@pytest.mark.parametrize("said", [0, 1, 9])
def test_however_many_frames_a_png_says_it_has_all_are_searched(said: int) -> None:
    data = apng(layers(4), [(0, 0)] * 4)
    control = Chunk(b"acTL", struct.pack(">II", 4, 0)).build()
    other = data.replace(control, Chunk(b"acTL", struct.pack(">II", said, 0)).build())
    same(by_us(other), by_us(data))
    check_redaction_of(other)


def check_redaction_of(data: bytes) -> None:
    picture = open_image(data, max_pixels=MAX)
    result = picture.redacted([BOX], BlurSpec(), BARE)
    verify(result, picture=picture, regions=[BOX], blur=BlurSpec(), max_pixels=MAX)
    assert struct.pack(">II", 4, 0) in result.data


def test_a_first_picture_that_no_animation_shows_is_a_frame_of_its_own() -> None:
    ways = [(0, 0), (2, 0), (1, 1), (0, 0)]
    moving, alone = layers(4), layers(4)[0]
    with_it, without = apng(moving, ways, apart=alone), apng(moving, ways)
    apart, *animation = by_us(with_it)
    same(animation, by_us(without))
    np.testing.assert_array_equal(apart[1::3], alone[1::3][:, :, [2, 1, 0, 3]])


# --- WebP


def test_webp_frames_are_laid_over_each_other_as_the_format_says() -> None:
    """FFmpeg decodes their layers only: we lay these over each other, where the product lets libwebp do so."""
    images = [Image.fromarray(np.where(frame[:, :, 3:] > 99, frame | np.uint8(0xF), 0)) for frame in noise_frames(5)]
    out = io.BytesIO()
    images[0].save(out, "WEBP", save_all=True, append_images=images[1:], lossless=True, minimize_size=True, duration=50)
    bodies = [body for kind, body in read_chunks(out.getvalue()) if kind == b"ANMF"]
    canvas = Canvas(WIDTH, HEIGHT, lambda number: webp_layer(bodies[number]))
    same(by_us(out.getvalue()), [canvas.composed(number) for number in range(len(bodies))], within=1)


def noise_frames(count: int) -> list[npt.NDArray[np.uint8]]:
    frame = RNG.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    out = []
    for number in range(count):
        frame[number * 4 : number * 4 + 9, 6 : 20 + number] = RNG.integers(0, 256, 4)
        out.append(frame.copy())
    return out


def webp_layer(body: bytes) -> Layer:
    left, top = (int.from_bytes(body[at : at + 3], "little") * 2 for at in (0, 3))
    picture = b"RIFF" + struct.pack("<I", len(body) - 12) + b"WEBP" + body[16:]
    (pixels,) = by_ffmpeg(picture)
    return Layer(pixels, left, top, Disposal.CLEAR if body[15] & 1 else Disposal.KEEP, replaces=bool(body[15] & 2))


def check_redaction(data: bytes) -> None:
    """Hide a box in one frame: FFmpeg shows it hidden, and everything else as it was."""
    picture = open_image(data, max_pixels=MAX)
    result = picture.redacted([BOX], BlurSpec(), BARE)
    verify(result, picture=picture, regions=[BOX], blur=BlurSpec(), max_pixels=MAX)
    before, after = on_black(by_ffmpeg(data)), on_black(by_ffmpeg(result.data))
    for number, (one, other) in enumerate(zip(before, after, strict=True)):
        differs = np.abs(one - other).max(axis=2) > 3
        if number == BOX.frame:
            assert differs[8:24, 8:24].any()
            differs[8:24, 8:24] = False
        assert not differs.any(), f"frame {number}"


# --- opacity

STILLS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "webp": ("WEBP", {"lossless": True, "exact": True}),
    "lossy webp": ("WEBP", {"quality": 95, "exact": True}),
    "tiff": ("TIFF", {}),
    "avif": ("AVIF", {"quality": 100}),
}


def drawn_by_opacity(bgr: npt.NDArray[Any], ink: int) -> npt.NDArray[np.uint8]:
    """Draw a photo with one ink, so that it is seen on the other shade: RGBA."""
    gray = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    alpha = gray if ink else 255 - gray
    return np.dstack([np.full((*gray.shape, 3), ink, np.uint8), alpha])


@pytest.mark.parametrize("ink", [0, pytest.param(255, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", STILLS)
def test_a_face_drawn_by_opacity_alone_is_found(kind: str, ink: int, astronaut: npt.NDArray[Any]) -> None:
    out, (name, options) = io.BytesIO(), STILLS[kind]
    Image.fromarray(drawn_by_opacity(astronaut, ink)).save(out, name, **options)
    check_face_is_found(out.getvalue())


def test_a_face_drawn_by_the_opacity_of_gray_or_of_a_palette_is_found(astronaut: npt.NDArray[Any]) -> None:
    drawn = drawn_by_opacity(astronaut, 0)
    gray = np.ascontiguousarray(drawn[:, :, [0, 3]])
    header = struct.pack(">IIBBBBB", 512, 512, 8, 4, 0, 0, 0)
    check_face_is_found(png(header, Chunk(b"IDAT", rows(gray))))
    palette = [Chunk(b"PLTE", bytes(768)), Chunk(b"tRNS", bytes(range(256)))]
    header = struct.pack(">IIBBBBB", 512, 512, 8, 3, 0, 0, 0)
    check_face_is_found(png(header, *palette, Chunk(b"IDAT", rows(drawn[:, :, 3]))))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_level_of_gray_is_seen_through(depth: int) -> None:
    levels = np.zeros((8, 8), np.uint16)
    levels[2:6, 2:6] = 1
    wide = levels.astype(">u2").view(np.uint8).reshape(8, 16) if depth == 16 else levels.astype(np.uint8)
    bits = np.unpackbits(wide[:, :, None], axis=2)[:, :, 8 - depth :] if depth < 8 else None
    packed = wide if bits is None else np.packbits(bits.reshape(8, -1), axis=1)
    header = struct.pack(">IIBBBBB", 8, 8, depth, 0, 0, 0, 0)
    data = png(header, Chunk(b"tRNS", b"\0\1"), Chunk(b"IDAT", rows(packed)))
    looks = open_image(data, max_pixels=MAX).looks(None)
    assert any((look[3, 3] == 255).all() and (look[0, 0] == 0).all() for look in looks)


def test_what_is_opaque_everywhere_is_searched_once(astronaut: npt.NDArray[Any]) -> None:
    opaque = np.dstack([astronaut, np.full(astronaut.shape[:2], 255, np.uint8)])
    (look,) = open_image(cv2.imencode(".png", opaque)[1].tobytes(), max_pixels=MAX).looks(None)
    np.testing.assert_array_equal(look, astronaut)


def test_colours_below_full_transparency_are_searched_too(astronaut: npt.NDArray[Any]) -> None:
    """Programs that know no opacity show them."""
    unseen = np.dstack([astronaut, np.zeros(astronaut.shape[:2], np.uint8)])
    check_face_is_found(cv2.imencode(".png", unseen)[1].tobytes())


def png(header: bytes, *chunks: Chunk) -> bytes:
    return SIGNATURE + b"".join(one.build() for one in (Chunk(b"IHDR", header), *chunks, Chunk(b"IEND", b"")))


def check_face_is_found(data: bytes) -> None:
    picture, recipe = open_image(data, max_pixels=MAX), builtin_recipe("fast")
    regions = find_faces(picture, open_detectors(recipe.detection), recipe)
    assert any(one.x < 225 < one.x + one.width and one.y < 120 < one.y + one.height for one in regions)
    result = picture.redacted(regions, recipe.blur, BARE)
    verify(result, picture=picture, regions=regions, blur=recipe.blur, max_pixels=MAX)
