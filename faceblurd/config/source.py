"""A YAML file as plain values, and the line of each: what ruamel.yaml's loader would throw away.

Owns syntax, encoding and duplicate keys; knows no option by name. ruamel.yaml is imported when a file is read, and
its nodes are walked by hand, because only they know their lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from faceblurd.config.problems import Loc, Problem, key_path, refuse
from faceblurd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ruamel.yaml import YAML
    from ruamel.yaml.nodes import Node

_STANDARD: Final = "tag:yaml.org,2002:"
_CONVERTED: Final = frozenset(_STANDARD + kind for kind in ("null", "bool", "int", "float"))


@dataclass(frozen=True, slots=True)
class Source:
    """What a file says, and where. `variables`: the settings that an environment variable brought."""

    file: str
    values: dict[str, Any]
    lines: Mapping[Loc, int]
    variables: Mapping[Loc, str] = field(default_factory=dict)

    def where(self, loc: Loc) -> tuple[str, int | None, str]:
        """Return file and line, or the name of the environment variable, and the key path."""
        if loc in self.variables:
            return self.variables[loc], None, key_path(loc)
        above = loc
        while above and above not in self.lines:
            above = above[:-1]
        return self.file, self.lines.get(above, 1), key_path(loc)


def read_source(path: Path) -> Source:
    """Read a config file; ConfigError when it is missing, unreadable, no text, no YAML, empty or no mapping."""
    text = _text(path)
    reader = _Reader()
    root = _composed(str(path), text)
    if root is None:
        raise ConfigError("the file is empty", file=str(path), line=1, remedy="Start from config.example.yaml.")
    values = reader.value_of(root, ())
    source = Source(str(path), values if isinstance(values, dict) else {}, reader.lines)
    refuse(reader.problems, source)
    if not isinstance(values, dict):
        remedy = "Write `key: value` lines, as in config.example.yaml."
        line = reader.lines[()]
        raise ConfigError("is not a mapping of keys", file=str(path), line=line, value=values, remedy=remedy)
    return source


def scalar(text: str) -> object:
    """Return what `text` would be as a value in the file: a number, true, null, or text."""
    from ruamel.yaml.nodes import ScalarNode  # noqa: PLC0415 - only when a file is read

    yaml = _yaml()
    tag = str(yaml.resolver.resolve(ScalarNode, text, (True, False)))
    return yaml.constructor.construct_object(ScalarNode(tag, text)) if tag in _CONVERTED else text


def _yaml() -> YAML:
    from ruamel.yaml import YAML  # noqa: PLC0415 - only when a file is read

    return YAML(typ="safe", pure=True)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        remedy = "Check the path, or start from config.example.yaml."
        raise ConfigError("there is no such file", file=str(path), remedy=remedy) from None
    except OSError as error:
        remedy = "Make it a regular file that this user may read."
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path), remedy=remedy) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        remedy = "Save the file as UTF-8."
        byte = hex(content[error.start])
        raise ConfigError("is not UTF-8 text", file=str(path), line=line, value=byte, remedy=remedy) from None


def _composed(file: str, text: str) -> Node | None:
    from ruamel.yaml.error import MarkedYAMLError  # noqa: PLC0415 - only when a file is read
    from ruamel.yaml.reader import ReaderError  # noqa: PLC0415

    try:
        return _yaml().compose(text)  # type: ignore[no-any-return]
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _syntax_error(file, text, line, str(error.problem)) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = "holds a character that YAML forbids"
        raise ConfigError(message, file=file, line=line, value=text[error.position], remedy="Remove it.") from None
    except RecursionError:
        raise ConfigError("is nested too deeply", file=file, line=1, remedy="Start from config.example.yaml.") from None


def _syntax_error(file: str, text: str, line: int, what: str) -> ConfigError:
    lines = text.splitlines()
    written = lines[line - 1] if line <= len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return ConfigError("is indented with a tab", file=file, line=line, value=written, remedy="Use spaces.")
    remedy = "Look at this line and the one above: a missing colon, bracket, quote, or indentation."
    return ConfigError(f"is not YAML: {what}", file=file, line=line, value=written.strip(), remedy=remedy)


def _key_text(key: Node) -> str:
    """Return a key as text; a list or mapping as key gets a name that no option has."""
    return key.value if isinstance(key.value, str) else "? (a key that is no text)"


class _Reader:
    """Walks the nodes; collects values, lines and what is wrong with the YAML itself."""

    def __init__(self) -> None:
        self.lines: dict[Loc, int] = {}
        self.problems: list[Problem] = []
        self._yaml = _yaml()
        self._open: list[int] = []  # the nodes that we are inside of: an alias to one of them would never end

    def value_of(self, node: Node, loc: Loc) -> Any:  # noqa: ANN401 - whatever the file says
        self.lines.setdefault(loc, node.start_mark.line + 1)
        if id(node) in self._open:
            return self._refuse(loc, "is an alias for something that it is part of", "*", "Write it out.")
        self._open.append(id(node))
        try:
            return self._converted(node, loc)
        finally:
            self._open.pop()

    def _converted(self, node: Node, loc: Loc) -> Any:  # noqa: ANN401 - whatever the file says
        if not str(node.tag).startswith(_STANDARD):
            return self._refuse(loc, "has a tag that means nothing here", str(node.tag), "Remove the tag.")
        # by the class attribute `id`: importing the classes would load ruamel.yaml together with this module
        match getattr(node, "id", None):
            case "mapping":
                return self._mapping(node, loc)
            case "sequence":
                return tuple(self.value_of(item, (*loc, at)) for at, item in enumerate(node.value))
            case _:
                return self._scalar(node, loc)

    def _mapping(self, node: Node, loc: Loc) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.value:
            name = _key_text(key)
            if name in values:
                self.problems.append(self._twice(key, value, (*loc, name)))
                continue
            self.lines[(*loc, name)] = key.start_mark.line + 1
            values[name] = self.value_of(value, (*loc, name))
        return values

    def _scalar(self, node: Node, loc: Loc) -> object:
        if str(node.tag) not in _CONVERTED:
            return node.value
        try:
            return self._yaml.constructor.construct_object(node)
        except (ValueError, OverflowError):  # `!!int words`
            return self._refuse(loc, "does not fit its tag", node.value, "Remove the tag.")

    def _twice(self, key: Node, value: Node, loc: Loc) -> Problem:
        message = f"is given twice, first on line {self.lines[loc]}"
        shown = value.value if isinstance(value.value, str) else None
        return Problem(loc, message, shown, "Remove one of the two.", line=key.start_mark.line + 1)

    def _refuse(self, loc: Loc, message: str, value: str, remedy: str) -> object:
        """Note the problem, and give what takes the value's place until all problems are known."""
        self.problems.append(Problem(loc, message, value, remedy))
        return None
