"""PNG, TIFF, BMP and WebP: pixels, metadata, and what must not stay."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from faceblurd.errors import ImageError
from faceblurd.imaging.files import open_image
from faceblurd.imaging.files.png import rows as png_rows
from faceblurd.imaging.files.png.chunks import (
    SIGNATURE,
    Chunk,
    Header,
    read_chunks,
)
from faceblurd.imaging.geometry import to_upright
from faceblurd.imaging.metadata import BARE, Scrub, contains_picture
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.imaging.verify import verify, verify_clean
from faceblurd.model import BlurSpec, MetadataPolicy, MetadataSpec, Reason, Region

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.picture import Encoded

MAX = 200_000_000
CORNER = Region(x=0, y=0, width=9, height=9, score=1.0, found_by="test")


def jpeg() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((32, 24), 80).save(out, "JPEG")
    return out.getvalue()


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def image_of(mode: str) -> Image.Image:
    rng = np.random.default_rng(5)
    rgba = Image.fromarray(rng.integers(0, 256, (45, 61, 4), dtype=np.uint8))
    return rgba if mode == "RGBA" else rgba.convert("RGB").convert(mode)


def changed(data: bytes) -> tuple[Encoded, npt.NDArray[Any]]:
    """Open, change a corner, encode, verify."""
    picture = open_image(data, max_pixels=MAX)
    pixels = picture.pixels()
    pixels[:9, :9] = 77
    encoded = picture.encode(pixels)
    np.testing.assert_array_equal(open_image(encoded.data, max_pixels=MAX).pixels(), pixels)
    corner = to_upright(CORNER, orientation=picture.orientation, width=picture.width, height=picture.height)
    result = picture.redacted([corner], BlurSpec(), BARE)
    verify(result, picture=picture, regions=[corner], blur=BlurSpec(), max_pixels=MAX)
    verify_clean(picture.scrubbed(), picture=picture, max_pixels=MAX)
    return encoded, pixels


CASES = [
    ("PNG", "L", {}), ("PNG", "RGB", {}), ("PNG", "RGBA", {}), ("PNG", "P", {}), ("PNG", "LA", {}), ("PNG", "1", {}),
    ("BMP", "L", {}), ("BMP", "RGB", {}), ("BMP", "P", {}), ("BMP", "1", {}),
    ("WEBP", "RGB", {"lossless": True}), ("WEBP", "RGBA", {"lossless": True, "exact": True}),
    *[("TIFF", mode, {"compression": c}) for mode in ("L", "RGB", "RGBA", "CMYK")
      for c in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")],
]  # fmt: skip


@pytest.mark.parametrize(("kind", "mode", "options"), CASES)
def test_every_pixel_that_was_not_changed_stays(kind: str, mode: str, options: dict[str, Any]) -> None:
    original = image_of(mode)
    data = save(original, kind, **options)
    encoded, _ = changed(data)
    assert encoded.lossless
    with Image.open(io.BytesIO(encoded.data)) as after:
        assert after.format == kind
        common = "RGBA" if mode in {"RGBA", "LA"} else "CMYK" if mode == "CMYK" else "RGB"
        left, right = np.asarray(original.convert(common)), np.asarray(after.convert(common))
    np.testing.assert_array_equal(left[9:], right[9:])
    np.testing.assert_array_equal(left[:, 9:], right[:, 9:])
    assert (left[:9, :9] != right[:9, :9]).any()


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_16_bit_gray_stays_16_bit(extension: str) -> None:
    array = np.random.default_rng(2).integers(0, 65536, (30, 40)).astype(np.uint16)
    data = cv2.imencode(extension, array)[1].tobytes()
    encoded, pixels = changed(data)
    assert pixels.dtype == np.uint16
    again = np.asarray(cv2.imdecode(np.frombuffer(encoded.data, np.uint8), cv2.IMREAD_UNCHANGED))
    np.testing.assert_array_equal(again[9:], array[9:])
    assert open_image(data, max_pixels=MAX).preview(None).dtype == np.uint8


def test_16_bit_colour_png_stays_16_bit() -> None:
    array = np.random.default_rng(2).integers(0, 65536, (30, 40, 4)).astype(np.uint16)
    encoded, _ = changed(cv2.imencode(".png", array)[1].tobytes())
    again = np.asarray(cv2.imdecode(np.frombuffer(encoded.data, np.uint8), cv2.IMREAD_UNCHANGED))
    np.testing.assert_array_equal(again[9:], array[9:])


def test_a_big_endian_16_bit_tiff_is_read_in_the_right_order() -> None:
    array = np.random.default_rng(2).integers(0, 65536, (30, 40)).astype(np.uint16)
    out = io.BytesIO()
    entries = [
        (256, 4, 40),
        (257, 4, 30),
        (258, 3, 16),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 110),
        (277, 3, 1),
        (279, 4, 2400),
    ]
    out.write(b"MM\0*" + struct.pack(">IH", 8, len(entries)))
    for tag, kind, value in entries:
        out.write(
            struct.pack(">HHI", tag, kind, 1)
            + (struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value))
        )
    out.write(bytes(4))
    data = out.getvalue() + array.astype(">u2").tobytes()
    np.testing.assert_array_equal(open_image(data, max_pixels=MAX).pixels(), array)
    encoded, _ = changed(data)
    np.testing.assert_array_equal(open_image(encoded.data, max_pixels=MAX).pixels()[9:], array[9:])


def leaky_png() -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "A title")
    texts.add_itxt("Comment", "A comment", zip=True)
    texts.add_text("Preview", base64.b64encode(jpeg()).decode(), zip=True)
    texts.add_text("Raw profile type exif", "\n".join(jpeg().hex()[i : i + 72] for i in range(0, 1200, 72)))
    exif = Image.Exif()
    exif[0x10F], exif[0x112] = "Maker", 6
    data = save(image_of("RGB"), "PNG", pnginfo=texts, exif=exif, dpi=(300, 300), icc_profile=b"profile" * 9)
    ihdr = 8 + 25
    return data[:ihdr] + Chunk(b"prVW", jpeg()).build() + data[ihdr:] + jpeg()


@pytest.mark.parametrize("clean", [True, False])
def test_png_chunks_stay_unless_they_carry_a_picture(*, clean: bool) -> None:
    data = leaky_png()
    picture = open_image(data, max_pixels=MAX)
    result = picture.scrubbed() if clean else picture.encode(picture.pixels()).data
    assert not contains_picture(result[8:])
    with Image.open(io.BytesIO(result)) as after:
        after.load()
        assert after.text == {"Title": "A title", "Comment": "A comment"}
        assert after.info["icc_profile"] == b"profile" * 9
        assert round(after.info["dpi"][0]) == 300
        assert after.getexif()[0x10F] == "Maker"
        assert after.getexif()[0x112] == 6
    assert picture.orientation == 6
    assert picture.preview(None).shape == (61, 45, 3)


def test_a_clean_png_keeps_its_rows_and_palette_byte_for_byte() -> None:
    data = save(image_of("P"), "PNG")
    assert open_image(data, max_pixels=MAX).scrubbed() == data


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("lossless", [True, False])
def test_webp_metadata_stays_without_its_thumbnail(*, clean: bool, lossless: bool) -> None:
    exif = Image.Exif()
    exif[0x10F], exif[0x112] = "Maker", 3
    body = exif.tobytes() + jpeg()
    packet = b"<x xmlns:a='u:a' a:keep='1'/>"
    data = save(image_of("RGBA"), "WEBP", lossless=lossless, exif=body, icc_profile=b"profile" * 9, xmp=packet)
    picture = open_image(data, max_pixels=MAX)
    encoded = picture.encode(picture.pixels())
    assert encoded.lossless == lossless
    result = picture.scrubbed() if clean else encoded.data
    assert not contains_picture(result[12:])
    with Image.open(io.BytesIO(result)) as after:
        assert after.mode == "RGBA"
        assert after.info["icc_profile"] == b"profile" * 9
        assert after.info["xmp"] == packet
        assert after.getexif()[0x112] == 3
    if clean:
        with Image.open(io.BytesIO(data)) as one, Image.open(io.BytesIO(result)) as two:
            assert one.tobytes() == two.tobytes()


def leaky_tiff(**options: Any) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x10F], tags[0x112] = "Maker", 6
    tags[700] = b"<x xmlns:G='http://ns.google.com/photos/1.0/image/' a='keep' G:Data='zzz'/>"
    tags[34377] = (
        b"8BIM\x04\x04\0\0\0\0\0\x0c\x1c\x02\x78\0\7Regatta8BIM\x04\x0c\0\0" + struct.pack(">I", len(jpeg())) + jpeg()
    )
    tags.tagtype[700] = tags.tagtype[34377] = 1
    data = save(image_of("RGB"), "TIFF", tiffinfo=tags, **options)
    return data + jpeg()


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}])
@pytest.mark.parametrize("clean", [True, False])
def test_tiff_tags_stay_without_pictures(options: dict[str, Any], *, clean: bool) -> None:
    data = leaky_tiff(**options)
    assert contains_picture(data)
    picture = open_image(data, max_pixels=MAX)
    assert picture.orientation == 6
    assert picture.preview(None).shape == (61, 45, 3)
    result = picture.scrubbed() if clean else picture.encode(picture.pixels()).data
    assert jpeg()[-60:-20] not in result
    assert b"G:Data" not in result
    with Image.open(io.BytesIO(result)) as after:
        assert after.tag_v2[0x10F] == "Maker"
        assert after.tag_v2[0x112] == 6
        assert b"a='keep'" in after.tag_v2[700]
        assert b"Regatta" in after.tag_v2[34377]
        assert after.info["compression"] == options.get("compression", "raw")
    again = open_image(result, max_pixels=MAX)
    np.testing.assert_array_equal(again.pixels(), picture.pixels())


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("rows_first", [True, False])
def test_the_exif_directory_of_a_tiff_survives_a_redaction(order: str, depth: int, *, rows_first: bool) -> None:
    array = np.random.default_rng(2).integers(0, 2**depth, (30, 40)).astype(f"{order}u{depth // 8}")
    data = tiff_with_exif(array, order, depth, rows_first=rows_first)
    assert open_image(data, max_pixels=MAX).orientation == 8
    encoded, _ = changed(data)
    assert b"2024:01:02 03:04:05" in encoded.data
    with Image.open(io.BytesIO(encoded.data)) as after:
        assert after.getexif().get_ifd(0x8769)[0x9003] == "2024:01:02 03:04:05"
    again = open_image(encoded.data, max_pixels=MAX)
    assert again.orientation == 8
    np.testing.assert_array_equal(again.pixels()[9:], array[9:])


def tiff_with_exif(array: npt.NDArray[Any], order: str, depth: int, *, rows_first: bool) -> bytes:
    """Write a TIFF by hand, with an EXIF directory, its rows before or behind the directories."""
    rows = array.tobytes()
    date = b"2024:01:02 03:04:05\0"
    base = 8 + (len(rows) if rows_first else 0)
    exif, when = base + 2 + 12 * 10 + 4, base + 2 + 12 * 10 + 4 + 18
    strip = 8 if rows_first else when + len(date)
    entries = [(256, 4, 40), (257, 4, 30), (258, 3, depth), (259, 3, 1), (262, 3, 1), (273, 4, strip), (274, 3, 8),
               (277, 3, 1), (279, 4, len(rows)), (0x8769, 4, exif)]  # fmt: skip
    ifd = struct.pack(order + "H", len(entries))
    for tag, kind, value in entries:
        ifd += struct.pack(order + ("HHIHH" if kind == 3 else "HHII"), tag, kind, 1, value, *[0] * (kind == 3))
    sub = struct.pack(order + "HHHIII", 1, 0x9003, 2, len(date), when, 0)
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", base)
    return header + (rows if rows_first else b"") + ifd + bytes(4) + sub + date + (b"" if rows_first else rows)


def test_what_hides_around_a_bitmap_is_gone() -> None:
    data = bytearray(save(image_of("RGB"), "BMP"))
    hidden = jpeg()
    start = struct.unpack_from("<I", data, 10)[0]
    data[start:start] = hidden
    struct.pack_into("<I", data, 10, start + len(hidden))
    data += hidden
    picture = open_image(bytes(data), max_pixels=MAX)
    assert picture.embedded()
    result = picture.scrubbed()
    assert hidden[20:60] not in result
    np.testing.assert_array_equal(open_image(result, max_pixels=MAX).pixels(), picture.pixels())


def test_verification_of_lossless_results_allows_no_difference() -> None:
    picture = open_image(save(image_of("RGB"), "PNG"), max_pixels=MAX)
    pixels = picture.pixels()
    redact(pixels, [CORNER], BlurSpec())
    verify(picture.encode(pixels), picture=picture, regions=[CORNER], blur=BlurSpec(), max_pixels=MAX)
    for place in ((3, 3, 0), (30, 30, 0)):
        other = pixels.copy()
        other[place] ^= 1
        with pytest.raises(ImageError) as raised:
            verify(picture.encode(other), picture=picture, regions=[CORNER], blur=BlurSpec(), max_pixels=MAX)
        assert raised.value.reason is Reason.NOT_VERIFIED


def test_verification_refuses_another_size_and_format() -> None:
    picture = open_image(save(image_of("RGB"), "PNG"), max_pixels=MAX)
    others = save(image_of("RGB").resize((9, 9)), "PNG"), save(image_of("RGB"), "BMP"), b"", b"nonsense"
    for other in others:
        with pytest.raises(ImageError) as raised:
            verify_clean(other, picture=picture, max_pixels=MAX)
        assert raised.value.reason is Reason.NOT_VERIFIED


@pytest.mark.parametrize("sizes_mb", [[80], [40, 40]])
@pytest.mark.parametrize("head", [b"zTXtTitle\0\0", b"iTXtTitle\0\1\0\0\0", b"iCCPTitle\0\0"])
def test_compressed_texts_that_explode_together_are_refused(sizes_mb: list[int], head: bytes) -> None:
    bombs = b"".join(Chunk(head[:4], head[4:] + zlib.compress(bytes(size << 20), 9)).build() for size in sizes_mb)
    data = save(image_of("L"), "PNG")
    with pytest.raises(ImageError, match="16 MB") as raised:
        open_image(data[:33] + bombs + data[33:], max_pixels=MAX)
    assert raised.value.reason is Reason.TOO_LARGE


def test_a_photo_in_the_place_of_a_colour_profile_goes() -> None:
    data, photo = save(image_of("L"), "PNG"), save(image_of("L"), "JPEG")
    hidden = Chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(photo)).build()
    picture = open_image(data[:33] + hidden + data[33:], max_pixels=MAX)
    assert picture.embedded() == ["iCCP"]
    assert picture.scrubbed() == data


def raw_profile(name: bytes, content: bytes) -> bytes:
    digits = content.hex().encode()
    lines = b"\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return b"Raw profile type " + name + b"\0\0" + zlib.compress(b"\n%s\n%8d\n%s\n" % (name, len(content), lines))


def with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(8).integers(0, 256, (30, 40), dtype=np.uint8)).save(out, "PNG")
    plain = out.getvalue()
    return plain[:33] + b"".join(Chunk(*chunk).build() for chunk in chunks) + plain[33:]


def test_raw_profiles_of_imagemagick_stay_without_what_may_not() -> None:
    kept = Image.Exif()
    kept[0x10F] = "A maker"
    iptc = b"8BIM\x04\x04\0\0" + struct.pack(">I", 12) + b"\x1c\x02\x78\0\7Regatta"
    names = b"<x:x xmlns:x='x' xmlns:q='q'><q:People>ZZNAME</q:People><q:a>stays</q:a></x:x>"
    profiles = {b"exif": kept.tobytes(), b"iptc": iptc, b"xmp": names}
    data = with_chunks(*((b"zTXt", raw_profile(name, content)) for name, content in profiles.items()))
    for result in (open_image(data, max_pixels=MAX).scrubbed(BARE), hidden_png(data)):
        texts = {c.body.split(b"\0")[0]: c.body for c in read_chunks(result) if c.kind == b"zTXt"}
        assert texts[b"Raw profile type exif"] == raw_profile(b"exif", kept.tobytes())
        assert texts[b"Raw profile type iptc"] == raw_profile(b"iptc", iptc)
        assert texts[b"Raw profile type xmp"] == raw_profile(b"xmp", names.replace(b"<q:People>ZZNAME</q:People>", b""))


def hidden_png(data: bytes) -> bytes:
    region = Region(x=4, y=4, width=16, height=16, score=1.0, found_by="test")
    return open_image(data, max_pixels=MAX).redacted([region], BlurSpec(), BARE).data


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        (b"exif:GPSLatitude", b"48/1"),
        (b"Location", b"Bruges"),
        (b"Keywords", b"sea, Places|Bruges"),
        (b"XML:com.adobe.xmp", b"<x:xmpmeta xmlns:x='x'><x:City>Bruges</x:City></x:xmpmeta>"),
        (b"Comment", b"<x:xmpmeta xmlns:x='x'><x:City>Bruges</x:City></x:xmpmeta>"),
    ],
)
def test_places_in_texts_of_a_png_go_when_they_are_not_wanted(keyword: bytes, text: bytes) -> None:
    data = with_chunks((b"tEXt", keyword + b"\0" + text), (b"tEXt", b"Title\0A title"))
    no_places = Scrub(MetadataSpec(MetadataPolicy.STRIP_LOCATION))
    picture = open_image(data, max_pixels=MAX)
    assert picture.scrubbed(BARE) == data
    assert b"Title\0A title" in picture.scrubbed(no_places)
    assert b"Bruges" not in picture.scrubbed(no_places)
    assert b"48/1" not in picture.scrubbed(no_places)


def as_png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
@pytest.mark.parametrize("end", [b"", b"\0\0", b"\1\2\3\4"])
def test_a_png_whose_rows_have_no_sum_or_a_wrong_one_is_whole(mode: str, end: bytes) -> None:
    data = as_png(Image.effect_noise((40, 30), 60).convert(mode))
    chunks = read_chunks(data)
    rows = b"".join(chunk.body for chunk in chunks if chunk.kind == b"IDAT")
    others = [chunk for chunk in chunks if chunk.kind not in {b"IDAT", b"IEND"}]

    def png(stream: bytes) -> bytes:
        return SIGNATURE + b"".join(c.build() for c in (*others, Chunk(b"IDAT", stream), Chunk(b"IEND", b"")))

    picture = open_image(png(rows[:-4] + end), max_pixels=MAX)
    picture.preview(320)
    copy = picture.scrubbed()
    verify_clean(copy, picture=picture, max_pixels=MAX)
    assert copy == png(rows)
    with pytest.raises(ImageError):
        open_image(png(rows[:-40]), max_pixels=MAX).preview(320)  # rows are missing


def test_a_png_whose_end_has_a_wrong_checksum_is_whole() -> None:
    data = as_png(Image.effect_noise((40, 30), 60))
    assert open_image(data[:-1] + b"\0", max_pixels=MAX).scrubbed() == data


def test_a_png_without_its_end_or_with_a_wrong_checksum_beside_the_rows_is_whole() -> None:
    data = with_chunks((b"tEXt", b"Title\0A title"))
    for cut in (0, 4, 11):
        assert open_image(data[: len(data) - 12 + cut], max_pixels=MAX).scrubbed() == data
    plain = with_chunks()
    assert open_image(data.replace(b"A title", b"B title"), max_pixels=MAX).scrubbed() == plain
    rows = bytearray(plain)
    rows[-13] ^= 1  # of the checksum of the rows, which have another one of their own
    assert open_image(bytes(rows), max_pixels=MAX).pixels().shape == (30, 40)
    assert open_image(bytes(rows), max_pixels=MAX).scrubbed() == plain


@pytest.mark.parametrize("off", [-100, -1, 1, 7, 100_000, 1 << 32])
def test_a_wrong_size_of_all_does_not_matter_to_a_webp(off: int) -> None:
    out = io.BytesIO()
    Image.effect_noise((40, 30), 50).convert("RGB").save(out, "WEBP", lossless=True)
    data = out.getvalue()
    size = struct.pack("<I", min(len(data) - 8 + off, (1 << 32) - 2))
    assert open_image(data[:4] + size + data[8:], max_pixels=MAX).scrubbed() == data


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("shape", ["rows", "circle", "all"])
def test_black_is_a_colour(kind: str, shape: str) -> None:
    pixels = np.random.default_rng(3).integers(1, 255, (120, 90, 3), dtype=np.uint8)
    y, x = np.mgrid[:120, :90]
    black = {"rows": (y > 50) | (y < 20), "circle": (y - 60) ** 2 + (x - 45) ** 2 > 900, "all": y >= 0}[shape]
    pixels[black] = 0
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **({"quality": 100, "method": 0} if kind == "WEBP" else {}))
    picture = open_image(out.getvalue(), max_pixels=MAX)
    assert picture.pixels().shape == (120, 90, 3)
    verify_clean(picture.scrubbed(), picture=picture, max_pixels=MAX)


def test_pink_is_a_colour() -> None:
    out = io.BytesIO()
    Image.new("RGB", (90, 60), (255, 216, 255)).save(out, "TIFF")
    picture = open_image(out.getvalue(), max_pixels=MAX)
    verify_clean(picture.scrubbed(), picture=picture, max_pixels=MAX)


@pytest.mark.parametrize(
    ("colour", "depth"),
    [(0, 1), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 2), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)],
)
def test_an_interlaced_png_stays_one(colour: int, depth: int) -> None:
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    samples = np.random.default_rng(4).integers(0, 1 << depth, (61, 45, channels)).astype(f"u{max(depth // 8, 1)}")
    palette = [Chunk(b"PLTE", bytes(range(200))[: 3 << depth].ljust(3 << depth, b"x"))] if colour == 3 else []
    header = Header(45, 61, depth, colour, interlaced=True)
    rows = png_rows.rows(samples[:, :, 0] if channels == 1 else samples, header)
    ihdr = Chunk(b"IHDR", struct.pack(">IIBBBBB", 45, 61, depth, colour, 0, 0, 1))
    offset = Chunk(b"oFFs", bytes(9))
    chunks = [ihdr, offset, *palette, rows, Chunk(b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(chunk.build() for chunk in chunks)
    picture = open_image(data, max_pixels=MAX)
    region = Region(x=8, y=8, width=24, height=24, score=1.0, found_by="test")
    result = picture.redacted([region], BlurSpec(), BARE)
    verify(result, picture=picture, regions=[region], blur=BlurSpec(), max_pixels=MAX)
    kept = read_chunks(result.data)
    assert kept[0].body == ihdr.body
    assert offset in kept
    if depth == 8:
        with Image.open(io.BytesIO(data)) as one, Image.open(io.BytesIO(result.data)) as other:
            before, after = np.array(one.convert("RGBA")), np.array(other.convert("RGBA"))
        before[8:32, 8:32] = after[8:32, 8:32]
        np.testing.assert_array_equal(before, after)


def test_pointers_into_the_rows_stay_as_long_as_they_are_right() -> None:
    before, between = (b"tEXt", b"Person\0Ada"), (b"iDOT", bytes(28))
    assert b"iDOT" in open_image(with_chunks(before, between), max_pixels=MAX).scrubbed(BARE)
    assert b"iDOT" not in open_image(with_chunks(between, before), max_pixels=MAX).scrubbed(BARE)
    assert b"iDOT" not in hidden_png(with_chunks(between))


@pytest.mark.parametrize("interlaced", [False, True])
def test_what_speaks_of_the_colour_type_stays_with_it(*, interlaced: bool) -> None:
    ihdr = Chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 30, 8, 2, 0, 0, int(interlaced)))
    samples = np.random.default_rng(4).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    rows = png_rows.rows(samples, Header(40, 30, 8, 2, interlaced=interlaced))
    background, bits = Chunk(b"bKGD", b"\0\xff\0\xff\0\xff"), Chunk(b"sBIT", b"\5\6\5")
    chunks = [ihdr, bits, background, rows, Chunk(b"IEND", b"")]
    kept = read_chunks(hidden_png(b"\x89PNG\r\n\x1a\n" + b"".join(chunk.build() for chunk in chunks)))
    assert {background, bits} <= set(kept)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_a_clean_copy_of_a_png_leaves_out_what_lies_behind_its_rows(mode: str) -> None:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(8).integers(0, 256, (30, 40, 3), dtype=np.uint8)).convert(mode).save(
        out, "PNG"
    )
    chunks = read_chunks(out.getvalue())
    chunks.insert(-1, Chunk(b"IDAT", b"a secret behind the rows"))
    picture = open_image(b"\x89PNG\r\n\x1a\n" + b"".join(chunk.build() for chunk in chunks), max_pixels=MAX)
    clean = picture.scrubbed(BARE)
    assert b"secret" not in clean
    verify_clean(clean, picture=picture, max_pixels=MAX)
    np.testing.assert_array_equal(open_image(clean, max_pixels=MAX).pixels(), picture.pixels())
