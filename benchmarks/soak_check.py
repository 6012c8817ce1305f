"""What must be there at the end of a soak, and what must not, by the content of every file."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from soak_writers import look

if TYPE_CHECKING:
    import random
    from collections import Counter
    from collections.abc import Collection
    from pathlib import Path

    from soak_writers import World

_RSYNC_LEFT: Final = re.compile(r"\.p\d+\.jpg\.\w{6}")  # by one whose disk went away: nobody's photo
KINDS: Final = ("lost", "stale", "shown", "torn", "extra", "resurrected")


@dataclass(frozen=True)
class Checker:
    """Compares the folders with the world. `follow`: the mirror must have the results of present sources only."""

    world: World
    top: Path
    follow: bool
    _seen: dict[tuple[str, int, int, int], tuple[int, bool] | None] = field(default_factory=dict)

    def _look(self, path: Path) -> tuple[int, bool] | None:
        """Look at a photo; at one that has not changed, once."""
        with suppress(OSError):
            st = path.stat()
            key = (str(path), st.st_ino, st.st_mtime_ns, st.st_ctime_ns)
            if key not in self._seen:
                self._seen[key] = look(path)
            return self._seen[key]
        return None

    def _result(self, source: Path) -> Path:
        mirrored = self.top / "mirrored"
        return self.top / "out" / source.relative_to(mirrored) if source.is_relative_to(mirrored) else source

    def wrong(self) -> dict[str, list[str]]:
        """List what is not as it should be, by kind."""
        found: dict[str, list[str]] = {kind: [] for kind in KINDS}
        for source, number in self.world.newest.items():
            seen = self._look(self._result(source))
            if seen is None:
                found["lost"].append(str(source))
            elif seen[0] != number:
                found["stale"].append(f"{source}: upload {seen[0]} instead of {number}")
        ever = {self._result(source): set(numbers) for source, numbers in self.world.ever.items()}
        now = {self._result(source) for source in self.world.newest}
        for folder in (self.top / "out", self.top / "in_place"):
            for path in (path for path in folder.rglob("*") if not path.is_dir()):
                if not _RSYNC_LEFT.fullmatch(path.name) or folder.name == "out":
                    self._judge(path, ever.get(path), found, gone=path not in now)
        return found

    def _judge(self, path: Path, uploads: set[int] | None, found: dict[str, list[str]], *, gone: bool) -> None:
        seen = self._look(path)
        if uploads is None:
            found["extra"].append(str(path))
        elif gone and (self.follow or path.is_relative_to(self.top / "in_place")):
            found["resurrected"].append(str(path))
        if seen is None:
            found["torn"] += [str(path)] if path.exists() else []
        elif not seen[1]:
            found["shown"].append(str(path))
        elif uploads is not None and seen[0] not in uploads:
            found["stale"].append(f"{path}: upload {seen[0]} never had that name")

    def kept(self, held: Collection[str]) -> list[Path]:
        """List the results of photos that were gone before another one got their name: `held` lacks theirs for that.

        The promise where a mirror keeps (docs/reliability.md): what is nobody's photo any more is not overwritten, and
        the new photo comes out when that was moved away.
        """
        found = []
        for source, number in self.world.newest.items():
            result = self._result(source)
            seen = self._look(result) if str(source) in held and result != source and not self.follow else None
            if seen is not None and seen[1] and seen[0] != number and seen[0] in self.world.left[source]:
                found.append(result)
        return found

    def peek(self, chance: random.Random, most: int) -> list[str]:
        """Look at some results in the mirror right now: at no moment may one be half-written, or show a face."""
        folders = [path for path in (self.top / "out").glob("*/*") if path.is_dir()]
        shown = []
        for _ in range(most if folders else 0):
            names = list(chance.choice(folders).iterdir())
            if not names:
                continue
            path = chance.choice(names)
            seen = self._look(path) or self._look(path)  # gone and back in between: the disk was away
            if (seen is None and path.exists()) or (seen is not None and not seen[1]):
                shown.append(str(path))
        return shown

    def duplicates(self, published: Counter[str]) -> list[str]:
        """List the paths that were published more often than there were uploads under their names."""
        ever = {str(source): len(numbers) for source, numbers in self.world.ever.items()}
        return [f"{path}: {count} times" for path, count in published.items() if count > ever.get(path, 0)]
