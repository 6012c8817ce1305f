"""Whether a command can be started, judged without starting it: it might do something."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_ELF: Final = b"\x7fELF"
_HEAD_BYTES: Final = 256  # what the kernel looks at


def no_way_to_run(program: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Say why a program (an absolute path, or a name that PATH finds) cannot be started, and the remedy; else None."""
    path = environ.get("PATH", os.defpath)
    file = program if "/" in program else shutil.which(program, path=path)
    if file is None:
        return f"is not found in PATH ({path})", "Install it, or write its whole path."
    if os.path.isdir(file):
        return "is a folder", "Name the program in it."
    if not os.path.exists(file):
        return "is not there", "Put it there, or name another."
    if not os.access(file, os.X_OK):
        mode = os.stat(file).st_mode
        return "may not be run by this user", f"chmod {'a+rx' if not mode & 0o111 else 'o+rx'} {file}"
    return _of_script(file, path)


def _of_script(file: str, path: str) -> tuple[str, str] | None:
    """Look at the first line, by which the kernel chooses what runs the file."""
    try:
        with open(file, "rb") as opened:
            head = opened.read(_HEAD_BYTES)
    except OSError:  # may be run and not read
        return None
    if head.startswith(_ELF):
        return None
    if not head.startswith(b"#!"):
        return "is neither a program nor a script with a `#!` line", "Write `#!/bin/sh` as its first line."
    return _of_interpreter(file, head[2:].split(b"\n")[0], path)


def _of_interpreter(file: str, line: bytes, path: str) -> tuple[str, str] | None:
    if line.endswith(b"\r"):
        return "has lines that end as on Windows: its interpreter is not found", f"sed -i 's/\\r$//' {file}"
    words = [os.fsdecode(word) for word in line.split()] or [""]
    if not os.access(words[0], os.X_OK):
        return f"wants the interpreter {words[0]!r}, which cannot be run", "Install that, or correct the first line."
    wanted = next((word for word in words[1:] if not word.startswith("-")), "")
    if os.path.basename(words[0]) == "env" and wanted and "=" not in wanted and shutil.which(wanted, path=path) is None:
        return f"wants {wanted}, which is not found in PATH ({path})", "Install that, or correct the first line."
    return None
