"""What runs in a worker process, for one file after another.

Owns the order: read and hash, ask the parent, decode, detect, redact, encode, verify, write the staging file. Opens
nothing by name: both files come as descriptors. Publishes nothing. Reports facts; the parent logs them.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import resource
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from faceblurd.errors import FaceblurdError, ImageError, PluginError
from faceblurd.model import Abandoned, Fingerprint, Hashed, Mode, Reason, Refused, Staged, Untouched
from faceblurd.rules.decide import reason_of
from faceblurd.workers import messages, sandbox
from faceblurd.workers.messages import WorkerEnd

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceblurd.model import Job, JobResult, Recipe
    from faceblurd.workers.toolbox import Toolbox

_CHUNK = 4 << 20
LEAST_MEMORY_BYTES = 192 << 20  # a photo of 6 megapixels
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1  # of mallopt(3)
_NO_TIMES = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
_BREATH_SECONDS = 0.1  # in a burst the next job is there within 20 ms
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


@dataclass(frozen=True, slots=True)
class Setup:
    """What every worker of a pool is given at its start."""

    recipes: tuple[Recipe, ...]
    plugins: tuple[str, ...]
    memory_limit_bytes: int
    parent_pid: int
    sandbox: bool = True
    import_path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))  # plugins are found as by the parent


def main(socket_fd: int) -> None:
    """Run a worker until the parent closes its end of a socket."""
    channel = WorkerEnd(socket.socket(fileno=socket_fd))
    try:
        setup: Setup = channel.receive()[0]
        _harden(setup.parent_pid)
        _work(channel, setup)
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the parent wants nothing more
        return


def _work(channel: WorkerEnd, setup: Setup) -> None:
    sys.path[:] = setup.import_path
    _keep_memory_between_photos()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy starts one for each core: idle here, and older than the sandbox
    try:
        from faceblurd.workers.toolbox import Toolbox  # noqa: PLC0415 - cv2 and numpy: never in the parent

        toolbox = Toolbox.open(setup.recipes, setup.plugins)
    except ImportError as error:
        remedy = "Install faceblurd anew, with what it needs"
        channel.send(messages.SetupFailed(f"a worker does not start: {error}", remedy))
        return
    except FaceblurdError as error:
        channel.send(messages.SetupFailed(error.message, error.remedy))
        return
    left = _limit_memory(setup.memory_limit_bytes)
    if left < min(LEAST_MEMORY_BYTES, setup.memory_limit_bytes):
        channel.send(_too_little(left))
        return
    # A result was whole in memory before it is written: no file need be larger than that.
    in_force = sandbox.enter(most_file_bytes=setup.memory_limit_bytes) if setup.sandbox else "off"
    channel.send(messages.Ready(in_force))
    while True:
        _do(channel, setup, toolbox)
        if not channel.poll(_BREATH_SECONDS):
            _give_memory_back()


def _do(channel: WorkerEnd, setup: Setup, toolbox: Toolbox) -> None:
    """Do one job. Raises EOFError when there is none any more."""
    order, (source_fd, staging_fd) = channel.receive()
    job = order.job(setup.recipes)
    result = _perform_safely(job, source_fd, staging_fd, partial(_ask, channel, job), toolbox)
    os.close(source_fd)
    os.close(staging_fd)
    channel.send(result)


def _harden(parent_pid: int) -> None:
    """Die with the parent, leave every signal to stop to it, write no core dump (it would hold pixels)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before prctl was called
        os._exit(0)  # pragma: no cover - nothing is measured past it; tests/contract/test_pool.py sees the end
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # each may come to the whole group of processes
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)


def _limit_memory(limit_bytes: int) -> int:
    """Bound what a job may take on top of what the libraries mapped (cv2 alone maps 450 MB); return what that leaves.

    Less than asked for where the process was started with a limit of its own (`ulimit -v`).
    """
    with open("/proc/self/statm", encoding="ascii") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = mapped + limit_bytes
    bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    return bound - mapped


def _too_little(left_bytes: int) -> messages.SetupFailed:
    """Say that no photo can be worked on: allocations fail anywhere then, and what libraries make of that is chance."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = (hard - left_bytes + 2 * LEAST_MEMORY_BYTES) >> 10
    return messages.SetupFailed(
        f"the limit of this process's memory (ulimit -v {hard >> 10}) leaves {max(left_bytes, 0) >> 20} MB for a photo",
        f"Raise it to {wanted} at least: ulimit -v {wanted}",
    )


def _keep_memory_between_photos() -> None:
    """Let glibc take large arrays from its heap, and keep them for the next photo.

    By default each array is mapped and unmapped: 45,000 page faults and a fifth of the CPU time of a 12 MP photo.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
    if mallopt is not None:  # pragma: no branch - musl, where tests do not run
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def _give_memory_back() -> None:
    """Return what photos took, once there is a pause: 12 ms, and the next photo pays the page faults again."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:  # pragma: no branch - same
        trim(0)


def _ask(channel: WorkerEnd, job: Job, digest: str) -> bool:
    channel.send(Hashed(job.id, digest))
    return bool(channel.receive()[0])


def _perform_safely(
    job: Job, source_fd: int, staging_fd: int, ask: Callable[[str], bool], toolbox: Toolbox
) -> JobResult:
    """Turn whatever goes wrong into a `Refused`: a worker outlives a bad file."""
    start = time.monotonic()
    try:
        return perform(job, source_fd, staging_fd, ask, toolbox)
    except Exception as error:  # noqa: BLE001 - isolation point: the entry of the worker; the file is held, not the pool
        reason, detail, retryable = _why(error)
        return Refused(job.id, reason, detail[:500], retryable, _milliseconds(start))


_CV_NO_MEMORY = -4  # cv::Error::StsNoMem
_CPP_NO_MEMORY = "std::bad_alloc"
# Of libheif and its wrapper, before the rest; the last is what becomes of std::bad_alloc there.
_HEIF_NO_MEMORY = ("Memory allocation error", "Out of memory", "Internal error (unexpected C++ exception)")


def _why(error: Exception) -> tuple[Reason, str, bool]:
    """Translate an error: the reason, what to tell people, and whether another try may help."""
    if _lacked_memory(error):
        return Reason.OUT_OF_MEMORY, "needs more memory than workers.memory_limit_mb (or ulimit -v) allows", True
    match error:
        case ImageError():
            return error.reason, error.message, error.retryable
        case PluginError():
            return Reason.PLUGIN_FAILED, error.message, True
        case OSError():
            return reason_of(error.errno), error.strerror or str(error), True
    return Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}", True


def _lacked_memory(error: BaseException | None) -> bool:
    """Tell whether an allocation failed, whatever was made of that on the way up."""
    while error is not None:
        # OpenCV hands a C++ exception on by its text alone, which the standard library chose; so does libheif's wrapper
        text = str(error)
        said = text == _CPP_NO_MEMORY or (
            isinstance(error, ValueError | RuntimeError) and text.startswith(_HEIF_NO_MEMORY)
        )
        if said or isinstance(error, MemoryError) or getattr(error, "code", 0) == _CV_NO_MEMORY:
            return True
        error = error.__cause__ or error.__context__
    return False


def perform(job: Job, source_fd: int, staging_fd: int, ask: Callable[[str], bool], toolbox: Toolbox) -> JobResult:
    """Do one job and give its result.

    Raises ImageError, PluginError, OSError or MemoryError when no safe result can be made; nothing in the staging file
    counts then.
    """
    start = time.monotonic()
    content, digest = read_whole(source_fd, job.fingerprint, max_bytes=job.max_bytes)
    if not ask(digest):
        return Abandoned(job.id)
    result = toolbox.make(content, job.recipe, name=job.name, copy_when_clean=job.mode is Mode.MIRROR)
    if result is None:
        return Untouched(job.id, _milliseconds(start))
    output_digest = write_whole(staging_fd, result.content, mtime_ns=job.output_mtime_ns)
    return Staged(
        job.id, result.regions, output_digest, len(result.content), result.lossless, result.note, _milliseconds(start)
    )  # fmt: skip


def read_whole(fd: int, fingerprint: Fingerprint, *, max_bytes: int) -> tuple[bytes, str]:
    """Read and hash an open file; refuse one that is not, or no longer, the file that the parent saw."""
    if fingerprint.size > max_bytes:
        raise ImageError(Reason.TOO_LARGE, f"{fingerprint.size} bytes are more than workers.max_file_mb allows")
    _expect(fd, fingerprint)
    content, digest = bytearray(), hashlib.blake2b(digest_size=32)
    while chunk := os.pread(fd, _CHUNK, len(content)):
        content += chunk
        digest.update(chunk)
        if len(content) > max_bytes:
            break
    _expect(fd, fingerprint)
    if len(content) != fingerprint.size:
        raise ImageError(Reason.CHANGED_MEANWHILE, "changed while it was read", retryable=True)
    return bytes(content), digest.hexdigest()


def _expect(fd: int, fingerprint: Fingerprint) -> None:
    if Fingerprint.from_stat(os.fstat(fd)) != fingerprint:
        raise ImageError(Reason.CHANGED_MEANWHILE, "changed while it was read", retryable=True)


def write_whole(fd: int, content: bytes, *, mtime_ns: int | None) -> str:
    """Write and fsync the staging file, set its times where that can be, and return its digest."""
    view, offset = memoryview(content), 0
    while offset < len(view):
        offset += os.pwrite(fd, view[offset : offset + _CHUNK], offset)
    if os.fstat(fd).st_size != len(view):  # it is new: some file systems cannot cut one at all
        os.ftruncate(fd, len(view))
    if mtime_ns is not None:
        try:
            os.utime(fd, ns=(mtime_ns, mtime_ns))
        except OSError as error:  # a share whose files all belong to somebody else (CIFS with `uid=`), or without times
            if error.errno not in _NO_TIMES:
                raise
    os.fsync(fd)  # here and not in the parent: a slow disk must not stop the loop
    return hashlib.blake2b(content, digest_size=32).hexdigest()


def _milliseconds(start: float) -> int:
    return round((time.monotonic() - start) * 1000)
