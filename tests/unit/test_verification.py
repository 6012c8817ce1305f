"""The last look before a file is published: what it refuses, and what becomes of a face that is found again."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from PIL import Image

from faceblurd.config.recipes import builtin_recipe
from faceblurd.errors import ImageError
from faceblurd.imaging.files import open_image
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.picture import Encoded
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.imaging.redact.remains import shown
from faceblurd.imaging.second_look import LEAST_PX, SecondLook
from faceblurd.imaging.verify import examine, verify
from faceblurd.model import BlurMethod, BlurSpec, Reason, Region, Shape, Verify
from faceblurd.plugins.host import PluginHost
from faceblurd.workers.toolbox import SAMPLE, Toolbox, is_thorough

if TYPE_CHECKING:
    import numpy.typing as npt

FACE = Region(x=150, y=40, width=150, height=190, score=1.0, found_by="test")
RECIPE = builtin_recipe("balanced")
WAYS = [(method, shape) for method in BlurMethod for shape in Shape]
open_whole = partial(open_image, max_pixels=10**7)


def encoded(pixels: npt.NDArray[Any], kind: str) -> bytes:
    return cv2.imencode(f".{kind}", pixels)[1].tobytes()


@pytest.mark.parametrize("kind", ["jpg", pytest.param("png", marks=pytest.mark.slow)])  # and of textures, below
@pytest.mark.parametrize(("method", "shape"), WAYS)
def test_a_redacted_file_passes(astronaut: npt.NDArray[Any], method: BlurMethod, shape: Shape, kind: str) -> None:
    blur = BlurSpec(method=method, shape=shape)
    for region in (FACE, replace(FACE, width=24, height=24), replace(FACE, x=0, y=0, width=512, height=512)):
        picture = open_whole(encoded(astronaut, kind))
        result = picture.redacted([region], blur, BARE)
        verify(result, picture=picture, regions=[region], blur=blur, max_pixels=10**7)
        again = open_whole(result.data)  # an always zone, say, in a file that comes back
        twice = again.redacted([region], blur, BARE)
        verify(twice, picture=again, regions=[region], blur=blur, max_pixels=10**7)


def textures(seed: int) -> npt.NDArray[Any]:
    """What chance likes to take for a face: stripes, boards, waves, letters, noise, and flat areas between them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:160, 0:200].astype(np.float32)
    period = rng.uniform(2, 60)
    angle = rng.uniform(0, np.pi)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    board = np.sign(wave) * np.sign(np.sin(y * 2 * np.pi / period))
    kind = (wave, np.sign(wave), board, rng.normal(0, 1, x.shape))[seed % 4]
    gray = 128 + kind * rng.uniform(4, 120)
    picture = np.clip(gray[:, :, None] + rng.normal(0, rng.uniform(0, 40), 3), 0, 255).astype(np.uint8)
    for number in range(4):
        place = (int(rng.integers(0, 160)), int(rng.integers(20, 150)))
        colour = [int(one) for one in rng.integers(0, 256, 3)]
        cv2.putText(picture, "faceblurd"[number:], place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, 2)
    picture[100:, :40] = rng.integers(0, 256, 3)
    return picture


def scattered(seed: int) -> list[Region]:
    """Regions of any size, some of them over each other, in each other or at the border."""
    rng = np.random.default_rng(seed)
    several = []
    for _ in range(int(rng.integers(1, 9))):
        width, height = (int(one) for one in rng.integers(8, 90, 2))
        x, y = int(rng.integers(0, 200 - width)), int(rng.integers(0, 160 - height))
        several.append(Region(x=x, y=y, width=width, height=height, score=1.0, found_by="test"))
    return several


@pytest.mark.parametrize("seed", [*range(24), 48])  # 48: of a region 11 pixels high, quality 3 leaves the blocks alone
def test_nothing_is_doubted_on_any_texture_at_any_quality(seed: int) -> None:
    picture, regions = textures(seed), scattered(seed)
    blur = replace(BlurSpec(), method=list(BlurMethod)[seed % len(BlurMethod)], shape=list(Shape)[seed // 4 % 2])
    step = seed % 24
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("JPEG", {"quality": 3 + 4 * step, "subsampling": seed % 3, "optimize": seed % 2 == 0}),
        ("JPEG", {"quality": 8 + 3 * step, "progressive": True}),
        ("WEBP", {"quality": 4 * step}),
        ("PNG", {}),
    ]
    for kind, options in kinds:
        out = io.BytesIO()
        Image.fromarray(picture).save(out, kind, **options)
        opened = open_whole(out.getvalue())
        result = opened.redacted(regions, blur, BARE)
        examined = examine(result, picture=opened, regions=regions, blur=blur, max_pixels=10**7)
        assert examined.unlike == [], (kind, options)


@pytest.mark.parametrize("kind", ["jpg", "png"])
@pytest.mark.parametrize("left", ["everything", "the lower half", "an eye", "a weak blur", "the brightness"])
def test_what_still_shows_a_region_is_refused(astronaut: npt.NDArray[Any], left: str, kind: str) -> None:
    box = np.s_[FACE.y : FACE.y + FACE.height, FACE.x : FACE.x + FACE.width]
    hidden = astronaut.copy()
    redact(hidden, [FACE], RECIPE.blur)
    part = {"the lower half": np.s_[95:, :], "an eye": np.s_[50:110, 60:120]}.get(left, np.s_[:, :])
    shows = astronaut[box]
    if left == "a weak blur":
        shows = cv2.blur(shows, (9, 9))
    if left == "the brightness":
        shows = cv2.cvtColor(cv2.cvtColor(shows, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    hidden[box][part] = shows[part]
    picture = open_whole(encoded(astronaut, kind))
    result = Encoded(encoded(hidden, kind), lossless=kind == "png")
    with pytest.raises(ImageError, match="not hidden as it should be") as raised:
        verify(result, picture=picture, regions=[FACE], blur=RECIPE.blur, max_pixels=10**7)
    assert raised.value.reason is Reason.NOT_VERIFIED


@pytest.mark.parametrize(("method", "shape"), WAYS)
def test_what_is_left_of_a_face_is_seen_without_the_original(
    astronaut: npt.NDArray[Any], method: BlurMethod, shape: Shape
) -> None:
    """So a mistake in the redaction itself, which the comparison repeats, is noticed as well."""
    blur = BlurSpec(method=method, shape=shape)
    middle = np.s_[FACE.y + 40 : FACE.y + 150, FACE.x + 30 : FACE.x + 120]
    for depth in (1, 257):
        photo = astronaut.astype(np.uint8 if depth == 1 else np.uint16) * depth
        hidden = photo.copy()
        redact(hidden, [FACE], blur)
        assert shown(hidden, [FACE], blur) == []
        for left in (middle, (middle[0], slice(FACE.x + 30, FACE.x + 75)), np.s_[95:130, 190:230]):
            partly = hidden.copy()
            partly[left] = photo[left]
            assert shown(partly, [FACE], blur) == [FACE]


def test_a_change_outside_of_the_regions_is_refused(astronaut: npt.NDArray[Any]) -> None:
    for kind in ("jpg", "png"):
        picture = open_whole(encoded(astronaut, kind))
        beside = replace(FACE, x=FACE.x + 320, width=30)
        result = picture.redacted([FACE, beside], RECIPE.blur, BARE)
        assert result.lossless
        with pytest.raises(ImageError, match="refused") as raised:
            verify(result, picture=picture, regions=[FACE], blur=RECIPE.blur, max_pixels=10**7)
        assert raised.value.reason is Reason.NOT_VERIFIED


def test_bytes_behind_the_end_of_a_picture_are_refused(astronaut_jpeg: bytes) -> None:
    picture = open_whole(astronaut_jpeg)
    result = picture.redacted([FACE], RECIPE.blur, BARE)
    with pytest.raises(ImageError, match="behind"):
        verify(
            replace(result, data=result.data + astronaut_jpeg),
            picture=picture, regions=[FACE], blur=RECIPE.blur, max_pixels=10**7,
        )  # fmt: skip


def test_found_again_names_the_regions_that_still_show_a_face(astronaut: npt.NDArray[Any]) -> None:
    look = SecondLook.open(RECIPE.detection, [])
    elsewhere = replace(FACE, y=300)
    several = [(elsewhere, elsewhere), (FACE, FACE), (replace(elsewhere, x=300), replace(elsewhere, x=300))]
    assert look.found_again(astronaut, several) == [FACE]
    assert look.found_again(astronaut, several * 8) == [FACE] * 8  # on more than one sheet
    hidden = astronaut.copy()
    redact(hidden, [FACE], RECIPE.blur)
    assert look.found_again(hidden, several) == []


def test_a_second_look_is_worth_it_only_where_a_region_could_be_hidden_better() -> None:
    tiny = replace(FACE, width=LEAST_PX - 1)
    regions = [FACE, replace(FACE, flat=True), tiny]
    assert SecondLook.worth(regions, RECIPE.blur) == [FACE]
    assert SecondLook.worth(regions, replace(RECIPE.blur, method=BlurMethod.SOLID)) == []
    assert SecondLook.worth(regions, replace(RECIPE.blur, allow_weak=True)) == []


class Stubborn:
    """A detector that takes any colour for a face: nothing but gray satisfies it."""

    name = "stubborn"

    def detect(self, bgr: npt.NDArray[Any]) -> list[Region]:
        spread = np.ptp(bgr.astype(int), axis=2)
        ys, xs = np.nonzero(spread > 12)
        if not len(xs):
            return []
        x, y = int(xs.min()), int(ys.min())
        return [Region(x, y, int(xs.max()) - x + 1, int(ys.max()) - y + 1, 1.0, self.name)]


def toolbox_with(detector: Any) -> Toolbox:
    plugins = PluginHost.load([], on_error=pytest.fail)
    return Toolbox({RECIPE.digest: [detector]}, {RECIPE.digest: SecondLook([detector])}, plugins)


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_a_face_that_is_found_again_becomes_one_flat_colour_and_is_published(kind: str) -> None:
    """However often a network says 'face' of it then: one colour holds none. It is no gray box either."""
    photo = np.full((256, 256, 3), 200, np.uint8)
    photo[64:160, 80:176] = (60, 90, 210)
    photo[96:128, 96:128] = (40, 50, 100)
    made = toolbox_with(Stubborn()).make(encoded(photo, kind), RECIPE, name="x", copy_when_clean=True)
    assert made is not None
    assert made.note == "" or "encoded anew" in made.note
    result = cv2.imdecode(np.frombuffer(made.content, np.uint8), cv2.IMREAD_COLOR)
    box = result[88:136, 104:152].astype(int)
    assert np.ptp(box, axis=(0, 1)).max() <= 6
    assert box[:, :, 2].mean() > box[:, :, 0].mean() + 40


@pytest.mark.parametrize("verify", [Verify.FULL, Verify.OFF])
def test_what_will_be_found_again_is_flat_in_the_first_result(monkeypatch: pytest.MonkeyPatch, verify: Verify) -> None:
    """A file is made once then; with `verify: off`, when nobody looks afterwards, nobody looks before."""
    photo = np.full((256, 256, 3), 200, np.uint8)
    photo[64:160, 80:176] = (60, 90, 210)
    content = encoded(photo, "jpg")
    kind, asked = type(open_whole(content)), []
    redacted = kind.redacted

    def counted(self: Any, regions: Any, *more: Any) -> Encoded:
        asked.append([region.flat for region in regions])
        return redacted(self, regions, *more)

    monkeypatch.setattr(kind, "redacted", counted)
    recipe, detector = replace(RECIPE, verify=verify), Stubborn()
    look = SecondLook([], wary=[detector])
    tools = Toolbox({recipe.digest: [detector]}, {recipe.digest: look}, PluginHost.load([], on_error=pytest.fail))
    assert tools.make(content, recipe, name="x", copy_when_clean=True) is not None
    assert asked == [[verify is Verify.FULL]]


def test_a_region_that_no_redaction_reaches_is_held_after_a_few_rounds(
    astronaut: npt.NDArray[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(astronaut, "png")
    kind, asked = type(open_whole(content)), []

    def untouched(self: Any, regions: Any, *_: Any) -> Encoded:
        asked.append(list(regions))
        return self.encode(self.pixels())

    monkeypatch.setattr(kind, "redacted", untouched)
    with pytest.raises(ImageError, match="not hidden as it should be"):
        toolbox_with(Stubborn()).make(content, RECIPE, name="x", copy_when_clean=True)
    assert [all(region.flat for region in regions) for regions in asked] == [False, True, True]


def test_a_sample_is_about_one_file_in_eight_and_always_the_same() -> None:
    files = [number.to_bytes(4) for number in range(4000)]
    sample = [is_thorough(file, Verify.SAMPLED) for file in files]
    assert 0.8 < sum(sample) * SAMPLE / len(files) < 1.2
    assert sample == [is_thorough(file, Verify.SAMPLED) for file in files]
    assert all(is_thorough(file, Verify.FULL) for file in files)
    assert not any(is_thorough(file, Verify.OFF) for file in files)


@pytest.mark.parametrize("level", [Verify.FULL, Verify.OFF])
def test_only_a_close_look_notices_what_an_encoder_did_wrong(
    astronaut: npt.NDArray[Any], monkeypatch: pytest.MonkeyPatch, level: Verify
) -> None:
    """So `off` really costs nothing, and `full` is what refuses."""
    recipe = replace(RECIPE, verify=level)
    toolbox = Toolbox.open([recipe], [])
    content = encoded(astronaut, "jpg")
    picture = open_whole(content)
    monkeypatch.setattr(type(picture), "redacted", lambda *_: Encoded(content, lossless=True))
    if level is Verify.OFF:
        assert toolbox.make(content, recipe, name="x", copy_when_clean=True) is not None
        return
    with pytest.raises(ImageError, match="not hidden as it should be"):
        toolbox.make(content, recipe, name="x", copy_when_clean=True)


@pytest.mark.parametrize("level", [Verify.FULL, Verify.OFF])
def test_only_a_close_look_notices_that_a_scrubbed_photo_does_not_decode_any_more(
    noise: npt.NDArray[Any], monkeypatch: pytest.MonkeyPatch, level: Verify
) -> None:
    recipe = replace(RECIPE, verify=level)
    toolbox = Toolbox.open([recipe], [])
    content = encoded(noise, "webp")
    torn = content[:100] + b"\xff" * 2000 + content[2100:]
    monkeypatch.setattr(type(open_whole(content)), "scrubbed", lambda *_: torn)
    if level is Verify.OFF:
        made = toolbox.make(content, recipe, name="x", copy_when_clean=True)
        assert made is not None
        assert made.content == torn
        return
    with pytest.raises(ImageError):
        toolbox.make(content, recipe, name="x", copy_when_clean=True)


def test_a_scrubbed_jpeg_with_other_bytes_in_its_scan_is_refused(
    astronaut_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    torn = bytearray(astronaut_jpeg)
    torn[len(torn) // 2 : len(torn) // 2 + 400] = bytes(400)
    monkeypatch.setattr(type(open_whole(astronaut_jpeg)), "scrubbed", lambda *_: bytes(torn))

    class Blind:
        name = "blind"

        def detect(self, bgr: npt.NDArray[Any]) -> list[Region]:
            return []

    with pytest.raises(ImageError, match="not the one that was searched"):
        toolbox_with(Blind()).make(astronaut_jpeg, RECIPE, name="x", copy_when_clean=True)


@pytest.mark.parametrize("level", [Verify.FULL, Verify.OFF])
def test_a_result_that_does_not_open_is_refused_however_little_is_looked_at(
    noise: npt.NDArray[Any], monkeypatch: pytest.MonkeyPatch, level: Verify
) -> None:
    recipe = replace(RECIPE, verify=level)
    content = encoded(noise, "png")
    monkeypatch.setattr(type(open_whole(content)), "scrubbed", lambda *_: content[:-20])
    with pytest.raises(ImageError):
        Toolbox.open([recipe], []).make(content, recipe, name="x", copy_when_clean=True)
