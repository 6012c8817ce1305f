"""`faceblurd scan` from cron ends, whatever its disks do; and a mirror whose disk is away is not filled below it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = str(Path(sys.executable).with_name("faceblurd"))


def test_a_scan_with_a_full_mirror_ends_and_the_next_one_with_room_publishes(
    new_disk: Any, new_service: Any, portraits: Any, tmp_path: Path
) -> None:
    disk, inbox = new_disk("tmpfs"), tmp_path / "in"
    disk.mount(size="8k")
    inbox.mkdir()
    for number, content in enumerate(portraits(3)):
        (inbox / f"{number}.jpg").write_bytes(content)
    service = new_service({"path": str(inbox), "mode": "mirror", "to": str(disk.path), "on_failure": "hold"})
    assert service.scan() == 1
    assert service.lines("root.full")
    assert not list(disk.seen.iterdir())
    assert len(list(inbox.iterdir())) == 3, "nothing is moved away for a disk that is full"
    disk.unmount()
    disk.mount()
    assert service.scan() == 0
    assert len(list(disk.seen.iterdir())) == 3
    assert service.status()["held"] == []


def test_a_blur_into_a_full_mirror_ends(new_disk: Any, namespace: Any, portraits: Any, tmp_path: Path) -> None:
    disk = new_disk("tmpfs")
    disk.mount(size="8k")
    (tmp_path / "a.jpg").write_bytes(portraits(1)[0])
    command = [*namespace.inside, COMMAND, "blur", tmp_path / "a.jpg", "--to", disk.path, "--recipe", "fast"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3
    assert "No space left" in done.stderr
    assert not list(disk.seen.iterdir())


@pytest.mark.slow
def test_a_scan_ends_although_a_share_hangs_and_does_the_other_roots(
    share: Any, new_service: Any, portraits: Any, tmp_path: Path
) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    (inbox / "a.jpg").write_bytes(portraits(1)[0])
    share.tell("hang")
    service = new_service(
        {"path": str(share.mounted), "mode": "mirror", "to": str(tmp_path / "share-out")},
        {"path": str(inbox), "mode": "mirror", "to": str(tmp_path / "out")},
    )
    assert service.scan() == 1
    assert (tmp_path / "out" / "a.jpg").exists()
    assert "does not answer" in service.lines("root.suspended")[0]["detail"]


def _blur(share: Any, *arguments: object, listed: str = "") -> Any:
    command = [*share.inside, COMMAND, "blur", *map(str, arguments), "--recipe", "fast", "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, input=listed)


def test_a_blur_ends_although_a_share_hangs_and_does_what_lies_elsewhere(
    share: Any, portraits: Any, tmp_path: Path
) -> None:
    photo, out = tmp_path / "a.jpg", tmp_path / "out"
    photo.write_bytes(portraits(1)[0])
    share.tell("hang")
    listed = "".join(f"{path}\n" for path in (share.mounted / "1.jpg", share.mounted / "2.jpg", photo))
    done = _blur(share, "-", "--to", out, listed=listed)
    assert done.returncode == 1
    assert (out / "a.jpg").exists()
    assert done.stderr.count("does not answer") == 2
    done = _blur(share, share.mounted, "--in-place")
    assert (done.returncode, "does not answer" in done.stderr) == (2, True)
    done = _blur(share, photo, "--to", share.mounted / "out")
    assert (done.returncode, "does not answer" in done.stderr) == (1, True)


@pytest.mark.slow
@pytest.mark.parametrize("into", [True, False])
def test_a_blur_ends_although_its_share_hangs_in_the_midst_of_it(
    share: Any, portraits: Any, tmp_path: Path, *, into: bool
) -> None:
    """One folder of it hangs: the source of a photo, or where the result goes."""
    other = tmp_path / "other"
    inbox, out = (other, share.mounted) if into else (share.mounted, other)
    for folder in ("good", "bad"):
        (other / folder).mkdir(parents=True)
        (share.behind / folder).mkdir()
    for name, content in zip(("good/a.jpg", "bad/b.jpg"), portraits(2), strict=True):
        ((other if into else share.behind) / name).write_bytes(content)
    share.tell("hang bad")
    done = _blur(share, inbox, "--to", out)
    assert done.returncode == 1, done.stderr
    outcomes = {Path(one["path"]).name: one for one in map(json.loads, done.stdout.splitlines())}
    bad = outcomes["b.jpg" if into else share.mounted.name]
    assert (bad["outcome"], bad["reason"]) == ("held", "unreachable")
    published = (share.behind if into else other) / "good" / "a.jpg"
    assert published.exists() == ("a.jpg" in outcomes and outcomes["a.jpg"]["outcome"] == "published")


@pytest.mark.parametrize("below", ["", "photos/blurred"])
def test_a_mirror_whose_disk_is_away_at_the_start_is_not_filled_below_it(
    new_disk: Any, new_service: Any, namespace: Any, portraits: Any, tmp_path: Path, below: str
) -> None:
    disk, inbox, photos = new_disk("tmpfs"), tmp_path / "in", portraits(2)
    disk.mount()
    inbox.mkdir()
    (inbox / "a.jpg").write_bytes(photos[0])
    service = new_service({"path": str(inbox), "mode": "mirror", "to": str(disk.path / below)})
    service.start()
    service.wait_for(lambda: service.lines("file.published"), what="the first photo")
    assert service.stop() == 0
    disk.unmount()

    (inbox / "b.jpg").write_bytes(photos[1])
    service.start()
    service.wait_for(lambda: service.lines("root.suspended"), what="the reason")
    assert ("is not there" if below else "it is not mounted") in service.lines("root.suspended")[0]["detail"]
    assert not list(disk.path.iterdir())
    if not below:
        remedy = service.lines("root.suspended")[0]["detail"].partition("`")[2].partition("`")[0]
        command = [*namespace.inside, *_installed(remedy.replace("FILE", str(service.config)))]
        subprocess.run(command, check=True, capture_output=True)
        service.wait_for(lambda: len(list(disk.seen.iterdir())) == 2, what="both photos in the folder below")
    assert service.stop() == 0


def _installed(remedy: str) -> list[str]:
    """The command that a message names, as the one that is installed here."""
    name, *arguments = remedy.split(" ")
    return [str(Path(sys.executable).with_name(name)), *arguments]
