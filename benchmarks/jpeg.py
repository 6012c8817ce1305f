"""Hiding three faces in a JPEG, and publishing one without faces: this code and the plain way, side by side.

Photos of a folder are scaled to 12, 24 and 48 megapixels (with grain: an enlargement would be too smooth) and written
as a camera does. Each method gets the file's bytes and gives the new file's; all run on one thread, warm, in turns.
What each takes of memory at its highest is asked in a process of its own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read while numpy loads

import io
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import bench
import cv2
import numpy as np
import photos
from PIL import Image

from faceblurd.config.recipes import BUILTIN_RECIPES, DEFAULT_RECIPE
from faceblurd.imaging.files import open_image
from faceblurd.imaging.files.jpeg import native, surgery
from faceblurd.imaging.files.jpeg.fallback import FallbackCoder
from faceblurd.imaging.files.still import Still
from faceblurd.imaging.metadata import BARE
from faceblurd.imaging.redact.average_pool import redact
from faceblurd.model import Region
from faceblurd.workers import job as worker

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    import numpy.typing as npt

    Method = Callable[[bytes], bytes]

FACES = ((0.3, 0.2, 0.11, 0.17), (0.6, 0.5, 0.06, 0.10), (0.8, 0.7, 0.03, 0.05))
"""Corner and size, as fractions of the photo."""
RECIPE = BUILTIN_RECIPES[DEFAULT_RECIPE]
MAX_PIXELS = 1 << 40
PLAIN, SPLICE, CLEAN_PLAIN, CLEAN = "plain", "blocks", "no face: plain", "no face: ours"
TARGET = 0.6
ROW = 16  # rows of pixels in an MCU of 4:2:0


def faces(width: int, height: int) -> list[Region]:
    """Place the three faces."""
    return [
        Region(int(x * width), int(y * height), int(across * width), int(down * height), 1, "benchmark")
        for x, y, across, down in FACES
    ]


# --- the methods: bytes to bytes


def plain(data: bytes) -> bytes:
    """Decode, hide, and encode at quality 95, as a script does."""
    pixels = _decoded(data)
    redact(pixels, faces(pixels.shape[1], pixels.shape[0]), RECIPE.blur)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def codec_only(data: bytes) -> bytes:
    """Decode and encode, hiding nothing: what all ratios refer to."""
    return cv2.imencode(".jpg", _decoded(data), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def blocks(data: bytes) -> bytes:
    """Replace the blocks of the faces (compiled loop)."""
    picture = open_image(data, max_pixels=MAX_PIXELS)
    done = picture.redacted(faces(picture.width, picture.height), RECIPE.blur, BARE)
    if not done.lossless:
        raise SystemExit(done.note)
    return done.data


def blocks_in_python(data: bytes) -> bytes:
    """Replace the blocks of the faces, with the loop in Python."""
    before, surgery.splice.__kwdefaults__["coder_for"] = surgery.splice.__kwdefaults__["coder_for"], FallbackCoder
    try:
        return blocks(data)
    finally:
        surgery.splice.__kwdefaults__["coder_for"] = before


def encoded_anew(data: bytes) -> bytes:
    """Decode and encode all of it with the file's own tables: what is done where blocks cannot be replaced."""
    picture = open_image(data, max_pixels=MAX_PIXELS)
    if not isinstance(picture, Still):
        raise SystemExit("not a still picture")
    return Still.redacted(picture, faces(picture.width, picture.height), RECIPE.blur, BARE).data


def pillow_keep(data: bytes) -> bytes:
    """Decode and encode with Pillow's quality='keep'."""
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.array(image)
        redact(pixels, faces(image.width, image.height), RECIPE.blur)
        changed = Image.fromarray(pixels)
        changed.format, changed.quantization, changed.layer = "JPEG", image.quantization, image.layer
        changed.layers, changed.info = image.layers, image.info
        out = io.BytesIO()
        changed.save(out, "JPEG", quality="keep")
    return out.getvalue()


def clean_plain(data: bytes) -> bytes:
    """Do the plain way with a photo that shows nobody: decode, encode, write (detection aside)."""
    return _published(codec_only(data))


def clean(data: bytes) -> bytes:
    """Do ours: decode small for detection, scrub, write."""
    picture = open_image(data, max_pixels=MAX_PIXELS)
    picture.preview(RECIPE.detection.working_size_px)
    return _published(picture.scrubbed(BARE))


def _published(data: bytes) -> bytes:
    with tempfile.TemporaryFile() as file:
        worker.write_whole(file.fileno(), data, mtime_ns=None)
    return data


def _decoded(data: bytes) -> npt.NDArray[Any]:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


METHODS: dict[str, Method] = {
    "decode + encode": codec_only,
    PLAIN: plain,
    SPLICE: blocks,
    "blocks, restart markers": blocks,
    "encoded anew": encoded_anew,
    "Pillow keep": pillow_keep,
    CLEAN_PLAIN: clean_plain,
    CLEAN: clean,
}
SLOW: dict[str, Method] = {"blocks, in Python": blocks_in_python}


# --- measuring


@dataclass(frozen=True, slots=True)
class Row:
    """One method on photos of one size."""

    megapixels: float
    method: str
    milliseconds: float
    times_codec: float
    memory_mb: float
    changed_percent: float
    size_percent: float


def changed_outside(data: bytes, result: bytes) -> float:
    """Give the share of pixels, in per cent, that changed more than 17 pixels (an MCU, a ring) from the faces."""
    before, after = _decoded(data), _decoded(result)
    differs = (before != after).any(axis=2)
    for face in faces(before.shape[1], before.shape[0]):
        edge = ROW + 1
        differs[
            max(0, face.y - edge) : face.y + face.height + edge, max(0, face.x - edge) : face.x + face.width + edge
        ] = 0
    return float(differs.mean() * 100)


def memory_mb(method: str, path: str) -> float:
    """Ask a process of its own how much more than at rest a method takes at its highest."""
    command = [sys.executable, __file__, "--measure", method, path]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(method: str, path: str) -> None:
    """Be that process: warm up on a small photo, then watch the high-water mark of this process."""
    cv2.setNumThreads(1)
    with open(path, "rb") as file:
        data = file.read()
    run = (METHODS | SLOW)[method]
    run(cv2.imencode(".jpg", np.full((640, 640, 3), 90, np.uint8))[1].tobytes())
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # the high-water mark starts from here
    before = bench.memory_mb(os.getpid())["resident"]
    run(data)
    print(bench.memory_mb(os.getpid())["peak"] - before)


def in_turns(methods: dict[str, Method], files: dict[str, str], repeats: int) -> dict[str, float]:
    """Run the methods in turns on their files; give the best time of each in milliseconds."""
    best = dict.fromkeys(methods, float("inf"))
    for _ in range(repeats):
        for name, run in methods.items():
            with open(files[name], "rb") as file:
                data = file.read()
            start = time.perf_counter()
            run(data)
            best[name] = min(best[name], (time.perf_counter() - start) * 1000)
    return best


def files_for(methods: dict[str, Method], path: str, megapixels: float, folder: str) -> dict[str, str]:
    """Write a photo at a size, with and without restart markers (one an MCU row)."""
    pixels = photos.scaled(path, megapixels)
    name = os.path.join(folder, "photo.jpg")
    photos.save_jpeg(name, pixels)
    marked = os.path.join(folder, "marked.jpg")
    interval = [cv2.IMWRITE_JPEG_RST_INTERVAL, -(-pixels.shape[1] // ROW)]
    cv2.imwrite(marked, pixels, [cv2.IMWRITE_JPEG_QUALITY, photos.QUALITY, *interval])
    return {method: marked if "markers" in method else name for method in methods}


def rows_for(path: str, megapixels: float, folder: str, *, repeats: int, methods: dict[str, Method]) -> list[Row]:
    """Measure all methods on one photo at one size."""
    files = files_for(methods, path, megapixels, folder)
    times = in_turns(methods, files, repeats)
    rows = []
    for name, run in methods.items():
        with open(files[name], "rb") as file:
            data = file.read()
        result = run(data)
        rows.append(
            Row(
                megapixels, name, times[name], times[name] / times["decode + encode"], memory_mb(name, files[name]),
                changed_outside(data, result), 100 * len(result) / len(data),
            )
        )  # fmt: skip
    return rows


def report(rows: list[Row]) -> dict[str, float]:
    """Print a table a size; return the ratios that have an aim."""
    for megapixels in sorted({row.megapixels for row in rows}):
        mine = [row for row in rows if row.megapixels == megapixels]
        names = list(dict.fromkeys(row.method for row in mine))
        bench.show(
            f"{megapixels:.0f} megapixels, median of {len(mine) // len(names)} photos",
            ("method", "ms", "x decode + encode", "extra memory MB", "pixels changed outside %", "size %"),
            [(name, *_medians([row for row in mine if row.method == name])) for name in names],
        )
    aims = ((SPLICE, "decode + encode"), (CLEAN, CLEAN_PLAIN))
    return {f"{name} {size:.0f} MP": _ratio(rows, name, base, size) for name, base in aims for size in _sizes(rows)}


def _sizes(rows: list[Row]) -> list[float]:
    return sorted({row.megapixels for row in rows})


def _medians(rows: list[Row]) -> list[float]:
    columns = ("milliseconds", "times_codec", "memory_mb", "changed_percent", "size_percent")
    return [bench.median(getattr(row, column) for row in rows) for column in columns]


def _ratio(rows: list[Row], name: str, base: str, megapixels: float) -> float:
    times = {
        method: [row.milliseconds for row in rows if row.method == method and row.megapixels == megapixels]
        for method in (name, base)
    }
    return bench.median(a / b for a, b in zip(times[name], times[base], strict=True))


def main() -> None:
    """Run."""
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:4])
        return
    parser = bench.parser(__doc__.partition("\n")[0])
    parser.add_argument("folder", help="a folder of photos")
    parser.add_argument("--megapixels", default="12,24,48", help="sizes, with commas")
    parser.add_argument("--photos", type=int, default=2, help="at most so many photos")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each method on each photo; the best counts")
    parser.add_argument("--python", action="store_true", help="the loop in Python as well: seconds a photo")
    arguments = parser.parse_args()
    rows = run_all(arguments)
    ratios = report(rows)
    loop = native.available() or "compiled"
    print(f"\nThe bit loop: {loop}. Aim: at most {TARGET} of the plain way. " + json.dumps(ratios))
    columns = Row.__slots__
    bench.finish(
        arguments, {"ratios": ratios, "rows": [{name: getattr(row, name) for name in columns} for row in rows]}
    )


def run_all(arguments: argparse.Namespace) -> list[Row]:
    """Measure on every photo at every size."""
    cv2.setNumThreads(1)
    worker._keep_memory_between_photos()  # noqa: SLF001 - as a worker does, and to the plain way's advantage
    methods = METHODS | (SLOW if arguments.python else {})
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="faceblurd-jpeg-") as folder:
        for path in photos.in_folder(arguments.folder, arguments.photos):
            for size in map(float, arguments.megapixels.split(",")):
                rows += rows_for(path, size, folder, repeats=arguments.repeats, methods=methods)
                bench.say(f"{os.path.basename(path)} at {size:.0f} MP: {_in_brief(rows[-len(methods) :])}")
    return rows


def _in_brief(rows: list[Row]) -> str:
    return ", ".join(f"{row.method} {row.milliseconds:.0f} ms" for row in rows)


if __name__ == "__main__":
    main()
