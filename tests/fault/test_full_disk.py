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


class Case:
    """A root with one photo published while there was room, and one that came too late."""

    def __init__(self, full: Full, mode: str, inbox: Path, photos: list[bytes]) -> None:
        self.full, self.in_place, self.photo = full, mode == "in_place", photos[1]
        self.inbox = full.seen if self.in_place else inbox
        self.inbox.mkdir(exist_ok=True)
        path = {"path": str(full.path)} if self.in_place else {"path": str(inbox), "to": str(full.path)}
        self.root = path | {"mode": mode}
        (self.inbox / "0.jpg").write_bytes(photos[0])
        (self.inbox / "1.jpg.part").write_bytes(photos[1])  # so that it needs no room when the disk is full

    def published(self, service: Any) -> int:
        return sum(line["root"] == self.root["path"] for line in service.lines("file.published"))

    def is_explained(self, status: dict[str, Any]) -> bool:
        """Whether a status says of this root that there is no room."""
        about = [one for one in status["roots"] if one["path"] == self.root["path"]]
        about += [one for one in status["retried"] if one["path"].startswith(f"{self.root['path']}/")]
        return WHY.search(json.dumps(about)) is not None


@pytest.mark.slow
def test_full_disks_lose_nothing_and_room_lets_the_work_go_on(
    new_disk: Any, new_share: Any, new_service: Any, portraits: Any, face_is_hidden: Any, tmp_path: Path
) -> None:
    cases = [
        Case(Full(kind, new_disk, new_share), mode, tmp_path / f"inbox {kind}", portraits(2))
        for kind in ("tmpfs", "ext4", "tmpfs without inodes", "quota on a share")
        for mode in ("in_place", "mirror")
    ]
    service = new_service(*[case.root for case in cases])
    service.start()
    service.wait_for(lambda: all(case.published(service) for case in cases), what="results while there is room")
    first = [(case.full.seen / "0.jpg").read_bytes() for case in cases]

    for case in cases:
        case.full.fill()
        (case.inbox / "1.jpg.part").rename(case.inbox / "1.jpg")
    service.wait_for(
        lambda: all(case.is_explained(service.status()) for case in cases), what="the reasons in the status"
    )
    for case in cases:
        assert (case.inbox / "1.jpg").read_bytes() == case.photo
        assert case.in_place or not (case.full.seen / "1.jpg").exists()
        assert not list(case.full.seen.rglob(".*"))
    assert [(case.full.seen / "0.jpg").read_bytes() for case in cases] == first
    assert not service.lines("file.quarantined")

    for case in cases:
        case.full.make_room()
    service.wait_for(lambda: all(case.published(service) == 2 for case in cases), what="the rest")
    for case in cases:
        assert face_is_hidden((case.full.seen / "1.jpg").read_bytes())
        assert case.in_place or (case.inbox / "1.jpg").read_bytes() == case.photo
    assert [(case.full.seen / "0.jpg").read_bytes() for case in cases] == first
    service.wait_for(lambda: not any(case.is_explained(service.status()) for case in cases), what="a status without")
    assert service.stop() == 0
    for case in cases:
        assert not list(case.full.seen.rglob(".*"))
