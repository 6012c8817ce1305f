"""What the sandbox says and does where the kernel has less than it needs."""

from __future__ import annotations

import errno
import struct

import pytest

from faceblurd.workers import landlock, sandbox, seccomp


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
