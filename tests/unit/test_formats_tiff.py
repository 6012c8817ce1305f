"""TIFF: pages, depths, palettes, copies; what is hidden, what stays, what is refused."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from faceblurd.errors import ImageError
from faceblurd.imaging.files import open_image
from faceblurd.imaging.files.tiff import planes
from faceblurd.imaging.metadata import BARE, Scrub
from faceblurd.imaging.verify import verify
from faceblurd.model import BlurMethod, BlurSpec, MetadataPolicy, MetadataSpec, Reason, Region

if TYPE_CHECKING:
    import numpy.typing as npt

MAX = 10**7
BOX = Region(x=24, y=20, width=50, height=46, score=1.0, found_by="test")
LOSSLESS = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]


def noise(shape: tuple[int, ...], top: int = 256) -> npt.NDArray[Any]:
    small = (-(-shape[0] // 2), -(-shape[1] // 2), *shape[2:])
    array = np.random.default_rng(7).integers(0, top, small).astype(np.uint8 if top <= 256 else np.uint16)
    return array.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]


def saved(*images: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    images[0].save(out, "TIFF", save_all=len(images) > 1, append_images=images[1:], **options)
    return out.getvalue()


def image(mode: str) -> Image.Image:
    if mode == "P":
        return Image.fromarray(noise((90, 110, 3))).quantize(200)
    if mode == "1":
        return Image.fromarray(noise((90, 110), 2) * 255).convert("1")
    bands = len(Image.new(mode, (1, 1)).getbands())
    array = noise((90, 110, bands)) if bands > 1 else noise((90, 110))
    return Image.frombytes(mode, (110, 90), array.tobytes())


def outside_of(*boxes: Region) -> npt.NDArray[np.bool_]:
    mask = np.ones((90, 110), bool)
    for box in boxes:
        mask[box.y : box.y + box.height, box.x : box.x + box.width] = False
    return mask


def hidden(data: bytes, *regions: Region, blur: BlurSpec | None = None) -> bytes:
    """Hide regions, verified."""
    blur = blur or BlurSpec()
    picture = open_image(data, max_pixels=MAX)
    result = picture.redacted(regions, blur, BARE)
    assert result.lossless
    verify(result, picture=picture, regions=regions, blur=blur, max_pixels=MAX)
    return result.data


CASES = [
    *[(mode, name) for mode in ("L", "RGB", "RGBA", "CMYK", "P", "1") for name in LOSSLESS],
    *[("1", name) for name in ("tiff_ccitt", "group3", "group4")],
]


@pytest.mark.parametrize("method", BlurMethod)
@pytest.mark.parametrize(("mode", "compression"), CASES)
def test_kind_depth_and_compression_stay(mode: str, compression: str, method: BlurMethod) -> None:
    original = image(mode)
    data = hidden(saved(original, compression=compression), BOX, blur=BlurSpec(method=method))
    with Image.open(io.BytesIO(data)) as after:
        assert after.mode == mode
        assert after.info["compression"] == compression
        old, new = (np.asarray(one.convert("RGBA")) for one in (original, after))
        if mode == "P":
            assert after.getpalette()[:600] == original.getpalette()[:600]
    outside = outside_of(BOX)
    np.testing.assert_array_equal(old[outside], new[outside])
    assert (old[~outside] != new[~outside]).any()


@pytest.mark.parametrize("compression", [1, 5, 8])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_16_bits_stay_16_bits(bands: int, predictor: int, compression: int) -> None:
    array = noise((90, 110, bands), 65536).squeeze()
    settings = [cv2.IMWRITE_TIFF_COMPRESSION, compression, cv2.IMWRITE_TIFF_PREDICTOR, predictor]
    data = hidden(cv2.imencode(".tiff", array, settings)[1].tobytes(), BOX)
    after = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert after.dtype == np.uint16
    outside = outside_of(BOX)
    np.testing.assert_array_equal(after[outside], array[outside])
    assert (after[~outside] != array[~outside]).mean() > 0.5
    page = open_image(data, max_pixels=MAX)._pages[0].page  # type: ignore[attr-defined]  # what is stored, not shown
    assert page.compression == compression
    assert page.predictor == predictor or compression == 1


def built(order: str, depth: int, array: npt.NDArray[Any], **extra: tuple[int, int, int]) -> bytes:
    """Write an uncompressed TIFF by hand."""
    rows = array.astype(f"{order}u{depth // 8}").tobytes()
    bands = array.shape[2] if array.ndim == 3 else 1
    start = 8 + len(rows)
    tags = {256: (4, 1, array.shape[1]), 257: (4, 1, array.shape[0]), 258: (3, 1, depth), 259: (3, 1, 1),
            262: (3, 1, 2 if bands > 1 else 1), 273: (4, 1, 8), 277: (3, 1, bands), 279: (4, 1, len(rows)),
            **{int(tag[1:]): value for tag, value in extra.items()}}  # fmt: skip
    depths = struct.pack(f"{order}{bands}H", *[depth] * bands)
    ifd_size = 2 + 12 * len(tags) + 4
    if bands > 1:
        tags[258] = (3, bands, start + ifd_size)
    body = struct.pack(order + "H", len(tags))
    for tag, (kind, count, value) in sorted(tags.items()):
        short = kind == 3 and count == 1
        body += struct.pack(order + ("HHIHH" if short else "HHII"), tag, kind, count, value, *([0] if short else []))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    return head + rows + body + bytes(4) + depths


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_kept(order: str, depth: int) -> None:
    array = noise((90, 110, 3), 1 << depth)
    data = hidden(built(order, depth, array), BOX)
    assert data[:2] == (b"II" if order == "<" else b"MM")
    after = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[:, :, ::-1]
    np.testing.assert_array_equal(after[outside_of(BOX)], array[outside_of(BOX)])


def test_every_page_is_hidden_by_itself_and_the_others_stay() -> None:
    kinds = ["RGB", "L", "CMYK", "P", "1"]
    pages = [image(mode) for mode in kinds]
    data = saved(*pages, compression="tiff_lzw")
    picture = open_image(data, max_pixels=MAX)
    assert (picture.frames, picture.animated) == (5, False)
    regions = [replace(BOX, frame=0), replace(BOX, frame=2), replace(BOX, x=2, frame=4)]
    result = hidden(data, *regions)
    with Image.open(io.BytesIO(result)) as after:
        assert after.n_frames == 5
        for number, page in enumerate(pages):
            after.seek(number)
            assert after.mode == kinds[number]
            outside = outside_of(*(region for region in regions if region.frame == number))
            old, new = (np.asarray(one.convert("RGBA")) for one in (page, after))
            np.testing.assert_array_equal(old[outside], new[outside])
            assert (old != new).any() == (number in {0, 2, 4})


def test_the_rows_of_a_hidden_page_are_gone_from_the_file() -> None:
    pages = [image("RGB"), Image.fromarray(noise((90, 110, 3)) ^ 255)]
    data = saved(*pages)
    before = pages[1].tobytes()[30 * 330 + 90 : 30 * 330 + 200]
    assert before in data
    assert before not in hidden(data, replace(BOX, frame=1))


def with_copy(*, mode: str = "RGB", compression: str = "raw") -> bytes:
    """Write a page and a reduced copy of it."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = 1
    small = image("RGB").resize((55, 45), Image.Resampling.BOX).convert(mode)
    whole, copy = saved(image("RGB")), saved(small, tiffinfo=tags, compression=compression)
    return joined(whole, copy)


def joined(first: bytes, second: bytes) -> bytes:
    """Append the page of a second file to a first one: all its offsets move by the first one's length."""
    first += bytes(len(first) % 2)
    base, out = len(first), bytearray(first + second)
    start = base + struct.unpack_from("<I", second, 4)[0]
    for number in range(struct.unpack_from("<H", out, start)[0]):
        tag, kind, count, value = struct.unpack_from("<HHII", out, start + 2 + 12 * number)
        if tag == 273 and count > 1:
            for at in range(base + value, base + value + 4 * count, 4):
                struct.pack_into("<I", out, at, struct.unpack_from("<I", out, at)[0] + base)
        if tag == 273 or {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}[kind] * count > 4:
            struct.pack_into("<I", out, start + 10 + 12 * number, value + base)
    ifd = struct.unpack_from("<I", first, 4)[0]
    struct.pack_into("<I", out, ifd + 2 + 12 * struct.unpack_from("<H", first, ifd)[0], start)
    return bytes(out)


def test_a_reduced_copy_is_hidden_where_its_page_is() -> None:
    data = with_copy()
    picture = open_image(data, max_pixels=MAX)
    assert picture.frames == 2
    result = picture.redacted([BOX], BlurSpec(), BARE)
    copied = replace(BOX, x=12, y=10, width=25, height=23, frame=1)
    assert result.regions == (BOX, copied)
    before, after = picture.pixels(1), open_image(result.data, max_pixels=MAX).pixels(1)
    assert (before[12:30, 14:34] != after[12:30, 14:34]).mean() > 0.9
    np.testing.assert_array_equal(before[34:], after[34:])


@pytest.mark.parametrize("clean", [True, False])
def test_a_copy_that_we_cannot_write_goes(*, clean: bool) -> None:
    data = with_copy(compression="jpeg")
    picture = open_image(data, max_pixels=MAX)
    assert picture.frames == 1
    assert picture.embedded()
    result = picture.scrubbed(BARE) if clean else hidden(data, BOX)
    again = open_image(result, max_pixels=MAX)
    assert again.embedded() == []
    assert b"\xff\xd8\xff" not in result
    with Image.open(io.BytesIO(result)) as after:
        assert after.n_frames == 1


def test_a_loop_of_pages_is_refused() -> None:
    data = bytearray(saved(image("L"), image("L")))
    first = struct.unpack_from("<I", data, 4)[0]
    second = struct.unpack_from("<I", data, first + 2 + 12 * struct.unpack_from("<H", data, first)[0])[0]
    struct.pack_into("<I", data, second + 2 + 12 * struct.unpack_from("<H", data, second)[0], first)
    with pytest.raises(ImageError, match="do not end") as raised:
        open_image(bytes(data), max_pixels=MAX)
    assert raised.value.reason is Reason.DAMAGED


@pytest.mark.parametrize(("tag", "message"), [(0xC612, "DNG"), (330, "sub-directories")])
def test_raw_photos_are_held(tag: int, message: str) -> None:
    data = built("<", 8, noise((90, 110)), **{f"_{tag}": (4, 1, 8)})
    with pytest.raises(ImageError, match=message) as raised:
        open_image(data, max_pixels=MAX)
    assert raised.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("redact", [True, False])
def test_places_and_names_go_when_they_are_not_wanted(*, redact: bool) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x10F], tags[0x13B] = "Maker", "An Artist"
    tags[0x8825] = {1: "N", 29: "2024:05:06"}
    data = saved(image("RGB"), tiffinfo=tags)
    assert b"2024:05:06" in data

    def result(policy: MetadataPolicy) -> bytes:
        picture = open_image(data, max_pixels=MAX)
        scrub = Scrub(MetadataSpec(policy))
        return picture.redacted([BOX], BlurSpec(), scrub).data if redact else picture.scrubbed(scrub)

    assert b"2024:05:06" in result(MetadataPolicy.KEEP)
    nowhere = result(MetadataPolicy.STRIP_LOCATION)
    assert b"2024:05:06" not in nowhere
    assert b"An Artist" in nowhere
    nothing = result(MetadataPolicy.STRIP_ALL)
    assert b"An Artist" not in nothing
    for changed in (nowhere, nothing):
        with Image.open(io.BytesIO(changed)) as after:
            assert after.getexif().get_ifd(0x8825) == {}
            outside = outside_of(BOX) if redact else slice(None)
            np.testing.assert_array_equal(np.asarray(after)[outside], np.asarray(image("RGB"))[outside])


@pytest.mark.parametrize("meaning", [0, 1, 2])
def test_what_the_fourth_sample_means_stays(meaning: int) -> None:
    data = hidden(built("<", 8, noise((90, 110, 4)), _338=(3, 1, meaning)), BOX)
    with Image.open(io.BytesIO(data)) as after:
        assert after.tag_v2[338] == (meaning,)


def with_tag(tag: int, value: bytes) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[tag] = value
    tags.tagtype[tag] = 7
    return saved(image("RGB"), tiffinfo=tags)


@pytest.mark.parametrize("tag", [37724, 50255, 65000, 1234, 5])
def test_a_tag_that_nobody_knows_goes_with_its_raw_samples(tag: int) -> None:
    raw = bytes(range(1, 256)) * 9
    picture = open_image(with_tag(tag, raw), max_pixels=MAX)
    for result in (picture.scrubbed(BARE), picture.redacted([BOX], BlurSpec(), BARE).data):
        assert raw[:64] not in result
        with Image.open(io.BytesIO(result)) as opened:
            assert tag not in opened.tag_v2


def test_a_tag_that_nobody_knows_stays_when_it_is_too_small_to_show_anything() -> None:
    picture = open_image(with_tag(65000, b"serial number 7"), max_pixels=MAX)
    assert b"serial number 7" in picture.scrubbed(BARE)


PLANES = [("<", 8, 1), (">", 8, 1), ("<", 16, 1), (">", 16, 1), ("<", 16, 5), ("<", 8, 8)]


DEEP, SHALLOW = ["RGB", "RGBA"], ["RGB", "RGBA", "CMYK", "LA"]  # what there is of 16 bits, and of 8


@pytest.mark.parametrize(
    ("order", "bits", "compression", "mode"),
    [(*plane, mode) for plane in PLANES for mode in (DEEP if plane[1] == 16 else SHALLOW)],
)
def test_channels_that_lie_apart_still_do(order: str, bits: int, compression: int, mode: str) -> None:
    channels = len(Image.new(mode, (1, 1)).getbands())
    array = noise((90, 110, channels), 1 << bits).astype(f"{order}u{bits // 8}")
    data = apart(array, order, {"RGB": 2, "RGBA": 2, "CMYK": 5, "LA": 1}[mode], compression)
    pixels = open_image(data, max_pixels=MAX).pixels()
    want = array[:, :, {"RGB": [2, 1, 0], "RGBA": [2, 1, 0, 3], "CMYK": range(4), "LA": [0, 0, 0, 1]}[mode]]
    np.testing.assert_array_equal(pixels, want)
    result = hidden(data, BOX)
    with Image.open(io.BytesIO(result)) as opened:
        assert opened.tag_v2[284] == 2
        assert opened.tag_v2[258] == (bits,) * channels


def apart(array: npt.NDArray[Any], order: str, photometric: int, compression: int) -> bytes:
    """Write planes, two strips each."""
    pack = zlib.compress if compression == 8 else lzw if compression == 5 else bytes
    halves = [half.tobytes() for plane in np.moveaxis(array, 2, 0) for half in (plane[:50], plane[50:])]
    rows, count = [pack(half) for half in halves], array.shape[2]
    tags = {256: (4, [110]), 257: (4, [90]), 258: (3, [8 * array.itemsize] * count), 259: (3, [compression])}
    tags |= {262: (3, [photometric]), 273: (4, [0]), 277: (3, [count]), 278: (4, [50]), 279: (4, [0]), 284: (3, [2])}
    tags |= {338: (3, [2])} if count in {2, 4} and photometric != 5 else {}
    page = SimpleNamespace(order=order, tags=set(tags))
    return planes._built(page, tags, rows)  # type: ignore[arg-type]


def lzw(row: bytes) -> bytes:
    """Codes of nine bits, the table cleared often enough that it never grows."""
    codes = [code for at in range(0, len(row), 200) for code in (256, *row[at : at + 200])] + [257]
    bits = "".join(f"{code:09b}" for code in codes)
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


@pytest.mark.parametrize("compression", ["lzma", "zstd"])
def test_newer_compressions_stay(compression: str) -> None:
    result = hidden(saved(image("RGB"), compression=compression), BOX)
    with Image.open(io.BytesIO(result)) as opened:
        assert opened.info["compression"] == compression


def test_gray_with_opacity_stays() -> None:
    with Image.open(io.BytesIO(hidden(saved(image("LA")), BOX))) as opened:
        assert opened.mode == "LA"


@pytest.mark.parametrize(("bits", "photometric"), [(2, 1), (4, 1), (4, 0), (4, 3), (2, 3)])
def test_few_bits_become_eight_and_that_is_said(bits: int, photometric: int) -> None:
    cells = np.random.default_rng(2).integers(1, 256, (90, -(-110 * bits // 8)), dtype=np.uint8)
    tags = {256: (4, [110]), 257: (4, [90]), 258: (3, [bits]), 259: (3, [1]), 262: (3, [photometric]), 273: (4, [0])}
    tags |= {277: (3, [1]), 278: (4, [90]), 279: (4, [0])}
    tags |= {320: (3, [n * 997 for n in range(3 << bits)])} if photometric == 3 else {}
    data = planes._built(SimpleNamespace(order="<", tags=set(tags)), tags, [cells.tobytes()])  # type: ignore[arg-type]
    picture = open_image(data, max_pixels=MAX)
    result = picture.redacted([BOX], BlurSpec(), BARE)
    verify(result, picture=picture, regions=[BOX], blur=BlurSpec(), max_pixels=MAX)
    assert f"samples of {bits} bits have 8 now" in result.note


@pytest.mark.parametrize(("mode", "words"), [("LAB", "CIELab"), ("F", "floating-point"), ("I", "32 bits")])
def test_what_is_not_supported_is_named_in_words(mode: str, words: str) -> None:
    with pytest.raises(ImageError, match=words) as raised:
        open_image(saved(image("RGB").convert("L" if mode != "LAB" else "RGB").convert(mode)), max_pixels=MAX)
    assert raised.value.reason is Reason.UNSUPPORTED


def test_tiles_become_strips_and_that_is_said() -> None:
    rows = [noise((64, 64)).tobytes(), noise((64, 64)).tobytes()]
    tags = {256: (4, [110]), 257: (4, [60]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1]), 277: (3, [1]), 322: (3, [64])}
    tags |= {323: (3, [64]), 324: (4, [0]), 325: (4, [0])}
    data = planes._built(SimpleNamespace(order="<", tags=set(tags)), tags, rows)  # type: ignore[arg-type]
    picture, box = open_image(data, max_pixels=MAX), replace(BOX, height=30)
    result = picture.redacted([box], BlurSpec(), BARE)
    verify(result, picture=picture, regions=[box], blur=BlurSpec(), max_pixels=MAX)
    assert result.note == "tiles became strips"
