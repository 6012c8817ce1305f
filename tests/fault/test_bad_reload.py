"""A reload with a configuration that is no good: the old one stays in force whole, and the log says what is wrong."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from stand_ins import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GOOD = """\
state_dir: {folder}/state
roots:
  - path: {folder}/in
    mode: mirror
    to: {folder}/out
    quiet_seconds: 0.2
"""
MODEL = """\
detection:
  detectors:
    - kind: networks
      model: {folder}/no-such-model.onnx
"""
CASCADE = """\
detection:
  detectors:
    - kind: haar
      cascade: {folder}/config.yaml
"""
BAD: dict[str, tuple[str, str]] = {  # what is written, and how the error must begin
    "an unknown key": (GOOD.replace("quiet_", "quite_"), "{config}:6: roots[0].quite_seconds: "),
    "a value out of bounds": (GOOD.replace("0.2", "-1"), "{config}:6: roots[0].quiet_seconds: "),
    "a list that never ends": (GOOD.replace("mode: mirror", "mode: [mirror"), "{config}:"),
    "bytes that are no text": (GOOD + "# caf\udce9\n", "{config}"),
    "nothing": ("", "{config}"),
    "a detector's model that is not there": (GOOD + MODEL, "{config}:10: detection.detectors[0].model: "),
    "a cascade that does not load": (GOOD + CASCADE, "{config}:10: detection.detectors[0].cascade: "),
    "a plugin that is not installed": (GOOD + "hooks:\n  plugins: [no-such-plugin]\n", "plugin 'no-such-plugin'"),
    "another state directory": (GOOD.replace("/state", "/elsewhere"), "state_dir cannot change"),
    "a mirror below a file": (GOOD.replace("{folder}/out", "{folder}/config.yaml/out"), "the mirror "),
}  # fmt: skip


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    one = ServiceManager(tmp_path, watchdog_seconds=60)
    yield one
    one.close()


class Owner:
    """Who writes a configuration, sends SIGHUP, and looks whether photos still come out."""

    def __init__(self, one: Any, folder: Path, photos: list[bytes]) -> None:
        self.one, self.folder, self._photos = one, folder, photos

    def write(self, config: str) -> None:
        content = config.replace("{folder}", str(self.folder))
        self.one.config_path.write_bytes(content.encode("utf-8", "surrogateescape"))

    def reload(self) -> None:
        os.kill(self.one.pid, signal.SIGHUP)

    def is_refused(self) -> str:
        """Reload; give the error."""
        before = len(self.one.lines("config.refused"))
        self.reload()
        self.one.wait_for(lambda: len(self.one.lines("config.refused")) > before, what="the refusal")
        line = self.one.lines("config.refused")[before]
        assert line["level"] == "error"
        return str(line["detail"])

    def publishes(self, root: str, to: str) -> None:
        """Drop a photo and wait for its result."""
        name = f"{len(self._photos)}.jpg"
        (self.folder / root / name).write_bytes(self._photos.pop())
        self.one.wait_for((self.folder / to / name).exists, what=f"{root}/{name}")


@pytest.fixture
def owner(
    daemon: Callable[..., Any], tmp_path: Path, portraits: Callable[[int], list[bytes]], manager: ServiceManager
) -> Owner:
    """A running daemon, for which the modes of files count even where the tests are run by root."""
    (tmp_path / "in").mkdir()
    powerless = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--"] if os.geteuid() == 0 else []
    one = daemon(env=manager.env, around=powerless)
    owner = Owner(one, tmp_path, portraits(2 * len(BAD) + 4))
    owner.write(GOOD)
    one.start()
    owner.publishes("in", "out")
    return owner


def _refused_after_a_new_mirror(owner: Owner) -> None:
    """What comes before the fault in a configuration has no effect either: no folder, no photo done anew."""
    first, inode = owner.folder / "new" / "out", owner.folder / "out" / os.listdir(owner.folder / "out")[0]
    before = inode.stat().st_ino
    impossible = GOOD.partition("roots:\n")[2].replace("/in", "/in2").replace("/out", "/config.yaml/out")
    for fault in ("hooks:\n  plugins: [no-such-plugin]\n", impossible):
        owner.write(GOOD.replace("{folder}/out", str(first)) + fault)
        owner.is_refused()
        assert not first.parent.exists()
    assert inode.stat().st_ino == before


def test_a_bad_configuration_changes_nothing_and_the_next_good_one_is_taken_over(
    owner: Owner, manager: ServiceManager, wait_until: Callable[..., Any]
) -> None:
    one = owner.one
    for what, (config, error) in BAD.items():
        owner.write(config)
        refusal = owner.is_refused()
        assert refusal.startswith(error.format(config=one.config_path)), f"{what}: {refusal}"
        owner.publishes("in", "out")
    _refused_after_a_new_mirror(owner)
    owner.write(GOOD)
    one.config_path.chmod(0)
    assert owner.is_refused().startswith(str(one.config_path))
    owner.publishes("in", "out")
    one.config_path.unlink()
    assert owner.is_refused().startswith(str(one.config_path))
    owner.publishes("in", "out")
    assert one.lines("config.reloaded") == []
    assert not (owner.folder / "elsewhere").exists()

    (owner.folder / "in2").mkdir()
    more = GOOD.partition("roots:\n")[2].replace("/in", "/in2").replace("/out", "/out2")
    owner.write(GOOD + more)
    owner.reload()
    (reloaded,) = one.wait_for(lambda: one.lines("config.reloaded"), what="the reload")
    assert reloaded["roots"] == [str(owner.folder / "in"), str(owner.folder / "in2")]
    owner.publishes("in2", "out2")
    one.wait_for(lambda: len(one.finished()) == len(BAD) + 4, what="the log's last line")  # it comes after the result
    assert [seen for seen in one.finished().values() if seen != ["published"]] == []
    manager.mark(wait_until)
    reloads = len(BAD) + 5
    assert manager.count("RELOADING=1") == reloads
    assert manager.count("READY=1") == reloads + 1  # or systemd would wait for the end of a reload
    assert one.stop() == 0
