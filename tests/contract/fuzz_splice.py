"""Feed the compiled bit loop with damaged JPEGs and with noise: python fuzz_splice.py LIBRARY COUNT SEED.

For a library with sanitizers, which end the process at the first wrong access; the test of that name compiles one.
"""

from __future__ import annotations

import ctypes
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING

import cv2
import numpy as np

from faceblurd.errors import ImageError
from faceblurd.imaging import jpeg_segments as js
from faceblurd.imaging.files.jpeg import laying_native, native
from faceblurd.imaging.files.jpeg.coding import RUN_FIELDS, Walk
from faceblurd.imaging.files.jpeg.covers import Covers, Surface
from faceblurd.imaging.files.jpeg.huffman import MissingCodesError, SpliceError, Table
from faceblurd.imaging.files.jpeg.layout import Plane, Stream, read_layout
from faceblurd.imaging.files.jpeg.native import NativeCoder
from faceblurd.imaging.files.jpeg.painting import CHROMA, Paint
from faceblurd.imaging.files.jpeg.sheets import Sheet
from faceblurd.imaging.files.jpeg.surgery import splice
from faceblurd.model import BlurMethod, BlurSpec, Region

if TYPE_CHECKING:
    import numpy.typing as npt


def originals() -> list[bytes]:
    """Make a few small JPEGs."""
    rng = np.random.default_rng(1)
    made = []
    for number, factor in enumerate((0x411111, 0x211111, 0x221111, 0x111111)):
        pixels = rng.integers(0, 256, (20 + 9 * number, 50, 3), dtype=np.uint8)
        pixels[:10] = 90
        options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_OPTIMIZE, number % 2]
        options += [cv2.IMWRITE_JPEG_RST_INTERVAL, number, cv2.IMWRITE_JPEG_QUALITY, 30 * number + 5]
        made += [cv2.imencode(".jpg", part, options)[1].tobytes() for part in (pixels, pixels[:, :, 0])]
    return made


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Change, drop or insert a few bytes."""
    broken = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(2, len(broken))
        match rng.randrange(4):
            case 0:
                broken[at] = rng.randrange(256)
            case 1:
                broken[at] ^= 1 << rng.randrange(8)
            case 2:
                del broken[at : at + rng.randint(1, 4)]
            case _:
                broken[at:at] = rng.randbytes(rng.randint(1, 4))
    return bytes(broken)


def hide(data: bytes, rng: random.Random) -> str:
    """Take the way of a file with faces, up to the new scan; say how it ended."""
    try:
        segments = js.scan(data)
        frame = js.read_frame(data, segments)
        if not 0 < frame.width * frame.height < 1_000_000:
            return "size"
        layout = read_layout(data, segments, frame)
        x, y = rng.randrange(frame.width), rng.randrange(frame.height)
        region = Region(x, y, rng.randint(1, frame.width - x), rng.randint(1, frame.height - y), 1, "fuzz")
        blur = BlurSpec(method=rng.choice(tuple(BlurMethod)))
        splice(data, layout, [region], Paint(blur, rng.randint(1, 8), CHROMA), coder_for=NativeCoder)
    except (SpliceError, ImageError) as error:
        return type(error).__name__
    return "spliced"


def table(rng: random.Random, *, is_dc: bool) -> Table:
    """Make up a table: one of all 16 or 256 codes of a length, or whatever comes, which may be no prefix code."""
    if rng.randrange(3):
        values = (
            range(16) if is_dc else [0, 0, 0, 0xF0, *(run << 4 | size for run in range(16) for size in range(1, 16))]
        )
        counts = bytes(len(values) * (length == (4 if is_dc else 8)) for length in range(1, 17))
        return Table(counts, bytes(values), is_dc)
    counts = bytes(rng.choice((0, 0, 1, 2, 5)) for _ in range(16))
    return Table(counts, bytes(rng.sample(range(256), min(sum(counts), 256))), is_dc)


def noise(rng: random.Random) -> str:
    """Call the loop itself with noise, and with runs that no walk made."""
    count = rng.randint(1, 4)
    tables = [tuple(table(rng, is_dc=is_dc) for _ in range(count)) for is_dc in (True, False)]
    bits = rng.randbytes(rng.randrange(300))
    try:
        stream = Stream(tuple(rng.randrange(count) for _ in range(rng.randint(1, 10))), tables[0], tables[1])
        coder = NativeCoder(stream)
        wanted = np.array([rng.randrange(2) for _ in range(rng.randint(1, 50))], np.uint8)
        found = np.zeros((int(wanted.sum()), len(stream.component), 64), np.int16)
        if rng.randrange(2):
            walk = coder.walk(bits, wanted, found)
        else:
            lies = [[rng.choice((0, 8, rng.randrange(-99, 3000), 1 << 62)) for _ in range(RUN_FIELDS)] for _ in wanted]
            found[:] = rng.randrange(-32768, 32767)
            walk = Walk(np.array(lies, np.int64).reshape(-1, RUN_FIELDS), rng.randrange(8 * len(bits) + 9))
        cramped(coder, bits, walk, found, room=rng.randrange(60))
        written = coder.write(bits, walk, found, source=rng.choice((None, coder)))
        coder.reread(bits, walk, rng.choice((written, bits)), np.zeros_like(found))
    except (SpliceError, MissingCodesError) as error:
        return type(error).__name__
    return "written"


def lies(rng: random.Random) -> str:
    """Have covers laid over blocks that are not there: places, sizes and spans are made up."""

    def any_number() -> int:
        return rng.choice((rng.randint(0, 4), rng.randint(0, 4), rng.randint(-3, 40), 1 << 40))

    random = np.random.default_rng(rng.randrange(1 << 30))
    plane = Plane(
        *(rng.randint(1, 2) for _ in range(2)), any_number(), any_number(), random.random(64, np.float32), 0, 0
    )
    coefficients = random.integers(-2000, 2000, (rng.randint(0, 9), rng.randint(1, 6), 64), np.int16)
    slots = random.integers(-2, 12, (rng.randint(1, 3), rng.randint(1, 3)), np.int32)
    sheet = Sheet(coefficients, slots, any_number(), plane)
    count = rng.randint(1, 4)
    ends = random.uniform(-20, 60, (2, count, 2, 2)).astype(np.float32)
    windows = np.sort(random.integers(-9, 60, (count, 2, 2)), axis=2).astype(np.intp)
    flags = [random.random(count) < 0.3 for _ in range(2)]
    covers = Covers(ends[0], ends[1], windows, random.random(count).astype(np.float32), *flags)
    shades = [random.uniform(-300, 300, count).astype(np.float32) * rng.randrange(2) for _ in range(4)]
    try:
        if rng.randrange(2):
            laying_native.quarters(sheet, covers)
        laying_native.paint(sheet, covers, Surface(*shades, np.ones(count, np.bool_), slopes=True))
    except (SpliceError, ValueError) as error:  # numpy refuses some of it before
        return type(error).__name__
    return "laid"


def cramped(coder: NativeCoder, bits: bytes, walk: Walk, found: npt.NDArray[np.int16], *, room: int) -> None:
    """Write what was read into a buffer that is likely too small."""
    output, missing = np.empty(room, np.uint8), np.zeros((4, 2, 256), np.uint8)
    arrays = [ctypes.c_void_p(array.ctypes.data) for array in (walk.runs, found, output, missing)]
    numbers = [ctypes.c_uint64(n) for n in (len(bits), walk.end, len(walk.runs), len(found), room)]
    used = coder._library.fb_write(
        coder._stream, None, bits, *numbers[:2], arrays[0], numbers[2], arrays[1], numbers[3], arrays[2], numbers[4],
        arrays[3],
    )  # fmt: skip
    assert used <= room


def main() -> None:
    """Run."""
    count, seed = int(sys.argv[2]), int(sys.argv[3])
    native.FILE = sys.argv[1]  # an absolute path wins over the package's folder
    if reason := native.available():
        raise SystemExit(reason)
    rng, sources, ends = random.Random(seed), originals(), Counter[str]()
    for number in range(count):
        if number % 3 == 2:
            ends[lies(rng)] += 1
        else:
            ends[noise(rng) if number % 3 else hide(damaged(rng.choice(sources), rng), rng)] += 1
    sys.stdout.write(f"{count} inputs: {dict(ends)}\n")


if __name__ == "__main__":
    main()
