"""What is said of a command that cannot be started is what the kernel does with it, and the remedy makes it run."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from faceblurd.config.probes import no_way_to_run

if TYPE_CHECKING:
    from pathlib import Path

BAD = {
    "without the permission": (b"#!/bin/sh\n", 0o644, "may not be run"),
    "from Windows": (b"#!/bin/sh\r\nexit 0\r\n", 0o755, "as on Windows"),
    "for an interpreter that is not there": (b"#!/nowhere/python\n", 0o755, "'/nowhere/python'"),
    "for an interpreter that PATH lacks": (b"#!/usr/bin/env no-such-python\n", 0o755, "no-such-python"),
    "without an interpreter": (b"#!\n", 0o755, "interpreter ''"),
    "that is text": (b"curl example\n", 0o755, "`#!` line"),
    "that is empty": (b"", 0o755, "`#!` line"),
}
GOOD = {
    "a script": b"#!/bin/sh\nexit 0\n",
    "by env": b"#!/usr/bin/env -S sh -e\nexit 0\n",
    "with a space": b"#! /bin/sh\n",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_script_that_the_kernel_does_not_start_is_named(kind: str, tmp_path: Path) -> None:
    content, mode, said = BAD[kind]
    script = tmp_path / "hook"
    script.write_bytes(content)
    script.chmod(mode)
    try:
        runs = subprocess.run([script], check=False, capture_output=True).returncode in {0, 1}
    except OSError:
        runs = False
    assert not runs
    found = no_way_to_run(str(script), os.environ)
    assert found is not None
    assert said in found[0]


@pytest.mark.parametrize("kind", ["without the permission", "from Windows"])
def test_the_remedy_is_a_command_that_helps(kind: str, tmp_path: Path) -> None:
    script = tmp_path / "hook"
    script.write_bytes(BAD[kind][0])
    script.chmod(BAD[kind][1])
    found = no_way_to_run(str(script), os.environ)
    assert found is not None
    subprocess.run(shlex.split(found[1]), check=True)
    assert no_way_to_run(str(script), os.environ) is None
    assert subprocess.run([script], check=False).returncode == 0


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
def test_a_script_that_runs_is_none(content: bytes, tmp_path: Path) -> None:
    script = tmp_path / "hook"
    script.write_bytes(content)
    script.chmod(0o755)
    assert no_way_to_run(str(script), os.environ) is None
    assert subprocess.run([script], check=False).returncode == 0


def test_a_name_is_looked_for_where_the_command_would_find_it(tmp_path: Path) -> None:
    assert no_way_to_run("sh", os.environ) is None
    assert no_way_to_run("sh", {}) is None  # as os.defpath has it
    found = no_way_to_run("sh", {"PATH": str(tmp_path)})
    assert found is not None
    assert str(tmp_path) in found[0]


def test_a_folder_and_nothing_are_no_programs(tmp_path: Path) -> None:
    assert no_way_to_run(str(tmp_path), os.environ) == ("is a folder", "Name the program in it.")
    missing = no_way_to_run(str(tmp_path / "nothing"), os.environ)
    assert missing is not None
    assert missing[0] == "is not there"
