"""What all tests share: one public-domain portrait, and patience with a deadline instead of sleeps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def astronaut_jpeg() -> bytes:
    """Eileen Collins by NASA: 512x512, one face around x 170-280, y 60-200."""
    return (REPOSITORY / "demo" / "astronaut.jpg").read_bytes()


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """Wait for a condition, with a deadline; returns what the condition gave."""

    def wait(condition: Callable[[], Any], *, seconds: float = 30.0, what: str = "the condition") -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if result := condition():
                return result
            time.sleep(0.02)  # the step of a poll with a deadline, not a hope
        raise AssertionError(f"{what} did not come true within {seconds} s")

    return wait


@pytest.fixture(scope="session")
def portraits(astronaut_jpeg: bytes) -> Callable[[int], list[bytes]]:
    """Small JPEGs with a face each, no two alike."""
    import cv2
    import numpy as np

    face = cv2.imdecode(np.frombuffer(astronaut_jpeg, np.uint8), cv2.IMREAD_COLOR)[20:240, 110:330]

    def make(count: int) -> list[bytes]:
        rng = np.random.default_rng(count)
        photos = []
        for number in range(count):
            tinted = np.clip(face.astype(int) + rng.integers(-20, 20, 3), 0, 255).astype(np.uint8)
            cv2.putText(tinted, str(number), (4, 214), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255))
            photos.append(cv2.imencode(".jpg", tinted)[1].tobytes())
        return photos

    return make


@pytest.fixture(scope="session")
def face_is_hidden(astronaut_jpeg: bytes) -> Callable[[bytes], bool]:
    """Tell whether a portrait made by `portraits` shows no face any more; raises for a file that does not decode."""
    import cv2
    import numpy as np

    from faceblurd.imaging.detectors import open_detector
    from faceblurd.model import YunetSpec

    detector = open_detector(YunetSpec())

    def look(content: bytes) -> bool:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if picture is None or not content.endswith(b"\xff\xd9"):
            raise AssertionError("not a whole picture")
        eyes = picture[60:110, 70:150].astype(int)
        return float(np.abs(np.diff(eyes, axis=1)).mean()) < 2.5 and not detector.detect(picture)

    return look
