from __future__ import annotations

import base64
import io
import re
import struct
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from faceblurd.errors import ImageError
from faceblurd.imaging import jpeg_segments as js
from faceblurd.imaging.files import open_image
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.imaging.verify import examine, verify, verify_clean
from faceblurd.model import BlurMethod, BlurSpec, Reason, Region

if TYPE_CHECKING:
    import numpy.typing as npt

MAX = 200_000_000
XMP = b"http://ns.adobe.com/xap/1.0/\0"


def encode(array: npt.NDArray[Any], **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "JPEG", **{"quality": 88, **options})
    return out.getvalue()


def with_segments(data: bytes, *segments: tuple[int, bytes]) -> bytes:
    """Put segments right after SOI."""
    return data[:2] + b"".join(js.build(marker, payload) for marker, payload in segments) + data[2:]


def thumbnail() -> bytes:
    return encode(np.random.default_rng(3).integers(0, 256, (24, 32, 3), dtype=np.uint8))


def exif(*, orientation: int = 1) -> bytes:
    """EXIF as a camera writes it: a maker, an orientation, and a thumbnail."""
    block = Image.Exif()
    block[0x10F], block[0x112] = "Camera Works", orientation
    body = block.tobytes()
    thumb = thumbnail()
    # Pillow writes no IFD1: append one, and link it behind IFD0.
    head, tiff = body[:6], bytearray(body[6:])
    order = "<" if tiff[:2] == b"II" else ">"
    first = struct.unpack_from(order + "I", tiff, 4)[0]
    count = struct.unpack_from(order + "H", tiff, first)[0]
    struct.pack_into(order + "I", tiff, first + 2 + 12 * count, len(tiff))
    start = len(tiff) + 2 + 24 + 4
    tiff += struct.pack(order + "HHHIIHHIII", 2, 0x201, 4, 1, start, 0x202, 4, 1, len(thumb), 0) + thumb
    return head + bytes(tiff)


def leaky(array: npt.NDArray[Any]) -> bytes:
    """Build a JPEG with every leak that a container can carry, and with EXIF, ICC, XMP, IPTC and a comment to keep."""
    hidden = thumbnail()
    text = base64.b64encode(hidden)
    iptc = b"8BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x78\0\x03Hi!"
    psd = b"8BIM\x04\x0c\0\0" + struct.pack(">I", len(hidden)) + hidden + b"\0" * (len(hidden) % 2)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    packet = b"<x xmlns:G='http://ns.google.com/photos/1.0/image/' xmlns:a='u:a' a:keep='yes' G:Data='" + text + b"'/>"
    data = with_segments(
        encode(array),
        (0xE0, b"JFXX\0\x10" + hidden),
        (0xE1, exif()),
        (0xE1, XMP + packet),
        (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + text),
        (0xE2, b"ICC_PROFILE\0\x01\x01" + profile),
        (0xE2, b"MPF\0II*\0" + bytes(40)),
        (0xE2, b"FPXR\0" + hidden),
        (0xEB, b"JP\0\x01" + hidden),
        (0xED, b"Photoshop 3.0\0" + iptc + psd),
        (0xE5, b"unknown" + hidden),
        (0xFE, b"just words"),
        (0xFE, text),
    )
    return data + hidden + b"SEFH....SEFT" + bytes(100)


def pictures_in(data: bytes) -> int:
    return len(re.findall(rb"\xff\xd8\xff", data))


@pytest.mark.parametrize("clean", [True, False])
def test_every_planted_leak_is_gone_and_the_metadata_stays(noise: npt.NDArray[Any], *, clean: bool) -> None:
    data = leaky(noise)
    assert pictures_in(data) > 6
    picture = open_image(data, max_pixels=MAX)
    result = picture.scrubbed() if clean else picture.encode(picture.pixels()).data
    assert pictures_in(result) == 1
    assert thumbnail()[-200:-160] not in result  # of its scan
    assert base64.b64encode(thumbnail())[:80] not in result
    assert b"SEFT" not in result
    assert result.endswith(b"\xff\xd9")
    for kept in (b"Camera Works", b"a:keep='yes'", b"\x1c\x02\x78\0\x03Hi!", b"just words", b"ICC_PROFILE"):
        assert kept in result
    with Image.open(io.BytesIO(result)) as image:
        assert image.getexif()[0x10F] == "Camera Works"
        assert ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))


def test_a_clean_copy_keeps_tables_and_scans_byte_for_byte(noise: npt.NDArray[Any]) -> None:
    plain = encode(noise, progressive=True)
    result = open_image(with_segments(plain, (0xE1, exif())), max_pixels=MAX).scrubbed()

    def of_picture(data: bytes) -> list[bytes]:
        return [data[s.start : s.end] for s in js.scan(data) if not js.is_app(s.marker)]

    assert of_picture(result) == of_picture(plain)
    assert sum(s.marker == js.SOS for s in js.scan(result)) > 1


def test_a_jfif_thumbnail_is_cut_off(noise: npt.NDArray[Any]) -> None:
    jfif = b"JFIF\0\x01\x01\x01\0\x48\0\x48\x02\x02" + b"RGBrgbRGBrgb"
    data = encode(noise)
    old = js.scan(data)[0]
    data = with_segments(data[:2] + data[old.end :], (0xE0, jfif))
    result = open_image(data, max_pixels=MAX).scrubbed()
    assert b"RGBrgb" not in result
    assert b"JFIF\0\x01\x01\x01\0\x48\0\x48\0\0" in result


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_tables_sampling_and_kind_of_scan_stay(noise: npt.NDArray[Any], subsampling: int, *, progressive: bool) -> None:
    data = encode(noise, quality=71, subsampling=subsampling, progressive=progressive)
    picture = open_image(data, max_pixels=MAX)
    encoded = picture.encode(picture.pixels())
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(encoded.data)) as after:
        assert after.quantization == before.quantization
        assert after.layer == before.layer
        assert after.info.get("progressive") == before.info.get("progressive")
    assert not encoded.lossless


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_colours_survive_a_round_trip(astronaut: npt.NDArray[Any], mode: str) -> None:
    original = Image.fromarray(np.ascontiguousarray(astronaut[:, :, ::-1])).convert(mode)
    out = io.BytesIO()
    original.save(out, "JPEG", quality=95)
    picture = open_image(out.getvalue(), max_pixels=MAX)
    encoded = picture.encode(picture.pixels())
    with Image.open(io.BytesIO(encoded.data)) as after:
        assert after.mode == mode
        assert np.abs(np.asarray(after).astype(int) - np.asarray(original)).mean() < 3
    assert picture.preview(200).shape == (200, 200, 3)
    bgr = np.asarray(original.convert("RGB"))[:, :, ::-1]
    assert np.abs(picture.preview(None).astype(int) - bgr).mean() < 4


def test_a_jpeg_of_rgb_components_stays_one(astronaut: npt.NDArray[Any]) -> None:
    data = encode(np.ascontiguousarray(astronaut[:, :, ::-1]), keep_rgb=True, subsampling=0, quality=95)
    picture = open_image(data, max_pixels=MAX)
    encoded = picture.encode(picture.pixels())
    again = open_image(encoded.data, max_pixels=MAX)
    assert np.abs(again.pixels().astype(int) - astronaut).mean() < 3
    assert encoded.data.count(b"Adobe") == data.count(b"Adobe")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_preview_is_upright_and_the_pixels_are_as_stored(noise: npt.NDArray[Any], orientation: int) -> None:
    data = with_segments(encode(noise, quality=100, subsampling=0), (0xE1, exif(orientation=orientation)))
    picture = open_image(data, max_pixels=MAX)
    assert picture.orientation == orientation
    with Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))[:, :, ::-1]
    np.testing.assert_array_equal(picture.preview(None), upright)
    np.testing.assert_array_equal(picture.pixels().shape, noise.shape)
    again = open_image(picture.encode(picture.pixels()).data, max_pixels=MAX)
    assert again.orientation == orientation


@pytest.mark.parametrize("longest", [300, 256, 200, 64, 33])
def test_a_preview_is_as_large_as_asked_and_shows_the_same(astronaut: npt.NDArray[Any], longest: int) -> None:
    picture = open_image(encode(np.ascontiguousarray(astronaut[:400, :, ::-1])), max_pixels=MAX)
    preview = picture.preview(longest)
    assert max(preview.shape) == longest
    assert preview.flags.c_contiguous
    small = np.asarray(Image.fromarray(astronaut[:400]).resize(preview.shape[1::-1], Image.Resampling.BOX))
    assert np.abs(preview.astype(int) - small).mean() < 4


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_a_cut_file_is_incomplete_and_may_be_tried_again(noise: npt.NDArray[Any], part: float) -> None:
    data = encode(noise)
    for broken in (data[: int(len(data) * part)], data[: int(len(data) * part)].ljust(len(data), b"\0")):
        with pytest.raises(ImageError) as raised:
            open_image(broken, max_pixels=MAX)
        assert raised.value.reason is Reason.INCOMPLETE
        assert raised.value.retryable


def scan_of(data: bytes) -> js.Segment:
    return next(segment for segment in js.scan(data) if segment.marker == js.SOS)


def test_a_scan_that_lacks_its_second_half_is_published_as_every_program_shows_it(astronaut: npt.NDArray[Any]) -> None:
    data = encode(astronaut)
    data = data[:20] + js.build(js.COM, bytes(600)) + data[20:]  # zeros that say nothing of the scan
    middle = (scan_of(data).start + scan_of(data).end) // 2
    picture = open_image(data[:middle] + data[scan_of(data).end :], max_pixels=MAX)
    assert np.ptp(picture.pixels()[-16:], axis=(0, 1)).max() < 40  # gray
    box = Region(x=170, y=60, width=110, height=140, score=1, found_by="test")
    result = picture.redacted([box], BlurSpec(), BARE)
    verify(result, picture=picture, regions=[box], blur=BlurSpec(), max_pixels=MAX)
    verify_clean(picture.scrubbed(), picture=picture, max_pixels=MAX)


def test_a_hole_of_zeros_in_the_scan_has_not_arrived_yet(astronaut: npt.NDArray[Any]) -> None:
    data = encode(astronaut)
    middle = (scan_of(data).start + scan_of(data).end) // 2
    holed = data[:middle] + bytes(4096) + data[middle + 4096 :]
    for read in (lambda p: p.preview(100), lambda p: p.pixels()):
        with pytest.raises(ImageError) as raised:
            read(open_image(holed, max_pixels=MAX))
        assert raised.value.reason is Reason.INCOMPLETE


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_file_without_its_end_marker_is_whole_when_its_rows_are(astronaut: npt.NDArray[Any], options: Any) -> None:
    out = io.BytesIO()
    Image.fromarray(astronaut).save(out, "JPEG", **options)
    data = out.getvalue()
    for cut in (data[:-2], data[:-1]):
        assert open_image(cut, max_pixels=MAX).scrubbed() == data
    if options:  # a scan less shows a picture, too, only not the whole
        last = max(segment.start for segment in js.scan(data) if segment.marker == js.SOS)
        with pytest.raises(ImageError, match="end marker"):
            open_image(data[: data.rindex(b"\xff\xc4", 0, last)], max_pixels=MAX)


def test_a_height_behind_the_scan_counts(astronaut: npt.NDArray[Any]) -> None:
    data = encode(astronaut)
    frame = next(segment for segment in js.scan(data) if segment.marker == 0xC0)
    late = data[: frame.start + 5] + b"\0\0" + data[frame.start + 7 : -2] + js.build(0xDC, b"\x02\x00") + b"\xff\xd9"
    picture = open_image(late, max_pixels=MAX)
    assert (picture.width, picture.height) == (512, 512)
    np.testing.assert_array_equal(picture.pixels(), open_image(data, max_pixels=MAX).pixels())


def test_a_photo_for_print_is_not_compared_by_the_brightness_of_its_inks() -> None:
    shown = cv2.circle(np.full((256, 256, 3), 20, np.uint8), (128, 128), 52, (240, 240, 240), -1)  # a face in the dark
    luma, red, blue = cv2.split(cv2.cvtColor(255 - shown, cv2.COLOR_RGB2YCrCb))  # as Photoshop writes it: inverted
    no_black = np.full(shown.shape[:2], 255, np.uint8)
    out = io.BytesIO()
    Image.fromarray(255 - np.dstack([luma, blue, red, no_black]), "CMYK").save(out, "JPEG")
    data = out.getvalue().replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2")
    assert np.abs(decoded(data).astype(int) - shown).mean() < 10
    picture = open_image(data, max_pixels=MAX)
    box = Region(x=64, y=64, width=128, height=128, score=1, found_by="test")
    blur = BlurSpec(method=BlurMethod.SOFT)
    encoded = picture.redacted([box], blur, BARE)
    assert encoded.lossless
    examined = examine(encoded, picture=picture, regions=[box], blur=blur, max_pixels=MAX)
    assert not examined.unlike


def decoded(data: bytes) -> npt.NDArray[Any]:
    shown: npt.NDArray[Any] = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return shown


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_rows_that_a_lower_height_hides_are_not_copied(astronaut: npt.NDArray[Any], mode: str) -> None:
    out = io.BytesIO()
    Image.fromarray(astronaut).convert(mode).save(out, "JPEG")
    data = out.getvalue()
    at = next(segment for segment in js.scan(data) if segment.marker in js.FRAMES).start + 5
    low = data[:at] + (160).to_bytes(2, "big") + data[at + 2 :]
    picture = open_image(low, max_pixels=MAX)
    picture.preview(320)  # whoever copies has looked
    copy = picture.scrubbed()
    verify_clean(copy, picture=picture, max_pixels=MAX)
    assert len(copy) < 0.7 * len(low)
    np.testing.assert_array_equal(decoded(copy), decoded(low))


def test_a_little_padding_behind_the_rows_stays(astronaut: npt.NDArray[Any]) -> None:
    padded = encode(astronaut)[:-2] + bytes(40) + b"\xff\xd9"
    picture = open_image(padded, max_pixels=MAX)
    picture.preview(320)
    assert picture.scrubbed() == padded


@pytest.mark.parametrize("marker", [0x02, 0x9F, 0xBF])
def test_damage_that_looks_like_a_marker_is_passed_where_decoders_pass_it(
    astronaut: npt.NDArray[Any], marker: int
) -> None:
    out = io.BytesIO()
    Image.fromarray(astronaut).save(out, "JPEG", restart_marker_rows=1)
    data = out.getvalue()
    start = data.index(b"\xff\xd3") - 40
    damaged = data[:start] + bytes([0xFF, marker, 0, 20]) + data[start + 4 :]
    picture = open_image(damaged, max_pixels=MAX)
    picture.preview(320)
    copy = picture.scrubbed()
    verify_clean(copy, picture=picture, max_pixels=MAX)
    np.testing.assert_array_equal(decoded(copy), decoded(damaged))
    assert (decoded(copy)[300:] == decoded(data)[300:]).all()  # what follows the damage is shown


@pytest.mark.parametrize("marker", [0x02, 0x9F, 0xBF])
def test_what_stands_behind_such_damage_is_not_copied_where_no_decoder_gets_past_it(
    astronaut: npt.NDArray[Any], marker: int
) -> None:
    data = encode(astronaut)
    secret = b"a secret" * 100
    picture = open_image(data[:-2] + bytes([0xFF, marker, 0, 20]) + secret + b"\xff\xd9", max_pixels=MAX)
    picture.preview(320)
    assert picture.scrubbed() == data
    verify_clean(data, picture=picture, max_pixels=MAX)


@pytest.mark.parametrize("stray", [b"\xef\xbb\xbf", b"\r\n", b"\xef\xbb\xbf\n\n"])
def test_what_a_script_printed_before_a_picture_goes(astronaut: npt.NDArray[Any], stray: bytes) -> None:
    data = encode(astronaut)
    assert open_image(stray + data, max_pixels=MAX).scrubbed() == data
    with pytest.raises(ImageError):
        open_image(stray + b"text", max_pixels=MAX)


def test_verification_refuses_another_picture_and_a_left_thumbnail(noise: npt.NDArray[Any]) -> None:
    picture = open_image(encode(noise), max_pixels=MAX)
    pixels = picture.pixels()
    box = Region(x=5, y=5, width=20, height=20, score=1, found_by="test")
    redact(pixels, [box], BlurSpec())
    encoded = picture.encode(pixels)
    verify(encoded, picture=picture, regions=[box], blur=BlurSpec(), max_pixels=MAX)
    other = pixels.copy()
    other[5:25, 5:25] = 255 - other[5:25, 5:25]
    for wrong in (other, picture.pixels()):
        with pytest.raises(ImageError, match="region"):
            verify(picture.encode(wrong), picture=picture, regions=[box], blur=BlurSpec(), max_pixels=MAX)
    with pytest.raises(ImageError) as raised:
        verify_clean(leaky(noise), picture=picture, max_pixels=MAX)
    assert raised.value.reason is Reason.NOT_VERIFIED
    verify_clean(picture.scrubbed(), picture=picture, max_pixels=MAX)


def test_stray_bytes_between_segments_are_passed_over_as_decoders_do(astronaut: npt.NDArray[Any]) -> None:
    data = encode(astronaut)
    second = js.scan(data)[1].start
    for stray in (b"\xff\0\xff\0", b"stray", b"\xff\xff"):
        assert open_image(data[:second] + stray + data[second:], max_pixels=MAX).scrubbed() == data
