"""The floors of the house, and what a process does not load."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"cv2", "numpy", "PIL", "tensorflow", "keras", "rich"}
REPOSITORY = Path(__file__).resolve().parent.parent


def _loaded_by(code: str) -> set[str]:
    """Run `code` in a fresh interpreter; give the top-level modules that it loaded."""
    tell = "import sys; print('\\n' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{tell}"], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_every_room_uses_only_those_below_it() -> None:
    script = Path(sys.executable).with_name("lint-imports")
    if not script.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run(
        [script, "--config", REPOSITORY / "pyproject.toml", "--no-cache"],
        capture_output=True, text=True, check=False, cwd=REPOSITORY,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "module",
    [
        "faceblurd.__main__",
        "faceblurd.cli",
        "faceblurd.engine.daemon",
        "faceblurd.engine.once",
        "faceblurd.workers.job",
    ],
)
def test_the_parent_process_loads_no_pixels(module: str) -> None:
    assert not _loaded_by(f"import {module}") & HEAVY


def test_help_is_quick_because_it_loads_nothing_it_does_not_use() -> None:
    code = "import sys; sys.argv = ['faceblurd', '--help']\nfrom faceblurd.__main__ import main\n"
    loaded = _loaded_by(f"{code}try:\n    main()\nexcept SystemExit as end:\n    assert not end.code")
    assert "click" in loaded
    assert not loaded & {*HEAVY, "pydantic", "ruamel", "structlog", "watchdog", "sqlite3", "pluggy", "asyncio"}


@pytest.mark.parametrize("command", [["status"], ["health"], ["quarantine", "list"]])
def test_what_is_asked_every_half_minute_loads_no_daemon(command: list[str], tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "ledger.sqlite3").close()
    code = f"import sys; sys.argv = ['faceblurd', *{command}, '--state-dir', {str(tmp_path)!r}]\nimport faceblurd.cli"
    loaded = _loaded_by(f"{code}\ntry:\n    faceblurd.cli.run_command()\nexcept SystemExit: pass")
    assert "sqlite3" in loaded
    assert not loaded & {*HEAVY, "pydantic", "ruamel", "structlog", "watchdog", "multiprocessing"}


def test_a_plain_run_loads_no_plugin_machinery() -> None:
    assert not _loaded_by("import faceblurd.engine.daemon") & {"pluggy"}


def test_rules_and_vocabulary_load_nothing_from_outside() -> None:
    loaded = _loaded_by("import faceblurd.rules.decide, faceblurd.rules.filter, faceblurd.rules.settle")
    assert loaded <= set(sys.stdlib_module_names) | {"__main__", "faceblurd"} | _loaded_by("")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "faceblurd").rglob("*.py")), ids=lambda path: path.stem)
def test_every_module_says_what_it_is_about(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(('"""', 'r"""')), path


def test_no_module_of_ours_reads_the_environment_when_it_is_imported() -> None:
    code = """
import os, sys
class Environ(dict):
    def __getitem__(self, key):
        note(key)
        return dict.__getitem__(self, key)
    def get(self, key, default=None):
        note(key)
        return dict.get(self, key, default)
def note(key):
    caller = sys._getframe(2).f_globals["__name__"]
    if caller.startswith("faceblurd"):
        raise SystemExit(f"{caller} reads {key}")
os.environ = Environ(os.environ)
import faceblurd.cli, faceblurd.engine.daemon, faceblurd.workers.toolbox
"""
    _loaded_by(code)
