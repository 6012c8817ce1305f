"""Run as a script: a FUSE file system that passes a folder on, and misbehaves when it is told to.

What shares on a network do is done here for real, by a process that answers the kernel: calls hang, or fail with
ESTALE. Whoever calls then sits in the kernel and cannot even be killed, as on a dead NFS server.

`share.py MOUNT_POINT FOLDER ORDERS [ignore-case] [exchange] [careless] [CALL=ERRNO]`. Before each call it reads the
file ORDERS: `ok`, `hang [PATH]` or `errno NAME [PATH]`, where PATH and all below it is what misbehaves, or else
everything. A full or read-only share (ENOSPC, EDQUOT, EROFS) refuses only what changes it. The first call that hangs
makes ORDERS.hanging.

Files have no O_TMPFILE here, and renameat2's flags are refused, as by most FUSE file systems; `exchange` supports them,
`careless` ignores them and renames. `ignore-case` finds names in any case and keeps that of the first writer.
`CALL=ERRNO` lets a call fail always (`link=EIO`, as on a cloud that is mounted; `flags` are renameat2's). It ends when
its standard input does, so that nothing is left of it when the tests are killed.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["FUSE_LIBRARY_NAME"] = "fuse3"  # as for version 2, mfusepy would not even see renameat2's flags

import mfusepy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ONLY_CHANGES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
POLL_SECONDS = 0.02
LIBC = ctypes.CDLL(None, use_errno=True)


class Orders:
    """What the share was told to do, read anew at every call: any process may write it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def obey(self, path: str | None, *, changes: bool, looks: bool = False) -> None:
        """Come back when the call may go on, or raise the error that it is to fail with.

        `looks`: the call looks the path up, which is of the folder above it: the kernel lets nobody else look into a
        folder while one look-up in it hangs, so that a PATH that hangs would take its neighbours with it.
        """
        path = path.rpartition("/")[0] if looks and path not in {None, "/"} else path
        while (order := self._order_for(path))[0] == "hang":
            Path(f"{self._path}.hanging").touch()
            time.sleep(POLL_SECONDS)
        if order[0] != "errno":
            return
        code = getattr(errno, order[1])
        if changes or code not in ONLY_CHANGES:
            raise OSError(code, os.strerror(code))

    def _order_for(self, path: str | None) -> list[str]:
        words = Path(self._path).read_text(encoding="utf-8").split()
        place = words[2:] if words[0] == "errno" else words[1:]
        below = not place or f"{path or ''}/".startswith(f"/{place[0].strip('/')}/")
        return words if below else ["ok"]


def obeys(*, paths: int = 1, changes: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Ask the orders first; the first `paths` arguments are paths."""

    def decorate(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def obedient(self: Share, *arguments: Any) -> Any:
            for path in arguments[:paths]:
                self.orders.obey(path, changes=changes)
            return call(self, *arguments)

        return obedient

    return decorate


class Share(mfusepy.Operations):  # type: ignore[misc]  # untyped
    """The folder, call by call. Open files are known by the descriptors of this process."""

    use_ns = True

    def __init__(self, folder: str, orders: Orders, ways: set[str]) -> None:
        self.folder, self.orders, self.ways = folder, orders, ways
        self.refused = dict(way.split("=") for way in ways if "=" in way)

    def at(self, path: str) -> str:
        """Give the place behind a path; with `ignore-case`, that of a name which differs only by case."""
        place = self.folder
        for name in path.strip("/").split("/"):
            place = f"{place}/{self._spelt(place, name)}"
        return place

    def _spelt(self, directory: str, name: str) -> str:
        if "ignore-case" not in self.ways or os.path.lexists(f"{directory}/{name}"):
            return name
        try:
            names = os.listdir(directory)
        except OSError:
            return name
        return next((other for other in names if other.casefold() == name.casefold()), name)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        self.orders.obey(path, changes=False, looks=True)
        st = os.lstat(self.at(path)) if fh is None else os.fstat(fh)
        plain = ("st_mode", "st_ino", "st_dev", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks", "st_blksize")
        times = {f"st_{which}": getattr(st, f"st_{which}_ns") for which in ("atime", "mtime", "ctime")}
        return {name: getattr(st, name) for name in plain} | times

    @obeys()
    def access(self, path: str, amode: int) -> int:
        if not os.access(self.at(path), amode):
            raise OSError(errno.EACCES, "no access")
        return 0

    @obeys()
    def readdir(self, path: str, fh: int) -> Iterator[tuple[str, dict[str, int], int]]:
        with os.scandir(self.at(path)) as entries:
            for entry in [*entries]:
                st = entry.stat(follow_symlinks=False)
                yield entry.name, {"st_mode": st.st_mode, "st_ino": st.st_ino}, 0  # glibc skips names without a number

    @obeys()
    def readlink(self, path: str) -> str:
        return os.readlink(self.at(path))

    @obeys()
    def statfs(self, path: str) -> dict[str, int]:
        st = os.statvfs(self.at(path))
        return {name: getattr(st, name) for name in dir(st) if name.startswith("f_")}

    def open(self, path: str, flags: int) -> int:
        self.orders.obey(path, changes=flags & os.O_ACCMODE != os.O_RDONLY)
        return os.open(self.at(path), flags & ~os.O_NOFOLLOW)  # the kernel has looked at links already

    @obeys(changes=True)
    def create(self, path: str, mode: int, flags: int) -> int:
        return os.open(self.at(path), flags | os.O_CREAT, mode)

    @obeys()
    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    @obeys(changes=True)
    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    @obeys(changes=True)
    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        self.refuse("truncate")
        os.truncate(self.at(path), length)

    @obeys(changes=True)
    def fsync(self, path: str, datasync: int, fh: int) -> None:
        os.fsync(fh)

    @obeys(changes=True)
    def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
        fd = os.open(self.at(path), os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def release(self, path: str, fh: int) -> None:
        os.close(fh)

    @obeys(changes=True)
    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self.at(path), mode)

    @obeys(changes=True)
    def chown(self, path: str, uid: int, gid: int) -> None:
        os.chown(self.at(path), uid, gid, follow_symlinks=False)

    @obeys(changes=True)
    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        self.refuse("utimens")
        os.utime(self.at(path), ns=times, follow_symlinks=False)

    @obeys(changes=True)
    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self.at(path), mode)

    @obeys(changes=True)
    def rmdir(self, path: str) -> None:
        os.rmdir(self.at(path))

    @obeys(changes=True)
    def unlink(self, path: str) -> None:
        os.unlink(self.at(path))

    @obeys(changes=True)
    def symlink(self, target: str, source: str) -> None:
        os.symlink(source, self.at(target))

    def refuse(self, call: str, otherwise: str = "") -> None:
        """Fail, where this share never makes such a call."""
        if name := self.refused.get(call, otherwise):
            raise OSError(getattr(errno, name), call)

    @obeys(paths=2, changes=True)
    def link(self, target: str, source: str) -> None:
        self.refuse("link")
        os.link(self.at(source), self.at(target), follow_symlinks=False)

    @obeys(paths=2, changes=True)
    def rename(self, old: str, new: str, flags: int) -> None:
        if flags and not self.ways & {"exchange", "careless"}:
            self.refuse("flags", "EINVAL")
        source, target = self.at(old), self.at(new)
        if source == target:  # only the case differs: the name is written anew
            target = f"{target.rpartition('/')[0]}/{new.rpartition('/')[2]}"
        if "careless" in self.ways:
            flags = 0
        if LIBC.renameat2(-1, os.fsencode(source), -1, os.fsencode(target), flags) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    @obeys()
    def listxattr(self, path: str) -> list[str]:
        return os.listxattr(self.at(path), follow_symlinks=False)

    @obeys()
    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        return os.getxattr(self.at(path), name, follow_symlinks=False)

    @obeys(changes=True)
    def setxattr(self, path: str, name: str, value: bytes, options: int, position: int = 0) -> None:
        os.setxattr(self.at(path), name, value, options, follow_symlinks=False)

    @obeys(changes=True)
    def removexattr(self, path: str, name: str) -> None:
        os.removexattr(self.at(path), name, follow_symlinks=False)


class Mount(mfusepy.FUSE):  # type: ignore[misc]  # untyped
    """Passes renameat2's flags on: mfusepy 3.1.1 drops them, and an exchange would be a plain rename."""

    def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> Any:
        return self.operations.rename(os.fsdecode(old), os.fsdecode(new), flags)


def end_with_standard_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # the kernel aborts the connection: who hangs in it gets ENOTCONN


def main() -> None:
    mount_point, folder, orders, *ways = sys.argv[1:]
    os.umask(0)  # the callers' own was applied already
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    # Nothing is cached, so that every call gets here. 10 threads (libfuse's limit) would be used up by calls that hang.
    Mount(
        Share(folder, Orders(orders), set(ways)), mount_point, foreground=True, allow_other=True, use_ino=True,
        attr_timeout=0, entry_timeout=0, negative_timeout=0, max_threads=64, fsname="share", subtype="share",
    )  # fmt: skip


if __name__ == "__main__":
    main()
