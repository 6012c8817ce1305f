from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from faceblurd.errors import SetupError
from faceblurd.imaging.detect import (
    Detector,
    onnx_graph,
    open_detectors,
    open_glance,
    runtime,
    vote,
    weights,
)
from faceblurd.imaging.detect.haar import cascade_path
from faceblurd.imaging.detect.search import Search
from faceblurd.model import DetectionSpec, HaarSpec, NetworksSpec, Sensitivity

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from faceblurd.model import DetectorSpec, Region

EYES = (224, 112)  # between the eyes of the astronaut


def opened(spec: DetectorSpec, **detection: Any) -> Detector:
    return open_detectors(DetectionSpec((spec,), **detection))[0]


@pytest.fixture(scope="module")
def networks() -> Detector:
    return opened(NetworksSpec())


@pytest.fixture(params=["haar", "networks", "glance"], scope="module")
def detector(request: pytest.FixtureRequest, networks: Detector) -> Detector:
    return {"haar": opened(HaarSpec()), "networks": networks, "glance": open_glance(NetworksSpec())}[request.param]


def around(found: list[Region], x: float, y: float) -> list[Region]:
    return [r for r in found if r.x < x < r.x + r.width and r.y < y < r.y + r.height]


def test_it_finds_the_one_face_where_it_is(detector: Detector, astronaut: npt.NDArray[Any]) -> None:
    largest = max(detector.detect(astronaut), key=lambda region: region.width)
    assert around([largest], *EYES)
    assert 80 < largest.width < 170
    assert largest.score > 0


def test_it_gives_the_same_answer_whatever_it_saw_before(detector: Detector, astronaut: npt.NDArray[Any]) -> None:
    first = detector.detect(astronaut)
    detector.detect(np.ascontiguousarray(astronaut[:300, :200]))
    assert detector.detect(astronaut) == first


def test_every_region_lies_inside_the_picture(detector: Detector, astronaut: npt.NDArray[Any]) -> None:
    cut = np.ascontiguousarray(astronaut[90:260, 190:400])  # through the face
    for region in detector.detect(cut):
        assert region.x >= 0
        assert region.y >= 0
        assert region.x + region.width <= cut.shape[1]
        assert region.y + region.height <= cut.shape[0]


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (2000, 1), (3, 3), (23, 400)])
def test_tiny_and_thin_pictures_have_no_faces(detector: Detector, shape: tuple[int, int]) -> None:
    assert detector.detect(np.zeros((*shape, 3), np.uint8)) == []


def scene(astronaut: npt.NDArray[Any], *sizes: int, width: int = 3000, height: int = 2000) -> npt.NDArray[Any]:
    """A large gray wall with the astronaut's head on it, in these heights, side by side."""
    wall = np.full((height, width, 3), 128, np.uint8)
    for number, size in enumerate(sizes):
        head = cv2.resize(astronaut[20:260, 110:340], (size, size), interpolation=cv2.INTER_AREA)
        left = 100 + number * (width - 200) // max(1, len(sizes))
        wall[300 : 300 + size, left : left + size] = head
    return wall


@pytest.mark.parametrize("size", [56, 200, 700, 1600])
def test_a_face_of_any_size_is_found_in_a_large_photo(
    networks: Detector, astronaut: npt.NDArray[Any], size: int
) -> None:
    found = networks.detect(scene(astronaut, size))
    assert len(around(found, 100 + 0.49 * size, 300 + 0.4 * size)) == 1


@pytest.mark.parametrize("quarters", range(4))
def test_a_lying_face_is_found_beside_an_upright_one(
    networks: Detector, astronaut: npt.NDArray[Any], quarters: int
) -> None:
    wall = scene(astronaut, 60)
    turned = np.rot90(cv2.resize(astronaut, (600, 600), interpolation=cv2.INTER_LINEAR), quarters)
    wall[1000:1600, 1500:2100] = turned
    found = networks.detect(wall)
    assert len(around(found, 100 + 29, 300 + 24)) == 1
    mark = np.zeros((600, 600), bool)
    mark[131, 262] = True
    ((y, x),) = np.argwhere(np.rot90(mark, quarters))
    assert around(found, 1500 + x, 1000 + y)


def test_turned_faces_are_not_looked_for_where_the_recipe_says_so(astronaut: npt.NDArray[Any]) -> None:
    overhead = np.ascontiguousarray(np.rot90(astronaut, 2))
    for turned in (True, False):
        search = opened(NetworksSpec(), turned=turned)
        assert isinstance(search, Search)
        assert search.look(overhead).finds[:, vote.QUARTERS].any() == turned
        assert [region.score > 0.9 for region in search.detect(overhead)] == [True] * turned


@pytest.mark.parametrize("light", [0.06, 0.15])
def test_a_dark_corner_is_looked_at_with_the_light_turned_up(
    networks: Detector, astronaut: npt.NDArray[Any], light: float
) -> None:
    wall = scene(astronaut, 120, width=2400, height=1600)
    wall[900:1500, 1000:2000] = 2  # a dark room beside the lit wall
    head = cv2.resize(astronaut[0:300, 80:380], (200, 200), interpolation=cv2.INTER_AREA)
    wall[1000:1200, 1300:1500] = (head * light).astype(np.uint8)
    found = networks.detect(wall)
    assert around(found, 1300 + 96, 1000 + 75)
    assert around(found, 100 + 59, 300 + 48)


def test_black_margins_do_not_change_what_is_found(networks: Detector, astronaut: npt.NDArray[Any]) -> None:
    framed = cv2.copyMakeBorder(astronaut, 600, 600, 600, 600, cv2.BORDER_CONSTANT)
    assert len(networks.detect(astronaut)) == len(networks.detect(framed)) == 1


def test_a_long_panorama_is_searched_at_its_own_height(networks: Detector, astronaut: npt.NDArray[Any]) -> None:
    found = networks.detect(scene(astronaut, 60, 60, 60, width=6000, height=600))
    assert [len(around(found, 100 + n * 5800 // 3 + 29, 300 + 24)) for n in range(3)] == [1, 1, 1]


def test_sensitivity_moves_the_bar_of_one_vote(astronaut: npt.NDArray[Any]) -> None:
    blurred = cv2.GaussianBlur(scene(astronaut, 40, 40, 60, 60, width=1200, height=900), (0, 0), 3)
    counts = [len(opened(NetworksSpec(), sensitivity=one).detect(blurred)) for one in Sensitivity]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_bounds_on_the_size_are_obeyed(astronaut: npt.NDArray[Any]) -> None:
    for spec in (HaarSpec(max_size_px=60), NetworksSpec(max_size_px=60)):
        assert all(region.width <= 60 for region in opened(spec).detect(astronaut))
    for other in (HaarSpec(min_size_px=200), NetworksSpec(min_size_px=200)):
        assert opened(other).detect(astronaut) == []


@pytest.mark.parametrize("one", weights.ALL, ids=lambda one: one.name)
def test_weights_that_are_missing_or_others_are_refused(
    one: weights.Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = weights.read(one)
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(weights.WeightsError, match="not installed"):
        weights.read(one)
    (tmp_path / one.file).write_bytes(content[:-1] + b"!")
    with pytest.raises(weights.WeightsError, match="not the file"):
        weights.read(one)
    runtime.opened.cache_clear()
    with pytest.raises(SetupError) as raised:
        opened(NetworksSpec())
    assert "docs/install.md" in raised.value.remedy


def test_what_is_no_network_is_refused_and_a_cut_one_too() -> None:
    model = weights.read(weights.YUNET)
    for wrong in (b"\x3f" * 64, model[: len(model) // 2], model[:40]):
        with pytest.raises(ValueError, match=r"protocol buffer|not the network"):
            onnx_graph.prepared(wrong, outputs=["cls_8"])
    with pytest.raises(ValueError, match="not the network"):
        onnx_graph.prepared(model, outputs=["no_such_output"])


def test_a_cascade_that_is_not_there_is_a_setup_error_with_a_remedy() -> None:
    with pytest.raises(SetupError) as raised:
        opened(HaarSpec(cascade="haarcascade_of_nobody.xml"))
    assert "haarcascade_frontalface_default.xml" in raised.value.remedy


def test_a_cascade_that_is_no_cascade_is_a_setup_error() -> None:
    with pytest.raises(SetupError):
        opened(HaarSpec(cascade=__file__))


def test_a_cascade_is_taken_by_its_path_too() -> None:
    path = cascade_path("haarcascade_profileface.xml")
    assert opened(HaarSpec(cascade=str(path))).name == "haar:haarcascade_profileface"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True)


def test_the_check_of_a_cascade_in_its_own_process_says_yes_or_why_not() -> None:
    module = "faceblurd.imaging.detect.haar"
    assert run("-m", module, "haarcascade_frontalface_default.xml").returncode == 0
    refused = run("-m", module, __file__)
    assert refused.returncode == 1
    assert "does not load" in refused.stderr


def test_resolving_names_imports_no_opencv() -> None:
    code = (
        "import sys\n"
        "from faceblurd.imaging.detect import runtime, weights\n"
        "from faceblurd.imaging.detect.haar import cascade_path\n"
        "cascade_path('haarcascade_frontalface_default.xml'); weights.read(weights.YUNET)\n"
        "sys.exit(any(name in sys.modules for name in ('cv2', 'numpy', 'PIL', 'onnxruntime')))"
    )
    assert run("-c", code).returncode == 0


def test_an_opened_network_has_no_telemetry_and_no_thread_that_the_sandbox_would_miss() -> None:
    code = (
        "import os; os.environ['OPENBLAS_NUM_THREADS'] = '1'\n"
        "from faceblurd.imaging.detect import open_glance\n"
        "from faceblurd.model import NetworksSpec\n"
        "import numpy as np\n"
        "open_glance(NetworksSpec()).detect(np.zeros((320, 320, 3), np.uint8))\n"
        "print(len(os.listdir('/proc/self/task')), os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    assert run("-c", code).stdout.split() == ["1", "1"]
