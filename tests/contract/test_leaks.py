"""Every place where a photo carries a face or a name a second time, through the installed command; exiftool judges."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import leaky
import leaky_jpeg
import leaky_others
import numpy as np
import pytest
from leak_search import changed, extracted_by_exiftool, need_exiftool, shows, told_by_exiftool

from faceblurd.imaging.detect import open_glance
from faceblurd.model import NetworksSpec

if TYPE_CHECKING:
    from leaky import Leak

    from faceblurd.imaging.detect import Detector

COMMAND = str(Path(sys.executable).with_name("faceblurd"))
FILES: dict[str, Leak] = {}
for carrier, main in {"portrait": leaky.portrait(), "scenery": leaky.scenery()}.items():
    FILES |= {f"{carrier} {leak.name}.jpg": leak for leak in leaky_jpeg.leaks(leaky.encoded(main))}
    FILES |= {f"{carrier} {leak.name}": leak for leak in leaky_others.leaks(main)}
PROGRESSIVE = leaky.encoded(leaky.portrait(), ".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
ENCODED_ANEW = ("EXIF thumbnail", "EXIF Nikon's preview", "XMP GDepth", "Photoshop 5", "JFXX JPEG", "MPF", "comment")
FILES |= {f"progressive {one.name}.jpg": one for one in leaky_jpeg.leaks(PROGRESSIVE) if one.name in ENCODED_ANEW}
MAY_BE_HELD = re.compile("TIFF JPEG in a sub-directory")
REENCODED = re.compile("progressive|lossy|AVIF")
REPLACED = "IFD1:Thumbnail(Length|Image)"


@dataclass(frozen=True)
class Run:
    """The files as they came out, what the command said, and what exiftool finds."""

    results: dict[str, bytes]
    said: dict[str, dict[str, Any]]
    told: dict[str, dict[str, list[Any]]]
    extracted: dict[str, list[bytes]]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_exiftool()
    folder = tmp_path_factory.mktemp("sources")
    for name, leak in FILES.items():
        (folder / name).write_bytes(leak.content)
    return folder


@pytest.fixture(scope="module")
def source_tags(sources: Path) -> dict[str, dict[str, list[Any]]]:
    return told_by_exiftool(sources)


@pytest.fixture(
    scope="module",
    params=["mirror", pytest.param("in place", marks=pytest.mark.slow)],  # the same corpus again
)
def run(request: pytest.FixtureRequest, sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One process of the command for all files."""
    out = tmp_path_factory.mktemp("results") / "out"
    if request.param == "in place":
        shutil.copytree(sources, out)
    where = ["--in-place"] if request.param == "in place" else ["--to", str(out)]
    command = [COMMAND, "blur", str(out if request.param == "in place" else sources), *where, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    held = {os.path.basename(line["path"]): line["detail"] for line in lines if line["output"] is None}
    assert {name for name in held if not MAY_BE_HELD.search(name)} == set(), held
    for name in held:  # of no use to anybody, in place: what was not touched is not a result
        (out / name).unlink(missing_ok=request.param == "mirror")
    return Run(
        {path.name: path.read_bytes() for path in out.iterdir()},
        {os.path.basename(line["path"]): line for line in lines},
        told_by_exiftool(out),
        extracted_by_exiftool(out, tmp_path_factory.mktemp("extracted")),
    )


@pytest.mark.parametrize("name", FILES)
def test_the_leak_is_in_its_source_by_the_same_search(name: str) -> None:
    assert shows(FILES[name].content, FILES[name].secret)


def test_exiftool_takes_the_faces_out_of_the_sources(sources: Path, tmp_path: Path) -> None:
    """The same look that must find none in the results: it has to be able to find some."""
    found = extracted_by_exiftool(sources, tmp_path)
    seen = {name for name, pictures in found.items() if any(shows(picture, leaky.FACE) for picture in pictures)}
    assert len(seen) > len(FILES) / 3, sorted(seen)
    assert _faces_in(leaky.FACE)


def test_the_pictures_came_out_as_they_should(run: Run) -> None:
    assert {name for name in FILES if name not in run.results and not MAY_BE_HELD.search(name)} == set()
    for name in run.results:
        assert bool(run.said[name]["faces"]) is (not name.startswith("scenery") or "second page" in name), name
        assert run.said[name]["lossless"] is not bool(REENCODED.search(name) and run.said[name]["faces"]), name
        assert not _faces_in(run.results[name]), name


def test_nothing_of_what_leaked_is_left(run: Run) -> None:
    assert [name for name, content in run.results.items() if shows(content, FILES[name].secret)] == []


def test_no_picture_that_exiftool_finds_shows_a_face(run: Run) -> None:
    shown = [
        name
        for name, pictures in run.extracted.items()
        if any(shows(picture, FILES[name].secret) or _faces_in(picture) for picture in pictures)
    ]
    assert shown == []


def test_thumbnails_are_replaced_not_dropped(run: Run) -> None:
    for name in (name for name in FILES if name.endswith(("EXIF thumbnail.jpg", "PNG eXIf.png", "WebP EXIF.webp"))):
        (thumbnail,) = run.extracted[name]
        assert cv2.imdecode(np.frombuffer(thumbnail, np.uint8), cv2.IMREAD_COLOR).shape == (144, 120, 3)


def test_everything_else_is_as_it_was(run: Run, source_tags: dict[str, dict[str, list[Any]]]) -> None:
    """But for a thumbnail's bytes, and what goes with the leak itself."""
    wrong = {}
    for name in run.results:
        allowed = re.compile(f"{REPLACED}|{FILES[name].lost}")
        different = changed(source_tags[name], run.told[name])
        if bad := sorted(tag for tag in different if not allowed.search(tag)):
            wrong[name] = {tag: (source_tags[name].get(tag), run.told[name].get(tag)) for tag in bad}
    assert not wrong, "\n".join(f"{name}: {str(tags)[:300]}" for name, tags in wrong.items())


def test_profile_exif_and_xmp_are_the_same_bytes(run: Run) -> None:
    for name, content in run.results.items():
        assert name.endswith((".png", ".gif")) or leaky.ICC in content, name
        if not re.search("EXIF|eXIf|note|TIFF|GIF|AVIF", name):
            assert leaky.exif() in content, name
        if not re.search("XMP|name|motion|HDR|TIFF", name):
            assert leaky.xmp() in content, name


@cache
def _detector() -> Detector:
    return open_glance(NetworksSpec())


def _faces_in(content: bytes) -> bool:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return picture is not None and bool(_detector().detect(picture))
