"""Damaged files of every format through a worker's work: it ends in a safe result or an ImageError, and soon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fuzz_files
import pytest

from faceblurd.workers.toolbox import Made

COUNT = int(os.environ.get("FACEBLURD_FUZZ_INPUTS", "2500"))  # 50,000 take about three minutes


@pytest.mark.slow
@pytest.mark.timeout(900 + COUNT // 10)
def test_damaged_files_do_no_harm() -> None:
    command = [sys.executable, Path(fuzz_files.__file__), str(COUNT), "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=800 + COUNT // 10)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert f"{COUNT} inputs: " in done.stdout
    assert "'hidden': " in done.stdout


class Careless:
    """A toolbox that gives back what it got, or something that is no picture, or fails in its own way."""

    def __init__(self, gives: Any) -> None:
        self.gives = gives

    def make(self, content: bytes, *_: Any, **__: Any) -> Made:
        if isinstance(self.gives, Exception):
            raise self.gives
        return Made(content if self.gives is None else self.gives, (), lossless=True, note="")


@pytest.mark.parametrize(
    ("gives", "finding"),
    [(None, "still shows"), (b"\xff\xd8\xff\xd9", "does not read"), (KeyError("x"), "KeyError at")],
)
def test_a_careless_worker_would_be_found_out(gives: Any, finding: str) -> None:
    source = fuzz_files.leaky.encoded(fuzz_files.leaky.portrait())
    end = fuzz_files.trial(source, fuzz_files.HIDING[0], Careless(gives))
    assert end.startswith("!")
    assert finding in end


def test_a_worker_that_dies_is_a_finding_and_the_next_goes_on() -> None:
    """In a process of its own, since a process with threads must not fork."""
    script = "import fuzz_files, os; fuzz_files.trial = lambda *_: os._exit(9); print(fuzz_files.run(3, 1, 0))"
    here = Path(fuzz_files.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=here, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout.count("the process ended with 9") == 3, done.stdout + done.stderr
    assert "hidden" not in done.stdout
