"""What a large ledger costs: bytes a photo, and seconds of processor for what happens after each one.

Makes a ledger of `--rows` photos of a mirror, below a folder of its own that is removed at the end, and then does what
the daemon does for one more photo: the intent, the look-ups, the outcome, the counts for `faceblurd status`. The same
with a hundredth of the rows shows whether the cost grows. Runs on the ledger of any version that has `Ledger`.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceblurd.ledger.ledger import Ledger
from faceblurd.model import Entry, Fingerprint, Intent, State

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT, TO, RECIPE = "/srv/photos/inbox", "/srv/photos/blurred", "0123456789abcdef"
BATCH, PHOTOS = 10_000, 200


def _moment(rng: random.Random) -> int:
    return rng.randrange(1_500_000_000, 1_800_000_000) * 10**9 + rng.randrange(10**9)


def _entry(number: int, rng: random.Random) -> Entry:
    source = Fingerprint(64_769, rng.randrange(1 << 28), rng.randrange(1 << 23), _moment(rng), _moment(rng))
    target = Fingerprint(64_769, rng.randrange(1 << 28), rng.randrange(1 << 23), source.mtime_ns, _moment(rng))
    place: dict[str, Any] = {"to": TO} if "to" in {field.name for field in fields(Entry)} else {}
    path = f"{2005 + number % 20}/{number % 240:03}/IMG_{number:07}.jpg"
    digests = (rng.randbytes(32).hex(), rng.randbytes(32).hex())
    return Entry(ROOT, path, State.PUBLISHED, RECIPE, source, *digests, target, **place)


def _fill(ledger: Ledger, rows: int) -> None:
    rng = random.Random(7)
    for first in range(0, rows, BATCH):
        with ledger.transaction():
            for number in range(first, min(first + BATCH, rows)):
                ledger.put(_entry(number, rng))


def _one_more(ledger: Ledger, number: int, rng: random.Random) -> None:
    """Do what the engine does with the ledger for one photo that arrives."""
    entry = _entry(number, rng)
    ledger.entry(ROOT, entry.path)
    ledger.begin(Intent(str(number), ROOT, entry.path, f"{TO}/{entry.path}", None, entry.source, RECIPE, 1))
    ledger.entry(ROOT, entry.path)
    with ledger.transaction():
        ledger.put(entry)
        ledger.end(str(number))
    ledger.counts(ROOT)


def _milliseconds(call: Callable[[], object], times: int) -> float:
    """Give the processor's time of a call."""
    start = time.process_time()
    for _ in range(times):
        call()
    return round((time.process_time() - start) / times * 1000, 3)


def measure(folder: Path, rows: int) -> dict[str, float]:
    """Make a ledger and measure it."""
    path = folder / f"{rows}.sqlite3"
    with closing(Ledger(path)) as ledger:
        _fill(ledger, rows)
    size = path.stat().st_size
    rng, numbers = random.Random(8), iter(range(rows, rows + 10**6))
    with closing(Ledger(path)) as ledger:
        photo = _milliseconds(lambda: _one_more(ledger, next(numbers), rng), PHOTOS)
        found = {
            "held_list_ms": _milliseconds(lambda: ledger.in_state(State.QUARANTINED), 20),
            "counts_ms": _milliseconds(lambda: ledger.counts(ROOT), 20),
        }
    path.unlink()
    return {"rows": rows, "bytes_a_row": round(size / rows, 1), "photo_ms": photo, **found}


def main() -> None:
    """Print one JSON object a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="faceblurd-ledger-") as folder:
        for size in (max(1, rows // 100), rows):
            print(json.dumps(measure(Path(folder), size)), flush=True)


if __name__ == "__main__":
    main()
