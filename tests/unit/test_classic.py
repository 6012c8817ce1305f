"""The recipe `classic` against the method that it promises, with Keras itself doing the reference's arithmetic."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from PIL import Image

from faceblurd.config.recipes import builtin_recipe
from faceblurd.imaging.detectors import open_detector
from faceblurd.imaging.finding import find_faces
from faceblurd.imaging.formats import open_image
from faceblurd.imaging.geometry import upright_view
from faceblurd.imaging.redaction import redact
from faceblurd.model import Engine

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceblurd.model import Recipe


def classic(engine: Engine) -> Recipe:
    recipe = builtin_recipe("classic")
    return replace(recipe, blur=replace(recipe.blur, engine=engine))


def reference(bgr: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int]:
    """Compute the reference method, step by step, without any code of ours."""
    import tensorflow as tf

    image = bgr.copy()
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    pool = tf.keras.layers.AveragePooling2D(pool_size=(20, 20), strides=(1, 1), padding="same")
    faces = cascade.detectMultiScale(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), 1.1, 4)
    for x, y, w, h in faces:
        face = image[y : y + h, x : x + w].astype(np.float32)[np.newaxis]
        image[y : y + h, x : x + w] = np.asarray(pool(face))[0].astype(np.uint8)
    return image, len(faces)


def ours(png: bytes, engine: Engine) -> npt.NDArray[Any]:
    recipe = classic(engine)
    picture = open_image(png, max_pixels=recipe.max_pixels)
    detectors = [open_detector(spec) for spec in recipe.detection.detectors]
    regions = find_faces(picture, detectors, recipe)
    pixels = picture.pixels()
    redact(upright_view(pixels, picture.orientation), regions, recipe.blur)
    result = cv2.imdecode(np.frombuffer(picture.encode(pixels).data, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(result)


@pytest.mark.parametrize("engine", Engine)
@pytest.mark.parametrize("crop", [np.s_[:, :], np.s_[20:260, 120:330], np.s_[60:, 100:400]])
def test_a_png_becomes_what_the_reference_method_makes_of_it(
    astronaut: npt.NDArray[Any], crop: Any, engine: Engine
) -> None:
    bgr = np.ascontiguousarray(astronaut[crop])
    expected, faces = reference(bgr)
    assert faces > 0
    out = io.BytesIO()
    Image.fromarray(bgr[:, :, ::-1]).save(out, "PNG")
    np.testing.assert_array_equal(ours(out.getvalue(), engine), expected)


def test_several_overlapping_faces_are_pooled_in_the_order_of_the_reference(astronaut: npt.NDArray[Any]) -> None:
    face = astronaut[50:220, 150:300]
    bgr = np.ascontiguousarray(np.tile(cv2.resize(face, None, fx=0.8, fy=0.8), (2, 3, 1)))
    expected, faces = reference(bgr)
    assert faces > 1
    out = io.BytesIO()
    Image.fromarray(bgr[:, :, ::-1]).save(out, "PNG")
    np.testing.assert_array_equal(ours(out.getvalue(), Engine.OPENCV), expected)
