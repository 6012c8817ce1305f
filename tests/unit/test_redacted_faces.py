"""A face that was hidden is not found again, by any detector that comes with faceblurd."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from faceblurd.config.recipes import builtin_recipe
from faceblurd.imaging.detectors import open_detectors, open_glance
from faceblurd.imaging.geometry import grow
from faceblurd.imaging.redaction import redact
from faceblurd.model import BlurMethod, HaarSpec, NetworksSpec, Region, Shape

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.imaging.detectors import Detector


@pytest.fixture(scope="module")
def detectors() -> list[Detector]:
    """Open what knows a face at a glance, and both networks together."""
    networks = builtin_recipe("balanced").detection
    return [open_glance(HaarSpec()), open_glance(NetworksSpec()), *open_detectors(networks)]


def in_face(found: Region, face: Region) -> bool:
    x, y = found.x + found.width / 2, found.y + found.height / 2
    return face.x < x < face.x + face.width and face.y < y < face.y + face.height


def at_scale(picture: npt.NDArray[Any], by: float) -> npt.NDArray[Any]:
    return cv2.resize(picture, None, fx=by, fy=by, interpolation=cv2.INTER_AREA if by < 1 else cv2.INTER_CUBIC)


@pytest.mark.parametrize("by", [0.5, 1.0])
@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("method", BlurMethod)
def test_a_hidden_face_is_not_found_again(
    astronaut: npt.NDArray[Any], detectors: list[Detector], method: BlurMethod, shape: Shape, by: float
) -> None:
    picture = at_scale(astronaut, by)
    faces = [max(found, key=lambda r: r.score) for each in detectors if (found := each.detect(picture))]
    assert faces
    blur = replace(builtin_recipe("balanced").blur, method=method, shape=shape)
    for face in faces:
        hidden = picture.copy()
        redact(hidden, [grow(face, blur.margin)], blur)
        again = [found for each in detectors for found in each.detect(np.ascontiguousarray(hidden))]
        assert not [found for found in again if in_face(found, face)]


def test_the_fixed_window_of_the_reference_method_leaves_a_large_face_to_be_found(
    astronaut: npt.NDArray[Any], detectors: list[Detector]
) -> None:
    """So the test above can fail."""
    picture = at_scale(astronaut, 2.0)
    face = max((found for each in detectors for found in each.detect(picture)), key=lambda r: r.score)
    redact(picture, [face], builtin_recipe("classic").blur)
    assert any(in_face(found, face) for each in detectors for found in each.detect(picture))
