"""Plugins that behave, and plugins that do not: each is a real module behind a real entry point."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from faceblurd.errors import PluginError, SetupError
from faceblurd.model import BlurSpec, DetectionSpec, Outcome, Recipe, Region, Report
from faceblurd.plugins.host import PluginHost

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Install = Callable[..., str]

NUMBERS = count()
RECIPE = Recipe("test", DetectionSpec((), None), BlurSpec())
REPORT = Report("/in", "/in/a.jpg", Outcome.CLEAN, None, None, "", (), "0", None, 1)
HEAD = """
from faceblurd.model import Region
from faceblurd.plugins.hookspecs import hookimpl
heard = []
"""


class Errors(list[tuple[str, str, str]]):
    """Collects what is logged and ignored."""

    def __call__(self, plugin: str, hook: str, error: BaseException) -> None:
        self.append((plugin, hook, type(error).__name__))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Write a plugin as an installed distribution; give its name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(source: str, *, name: str = "", target: str = "", distribution: str = "") -> str:
        module = f"test_plugin_{next(NUMBERS)}"
        name = name or module
        (tmp_path / f"{module}.py").write_text(HEAD + textwrap.dedent(source))
        folder = tmp_path / f"{distribution or module}-1.5.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution or module}\nVersion: 1.5\n")
        (folder / "entry_points.txt").write_text(f"[faceblurd]\n{name} = {module}{target}\n")
        return name

    return write


def load(*names: str, errors: Errors | None = None) -> PluginHost:
    return PluginHost.load(names, on_error=Errors() if errors is None else errors)


def image() -> Any:
    return np.zeros((100, 200, 3), np.uint8)


def hook(signature: str, body: str) -> str:
    return f"@hookimpl\ndef {signature}:\n    {body}\n"


# --- loading: what is listed loads, or nothing starts


def test_no_plugin_means_no_regions_and_no_import_of_pluggy() -> None:
    code = (
        "import sys; from faceblurd.plugins.host import PluginHost; host = PluginHost.load([], on_error=print); "
        "assert host.add_regions(None, 'a') == [] and not host.skip_candidate('a', 1); host.daemon_stopping(); "
        "bad = {'pluggy', 'importlib.metadata', 'numpy', 'cv2'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_parent_can_load_plugins_without_numpy(install: Install, tmp_path: Path) -> None:
    name = install(hook("skip_candidate(path)", "return True"))
    code = (
        "import sys; from faceblurd.plugins.host import PluginHost; "
        f"host = PluginHost.load([{name!r}], on_error=print); assert host.skip_candidate('a', 1); "
        "bad = {'numpy', 'cv2'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(tmp_path)})


def test_a_plugin_that_is_not_installed_stops_the_start_and_names_those_that_are(install: Install) -> None:
    there = install(hook("daemon_stopping()", "pass"))
    with pytest.raises(SetupError, match=rf"'absent' is not installed .*{there}"):
        load("absent")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise ValueError('at import')", "ValueError: at import"),
        ("import a_library_that_nobody_has", "ModuleNotFoundError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("def add_regions(image, path): return []", "implements no hook"),
        (hook("add_region(image, path)", "return []"), "add_region"),
        (hook("add_regions(picture, path)", "return []"), "picture"),
        ("@hookimpl(wrapper=True)\ndef add_regions():\n    yield\n    return []", "hook wrapper"),
        ("@hookimpl(hookwrapper=True)\ndef add_regions():\n    yield", "hook wrapper"),
    ],
    ids=["raises", "import", "exits", "no-hookimpl", "misspelt", "argument", "wrapper", "old-wrapper"],
)
def test_a_plugin_that_does_not_load_stops_the_start(install: Install, source: str, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        load(install(source))


def test_an_entry_point_that_names_nothing_stops_the_start(install: Install) -> None:
    with pytest.raises(SetupError, match="AttributeError"):
        load(install("", target=":absent"))


def test_an_entry_point_that_names_a_class_is_refused_with_the_remedy(install: Install) -> None:
    source = "class Plugin:\n    @hookimpl\n    def add_regions(self, image, path): return []\n"
    with pytest.raises(SetupError, match="name a module or an instance"):
        load(install(source, target=":Plugin"))


def test_an_entry_point_may_name_an_instance(install: Install) -> None:
    source = "class Plugin:\n    @hookimpl\n    def skip_candidate(self, path): return True\nplugin = Plugin()\n"
    assert load(install(source, target=":plugin")).skip_candidate("/in/a.jpg", 1)


def test_two_packages_that_offer_the_same_name_stop_the_start(install: Install) -> None:
    for _ in range(2):
        name = install(hook("daemon_stopping()", "pass"), name="twin")
    with pytest.raises(SetupError, match="offered by 2 packages"):
        load(name)


def test_a_plugin_that_is_listed_twice_stops_the_start(install: Install) -> None:
    name = install(hook("daemon_stopping()", "pass"))
    with pytest.raises(SetupError):
        load(name, name)


def test_a_plugin_that_is_not_listed_is_not_even_imported(install: Install) -> None:
    install("raise RuntimeError('imported')")
    listed = install(hook("daemon_stopping()", "pass"))
    assert load(listed).identities == (f"{listed} 1.5",)


# --- the worker's hooks: any doubt holds the file


def test_detectors_of_all_plugins_are_opened(install: Install) -> None:
    source = """
    class Nothing:
        name = "nothing"
        def detect(self, bgr): return []
    @hookimpl
    def open_detectors(recipe): return [Nothing()] if recipe.name == "test" else []
    """
    found = load(install(source), install(source)).open_detectors(RECIPE)
    assert [detector.name for detector in found] == ["nothing", "nothing"]


@pytest.mark.parametrize(
    "body", ["raise RuntimeError('no model')", "return None", "return 7", "return [7]", "yield 1", "raise SystemExit"]
)
def test_a_detector_that_does_not_open_stops_the_start(install: Install, body: str) -> None:
    with pytest.raises(SetupError, match="faces would be published"):
        load(install(hook("open_detectors(recipe)", body))).open_detectors(RECIPE)


def test_regions_of_all_plugins_are_joined_in_the_order_of_the_config(install: Install) -> None:
    first = install(hook("add_regions()", "return [Region(1, 1, 5, 5, 1.0, 'first')]"))
    second = install(hook("add_regions(path)", "return (Region(2, 2, 5, 5, 1.0, path),)"))
    assert load(second, first).add_regions(image(), "a.jpg") == [
        Region(2, 2, 5, 5, 1.0, "a.jpg"),
        Region(1, 1, 5, 5, 1.0, "first"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        "raise ValueError('x')",
        "raise SystemExit(0)",
        "return None",
        "return 'Region'",
        "return {}",
        "return [(1, 2, 3, 4)]",
        "return [Region(1, 1, 0, 5, 1.0, 'x')]",
        "return [Region(1, 1, 5, -5, 1.0, 'x')]",
        "return [Region(1.5, 1, 5, 5, 1.0, 'x')]",
        "return [Region('1', 1, 5, 5, 1.0, 'x')]",
        "return [Region(200, 1, 5, 5, 1.0, 'x')]",
        "return [Region(-5, 1, 5, 5, 1.0, 'x')]",
        "return [Region(1, 1, 5, 5, float('nan'), 'x')]",
        "return [Region(1, 1, 5, 5, None, 'x')]",
        "return [Region(1, 1, 5, 5, 1.0, None)]",
        "image[:] = 255; return []",
    ],
)
def test_a_plugin_that_raises_or_returns_rubbish_holds_the_file(install: Install, body: str) -> None:
    name = install(hook("add_regions(image, path)", body))
    with pytest.raises(PluginError, match=name):
        load(name).add_regions(image(), "a.jpg")


def test_memory_that_runs_out_is_reported_as_such(install: Install) -> None:
    with pytest.raises(MemoryError):
        load(install(hook("add_regions(image)", "raise MemoryError"))).add_regions(image(), "a.jpg")


def test_regions_come_back_in_plain_numbers(install: Install) -> None:
    body = "import numpy as np; return [Region(*np.array([1, 2, 3, 4]), np.float32(0.5), 'x')]"
    (region,) = load(install(hook("add_regions(image)", body))).add_regions(image(), "a.jpg")
    assert region == Region(1, 2, 3, 4, 0.5, "x")
    assert {type(value) for value in (region.x, region.y, region.width, region.height)} == {int}
    assert type(region.score) is float


def test_a_region_may_reach_over_the_border(install: Install) -> None:
    body = "return [Region(-5, 90, 50, 50, 1.0, 'x')]"
    assert len(load(install(hook("add_regions(image)", body))).add_regions(image(), "a.jpg")) == 1


# --- the parent's hooks: a failure is told, and changes nothing


@pytest.mark.parametrize(
    ("body", "skipped"), [("return True", True), ("return False", False), ("return None", False), ("pass", False)]
)
def test_only_true_skips_a_file(install: Install, body: str, skipped: bool) -> None:
    errors = Errors()
    assert load(install(hook("skip_candidate(path, size)", body)), errors=errors).skip_candidate("a", 1) is skipped
    assert errors == []


@pytest.mark.parametrize("body", ["raise OSError", "raise SystemExit", "return 'yes'", "return 1"])
def test_a_plugin_that_fails_to_decide_skips_nothing_and_the_next_one_is_asked(install: Install, body: str) -> None:
    errors = Errors()
    bad = install(hook("skip_candidate(path, size)", body))
    good = install(hook("skip_candidate(path, size)", "return size == 9"))
    host = load(bad, good, errors=errors)
    assert host.skip_candidate("a", 9) is True
    assert host.skip_candidate("a", 8) is False
    assert [entry[:2] for entry in errors] == [(bad, "skip_candidate")] * 2


def test_a_plugin_that_raises_keeps_no_other_from_hearing(install: Install) -> None:
    errors = Errors()
    hooks = ("file_finished(report)", "daemon_started(roots)", "daemon_stopping()")
    bad = [install("".join(hook(signature, "raise RuntimeError") for signature in hooks)) for _ in range(2)]
    good = install(
        "".join(hook(signature, f"heard.append({signature[:-1].partition('(')[2]!r})") for signature in hooks)
    )
    host = load(bad[0], good, bad[1], errors=errors)
    host.file_finished(REPORT)
    host.daemon_started(["/in"])
    host.daemon_stopping()
    assert sys.modules[good].heard == ["report", "roots", ""]
    assert len(errors) == 6
