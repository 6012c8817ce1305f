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
from faceblurd.imaging.detect import open_detectors
from faceblurd.imaging.detect.find import find_faces
from faceblurd.imaging.files import open_image
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.redact.average_pool import average_pool
from faceblurd.model import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from faceblurd.model import Recipe


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Let OpenCV work as it does in our workers: with more threads, the order of its finds is that of their luck."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


def classic(engine: Engine) -> Recipe:
    recipe = builtin_recipe("classic")
    return replace(recipe, blur=replace(recipe.blur, engine=engine))


def reference(bgr: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Compute the reference method, step by step, without any code of ours; return the boxes, too.

    All crops are cut from the photo as it was, each is pooled, then all are pasted in the order of the finds.
    """
    import tensorflow as tf

    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    pool = tf.keras.layers.AveragePooling2D(pool_size=(20, 20), strides=(1, 1), padding="same")
    faces = cascade.detectMultiScale(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), 1.1, 4)
    crops = [bgr[y : y + h, x : x + w].astype(np.float32)[np.newaxis] for x, y, w, h in faces]
    pooled = [np.asarray(pool(crop))[0].astype(np.uint8) for crop in crops]
    image = bgr.copy()
    for (x, y, w, h), face in zip(faces, pooled, strict=True):
        image[y : y + h, x : x + w] = face
    return image, np.asarray(faces)


def pasted_one_by_one(bgr: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Do it wrongly: pool what earlier boxes have left."""
    image, boxes = bgr.copy(), reference(bgr)[1]
    for x, y, w, h in boxes:
        image[y : y + h, x : x + w] = average_pool(image[y : y + h, x : x + w], pool_size_px=20, stride_px=1)
    return image


def overlapping(boxes: npt.NDArray[Any]) -> int:
    """Count the pairs of boxes that share a pixel."""
    ends = boxes[:, :2] + boxes[:, 2:]
    return sum(
        bool((boxes[i, :2] < ends[j]).all() and (boxes[j, :2] < ends[i]).all())
        for j in range(len(boxes))
        for i in range(j)
    )


def ours(data: bytes, engine: Engine) -> npt.NDArray[Any]:
    recipe = classic(engine)
    picture = open_image(data, max_pixels=recipe.max_pixels)
    detectors = open_detectors(recipe.detection)
    regions = find_faces(picture, detectors, recipe)
    result = picture.redacted(regions, recipe.blur, BARE).data
    return np.asarray(cv2.imdecode(np.frombuffer(result, np.uint8), cv2.IMREAD_COLOR))


def saved(bgr: npt.NDArray[Any], kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(bgr[:, :, ::-1]).save(out, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return out.getvalue()


@pytest.fixture
def crowd(astronaut: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Four faces so close together that their boxes overlap."""
    face = cv2.resize(astronaut[50:220, 180:270], None, fx=0.8, fy=0.8)
    return np.ascontiguousarray(np.tile(face, (1, 4, 1)))


@pytest.mark.parametrize("engine", Engine)
@pytest.mark.parametrize("crop", [np.s_[:, :], np.s_[20:260, 120:330], np.s_[60:, 100:400]])
def test_a_png_becomes_what_the_reference_method_makes_of_it(
    astronaut: npt.NDArray[Any], crop: Any, engine: Engine
) -> None:
    bgr = np.ascontiguousarray(astronaut[crop])
    expected, faces = reference(bgr)
    assert len(faces) > 0
    np.testing.assert_array_equal(ours(saved(bgr), engine), expected)


@pytest.mark.parametrize("engine", Engine)
def test_overlapping_boxes_are_all_cut_from_the_original_and_later_ones_lie_on_top(
    crowd: npt.NDArray[Any], engine: Engine
) -> None:
    expected, faces = reference(crowd)
    assert overlapping(faces) > 1
    assert (expected != pasted_one_by_one(crowd)).any()
    np.testing.assert_array_equal(ours(saved(crowd), engine), expected)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "WEBP"])
def test_every_lossless_format_gives_the_same_pixels(crowd: npt.NDArray[Any], kind: str) -> None:
    np.testing.assert_array_equal(ours(saved(crowd, kind), Engine.OPENCV), reference(crowd)[0])
