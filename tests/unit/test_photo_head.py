"""Whether a file of any name begins like a photo."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faceblurd.imaging.signatures import HEAD_BYTES, is_photo


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF"])
def test_a_photo_is_known_by_its_first_bytes(kind: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, kind)
    assert is_photo(stream.getvalue()[:HEAD_BYTES])


@pytest.mark.parametrize(
    "head",
    [
        b"P6\n640 480\n255\n\0\1", b"P5 # by a scanner\n640 480 255\n", b"P4\n8 8\n1", b"P7\nWIDTH 8\nHEIGHT 8\n",
        b"Pf\n8 8\n-1.0\n", b"qoif\0\0\2\x80\0\0\1\xe0\3\0", b"v/1\1\2\0\0\0", b"#?RADIANCE\n",
    ],
)  # fmt: skip
def test_so_are_pictures_that_scanners_and_programs_write(head: bytes) -> None:
    assert is_photo(head)


@pytest.mark.parametrize(
    "head",
    [b"FUJIFILMCCD-RAW 0201", b"FOVb\1\2", b"IIU\0\x18", b"MM\0*\0\0\0\x08", b"\0\0\0\x18ftypcrx ", b"8BPS\0\1"],
)
def test_so_are_raw_photos_and_others_that_are_held(head: bytes) -> None:
    assert is_photo(head)


@pytest.mark.parametrize(
    "head",
    [
        b"", b"BMW and other cars", b"P1 is the first part", b"P6 2024 was a year", b"P5 10 x 20", b"qoif is a format",
        b"#!/bin/sh", b"%PDF-1.7", b"\0\0\1\0\1\0", b"\xff\x0abc",
        b"\0\0\0\x18ftypmp42", b"RIFF....AVI ", b"\0\5\x16\7\0\2\0\0", b"PK\3\4", b"SIMPLE  =",
    ],
)  # fmt: skip
def test_texts_videos_and_short_marks_are_not(head: bytes) -> None:
    assert not is_photo(head)


@given(st.binary(max_size=HEAD_BYTES))
def test_no_bytes_raise(head: bytes) -> None:
    is_photo(head)
