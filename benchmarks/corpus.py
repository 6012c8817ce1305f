"""What becomes of a collection of real files: published, held or failed, and whether anything else changed in them.

Runs `faceblurd blur` on a folder in one process, with a region planted in the middle of every photo, and compares each
result with its source: pixels outside of the region, metadata as exiftool (which must be there) tells it, and embedded
pictures, none of which may be the same. Ends with status 1 when a file failed, leaked, or changed where it may not.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import av
import bench
import cv2
import numpy as np
from PIL import Image, ImageSequence

from faceblurd.imaging.signatures import sniff
from faceblurd.model import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt

    Pixels = npt.NDArray[Any]
    Tags = dict[str, Any]

CONFIG = """\
state_dir: {top}/state
roots:
  - {{path: {top}/in, mode: mirror, to: {top}/out, regions: {{always: [{{x: 0.4, y: 0.4, width: 0.2, height: 0.2}}]}}}}
"""
FAULTS = {"internal_error", "worker_crashed", "deadline", "out_of_memory", "not_verified", "io_error"}
NO_FACTS = ("--System:all", "--Composite:all", "--ExifToolVersion", "--CurrentIPTCDigest", "--JPEGDigest")
DETAIL = 4.0  # levels RMS: less is no picture of anything
MAY_GO = re.compile(
    # pictures, and what speaks of them
    "Thumb|Preview|JpgFromRaw|OtherImage|Trailer|^IFD[1-9]|^SubIFD|^MP|^JFXX|^FlashPix|^JUMBF|^JPS|HDRGainMap|hdrgm"
    "|MotionPhoto|MicroVideo|Embedded|Container|Depth|GImage|HasExtendedXMP|^Samsung:|^APP|^Meta|^Ducky"
    # people
    "|Region|PersonInImage|People|hierarchicalSubject"
    # how HEVC and AV1 are coded, and where
    "|^QuickTime:(ConstraintInd|Gen|Temporal|NumTemporal|MatrixCoef|CompatibleBrands|AuxiliaryImage|MediaData|.*[Ff]ree)"
    "|^XMP-x:"
    # what exiftool says of the file, and where a TIFF has its rows
    "|^ExifTool:Warning|^File:(Comment|FileType|MIMEType|ExifByteOrder)|Strip(Offsets|ByteCounts)|RowsPerStrip|Tile"
)
"""Tags that may go or change, by exiftool's name."""


@dataclass(frozen=True)
class File:
    """What was found about one file."""

    name: str
    format: str
    maker: str
    fate: str  # lossless, encoded anew, held, unsupported, failed
    why: str = ""
    outside: int = 0
    leaked: int = 0
    lost: list[str] = field(default_factory=list)
    growth: float | None = None  # percent
    milliseconds: int = 0


def measure(arguments: argparse.Namespace) -> list[File]:
    """Blur the folder, and compare."""
    source = os.path.realpath(arguments.folder)
    names = {printable(path): path for path in _files_below(source)}  # as the command writes them
    with tempfile.TemporaryDirectory(prefix="faceblurd-corpus-") as top:
        config, out = f"{top}/config.yaml", f"{top}/out"
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(top=top))
        os.mkdir(f"{top}/in")
        command = [*bench.FACEBLURD, "blur", source, "--to", out, "--json", "--config", config]
        bench.say("blurring")
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        said = [json.loads(line) for line in done.stdout.splitlines()]
        if done.returncode not in {0, 3} or not said:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}, after {len(said)} files")
        bench.say(f"comparing {len(said)} files")
        before, after = (told_by_exiftool(folder) for folder in (source, out))
        embedded = [embedded_pictures(folder, f"{top}/embedded{i}") for i, folder in enumerate((source, out))]
        return [
            judge(one, os.path.relpath(names[one["path"]], source), before, after, embedded, folders=(source, out))
            for one in sorted(said, key=lambda one: str(one["path"]))
        ]


def judge(
    said: Tags,
    name: str,
    before: dict[str, Tags],
    after: dict[str, Tags],
    embedded: Sequence[dict[str, set[bytes]]],
    *,
    folders: Sequence[str],
) -> File:
    """Compare one file with what became of it."""
    with open(os.path.join(folders[0], name), "rb") as file:
        source = file.read()
    tags = before.get(name, {})
    kind, maker = sniff(source[:64]) or "no image", str(tags.get("IFD0:Make", "unknown")).strip().title()
    if said["output"] is None:
        fate = "failed" if said["reason"] in FAULTS else "unsupported" if said["reason"] == "unsupported" else "held"
        return File(name, kind, maker, fate, f"{said['reason']}: {said['detail']}", milliseconds=said["milliseconds"])
    with open(os.path.join(folders[1], name), "rb") as file:
        result = file.read()
    return File(
        name, kind, maker, "lossless" if said["lossless"] else "encoded anew",
        outside=changed_outside(source, result, said["regions"]) if said["lossless"] else 0,
        leaked=leaks(embedded[0].get(name, set()) & embedded[1].get(name, set())) if said["regions"] else 0,
        lost=lost_tags(tags, after.get(name, {})),
        growth=100 * (len(result) / len(source) - 1), milliseconds=said["milliseconds"],
    )  # fmt: skip


# --- pixels


def changed_outside(source: bytes, result: bytes, regions: Iterable[dict[str, int]]) -> int:
    """Count the pixels that differ outside of the regions, in all frames; -1 when only one of the files decodes."""
    before, after = frames(source), frames(result)
    if [one.shape for one in before] != [one.shape for one in after]:
        return -1
    count = 0
    for one, other in zip(before, after, strict=True):
        differs = one != other
        for region in regions:
            y, x = region["y"], region["x"]
            differs[y : y + region["height"], x : x + region["width"]] = False
        count += int(np.count_nonzero(differs.any(axis=2) if differs.ndim == 3 else differs))
    return count


def frames(data: bytes) -> list[Pixels]:
    """Decode as stored: with OpenCV, which keeps 16 bits, or else with Pillow, which knows more formats.

    Animations and palettes with FFmpeg, since Pillow shows frames as no browser does, and OpenCV mixes up planes.
    """
    kind = sniff(data[:64])
    if kind == "gif" or (kind == "png" and b"acTL" in data[:4096]):
        return by_ffmpeg(data)
    if kind in {"jpeg", "png", "tiff", "bmp"} and not has_planes(data):
        flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        done, found = cv2.imdecodemulti(np.frombuffer(data, np.uint8), flags)
        if done and found:
            return list(found)
    try:
        with Image.open(io.BytesIO(data)) as image:
            return [np.array(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]
    except (OSError, SyntaxError, ValueError):
        return []


def by_ffmpeg(data: bytes) -> list[Pixels]:
    """Decode all frames of an animation; what is transparent has no colour."""
    try:
        with av.open(io.BytesIO(data), metadata_errors="replace") as container:
            found = [frame.to_ndarray(format="rgba") for frame in container.decode(video=0)]
    except (av.FFmpegError, ValueError):
        return []
    for frame in found:
        frame[frame[:, :, 3] == 0] = 0
    return found


def has_planes(data: bytes) -> bool:
    """Say whether a TIFF keeps its channels apart."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.format == "TIFF" and image.tag_v2.get(284) == 2  # type: ignore[attr-defined]
    except (OSError, SyntaxError, ValueError):
        return False


# --- exiftool


def told_by_exiftool(folder: str) -> dict[str, Tags]:
    """Return all tags of the files below a folder, by relative path."""
    command = ["exiftool", "-j", "-G1", "-a", "-u", "-r", *NO_FACTS, folder]
    done = subprocess.run(command, capture_output=True, check=False)
    listed = json.loads(done.stdout.decode("utf-8", "replace") or "[]")  # makers' texts may be in any encoding
    return {os.path.relpath(tags.pop("SourceFile"), folder): tags for tags in listed}


def embedded_pictures(folder: str, into: str) -> dict[str, set[bytes]]:
    """Return the pictures that exiftool finds inside the files below a folder, by relative path."""
    names = ["-Preview:all", "-EmbeddedVideo", "-EmbeddedVideoFile", "-DepthImage", "-ImageData"]
    command = ["exiftool", "-q", "-q", "-a", "-b", "-ee", "-r", "-W", f"{into}%d%f.%e/%t%-c", *names, folder]
    subprocess.run(command, capture_output=True, check=False)
    found: dict[str, set[bytes]] = {}
    for path in _files_below(into):
        with open(path, "rb") as file:
            found.setdefault(os.path.relpath(os.path.dirname(path), f"{into}{folder}"), set()).add(file.read())
    return found


def leaks(same: set[bytes]) -> int:
    """Count the pictures that show something: a thumbnail of one colour, or none at all, hides nobody."""
    count = 0
    for content in same:
        shown = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE) if content else None
        count += shown is not None and float(shown.std()) > DETAIL
    return count


def lost_tags(before: Tags, after: Tags) -> list[str]:
    """Name the tags that went or changed, though they speak of nothing that had to go."""
    return sorted(tag for tag, value in before.items() if after.get(tag) != value and not MAY_GO.search(tag))


def _files_below(folder: str) -> Iterator[str]:
    for path, _, names in os.walk(folder):
        yield from (os.path.join(path, name) for name in names)


# --- tables


HEADER = (
    "files", "lossless", "encoded anew", "held", "unsupported", "failed", "pixels outside", "leaked", "tags lost",
    "size, median %", "size, p95 %", "ms, median",
)  # fmt: skip


def row(name: str, files: Sequence[File]) -> list[object]:
    """Sum up some files."""
    fates = Counter(file.fate for file in files)
    growth = [file.growth for file in files if file.growth is not None]
    sums = (sum(abs(file.outside) for file in files), sum(file.leaked for file in files))
    return [
        name, len(files), *(fates[fate] for fate in HEADER[1:6]), *sums, sum(len(file.lost) for file in files),
        f"{bench.median(growth):+.1f}", f"{bench.percentile(growth, 95):+.1f}",
        round(bench.median(file.milliseconds for file in files)),
    ]  # fmt: skip


def show(title: str, files: Sequence[File], key: Callable[[File], str]) -> None:
    """Print a table with a row for each value of a key, and one for all."""
    rows = [row(value, [file for file in files if key(file) == value]) for value in sorted({key(f) for f in files})]
    bench.show(title, (title.rpartition(" ")[2], *HEADER), [*rows, row("**all**", files)])


def main() -> None:
    """Run."""
    parser = bench.parser(__doc__ or "")
    parser.add_argument("folder", help="photos, also in folders below; nothing is written there")
    arguments = parser.parse_args()
    files = measure(arguments)
    show("By format", files, lambda file: file.format)
    show("By maker", files, lambda file: file.maker)
    left = [file for file in files if file.why]
    bench.show("Not published", ("file", "fate", "why"), [(file.name, file.fate, file.why) for file in left])
    lost = [file for file in files if file.lost or file.leaked or file.outside]
    bench.show(
        "Changed where it should not",
        ("file", "pixels outside", "leaked", "tags"),
        [(file.name, file.outside, file.leaked, ", ".join(file.lost)) for file in lost],
    )
    bench.finish(arguments, {"files": [vars(file) for file in files]})
    sys.exit(any(file.fate == "failed" or file.outside or file.leaked for file in files))


if __name__ == "__main__":
    main()
