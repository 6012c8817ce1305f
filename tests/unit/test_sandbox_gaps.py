"""What a worker says and does at its start where the kernel, or its recipe, has less than it needs."""

from __future__ import annotations

import errno
import struct
import subprocess
import sys

import pytest

from faceblurd.errors import SetupError
from faceblurd.model import BlurSpec, DetectionSpec, Recipe
from faceblurd.workers import sandbox
from faceblurd.workers.sandbox import landlock, seccomp
from faceblurd.workers.toolbox import Toolbox


def _lacks(*_: object) -> None:
    raise OSError(errno.ENOSYS, "Function not implemented")


def test_what_the_kernel_lacks_is_told_and_the_limits_still_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    monkeypatch.setattr(landlock, "restrict", _lacks)
    monkeypatch.setattr(seccomp, "restrict", _lacks)
    monkeypatch.setattr(sandbox, "_limit", limits.append)
    said = sandbox.enter(most_file_bytes=7)
    assert said == "limits (no landlock: Function not implemented; no seccomp: Function not implemented)"
    assert limits == [7]


def test_there_is_no_filter_for_an_unknown_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp.platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="riscv64") as caught:
        seccomp.restrict()
    assert caught.value.errno == errno.ENOSYS


@pytest.mark.parametrize(("abi", "words"), [(1, 1), (3, 1), (4, 2), (6, 3), (7, 3)])
def test_a_ruleset_names_only_what_this_version_of_landlock_knows(
    abi: int, words: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bytes] = []
    monkeypatch.setattr(landlock, "_call", lambda _number, *arguments: given.append(arguments[0]) or 3)
    assert landlock._ruleset(abi) == 3
    (attributes,) = given
    assert len(attributes) == 8 * words
    rights = {1: 13, 3: 15, 4: 15, 6: 16, 7: 16}[abi]
    assert struct.unpack("=Q", attributes[:8]) == ((1 << rights) - 1,)


def test_a_directory_that_is_not_there_needs_no_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "_call", lambda *_: pytest.fail("a rule was added"))
    landlock._allow_reading(3, "/nowhere/at/all")


def test_a_refused_call_is_an_error_with_its_number() -> None:
    with pytest.raises(OSError) as caught:
        landlock._call(landlock._RESTRICT_SELF, -1, 0)
    assert caught.value.errno in {errno.EBADF, errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP}


FILTERED = """
import ctypes, errno, platform, struct, sys, threading
from faceblurd.workers.sandbox import seccomp

libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
call = seccomp._SECCOMP[platform.machine()]

def load(*steps):
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    assert libc.syscall(call, 1, 0, struct.pack("@HP", len(steps), ctypes.addressof(buffer))) == 0

def own_filter():
    load(seccomp._allow())
    ready.set()
    leave.wait()

ready, leave = threading.Event(), threading.Event()
if sys.argv[1] == "an old kernel":  # which does not know the call
    load(seccomp._load(0), *seccomp._on(call, [seccomp._return(0x50000 | errno.ENOSYS)]), seccomp._allow())
else:
    threading.Thread(target=own_filter, daemon=True).start()
    ready.wait()
try:
    seccomp.restrict()
except OSError as error:
    print(error.errno, error.strerror)
leave.set()
"""


@pytest.mark.parametrize(
    ("where", "number", "says"),
    [
        ("an old kernel", errno.ENOSYS, "Function not implemented"),
        ("a thread with a filter", errno.ESRCH, "has a filter of its own"),
    ],
)
def test_a_filter_that_does_not_hold_for_every_thread_is_an_error(where: str, number: int, says: str) -> None:
    done = subprocess.run([sys.executable, "-c", FILTERED, where], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said, _, text = done.stdout.partition(" ")
    assert int(said) == number
    assert says in text


def test_a_recipe_without_a_detector_is_refused_at_the_start() -> None:
    """Nothing would be found, and everything published."""
    recipe = Recipe("empty", DetectionSpec((), 200), BlurSpec())
    with pytest.raises(SetupError, match="recipe empty has no detector") as caught:
        Toolbox.open((recipe,), ())
    assert caught.value.remedy
