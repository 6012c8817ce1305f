"""The share that the other tests misuse: it passes everything on, misbehaves as it is told, and leaves nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK = "import os, sys; print(sorted(os.listdir(sys.argv[1])))"
PLACE = "import sys; open(sys.argv[1] + '/new', 'w').close()"
TRY = """
import ctypes, errno, os, sys
os.chdir(sys.argv[1])
for name in ("a", "b"):
    open(name, "w").write(name)
print(ctypes.CDLL(None, use_errno=True).renameat2(-100, b"a", -100, b"b", 2), open("b").read(), end=" ")
try:
    os.open(".", os.O_TMPFILE | os.O_RDWR)
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def _start(share: Any, code: str, place: Path | None = None) -> subprocess.Popen[str]:
    arguments = [*share.inside, sys.executable, "-c", code, place or share.mounted]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _end(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=300)
    return out.strip() or errors.strip().rpartition("\n")[2]


def test_a_share_passes_on_what_is_behind_it_and_only_its_namespace_sees_it(share: Any) -> None:
    (share.behind / "photo.jpg").write_bytes(b"x")
    assert _end(_start(share, LOOK)) == "['photo.jpg']"
    assert list(share.mounted.iterdir()) == []
    assert _end(_start(share, PLACE)) == ""
    assert (share.behind / "new").exists()


def test_a_hanging_share_holds_whoever_calls_until_it_is_told_to_go_on(
    share: Any, wait_until: Callable[..., Any]
) -> None:
    (share.behind / "bad").mkdir()
    share.tell("hang bad")
    process = _start(share, LOOK, share.mounted / "bad")
    wait_until(lambda: share.hangs, what="the call that hangs")
    process.kill()
    with pytest.raises(subprocess.TimeoutExpired):  # as on a dead NFS server, not even a kill gets through
        process.wait(0.5)
    assert _end(_start(share, LOOK)) == "['bad']", "the rest of it goes on"
    share.tell("ok")
    assert process.wait(300) == -9
    process.communicate()


@pytest.mark.parametrize("name", ["ESTALE", "EIO", "EBUSY", "ETIMEDOUT"])
def test_a_failing_share_fails_every_call_and_comes_back(share: Any, name: str) -> None:
    share.tell(f"errno {name}")
    assert f"[Errno {getattr(errno, name)}]" in _end(_start(share, LOOK))
    share.tell("ok")
    assert _end(_start(share, LOOK)) == "[]"


@pytest.mark.parametrize("name", ["ENOSPC", "EROFS"])
def test_a_full_or_read_only_share_can_still_be_read(share: Any, name: str) -> None:
    share.tell(f"errno {name}")
    assert _end(_start(share, LOOK)) == "[]"
    assert f"[Errno {getattr(errno, name)}]" in _end(_start(share, PLACE))


def test_a_share_whose_process_died_lets_go_of_whoever_hangs_and_can_be_mounted_again(
    share: Any, wait_until: Callable[..., Any]
) -> None:
    share.tell("hang")
    process = _start(share, LOOK)
    wait_until(lambda: share.hangs, what="the call that hangs")
    share.die()
    assert f"[Errno {errno.ENOTCONN}]" in _end(process) or f"[Errno {errno.ECONNABORTED}]" in _end(process)
    assert f"[Errno {errno.ENOTCONN}]" in _end(_start(share, LOOK))
    share.unmount()
    (share.behind / "back").touch()
    assert _end(_start(share, LOOK)) == "[]"
    share.tell("ok")
    share.mount()
    assert _end(_start(share, LOOK)) == "['back']"


@pytest.mark.parametrize(
    ("way", "says"), [("", "-1 b ENOTSUP"), ("exchange", "0 a ENOTSUP"), ("careless", "0 a ENOTSUP")]
)
def test_a_share_has_no_nameless_files_and_exchanges_only_as_asked(
    new_share: Callable[..., Any], way: str, says: str
) -> None:
    share = new_share(way)
    assert _end(_start(share, TRY)) == says
    assert sorted(os.listdir(share.behind)) == (["b"] if way == "careless" else ["a", "b"])


def test_a_share_without_case_finds_names_in_any_case_and_keeps_the_first(new_share: Callable[..., Any]) -> None:
    share = new_share("ignore-case")
    (share.behind / "IMG.JPG").write_bytes(b"1")
    code = (
        "import os, sys; os.chdir(sys.argv[1]); open('img.jpg', 'w').write('22'); print(os.listdir(), end=' ');"
        "os.rename('IMG.JPG', 'Img.jpg'); print(os.listdir())"
    )
    assert _end(_start(share, code)) == "['IMG.JPG'] ['Img.jpg']"
    assert (share.behind / "Img.jpg").read_bytes() == b"22"


def test_nothing_is_left_of_a_share_when_the_test_ends_while_it_hangs(
    share: Any, wait_until: Callable[..., Any]
) -> None:
    share.tell("hang")
    process = _start(share, LOOK)
    wait_until(lambda: share.hangs, what="the call that hangs")
    share.die()  # what the fixture does at the end
    process.communicate(timeout=300)
    assert "share" not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
