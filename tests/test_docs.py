"""What the documents say holds: every YAML is a valid config, every command exists, every link leads somewhere."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from faceblurd.cli import COMMANDS, main
from faceblurd.config.loading import load_config
from faceblurd.errors import Exit
from faceblurd.rules.filter import MEANINGS
from faceblurd.rules.foreign import FOREIGN
from faceblurd.rules.side_channels import ACCESS_CONTROL, ATTRIBUTES

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
WHOLE = "state_dir: /var/lib/faceblurd\nroots:\n  - {path: /srv/in, mode: mirror, to: /srv/out}\n"


def blocks(*languages: str) -> list[tuple[str, str]]:
    """Name and text of every fenced block in one of the languages."""
    found = []
    for document in DOCUMENTS:
        for number, match in enumerate(FENCE.finditer(document.read_text(encoding="utf-8"))):
            if match[1] in languages:
                found.append((f"{document.name}#{number}", match[2]))
    return found


COMMAND = r"faceblurd (?:run|blur|scan|status|health|quarantine|check-config|hooks|formats|models|doctor|explain)\b"


def commands() -> list[tuple[str, str]]:
    """Every command line of ours, in shell blocks and in backticks; not the ones that only list alternatives."""
    found = []
    for name, text in blocks("sh", "bash", "console", "shell", ""):
        for line in text.replace("\\\n", " ").splitlines():
            part = re.search(rf"(?:^|[ /|])({COMMAND}[^#|>;&]*)", line)
            if part and "systemctl" not in line and "journalctl" not in line:
                found.append((name, part[1].strip()))
    for document in DOCUMENTS:
        inline = re.findall(rf"`({COMMAND} [^`]*)`", document.read_text(encoding="utf-8"))
        found += [
            (document.name, line) for line in inline if "|" not in line and "..." not in line.replace("PATH...", "")
        ]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize(("name", "text"), blocks("yaml"), ids=lambda value: value if "#" in str(value)[:40] else "")
def test_every_yaml_in_the_documents_is_a_valid_config(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    if re.search(r"^roots:", text, re.MULTILINE) and not re.search(r"^state_dir:", text, re.MULTILINE):
        text = f"state_dir: /var/lib/faceblurd\n{text}"
    elif not re.search(r"^roots:", text, re.MULTILINE):
        text = WHOLE + "\n".join(line for line in text.splitlines() if not line.startswith("state_dir:"))
    text = re.sub(r"^( *)plugins: *\[.*\]", r"\1plugins: []", text, flags=re.MULTILINE)
    path.write_text(text)
    assert load_config(path, environ={}).roots, name


@pytest.mark.parametrize(("name", "line"), commands())
def test_every_command_in_the_documents_exists_with_its_options(name: str, line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None, f"{name}: {line}"
        command = found
    if "--help" not in words:
        with contextlib.suppress(click.MissingParameter):  # a mere mention, not a whole command line
            command.make_context("test", words)  # raises for an option that is not there


def test_the_table_of_formats_is_what_the_command_says() -> None:
    """Paste the output of `faceblurd formats` into docs/formats.md when this fails."""
    text = (REPOSITORY / "docs" / "formats.md").read_text(encoding="utf-8")
    table = next(match[2] for match in FENCE.finditer(text) if match[1] == "text")
    assert table == CliRunner().invoke(main, ["formats"], catch_exceptions=False).stdout


def test_the_table_of_attributes_is_the_one_that_the_code_goes_by() -> None:
    """Write the rows anew when this fails: name, what it is, what happens."""
    text = (REPOSITORY / "docs" / "metadata.md").read_text(encoding="utf-8")
    rows = [
        f"| `{one.names}` | {one.what} | {f'stays, up to {one.most_bytes} bytes' if one.most_bytes else 'goes'} |"
        for one in ATTRIBUTES
    ]
    assert "\n".join(rows) in text
    assert all(f"`{name}`" in text for name in ACCESS_CONTROL[1:])


def test_the_tables_of_what_is_left_alone_are_those_that_the_code_goes_by() -> None:
    """Write the rows anew when this fails."""
    text = (REPOSITORY / "docs" / "config.md").read_text(encoding="utf-8")
    rows = [
        f"| {one.owner} | {' '.join(f'`{name}`' for name in one.names)} | {one.what} | {one.treatment} |"
        for one in FOREIGN
    ]
    assert "\n".join(rows) in text
    assert "\n".join(f"| `{why.value}` | {meaning} |" for why, meaning in MEANINGS.items()) in text


def test_there_are_commands_and_yaml_to_check() -> None:
    assert len(commands()) >= 5
    assert len(blocks("yaml")) >= 2


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text):
        assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_help_points_to_files_that_are_there() -> None:
    said = CliRunner().invoke(main, ["--help"], catch_exceptions=False).stdout
    named = re.findall(r"(?:every option|as a service): +(.*)", said)
    assert [Path(name).name for name in named] == ["config.example.yaml", "install.md"]
    assert all(Path(name).is_file() for name in named)


def test_the_manual_page_names_every_command_and_exit_code() -> None:
    page = (REPOSITORY / "man" / "faceblurd.1").read_text(encoding="utf-8")
    assert set(re.findall(r"^\.TP\n\.B ([a-z-]+)$", page, re.MULTILINE)) == set(COMMANDS)
    assert {int(code) for code in re.findall(r"^\.TP\n\.B (\d+)$", page, re.MULTILINE)} == {*map(int, Exit), 130}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_by_the_name_that_the_help_says(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name


def test_every_test_that_the_table_of_faults_names_is_there() -> None:
    named = set(
        re.findall(r"`(\w+/test_\w+\.py)`", (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8"))
    )
    assert len(named) > 30
    assert {name for name in named if not (REPOSITORY / "tests" / name).is_file()} == set()
    of_faults = {f"fault/{path.name}" for path in (REPOSITORY / "tests" / "fault").glob("test_*.py")}
    assert of_faults - named == {"fault/test_share.py"}  # which tests what other tests stand on
