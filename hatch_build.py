"""Build step: compile the bit loop of JPEG surgery (`faceblurd/imaging/splice/splice.c`) into a plain shared library.

With the compiler that is there; without one, with the C compiler of the package `ziglang` (a wheel for x86_64 and
aarch64, 100 MB, in the build's own environment only). The file includes nothing of a C library, has no tie to a Python
version, and is built for any processor of its family: it may run on another machine. Where nothing compiles, the build
goes on without: faceblurd then uses the same loop in Python, which is slower, and says so.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "faceblurd/imaging/splice"
LIBRARY = "_splice.so"
FLAGS = ("-O2", "-std=c99", "-fPIC", "-shared", "-fvisibility=hidden", "-ffreestanding", "-nostdlib", "-s")
WITH_WHEEL = ("x86_64", "aarch64")
SECONDS = 300
SWITCH = "FACEBLURD_COMPILE"
"""Set to 0: build without a compiler and without asking for one."""


def compiler() -> str | None:
    """Return the machine's own C compiler."""
    names = (os.environ.get("CC"), "cc", "gcc", "clang")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def wanted() -> bool:
    """Say whether to compile at all: faceblurd runs on Linux only."""
    return sys.platform == "linux" and os.environ.get(SWITCH) != "0"


class CustomBuildHook(BuildHookInterface[Any]):
    """What hatchling calls, for wheels and editable installs."""

    def dependencies(self) -> list[str]:
        """Ask for a compiler where there is none."""
        missing = wanted() and compiler() is None and platform.machine() in WITH_WHEEL
        return ["ziglang>=0.13"] if missing else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a wheel with the library is for this kind of machine, one without for any."""
        self._scratch = tempfile.mkdtemp(prefix="faceblurd-build-")
        library = self._compiled() if wanted() else None
        if library is None:
            return
        if version == "editable":
            place = os.path.join(self.root, FOLDER, LIBRARY)
            shutil.copy(library, place + ".new")
            os.replace(place + ".new", place)  # a daemon that runs from this tree has the old one mapped
        else:  # not through the tree, which may be read-only
            build_data["force_include"][library] = f"{FOLDER}/{LIBRARY}"
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - as called
        """Remove the scratch folder."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _compiled(self) -> str | None:
        """Try the compilers in turn; return the library's path."""
        library = os.path.join(self._scratch, LIBRARY)
        source = os.path.join(self.root, FOLDER, "splice.c")
        caches = {name: os.path.join(self._scratch, "zig") for name in ("ZIG_LOCAL_CACHE_DIR", "ZIG_GLOBAL_CACHE_DIR")}
        for command in self._commands():
            try:
                subprocess.run(
                    [*command, *FLAGS, "-o", library, source],
                    check=True, capture_output=True, env=os.environ | caches, timeout=SECONDS,
                )  # fmt: skip
            except (OSError, subprocess.SubprocessError) as error:
                said = getattr(error, "stderr", None) or b""
                self.app.display_warning(
                    f"{command[0]} did not compile {source}: {error} {said.decode('utf-8', 'replace')}"
                )
            else:
                return library
        self.app.display_warning("No C compiler: JPEGs will be redacted by the loop in Python, which is slower")
        return None

    @staticmethod
    def _commands() -> list[list[str]]:
        found = compiler()
        own = [[found]] if found else []
        target = f"{platform.machine()}-linux-{'gnu' if platform.libc_ver()[0] == 'glibc' else 'musl'}"
        return [*own, [sys.executable, "-m", "ziglang", "cc", "-target", target]]
