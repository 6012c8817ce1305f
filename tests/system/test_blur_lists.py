"""`faceblurd blur` on lists and folders as people give them: nothing is lost, done twice, or passed over in silence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = str(Path(sys.executable).with_name("faceblurd"))


@pytest.fixture
def blur(command: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Run `blur --json` in the test's folder, by what starts soonest; give how it ended, and its objects by path."""

    def run(*arguments: str, **options: Any) -> Any:
        done = command("blur", *arguments, "--recipe", "classic", "--json", cwd=tmp_path, **options)
        said = [json.loads(line) for line in done.stdout.splitlines()]
        return done, {os.path.relpath(one["path"], tmp_path): one for one in said}

    return run


@pytest.fixture
def photos(tmp_path: Path, portraits: Callable[[int], list[bytes]]) -> Callable[..., None]:
    """Put different photos to these places."""

    def put(*places: str) -> None:
        for place, content in zip(places, portraits(len(places)), strict=True):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).write_bytes(content)

    return put


def results(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("between", ["\n", pytest.param("\0", marks=pytest.mark.slow)])
def test_a_vanished_path_in_a_list_is_reported_and_the_others_are_done(
    blur: Any, photos: Any, tmp_path: Path, between: str
) -> None:
    photos("a.jpg", "b.jpg")
    done, said = blur("-", "--to", "out", input=between.join(["a.jpg", "gone.jpg", "b.jpg"]) + between)
    assert done.returncode == 1
    assert {path: one["outcome"] for path, one in said.items()} == {
        "a.jpg": "published", "b.jpg": "published", "gone.jpg": "held",
    }  # fmt: skip
    assert said["gone.jpg"]["reason"] == "vanished"
    assert "gone.jpg" in done.stderr


def test_nothing_is_done_where_nothing_that_was_named_is_there(blur: Any, tmp_path: Path) -> None:
    done, _ = blur("gone.jpg", "--to", "out")
    assert done.returncode == 2
    assert "gone.jpg" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_empty_name_is_not_the_folder_where_one_is(blur: Any, photos: Any, tmp_path: Path) -> None:
    photos("a.jpg")
    before = (tmp_path / "a.jpg").read_bytes()
    done, _ = blur("", "--in-place")
    assert done.returncode == 2
    assert (tmp_path / "a.jpg").read_bytes() == before


def test_what_is_named_and_is_no_file_is_said(blur: Any, photos: Any, tmp_path: Path) -> None:
    photos("a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    done, said = blur("a.jpg", "pipe.jpg", "--to", "out")
    assert done.returncode == 1
    assert said["pipe.jpg"]["reason"] == "not_regular"
    assert said["a.jpg"]["outcome"] == "published"


@pytest.mark.parametrize("full", ["1", "2", "both"])
def test_photos_are_done_also_when_nobody_hears_of_it(photos: Any, tmp_path: Path, full: str) -> None:
    photos("a.jpg", "b.jpg")
    (tmp_path / "c.jpg").write_bytes(b"no photo")
    where = {"1": ">/dev/full", "2": "2>/dev/full", "both": ">/dev/full 2>/dev/full"}[full]
    line = f'exec "$0" blur c.jpg a.jpg b.jpg --to out --recipe classic --json {where}'
    command = ["sh", "-c", line, COMMAND]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == (3 if full == "2" else 1)  # objects are heard then, and one photo is held
    assert results(tmp_path / "out") == {"a.jpg", "b.jpg"}
    assert "Traceback" not in done.stderr
    assert ("standard output: No space left" in done.stderr) == (full == "1")


def test_a_folder_that_vanishes_under_the_walk_costs_the_others_nothing(blur: Any, photos: Any, tmp_path: Path) -> None:
    photos("a/x.jpg", "c/y.jpg")
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\nrm -rf {tmp_path}/b {tmp_path}/c/y.jpg\n")
    hook.chmod(0o755)
    (tmp_path / "b").mkdir()
    (tmp_path / "config.yaml").write_text(json.dumps({"hooks": {"command": [str(hook)]}, "workers": {"count": 1}}))
    # 200 wait at a time: 400 are done, and the first one's hook with them, before `b` is walked.
    names = [f"a/{number}.jpg" for number in range(600)]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    done, said = blur("a", "b", "c/y.jpg", "--to", "out", "--config", "config.yaml")
    assert done.returncode == 1
    assert said["a/x.jpg"]["outcome"] == "published"
    assert {said["b"]["reason"], said["c/y.jpg"]["reason"]} == {"vanished"}


@pytest.mark.parametrize(
    ("paths", "replace"),
    [(("a/x.jpg", "b/x.jpg"), ()), pytest.param(("a", "b"), ("--replace",), marks=pytest.mark.slow)],
)
def test_one_result_never_takes_the_place_of_another_one_of_the_run(
    blur: Any, photos: Any, tmp_path: Path, paths: tuple[str, ...], replace: tuple[str, ...]
) -> None:
    photos("a/x.jpg", "b/x.jpg")
    done, said = blur(*paths, "--to", "out", *replace)
    assert done.returncode == 3
    outcomes = {path: one["outcome"] for path, one in said.items()}
    assert sorted(outcomes.values()) == ["held", "published"]
    held = next(one for one in said.values() if one["outcome"] == "held")
    first = next(one for one in said.values() if one["outcome"] == "published")
    assert held["reason"] == "target_exists"
    assert first["path"] in held["detail"]
    other = blur(held["path"], "--to", "out2", *replace)[0]  # the remedy that it names
    assert "another --to" in held["detail"]
    assert other.returncode == 0
    assert (tmp_path / "out" / "x.jpg").read_bytes() != (tmp_path / "out2" / "x.jpg").read_bytes()


def test_the_remedy_for_a_file_of_others_is_an_option_of_this_command(blur: Any, photos: Any, tmp_path: Path) -> None:
    photos("a.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jpg").write_text("precious")
    done, said = blur("a.jpg", "--to", "out")
    assert done.returncode == 3
    assert "add --replace" in said["a.jpg"]["detail"]
    assert "existing:" not in said["a.jpg"]["detail"]
    assert blur("a.jpg", "--to", "out", "--replace")[0].returncode == 0


def test_what_is_named_twice_is_done_once(blur: Any, photos: Any, tmp_path: Path) -> None:
    photos("a/x.jpg", "a/b/y.jpg", "a/odd.name", "a/.stversions/z.jpg")
    (tmp_path / "link").symlink_to("a")
    named = ("a/b", "a", "link", "a/x.jpg", "a/x.jpg", "link/b/y.jpg", "a/odd.name", "a/.stversions/z.jpg")
    done, said = blur(*named, "--to", "out")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4
    assert results(tmp_path / "out") == {"x.jpg", "b/y.jpg", "odd.name", ".stversions/z.jpg"}
    assert {one["outcome"] for one in said.values()} == {"published"}


def test_in_place_a_folder_and_one_in_it_change_a_photo_once(blur: Any, photos: Any, tmp_path: Path) -> None:
    photos("a/b/x.jpg")
    done, _ = blur("a/b", "a", "a/b/x.jpg", "--in-place")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1


def test_a_folder_without_a_photo_is_said_and_is_no_success(blur: Any, photos: Any, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "v.mp4").write_text("")
    done, said = blur("videos", "--in-place")
    assert (done.returncode, said) == (1, {})
    assert "no photo in" in done.stderr
    assert "v.mp4" in done.stderr
    photos("a/x.jpg")
    done, said = blur("videos", "a", "--in-place")
    assert done.returncode == 0
    assert "no photo in" in done.stderr


def test_a_config_for_a_single_run_needs_no_roots_and_those_it_has_are_not_looked_at(
    blur: Any, photos: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    photos("a.jpg")
    for number, roots in enumerate(({}, {"state_dir": "nowhere", "roots": [{"path": "/proc/x", "mode": "mirror"}]})):
        (tmp_path / "c.yaml").write_text(json.dumps({"recipe": "classic", **roots}))
        done = command("blur", "a.jpg", "--to", f"o{number}", "--config", "c.yaml", "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["recipe"] == "classic"
    (tmp_path / "c.yaml").write_text(json.dumps({"recipe": "clasic"}))
    refused = command("blur", "a.jpg", "--to", "o3", "--config", "c.yaml", cwd=tmp_path)
    assert refused.returncode == 78
    assert "c.yaml:1: recipe: is no recipe" in refused.stderr


def test_a_limit_on_memory_that_leaves_nothing_for_a_photo_is_named_with_what_is_needed(
    photos: Any, tmp_path: Path
) -> None:
    photos("a.jpg")

    def limited(kilobytes: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", "-c", f'ulimit -v {kilobytes}; exec "$@"', "sh", COMMAND, "blur", "a.jpg", "--to", "out"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)

    refused = limited("400000")
    assert refused.returncode == 78
    assert "ulimit -v 400000" in refused.stderr
    remedy = refused.stderr.split()[-1]
    assert limited(remedy).returncode == 0
