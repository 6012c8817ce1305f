"""No room where a result is to go: nothing is lost or torn, status says why, and room lets the work go on by itself."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RESUMES_SECONDS = 60
WHY = re.compile(r"no_space|no room|no space|disk is full", re.IGNORECASE)


class Full:
    """A place of a kind that can be filled: `path` for the daemon, `seen` for the test."""

    def __init__(self, kind: str, new_disk: Callable[..., Any], new_share: Callable[..., Any]) -> None:
        self._kind = kind
        self._taken: list[Path] = []
        if kind == "quota on a share":
            self._share = new_share()
            self.path, self.seen = self._share.mounted, self._share.behind
            return
        disk = new_disk(kind.partition(" ")[0])
        disk.mount("nr_inodes=40" if "inodes" in kind else "defaults", size="8M")
        self.path, self.seen = disk.path, disk.seen

    def fill(self) -> None:
        if self._kind == "quota on a share":
            self._share.tell("errno EDQUOT")
            return
        with suppress(OSError):
            while "inodes" in self._kind:
                path = self.seen / f"taken{len(self._taken)}"
                path.touch()
                self._taken.append(path)
        if "inodes" not in self._kind:
            self._taken.append(self.seen / "filler")
            _take_all_blocks(self._taken[0])

    def make_room(self) -> None:
        if self._kind == "quota on a share":
            self._share.tell("ok")
        for path in self._taken:
            path.unlink()


def _take_all_blocks(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass


@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "tmpfs without inodes", "quota on a share"])
@pytest.mark.parametrize("mode", ["in_place", "mirror"])
def test_a_full_disk_loses_nothing_and_room_lets_the_work_go_on(
    new_disk: Any, new_share: Any, new_service: Any, portraits: Any, face_is_hidden: Any, tmp_path: Path, mode: str,
    kind: str,
) -> None:  # fmt: skip
    full, in_place = Full(kind, new_disk, new_share), mode == "in_place"
    inbox, results = (full.seen, full.seen) if in_place else (tmp_path / "inbox", full.seen)
    inbox.mkdir(exist_ok=True)
    root = (
        {"path": str(full.path), "mode": mode} if in_place else {"path": str(inbox), "mode": mode, "to": str(full.path)}
    )
    service = new_service(root)
    (inbox / "0.jpg").write_bytes(portraits(2)[0])
    (inbox / "1.jpg.part").write_bytes(portraits(2)[1])  # so that it needs no room when the disk is full
    service.start()
    service.wait_for(lambda: service.lines("file.published"), what="a result while there is room")
    first = (results / "0.jpg").read_bytes()
    full.fill()

    (inbox / "1.jpg.part").rename(inbox / "1.jpg")
    service.wait_for(lambda: WHY.search(json.dumps(service.status())), what="the reason in the status")
    assert (inbox / "1.jpg").read_bytes() == portraits(2)[1]
    assert in_place or not (results / "1.jpg").exists()
    assert (results / "0.jpg").read_bytes() == first
    assert not list(full.seen.rglob(".*"))
    assert not service.lines("file.quarantined")

    full.make_room()
    service.wait_for(lambda: len(service.lines("file.published")) == 2, seconds=RESUMES_SECONDS, what="the rest")
    assert face_is_hidden((results / "1.jpg").read_bytes())
    assert (results / "0.jpg").read_bytes() == first
    assert in_place or (inbox / "1.jpg").read_bytes() == portraits(2)[1]
    service.wait_for(lambda: not WHY.search(json.dumps(service.status())), what="a status without it")
    assert service.stop() == 0
    assert not list(full.seen.rglob(".*"))
