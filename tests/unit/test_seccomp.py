"""The filter program, run by an interpreter of ours for every call and both architectures: no kernel is needed."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os

import pytest

from faceblurd.workers.sandbox import landlock, seccomp

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PID = 4711
ALLOW, REFUSE, NO_SUCH_CALL = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS


def answer(machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    """Interpret the program for one call, as the kernel would."""
    steps = seccomp.program(machine, PID)
    seen = {0: number, 4: ARCHITECTURES[machine] if arch is None else arch}
    for place, value in enumerate((*arguments, *[0] * (6 - len(arguments)))):
        seen[16 + 8 * place], seen[20 + 8 * place] = value & 0xFFFFFFFF, value >> 32
    at, held = 0, 0
    while True:
        code, if_true, if_false, constant = steps[at]
        at += 1
        if code == 0x06:
            return constant
        if code == 0x20:
            held = seen[constant]
            continue
        true = {0x15: held == constant, 0x35: held >= constant, 0x45: bool(held & constant)}[code]
        at += if_true if true else if_false


def on(machine: str, x86_64: int, aarch64: int) -> int:
    return x86_64 if machine == "x86_64" else aarch64


@pytest.fixture(params=ARCHITECTURES)
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_forbidden_call_is_refused_and_ordinary_ones_are_not(machine: str) -> None:
    for number in seccomp.forbidden(machine).values():
        assert answer(machine, number) == REFUSE
    for x86_64, aarch64 in (
        (0, 63),
        (1, 64),
        (9, 222),
        (17, 67),
        (77, 46),
        (202, 98),
    ):  # read write mmap pread trunc futex
        assert answer(machine, on(machine, x86_64, aarch64), 3, 5, 7) == ALLOW


def test_calls_by_the_numbers_of_another_architecture_are_refused(machine: str) -> None:
    assert answer(machine, 0, arch=0x40000003) == REFUSE  # i386
    assert answer(machine, 0x40000000) == REFUSE  # x32


def test_threads_may_start_and_processes_may_not(machine: str) -> None:
    clone = on(machine, 56, 220)
    assert answer(machine, clone, 0x3D0F00) == ALLOW  # what pthread_create asks for
    assert answer(machine, clone, 0x1200011) == REFUSE  # fork
    assert answer(machine, 435) == NO_SUCH_CALL


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(os.O_RDONLY | os.O_CLOEXEC, ALLOW), (os.O_WRONLY, REFUSE), (os.O_RDWR, REFUSE), (os.O_CREAT, REFUSE),
     (os.O_TRUNC, REFUSE), (3, REFUSE), (os.O_TMPFILE | os.O_RDWR, REFUSE)],
)  # fmt: skip
def test_files_open_for_reading_only(machine: str, flags: int, expected: int) -> None:
    assert answer(machine, on(machine, 257, 56), 2**32 - 100, 0x7000, flags) == expected


def test_signals_and_limits_reach_this_process_only(machine: str) -> None:
    for call in (on(machine, 62, 129), on(machine, 234, 131)):
        assert answer(machine, call, PID) == ALLOW
        assert answer(machine, call, PID - 1) == REFUSE
        assert answer(machine, call, 2**32 - 1) == REFUSE  # everybody
    assert answer(machine, on(machine, 302, 261), 0) == ALLOW
    assert answer(machine, on(machine, 302, 261), PID) == REFUSE


def test_limits_may_be_read_and_not_raised(machine: str) -> None:
    prlimit = on(machine, 302, 261)
    assert answer(machine, prlimit, 0, 9, 0, 0x7000) == ALLOW
    assert answer(machine, prlimit, 0, 9, 0x7000) == REFUSE
    assert answer(machine, prlimit, 0, 9, 0x7000 << 32) == REFUSE


def test_the_scheduling_of_others_stays_theirs(machine: str) -> None:
    for call in (on(machine, 203, 122), on(machine, 144, 119), on(machine, 314, 274)):
        assert answer(machine, call, 0) == answer(machine, call, PID) == ALLOW
        assert answer(machine, call, PID - 1) == REFUSE


def test_times_change_by_descriptor_and_not_by_name(machine: str) -> None:
    utimensat = on(machine, 280, 88)
    assert answer(machine, utimensat, 5, 0) == ALLOW
    assert answer(machine, utimensat, 5, 0x7000) == REFUSE
    assert answer(machine, utimensat, 5, 0x7000 << 32) == REFUSE


def test_no_owner_of_signals_and_no_odd_device_call(machine: str) -> None:
    assert answer(machine, on(machine, 72, 25), 5, 1) == ALLOW  # F_GETFD
    assert answer(machine, on(machine, 72, 25), 5, 8) == REFUSE  # F_SETOWN
    assert answer(machine, on(machine, 16, 29), 5, 0x5401) == ALLOW
    assert answer(machine, on(machine, 16, 29), 5, 0x5412) == REFUSE  # TIOCSTI types into the terminal


def test_the_numbers_are_those_of_libseccomp(machine: str) -> None:
    found = ctypes.util.find_library("seccomp")
    if found is None:
        pytest.skip("libseccomp is not installed")
    library = ctypes.CDLL(found)
    unknown = set()
    for name, number in seccomp.forbidden(machine).items():
        theirs = library.seccomp_syscall_resolve_name_arch(ARCHITECTURES[machine], name.encode())
        if theirs < 0:
            unknown.add(name)
        else:
            assert theirs == number, name
    assert unknown <= {"setxattrat", "removexattrat", "file_setattr", "fchmodat2"}  # younger than the library


def test_a_kernel_without_landlock_is_an_os_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    with pytest.raises(OSError, match="no landlock") as caught:
        landlock.restrict([])
    assert caught.value.errno == errno.ENOSYS
