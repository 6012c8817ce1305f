"""The example package: installed by pip as a user would, and run through the host in a process of its own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "faceblurd-plugin-camera-stamp"
RUN = """
import json, sys
import numpy as np
from faceblurd.plugins.host import PluginHost
host = PluginHost.load(["camera_stamp"], on_error=lambda *error: sys.exit(repr(error)))
image = np.zeros((100, 200, 3), np.uint8)
regions = lambda path: [[r.x, r.y, r.width, r.height] for r in host.add_regions(image, path)]
print(json.dumps({
    "identities": host.identities,
    "stamped": regions("/in/trailcam/a.jpg"), "other": regions("/in/trailcam.jpg"),
    "skipped": host.skip_candidate("/in/public/a.jpg", 1), "taken": host.skip_candidate("/in/public", 1),
}))
"""


def built_without_download() -> list[str]:
    """Let pip use our setuptools where it can build a wheel; else pip fetches one."""
    if not importlib.util.find_spec("setuptools"):
        return []
    major, minor = (int(part) for part in importlib.metadata.version("setuptools").split(".")[:2])
    ready = importlib.util.find_spec("wheel") or (major, minor) >= (70, 1)
    return ["--no-build-isolation"] if ready else []


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, folder / "source")  # a build writes beside its sources
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "target")]
    subprocess.run([*pip, *built_without_download(), str(folder / "source")], check=True, cwd=folder)
    return folder / "target"


def test_the_example_installs_and_runs(installed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN], check=True, capture_output=True, text=True, env={"PYTHONPATH": str(installed)}
    )
    assert json.loads(done.stdout) == {
        "identities": ["camera_stamp 1.0"],
        "stamped": [[0, 94, 200, 6]],
        "other": [],
        "skipped": True,
        "taken": False,
    }


def test_the_example_loads_without_numpy_in_the_parent(installed: Path) -> None:
    code = (
        "import sys; from faceblurd.plugins.host import PluginHost; "
        "PluginHost.load(['camera_stamp'], on_error=print); assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(installed)})
