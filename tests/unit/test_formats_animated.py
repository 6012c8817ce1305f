"""GIF, animated PNG and animated WebP: each frame as it looks, with its timing, and nothing changed outside."""

from __future__ import annotations

import contextlib
import io
import struct
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from faceblurd.config.recipes import builtin_recipe
from faceblurd.errors import ImageError
from faceblurd.imaging.detect.find import find_faces
from faceblurd.imaging.files import open_image, webp
from faceblurd.imaging.files.gif.blocks import IMAGE, coded, read_gif
from faceblurd.imaging.files.png.chunks import SIGNATURE, Chunk, read_chunks
from faceblurd.imaging.geometry import upright_view
from faceblurd.imaging.metadata import BARE, Scrub
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.imaging.verify import verify, verify_clean
from faceblurd.model import BlurMethod, BlurSpec, MetadataPolicy, MetadataSpec, Reason, Region

if TYPE_CHECKING:
    import numpy.typing as npt

MAX = 10**7
COUNT = 6
JPEG_HEAD = b"\xff\xd8\xff\xe0\0\x10JFIF".ljust(20, b"\0") + b"\xff\xdb\0\x43"
DELAYS = [50, 60, 70, 80, 90, 200]
KINDS = [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("WEBP", {"quality": 80})]
BOX = Region(x=40, y=10, width=60, height=50, score=1.0, found_by="test")


def drawn(*, alpha: bool, flat: bool = False) -> list[Image.Image]:
    """Draw a bar that moves over noise; with opacity, a hole that moves too."""
    rng = np.random.default_rng(4)
    ground = rng.integers(0, 6, (80, 121, 3), dtype=np.uint8) * 40
    out = []
    for number in range(COUNT):
        frame = ground.copy() if not flat else np.full_like(ground, 90)
        frame[60:70, number * 15 : number * 15 + 12] = (255, 0, 40 * number)
        image = Image.fromarray(frame)
        if alpha:
            hole = np.full(frame.shape[:2], 255, np.uint8)
            hole[70:78, number * 12 : number * 12 + 30] = 0
            image.putalpha(Image.fromarray(hole))
        out.append(image)
    return out


def saved(kind: str, images: list[Image.Image], **options: Any) -> bytes:
    out = io.BytesIO()
    images[0].save(out, kind, save_all=True, append_images=images[1:], duration=DELAYS, loop=3, **options)
    return out.getvalue()


def shown(data: bytes) -> tuple[list[npt.NDArray[np.uint8]], list[float], Any]:
    """Ask Pillow what a viewer shows: frames, durations, loops."""
    frames, delays = [], []
    with Image.open(io.BytesIO(data)) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            array = np.array(image.convert("RGBA"))
            array[array[:, :, 3] == 0] = 0
            frames.append(array)
            delays.append(image.info.get("duration", 0))
        return frames, delays, image.info.get("loop")


@pytest.mark.parametrize("method", BlurMethod)
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_only_the_boxes_of_their_frames_change(kind: str, options: Any, method: BlurMethod, *, alpha: bool) -> None:
    data = saved(kind, drawn(alpha=alpha), **options)
    picture = open_image(data, max_pixels=MAX)
    assert (picture.frames, picture.animated) == (COUNT, True)
    regions = [replace(BOX, frame=frame) for frame in (1, 2, 4)]
    blur = BlurSpec(method=method)
    result = picture.redacted(regions, blur, BARE)
    verify(result, picture=picture, regions=regions, blur=blur, max_pixels=MAX)
    before, after = shown(data), shown(result.data)
    assert before[1:] == after[1:]
    assert after[1] == DELAYS
    for number, (old, new) in enumerate(zip(before[0], after[0], strict=True)):
        inside = np.zeros(old.shape[:2], bool)
        if number in {1, 2, 4}:
            inside[10:60, 40:100] = True
            assert (old[inside] != new[inside]).any()
        if result.lossless:
            np.testing.assert_array_equal(old[~inside], new[~inside])
        else:
            opaque = ~inside & (old[:, :, 3] == 255) & (new[:, :, 3] == 255)
            assert np.abs(old[opaque].astype(int) - new[opaque]).mean() < 12
    assert result.lossless == (options != {"quality": 80})


@pytest.mark.parametrize(("kind", "options"), KINDS[1:3])
def test_what_is_hidden_is_the_average_pool_of_the_frame(kind: str, options: Any) -> None:
    picture = open_image(saved(kind, drawn(alpha=False), **options), max_pixels=MAX)
    wanted = picture.pixels(2)
    redact(upright_view(wanted, 1), [BOX], BlurSpec())
    result = picture.redacted([replace(BOX, frame=2)], BlurSpec(), BARE)
    np.testing.assert_array_equal(open_image(result.data, max_pixels=MAX).pixels(2), wanted)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_clean_animation_keeps_every_byte_of_its_frames(kind: str, options: Any) -> None:
    data = saved(kind, drawn(alpha=True), **options)
    assert open_image(data, max_pixels=MAX).scrubbed(BARE) == data
    assert open_image(data + b"\xff\xd8\xff hidden", max_pixels=MAX).scrubbed(BARE) == data


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_cut_animation_is_refused(kind: str, options: Any) -> None:
    data = saved(kind, drawn(alpha=False), **options)
    for length in range(12, len(data) - 1, len(data) // 37):
        with pytest.raises(ImageError) as raised:
            open_image(data[:length], max_pixels=MAX)
        assert raised.value.reason in {Reason.INCOMPLETE, Reason.DAMAGED}


class OnlyOnce:
    """A detector that sees a face in one frame only, by the place of the bar."""

    name = "once"

    def __init__(self, frame: int) -> None:
        self._column = frame * 15

    def detect(self, bgr: npt.NDArray[Any]) -> list[Region]:
        reds = np.flatnonzero((bgr[65, :, 2] > 250) & (bgr[65, :, 1] < 5))
        return [replace(BOX, found_by="once")] if len(reds) and reds[0] == self._column else []


@pytest.mark.parametrize(("kind", "options"), KINDS[:3])
def test_what_is_seen_in_one_frame_is_hidden_in_its_neighbours(kind: str, options: Any) -> None:
    picture = open_image(saved(kind, drawn(alpha=False, flat=True), **options), max_pixels=MAX)
    regions = find_faces(picture, [OnlyOnce(3)], builtin_recipe("balanced"))
    assert [region.frame for region in regions] == [1, 2, 3, 4, 5]
    assert len({(region.x, region.y, region.width, region.height) for region in regions}) == 1


def test_a_gif_of_all_colours_keeps_them_outside(astronaut: npt.NDArray[Any]) -> None:
    photo = Image.fromarray(astronaut[:, :, ::-1]).quantize(256)
    out = io.BytesIO()
    photo.save(out, "GIF")
    picture = open_image(out.getvalue(), max_pixels=MAX)
    face = Region(x=150, y=40, width=150, height=190, score=1.0, found_by="test")
    result = picture.redacted([face], BlurSpec(), BARE)
    verify(result, picture=picture, regions=[face], blur=BlurSpec(), max_pixels=MAX)
    before, after = shown(out.getvalue())[0][0], shown(result.data)[0][0]
    outside = np.ones(before.shape[:2], bool)
    outside[40:230, 150:300] = False
    np.testing.assert_array_equal(before[outside], after[outside])


def test_the_extensions_of_a_gif_follow_the_rules() -> None:
    packet = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>kept</x:xmpmeta>"
    xmp = b"!\xff\x0bXMP DataXMP" + packet + b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    unknown = b"!\xff\x0bSECRET__1.0\x03abc\0"
    face = b"!\xfe" + bytes([40]) + JPEG_HEAD.ljust(40, b"j") + b"\0"
    text = b"!\xfe\x05hello\0"
    plain = saved("GIF", drawn(alpha=False))
    head = len(read_gif(plain).head)
    picture = open_image(plain[:head] + xmp + unknown + face + text + plain[head:], max_pixels=MAX)
    assert picture.embedded()
    for result in (picture.scrubbed(BARE), picture.redacted([BOX], BlurSpec(), BARE).data):
        assert packet in result
        assert text in result
        assert unknown not in result
        assert face not in result
        assert open_image(result, max_pixels=MAX).embedded() == []
    bare = Scrub(MetadataSpec(MetadataPolicy.STRIP_ALL))
    for result in (picture.scrubbed(bare), picture.redacted([BOX], BlurSpec(), bare).data):
        assert packet not in result
        assert text not in result
        assert b"NETSCAPE2.0" in result


def test_a_first_picture_beside_the_animation_is_hidden_as_well() -> None:
    images = drawn(alpha=False)
    data = saved("PNG", images, default_image=True)
    picture = open_image(data, max_pixels=MAX)
    assert picture.frames == COUNT
    regions = [replace(BOX, frame=frame) for frame in range(COUNT)]
    result = picture.redacted(regions, BlurSpec(), BARE)
    verify(result, picture=picture, regions=regions, blur=BlurSpec(), max_pixels=MAX)
    assert shown(data)[2] == shown(result.data)[2]
    with Image.open(io.BytesIO(result.data)) as image:
        assert image.default_image


def test_frames_beyond_the_announced_ones_are_searched() -> None:
    """Viewers differ in whether they show them."""
    chunks = read_chunks(saved("PNG", drawn(alpha=False)))
    fewer = [replace(c, body=(3).to_bytes(4, "big") + c.body[4:]) if c.kind == b"acTL" else c for c in chunks]
    data = SIGNATURE + b"".join(chunk.build() for chunk in fewer)
    assert open_image(data, max_pixels=MAX).frames == COUNT
    more = [replace(c, body=b"\0\0\0\7" + c.body[4:]) if c.kind == b"acTL" else c for c in chunks[:-1]]
    with pytest.raises(ImageError, match="last frame"):
        open_image(SIGNATURE + b"".join(chunk.build() for chunk in more), max_pixels=MAX)
    assert isinstance(chunks[0], Chunk)


def test_an_animation_without_frames_comes_out_as_the_one_picture_that_it_shows() -> None:
    plain = read_chunks(one_picture := saved("PNG", drawn(alpha=False)[:1]))
    said = Chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    stray = Chunk(b"fdAT", bytes(4) + b"no frame names these rows")
    chunks = [plain[0], said, *plain[1:-1], stray, plain[-1]]
    picture = open_image(SIGNATURE + b"".join(chunk.build() for chunk in chunks), max_pixels=MAX)
    assert picture.frames == 1
    assert picture.scrubbed() == one_picture
    result = picture.redacted([BOX], BlurSpec(), BARE).data
    assert {chunk.kind for chunk in read_chunks(result)} == {b"IHDR", b"IDAT", b"IEND"}
    with Image.open(io.BytesIO(result)) as shown_one:
        assert getattr(shown_one, "n_frames", 1) == 1


def test_a_frame_beyond_the_screen_of_a_gif_is_searched_whole() -> None:
    data = bytearray(saved("GIF", drawn(alpha=False)))
    data[6:8] = (50).to_bytes(2, "little")
    assert open_image(bytes(data), max_pixels=MAX).width == 121


class Counting:
    """A detector that counts its calls."""

    name = "counting"
    calls = 0

    def detect(self, bgr: npt.NDArray[Any]) -> list[Region]:
        self.calls += 1
        return [replace(BOX, x=int(bgr[65, 0, 0]) % 7, found_by="counting")]


def test_frames_that_look_alike_are_searched_once() -> None:
    first, second = drawn(alpha=False)[:2]
    images = [first, first, first, second, second, first]
    data = saved("WEBP", [image.resize((121, 80)) for image in images], lossless=True, minimize_size=False, kmax=1)
    picture = open_image(data, max_pixels=MAX)
    distinct = [picture.pixels(frame).tobytes() for frame in range(picture.frames)]
    changes = 1 + sum(one != other for one, other in pairwise(distinct))
    counting = Counting()
    regions = find_faces(picture, [counting], builtin_recipe("balanced"))
    assert counting.calls == changes
    assert {region.frame for region in regions} == set(range(picture.frames))


def hidden_behind(kind: str, face: bytes) -> bytes:
    """Put a JPEG where no decoder looks: behind the end of what an image is compressed to."""
    if kind == "GIF":
        data = saved("GIF", drawn(alpha=False))
        last = [block for block in read_gif(data).blocks if block.kind == IMAGE][-1]
        more = b"".join(bytes([len(face[at : at + 255])]) + face[at : at + 255] for at in range(0, len(face), 255))
        return data[: last.end - 1] + more + data[last.end - 1 :]
    if kind == "WEBP":
        parts = webp.read_chunks(saved("WEBP", drawn(alpha=False)))
        extra = b"XTRA" + struct.pack("<I", len(face)) + face + bytes(len(face) % 2)
        return webp.build([(name, body + extra if name == b"ANMF" else body) for name, body in parts])
    if kind == "WEBP pixels":
        parts = webp.read_chunks(saved("WEBP", drawn(alpha=False)[:1]))
        return webp.build([(name, body + face if name == b"VP8 " else body) for name, body in parts])
    tail, still = (b"fdAT", False) if kind == "PNG" else (b"IDAT", True)
    chunks = read_chunks(saved("PNG", drawn(alpha=False)[: 1 if still else COUNT]))
    longer = [Chunk(c.kind, c.body + face) if c.kind == tail else c for c in chunks]
    return SIGNATURE + b"".join(chunk.build() for chunk in longer)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "WEBP pixels", "PNG", "still PNG"])
def test_what_hides_behind_the_pixels_is_not_copied(kind: str, astronaut_jpeg: bytes) -> None:
    out = io.BytesIO()
    Image.open(io.BytesIO(astronaut_jpeg)).resize((96, 96)).save(out, "JPEG")
    face = out.getvalue()
    data = hidden_behind(kind, face)
    piece = face[300:360]
    assert piece in data
    for clean in (True, False):
        assert piece not in published(data, clean=clean)


def test_data_behind_the_end_of_a_gifs_image_go_and_the_rest_comes_out() -> None:
    data = saved("GIF", drawn(alpha=False))
    assert published(hidden_behind("GIF", b"no picture of anybody" * 40), clean=True) == data


def published(data: bytes, *, clean: bool) -> bytes:
    """Return what would be published; nothing when it is refused."""
    with contextlib.suppress(ImageError):
        picture = open_image(data, max_pixels=MAX)
        if clean:
            result = picture.scrubbed(BARE)
            verify_clean(result, picture=picture, max_pixels=MAX)
            return result
        encoded = picture.redacted([BOX], BlurSpec(), BARE)
        verify(encoded, picture=picture, regions=[BOX], blur=BlurSpec(), max_pixels=MAX)
        return encoded.data
    return b""


def gif_of(frames: list[tuple[int, int, int, int, int]]) -> bytes:
    """Write a GIF without transparency: left, top, side, colour and disposal of each frame."""
    table = bytes(value for colour in range(4) for value in (80 * colour, 255 - 80 * colour, 7))
    parts = [b"GIF89a" + struct.pack("<HHBBB", 40, 40, 0x81, 3, 0) + table]
    for left, top, side, colour, disposal in frames:
        out = io.BytesIO()
        Image.new("P", (side, side), colour).save(out, "GIF", optimize=False, interlace=False)
        alone = out.getvalue()
        image = next(block for block in read_gif(alone).blocks if block.kind == IMAGE)
        control = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, disposal << 2, 5, 0, 0)
        place = struct.pack("<BHHHHB", 0x2C, left, top, side, side, 0)
        held = _rest(alone, image)
        parts.append(control + place + coded(alone, image)[:1] + held)
    return b"".join((*parts, b";"))


def _rest(data: bytes, block: Any) -> bytes:
    """Return the sub-blocks of an image, with the mark that ends them."""
    held = len(coded(data, block)) - 1
    return data[block.end - held - -(-held // 255) - 1 : block.end]


def test_frames_lie_over_each_other_as_in_browsers() -> None:
    boxes = [(10, 10, 20, 1, 2), (0, 0, 12, 2, 1), (30, 30, 5, 3, 3), (5, 5, 3, 1, 1)]
    picture = open_image(gif_of(boxes), max_pixels=MAX)
    frames = [picture.pixels(number) for number in range(4)]
    opaque = [(frame[:, :, 3] > 0) for frame in frames]
    assert [int(mask.sum()) for mask in opaque] == [400, 144, 169, 144]  # cleared; kept; put back
    assert tuple(frames[0][15, 15, :3]) == (7, 175, 80)
    assert tuple(frames[3][6, 6, :3]) == (7, 175, 80)
    assert tuple(frames[3][1, 1, :3]) == (7, 95, 160)
    assert np.array_equal(frames[0], picture.pixels(0))  # going back starts over
    region = Region(x=10, y=10, width=10, height=10, score=1.0, found_by="test")
    result = picture.redacted([region], BlurSpec(), BARE)
    verify(result, picture=picture, regions=[region], blur=BlurSpec(), max_pixels=MAX)
    for number, frame in enumerate(shown(result.data)[0][1:], start=1):  # a viewer of another make sees the same
        np.testing.assert_array_equal(frame[:, :, 3] > 0, opaque[number])
