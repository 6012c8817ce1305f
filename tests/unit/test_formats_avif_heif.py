"""AVIF and HEIF: one picture out of a file of items, its metadata kept, everything else that shows something gone."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from faceblurd.errors import ImageError
from faceblurd.imaging.files import open_image
from faceblurd.imaging.files.codecs import encoding
from faceblurd.imaging.files.heif.boxes import box, numbers, versioned
from faceblurd.imaging.files.heif.items import Item, Property, read_items
from faceblurd.imaging.files.heif.looks import orientation_in
from faceblurd.imaging.files.heif.writer import build
from faceblurd.imaging.geometry import upright_view
from faceblurd.imaging.metadata import Scrub
from faceblurd.imaging.verify import verify, verify_clean
from faceblurd.model import BlurSpec, MetadataPolicy, MetadataSpec, Reason, Region

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

MAX = 200_000_000
PACKET = b"<x xmlns:a='u:a' a:keep='1'/>"
PROFILE = b"profile" * 9
FORMATS = ["avif", "heif"]
SAMPLINGS = ["4:4:4", "4:2:2", "4:2:0"]


def photo(width: int = 301, height: int = 199) -> npt.NDArray[Any]:
    """Return a smooth coloured picture, with a sharp thing in the middle."""
    y, x = np.mgrid[:height, :width]
    bgr = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=2).astype(np.uint8)
    bgr[height // 3 : height // 2, width // 3 : width // 2] = np.random.default_rng(3).integers(0, 256, 3)
    return bgr


@cache
def thumbnail() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((32, 24), 80).save(out, "JPEG")
    return out.getvalue()


def exif(orientation: int, embedded: bytes = b"") -> bytes:
    """Write an EXIF block: maker, orientation, and a second directory with a thumbnail."""
    first = (
        struct.pack("<H", 2)
        + struct.pack("<HHI4s", 0x10F, 2, 4, b"Own\0")
        + struct.pack("<HHIHH", 0x112, 3, 1, orientation, 0)
    )
    if not embedded:
        return b"II*\0" + struct.pack("<I", 8) + first + bytes(4)
    second = 8 + len(first) + 4
    start = second + 2 + 24 + 4
    entries = (
        struct.pack("<H", 2)
        + struct.pack("<HHII", 0x201, 4, 1, start)
        + struct.pack("<HHII", 0x202, 4, 1, len(embedded))
    )
    return b"II*\0" + struct.pack("<I", 8) + first + struct.pack("<I", second) + entries + bytes(4) + embedded


def make(kind: str, pixels: npt.NDArray[Any] | None = None, *, sampling: str = "4:2:0", **options: Any) -> bytes:
    """Let the format's own library write a picture; `pixels`: gray, BGR or BGRA."""
    if pixels is None and not options:
        return photo_as(kind, sampling)
    return written(kind, photo() if pixels is None else pixels, sampling, **options)


@cache
def photo_as(kind: str, sampling: str) -> bytes:
    """Write `photo()`, once in each way: most tests ask for it."""
    return written(kind, photo(), sampling)


def written(kind: str, array: npt.NDArray[Any], sampling: str, **options: Any) -> bytes:
    out = io.BytesIO()
    if kind == "heif":
        mode = {2: "L", 3: "BGR"}[array.ndim] + ("A" if array.ndim == 3 and array.shape[2] == 4 else "")
        chroma = {} if mode == "L" else {"subsampling": sampling}
        pillow_heif.encode(
            mode, (array.shape[1], array.shape[0]), array.tobytes(), out, quality=90, **chroma, **options
        )
        return out.getvalue()
    order = [2, 1, 0, 3][: array.shape[2]] if array.ndim == 3 else ...
    image = Image.fromarray(np.ascontiguousarray(array[..., order] if array.ndim == 3 else array))
    image.save(out, kind.upper(), quality=95, subsampling=sampling, **options)
    return out.getvalue()


def with_items(data: bytes, *extra: Item, properties: tuple[Property, ...] = ()) -> bytes:
    """Add items, and properties of the primary one."""
    file = read_items(data)
    items = dict(file.items)
    primary = items[file.primary]
    items[file.primary] = replace(primary, properties=(*primary.properties, *properties))
    return build(file.brands, file.primary, [*items.values(), *extra])


def described(data: bytes, orientation: int = 1, *, embedded: bytes = b"") -> bytes:
    link = ((b"cdsc", (read_items(data).primary,)),)
    block = Item(901, b"Exif", references=link, data=b"\0\0\0\6Exif\0\0" + exif(orientation, embedded))
    packet = Item(902, b"mime", content_type=b"application/rdf+xml", references=link, data=PACKET)
    return with_items(data, block, packet, properties=(Property(b"colr", b"prof" + PROFILE, False),))


def leaky(kind: str) -> tuple[bytes, list[bytes]]:
    """Return a file with everything that must go, and the bytes to look for."""
    data = described(make(kind), embedded=thumbnail())
    primary = read_items(data).primary
    small = next(iter(read_items(make(kind, photo(64, 48))).items.values()))
    depth = Property(b"auxC", bytes(4) + b"urn:mpeg:hevc:2015:auxid:2\0", True)
    hdr = Property(b"auxC", bytes(4) + b"urn:com:apple:photo:2020:aux:hdrgainmap\0", True)
    coded = next(iter(read_items(make(kind, photo(80, 48))).items.values()))
    hidden = [small.data, coded.data, thumbnail()[20:], b"a name", b"moving picture"]
    data = with_items(
        data,
        replace(small, id=911, references=((b"thmb", (primary,)),)),
        replace(coded, id=912, references=((b"auxl", (primary,)),), properties=(*coded.properties, depth)),
        replace(coded, id=913, references=((b"auxl", (primary,)),), properties=(*coded.properties, hdr)),
        Item(914, b"mime", content_type=b"text/plain", references=((b"cdsc", (primary,)),), data=b"a name"),
        properties=(Property(b"udes", bytes(4) + b"en\0a name\0\0\0", False),),
    )
    return data + struct.pack(">I4s", 22, b"mpvd") + b"moving picture", hidden


def opened(data: bytes) -> Any:
    return open_image(data, max_pixels=MAX)


def refusal(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as raised:
        opened(data).pixels()
    return raised.value


@pytest.fixture(params=FORMATS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size", [(301, 199), (64, 64), (1, 1)])
def test_a_region_is_hidden_and_the_rest_stays_close(
    kind: str, sampling: str, channels: int, size: tuple[int, int]
) -> None:
    pixels = photo(*size)
    if channels == 4:
        pixels = np.dstack([pixels, np.full(pixels.shape[:2], 200, np.uint8)])
    picture = opened(make(kind, pixels, sampling=sampling))
    assert (picture.format, picture.width, picture.height, picture.frames) == (kind, *size, 1)
    region = Region(size[0] // 3, size[1] // 3, size[0] // 3 + 1, size[1] // 3 + 1, 1.0, "always")
    before = picture.pixels()
    result = picture.redacted([region], BlurSpec(), Scrub())
    verify(result, picture=picture, regions=[region], blur=BlurSpec(), max_pixels=MAX)
    again = opened(result.data)
    after = again.pixels()
    assert not result.lossless
    assert "encoded anew" in result.note
    assert again.subsampling == picture.subsampling == sampling
    assert after.shape == before.shape == pixels.shape
    outside = np.abs(after.astype(int) - before)
    outside[region.y : region.y + region.height, region.x : region.x + region.width] = 0
    assert outside.mean() < 2


def test_gray_stays_gray(kind: str) -> None:
    picture = opened(make(kind, photo()[:, :, 0], sampling="4:0:0"))
    pixels = picture.pixels()
    assert pixels.ndim == 2
    again = opened(picture.encode(pixels).data)
    assert again.subsampling == "4:0:0"
    assert np.abs(again.pixels().astype(int) - pixels).mean() < 2


@pytest.mark.parametrize("turns", [(), ("irot", 1), ("irot", 2), ("irot", 3), ("imir", 0), ("imir", 1), ("both", 1)])
def test_turns_are_read_from_the_boxes_and_stay_as_they_are(kind: str, turns: tuple[Any, ...]) -> None:
    rotated = Property(b"irot", bytes([turns[1]]), True) if turns and turns[0] != "imir" else None
    mirrored = Property(b"imir", bytes([turns[1]]), True) if turns and turns[0] != "irot" else None
    properties = tuple(one for one in (rotated, mirrored) if one)
    data = with_items(make(kind), properties=properties)
    picture = opened(data)
    stored = picture.pixels()
    assert stored.shape == (199, 301, 3)
    seen = np.rot90(stored, turns[1]) if rotated else stored
    seen = np.flip(seen, turns[1]) if mirrored else seen
    np.testing.assert_array_equal(upright_view(stored, picture.orientation), seen)
    result = read_items(picture.encode(stored).data)
    kept = [one for one in result.items[result.primary].properties if one.kind in {b"irot", b"imir"}]
    assert tuple(kept) == properties


def test_pillow_sees_the_same_turn_before_and_after() -> None:
    for orientation in range(1, 9):
        tag = Image.Exif()
        tag[0x112] = orientation
        picture = opened(make("avif", exif=tag))
        assert picture.orientation == orientation
        with Image.open(io.BytesIO(picture.encode(picture.pixels()).data)) as after:
            assert after.getexif().get(0x112, 1) == orientation


def seen_by_libheif(data: bytes) -> npt.NDArray[Any]:
    return np.asarray(pillow_heif.open_heif(data, bgr_mode=True)[0])


@pytest.mark.parametrize("mode", ["BGRA", "BGRa", "LA"])
def test_alpha_turns_with_the_picture_and_means_what_it_meant(mode: str) -> None:
    alpha = np.tile(np.arange(200, 250, dtype=np.uint8), (40, 1))[:, :, None]
    pixels = np.concatenate([photo(50, 40)[:, :, : len(mode) - 1] // 2, alpha], axis=2)
    out = io.BytesIO()
    pillow_heif.encode(mode, (50, 40), pixels.tobytes(), out, quality=90)
    file = read_items(out.getvalue())
    turn = Property(b"irot", b"\1", True)
    coded = [replace(item, properties=(*item.properties, turn)) for item in file.items.values()]
    data = build(file.brands, file.primary, coded)
    picture = opened(data)
    result = picture.redacted([], BlurSpec(), Scrub()).data
    one, other = seen_by_libheif(data), seen_by_libheif(result)
    assert one.shape == other.shape == (50, 40, 4)
    assert np.abs(one.astype(int) - other).mean(axis=(0, 1)).max() < 3
    assert pillow_heif.open_heif(result)[0].mode == pillow_heif.open_heif(data)[0].mode
    assert opened(result).subsampling == picture.subsampling


def test_opencv_reads_a_result_with_much_metadata() -> None:
    """It takes the first 500 bytes for a look."""
    out = io.BytesIO()
    Image.fromarray(photo()).save(out, "AVIF", xmp=PACKET + b" " * 900)
    picture = opened(out.getvalue())
    done = picture.redacted([Region(9, 9, 90, 90, 1, "test")], BlurSpec(), Scrub())
    assert cv2.imdecode(np.frombuffer(done.data, np.uint8), cv2.IMREAD_COLOR).shape == (199, 301, 3)


def test_the_orientation_in_exif_turns_nothing(kind: str) -> None:
    picture = opened(described(make(kind), orientation=6))
    assert picture.orientation == 1
    assert opened(picture.encode(picture.pixels()).data).orientation == 1


@pytest.mark.parametrize("clean", [True, False])
def test_metadata_stays_and_everything_else_that_shows_something_goes(kind: str, *, clean: bool) -> None:
    data, hidden = leaky(kind)
    assert all(one in data for one in hidden)
    picture = opened(data)
    assert picture.embedded()
    assert picture.thumbnails() == [thumbnail()]
    result = picture.scrubbed(Scrub()) if clean else picture.encode(picture.pixels()).data
    assert not [one for one in hidden if one in result]
    again = opened(result)
    assert not again.embedded()
    assert not again.thumbnails()
    file = read_items(result)
    kinds = sorted(item.kind for item in file.items.values())
    assert kinds == [b"Exif", picture.codec, b"mime"]
    assert PACKET in result
    assert b"Own\0" in result
    assert b"prof" + PROFILE in result
    if clean:
        np.testing.assert_array_equal(again.pixels(), picture.pixels())
        verify_clean(result, picture=picture, max_pixels=MAX)


@pytest.mark.parametrize("clean", [True, False])
def test_an_exif_thumbnail_becomes_a_redacted_one(kind: str, *, clean: bool) -> None:
    picture = opened(described(make(kind), embedded=thumbnail()))
    scrub = Scrub(thumbnail=lambda width, height: np.full((height, width, 3), 99, np.uint8))
    result = picture.scrubbed(scrub) if clean else picture.encode(picture.pixels(), scrub).data
    assert thumbnail()[20:] not in result
    (fresh,) = opened(result).thumbnails()
    with Image.open(io.BytesIO(fresh)) as image:
        assert image.size == (32, 24)
        assert np.ptp(np.asarray(image)) < 4
    assert not opened(result).embedded()


def test_a_file_that_holds_nothing_else_is_its_own_clean_copy(kind: str) -> None:
    for data in (make(kind), described(make(kind), orientation=8), make(kind, np.dstack([photo(), photo()[:, :, 0]]))):
        assert opened(data).scrubbed(Scrub()) == data


@pytest.mark.parametrize(
    "rest",
    [
        struct.pack(">I4s", 28, b"uuid") + bytes(20),
        struct.pack(">I4s", 12, b"free") + b"text",
        bytes(100),
        b"\xff\xd8\xff\xe0\0\x10JFIF and so on",
        b"end",
        b"\r\n--boundary--\r\n",
    ],
)
def test_what_stands_behind_the_picture_does_not_stay(kind: str, rest: bytes) -> None:
    data = described(make(kind))
    result = opened(data + rest).scrubbed(Scrub())
    assert rest not in result
    assert opened(result).scrubbed(Scrub()) == result


def test_bytes_that_belong_to_no_item_do_not_stay(kind: str) -> None:
    data = make(kind)
    start = data.index(b"mdat") - 4
    size = struct.unpack_from(">I", data, start)[0]
    data = data[:start] + struct.pack(">I", size + 6) + data[start + 4 :] + b"hidden"
    picture = opened(data)
    assert picture.embedded()
    result = picture.scrubbed(Scrub())
    assert b"hidden" not in result
    np.testing.assert_array_equal(opened(result).pixels(), picture.pixels())


def test_all_metadata_goes_where_that_is_asked_for(kind: str) -> None:
    scrub = Scrub(MetadataSpec(MetadataPolicy.STRIP_ALL))
    picture = opened(described(make(kind), orientation=6))
    for result in (picture.scrubbed(scrub), picture.encode(picture.pixels(), scrub).data):
        assert PACKET not in result
        assert b"Own\0" not in result
        assert PROFILE in result


def test_the_codes_of_a_colour_space_stay(kind: str) -> None:
    file = read_items(make(kind))
    primary = file.items[file.primary]
    kept = [one for one in primary.properties if one.kind != b"colr"]
    made = next(one for one in primary.properties if one.kind == b"colr")
    wide = made._replace(body=b"nclx" + struct.pack(">HH", 12, 13) + made.body[8:])
    data = build(file.brands, file.primary, [replace(primary, properties=(*kept, wide))])
    picture = opened(data)
    result = read_items(picture.encode(picture.pixels()).data)
    assert (result.items[result.primary].first(b"colr") or b"")[:8] == b"nclx" + struct.pack(">HH", 12, 13)


def test_a_grid_of_tiles_is_one_picture(kind: str) -> None:
    data = grid(kind)
    picture = opened(data)
    assert (picture.width, picture.height) == (120, 128)
    pixels = picture.pixels()
    assert pixels.shape == (128, 120, 3)
    assert picture.scrubbed(Scrub()) == data
    again = opened(picture.encode(pixels).data)
    assert np.abs(again.pixels().astype(int) - pixels).mean() < 2


def grid(kind: str) -> bytes:
    """Return 2 x 2 tiles of 64 pixels, of which 120 x 128 are shown."""
    tiles = [read_items(make(kind, photo(64, 64) // n)) for n in (1, 2, 3, 4)]
    items = [replace(next(iter(tile.items.values())), id=n, hidden=True) for n, tile in enumerate(tiles, 2)]
    size = Property(b"ispe", struct.pack(">III", 0, 120, 128), False)
    rest = [one for one in items[0].properties if one.kind in {b"pixi", b"colr"}]
    body = struct.pack(">BBBBHH", 0, 0, 1, 1, 120, 128)
    whole = Item(1, b"grid", properties=(size, *rest), references=((b"dimg", (2, 3, 4, 5)),), data=body)
    return build(tiles[0].brands, 1, [whole, *items])


def test_a_second_picture_is_not_dropped_but_held(kind: str) -> None:
    data = make(kind)
    error = refusal(with_items(data, replace(next(iter(read_items(data).items.values())), id=9)))
    assert error.reason is Reason.UNSUPPORTED
    assert "2 pictures" in error.message


def paired(kind: str, *, with_primary: bool = True) -> bytes:
    """Write a spatial photo: two views, which a group says to be a pair."""
    left, right = read_items(make(kind)), read_items(make(kind, 255 - photo()))
    more = {number: number + 100 for number in right.items}
    others = [replace(item, id=more[item.id]) for item in right.items.values()]
    plain = build(left.brands, left.primary, [*left.items.values(), *others])
    pair = (1 if with_primary else 77, 1 + len(left.items))  # numbered anew
    group = box(b"grpl", versioned(b"ster", numbers(4, [1, len(pair), *pair])))
    at = plain.index(b"meta") - 4
    (size,) = struct.unpack_from(">I", plain, at)
    meta = struct.pack(">I", size + len(group)) + plain[at + 4 : at + size] + group
    return moved(plain[:at] + meta + plain[at + size :], by=len(group))


def moved(data: bytes, *, by: int) -> bytes:
    """Let the items' places point so many bytes further on."""
    at = data.index(b"iloc") + 4
    (count,) = struct.unpack_from(">H", data, at + 6)
    changed = bytearray(data)
    for place in range(at + 8 + 6, at + 8 + 14 * count, 14):
        struct.pack_into(">I", changed, place, struct.unpack_from(">I", data, place)[0] + by)
    return bytes(changed)


def test_of_a_pair_of_views_the_primary_one_comes_out_alone(kind: str) -> None:
    data = paired(kind)
    assert len(read_items(data).items) == 2 * len(read_items(make(kind)).items)
    picture = opened(data)
    assert picture.embedded()
    second = read_items(make(kind, 255 - photo())).items.values()
    region = Region(x=100, y=60, width=60, height=50, score=1.0, found_by="x")
    for result in (picture.scrubbed(), picture.redacted([region], BlurSpec(), Scrub()).data):
        assert len(read_items(result).items) == len(read_items(make(kind)).items)
        assert not any(item.data in result for item in second)
        assert b"ster" not in result
    assert np.array_equal(opened(picture.scrubbed()).pixels(), opened(make(kind)).pixels())


def test_a_picture_that_is_in_no_pair_with_the_primary_one_is_held_still(kind: str) -> None:
    assert refusal(paired(kind, with_primary=False)).reason is Reason.UNSUPPORTED


def test_a_picture_that_hides_a_part_of_itself_is_held(kind: str) -> None:
    crop = Property(b"clap", struct.pack(">IIIIiIiI", 100, 1, 100, 1, 0, 1, 0, 1), True)
    error = refusal(with_items(make(kind, photo(304, 200)), properties=(crop,)))
    assert error.reason is Reason.UNSUPPORTED
    assert "hide" in error.message


def test_padding_that_is_cut_off_is_no_hidden_part(kind: str) -> None:
    crop = Property(b"clap", struct.pack(">IIIIiIiI", 299, 1, 190, 1, -5, 2, -5, 1), True)
    picture = opened(with_items(make(kind, photo(304, 200)), properties=(crop,)))
    assert (picture.width, picture.height) == (299, 190)
    assert picture.pixels().shape == (190, 299, 3)
    again = opened(picture.encode(picture.pixels()).data)
    assert (again.width, again.height) == (299, 190)


def test_a_picture_that_is_turned_twice_is_not_guessed_at(kind: str) -> None:
    turns = Property(b"irot", b"\1", True), Property(b"irot", b"\2", True)
    assert refusal(with_items(make(kind), properties=turns)).reason is Reason.DAMAGED


def test_an_essential_property_that_we_do_not_know_is_respected(kind: str) -> None:
    error = refusal(with_items(make(kind), properties=(Property(b"zzzz", b"", True),)))
    assert error.reason is Reason.UNSUPPORTED
    assert "zzzz" in error.message


@pytest.mark.parametrize("part", [0.03, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("filled", [True, False])
def test_a_cut_file_waits(kind: str, part: float, *, filled: bool) -> None:
    data = described(make(kind))
    cut = data[: int(len(data) * part)]
    error = refusal(cut.ljust(len(data), b"\0") if filled else cut)
    assert error.reason is Reason.INCOMPLETE
    assert error.retryable


def test_a_huge_picture_is_refused_from_its_header(kind: str) -> None:
    file = read_items(make(kind))
    primary = file.items[file.primary]
    huge = Property(b"ispe", struct.pack(">III", 0, 60_000, 60_000), False)
    others = [one for one in primary.properties if one.kind not in {b"ispe", b"clap"}]
    data = build(file.brands, file.primary, [replace(primary, properties=(huge, *others))])
    assert refusal(data).reason is Reason.TOO_LARGE


def test_the_size_in_the_header_is_that_of_the_pixels_or_it_is_damage(kind: str) -> None:
    file = read_items(make(kind, sampling="4:4:4"))
    primary = file.items[file.primary]
    small = Property(b"ispe", struct.pack(">III", 0, 150, 100), False)
    others = [one for one in primary.properties if one.kind not in {b"ispe", b"clap"}]
    data = build(file.brands, file.primary, [replace(primary, properties=(small, *others))])
    assert refusal(data).reason is Reason.DAMAGED  # libavif would scale to it, and show a face too small to be found
    with pytest.raises(ImageError):
        verify_clean(opened(data).scrubbed(), picture=opened(data), max_pixels=MAX)


def test_an_animated_avif_is_held() -> None:
    out = io.BytesIO()
    pages = [Image.fromarray(photo(64, 64) // n) for n in (1, 2, 3)]
    pages[0].save(out, "AVIF", save_all=True, append_images=pages[1:])
    error = refusal(out.getvalue())
    assert error.reason is Reason.UNSUPPORTED
    assert "animations" in error.message


def test_an_encoder_that_gives_up_does_not_call_the_photo_damaged() -> None:
    with pytest.raises(ImageError, match="memory_limit_mb") as raised, encoding("AVIF"):
        Image.fromarray(photo()).save(
            io.BytesIO(), "AVIF", advanced={"no-such-option": "1"}
        )  # refused at the same place
    assert raised.value.reason is Reason.OUT_OF_MEMORY
    assert raised.value.retryable


def deep(kind: str) -> bytes:
    """Return a picture of 10 bits."""
    pixels = photo(64, 64).astype(np.uint16)
    if kind == "avif":  # OpenCV takes levels from 0 to 1023
        return cv2.imencode(".avif", pixels * 4, [cv2.IMWRITE_AVIF_DEPTH, 10, cv2.IMWRITE_AVIF_QUALITY, 90])[
            1
        ].tobytes()
    out = io.BytesIO()
    pillow_heif.encode("BGR;16", (64, 64), (pixels * 257).tobytes(), out, bit_depth=10, quality=90)
    return out.getvalue()


def test_a_photo_of_10_bits_without_faces_stays_as_it_is(kind: str) -> None:
    data = deep(kind)
    picture = opened(data)
    assert picture.depth == 10
    assert np.abs(picture.preview(None).astype(int) - photo(64, 64)).mean() < 4
    assert picture.scrubbed(Scrub()) == data
    verify_clean(data, picture=picture, max_pixels=MAX)


def test_a_face_in_an_avif_of_10_bits_is_held() -> None:
    with pytest.raises(ImageError, match="10 bits") as raised:
        opened(deep("avif")).redacted([Region(9, 9, 20, 20, 1.0, "always")], BlurSpec(), Scrub())
    assert raised.value.reason is Reason.UNSUPPORTED


def test_a_heic_of_10_bits_keeps_them() -> None:
    picture = opened(deep("heif"))
    box = Region(9, 9, 20, 20, 1.0, "always")
    result = picture.redacted([box], BlurSpec(), Scrub())
    again = verify(result, picture=picture, regions=[box], blur=BlurSpec(), max_pixels=MAX)
    before, after = picture.pixels(), again.pixels()
    assert (after.dtype, opened(result.data).depth) == (np.uint16, 10)
    outside = np.ones((64, 64), bool)
    outside[8:30, 8:30] = False
    assert np.abs(before.astype(int) - after)[outside].mean() < 4 * 257
    assert (after & 63).max() == 0  # 10 bits in the upper ones of 16
    assert len(np.unique(after >> 6)) > 256  # and more than 8 of them in use


def test_without_the_library_a_heic_is_held_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make("heif")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    error = refusal(data)
    assert error.reason is Reason.UNSUPPORTED
    assert "pip install faceblurd[heif]" in error.message
    assert not error.retryable


def test_the_order_of_turns_matters() -> None:
    turn, mirror = Property(b"irot", b"\1", True), Property(b"imir", b"\1", True)
    orders = [orientation_in(Item(1, b"av01", properties=both)) for both in ((turn, mirror), (mirror, turn))]
    assert sorted(orders) == [5, 7]


@pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")
def test_exiftool_reads_the_same_metadata_before_and_after(kind: str, tmp_path: Path) -> None:
    turned = (Property(b"irot", b"\3", True),)
    data = with_items(described(make(kind), orientation=6), properties=turned)
    picture = opened(data)
    told = []
    for name, content in (("before", data), ("after", picture.encode(picture.pixels()).data)):
        path = tmp_path / f"{name}.{kind}"
        path.write_bytes(content)
        done = subprocess.run(["exiftool", "-j", "-G1", "-a", path], capture_output=True, text=True, check=True)
        told.append(json.loads(done.stdout)[0])
    assert told[0]["IFD0:Make"] == "Own"
    same = {
        key for key in told[0] if key.split(":")[0] in {"IFD0", "XMP-a"} or key.endswith((":Rotation", "ImageSize"))
    }
    assert {key: told[0][key] for key in same} == {key: told[1].get(key) for key in same}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FORMATS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6), st.booleans())
def test_no_damage_raises_anything_but_an_image_error(kind: str, damage: list[tuple[float, int]], early: bool) -> None:
    broken = bytearray(SMALL[kind])
    for place, value in damage:
        broken[int(place * (min(len(broken), 700) - 1 if early else len(broken) - 1))] = value
    try:
        picture = open_image(bytes(broken), max_pixels=1_000_000)
        picture.preview(64)
        picture.encode(picture.pixels())
        verify_clean(picture.scrubbed(Scrub()), picture=picture, max_pixels=1_000_000)
    except ImageError:
        pass


SMALL = {kind: described(make(kind, photo(40, 30)), embedded=thumbnail()) for kind in FORMATS}
