"""`faceblurd formats` says what this installation does, because it does it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from faceblurd.cli.formats import formats
from faceblurd.imaging import abilities
from faceblurd.imaging.files import known_formats
from faceblurd.imaging.signatures import names

if TYPE_CHECKING:
    import pytest


def told() -> dict[str, dict[str, Any]]:
    done = CliRunner().invoke(formats, ["--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return {one["format"]: one for one in json.loads(done.stdout)}


def ways(one: dict[str, Any]) -> dict[str, str]:
    return {trial["kind"]: trial["way"] for trial in one["trials"]}


def test_each_format_is_tried_and_each_name_told() -> None:
    found = told()
    assert set(found) == names() | known_formats()
    tried = {name: one for name, one in found.items() if one["trials"]}
    assert set(tried) == known_formats() == set(abilities.SAMPLES)
    assert not [one for one in found.values() if one["missing"]]
    assert ways(tried["jpeg"])["colour"] == "blocks only"
    assert ways(tried["jpeg"])["progressive"] == "re-encoded"
    assert ways(tried["png"])["16 bit"] == "lossless"
    assert ways(tried["webp"])["lossy"] == "re-encoded"
    assert ways(tried["avif"])["colour"] == ways(tried["heic"])["colour"] == "re-encoded"
    bits = {trial["kind"]: trial["bits"] for trial in tried["png"]["trials"]}
    assert (bits["16 bit"], bits["colour"]) == (16, 8)
    assert {trial["kind"]: trial["bits"] for trial in tried["heic"]["trials"]}["10 bit"] == 10


def test_what_is_held_says_why() -> None:
    trial = next(one for one in told()["avif"]["trials"] if one["kind"] == "10 bit")
    assert trial["way"] == "held"
    assert "10 bits" in trial["detail"]


def test_a_missing_library_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    one = told()["heic"]
    assert (one["missing"], one["remedy"]) == ("pillow-heif", "pip install faceblurd[heif]")
    assert not one["trials"]
    done = CliRunner().invoke(formats)
    row = next(line for line in done.stdout.splitlines() if line.startswith("heic"))
    assert row.split(maxsplit=1)[1] == "held                         needs pillow-heif: pip install faceblurd[heif]"


def test_a_kind_that_fails_is_not_told_as_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abilities, "SAMPLES", {})
    monkeypatch.setitem(abilities.SAMPLES, "png", {"broken": lambda: b"\x89PNG\r\n\x1a\nnothing"})

    assert ways(told()["png"]) == {"broken": "held"}
