"""One job in the worker, without a process around it: what is read, what is refused, what an error becomes."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import cv2
import pytest

from faceblurd.errors import ImageError, PluginError
from faceblurd.model import Abandoned, BlurSpec, DetectionSpec, Fingerprint, Job, Mode, Reason, Recipe, Refused
from faceblurd.workers import job as worker

RECIPE = Recipe("test", DetectionSpec((), None), BlurSpec())


def _memory(content: bytes) -> tuple[int, Fingerprint]:
    fd = os.memfd_create("photo")
    os.write(fd, content)
    return fd, Fingerprint.from_stat(os.fstat(fd))


def _perform(answer: bool, error: Exception | None = None) -> object:
    """Do a job; the toolbox raises `error`."""

    class Toolbox:
        def make(self, *_: object, **__: object) -> None:
            if error is not None:
                raise error

    source, fingerprint = _memory(b"photo")
    staging, _ = _memory(b"")
    one = Job(1, "a.jpg", RECIPE, Mode.IN_PLACE, fingerprint, None, 100)
    try:
        return worker._perform_safely(one, source, staging, lambda _: answer, Toolbox())  # type: ignore[arg-type]
    finally:
        os.close(source)
        os.close(staging)


def _raised_from(cause: Exception, error: Exception) -> Exception:
    """Give an error that a decoder made of another one."""
    error.__cause__ = cause
    return error


def test_a_no_from_the_parent_ends_the_job_before_anything_is_decoded() -> None:
    assert _perform(False, RuntimeError("decoded")) == Abandoned(1)


@pytest.mark.parametrize(
    ("error", "reason", "retryable"),
    [
        (ImageError(Reason.DAMAGED, "cut"), Reason.DAMAGED, False),
        (PluginError("plugin"), Reason.PLUGIN_FAILED, True),
        (OSError(errno.ENOSPC, "full"), Reason.NO_SPACE, True),
        (OSError(errno.EDQUOT, "full"), Reason.NO_SPACE, True),
        (OSError(errno.EIO, "broken"), Reason.IO_ERROR, True),
        (MemoryError(), Reason.OUT_OF_MEMORY, True),
        (cv2.error("std::bad_alloc"), Reason.OUT_OF_MEMORY, True),
        (_raised_from(MemoryError(), ImageError(Reason.DAMAGED, "does not decode")), Reason.OUT_OF_MEMORY, True),
        *(
            (_raised_from(error, ImageError(Reason.NOT_VERIFIED, "refused")), Reason.OUT_OF_MEMORY, True)
            for error in (
                ValueError("Memory allocation error: 1 byte"),
                RuntimeError("Memory allocation error: 1 byte"),
                RuntimeError("Out of memory"),
            )
        ),
        (RuntimeError("bug"), Reason.INTERNAL_ERROR, True),
    ],
)
def test_whatever_goes_wrong_is_a_refusal_with_its_reason(error: Exception, reason: Reason, *, retryable: bool) -> None:
    refused = _perform(True, error)
    assert isinstance(refused, Refused)
    assert (refused.job, refused.reason, refused.retryable) == (1, reason, retryable)


def test_opencv_without_memory_is_out_of_memory() -> None:
    error = cv2.error("Insufficient memory")
    error.code = -4
    refused = _perform(True, error)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.OUT_OF_MEMORY


def test_a_file_that_is_too_large_is_not_read() -> None:
    fd, fingerprint = _memory(b"photo")
    os.close(fd)  # reading it would fail
    with pytest.raises(ImageError) as caught:
        worker.read_whole(fd, fingerprint, max_bytes=4)
    assert caught.value.reason is Reason.TOO_LARGE


def test_a_file_that_is_not_what_the_parent_saw_is_refused() -> None:
    fd, fingerprint = _memory(b"photo")
    with pytest.raises(ImageError) as caught:
        worker.read_whole(fd, replace(fingerprint, ctime_ns=fingerprint.ctime_ns + 1), max_bytes=100)
    os.close(fd)
    assert (caught.value.reason, caught.value.retryable) == (Reason.CHANGED_MEANWHILE, True)


@pytest.mark.parametrize("content", [b"longer than it was said to be", b"s"])
def test_a_file_that_gives_other_bytes_than_its_size_is_refused(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd, fingerprint = _memory(b"photo")
    monkeypatch.setattr(worker.os, "pread", lambda _fd, _count, offset: content[offset : offset + 8])
    with pytest.raises(ImageError) as caught:
        worker.read_whole(fd, fingerprint, max_bytes=10)
    os.close(fd)
    assert caught.value.reason is Reason.CHANGED_MEANWHILE
