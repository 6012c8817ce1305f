"""Feed whole files, damaged, through what a worker does with them: python fuzz_files.py COUNT SEED [FIRST].

A child with a worker's memory limit takes one file after another. A finding is: the child dies, or takes longer than
ten seconds; an error that is no ImageError; a result that Pillow or OpenCV no longer reads though they read the source;
a result in which the hidden region still shows what was there. Each input follows from SEED and its number: to see one
again, give COUNT 1 and its number as FIRST. Ends with status 1 when there were findings.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import multiprocessing
import random
import signal
import struct
import sys
import traceback
import warnings
import zlib
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import leaky
import leaky_jpeg
import leaky_others
import numpy as np
from PIL import Image

from faceblurd.errors import ImageError
from faceblurd.imaging.files import open_image
from faceblurd.model import BlurMethod, BlurSpec, DetectionSpec, HaarSpec, Recipe, Zone, Zones
from faceblurd.workers import job
from faceblurd.workers.toolbox import Toolbox

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    import numpy.typing as npt

SECONDS, MEMORY_LIMIT, MAX_PIXELS = 10, 600 << 20, 4_000_000
MIDDLE = Zone(0.25, 0.25, 0.5, 0.5)  # the same place however the picture is turned
DETECTION = DetectionSpec(detectors=(HaarSpec(),), working_size_px=96, turned=False)  # the quickest: files count here
CLEAN = Recipe("clean", DETECTION, BlurSpec(), max_pixels=MAX_PIXELS)
HIDING = [
    replace(CLEAN, name=method, blur=BlurSpec(method=method), zones=Zones(always=(MIDDLE,))) for method in BlurMethod
]
NUMBERS = (0, 1, 2, 8, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF)
DETAIL, ALIKE = 12.0, 0.6  # levels RMS that the region may show, and how much alike it may be to what was there


def originals() -> list[bytes]:
    """Small files of every format that this installation takes, with all the metadata that there is."""
    with contextlib.suppress(ImportError):  # an extra
        importlib.import_module("pillow_heif").register_heif_opener()
    picture = cv2.resize(leaky.portrait(), (56, 48), interpolation=cv2.INTER_AREA)
    files = [one.content for one in leaky_jpeg.leaks(leaky.encoded(picture))]
    files += [one.content for one in leaky_others.leaks(picture)]
    for factor in (0x411111, 0x211111, 0x221111, 0x111111):
        for options in ((), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)):
            files.append(leaky.encoded(picture, ".jpg", (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, *options)))
    files += [leaky.encoded(picture.astype(np.uint16) * 257, extension) for extension in (".png", ".tiff")]
    image = Image.fromarray(picture[:, :, ::-1])
    for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16"):
        for kind in ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "AVIF", "HEIF"):
            files += _saved(image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode), kind)
    moved = [image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), image]
    for kind in ("GIF", "PNG", "WEBP", "TIFF", "AVIF"):
        files += _saved(image, kind, save_all=True, append_images=moved, duration=50)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        files += _saved(image, "TIFF", compression=compression)
    return [file for file in files if _is_taken(file)]


def _saved(image: Image.Image, kind: str, **options: Any) -> list[bytes]:
    out = io.BytesIO()
    try:
        image.save(out, kind, **options)
    except (KeyError, OSError, ValueError):  # what this Pillow does not write
        return []
    return [out.getvalue()]


def _is_taken(data: bytes) -> bool:
    try:
        open_image(data, max_pixels=MAX_PIXELS)
    except ImageError:
        return False
    return True


# --- damage


def damaged(sources: list[bytes], rng: random.Random) -> bytes:
    """Take a file, and do one to four bad things to it; a PNG's checksums are mostly made right again."""
    data = bytearray(rng.choice(sources))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 4))):
        if len(data) > 16:
            rng.choice(DAMAGES)(data, rng, sources)
    return _with_checksums(bytes(data)) if rng.randrange(8) else bytes(data)


def _place(data: bytearray, rng: random.Random) -> int:
    """Headers are short and matter most."""
    return rng.randrange(min(len(data), rng.choice((64, 400, 2000, 1 << 30))))


def _flip(data: bytearray, rng: random.Random, _: list[bytes]) -> None:
    for _number in range(rng.choice((1, 1, 2, 8))):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _number(data: bytearray, rng: random.Random, _: list[bytes]) -> None:
    """Write a number that lengths, counts and offsets trip over."""
    code, size = rng.choice((("B", 1), (">H", 2), ("<H", 2), (">I", 4), ("<I", 4)))
    value = rng.choice((*NUMBERS, len(data), rng.randrange(len(data)), rng.randrange(256)))
    at = _place(data, rng)
    data[at : at + size] = struct.pack(code, value & ((1 << 8 * size) - 1))


def _cut(data: bytearray, rng: random.Random, _: list[bytes]) -> None:
    at = rng.randrange(8, len(data))
    data[at:] = bytes(len(data) - at) if rng.randrange(2) else b""


def _drop(data: bytearray, rng: random.Random, _: list[bytes]) -> None:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 4, 12, 100))]


def _repeat(data: bytearray, rng: random.Random, _: list[bytes]) -> None:
    at = _place(data, rng)
    data[at:at] = data[at : at + rng.choice((1, 2, 4, 12, 100, 4000))] * rng.choice((1, 1, 2, 50))


def _graft(data: bytearray, rng: random.Random, sources: list[bytes]) -> None:
    """Put a piece of another file in, over what is there or between."""
    other = rng.choice(sources)
    start, at = rng.randrange(len(other)), _place(data, rng)
    piece = other[start : start + rng.choice((4, 12, 64, 1000, 10_000))]
    data[at : at + len(piece) * rng.randrange(2)] = piece


DAMAGES = (_flip, _flip, _number, _number, _number, _cut, _drop, _repeat, _graft)


def _with_checksums(data: bytes) -> bytes:
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    fixed, at = bytearray(data), 8
    while at + 12 <= len(data):
        end = at + 8 + struct.unpack_from(">I", data, at)[0]
        if end + 4 > len(data):
            break
        struct.pack_into(">I", fixed, end, zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(fixed)


# --- judgement


def trial(data: bytes, recipe: Recipe, toolbox: Toolbox) -> str:
    """Do a worker's work; say how it ended. Findings start with an exclamation mark."""
    try:
        made = toolbox.make(data, recipe, name="fuzz", copy_when_clean=True)
    except ImageError as error:
        return error.reason.value
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"!{type(error).__name__} at {where.filename.rpartition('/')[2]}:{where.lineno}: {error}"
    assert made is not None
    for name, decode in (("Pillow", _by_pillow), ("OpenCV", _by_opencv)):
        before, after = decode(data), decode(made.content)
        if before is not None and after is None:
            return f"!{name} does not read the result"
        if before is not None and after is not None and recipe is not CLEAN and _shows(before, after):
            return f"!the region still shows for {name}"
    return "clean" if recipe is CLEAN else "hidden"


def _by_pillow(data: bytes) -> npt.NDArray[Any] | None:
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
            warnings.simplefilter("ignore")
            if image.width * image.height > MAX_PIXELS:
                return None
            sixteen = image.mode.startswith("I;16")
            return np.asarray(image).astype(float) / 257 if sixteen else np.asarray(image.convert("L")).astype(float)
    except Exception:  # noqa: BLE001 - a stranger's decoder, on a damaged file
        return None


def _by_opencv(data: bytes) -> npt.NDArray[Any] | None:
    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return None if array is None else array.astype(float)


def _shows(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> bool:
    """Say whether the middle of both has the same details."""
    if before.shape != after.shape:
        return True
    height, width = before.shape
    inner = np.s_[height * 3 // 10 : height * 7 // 10, width * 3 // 10 : width * 7 // 10]
    one, two = (_details(array[inner]) for array in (before, after))
    spread = float(one.std() * two.std())
    return two.std() > DETAIL and float((one * two).mean()) > ALIKE * spread


def _details(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Take away what a mean and a slope each way explain."""
    if array.size < 16:
        return np.zeros(1)
    y, x = np.mgrid[: array.shape[0], : array.shape[1]]
    terms = np.stack([np.ones(array.size), x.ravel(), y.ravel(), (x * y).ravel()], axis=1)
    flat = array.ravel()
    return np.asarray(flat - terms @ np.linalg.lstsq(terms, flat, rcond=None)[0])


# --- the two processes


def work(conn: Connection, seed: int, first: int, last: int) -> None:
    """Be the worker: say the number of each input before it, and its end after it."""
    toolbox, sources = Toolbox.open([CLEAN, *HIDING], ()), originals()
    job._limit_memory(MEMORY_LIMIT)
    for number in range(first, last):
        rng = random.Random(f"{seed}/{number}")
        data, recipe = damaged(sources, rng), rng.choice((CLEAN, *HIDING))
        conn.send((number, ""))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # nobody handles it: the process ends, as a worker does
        end = trial(data, recipe, toolbox)  # processor time: whoever else computes costs it none
        signal.setitimer(signal.ITIMER_PROF, 0)
        conn.send((number, f"{end} ({data[:4]!r})" if end.startswith("!") else end))


def run(count: int, seed: int, first: int) -> tuple[Counter[str], list[str]]:
    """Try `count` inputs; a worker that died is replaced."""
    ends, findings, number, last = Counter[str](), [], first, first + count
    while number < last:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.get_context("fork").Process(target=work, args=(theirs, seed, number, last), daemon=True)
        child.start()
        theirs.close()
        try:
            while True:
                number, end = ours.recv()
                ends[end.split(" ")[0]] += bool(end)
                if end.startswith("!"):
                    findings.append(f"{number}: {end[1:]}")
        except EOFError:
            child.join()
        if child.exitcode:
            findings.append(f"{number}: the process ended with {child.exitcode}")
        number += 1
    return ends, findings


def main() -> None:
    """Run."""
    count, seed, *rest = (int(argument) for argument in sys.argv[1:])
    ends, findings = run(count, seed, *(rest or [0]))
    sys.stdout.write("".join(f"{finding}\n" for finding in findings))
    sys.stdout.write(f"{count} inputs: {dict(ends.most_common())}, {len(findings)} findings\n")
    raise SystemExit(bool(findings))


if __name__ == "__main__":
    main()
