"""Config files as they are written: what is accepted, and what each refusal says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from faceblurd.config.loading import config_from_flags, load_config
from faceblurd.config.recipes import builtin_recipe
from faceblurd.errors import ConfigError, Exit, UsageError
from faceblurd.model import Mode

if TYPE_CHECKING:
    from faceblurd.config.schema import Config

COMPLETE = """\
state_dir: /state
roots:
  - path: /in
    mode: mirror
    to: /out
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "faceblurd.yaml"
    path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
    return path


def load(folder: Path, text: str | bytes, **environ: str) -> Config:
    return load_config(write(folder, text), environ=environ)


def refused(folder: Path, text: str | bytes, **environ: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, **environ)
    error = caught.value
    assert error.exit_code is Exit.CONFIG
    assert all(problem.message and problem.remedy for problem in (error, *error.others))
    return error


def place(error: ConfigError) -> tuple[str, int | None, str, object]:
    return Path(error.file).name, error.line, error.key, error.value


def test_a_state_directory_and_one_root_are_enough(tmp_path: Path) -> None:
    config = load(tmp_path, COMPLETE)
    assert (config.state_dir, config.roots[0].to) == (Path("/state"), Path("/out"))
    assert config.recipe_for(config.roots[0]) == builtin_recipe("balanced")


def test_a_root_that_is_not_there_is_accepted_because_a_share_may_be_away(tmp_path: Path) -> None:
    assert load(tmp_path, COMPLETE.replace("/in", f"{tmp_path}/away")).roots[0].path == tmp_path / "away"


def test_paths_are_relative_to_the_config_file_and_home_comes_from_the_environment(tmp_path: Path) -> None:
    text = COMPLETE.replace("/in", "in").replace("/out", "~/out")
    root = load(tmp_path, text, HOME="/home/me").roots[0]
    assert (root.path, root.to) == (tmp_path / "in", Path("/home/me/out"))


def test_an_anchor_shares_settings_between_roots(tmp_path: Path) -> None:
    text = COMPLETE + "    blur: &b {margin: 0.5}\n  - {path: /in2, mode: in_place, blur: *b}\n"
    assert [root.blur.margin for root in load(tmp_path, text).roots] == [0.5, 0.5]


def test_a_byte_order_mark_and_windows_line_ends_are_no_obstacle(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + COMPLETE.replace("\n", "\r\n").encode()) == load(tmp_path, COMPLETE)


TYPED_WRONG = {
    "unknown key": ("worker: {}", 6, "worker", None),
    "unknown key in a section": ("workers:\n  cuont: 3", 7, "workers.cuont", 3),
    "key given twice": ("recipe: classic\nrecipe: balanced", 7, "recipe", "balanced"),
    "section given twice": ("blur: {margin: 0}\nblur: {margin: 1}", 7, "blur", None),
    "key given twice in a section": ("workers:\n  count: 1\n  count: 2", 8, "workers.count", "2"),
    "pool size of 0": ("blur:\n  pool_size_px: 0", 7, "blur.pool_size_px", 0),
    "pool size that hides nothing": ("blur:\n  pool_size_px: 1", 7, "blur.pool_size_px", 1),
    "pool size beyond reason": ("blur:\n  pool_size_px: 5000", 7, "blur.pool_size_px", 5000),
    "pool size in quotes": ("blur:\n  pool_size_px: '20'", 7, "blur.pool_size_px", "20"),
    "stride of 0": ("blur: {stride_px: 0}", 6, "blur.stride_px", 0),
    "margin below 0": ("blur: {margin: -0.1}", 6, "blur.margin", -0.1),
    "window beyond the face": ("blur: {pool_face_fraction: 1.5}", 6, "blur.pool_face_fraction", 1.5),
    "one level": ("blur: {levels: 1}", 6, "blur.levels", 1),
    "leave in words": ("blur: {allow_weak: yes please}", 6, "blur.allow_weak", "yes please"),
    "unknown method": ("blur: {method: glitter}", 6, "blur.method", "glitter"),
    "unknown engine": ("blur: {engine: torch}", 6, "blur.engine", "torch"),
    "unknown shape": ("blur: {shape: star}", 6, "blur.shape", "star"),
    "unknown recipe": ("recipe: classik", 6, "recipe", "classik"),
    "no workers": ("workers:\n  count: 0", 7, "workers.count", 0),
    "workers in words": ("workers:\n  count: many", 7, "workers.count", "many"),
    "workers as a truth": ("workers:\n  count: true", 7, "workers.count", True),
    "no deadline": ("workers: {deadline_seconds: 0}", 6, "workers.deadline_seconds", 0),
    "memory too small for OpenCV": ("workers: {memory_limit_mb: 100}", 6, "workers.memory_limit_mb", 100),
    "section that is a number": ("workers: 3", 6, "workers", 3),
    "section that is a list": ("logging: [json]", 6, "logging", ("json",)),
    "unknown level": ("logging:\n  level: chatty", 7, "logging.level", "chatty"),
    "command as one text": ("hooks:\n  command: echo hello", 7, "hooks.command", "echo hello"),
    "blank word in a command": ("hooks:\n  command:\n    - echo\n    - ' '", 9, "hooks.command[1]", " "),
    "working size too small": ("detection: {working_size_px: 3}", 6, "detection.working_size_px", 3),
    "no detector": ("detection: {detectors: []}", 6, "detection.detectors", ()),
    "tag that means nothing": ("recipe: !secret x", 6, "recipe", "!secret"),
    "tag that does not fit": ("workers:\n  count: !!int few", 7, "workers.count", "few"),
    "alias to itself": ("hooks: &h\n  plugins: [*h]", 6, "hooks.plugins[0]", "*"),
    "merge key": ("<<: {recipe: classic}", 6, "<<", None),
    "key that is a list": ("? [a]\n: 3", 6, "? (a key that is no text)", 3),
}


@pytest.mark.parametrize(("text", "line", "key", "value"), TYPED_WRONG.values(), ids=TYPED_WRONG.keys())
def test_a_setting_is_refused_with_its_line_key_and_value(
    tmp_path: Path, text: str, line: int, key: str, value: object
) -> None:
    error = refused(tmp_path, f"{COMPLETE}{text}\n")
    assert place(error) == ("faceblurd.yaml", line, key, value)


ROOT_WRONG = {
    "unknown key": ("modus: x", 6, "modus", "x"),
    "unknown key below": ("blur: {pool_size: 3}", 6, "blur.pool_size", 3),
    "quiet below 0": ("quiet_seconds: -1", 6, "quiet_seconds", -1),
    "settles before it is quiet": ("quiet_seconds: 5\n    settle_max_seconds: 5", 7, "settle_max_seconds", 5.0),
    "never scanned": ("rescan_seconds: 0", 6, "rescan_seconds", 0),
    "rescan without end": ("rescan_seconds: .inf", 6, "rescan_seconds", float("inf")),
    "unknown choice on failure": ("on_failure: shrug", 6, "on_failure", "shrug"),
    "unknown choice for links": ("hard_links: follow", 6, "hard_links", "follow"),
    "unknown choice of time": ("mtime: yesterday", 6, "mtime", "yesterday"),
    "unknown choice for existing": ("existing: merge", 6, "existing", "merge"),
    "unknown recipe": ("recipe: best", 6, "recipe", "best"),
    "nothing included": ("include: []", 6, "include", ()),
    "include as one text": ("include: '*.jpg'", 6, "include", "*.jpg"),
    "absolute glob": ("exclude:\n      - drafts\n      - /srv/x", 8, "exclude[1]", "/srv/x"),
    "empty glob": ("exclude: ['']", 6, "exclude[0]", ""),
    "glob that goes up": ("include: ['../*.jpg']", 6, "include[0]", "../*.jpg"),
}


@pytest.mark.parametrize(("text", "line", "key", "value"), ROOT_WRONG.values(), ids=ROOT_WRONG.keys())
def test_a_setting_of_a_root_is_refused_with_its_line_key_and_value(
    tmp_path: Path, text: str, line: int, key: str, value: object
) -> None:
    error = refused(tmp_path, f"{COMPLETE}    {text}\n")
    assert place(error) == ("faceblurd.yaml", line, f"roots[0].{key}", value)


DETECTOR_WRONG = {
    "no kind": ("{min_size_px: 3}", "", None),
    "unknown kind": ("{kind: dlib}", "", None),
    "unknown key": ("{kind: haar, neighbors: 3}", ".neighbors", 3),
    "another detector's key": ("{kind: networks, min_neighbors: 3}", ".min_neighbors", 3),
    "scale that never ends": ("{kind: haar, scale_factor: 1.0}", ".scale_factor", 1.0),
    "smallest above largest": ("{kind: haar, min_size_px: 9, max_size_px: 5}", ".max_size_px", 5),
    "named beyond 1": ("{kind: networks, named: 1.5}", ".named", 1.5),
    "names that nobody hears": ("{kind: networks, named: 0.01}", ".named", 0.01),
    "a look at nothing": ("{kind: networks, first_look_megapixels: 0}", ".first_look_megapixels", 0),
    "unknown cascade": ("{kind: haar, cascade: haarcascade_face.xml}", ".cascade", "haarcascade_face.xml"),
    "cascade that is not there": ("{kind: haar, cascade: /no/c.xml}", ".cascade", "/no/c.xml"),
    "blank cascade": ("{kind: haar, cascade: ''}", ".cascade", ""),
}


@pytest.mark.parametrize(("text", "key", "value"), DETECTOR_WRONG.values(), ids=DETECTOR_WRONG.keys())
@pytest.mark.parametrize("section", ["", "roots[0]."])
def test_a_detector_is_refused_with_its_line_key_and_value(
    tmp_path: Path, text: str, key: str, value: object, section: str
) -> None:
    indent = "    " if section else ""
    error = refused(tmp_path, f"{COMPLETE}{indent}detection:\n{indent}  detectors:\n{indent}    - {text}\n")
    assert place(error) == ("faceblurd.yaml", 8, f"{section}detection.detectors[0]{key}", value)


@pytest.mark.parametrize(
    ("text", "line", "key", "value"),
    [
        ("state_dir: /s\n", 1, "roots", None),
        ("state_dir: /s\nroots:\n", 2, "roots", None),
        ("state_dir: /s\nroots: []\n", 2, "roots", ()),
        ("roots:\n- {path: /in, mode: in_place}\n", 1, "state_dir", None),
        ("state_dir: /s\nroots:\n- mode: in_place\n", 3, "roots[0].path", None),
        ("state_dir: /s\nroots:\n- path: /in\n", 3, "roots[0].mode", None),
        ("state_dir: /s\nroots:\n- path: /in\n  mode: copy\n", 4, "roots[0].mode", "copy"),
        ("state_dir: /s\nroots:\n- path: /in\n  mode: mirror\n", 3, "roots[0].to", None),
        ("state_dir: /s\nroots:\n- path: /in\n  mode: in_place\n  to: /out\n", 5, "roots[0].to", "/out"),
        ("state_dir: 3\nroots:\n- {path: /in, mode: in_place}\n", 1, "state_dir", 3),
        ("state_dir: ~you/s\nroots:\n- {path: /in, mode: in_place}\n", 1, "state_dir", "~you/s"),
        ("state_dir: ~/s\nroots:\n- {path: /in, mode: in_place}\n", 1, "state_dir", "~/s"),
        ("- a\n- b\n", 1, "", ("a", "b")),
        ("just words\n", 1, "", "just words"),
        ("", 1, "", None),
        ("# only a comment\n", 1, "", None),
        ("a: 1\nb: [1\n", 3, "", ""),
        ("a: 1\n\tb: 2\n", 2, "", "\tb: 2"),
        ("a:\n\t- 2\n", 2, "", "\t- 2"),
        ("a: 1\n---\na: 2\n", 2, "", "---"),
        ("a: *nowhere\n", 1, "", "a: *nowhere"),
        ("a: 1\nb: \x01\n", 2, "", "\x01"),
        (b"a: 1\nb: caf\xe9\n", 2, "", "0xe9"),
        (b"\xff\xd8\xff\xe0 a photo", 1, "", "0xff"),
        ("a: " + "[" * 5000, 1, "", None),
    ],
)
def test_a_file_that_is_no_config_is_refused_on_its_line(
    tmp_path: Path, text: str | bytes, line: int, key: str, value: object
) -> None:
    assert place(refused(tmp_path, text)) == ("faceblurd.yaml", line, key, value)


def test_the_remedy_for_a_tab_is_spaces(tmp_path: Path) -> None:
    assert "spaces" in refused(tmp_path, "a:\n\tb: 2\n").remedy


def test_the_remedy_for_an_unknown_key_is_the_nearest_one(tmp_path: Path) -> None:
    text = COMPLETE + "detection:\n  detectors:\n    - {kind: haar, min_neighbours: 3}\n"
    assert refused(tmp_path, text).remedy.startswith("Did you mean min_neighbors?")


@pytest.mark.parametrize("given", ["{kind: yunet}", "{min_size_px: 20}"])
def test_every_kind_that_the_remedy_for_an_unknown_one_names_is_taken(tmp_path: Path, given: str) -> None:
    text = COMPLETE + "detection:\n  detectors:\n    - "
    remedy = refused(tmp_path, f"{text}{given}\n").remedy
    kinds = re.findall(r"`(kind: \w+)`", remedy)
    assert len(kinds) == 2
    for kind in kinds:
        load_config(write(tmp_path, f"{text}{{{kind}}}\n"), environ={})


@pytest.mark.parametrize("name", ["missing.yaml", ".", "faceblurd.yaml/below", "unreadable"])
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, COMPLETE)
    path = Path("/proc/self/mem") if name == "unreadable" else tmp_path / name  # root may read all but this
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ={})
    assert (caught.value.file, caught.value.line) == (str(path), None)
    assert caught.value.remedy


def test_all_problems_are_told_at_once_and_nothing_else(tmp_path: Path) -> None:
    text = COMPLETE + "    quiet_secnds: 3\nwrokers: {}\nblur:\n  pool_size_px: 0\n  margin: 9\n"
    error = refused(tmp_path, text)
    assert sorted(problem.line or 0 for problem in (error, *error.others)) == [6, 7, 9, 10]


FOLDERS_WRONG = {
    "the same root twice": ("/a/in", "/a/in", "roots[1].path", 5),
    "a root inside a root": ("/a/in", "/a/in/deep/er", "roots[1].path", 5),
    "a root around a root": ("/a/in/deep", "/a/in", "roots[1].path", 5),
    "a root inside an output": ("/a/in", "/a/out/deep", "roots[1].path", 5),
    "a root that is an output": ("/a/in", "/a/out", "roots[0].to", 4),
    "an output inside another root": ("/a/in", "/a", "roots[0].to", 4),
}


@pytest.mark.parametrize(("first", "second", "key", "line"), FOLDERS_WRONG.values(), ids=FOLDERS_WRONG.keys())
def test_folders_that_lie_inside_one_another_are_refused(
    tmp_path: Path, first: str, second: str, key: str, line: int
) -> None:
    text = (
        f"state_dir: /s\nroots:\n- path: {first}\n  mode: mirror\n  to: /a/out\n- {{path: {second}, mode: in_place}}\n"
    )
    error = refused(tmp_path, text)
    found = {(problem.key, problem.line, problem.value) for problem in (error, *error.others)}
    value = "/a/out" if key.endswith("to") else second
    assert (key, line + 1, value) in found


def test_folders_with_the_same_beginning_of_their_names_are_apart(tmp_path: Path) -> None:
    roots = "- {path: /a/in, mode: mirror, to: /a/in.out}\n- {path: /a/in2, mode: in_place}\n"
    text = f"state_dir: /a/in.state\nroots:\n{roots}"
    assert len(load(tmp_path, text).roots) == 2


@pytest.mark.parametrize("to", ["in/blurred", "in"])
def test_an_output_inside_its_own_root_is_a_loop(tmp_path: Path, to: str) -> None:
    error = refused(tmp_path, f"state_dir: state\nroots:\n- path: in\n  mode: mirror\n  to: {to}\n")
    assert place(error) == ("faceblurd.yaml", 5, "roots[0].to", str(tmp_path / to))


def test_an_output_around_its_own_root_is_a_loop(tmp_path: Path) -> None:
    error = refused(tmp_path, "state_dir: state\nroots:\n- path: all/in\n  mode: mirror\n  to: all\n")
    assert place(error) == ("faceblurd.yaml", 3, "roots[0].path", str(tmp_path / "all/in"))


def test_two_roots_may_not_publish_into_one_folder(tmp_path: Path) -> None:
    text = "state_dir: s\nroots:\n- {path: a, mode: mirror, to: out}\n- {path: b, mode: mirror, to: out/b}\n"
    assert place(refused(tmp_path, text)) == ("faceblurd.yaml", 4, "roots[1].to", str(tmp_path / "out/b"))


@pytest.mark.parametrize("state_dir", ["in/state", "in", "out/.state"])
def test_held_photos_are_kept_neither_in_a_root_nor_in_an_output(tmp_path: Path, state_dir: str) -> None:
    text = f"roots:\n- {{path: in, mode: mirror, to: out}}\nstate_dir: {state_dir}\n"
    assert place(refused(tmp_path, text)) == ("faceblurd.yaml", 3, "state_dir", str(tmp_path / state_dir))


def test_a_symlink_does_not_hide_that_an_output_is_inside_a_root(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere").symlink_to(tmp_path / "in" / "deep")
    error = refused(tmp_path, "state_dir: s\nroots:\n- {path: in, mode: mirror, to: elsewhere/out}\n")
    assert place(error) == ("faceblurd.yaml", 3, "roots[0].to", str(tmp_path / "elsewhere/out"))


def test_a_symlink_does_not_hide_that_two_roots_are_one(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "again").symlink_to("in")
    text = "state_dir: s\nroots:\n- {path: in, mode: in_place}\n- {path: again, mode: in_place}\n"
    assert place(refused(tmp_path, text)) == ("faceblurd.yaml", 4, "roots[1].path", str(tmp_path / "again"))


def test_a_cascade_that_opencv_does_not_load_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.xml").write_text("<opencv_storage><cascade/></opencv_storage>")
    text = COMPLETE + "detection:\n  detectors:\n    - kind: haar\n      cascade: ./broken.xml\n"
    assert place(refused(tmp_path, text)) == (
        "faceblurd.yaml",
        9,
        "detection.detectors[0].cascade",
        str(tmp_path / "broken.xml"),
    )


def test_the_content_of_a_users_cascade_is_part_of_what_decides_the_pixels(tmp_path: Path) -> None:
    spec = find_spec("cv2")
    assert spec is not None
    assert spec.submodule_search_locations
    shipped = Path(spec.submodule_search_locations[0], "data", "haarcascade_frontalface_alt2.xml").read_bytes()
    mine = tmp_path / "mine.xml"
    mine.write_bytes(shipped)
    config = load(tmp_path, COMPLETE + "detection: {detectors: [{kind: haar, cascade: ./mine.xml}]}\n")
    before = config.recipe_for(config.roots[0])
    mine.write_bytes(shipped + b"\n")
    after = config.recipe_for(config.roots[0])
    assert len(before.materials) == 1
    assert before.digest != after.digest


@pytest.mark.parametrize("indent", ["", "    "])
def test_an_engine_that_is_not_installed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: str
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    error = refused(tmp_path, f"{COMPLETE}{indent}blur:\n{indent}  engine: tensorflow\n")
    assert (error.line, error.value) == (7, "tensorflow")
    assert "faceblurd[tensorflow]" in error.remedy


def test_a_variable_wins_over_the_file_and_reads_as_the_file_would(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        COMPLETE + "workers: {count: 1, max_attempts: 7}\n",
        FACEBLURD_WORKERS__COUNT="2",
        FACEBLURD_BLUR__POOL_FACE_FRACTION="0.75",
        FACEBLURD_STATE_DIR="state",
        FACEBLURD_LOGGING__LEVEL="debug",
    )
    assert (config.workers.count, config.workers.max_attempts) == (2, 7)
    assert config.recipe_for(config.roots[0]).blur.pool_face_fraction == 0.75
    assert (config.state_dir, config.logging.level) == (tmp_path / "state", "debug")


def test_an_empty_variable_and_those_of_others_change_nothing(tmp_path: Path) -> None:
    others = {
        "FACEBLURD_CONFIG": "x",
        "FACEBLURD_OUTCOME": "held",
        "FACEBLURD_RECIPE": "nonsense",
        "WORKERS__COUNT": "9",
    }
    assert load(tmp_path, COMPLETE, FACEBLURD_WORKERS__COUNT="", **others) == load(tmp_path, COMPLETE)


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("FACEBLURD_WORKERS__COUNT", "0", "workers.count", 0),
        ("FACEBLURD_BLUR__POOL_SIZE_PX", "big", "blur.pool_size_px", "big"),
        ("FACEBLURD_STATE_DIR", "/in/state", "state_dir", "/in/state"),
        ("FACEBLURD_WORKERS__CUONT", "2", "FACEBLURD_WORKERS__CUONT", "2"),
        ("FACEBLURD_ROOTS__0__PATH", "/x", "FACEBLURD_ROOTS__0__PATH", "/x"),
        ("FACEBLURD_HOOKS__COMMAND", "echo", "FACEBLURD_HOOKS__COMMAND", "echo"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(tmp_path: Path, name: str, text: str, key: str, value: object) -> None:
    assert place(refused(tmp_path, COMPLETE, **{name: text})) == (name, None, key, value)


def test_a_variable_does_not_hide_that_its_section_is_no_section(tmp_path: Path) -> None:
    error = refused(tmp_path, COMPLETE + "workers: 3\n", FACEBLURD_WORKERS__COUNT="2")
    assert place(error) == ("faceblurd.yaml", 6, "workers", 3)


def test_flags_make_a_config_relative_to_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = config_from_flags(
        watch=Path("in"), to=Path("out"), in_place=False, state_dir=Path("state"), recipe="classic"
    )
    root = config.roots[0]
    assert (root.path, root.to, root.mode) == (tmp_path / "in", tmp_path / "out", Mode.MIRROR)
    assert config.recipe_for(root) == builtin_recipe("classic")


def test_flags_win_over_variables_which_win_over_defaults(tmp_path: Path) -> None:
    environ = {"FACEBLURD_STATE_DIR": "/elsewhere", "FACEBLURD_WORKERS__COUNT": "2"}
    state = tmp_path / "s"
    config = config_from_flags(
        watch=tmp_path / "in", to=None, in_place=True, state_dir=state, recipe=None, environ=environ
    )
    assert (config.state_dir, config.workers.count, config.roots[0].mode) == (state, 2, Mode.IN_PLACE)


@pytest.mark.parametrize(
    ("to", "state", "key", "value"),
    [("in/out", "s", "--to", "in/out"), ("out", "in/s", "--state-dir", "in/s")],
)
def test_a_flag_that_makes_a_loop_is_refused_by_its_name(
    tmp_path: Path, to: str, state: str, key: str, value: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_flags(
            watch=tmp_path / "in", to=tmp_path / to, in_place=False, state_dir=tmp_path / state, recipe=None
        )
    assert place(caught.value) == ("command line", None, key, str(tmp_path / value))
    assert caught.value.remedy


@pytest.mark.parametrize(("to", "in_place", "recipe"), [(None, False, None), ("out", True, None), ("out", False, "x")])
def test_flags_that_make_no_sense_are_a_usage_error(
    tmp_path: Path, to: str | None, in_place: bool, recipe: str | None
) -> None:
    target = None if to is None else tmp_path / to
    with pytest.raises(UsageError):
        config_from_flags(watch=tmp_path / "in", to=target, in_place=in_place, state_dir=tmp_path / "s", recipe=recipe)


BIND = """\
mount --bind "$1/in/deep" "$1/bound" || exit 77
exec "$2" -c 'import sys; from pathlib import Path; from faceblurd.config.loading import load_config
load_config(Path(sys.argv[1], "faceblurd.yaml"), environ={})' "$1"
"""


def test_a_bind_mount_does_not_hide_that_an_output_is_inside_a_root(tmp_path: Path) -> None:
    for name in ("in/deep", "bound"):
        (tmp_path / name).mkdir(parents=True)
    write(
        tmp_path, "state_dir: s\nroots:\n- {path: bound, mode: in_place}\n- {path: x, mode: mirror, to: in/deep/out}\n"
    )
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare here")
    command = [unshare, "-rm", "sh", "-c", BIND, "sh", str(tmp_path), sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no mount namespaces here")
    assert "ConfigError" in done.stderr
    assert "roots[1].to: lies inside the root" in done.stderr
