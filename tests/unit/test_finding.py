"""The whole way of a face: found upright, hidden where it is stored, reported where it is stored."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from faceblurd.imaging.detect import open_detectors
from faceblurd.imaging.detect.find import find_faces
from faceblurd.imaging.files import open_image
from faceblurd.imaging.geometry import clip, to_stored, upright_view
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.imaging.verify import verify
from faceblurd.model import BlurSpec, DetectionSpec, NetworksSpec, Recipe, Region, Zone, Zones

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.detect import Detector

BALANCED = Recipe("balanced", DetectionSpec((NetworksSpec(),)), BlurSpec())
EYES = (224, 112)  # between the eyes of the astronaut, upright


@pytest.fixture(scope="module")
def detectors() -> list[Detector]:
    return open_detectors(BALANCED.detection)


def stored_as(upright: npt.NDArray[Any], orientation: int, kind: str) -> bytes:
    """Encode a photo as a camera does that was held so."""
    stored = np.zeros_like(upright if orientation < 5 else upright.swapaxes(0, 1))
    upright_view(stored, orientation)[...] = upright
    exif = Image.Exif()
    exif[0x112] = orientation
    out = io.BytesIO()
    Image.fromarray(stored[:, :, ::-1]).save(out, kind, exif=exif)
    return out.getvalue()


HELD = [(orientation, kind) for orientation in range(1, 9) for kind in ("JPEG", "PNG", "WEBP", "TIFF")]
MORE = [pytest.param(*one, marks=pytest.mark.slow) for one in HELD if one[0] != 6 and one[1] != "JPEG"]


@pytest.mark.parametrize(("orientation", "kind"), [*(one for one in HELD if one[0] == 6 or one[1] == "JPEG"), *MORE])
def test_a_face_is_found_and_hidden_however_the_camera_was_held(
    astronaut: npt.NDArray[Any], detectors: list[Detector], orientation: int, kind: str
) -> None:
    photo = np.ascontiguousarray(astronaut[:, 40:440])  # not square
    picture = open_image(stored_as(photo, orientation, kind), max_pixels=10**7)
    assert picture.orientation == orientation
    regions = find_faces(picture, detectors, BALANCED)
    assert len(regions) == 1
    region, (x, y) = regions[0], (EYES[0] - 40, EYES[1])
    assert region.x < x < region.x + region.width
    assert region.y < y < region.y + region.height

    pixels = picture.pixels()
    before = pixels.copy()
    redact(upright_view(pixels, orientation), regions, BALANCED.blur)
    stored = to_stored(region, orientation=orientation, width=picture.width, height=picture.height)
    inside = np.zeros(pixels.shape[:2], bool)
    inside[stored.y : stored.y + stored.height, stored.x : stored.x + stored.width] = True
    changed = (pixels != before).any(axis=2)
    assert changed[inside].mean() > 0.9
    assert not changed[~inside].any()

    encoded = picture.encode(pixels)
    verify(encoded, picture=picture, regions=regions, blur=BALANCED.blur, max_pixels=10**7)
    assert find_faces(open_image(encoded.data, max_pixels=10**7), detectors, BALANCED) == []


class Pointer:
    """A detector that knows."""

    name = "pointer"

    def __init__(self, *boxes: tuple[int, int, int, int]) -> None:
        self._boxes = boxes

    def detect(self, bgr: npt.NDArray[Any]) -> list[Region]:
        self.seen = bgr.shape
        found = (Region(x=x, y=y, width=w, height=h, score=0.7, found_by=self.name) for x, y, w, h in self._boxes)
        return [kept for r in found if (kept := clip(r, width=bgr.shape[1], height=bgr.shape[0]))]


def test_boxes_are_scaled_back_outward_grown_and_clipped(astronaut: npt.NDArray[Any]) -> None:
    recipe = Recipe("test", DetectionSpec((), working_size_px=128), BlurSpec(margin=0.25))
    picture = open_image(stored_as(astronaut, 1, "PNG"), max_pixels=10**7)
    pointer = Pointer((10, 20, 30, 40), (0, 0, 8, 8))
    first, second = find_faces(picture, [pointer], recipe)
    assert pointer.seen == (128, 128, 3)
    assert first == Region(x=10, y=40, width=180, height=240, score=0.7, found_by="pointer")
    assert second == Region(x=0, y=0, width=40, height=40, score=0.7, found_by="pointer")


def test_every_detector_is_heard_in_order(astronaut: npt.NDArray[Any]) -> None:
    recipe = Recipe("test", DetectionSpec((), working_size_px=None, merge=False), BlurSpec(margin=0.0))
    picture = open_image(stored_as(astronaut, 1, "PNG"), max_pixels=10**7)
    found = find_faces(picture, [Pointer((1, 2, 3, 4)), Pointer((5, 6, 7, 8), (1, 2, 3, 4))], recipe)
    assert [(r.x, r.y) for r in found] == [(1, 2), (5, 6), (1, 2)]


def test_a_zone_that_is_always_hidden_needs_no_find(astronaut: npt.NDArray[Any]) -> None:
    zones = Zones(always=(Zone(0.0, 0.5, 0.25, 0.5),))
    recipe = Recipe("test", DetectionSpec((), working_size_px=128), BlurSpec(margin=0.25), zones=zones)
    picture = open_image(stored_as(astronaut, 6, "PNG"), max_pixels=10**7)
    assert find_faces(picture, [Pointer()], recipe) == [Region(0, 256, 128, 256, 1.0, "always")]


def test_a_find_counts_unless_nine_tenths_of_it_lie_where_none_counts(astronaut: npt.NDArray[Any]) -> None:
    zones = Zones(never=(Zone(0.0, 0.0, 0.5, 1.0),))
    recipe = Recipe("test", DetectionSpec((), working_size_px=None), BlurSpec(margin=0.0), zones=zones)
    picture = open_image(stored_as(astronaut, 1, "PNG"), max_pixels=10**7)
    found = find_faces(picture, [Pointer((10, 0, 20, 20), (237, 50, 20, 20), (245, 100, 20, 20))], recipe)
    assert [(region.x, region.y) for region in found] == [(245, 100)]


def test_zones_are_part_of_the_digest() -> None:
    plain = Recipe("test", DetectionSpec((), working_size_px=None), BlurSpec())
    zoned = Recipe("test", plain.detection, plain.blur, zones=Zones(never=(Zone(0.0, 0.0, 0.5, 1.0),)))
    assert plain.digest != zoned.digest


@pytest.mark.parametrize("quarters", range(4))
def test_a_face_is_found_whichever_way_the_photo_lies(astronaut: npt.NDArray[Any], quarters: int) -> None:
    detection = BALANCED.detection
    recipe = Recipe("test", detection, BlurSpec())
    photo = np.ascontiguousarray(np.rot90(astronaut[:, 40:440], quarters))
    (region,) = find_faces(open_image(stored_as(photo, 1, "PNG"), max_pixels=10**7), open_detectors(detection), recipe)
    mark = np.zeros(astronaut.shape[:2], bool)
    mark[EYES[1], EYES[0]] = True
    ((y, x),) = np.argwhere(np.rot90(mark[:, 40:440], quarters))
    assert region.x < x < region.x + region.width
    assert region.y < y < region.y + region.height
