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
