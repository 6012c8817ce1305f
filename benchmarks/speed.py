"""The reference method and our recipes, side by side on the same photos, stage by stage.

Reference: read and decode the photo with OpenCV, look for faces at full size with the Haar cascade, average-pool each
face box with Keras, encode and write. Ours: what a worker does with a file, from reading to the fsync of the result.
Each runs on one thread, warm, and in turns, so that a busy moment of the machine hits all of them.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read while TensorFlow loads
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import bench
import cv2
import numpy as np
import photos

from faceblurd.config.recipes import BUILTIN_RECIPES, DEFAULT_RECIPE
from faceblurd.imaging import geometry
from faceblurd.imaging.detectors import open_detectors
from faceblurd.imaging.formats import open_image
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.second_look import SecondLook
from faceblurd.imaging.verification import examine, verify_clean
from faceblurd.model import Fingerprint, Job, Mode, Staged
from faceblurd.workers import job as worker
from faceblurd.workers.toolbox import Toolbox

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from faceblurd.imaging.detectors import Detector
    from faceblurd.imaging.formats import Picture
    from faceblurd.model import Recipe, Region

    Run = Callable[[str, str], tuple[dict[str, float], int]]

STAGES = ("read", "hash", "preview", "detect", "decode", "redact", "encode", "verify", "write", "fsync")
REFERENCE = "reference"
TARGET = 8.0


class Stages:
    """A stop watch that adds up by name, in milliseconds."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.milliseconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        yield
        self.milliseconds[name] += (time.perf_counter() - start) * 1000


# --- the reference method


class Reference:
    """The plain way, with everything that can be loaded beforehand loaded."""

    def __init__(self) -> None:
        """Load TensorFlow, one pooling layer and the cascade."""
        import tensorflow as tf  # noqa: PLC0415 - three seconds, not for --help

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self._pool = tf.keras.layers.AveragePooling2D(pool_size=(20, 20), strides=(1, 1), padding="same")
        cascade = os.path.join(cv2.data.haarcascades, "haarcascade_frontalface_default.xml")
        self._cascade = cv2.CascadeClassifier(cascade)

    def __call__(self, source: str, target: str) -> tuple[dict[str, float], int]:
        """Blur one photo; return milliseconds by stage and the number of faces."""
        stage = Stages()
        with stage("whole"):
            with stage("decode"):
                picture = cv2.imread(source)
            with stage("detect"):
                boxes = self._cascade.detectMultiScale(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), 1.1, 4)
            with stage("redact"):
                for x, y, width, height in boxes:
                    face = picture[y : y + height, x : x + width]
                    picture[y : y + height, x : x + width] = self._pooled(face)
            with stage("encode"):
                cv2.imwrite(target, picture)
        return stage.milliseconds, len(boxes)

    def _pooled(self, face: Any) -> Any:  # noqa: ANN401 - arrays
        return np.asarray(self._pool(face[np.newaxis].astype(np.float32)))[0].astype(np.uint8)


# --- ours


class Ours:
    """A recipe as a worker runs it. The whole is timed in one piece, then the stages, one by one, on the same photo."""

    def __init__(self, recipe: Recipe) -> None:
        """Open what a worker opens."""
        self._recipe = recipe
        self._toolbox = Toolbox.open((recipe,), ())
        self._detectors = open_detectors(recipe.detection)
        self._second_look = SecondLook.open(recipe.detection, ())

    def __call__(self, source: str, target: str) -> tuple[dict[str, float], int]:
        """Blur one photo; return milliseconds by stage and the number of faces."""
        stage = Stages()
        with stage("whole"):
            found = self._whole(source, target)
        self._in_stages(stage, source, target)
        return stage.milliseconds, found

    def _whole(self, source: str, target: str) -> int:
        """Do what a worker does with its two descriptors."""
        source_fd = os.open(source, os.O_RDONLY)
        target_fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            fingerprint = Fingerprint.from_stat(os.fstat(source_fd))
            job = Job(1, source, self._recipe, Mode.MIRROR, fingerprint, None, 1 << 30)
            result = worker.perform(job, source_fd, target_fd, lambda _: True, self._toolbox)
        finally:
            os.close(source_fd)
            os.close(target_fd)
        if not isinstance(result, Staged):
            raise SystemExit(f"{source}: {result}")
        return len(result.regions)

    def _redacted(self, stage: Stages, picture: Picture, regions: list[Region]) -> bytes:
        """Do what `workers.toolbox` does with a photo that shows faces, with a clock."""
        recipe = self._recipe
        with stage("redact"):
            encoded = picture.redacted(regions, recipe.blur, BARE)
        with stage("verify"):
            examine(
                encoded, picture=picture, regions=regions, blur=recipe.blur, max_pixels=recipe.max_pixels,
                look=self._second_look,
            )  # fmt: skip
        return encoded.data

    def _in_stages(self, stage: Stages, source: str, target: str) -> None:
        with stage("read"), open(source, "rb") as file:
            content = file.read()
        with stage("hash"):
            worker.hashlib.blake2b(content, digest_size=32).hexdigest()
        picture = open_image(content, max_pixels=self._recipe.max_pixels)
        regions = _faces(stage, picture, self._detectors, self._recipe)
        result = self._redacted(stage, picture, regions) if regions else _scrubbed(stage, picture)
        with open(target, "wb") as file:
            with stage("write"):
                file.write(result)
                file.flush()
            with stage("hash"):
                worker.hashlib.blake2b(result, digest_size=32).hexdigest()
            with stage("fsync"):
                os.fsync(file.fileno())


def _faces(stage: Stages, picture: Picture, detectors: list[Detector], recipe: Recipe) -> list[Region]:
    """Do what `imaging.finding.find_faces` does, with a clock."""
    with stage("preview"):
        preview = picture.preview(recipe.detection.working_size_px)
    with stage("detect"):
        found = [region for detector in detectors for region in detector.detect(preview)]
    width, height = geometry.upright_size(picture.width, picture.height, orientation=picture.orientation)
    by_x, by_y = width / preview.shape[1], height / preview.shape[0]
    grown = (geometry.grow(geometry.scale(one, by_x=by_x, by_y=by_y), recipe.blur.margin) for one in found)
    clipped = [region for one in grown if (region := geometry.clip(one, width=width, height=height))]
    return geometry.merge(clipped, waste=0.15) if recipe.detection.merge else clipped


def _scrubbed(stage: Stages, picture: Picture) -> bytes:
    with stage("encode"):
        content = picture.scrubbed()
    with stage("verify"):
        verify_clean(content, picture=picture, max_pixels=1 << 40)
    return content


# --- the comparison


def compare(methods: dict[str, Run], source: str, folder: str, repeats: int) -> dict[str, Any]:
    """Run all methods on one photo in turns; return the best times by method and stage, and the numbers of faces.

    The best of the repeats, since whatever else the machine does only ever adds to a time.
    """
    suffix = os.path.splitext(source)[1]
    samples: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in methods}
    faces: dict[str, int] = {}
    for _ in range(repeats):
        for name, run in methods.items():
            milliseconds, faces[name] = run(source, os.path.join(folder, f"out{suffix}"))
            for stage, value in milliseconds.items():
                samples[name][stage].append(value)
    best = {name: {stage: min(values) for stage, values in by.items()} for name, by in samples.items()}
    return {"photo": os.path.basename(source), "faces": faces, "milliseconds": best}


def prepared(path: str, folder: str, megapixels: float | None) -> str:
    """Return the photo to use: as it is, or a copy of another size."""
    if megapixels is None:
        return path
    copy = os.path.join(folder, os.path.splitext(os.path.basename(path))[0] + ".jpg")
    photos.save_jpeg(copy, photos.scaled(path, megapixels))
    return copy


def run_all(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare on every photo, until the time is up."""
    cv2.setNumThreads(1)
    bench.say("loading TensorFlow and the recipes")
    methods: dict[str, Run] = {REFERENCE: Reference()}
    methods |= {name: Ours(BUILTIN_RECIPES[name]) for name in arguments.recipes.split(",")}
    results: list[dict[str, Any]] = []
    until = time.monotonic() + arguments.seconds
    with tempfile.TemporaryDirectory(prefix="faceblurd-speed-") as folder:
        chosen = photos.in_folder(arguments.folder, arguments.photos)
        compare(methods, chosen[0], folder, 1)  # warm
        for number, path in enumerate(chosen, start=1):
            if time.monotonic() > until:
                bench.say(f"time is up after {len(results)} photos")
                break
            source = prepared(path, folder, arguments.megapixels)
            results.append(compare(methods, source, folder, arguments.repeats))
            bench.say(f"{number}/{len(chosen)} {results[-1]['photo']}: {_in_brief(results[-1])}")
    return results


def _in_brief(result: dict[str, Any]) -> str:
    whole = {name: by["whole"] for name, by in result["milliseconds"].items()}
    return ", ".join(f"{name} {value:.0f} ms ({result['faces'][name]} faces)" for name, value in whole.items())


def report(results: list[dict[str, Any]]) -> dict[str, float]:
    """Print the tables; return the median ratio of each recipe."""
    names = list(results[0]["milliseconds"])
    bench.show(
        f"Milliseconds by stage, median of {len(results)} photos",
        ("stage", *names),
        [(stage, *(_median_of(results, name, stage) for name in names)) for stage in (*STAGES, "whole")],
    )
    ratios = {name: partial(_ratio, name) for name in names[1:]}
    bench.show(
        "How many times as fast as the reference method (whole against whole)",
        ("recipe", "median", "slowest photo", "fastest photo", "median, were Keras' pooling free"),
        [(name, bench.median(map(of, results)), min(map(of, results)), max(map(of, results)),
          bench.median(_ratio(name, each, but="redact") for each in results))
         for name, of in ratios.items()],
    )  # fmt: skip
    bench.show(
        "Photo by photo", ("photo", *(f"{name} ms (faces)" for name in names)),
        [(each["photo"], *(f"{each['milliseconds'][name]['whole']:.0f} ({each['faces'][name]})" for name in names))
         for each in results],
    )  # fmt: skip
    return {name: bench.median(map(of, results)) for name, of in ratios.items()}


def _median_of(results: list[dict[str, Any]], name: str, stage: str) -> float:
    return bench.median(each["milliseconds"][name].get(stage, 0.0) for each in results)


def _ratio(name: str, result: dict[str, Any], *, but: str | None = None) -> float:
    """Divide the reference's time by a recipe's; `but`: a stage that the reference gets for nothing."""
    by = result["milliseconds"]
    free = 0.0 if but is None else by[REFERENCE][but]
    return float((by[REFERENCE]["whole"] - free) / by[name]["whole"])


def main() -> None:
    """Run."""
    parser = bench.parser(__doc__.partition("\n")[0])
    parser.add_argument("folder", help="a folder of photos")
    parser.add_argument("--megapixels", type=float, help="scale each photo to this size first (12: a phone's)")
    parser.add_argument("--photos", type=int, default=8, help="at most so many photos")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each method on each photo")
    parser.add_argument("--seconds", type=float, default=240, help="begin no further photo after this time")
    parser.add_argument("--recipes", default="classic,fast,balanced", help="which recipes, with commas")
    arguments = parser.parse_args()
    results = run_all(arguments)
    ratios = report(results)
    met = "" if arguments.megapixels is None else f" (the aim at 12 megapixels is {TARGET:.0f})"
    print(f"\nDefault recipe {DEFAULT_RECIPE}: {ratios.get(DEFAULT_RECIPE, 0):.1f} times as fast{met}")
    bench.finish(arguments, {"ratios": ratios, "photos": results})


if __name__ == "__main__":
    main()
