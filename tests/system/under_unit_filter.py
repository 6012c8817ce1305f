"""Run a command under the system call filter of a unit, without a systemd: `under_unit_filter.py UNIT COMMAND...`.

Owns an imitation of the unit's SystemCallFilter=, RestrictAddressFamilies=AF_UNIX and MemoryDenyWriteExecute=, and of
two side effects: RestrictSUIDSGID= refuses openat2 wholly, RestrictNamespaces= clone3. It imitates no mounts.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

ALLOW = 0x7FFF0000
ERRNO = 0x00050000
EQUAL, NOT_EQUAL = 4, 1
PR_SET_MDWE = 65


class Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def members(group: str) -> set[str]:
    """Resolve a group like @system-service to the names of its system calls."""
    listing = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    words = [line.strip() for line in listing.stdout.splitlines()[1:]]
    return set().union(*(resolved(word) for word in words if word and not word.startswith("#")))


def resolved(word: str) -> set[str]:
    return members(word) if word.startswith("@") else {word}


def allowed(unit: str) -> set[str]:
    """Apply the unit's SystemCallFilter lines in their order."""
    names: set[str] = set()
    for line in unit.splitlines():
        if line.startswith("SystemCallFilter="):
            value = line.partition("=")[2]
            words = set().union(*(resolved(word) for word in value.lstrip("~").split()))
            names = names - words if value.startswith("~") else names | words
    return names


def confine(names: set[str]) -> None:
    """Load the filter into this process."""
    lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    lib.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(lib.seccomp_init(ERRNO | errno.EPERM))
    number = {name: lib.seccomp_syscall_resolve_name(name.encode()) for name in names}
    for name in names - {"socket", "openat2", "clone3"}:
        if number[name] >= 0:
            lib.seccomp_rule_add_array(context, ALLOW, number[name], 0, None)
    for name in ("openat2", "clone3"):
        lib.seccomp_rule_add_array(context, ERRNO | errno.ENOSYS, number[name], 0, None)
    local = Comparison(0, EQUAL, socket.AF_UNIX, 0)
    other = Comparison(0, NOT_EQUAL, socket.AF_UNIX, 0)
    lib.seccomp_rule_add_array(context, ALLOW, number["socket"], 1, ctypes.byref(local))
    lib.seccomp_rule_add_array(context, ERRNO | errno.EAFNOSUPPORT, number["socket"], 1, ctypes.byref(other))
    if lib.seccomp_load(context) != 0:
        sys.exit("the filter does not load")


def main() -> None:
    """Confine, then become the command."""
    unit = Path(sys.argv[1]).read_text(encoding="utf-8")
    names = allowed(unit)
    if "MemoryDenyWriteExecute=yes" in unit:
        ctypes.CDLL(None).prctl(PR_SET_MDWE, 1, 0, 0, 0)  # a kernel before 6.3 refuses; the rest still counts
    confine(names)
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - there is no shell, on purpose


if __name__ == "__main__":
    main()
