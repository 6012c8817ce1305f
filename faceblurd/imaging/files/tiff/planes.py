"""TIFF pages whose channels lie apart, plane by plane: each is read and written as a gray picture of its own.

No library keeps that layout, and OpenCV 4.14 mixes up planes of 16 bits.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceblurd.imaging.metadata.exif import (
    STRIP_SIZES,
    STRIPS,
    TILE_SIZES,
    TILES,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from faceblurd.imaging.files.tiff.page import TiffPage

_APART: Final = 2
_DEPTHS, _PHOTOMETRIC, _SAMPLES, _PLANAR = 258, 262, 277, 284
_GRAY: Final = 1
# What says how rows lie: size, compression, fill order, rows a strip, predictor, size of tiles.
_SHARED: Final = (256, 257, 259, 266, 278, 317, 322, 323)
_SHORT, _LONG = 3, 4

_Tags = dict[int, tuple[int, list[int]]]


def are_apart(page: TiffPage) -> bool:
    """Say whether channels lie in planes, which can be read here: all of one depth of 8 or 16 bits."""
    return page.first(_PLANAR) == _APART and page.samples > 1 and set(page.depths) in ({8}, {16})


def read(page: TiffPage, data: bytes, decode: Callable[[bytes], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Decode the planes of a page, HxWxC in the file's order; `decode` is given a gray TIFF of one page for each."""
    each = len(page.rows) // page.samples
    shared: _Tags = {tag: page.integers(tag) for tag in _SHARED if tag in page.tags}
    planes = []
    for at in range(page.samples):
        rows = [data[start:end] for start, end in page.rows[at * each : (at + 1) * each]]
        tags: _Tags = {**shared, **_look(page, 1, _GRAY), _PLANAR: (_SHORT, [1])}
        planes.append(decode(_built(page, tags, rows)))
    return np.stack(planes, axis=2)


def write(page: TiffPage, pages: Sequence[tuple[TiffPage, bytes]]) -> bytes:
    """Join gray TIFFs of one page each, as pages and as bytes, into one whose channels lie apart."""
    first = pages[0][0]
    tags: _Tags = {tag: first.integers(tag) for tag in _SHARED if tag in first.tags}
    photometric = page.first(_PHOTOMETRIC) or 0
    tags |= {**_look(page, page.samples, photometric), _PLANAR: (_SHORT, [_APART])}
    return _built(first, tags, [data[start:end] for one, data in pages for start, end in one.rows])


def _look(page: TiffPage, samples: int, photometric: int) -> _Tags:
    return {
        _DEPTHS: (_SHORT, page.depths[:1] * samples),
        _PHOTOMETRIC: (_SHORT, [photometric]),
        _SAMPLES: (_SHORT, [samples]),
    }


def _size(kind: int, values: list[int]) -> int:
    return len(values) * (2 if kind == _SHORT else 4)


def _built(page: TiffPage, tags: _Tags, rows: Sequence[bytes]) -> bytes:
    """Return a TIFF of one page, in the byte order of another, with these tags and strips or tiles."""
    order = page.order
    starts, sizes = (TILES, TILE_SIZES) if TILES in page.tags else (STRIPS, STRIP_SIZES)
    every = {**tags, starts: (_LONG, [0] * len(rows)), sizes: (_LONG, [len(row) for row in rows])}
    at = 8 + 2 + 12 * len(every) + 4
    room = sum(size for size in (_size(*value) for value in every.values()) if size > 4)  # noqa: PLR2004 - a tag's own
    position, offsets = at + room + room % 2, []
    for row in rows:
        offsets.append(position)
        position += len(row)
    every[starts] = (_LONG, offsets)
    entries, values = [], b""
    for tag, (kind, numbers) in sorted(every.items()):
        packed = struct.pack(f"{order}{len(numbers)}{'H' if kind == _SHORT else 'I'}", *numbers)
        where = struct.pack(order + "I", at + len(values)) if len(packed) > 4 else packed.ljust(4, b"\0")  # noqa: PLR2004 - same
        values += packed if len(packed) > 4 else b""  # noqa: PLR2004 - same
        entries.append(struct.pack(order + "HHI", tag, kind, len(numbers)) + where)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    return head + b"".join(entries) + bytes(4) + values + bytes(room % 2) + b"".join(rows)
