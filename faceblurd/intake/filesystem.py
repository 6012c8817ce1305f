"""What a folder lies on, as far as it decides whether the kernel tells of changes.

On network file systems inotify sees only what this machine does, on FUSE whatever its program passes on: photos that
others put there are found by scans. Source: /proc/self/mountinfo, proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
import re
from typing import Final

_SILENT: Final = frozenset({
    "9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse", "glusterfs", "gpfs", "lustre", "ncpfs",
    "nfs", "nfs4", "ocfs2", "orangefs", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs",
})  # fmt: skip
_OCTAL: Final = re.compile(r"\\([0-7]{3})")
_MOUNTS: Final = "/proc/self/mountinfo"


def kind_under(path: str) -> str:
    """Return the type of the file system below a path, such as ext4 or nfs4; empty when the kernel does not say."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            return kind_in(file.read(), os.path.realpath(path))
    except OSError:
        return ""


def kind_in(mountinfo: str, path: str) -> str:
    """Find the deepest mount above an absolute path, the last one of several at the same place."""
    found = ("", "")
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        words = fields.split(" ")
        if len(words) < 5 or not rest:  # noqa: PLR2004 - the mount point is the fifth
            continue
        point = _OCTAL.sub(lambda code: chr(int(code[1], 8)), words[4])
        if (path + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(found[0]):
            found = (point, rest.split(" ", 1)[0])
    return found[1]


def tells_of_changes(kind: str) -> bool:
    """Say whether a file system tells of every change, whoever made it."""
    return kind not in _SILENT and not kind.startswith("fuse.")
