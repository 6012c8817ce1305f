"""Lock a worker up before it reads its first file: a taken-over decoder can reach nothing but the files in its hands.

Landlock (kernel 5.13 and newer) takes away every file by name, but for reading where Python and its libraries lie; TCP
from 6.7 on; signals and abstract sockets of others from 6.12 on. A seccomp filter refuses new sockets, programs and
what takes over other processes. The photo and its staging file come as open descriptors, which neither touches. What a
kernel does not have is left out, and said: `faceblurd status` shows what is in force.

`no_new_privs` must be set before (`job.main` does). Nothing here can be undone in the process or its children.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
import sysconfig
from pathlib import Path
from typing import Final

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same numbers on all architectures
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FILE_RIGHTS: Final = ((1, 13), (2, 14), (3, 15), (5, 16))  # from this version on, so many rights
_TCP: Final = 3  # bind, connect: version 4
_SCOPES: Final = 3  # abstract unix sockets, signals: version 6
_CORES: Final = "/sys/devices/system/cpu"  # AVIF and HEIC encoders ask how many there are
_OPEN_FLAGS: Final = os.O_PATH | os.O_CLOEXEC

_ARCHITECTURES: Final = {"x86_64": (0xC000003E, 0, 317), "aarch64": (0xC00000B7, 1, 277)}  # audit's, column, seccomp's
# What no decoder needs, and what would lead out: (x86_64, aarch64).
_REFUSED: Final = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "execve": (59, 221), "execveat": (322, 281),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kill": (62, 129),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "setns": (308, 268), "unshare": (272, 97), "bpf": (321, 280), "perf_event_open": (298, 241),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "open_by_handle_at": (304, 265), "init_module": (175, 105),
    "finit_module": (313, 273), "kexec_load": (246, 104), "reboot": (169, 142),
}  # fmt: skip
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _EPERM, _KILL = 0x7FFF0000, 0x00050001, 0x80000000
_X32 = 0x40000000  # the other numbers of the same calls on x86_64
_SET_FILTER, _ALL_THREADS = 1, 1


def enter() -> str:
    """Lock this process up, as far as the kernel can; say what is in force, such as `landlock 7, seccomp`."""
    version = _landlock()
    parts = [f"landlock {version}"] if version else []
    if _seccomp():
        parts.append("seccomp")
    return ", ".join(parts)


def _landlock() -> int:
    """Restrict files, TCP and signals; return the kernel's version of it, 0 when nothing is in force."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION_FLAG)
    if version < 1:
        return 0
    rights = next(count for since, count in reversed(_FILE_RIGHTS) if version >= since)
    attributes = struct.pack("<QQQ", (1 << rights) - 1, _TCP, _SCOPES)
    size = 8 if version < 4 else 16 if version < 6 else 24  # noqa: PLR2004 - what each version knows
    ruleset = libc.syscall(_CREATE, attributes, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return 0
    try:
        for path in _readable():
            _allow_reading(libc, ruleset, path)
        return 0 if libc.syscall(_RESTRICT, ruleset, 0) else int(version)
    finally:
        os.close(ruleset)


def _allow_reading(libc: ctypes.CDLL, ruleset: int, path: str) -> None:
    try:
        fd = os.open(path, _OPEN_FLAGS)
    except OSError:
        return
    rule = struct.pack("<Qi", _READ_FILE | _READ_DIR, fd)
    libc.syscall(_ADD, ruleset, _PATH_BENEATH, rule, 0)
    os.close(fd)


def _readable() -> set[str]:
    """Return where modules and libraries lie that are loaded late: Python's own directories, not the working one."""
    libraries = {"/usr/lib", "/usr/lib64", "/lib", "/lib64"}
    paths = {*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix, *libraries, _CORES}
    package = str(Path(__file__).resolve().parents[1])
    modules = {path for path in sys.path if path and os.path.isdir(path) and not os.path.samefile(path, ".")}
    return {path for path in {*paths, package, *modules} if path not in {"/", ""}}


def _seccomp() -> bool:
    """Refuse the calls that lead out, in all threads; return whether it is in force."""
    architecture, column, number = _ARCHITECTURES.get(platform.machine(), (0, 0, 0))
    if not architecture or sys.maxsize < 1 << 32:  # 32-bit Python: other numbers
        return False
    numbers = sorted(call[column] for call in _REFUSED.values())
    last = len(numbers)  # from the comparison at index i, so many steps to the end: last - i
    program = [
        struct.pack("<HBBI", _LOAD, 0, 0, 4),
        struct.pack("<HBBI", _EQUAL, 1, 0, architecture),
        struct.pack("<HBBI", _RETURN, 0, 0, _KILL),
        struct.pack("<HBBI", _LOAD, 0, 0, 0),
        struct.pack("<HBBI", _AT_LEAST, last + 1, 0, _X32),
        *(struct.pack("<HBBI", _EQUAL, last - index, 0, call) for index, call in enumerate(numbers)),
        struct.pack("<HBBI", _RETURN, 0, 0, _ALLOW),
        struct.pack("<HBBI", _RETURN, 0, 0, _EPERM),
    ]
    code = ctypes.create_string_buffer(b"".join(program))
    filter_ = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(number, _SET_FILTER, _ALL_THREADS, filter_)) == 0
