"""The last look before a file is published: what it refuses, and what becomes of a face that is found again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from faceblurd.config.recipes import builtin_recipe
from faceblurd.errors import ImageError
from faceblurd.imaging.formats import Encoded, open_image
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.redaction import redact
from faceblurd.imaging.remains import shown
from faceblurd.imaging.second_look import SecondLook
from faceblurd.imaging.verification import verify
from faceblurd.model import BlurMethod, BlurSpec, Reason, Region, Shape, Verify
from faceblurd.plugins.host import PluginHost
from faceblurd.workers.toolbox import SAMPLE, Toolbox, is_thorough

if TYPE_CHECKING:
    import numpy.typing as npt

FACE = Region(x=150, y=40, width=150, height=190, score=1.0, found_by="test")
RECIPE = builtin_recipe("balanced")
open_whole = partial(open_image, max_pixels=10**7)


def encoded(pixels: npt.NDArray[Any], kind: str) -> bytes:
    return cv2.imencode(f".{kind}", pixels)[1].tobytes()


@pytest.mark.parametrize("kind", ["jpg", "png"])
@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("method", BlurMethod)
def test_a_redacted_file_passes(astronaut: npt.NDArray[Any], method: BlurMethod, shape: Shape, kind: str) -> None:
    blur = BlurSpec(method=method, shape=shape)
    for region in (FACE, replace(FACE, width=24, height=24), replace(FACE, x=0, y=0, width=512, height=512)):
        picture = open_whole(encoded(astronaut, kind))
        result = picture.redacted([region], blur, BARE)
        verify(result, picture=picture, regions=[region], blur=blur, max_pixels=10**7)
        again = open_whole(result.data)  # an always zone, say, in a file that comes back
        twice = again.redacted([region], blur, BARE)
        verify(twice, picture=again, regions=[region], blur=blur, max_pixels=10**7)


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
    result = Encoded(encoded(hidden, kind), lossless=kind == "png", intended=(hidden,))
    with pytest.raises(ImageError, match="still shows") as raised:
        verify(result, picture=picture, regions=[FACE], blur=RECIPE.blur, max_pixels=10**7)
    assert raised.value.reason is Reason.NOT_VERIFIED
    weak = replace(RECIPE.blur, allow_weak=True)
    verify(result, picture=picture, regions=[FACE], blur=weak, max_pixels=10**7)


def test_a_change_outside_of_the_regions_is_refused(astronaut: npt.NDArray[Any]) -> None:
    picture = open_whole(encoded(astronaut, "jpg"))
    result = picture.redacted([FACE], RECIPE.blur, BARE)
    assert result.lossless
    other = replace(FACE, x=FACE.x + 64)
    with pytest.raises(ImageError, match="outside"):
        verify(replace(result, regions=(other,)), picture=picture, regions=[FACE], blur=RECIPE.blur, max_pixels=10**7)


def test_sixteen_bits_are_measured_as_eight_are(astronaut: npt.NDArray[Any]) -> None:
    deep = astronaut.astype(np.uint16) * 257
    assert shown(deep, deep, [FACE], blur=RECIPE.blur, orientation=1) == FACE
    hidden = deep.copy()
    redact(hidden, [FACE], RECIPE.blur)
    assert shown(deep, hidden, [FACE], blur=RECIPE.blur, orientation=1) is None


def test_found_again_names_the_regions_that_still_show_a_face(astronaut_jpeg: bytes) -> None:
    look = SecondLook.open(RECIPE.detection, [])
    picture = open_whole(astronaut_jpeg)
    elsewhere = replace(FACE, y=300)
    assert look.found_again(picture, [elsewhere, FACE], longest_px=1920) == [FACE]
    sideways = open_whole(encoded(np.ascontiguousarray(np.rot90(picture.pixels())), "png"))
    face = replace(FACE, x=FACE.y, y=512 - FACE.x - FACE.width, width=FACE.height, height=FACE.width)
    assert look.found_again(sideways, [elsewhere, face], longest_px=1920) == [face]
    hidden = open_whole(picture.redacted([FACE], RECIPE.blur, BARE).data)
    assert look.found_again(hidden, [elsewhere, FACE], longest_px=1920) == []


class Stubborn:
    """A detector that takes anything that is not gray for a face: no average pool satisfies it."""

    name = "stubborn"

    def detect(self, bgr: npt.NDArray[Any]) -> list[Region]:
        spread = np.ptp(bgr.astype(int), axis=2)
        ys, xs = np.nonzero(spread > 12)
        if not len(xs):
            return []
        x, y = int(xs.min()), int(ys.min())
        return [Region(x, y, int(xs.max()) - x + 1, int(ys.max()) - y + 1, 1.0, self.name)]


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_face_that_is_found_again_becomes_solid_gray(kind: str) -> None:
    photo = np.full((256, 256, 3), 200, np.uint8)
    photo[64:160, 80:176] = (60, 90, 210)
    photo[96:128, 96:160] = (40, 50, 100)
    look = SecondLook([Stubborn()], any_way_up=True)
    plugins = PluginHost.load([], on_error=pytest.fail)
    toolbox = Toolbox({RECIPE.digest: [Stubborn()]}, {RECIPE.digest: look}, plugins)
    made = toolbox.make(encoded(photo, kind), RECIPE, name="x", copy_when_clean=True)
    assert made is not None
    assert "found again" in made.note
    result = cv2.imdecode(np.frombuffer(made.content, np.uint8), cv2.IMREAD_COLOR)
    (region,) = made.regions
    box = result[region.y + 8 : region.y + region.height - 8, region.x + 8 : region.x + region.width - 8]
    assert np.abs(box.astype(int) - 128).max() <= 2
    assert np.ptp(result.astype(int), axis=2).max() <= 12
    assert toolbox.make(made.content, RECIPE, name="x", copy_when_clean=True).note == ""


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
    with pytest.raises(ImageError, match="still shows"):
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


@pytest.mark.parametrize("level", [Verify.FULL, Verify.OFF])
def test_a_result_that_does_not_open_is_refused_however_little_is_looked_at(
    noise: npt.NDArray[Any], monkeypatch: pytest.MonkeyPatch, level: Verify
) -> None:
    recipe = replace(RECIPE, verify=level)
    content = encoded(noise, "png")
    monkeypatch.setattr(type(open_whole(content)), "scrubbed", lambda *_: content[:-20])
    with pytest.raises(ImageError):
        Toolbox.open([recipe], []).make(content, recipe, name="x", copy_when_clean=True)
