"""Landlock: takes files, TCP and signals away from this thread, and from those that it starts. Linux 5.13 or newer.

Owns the three system calls, which the standard library does not know. Open descriptors stay as they are.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_CREATE_RULESET_VERSION, _RULE_PATH_BENEATH = 1, 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""How many rights to files each version of the interface brought, from the lowest bit on."""
_NET_FROM, _NET_RIGHTS = 4, 0b11  # bind and connect, TCP only
_SCOPES_FROM, _SCOPES = 6, 0b11  # abstract Unix sockets, signals

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Give the kernel's version of the interface, 0 where it has none."""
    found: int = _libc.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    return max(0, found)


def restrict(readable: Iterable[str]) -> int:
    """Leave reading below the directories `readable`, and nothing else; give the version that did it.

    PR_SET_NO_NEW_PRIVS must be set. Raises OSError: ENOSYS or EOPNOTSUPP where the kernel has no landlock.
    """
    abi = version()
    if not abi:
        raise OSError(errno.ENOSYS, "the kernel has no landlock")
    ruleset = _ruleset(abi)
    try:
        for path in readable:
            _allow_reading(ruleset, path)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _ruleset(abi: int) -> int:
    """Handle everything that this kernel can: what no rule allows is refused."""
    rights = max(count for since, count in _FS_RIGHTS.items() if since <= abi)
    attributes = struct.pack("=Q", (1 << rights) - 1)
    if abi >= _NET_FROM:
        attributes += struct.pack("=Q", _NET_RIGHTS)
    if abi >= _SCOPES_FROM:
        attributes += struct.pack("=Q", _SCOPES)
    return _call(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)


def _allow_reading(ruleset: int, path: str) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY)
    except OSError:
        return  # what is not there needs no right
    try:
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", _READ_FILE | _READ_DIR, fd), 0)
    finally:
        os.close(fd)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
