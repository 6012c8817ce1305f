"""What lies in the state directory, and who owns it.

A module of its own, since `status`, `health` and `quarantine` ask for no more: they run often, and on weak machines.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING

from faceblurd.errors import AlreadyRunningError, FaceblurdError

if TYPE_CHECKING:
    from pathlib import Path

LEDGER_NAME = "ledger.sqlite3"
QUARANTINE_NAME = "quarantine"
_WHOLE_FILE = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # struct flock of fcntl(2)


def lock_state(state_dir: Path) -> int:
    """Own the state directory as long as the returned descriptor is open. Raises AlreadyRunningError."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FaceblurdError(
            f"state_dir {state_dir} cannot be used: {error.strerror}", remedy="Make it writable for this user"
        ) from error
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _WHOLE_FILE)  # which `is_running` can ask for without taking it
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # which older versions know
    except OSError as error:
        os.close(fd)
        raise AlreadyRunningError(
            f"another faceblurd uses {state_dir}", remedy="Stop it first, or give this one a state_dir of its own"
        ) from error
    return fd


def is_running(state_dir: Path) -> bool:
    """Tell whether a daemon owns the state directory. Takes no lock: a look must not be in the way of a start."""
    try:
        fd = os.open(state_dir / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _WHOLE_FILE)
    finally:
        os.close(fd)
    return int(struct.unpack_from("h", answer)[0]) != fcntl.F_UNLCK
