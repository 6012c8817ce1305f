"""What a worker gives up before it sees the first file, so that a taken-over decoder gains nothing.

Owns the order and the account of what holds. What the kernel lacks is a gap that is told, never an error: a NAS with an
old kernel still gets its photos blurred. The input and the staging file come as open descriptors, which stay usable.
"""

from __future__ import annotations

import os
import resource
import sys
import sysconfig
from typing import TYPE_CHECKING

import faceblurd
from faceblurd.workers.sandbox import landlock, seccomp

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_DESCRIPTORS = 256
_CORES = "/sys/devices/system/cpu"  # AVIF and HEIC encoders ask how many there are
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")


def enter(*, most_file_bytes: int) -> str:
    """Give up, for good: new files, other files than the libraries', the network, other processes, new programs.

    Call it when everything is loaded, in the thread that does the work. Says what is in force, and what is not and why:
    `landlock 7, seccomp, limits`, `seccomp, limits (no landlock: ...)`.
    """
    others = threads() - 1  # afterwards /proc is out of reach
    in_force, gaps = list[str](), list[str]()
    try:
        in_force.append(f"landlock {landlock.restrict(readable())}")
        gaps += [f"landlock in the main thread only, not in {others} older ones"] if others else []
    except OSError as error:
        gaps.append(f"no landlock: {error.strerror}")
    _limit(most_file_bytes)  # before the filter, which refuses to change limits
    try:
        seccomp.restrict()
        in_force.append("seccomp")
    except OSError as error:
        gaps.append(f"no seccomp: {error.strerror}")
    return ", ".join([*in_force, "limits"]) + (f" ({'; '.join(gaps)})" if gaps else "")


def readable() -> list[str]:
    """List the directories from which modules and libraries may still be loaded, late.

    Never the current directory, which may be the photo folder.
    """
    return sorted(path for path in {*_places()} if os.path.isdir(path) and not _is_too_much(path))


def _places() -> Iterator[str]:
    yield from (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    yield from (path for path in sys.path if os.path.isabs(path))
    yield os.path.dirname(os.path.abspath(faceblurd.__file__))
    yield from (*_LIBRARIES, _CORES)


def _is_too_much(path: str) -> bool:
    return os.path.samefile(path, ".") or os.path.samefile(path, "/")


def threads() -> int:
    """Count the threads of this process, those of libraries as well."""
    return len(os.listdir("/proc/self/task"))


def _limit(most_file_bytes: int) -> None:
    """Bound what the staging file may fill, and how many files may be open; neither can be raised again."""
    for what, most in ((resource.RLIMIT_FSIZE, most_file_bytes), (resource.RLIMIT_NOFILE, _MOST_DESCRIPTORS)):
        _, hard = resource.getrlimit(what)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (bound, bound))
