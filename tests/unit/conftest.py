"""Photos for the tests of pixels: a portrait that is in the public domain, and small made-up pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    import numpy.typing as npt


@pytest.fixture(scope="session")
def astronaut(astronaut_jpeg: bytes) -> npt.NDArray[Any]:
    """Eileen Collins by NASA, 512x512 BGR, one face around x 170-280, y 60-200."""
    return cv2.imdecode(np.frombuffer(astronaut_jpeg, np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture
def noise() -> npt.NDArray[Any]:
    """48x64 BGR noise on a gradient: no two rows or columns alike, so that a wrong turn shows."""
    rng = np.random.default_rng(7)
    ramp = np.add.outer(np.arange(48) * 2, np.arange(64))[:, :, None]
    return np.ascontiguousarray((ramp + rng.integers(0, 60, (48, 64, 3))).astype(np.uint8))
